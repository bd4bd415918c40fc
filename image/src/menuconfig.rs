//! Upstream's menu on a configuration that a build made; the difference becomes lines of a fragment. The program
//! `image` calls it. Leaves the fragment, and a build directory below the store's `work`.

use std::path::{Path, PathBuf};
use std::process::Command;

use build_support::kconfig::{self, Difference, Fragment, Merged};
use build_support::{Arch, Cmd, Dirs, Result, ensure, fs};

/// The comment over what the menu added: who reads the fragment later wants to know why.
const REASON: &str = "# Chosen by menuconfig. Write the reason here.\n";

/// A configuration with all that its menu needs.
pub struct Menu {
    /// The words of make besides its target.
    make: Vec<String>,
    /// Where the configuration is and make writes.
    build: PathBuf,
    /// The file that gets the changes.
    fragment: PathBuf,
    /// What makes the next build read that file.
    next: String,
}

impl Menu {
    /// The kernel of a profile, as its last build left it.
    ///
    /// # Errors
    /// An unknown profile, one that was not built, or no source.
    pub fn kernel(dirs: &Dirs, profile: &str, arch: Arch) -> Result<Menu> {
        let (name, fragment) = kernel_fragment(dirs, profile)?;
        let built = dirs.output(arch).join(&name).join("kernel.config");
        ensure!(
            built.is_file(),
            "there is no kernel of {name} for {arch} yet\n\
             hint: BLOOMERY_ARCH={arch} BLOOMERY_PROFILE={profile} cargo build -p image --release"
        );
        let source = vendor::source("linux")?.unpack(dirs)?;
        let build = fresh(dirs, &format!("menuconfig-kernel-{arch}"))?;
        fs::copy(&built, build.join(".config"))?;
        // Options that ask the compiler what it can do must get the answers that the build got.
        let bin = dirs.target.join("bloomery/toolchain/bin");
        let tools = [format!("LLVM={}/", bin.display()), "HOSTCC=cc".into(), format!("ARCH={}", arch.linux())];
        let word = fragment.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let word = if profile == name { word } else { format!("{word}.config") };
        let next = format!("the profile has to name it: fragments = [..., \"{word}\"] below [kernel]");
        let make = words(&source, &build, &tools);
        Cmd::new("make").args(&make).arg("olddefconfig").read("read the kernel's configuration")?;
        Ok(Menu { make, build, fragment, next })
    }

    /// busybox, as its fragments ask for it.
    ///
    /// # Errors
    /// Unreadable fragments, or no source.
    pub fn busybox(dirs: &Dirs, arch: Arch) -> Result<Menu> {
        let source = vendor::source("busybox")?.unpack(dirs)?;
        let build = fresh(dirs, &format!("menuconfig-busybox-{arch}"))?;
        let local = dirs.root.join("sysroot/busybox/local.config");
        let names = ["base", "absent"].map(|name| dirs.root.join(format!("sysroot/busybox/{name}.config")));
        let files = names.iter().chain(local.is_file().then_some(&local));
        let fragments = files.map(|path| Fragment::read(path)).collect::<Result<Vec<_>>>()?;
        let seed = build.join("seed.config");
        fs::write(&seed, Merged::new(&fragments).seed())?;
        let make = words(&source, &build, &["HOSTCC=cc".into()]);
        let defconfig = Cmd::new("make").args(&make).def("KBUILD_DEFCONFIG", &seed).arg("defconfig");
        defconfig.read("configure busybox")?;
        let next = "every later build takes it: cargo build -p image --release".into();
        Ok(Menu { make, build, fragment: local, next })
    }

