//! The first compiler: a clang of the host that is new enough, by whatever name, with the lld and the binutils that
//! belong to it.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use fs_err as fs;

use crate::{Cmd, host};

/// The oldest clang that compiles the pinned libc++. Seen with libc++ 23.1.1: clang 21.1.0 and 22.1.8 do, 20.1.2 and
/// 19.1.7 do not know the attributes that its headers use.
pub const OLDEST: u32 = 21;

/// The versions whose own names (`clang-23`) are looked for, the preferred ones first, before the plain name.
const PREFERRED: &[u32] = &[23, 22, 21];

/// The versions whose own names are looked for after the plain name.
const LATER: std::ops::Range<u32> = 24..40;

/// What else the bootstrap uses.
const COMPANIONS: &[&str] = &["clang++", "ld.lld", "llvm-ar", "llvm-ranlib", "llvm-nm", "llvm-strip"];

/// How to get one.
const HINT: &str = "run ./setup.sh (Debian 12 or newer, Ubuntu 26.04 or newer); on older ones add https://apt.llvm.org first; \
    elsewhere install clang, lld and llvm (dnf install clang lld llvm, apk add clang lld llvm, pacman -S clang lld llvm)";

/// A clang of the host with all that belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub struct HostClang {
    /// What follows the name of clang: `-22`, or nothing. The other programs need not have it: see [`HostClang::program`].
    pub suffix: String,
    /// What `clang --version` says first.
    pub version: String,
    /// Each of `clang` and [`COMPANIONS`] with its path.
    programs: Vec<(String, PathBuf)>,
}

impl HostClang {
    /// Finds the host's clang.
    ///
    /// # Errors
    /// When there is none of version [`OLDEST`] or newer with lld and binutils; it says what each one that was found lacks.
    pub fn find() -> Result<HostClang> {
        HostClang::find_in(&host::search_path())
    }

    /// As [`HostClang::find`], in the directories of a search path.
    ///
    /// # Errors
    /// As [`HostClang::find`].
    pub fn find_in(path: &[PathBuf]) -> Result<HostClang> {
        let suffixes = PREFERRED.iter().map(|version| format!("-{version}")).chain([String::new()]);
        let mut faults = Vec::new();
        for suffix in suffixes.chain(LATER.map(|version| format!("-{version}"))) {
            if let Some(clang) = host::find_program_in(path, &format!("clang{suffix}")) {
                match HostClang::at(path, clang, suffix) {
                    Ok(found) => return Ok(found),
                    Err(fault) => faults.push(format!("\n  {fault}")),
                }
            }
        }
        let oldest = format!("no clang of version {OLDEST} or newer is installed with its lld and llvm-ar");
        Err(anyhow!("{oldest}{}\nhint: {HINT}", faults.concat()))
    }

    /// The clang at this place, when it is new enough and its companions are there.
    fn at(path: &[PathBuf], clang: PathBuf, suffix: String) -> Result<HostClang> {
        let text = Cmd::new(&clang).arg("--version").read("ask clang for its version")?;
        let version = text.lines().next().unwrap_or_default().trim().to_string();
        if major(&version).is_none_or(|major| major < OLDEST) {
            return Err(anyhow!("{} is too old: {version}", clang.display()));
        }
        let mut programs = Vec::new();
        for name in COMPANIONS {
            let place = companion(path, &clang, &suffix, name);
            programs.push((name.to_string(), place.ok_or_else(|| anyhow!("{} has no {name}", clang.display()))?));
        }
        programs.push(("clang".into(), clang));
        Ok(HostClang { suffix, version, programs })
    }

    /// The path of `clang`, `clang++`, `ld.lld`, `llvm-ar`, `llvm-ranlib`, `llvm-nm` or `llvm-strip`.
    ///
    /// # Errors
    /// For any other name.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        let found = self.programs.iter().find(|(known, _)| known == name);
        found.map(|(_, path)| path.clone()).ok_or_else(|| anyhow!("the first compiler's `{name}` is not looked for"))
    }
}

/// A program that belongs to a clang: beside its real file, then of the same suffix, then of the plain name when its
/// version will do. Plain names can be those of another, older LLVM.
fn companion(path: &[PathBuf], clang: &Path, suffix: &str, name: &str) -> Option<PathBuf> {
    let beside = fs::canonicalize(clang).ok().and_then(|real| host::find_program_in(&[real.parent()?.into()], name));
    let suffixed = || host::find_program_in(path, &format!("{name}{suffix}")).filter(|_| !suffix.is_empty());
    let plain = || host::find_program_in(path, name).filter(|place| is_new_enough(place));
    beside.or_else(suffixed).or_else(plain)
}

