//! Where the toolchain lies, and the compiler for a board of another architecture than the host's.
//!
//! The build script makes the toolchain of the host. [`on_board`] makes another one when an image asks for it, since
//! that takes as long as the host's LLVM did.

use std::path::{Path, PathBuf};

use build_support::{Arch, Built, Context as _, Dirs, Result};

#[path = "../recipes/mod.rs"]
pub mod recipes;

pub mod cross;

use recipes::prefix::Complete;
use recipes::target::{Compiler, Target};
use recipes::{allocator, compression, llvm, prefix};

include!(concat!(env!("OUT_DIR"), "/results.rs"));

/// The toolchain that runs on the host.
///
/// # Errors
/// When the build script built nothing, as for `cargo check`.
pub fn host() -> Result<Built> {
    result("toolchain", Arch::host()?)
}

/// LLVM for the host, alone.
///
/// # Errors
/// As [`host`].
pub fn host_llvm() -> Result<Built> {
    result("llvm", Arch::host()?)
}

/// A program of the host's toolchain, such as `clang`.
///
/// # Errors
/// As [`host`].
pub fn program(name: &str) -> Result<PathBuf> {
    Ok(host()?.dir.join("bin").join(name))
}

/// The sysroot of a target in a toolchain.
pub fn sysroot(toolchain: &Built, target: Arch) -> PathBuf {
    toolchain.dir.join(target.short_triple())
}

/// What clang's configuration file says on board, where the target's sysroot is the root file system.
pub fn board_config() -> String {
    prefix::config(None)
}

/// The toolchain that runs on `arch`: the host's, or one that the host's cross builds.
///
/// # Errors
/// As [`host`], and what the build of LLVM may meet.
pub fn on_board(dirs: &Dirs, arch: Arch) -> Result<Built> {
    if arch == Arch::host()? {
        return host();
    }
    let native = host_llvm()?;
    let compiler = Compiler::own(&native);
    let own = complete(arch)?;
    let malloc = allocator::build(dirs, &compiler, &own.target)?;
    let compression = compression::build(dirs, &compiler, &own.target)?;
    let llvm = llvm::build(dirs, &compiler, &own.target, &malloc, &compression, Some(&native))?;
    let others = Arch::ALL.into_iter().filter(|other| *other != arch).map(complete);
    let targets = std::iter::once(Ok(own)).chain(others).collect::<Result<Vec<_>>>()?;
    prefix::build(dirs, arch, &llvm, &targets)
}

/// The libraries of a target, which the build script built.
fn complete(arch: Arch) -> Result<Complete> {
    let target = Target {
        arch,
        headers: result("linux-headers", arch)?,
        musl: result("musl", arch)?,
        compiler_rt: result("compiler-rt", arch)?,
        libcxx: result("libcxx", arch)?,
    };
    Ok(Complete { target, compat: result("compat", arch)?, runtimes: result("runtimes", arch)? })
}

fn result(stage: &str, arch: Arch) -> Result<Built> {
    let wanted = format!("{stage}-{arch}");
    let row = RESULTS.iter().find(|row| row.0 == wanted);
    let (stage, key, dir, digest) = *row.with_context(|| format!("the toolchain's build made no {wanted}"))?;
    Ok(Built { stage: stage.into(), key: key.into(), dir: Path::new(dir).into(), digest: digest.into() })
}
