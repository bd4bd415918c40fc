//! The kernel's make outside a stage of the build: for what looks into a configuration and compiles nothing.

use std::path::Path;

use build_support::host_clang::HostClang;
use build_support::{Arch, Dirs, Result};

/// The words of make that choose source, build directory, architecture and programs. Options that ask the compiler what it can do get
/// the answers that the build got.
///
/// # Errors
/// A host without clang.
pub fn words(dirs: &Dirs, arch: Arch, source: &Path, build: &Path) -> Result<Vec<String>> {
    let first = HostClang::find()?;
    let program = |name: &str| -> Result<String> { Ok(first.program(name)?.display().to_string()) };
    Ok(vec![
        format!("-C{}", source.display()),
        format!("O={}", build.display()),
        format!("ARCH={}", arch.linux()),
        format!("LLVM={}/", dirs.target.join("bloomery/toolchain/bin").display()),
        // Programs that run during the build use the host's libraries (libelf).
        format!("HOSTCC={}", program("clang")?),
        format!("HOSTCXX={}", program("clang++")?),
        format!("HOSTLD={}", program("ld.lld")?),
        format!("HOSTAR={}", program("llvm-ar")?),
    ])
}
