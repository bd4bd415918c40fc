//! The allocator that LLVM is linked with.

use build_support::tools::Compile;
use build_support::{Built, Dirs, Places, Result, Stage, places};

use super::target::{Compiler, Target, lay_sysroot};

/// What LLVM's link needs beside `malloc.o`: every thread starts through the allocator.
pub const LINK: &str = "-Wl,--wrap=pthread_create";

/// Leaves `malloc.o`.
pub fn build(dirs: &Dirs, compiler: &Compiler, target: &Target) -> Result<Built> {
    let llvm = vendor::source("llvm")?;
    let clang = compiler.path("clang")?;
    let compile = |places: &Places| Compile::new(&clang, target.arch, &flags(compiler, target, places));
    Stage::new(dirs, "allocator", target.arch)
        .recipe("allocator.rs", include_str!("allocator.rs"))
        .input("compile", &places::lines(&compile(&Places::named())?.args))
        .input("malloc.c", include_str!("../driver/malloc.c"))
        .source("llvm", &llvm.id())
        .tool("clang", &compiler.version)
        .needs(&target.musl)
        .build(|job| {
            lay_sysroot(job, &[&target.musl])?;
            compiler.lay_resource(job, &[])?;
            compile(&Places::of(job, &llvm.unpack(dirs)?))?
                .cmd(job)
                .arg(dirs.root.join("toolchain/driver/malloc.c"))
                .arg("-o")
                .arg(job.out.join("malloc.o"))
                .run("compile the allocator")
        })
}

fn flags(compiler: &Compiler, target: &Target, places: &Places) -> Vec<String> {
    let mut flags = compiler.flags(target.arch, places);
    flags.extend([
        "-std=gnu11".into(),
        "-O2".into(),
        "-DNDEBUG".into(),
        "-fno-builtin-malloc".into(), // The compiler must not reason about malloc inside malloc.
        "-ftls-model=local-exec".into(), // A static program's thread-local data is one instruction away.
        format!("-I{}/llvm/lib/Support/rpmalloc", places.source),
        "-c".into(),
    ]);
    flags
}