    /// Opens the menu, and keeps what was changed when the person saved it.
    ///
    /// # Errors
    /// A menu that did not come up, or a fragment that cannot be written.
    pub fn run(&self) -> Result<()> {
        let config = self.build.join(".config");
        let before = fs::read_to_string(&config)?;
        let status = Command::new("make").args(&self.make).arg("menuconfig").status()?;
        ensure!(
            status.success(),
            "the menu ended with {status}\n\
             hint: it needs a terminal of 80 x 19 characters, and the headers of ncurses (Debian: libncurses-dev)"
        );
        let difference = kconfig::diff(&before, &fs::read_to_string(&config)?);
        let lines = difference.fragment();
        if lines.is_empty() {
            println!("nothing was changed");
            return Ok(());
        }
        let old = if self.fragment.exists() { fs::read_to_string(&self.fragment)? } else { String::new() };
        fs::write(&self.fragment, merge(&old, &difference))?;
        print!("{lines}");
        println!("saved in {}; {}", self.fragment.display(), self.next);
        Ok(())
    }
}

/// A profile's name, and the fragment that its changes go to.
fn kernel_fragment(dirs: &Dirs, profile: &str) -> Result<(String, PathBuf)> {
    let own = dirs.root.join(profile);
    if profile.ends_with(".toml") && own.is_file() {
        let name = own.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        return Ok((name.clone(), own.with_file_name(format!("{name}-local.config"))));
    }
    let known = dirs.root.join(format!("image/profiles/{profile}.toml"));
    ensure!(
        known.is_file(),
        "there is no profile `{profile}`\nhint: give a name from image/profiles, or the path of a TOML file"
    );
    Ok((profile.to_string(), dirs.root.join(format!("image/kernel/{profile}-local.config"))))
}

/// An empty directory to configure in.
fn fresh(dirs: &Dirs, name: &str) -> Result<PathBuf> {
    let dir = dirs.work().join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

fn words(source: &Path, build: &Path, tools: &[String]) -> Vec<String> {
    let places = ["-C".to_string(), source.display().to_string(), format!("O={}", build.display())];
    places.iter().chain(tools).cloned().collect()
}

/// A fragment with the changes: a line for a symbol that it has is replaced, the others come below.
fn merge(old: &str, difference: &Difference) -> String {
    let lines = difference.fragment();
    let mut added: Vec<&str> = lines.lines().collect();
    let mut text = String::new();
    for line in old.lines() {
        let same = added.iter().position(|new| symbol(new).is_some() && symbol(new) == symbol(line));
        text += same.map_or(line, |at| added.remove(at));
        text += "\n";
    }
    if !added.is_empty() {
        if !text.is_empty() {
            text += "\n";
        }
        text += REASON;
        text += &added.join("\n");
        text += "\n";
    }
    text
}

/// The symbol that a line of a fragment sets.
fn symbol(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("CONFIG_");
    rest.and_then(|rest| Some(rest.split_once('=')?.0))
        .or_else(|| line.strip_prefix("# CONFIG_")?.strip_suffix(" is not set"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_fragment_has_what_changed_and_asks_for_a_reason() {
        let difference = kconfig::diff("CONFIG_A=y\n# CONFIG_B is not set\n", "CONFIG_A=y\nCONFIG_B=y\n");
        assert_eq!(merge("", &difference), format!("{REASON}CONFIG_B=y\n"));
    }

    #[test]
    fn a_second_visit_changes_the_lines_of_the_first() {
        let old = "# Sound, for the demo.\nCONFIG_SND=y\nCONFIG_SND_HDA=y\n";
        let before = "CONFIG_SND=y\nCONFIG_SND_HDA=y\n# CONFIG_USB is not set\n";
        let after = "CONFIG_SND=y\n# CONFIG_SND_HDA is not set\nCONFIG_USB=y\n";
        let text = merge(old, &kconfig::diff(before, after));
        assert_eq!(
            text,
            format!("# Sound, for the demo.\nCONFIG_SND=y\n# CONFIG_SND_HDA is not set\n\n{REASON}CONFIG_USB=y\n")
        );
        assert!(Fragment::parse(Path::new("local"), &text).unwrap().unexplained.is_empty());
    }
}
