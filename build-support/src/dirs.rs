//! Where everything lies: the project, its outputs below `target/bloomery`, and the store.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;

use crate::{Arch, vars};

/// The directories of one checkout.
#[derive(Clone, Debug)]
pub struct Dirs {
    /// The project's root.
    pub root: PathBuf,
    /// The store (`$BLOOMERY_HOME`).
    pub home: PathBuf,
    /// Cargo's target directory.
    pub target: PathBuf,
}

impl Dirs {
    /// Finds the directories from the environment.
    pub fn find() -> Result<Dirs> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("build-support has no parent directory")?
            .to_path_buf();
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => target_dir(Path::new(&dir), std::env::var_os("OUT_DIR").as_deref().map(Path::new))?,
            None => root.join("target"),
        };
        Ok(Dirs { home: find_home(&root)?, root, target })
    }

    /// The outputs for one architecture.
    pub fn output(&self, arch: Arch) -> PathBuf {
        self.target.join("bloomery").join(arch.name())
    }

    /// The logs and the time table for one architecture.
    pub fn log(&self, arch: Arch) -> PathBuf {
        self.output(arch).join("log")
    }

    /// Results of stages.
    pub fn store(&self) -> PathBuf {
        self.home.join("store")
    }

    /// Where stages are built; one directory a stage, wiped or resumed by the next build of that stage.
    pub fn work(&self) -> PathBuf {
        self.home.join("work")
    }

    /// Verified source archives.
    pub fn archives(&self) -> PathBuf {
        self.home.join("archives")
    }

    /// Unpacked sources, one directory an archive, read-only by convention.
    pub fn sources(&self) -> PathBuf {
        self.home.join("src")
    }

    /// Lock files.
    pub fn locks(&self) -> PathBuf {
        self.home.join("locks")
    }

    /// Makes the store's directories.
    pub fn create(&self) -> Result<()> {
        for dir in [self.store(), self.work(), self.archives(), self.sources(), self.locks()] {
            fs::create_dir_all(dir).with_context(|| {
                format!("cannot make the store\nhint: set {} to a directory that you can write to", vars::HOME)
            })?;
        }
        Ok(())
    }
}

/// Cargo's target directory, from the variable and, in a build script, from `OUT_DIR`: a relative one counts from where
/// cargo was started, and a build script runs in its package's directory.
fn target_dir(dir: &Path, out: Option<&Path>) -> Result<PathBuf> {
    let Some(out) = out.filter(|_| !dir.is_absolute()) else {
        return std::path::absolute(dir).context("CARGO_TARGET_DIR is no usable path");
    };
    // TARGET[/TRIPLE]/PROFILE/build/PACKAGE-HASH/out
    let mut above = out.ancestors().skip(4).take(2);
    above
        .find(|known| known.file_name().is_some() && known.file_name() == dir.file_name())
        .map(Path::to_path_buf)
        .with_context(|| {
            format!(
                "CARGO_TARGET_DIR={} is relative, and not found in {}\nhint: set it to an absolute path",
                dir.display(),
                out.display()
            )
        })
}

fn find_home(root: &Path) -> Result<PathBuf> {
    if let Some(dir) = vars::get(vars::HOME) {
        // Cargo runs build scripts in their package's directory, so a relative path counts from the project's root.
        return std::path::absolute(root.join(&dir)).with_context(|| format!("{}={dir} is no usable path", vars::HOME));
    }
    if let Some(cache) = std::env::var_os("XDG_CACHE_HOME").filter(|dir| Path::new(dir).is_absolute()) {
        return Ok(Path::new(&cache).join("bloomery"));
    }
    let home = std::env::home_dir()
        .filter(|dir| dir.is_absolute())
        .with_context(|| format!("no home directory is known\nhint: set HOME or {}", vars::HOME))?;
    Ok(home.join(".cache/bloomery"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_target_directory_is_the_one_that_cargo_uses() {
        let of = |dir: &str, out: &str| target_dir(Path::new(dir), Some(Path::new(out)));
        let out = "/p/built/release/build/image-0123/out";
        assert_eq!(of("built", out).unwrap(), Path::new("/p/built"));
        assert_eq!(of("../p/built/", out).unwrap(), Path::new("/p/built"));
        assert_eq!(of("built", "/p/built/x86_64-linux/debug/build/image-0123/out").unwrap(), Path::new("/p/built"));
        assert_eq!(of("/else", out).unwrap(), Path::new("/else"));
        let error = of("..", out).unwrap_err().to_string();
        assert!(error.contains("CARGO_TARGET_DIR=..") && error.contains("hint: "), "{error}");
        assert!(of("else", out).is_err());
        assert!(target_dir(Path::new("else"), None).unwrap().is_absolute());
    }
}
