//! Where the user land lies. The build script makes it; nothing is built here.

use std::path::{Path, PathBuf};

include!(concat!(env!("OUT_DIR"), "/paths.rs"));

/// Directory and digest of busybox for an architecture's name, when it was built.
pub fn busybox(arch: &str) -> Option<(PathBuf, &'static str)> {
    let row = BUSYBOX.iter().find(|(name, _, _)| *name == arch)?;
    Some((PathBuf::from(row.1), row.2))
}

/// The files of the root file system that are no stage's: `/etc` and the like.
pub fn skeleton() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/skeleton"))
}
