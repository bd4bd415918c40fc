//! The one table of the environment variables that Bloomery reads. Build scripts rerun when one changes, and
//! README.md's table is this table (a test compares them).

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::Arch;

/// One environment variable.
pub struct Var {
    /// Its name.
    pub name: &'static str,
    /// What holds when it is not set.
    pub default: &'static str,
    /// What it does.
    pub meaning: &'static str,
    /// The packages whose build scripts read it. None are named when all do.
    pub packages: &'static [&'static str],
}

impl Var {
    /// Whether the build script of this package reads it, or may read it.
    pub fn concerns(&self, package: &str) -> bool {
        self.packages.is_empty() || self.packages.contains(&package)
    }
}

/// The architectures to build for.
pub const ARCH: &str = "BLOOMERY_ARCH";
/// The profiles to build.
pub const PROFILE: &str = "BLOOMERY_PROFILE";
/// The profile that is built when none is named.
pub const DEFAULT_PROFILE: &str = "full";
/// The directory of the store.
pub const HOME: &str = "BLOOMERY_HOME";
/// A local mirror of the source archives.
pub const MIRROR: &str = "BLOOMERY_MIRROR";
/// Whether build scripts build.
pub const SKIP: &str = "BLOOMERY_SKIP";
/// Whether the work directory of a finished stage stays.
pub const KEEP_WORK: &str = "BLOOMERY_KEEP_WORK";
/// Stages that may not be built.
pub const FROM_STORE: &str = "BLOOMERY_FROM_STORE";
/// Whether ccache is used.
pub const CCACHE: &str = "BLOOMERY_CCACHE";

/// The packages of a variable that only tests read: no build script has this name.
const TESTS: &[&str] = &["tests"];

/// Every variable, in the order of README.md.
pub const TABLE: &[Var] = &[
    Var {
        name: ARCH,
        default: "the host's",
        meaning: "architectures to build, separated by spaces: `x86_64`, `arm64`",
        packages: &["sysroot", "image"],
    },
    Var {
        name: PROFILE,
        default: "`full`",
        meaning: "profiles to build, separated by spaces: names from `image/profiles/`, or paths of your own TOML files",
        packages: &["image"],
    },
    Var {
        name: HOME,
        default: "`$XDG_CACHE_HOME/bloomery`, else `~/.cache/bloomery`",
        meaning: "the store: downloads, unpacked sources and the result of every stage",
        packages: &[],
    },
    Var {
        name: MIRROR,
        default: "none",
        meaning: "a directory or http(s) URL with the source archives, asked before any other origin",
        packages: &[],
    },
    Var {
        name: SKIP,
        default: "`0` with `--release`, else `1`: `cargo check`, an IDE or a test run builds nothing by itself",
        meaning: "`1`: build scripts build nothing; `0`: they build in cargo's debug profile too",
        packages: &[],
    },
    Var {
        name: KEEP_WORK,
        default: "`0`",
        meaning: "`1`: keep the work directory of a stage after success, for a look inside",
        packages: &[],
    },
    Var {
        name: FROM_STORE,
        default: "none",
        meaning: "stages that must come from the store, separated by spaces, such as `llvm-arm64`: a missing one is an error",
        packages: &[],
    },
    Var {
        name: CCACHE,
        default: "`1`",
        meaning: "`0`: do not use ccache for LLVM and the kernel even when it is installed",
        packages: &[],
    },
    Var {
        name: "BLOOMERY_TEST_SLOW",
        default: "`1`",
        meaning: "tests: multiplies every limit of time, for slow machines",
        packages: TESTS,
    },
    Var {
        name: "BLOOMERY_TEST_SKIPS",
        default: "none",
        meaning: "tests: a file of the reasons for which a test may be skipped, each line the beginning of one; any other fails",
        packages: TESTS,
    },
    Var {
        name: "BLOOMERY_CI_FULL",
        default: "`0`",
        meaning: "tests and `.ci/run`: `1` builds the compiler on board of the other architecture, which takes as long as LLVM",
        packages: TESTS,
    },
    Var {
        name: "BLOOMERY_TEST_INIT",
        default: "the one of the tests",
        meaning: "tests of init: another program than the one built for them, such as an image's",
        packages: TESTS,
    },
    Var {
        name: "BLOOMERY_TEST_FAULTS",
        default: "each error once",
        meaning: "tests of init: `all` tries every error at every call, a name those that begin so, `list` lists them",
        packages: TESTS,
    },
    Var {
        name: "BLOOMERY_TEST_FUZZ",
        default: "none",
        meaning: "tests of init: seconds for which the readers are fed changed input",
        packages: TESTS,
    },
    Var {
        name: "BLOOMERY_TEST_FUZZ_SEED",
        default: "a fixed number",
        meaning: "tests of init: where those changes begin",
        packages: TESTS,
    },
    Var {
        name: "BLOOMERY_TEST_POWER_CUTS",
        default: "`1`",
        meaning: "tests of images: how often the power fails in each test of that",
        packages: TESTS,
    },
    Var {
        name: "BLOOMERY_TEST_SEED",
        default: "the time",
        meaning: "tests of images: from which number the moments of power cuts follow; each run says its own",
        packages: TESTS,
    },
    Var {
        name: "BLOOMERY_TEST_KILLS",
        default: "`30`",
        meaning: "tests of images: how often the service of an appliance is killed; 1000 take minutes",
        packages: TESTS,
    },
    Var {
        name: "BLOOMERY_WRITE_DOCS",
        default: "none",
        meaning: "tests of system and status: `1` writes `docs/profiles.md` and the screens that are compared",
        packages: TESTS,
    },
];

