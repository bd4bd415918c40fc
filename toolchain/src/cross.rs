//! A target as build systems want it described.

use std::path::Path;

use build_support::Arch;

/// CMake's toolchain file for the toolchain in `root`.
pub fn cmake(root: &Path, target: Arch) -> String {
    fill(include_str!("../driver/target.cmake"), root, target)
}

/// meson's cross file for the toolchain in `root`. `cmake` is where the file of [`cmake`] lies: meson asks CMake for some
/// libraries.
pub fn meson(root: &Path, target: Arch, cmake: &Path) -> String {
    fill(include_str!("../driver/target.meson"), root, target).replace("@CMAKE@", &cmake.display().to_string())
}

fn fill(template: &str, root: &Path, target: Arch) -> String {
    template
        .replace("@ROOT@", &root.display().to_string())
        .replace("@TARGET@", target.short_triple())
        .replace("@MACHINE@", target.machine())
}
