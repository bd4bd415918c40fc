//! The functions that compiled code calls by itself, and the start files that run constructors.

use build_support::{Arch, Built, Dirs, Places, Result, Stage, places};

use super::target::{Compiler, lay_sysroot};

/// Leaves `lib/<triple>/`, to be laid into a resource directory.
pub fn build(dirs: &Dirs, arch: Arch, compiler: &Compiler, musl: &Built) -> Result<Built> {
    let llvm = vendor::source("llvm")?;
    Stage::new(dirs, "compiler-rt", arch)
        .recipe("compiler_rt.rs", include_str!("compiler_rt.rs"))
        .recipe("target.rs", include_str!("target.rs"))
        .input("cmake", &places::lines(&definitions(arch, &compiler.named(), &Places::named())?))
        .source("llvm", &llvm.id())
        .tool("clang", &compiler.version)
        .needs(musl)
        .build(|job| {
            lay_sysroot(job, &[musl])?;
            compiler.lay_resource(job, &[])?;
            let source = llvm.unpack(dirs)?;
            job.cmake(source.join("compiler-rt/lib/builtins"))
                .define(definitions(arch, compiler, &Places::of(job, &source))?)
                .run("build compiler-rt")
        })
}

fn definitions(arch: Arch, compiler: &Compiler, places: &Places) -> Result<Vec<String>> {
    let mut definitions = compiler.cmake(arch, places)?;
    definitions.extend([
        format!("COMPILER_RT_INSTALL_PATH={}", places.out),
        "COMPILER_RT_STANDALONE_BUILD=ON".into(),
        "COMPILER_RT_DEFAULT_TARGET_ONLY=ON".into(),
        "COMPILER_RT_BUILD_CRT=ON".into(), // musl's own crt files do not run C++ constructors' frames.
        // `__atomic_load` and its like, for objects that no instruction reads at once. There is no libatomic; in static
        // programs the table of locks cannot exist twice, for fear of which upstream leaves this out.
        "COMPILER_RT_EXCLUDE_ATOMIC_BUILTIN=OFF".into(),
        "LLVM_ENABLE_PER_TARGET_RUNTIME_DIR=ON".into(), // Two targets share a resource directory.
    ]);
    Ok(definitions)
}
