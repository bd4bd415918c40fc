//! Profiles: what a system is made of, one TOML file each.

use std::path::{Path, PathBuf};

use build_support::{Context as _, Dirs, Result, bail, fs};
use serde::Deserialize;

/// A profile as its file states it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Profile {
    /// The file's name without `.toml`.
    #[serde(skip)]
    pub name: String,
    /// The directory of the file; relative paths start there.
    #[serde(skip)]
    pub dir: PathBuf,
    /// One sentence for people.
    pub description: String,
    /// `busybox`, `init`, `toolchain`, or paths of package directories.
    pub packages: Vec<String>,
    /// Goes into /etc/hostname.
    pub hostname: String,
    /// Directories that are laid over the root file system, last.
    #[serde(default)]
    pub files: Vec<PathBuf>,
    /// Lines added to /etc/inittab.
    #[serde(default)]
    pub inittab: Vec<String>,
    /// The kernel.
    pub kernel: Kernel,
    /// The disk.
    pub disk: Disk,
}

/// The kernel's part of a profile.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Kernel {
    /// Names from `image/kernel/`, or paths of files of your own; later ones win.
    pub fragments: Vec<String>,
    /// Added to the built-in command line.
    #[serde(default)]
    pub command_line: String,
}

/// The disk's part of a profile.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Of the whole disk, such as `2 GiB`. The file is sparse.
    pub size: String,
}

impl Profile {
    /// Reads a profile by its name below `image/profiles/`, or by its path.
    pub fn read(dirs: &Dirs, name: &str) -> Result<Profile> {
        let known = dirs.root.join("image/profiles");
        let is_path = name.contains('/') || name.ends_with(".toml");
        let path = if is_path { dirs.root.join(name) } else { known.join(format!("{name}.toml")) };
        if !path.is_file() {
            bail!("there is no profile `{name}` ({} is no file)\nhint: {}", path.display(), choices(&known)?);
        }
        Profile::parse(&path, &fs::read_to_string(&path)?)
    }

    fn parse(path: &Path, text: &str) -> Result<Profile> {
        let mut profile: Profile = toml::from_str(text).with_context(|| {
            format!("cannot read the profile {}\nhint: image/profiles/full.toml has every key", path.display())
        })?;
        profile.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        profile.dir = path.parent().unwrap_or(Path::new("/")).to_path_buf();
        profile.disk.bytes().with_context(|| format!("cannot read the profile {}", path.display()))?;
        Ok(profile)
    }

    /// A path of the profile, relative to its file.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.dir.join(relative)
    }

    /// Whether a package of Bloomery's own is in it.
    pub fn has(&self, package: &str) -> bool {
        self.packages.iter().any(|name| name == package)
    }
}

impl Disk {
    /// The size in bytes.
    pub fn bytes(&self) -> Result<u64> {
        let text = self.size.trim();
        let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let shift = match unit.trim() {
            "MiB" | "M" => 20,
            "GiB" | "G" => 30,
            _ => bail!(
                "the disk size `{}` has no unit that is known\nhint: write it like `512 MiB` or `2 GiB`",
                self.size
            ),
        };
        let number: u64 = number.parse().with_context(|| format!("the disk size `{}` has no number", self.size))?;
        Ok(number << shift)
    }
}

fn choices(known: &Path) -> Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(known)? {
        names.extend(entry?.path().file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(format!("use {}, or the path of a TOML file of your own", names.join(", ")))
}
