//! `menuconfig`: upstream's menu on a configuration that a build made; the difference becomes lines of a fragment. Leaves
//! the fragment, and a build directory below the store's `work`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use build_support::inspect::print;
use build_support::kconfig::{self, Difference, Fragment, Merged};
use build_support::{Arch, Cmd, Context as _, Dirs, Result, ensure, fs};
use system::Profile;

use crate::context::{Context, arch, linux};

/// Open upstream's menu on a configuration, and save what was changed as a fragment
///
/// The kernel's changes go to image/kernel/PROFILE-local.config, or beside a profile of your own; busybox's to
/// sysroot/busybox/local.config. What is there already is kept.
#[derive(clap::Args)]
pub struct Args {
    /// A name from image/profiles/, the path of your own TOML file, or `busybox`
    #[arg(value_name = "PROFILE")]
    what: String,
    /// x86_64 or arm64
    arch: String,
}

/// Opens the menu.
pub fn run(context: &Context, args: &Args) -> Result<ExitCode> {
    let (dirs, arch) = (&context.dirs, arch(&args.arch)?);
    let menu = if args.what == "busybox" {
        Menu::busybox(dirs, arch)?
    } else {
        let profile = context.profile(&context.profile_name(&args.what)?)?;
        Menu::kernel(dirs, &profile, &args.what, arch)?
    };
    menu.run()?;
    Ok(ExitCode::SUCCESS)
}

/// The comment over what the menu added: who reads the fragment later wants to know why.
const REASON: &str = "# Chosen by menuconfig. Write the reason here.\n";

/// A configuration with all that its menu needs.
struct Menu {
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
    /// A profile that was not built or leaves no configuration, or no source.
    fn kernel(dirs: &Dirs, profile: &Profile, stated: &str, arch: Arch) -> Result<Menu> {
        let kernel = profile.outputs.iter().find(|output| output.kind.schema().name == "kernel");
        let kernel = kernel.with_context(|| {
            format!(
                "the profile {} leaves no configuration of its kernel\nhint: add an [[output]] of kind `kernel`",
                profile.name
            )
        })?;
        let built = dirs.output(arch).join(format!("{}.config", kernel.file));
        ensure!(
            built.is_file(),
            "there is no kernel of {} for {arch} yet\nhint: cargo bloomery build {stated} --arch {arch}",
            profile.name
        );
        let source = linux(dirs, profile)?;
        let build = fresh(dirs, &format!("menuconfig-kernel-{arch}"))?;
        fs::copy(&built, build.join(".config"))?;
        // Options that ask the compiler what it can do must get the answers that the build got.
        let bin = dirs.target.join("bloomery/toolchain/bin");
        let tools = [format!("LLVM={}/", bin.display()), "HOSTCC=cc".into(), format!("ARCH={}", arch.linux())];
        let make = words(&source, &build, &tools);
        Cmd::new("make").args(&make).arg("olddefconfig").read("read the kernel's configuration")?;
        let (fragment, word) = kernel_fragment(dirs, profile)?;
        let next = next_step(profile, &word)?;
        Ok(Menu { make, build, fragment, next })
    }

    /// busybox, as its fragments ask for it.
    ///
    /// # Errors
    /// Unreadable fragments, or no source.
    fn busybox(dirs: &Dirs, arch: Arch) -> Result<Menu> {
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
        let next = "every later build takes it: cargo bloomery build".into();
        Ok(Menu { make, build, fragment: local, next })
    }

    /// Opens the menu, and keeps what was changed when the person saved it.
    ///
    /// # Errors
    /// A menu that did not come up, or a fragment that cannot be written.
    fn run(&self) -> Result<()> {
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
            return print("nothing was changed\n");
        }
        let old = if self.fragment.exists() { fs::read_to_string(&self.fragment)? } else { String::new() };
        fs::write(&self.fragment, merge(&old, &difference))?;
        print(&format!("{lines}saved in {}; {}\n", self.fragment.display(), self.next))
    }
}

/// The fragment that a profile's changes go to, and its name in the profile.
fn kernel_fragment(dirs: &Dirs, profile: &Profile) -> Result<(PathBuf, String)> {
    let name = format!("{}-local", profile.name);
    let file = profile.files.first().context("a profile has a file")?;
    if file.parent() == Some(&fs::canonicalize(dirs.root.join("image/profiles"))?) {
        return Ok((dirs.root.join(format!("image/kernel/{name}.config")), name));
    }
    let name = format!("{name}.config");
    Ok((file.with_file_name(&name), name))
}

/// What makes the next build read the fragment: the profile's own file names it.
fn next_step(profile: &Profile, word: &str) -> Result<String> {
    if profile.kernel.fragments.iter().any(|fragment| fragment.name == word) {
        return Ok("the next build takes it: cargo bloomery build".into());
    }
    let file = profile.files.first().context("a profile has a file")?;
    let text = fs::read_to_string(file)?;
    Ok(format!("{} has to name it below [kernel]: {}", file.display(), naming(&text, word)?))
}

/// The line that names a fragment, as the profile's own text needs it: a list of its own, or what it adds to the list of the
/// profile that it extends.
fn naming(profile: &str, word: &str) -> Result<String> {
    let table: toml::Table = profile.parse()?;
    Ok(match table.get("kernel").and_then(|kernel| kernel.get("fragments")) {
        Some(toml::Value::Array(_)) => format!("fragments = [..., \"{word}\"]"),
        Some(_) => format!("fragments = {{ add = [..., \"{word}\"] }}"),
        None => format!("fragments = {{ add = [\"{word}\"] }}"),
    })
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

    #[test]
    fn a_profile_names_its_fragment_as_it_states_its_list() {
        for (text, line) in [
            ("[kernel]\nfragments = [\"base\"]\n", "fragments = [..., \"x\"]"),
            ("extends = \"base\"\n", "fragments = { add = [\"x\"] }"),
            ("extends = \"base\"\n[kernel]\nfragments = { add = [\"y\"] }\n", "fragments = { add = [..., \"x\"] }"),
        ] {
            assert_eq!(naming(text, "x").unwrap(), line);
        }
    }
}
