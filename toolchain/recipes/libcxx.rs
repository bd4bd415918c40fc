//! The C++ library with its ABI library and unwinder, static, checked by a program before LLVM is built on it.

use build_support::{Arch, Built, Dirs, Job, Result, Stage, ensure, fs, host};

use super::target::{Compiler, lay_sysroot};

/// Leaves `usr/include/c++` and `usr/lib`.
pub fn build(
    dirs: &Dirs,
    arch: Arch,
    compiler: &Compiler,
    headers: &Built,
    musl: &Built,
    compiler_rt: &Built,
) -> Result<Built> {
    let llvm = vendor::source("llvm")?;
    Stage::new(dirs, "libcxx", arch)
        .recipe("libcxx.rs", include_str!("libcxx.rs"))
        .recipe("target.rs", include_str!("target.rs"))
        .input("check.cpp", include_str!("check.cpp"))
        .source("llvm", &llvm.id())
        .tool("clang", &compiler.version)
        .needs(headers)
        .needs(musl)
        .needs(compiler_rt)
        .build(|job| {
            let sysroot = lay_sysroot(job, &[headers, musl])?;
            compiler.lay_resource(job, &[compiler_rt])?;
            let build = job.dir("build")?;
            job.cmd("cmake")
                .arg("-S")
                .arg(llvm.unpack(dirs)?.join("runtimes"))
                .arg("-B")
                .arg(&build)
                .args(["-G", "Ninja"])
                .args(compiler.cmake(arch, job)?)
                .arg("-DCMAKE_INSTALL_PREFIX=/usr")
                .arg("-DLLVM_ENABLE_RUNTIMES=libunwind;libcxxabi;libcxx")
                .args(OPTIONS)
                .run("configure libc++")?;
            job.cmd("ninja")
                .arg("-C")
                .arg(&build)
                .arg(format!("-j{}", host::jobs()))
                .arg("install")
                .env("DESTDIR", &job.out)
                .run("build libc++")?;
            build_support::tree::copy(&job.out, &sysroot)?;
            check(job, arch, compiler)
        })
}

const OPTIONS: &[&str] = &[
    "-DLIBUNWIND_ENABLE_SHARED=OFF",
    "-DLIBCXXABI_ENABLE_SHARED=OFF",
    "-DLIBCXX_ENABLE_SHARED=OFF",
    "-DLIBUNWIND_USE_COMPILER_RT=ON",
    "-DLIBCXXABI_USE_COMPILER_RT=ON",
    "-DLIBCXX_USE_COMPILER_RT=ON",
    "-DLIBCXXABI_USE_LLVM_UNWINDER=ON",
    // libc++.a holds libc++abi, so that -lc++ is enough.
    "-DLIBCXX_ENABLE_STATIC_ABI_LIBRARY=ON",
    // clang names libunwind by itself.
    "-DLIBCXXABI_ENABLE_STATIC_UNWINDER=OFF",
    // Locale and rune tables differ from glibc's.
    "-DLIBCXX_HAS_MUSL_LIBC=ON",
    // These checks cannot link here and so find whatever they look for; musl has neither.
    "-DLIBCXXABI_HAS_CXA_THREAD_ATEXIT_IMPL=OFF",
    "-DLIBCXX_HAS_ATOMIC_LIB=OFF",
    "-DLLVM_INCLUDE_TESTS=OFF",
    "-DLIBUNWIND_INCLUDE_TESTS=OFF",
    "-DLIBCXXABI_INCLUDE_TESTS=OFF",
    "-DLIBCXX_INCLUDE_TESTS=OFF",
    "-DLIBCXX_INCLUDE_BENCHMARKS=OFF",
];

/// Links a program with exceptions, threads and thread-local destructors, and runs it where it can run: what is
/// missing here would end LLVM's build at its link, after most of an hour.
fn check(job: &Job, arch: Arch, compiler: &Compiler) -> Result<()> {
    let (source, program) = (job.work.join("check.cpp"), job.work.join("check"));
    fs::write(&source, include_str!("check.cpp"))?;
    job.cmd(compiler.program("clang++"))
        .args(compiler.flags(arch, job).split(' '))
        .args(["-stdlib=libc++", "-std=c++20", "-O1", "-static", "-fuse-ld=lld"])
        .args(["--rtlib=compiler-rt", "--unwindlib=libunwind"])
        .arg(&source)
        .arg("-o")
        .arg(&program)
        .run("link a C++ program with the new libraries")?;
    if arch == Arch::host()? {
        job.cmd(&program).run("run a C++ program with the new libraries")?;
    }
    ensure!(program.is_file(), "the linker left no program");
    Ok(())
}
