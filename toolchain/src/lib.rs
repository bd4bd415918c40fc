//! Where the toolchain lies. Its build script makes it; nothing is built here.

use std::path::{Path, PathBuf};

include!(concat!(env!("OUT_DIR"), "/paths.rs"));

/// A program of the toolchain, such as `clang`.
pub fn program(name: &str) -> PathBuf {
    Path::new(DIR).join("bin").join(name)
}

/// The sysroot of a target, by its short triple such as `x86_64-linux-musl`.
pub fn sysroot(triple: &str) -> PathBuf {
    Path::new(DIR).join(triple)
}
