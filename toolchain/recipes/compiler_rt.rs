//! The functions that compiled code calls by itself, and the start files that run constructors.

use build_support::{Arch, Built, Dirs, Result, Stage, host};

use super::target::{Compiler, lay_sysroot};

/// Leaves `lib/<triple>/`, to be laid into a resource directory.
pub fn build(dirs: &Dirs, arch: Arch, compiler: &Compiler, musl: &Built) -> Result<Built> {
    let llvm = vendor::source("llvm")?;
    Stage::new(dirs, "compiler-rt", arch)
        .recipe("compiler_rt.rs", include_str!("compiler_rt.rs"))
        .recipe("target.rs", include_str!("target.rs"))
        .source("llvm", &llvm.id())
        .tool("clang", &compiler.version)
        .needs(musl)
        .build(|job| {
            lay_sysroot(job, &[musl])?;
            compiler.lay_resource(job, &[])?;
            let build = job.dir("build")?;
            job.cmd("cmake")
                .arg("-S")
                .arg(llvm.unpack(dirs)?.join("compiler-rt/lib/builtins"))
                .arg("-B")
                .arg(&build)
                .args(["-G", "Ninja"])
                .args(compiler.cmake(arch, job)?)
                .def("-DCOMPILER_RT_INSTALL_PATH", &job.out)
                .arg("-DCOMPILER_RT_STANDALONE_BUILD=ON")
                .arg("-DCOMPILER_RT_DEFAULT_TARGET_ONLY=ON")
                .arg("-DCOMPILER_RT_BUILD_CRT=ON") // musl's own crt files do not run C++ constructors' frames.
                .arg("-DLLVM_ENABLE_PER_TARGET_RUNTIME_DIR=ON") // Two targets share a resource directory.
                .run("configure compiler-rt")?;
            job.cmd("ninja")
                .arg("-C")
                .arg(&build)
                .arg(format!("-j{}", host::jobs()))
                .arg("install")
                .run("build compiler-rt")
        })
}
