//! The allocator that LLVM is linked with.

use build_support::{Built, Dirs, Result, Stage};

use super::target::{Compiler, Target, lay_sysroot};

/// What LLVM's link needs beside `malloc.o`: every thread starts through the allocator.
pub const LINK: &str = "-Wl,--wrap=pthread_create";

/// Leaves `malloc.o`.
pub fn build(dirs: &Dirs, compiler: &Compiler, target: &Target) -> Result<Built> {
    let llvm = vendor::source("llvm")?;
    Stage::new(dirs, "allocator", target.arch)
        .recipe("allocator.rs", include_str!("allocator.rs"))
        .recipe("target.rs", include_str!("target.rs"))
        .input("malloc.c", include_str!("../driver/malloc.c"))
        .source("llvm", &llvm.id())
        .tool("clang", &compiler.version)
        .needs(&target.musl)
        .build(|job| {
            lay_sysroot(job, &[&target.musl])?;
            compiler.lay_resource(job, &[])?;
            job.cmd(compiler.path("clang")?)
                .args(compiler.flags(target.arch, job).split(' '))
                .args(["-std=gnu11", "-O2", "-DNDEBUG"])
                .arg("-fno-builtin-malloc") // The compiler must not reason about malloc inside malloc.
                .arg("-ftls-model=local-exec") // A static program's thread-local data is one instruction away.
                .arg("-I")
                .arg(llvm.unpack(dirs)?.join("llvm/lib/Support/rpmalloc"))
                .arg("-c")
                .arg(dirs.root.join("toolchain/driver/malloc.c"))
                .arg("-o")
                .arg(job.out.join("malloc.o"))
                .run("compile the allocator")
        })
}
