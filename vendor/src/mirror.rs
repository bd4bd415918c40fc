//! Local mirrors: directories or http(s) addresses that hold archives by their file names, asked before any other
//! origin. `cargo run -p vendor -- export DIR` makes one.

use std::path::PathBuf;

use anyhow::{Result, bail};
use build_support::{Dirs, vars};

/// A place that holds archives by their file names.
#[derive(Clone, Debug, PartialEq)]
pub enum Mirror {
    /// A directory.
    Dir(PathBuf),
    /// An http(s) address without the slash at its end.
    Url(String),
}

/// The mirrors of a checkout: `vendor/archives` when it exists, then `$BLOOMERY_MIRROR`.
///
/// # Errors
///
/// When `$BLOOMERY_MIRROR` is neither a directory nor an http(s) address.
pub fn mirrors(dirs: &Dirs) -> Result<Vec<Mirror>> {
    let own = dirs.root.join("vendor/archives");
    let mut mirrors: Vec<Mirror> = own.is_dir().then_some(Mirror::Dir(own)).into_iter().collect();
    if let Some(text) = vars::get(vars::MIRROR) {
        mirrors.push(Mirror::parse(dirs, &text)?);
    }
    Ok(mirrors)
}

impl Mirror {
    fn parse(dirs: &Dirs, text: &str) -> Result<Mirror> {
        if text.starts_with("http://") || text.starts_with("https://") {
            return Ok(Mirror::Url(text.trim_end_matches('/').into()));
        }
        // Cargo runs build scripts in their package's directory, so a relative path counts from the project's root.
        let dir = dirs.root.join(text);
        if !dir.is_dir() {
            bail!(
                "{}={text}: {} is no directory\nhint: give a directory or an http(s) address, or unset it",
                vars::MIRROR,
                dir.display()
            );
        }
        Ok(Mirror::Dir(dir))
    }
}

impl std::fmt::Display for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Mirror::Dir(dir) => write!(f, "{}", dir.display()),
            Mirror::Url(url) => f.write_str(url),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirs() -> Dirs {
        Dirs { root: "/usr".into(), home: "/nonexistent".into(), target: "/nonexistent".into() }
    }

    #[test]
    fn a_mirror_is_a_directory_or_an_address() {
        assert_eq!(Mirror::parse(&dirs(), "bin").unwrap(), Mirror::Dir("/usr/bin".into()));
        assert_eq!(Mirror::parse(&dirs(), "http://host/dir/").unwrap(), Mirror::Url("http://host/dir".into()));
    }

    #[test]
    fn a_missing_directory_is_said_at_once() {
        let error = Mirror::parse(&dirs(), "/no/such/mirror").unwrap_err().to_string();
        assert!(error.contains("BLOOMERY_MIRROR=/no/such/mirror") && error.contains("hint:"), "{error}");
    }
}