fn is_new_enough(program: &Path) -> bool {
    let text = Cmd::new(program).arg("--version").read("ask a program for its version").unwrap_or_default();
    text.lines().find_map(major).is_some_and(|major| major >= OLDEST)
}

/// `Debian clang version 22.1.8 (1~deb12u1)`, `Ubuntu LLD 22.1.8 (compatible ...)` and `  LLVM version 22.1.8` have 22.
fn major(line: &str) -> Option<u32> {
    let mut words = line.split_whitespace().skip_while(|word| !["version", "LLD"].contains(word)).skip(1);
    words.next()?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A host: programs by their paths and versions, as links when they have a target.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn with(programs: &[(&str, &str)]) -> Machine {
            let dir = tempfile::tempdir().unwrap();
            for (name, version) in programs {
                let at = dir.path().join(name);
                fs::create_dir_all(at.parent().unwrap()).unwrap();
                if let Some(target) = version.strip_prefix("-> ") {
                    fs::os::unix::fs::symlink(dir.path().join(target), &at).unwrap();
                    continue;
                }
                fs::write(&at, format!("#!/bin/sh\necho 'Some clang version {version} (x)'\n")).unwrap();
                fs::set_permissions(&at, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
            Machine(dir)
        }

        fn find(&self) -> Result<HostClang> {
            HostClang::find_in(&[self.0.path().join("bin")])
        }

        fn program(&self, name: &str) -> String {
            let path = self.find().unwrap().program(name).unwrap();
            path.strip_prefix(self.0.path()).unwrap().display().to_string()
        }
    }

    fn all_of(dir: &str, suffix: &str, version: &'static str) -> Vec<(String, &'static str)> {
        let names = COMPANIONS.iter().chain(&["clang"]);
        names.map(|name| (format!("{dir}/{name}{suffix}"), version)).collect()
    }

    fn machine(programs: &[(String, &'static str)]) -> Machine {
        Machine::with(&programs.iter().map(|(name, version)| (name.as_str(), *version)).collect::<Vec<_>>())
    }

    #[test]
    fn versions_are_read() {
        for (line, expected) in [
            ("Debian clang version 22.1.8 (1~deb12u1)", Some(22)),
            ("clang version 21.1.8 (Fedora 21.1.8-1.fc43)", Some(21)),
            ("Ubuntu LLD 23.1.1 (compatible with GNU linkers)", Some(23)),
            ("  LLVM version 24.0.0git", Some(24)),
            ("gcc (Debian 12.2.0) 12.2.0", None),
        ] {
            assert_eq!(major(line), expected, "{line}");
        }
    }

    #[test]
    fn plain_names_will_do() {
        let fedora = machine(&all_of("bin", "", "21.1.8"));
        assert_eq!((fedora.find().unwrap().suffix.as_str(), fedora.program("ld.lld").as_str()), ("", "bin/ld.lld"));
    }

    #[test]
    fn companions_are_beside_the_real_file() {
        let mut programs = all_of("usr/lib/llvm22/bin", "", "22.1.3");
        programs.push(("bin/clang-22".into(), "-> usr/lib/llvm22/bin/clang"));
        programs.push(("bin/llvm-ar".into(), "14.0.6"));
        let alpine = machine(&programs);
        assert_eq!(alpine.program("clang"), "bin/clang-22");
        assert_eq!(alpine.program("llvm-ar"), "usr/lib/llvm22/bin/llvm-ar");
    }

    #[test]
    fn a_suffix_comes_before_an_older_plain_name() {
        let mut programs = all_of("bin", "-22", "22.1.8");
        programs.extend(all_of("bin", "", "14.0.6"));
        programs.retain(|(name, _)| name != "bin/llvm-ar-22");
        // `beside` would find the plain ones here: the compiler lies elsewhere.
        programs.retain(|(name, _)| name != "bin/clang-22");
        programs.extend([("opt/clang".into(), "22.1.8"), ("bin/clang-22".into(), "-> opt/clang")]);
        let error = machine(&programs).find().unwrap_err().to_string();
        assert!(
            error.contains("clang-22 has no llvm-ar") && error.contains("too old: Some clang version 14"),
            "{error}"
        );
        programs.push(("bin/llvm-ar-22".into(), "22.1.8"));
        assert_eq!(machine(&programs).program("llvm-ar"), "bin/llvm-ar-22");
    }

    #[test]
    fn a_host_without_one_learns_how_to_get_it() {
        let error = machine(&all_of("bin", "-20", "20.1.2")).find().unwrap_err().to_string();
        for part in ["version 21 or newer", "./setup.sh", "apt.llvm.org", "dnf", "apk", "pacman"] {
            assert!(error.contains(part), "`{part}` is not in:\n{error}");
        }
    }
}
