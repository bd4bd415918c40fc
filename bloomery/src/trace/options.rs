//! Which option of the kernel builds a part of it, by what the Makefiles say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use build_support::{Arch, Result, fs};

/// Where the top level's Kbuild goes down (Kbuild and Makefile of Linux); architecture's own comes besides.
const TOP: &[&str] = &[
    "init", "usr", "kernel", "certs", "mm", "fs", "ipc", "security", "crypto", "io_uring", "lib", "block", "drivers",
    "sound", "net", "virt",
];
/// An object that no option switches.
pub const ALWAYS: &str = "always";

/// The options that build each part.
#[derive(Debug, Default)]
pub struct Owners {
    /// By the name that a module of the part would have.
    options: BTreeMap<String, BTreeSet<String>>,
}

impl Owners {
    /// Reads the Makefiles of all directories that one of the configurations builds.
    ///
    /// # Errors
    /// A source that cannot be read.
    pub fn of(source: &Path, arch: Arch, configs: &[&str]) -> Result<Owners> {
        let set = configs.iter().flat_map(|config| config.lines()).filter_map(|line| {
            let (symbol, value) = line.split_once('=')?;
            matches!(value, "y" | "m").then_some(symbol)
        });
        let set: BTreeSet<&str> = set.collect();
        let mut owners = Owners::default();
        let own = match arch {
            Arch::X86_64 => "arch/x86",
            Arch::Arm64 => "arch/arm64",
        };
        for dir in TOP.iter().chain([&own]) {
            owners.read(&source.join(dir), ALWAYS, &set)?;
        }
        Ok(owners)
    }

    /// The options of a part, one of which is the right one.
    pub fn option(&self, object: &str) -> String {
        let found = self.options.get(object).map(|options| options.iter().map(String::as_str).collect::<Vec<_>>());
        found.map_or("?".into(), |options| options.join(" or "))
    }

    fn read(&mut self, dir: &Path, inherited: &str, set: &BTreeSet<&str>) -> Result<()> {
        // Kbuild is taken before Makefile (scripts/Kbuild.include).
        let Some(file) = ["Kbuild", "Makefile"].map(|name| dir.join(name)).into_iter().find(|file| file.is_file())
        else {
            return Ok(());
        };
        for (option, word) in entries(&fs::read_to_string(&file)?) {
            if option.as_deref().is_some_and(|option| !set.contains(option)) {
                continue;
            }
            let owner = option.as_deref().unwrap_or(inherited);
            if let Some(object) = word.strip_suffix(".o") {
                self.options.entry(object.replace('-', "_")).or_default().insert(owner.into());
            } else if let Some(below) = word.strip_suffix('/') {
                self.read(&dir.join(below), owner, set)?;
            }
        }
        Ok(())
    }
}

/// The objects and directories of a Makefile, each with the option that switches it.
fn entries(makefile: &str) -> Vec<(Option<String>, String)> {
    let joined = makefile.replace("\\\n", " ");
    let mut entries = Vec::new();
    for line in joined.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let Some((left, right)) = line.split_once('=') else { continue };
        let left = left.trim_end_matches([':', '+', ' ', '\t']).trim();
        let Some(switch) = ["obj-", "lib-"].iter().find_map(|kind| left.strip_prefix(kind)) else { continue };
        let option = switch.strip_prefix("$(").and_then(|rest| rest.strip_suffix(')'));
        if switch == "y" || option.is_some_and(|option| option.starts_with("CONFIG_")) {
            entries.extend(right.split_whitespace().map(|word| (option.map(String::from), word.to_string())));
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_makefile_tells_which_option_builds_what() {
        let text = "obj-y += a.o \\\n b/ # why\nobj-$(CONFIG_C)\t:= c-d.o\nlib-y=e.o\nc-d-y := f.o\nobj-m += g.o\n";
        let entry = |option: Option<&str>, word: &str| (option.map(String::from), word.to_string());
        let all = [entry(None, "a.o"), entry(None, "b/"), entry(Some("CONFIG_C"), "c-d.o"), entry(None, "e.o")];
        assert_eq!(entries(text), all);
    }

    #[test]
    fn a_directory_hands_its_option_down() {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
        };
        write("drivers/Makefile", "obj-$(CONFIG_A) += a/\nobj-$(CONFIG_B) += b/\nobj-y += c.o\n");
        write("drivers/a/Makefile", "obj-y += bus.o\nobj-$(CONFIG_X) += x-1.o\n");
        write("drivers/b/Makefile", "obj-y += off.o\n");
        let config = "CONFIG_A=y\nCONFIG_X=y\n# CONFIG_B is not set\n";
        let owners = Owners::of(dir.path(), Arch::X86_64, &[config]).unwrap();
        let told = ["bus", "x_1", "off", "c"].map(|object| owners.option(object));
        assert_eq!(told, ["CONFIG_A", "CONFIG_X", "?", ALWAYS]);
    }
}
