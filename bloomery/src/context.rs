//! Where the program works: the checkout, and what names from the command line mean.

use std::path::{Path, PathBuf};

use build_support::{Arch, Dirs, Result, ensure, fs};
use system::outputs::{self, PROFILE_MARK};
use system::{Profile, resolve};

use crate::usage::wrong;

/// The checkout that the program works on.
pub struct Context {
    /// Its directories.
    pub dirs: Dirs,
}

impl Context {
    /// Finds the checkout, and goes to the directory that relative paths count from.
    ///
    /// # Errors
    /// A directory that is not there.
    pub fn find(directory: Option<&Path>) -> Result<Context> {
        let mut dirs = Dirs::find()?;
        // Cargo says where the package lies that it runs.
        if let Some(package) = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from)
            && package.ends_with("bloomery")
            && let Some(root) = package.parent()
        {
            dirs.root = root.into();
        }
        if let Some(directory) = directory {
            std::env::set_current_dir(directory)
                .map_err(|error| wrong(&format!("cannot go to {}: {error}", directory.display()), "see --help"))?;
        }
        Ok(Context { dirs })
    }

    /// A profile as the crates of the build take it: a name, or an absolute path.
    ///
    /// # Errors
    /// A profile that is not there.
    pub fn profile_name(&self, name: &str) -> Result<String> {
        if !name.contains('/') && !name.ends_with(".toml") {
            let known = resolve::names(&self.dirs)?;
            if known.iter().any(|profile| profile == name) {
                return Ok(name.into());
            }
            let hint = format!("there are {}, and the path of a TOML file of your own", known.join(" "));
            return Err(wrong(&format!("unknown profile `{name}`"), &hint));
        }
        let path = std::path::absolute(name)?;
        if !path.is_file() {
            return Err(wrong(&format!("there is no profile file {name}"), "write one like those in image/profiles/"));
        }
        Ok(path.to_string_lossy().into_owned())
    }

    /// Reads a profile by a name that [`Context::profile_name`] returned.
    ///
    /// # Errors
    /// A profile with faults.
    pub fn profile(&self, name: &str) -> Result<Profile> {
        Profile::read(&self.dirs, name)
    }

    /// Checks that outputs of a profile are in place; `name` is what the person typed.
    ///
    /// # Errors
    /// A profile that was not built, or whose place another of the same name has.
    pub fn require_outputs(&self, profile: &Profile, name: &str, arch: Arch) -> Result<()> {
        let own = self.dirs.output(arch).join(outputs::directory(profile));
        let mark = fs::read_to_string(own.join(PROFILE_MARK)).unwrap_or_default();
        ensure!(
            mark == outputs::identity(profile),
            "there are no outputs of {} for {arch}\nhint: cargo bloomery build {name} --arch {arch}",
            profile.name
        );
        Ok(())
    }
}

/// The source of a profile's kernel, unpacked.
///
/// # Errors
/// A source that cannot be fetched.
pub fn linux(dirs: &Dirs, profile: &Profile) -> Result<PathBuf> {
    let unpack = || vendor::source("linux")?.unpack(dirs);
    profile.kernel.overlay.as_ref().map_or_else(unpack, |overlay| vendor::with_overlay("linux", overlay, unpack))
}

/// Reads an architecture from the command line.
pub fn arch(name: &str) -> Result<Arch> {
    Arch::parse(name).map_err(|_| wrong(&format!("unknown architecture `{name}`"), "use x86_64 or arm64"))
}