/// The value of a variable of the table, or `None` when it is unset or empty.
pub fn get(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether a variable of the table is switched on.
pub fn on(name: &str, default: bool) -> bool {
    match get(name).as_deref() {
        None => default,
        Some("0" | "no" | "false") => false,
        Some(_) => true,
    }
}

/// The architectures to build for.
pub fn archs() -> Result<Vec<Arch>> {
    let Some(text) = get(ARCH) else {
        return Ok(vec![Arch::host()?]);
    };
    let mut archs = Vec::new();
    for word in text.split([' ', ',']).filter(|word| !word.is_empty()) {
        let arch = Arch::parse(word).with_context(|| format!("cannot read {ARCH}=`{text}`"))?;
        if !archs.contains(&arch) {
            archs.push(arch);
        }
    }
    if archs.is_empty() {
        bail!("{ARCH} names no architecture\nhint: set it to x86_64 or arm64, or unset it");
    }
    Ok(archs)
}

/// The profiles to build: names, or paths from `root`. A path may have blanks and commas: what names a file as a whole is
/// not taken apart.
pub fn profiles(root: &Path) -> Vec<String> {
    split_profiles(&get(PROFILE).unwrap_or_else(|| DEFAULT_PROFILE.into()), &|path| root.join(path).is_file())
}

fn split_profiles(text: &str, is_file: &dyn Fn(&str) -> bool) -> Vec<String> {
    for separator in [' ', ','] {
        if is_file(text) {
            break;
        }
        if text.contains(separator) {
            let words = text.split(separator).filter(|word| !word.is_empty());
            return words.flat_map(|word| split_profiles(word, is_file)).collect();
        }
    }
    vec![text.into()]
}

/// The stages that must come from the store, by their names with the architecture.
pub fn from_store() -> Vec<String> {
    words(&get(FROM_STORE).unwrap_or_default())
}

fn words(text: &str) -> Vec<String> {
    text.split([' ', ',']).filter(|word| !word.is_empty()).map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_blanks_or_commas_is_one_profile() {
        let split = |text: &str| split_profiles(text, &|path| ["my profiles/a.toml", "b,c/d.toml"].contains(&path));
        assert_eq!(split("full base"), ["full", "base"]);
        assert_eq!(split("full,base"), ["full", "base"]);
        assert_eq!(split("my profiles/a.toml"), ["my profiles/a.toml"]);
        assert_eq!(split("full b,c/d.toml"), ["full", "b,c/d.toml"]);
    }

    #[test]
    fn a_build_script_runs_again_for_what_it_reads() {
        let of =
            |package: &str| TABLE.iter().filter(|var| var.concerns(package)).map(|var| var.name).collect::<Vec<_>>();
        assert_eq!(of("image").len(), TABLE.iter().filter(|var| var.packages != TESTS).count());
        assert!(of("sysroot").contains(&ARCH) && !of("sysroot").contains(&PROFILE));
        assert!(of("toolchain").contains(&HOME) && !of("toolchain").contains(&ARCH));
    }
}
