//! The C library, static only.

use build_support::{Arch, Built, Dirs, Result, Stage, host};

use super::target::Compiler;

/// `-O2`: musl's own default `-Os` makes string functions slow, and a compiler lives on them.
const CFLAGS: &str = "-O2 -ffunction-sections -fdata-sections";

/// Leaves `usr/include` and `usr/lib`.
pub fn build(dirs: &Dirs, arch: Arch, compiler: &Compiler) -> Result<Built> {
    let musl = vendor::source("musl")?;
    Stage::new(dirs, "musl", arch)
        .recipe("musl.rs", include_str!("musl.rs"))
        .source("musl", &musl.id())
        .tool("clang", &compiler.version)
        .build(|job| {
            let build = job.dir("build")?;
            let clang = compiler.program("clang");
            job.cmd(musl.unpack(dirs)?.join("configure"))
                .dir(&build)
                .arg(format!("--target={}", arch.short_triple()))
                .args(["--prefix=/usr", "--syslibdir=/lib"])
                .arg("--disable-shared") // Everything is static: there is no dynamic loader.
                .arg("--disable-wrapper") // A compiler that knows its target needs no musl-clang.
                .env("CC", format!("{} --target={}", clang.display(), arch.triple()))
                .env("AR", compiler.program("llvm-ar"))
                .env("RANLIB", compiler.program("llvm-ranlib"))
                .env("CFLAGS", CFLAGS)
                .run("configure musl")?;
            job.cmd("make")
                .dir(&build)
                .arg(format!("-j{}", host::jobs()))
                .arg("install")
                .def("DESTDIR", &job.out)
                .run("build musl")
        })
}
