//! The C library, static only.

use build_support::{Arch, Built, Dirs, Places, Result, Stage, host, places};

use super::target::Compiler;

/// Leaves `usr/include` and `usr/lib`.
pub fn build(dirs: &Dirs, arch: Arch, compiler: &Compiler) -> Result<Built> {
    let musl = vendor::source("musl")?;
    let named = Places::named();
    Stage::new(dirs, "musl", arch)
        .recipe("musl.rs", include_str!("musl.rs"))
        .input("configure", &places::lines(&[variables(arch, &compiler.named())?, options(arch)].concat()))
        .input("make", &places::lines(&install(&named)))
        .source("musl", &musl.id())
        .tool("clang", &compiler.version)
        .build(|job| {
            let build = job.dir("build")?;
            let source = musl.unpack(dirs)?;
            let variables = variables(arch, compiler)?;
            let configure = job.cmd(source.join("configure")).dir(&build).args(options(arch));
            variables.iter().fold(configure, |cmd, variable| cmd.var(variable)).run("configure musl")?;
            job.make()
                .dir(&build)
                .arg(format!("-j{}", host::jobs()))
                .args(install(&Places::of(job, &source)))
                .run("build musl")
        })
}

fn options(arch: Arch) -> Vec<String> {
    vec![
        format!("--target={}", arch.short_triple()),
        "--prefix=/usr".into(),
        "--syslibdir=/lib".into(),
        "--disable-shared".into(),  // Everything is static: there is no dynamic loader.
        "--disable-wrapper".into(), // A compiler that knows its target needs no musl-clang.
    ]
}

fn variables(arch: Arch, compiler: &Compiler) -> Result<Vec<String>> {
    Ok(vec![
        format!("CC={} --target={}", compiler.path("clang")?, arch.triple()),
        format!("AR={}", compiler.path("llvm-ar")?),
        format!("RANLIB={}", compiler.path("llvm-ranlib")?),
        // -O2: musl's own default -Os makes string functions slow, and a compiler lives on them.
        // -fPIE: for programs that want to be position-independent (-static-pie), whatever the compiler's default is.
        "CFLAGS=-O2 -fPIE -ffunction-sections -fdata-sections".into(),
    ])
}

fn install(places: &Places) -> Vec<String> {
    vec!["install".into(), format!("DESTDIR={}", places.out)]
}
