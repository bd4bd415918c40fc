//! The C++ library with its ABI library and unwinder, static, checked by a program before LLVM is built on it.

use build_support::tools::Compile;
use build_support::{Arch, Built, Dirs, Job, Places, Result, Stage, ensure, fs, places, tree};

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
        .input("cmake", &places::lines(&definitions(arch, &compiler.named(), &Places::named())?))
        .input("check.cpp", include_str!("check.cpp"))
        .source("llvm", &llvm.id())
        .tool("clang", &compiler.version)
        .needs(headers)
        .needs(musl)
        .needs(compiler_rt)
        .build(|job| {
            let sysroot = lay_sysroot(job, &[headers, musl])?;
            compiler.lay_resource(job, &[compiler_rt])?;
            let source = llvm.unpack(dirs)?;
            let places = Places::of(job, &source);
            job.cmake(source.join("runtimes"))
                .define(definitions(arch, compiler, &places)?)
                .env("DESTDIR", &job.out)
                .run("build libc++")?;
            tree::copy(&job.out, &sysroot)?;
            check(job, arch, compiler, &places)
        })
}

fn definitions(arch: Arch, compiler: &Compiler, places: &Places) -> Result<Vec<String>> {
    let mut definitions = compiler.cmake(arch, places)?;
    definitions.push("CMAKE_INSTALL_PREFIX=/usr".into());
    definitions.push("LLVM_ENABLE_RUNTIMES=libunwind;libcxxabi;libcxx".into());
    definitions.extend(OPTIONS.iter().map(|option| option.to_string()));
    Ok(definitions)
}

const OPTIONS: &[&str] = &[
    "LIBUNWIND_ENABLE_SHARED=OFF",
    "LIBCXXABI_ENABLE_SHARED=OFF",
    "LIBCXX_ENABLE_SHARED=OFF",
    "LIBUNWIND_USE_COMPILER_RT=ON",
    "LIBCXXABI_USE_COMPILER_RT=ON",
    "LIBCXX_USE_COMPILER_RT=ON",
    "LIBCXXABI_USE_LLVM_UNWINDER=ON",
    // libc++.a holds libc++abi, so that -lc++ is enough.
    "LIBCXX_ENABLE_STATIC_ABI_LIBRARY=ON",
    // clang names libunwind by itself.
    "LIBCXXABI_ENABLE_STATIC_UNWINDER=OFF",
    // Locale and rune tables differ from glibc's.
    "LIBCXX_HAS_MUSL_LIBC=ON",
    // These checks cannot link here and so find whatever they look for; musl has neither.
    "LIBCXXABI_HAS_CXA_THREAD_ATEXIT_IMPL=OFF",
    "LIBCXX_HAS_ATOMIC_LIB=OFF",
    "LLVM_INCLUDE_TESTS=OFF",
    "LIBUNWIND_INCLUDE_TESTS=OFF",
    "LIBCXXABI_INCLUDE_TESTS=OFF",
    "LIBCXX_INCLUDE_TESTS=OFF",
    "LIBCXX_INCLUDE_BENCHMARKS=OFF",
];

/// Links a program with exceptions, threads and thread-local destructors, and runs it where it can run: what is
/// missing here would end LLVM's build at its link, after most of an hour.
fn check(job: &Job, arch: Arch, compiler: &Compiler, places: &Places) -> Result<()> {
    let (source, program) = (job.work.join("check.cpp"), job.work.join("check"));
    fs::write(&source, include_str!("check.cpp"))?;
    Compile::new(compiler.path("clang++")?, arch, &link(arch, compiler, places)?)?
        .cmd(job)
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

/// What compiles the program and links it; it changes nothing of the result.
fn link(arch: Arch, compiler: &Compiler, places: &Places) -> Result<Vec<String>> {
    let mut flags = compiler.flags(arch, places);
    flags.extend(["-stdlib=libc++", "-std=c++20", "-O1"].map(String::from));
    flags.extend(compiler.link()?);
    Ok(flags)
}
