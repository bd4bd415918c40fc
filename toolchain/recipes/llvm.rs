//! LLVM: one static multicall binary that runs on any Linux of its architecture, on the host and on board.
//!
//! The host's is built once by the host's compiler, and builds the other architecture's.

use std::path::Path;

use build_support::{Arch, Built, Dirs, Job, Result, Stage, fs, host, preflight, tree};

use super::allocator;
use super::target::{Compiler, Target, lay_sysroot};

/// Builds LLVM for the architecture of `target` with `compiler`, on `target`'s libraries. Its programs cannot run on
/// another architecture, whose build uses those in `native`, the host's LLVM.
/// Leaves `bin/llvm` with the few names that building libraries needs, `lib/clang/<version>/include`, and in the host's
/// result `libexec` with the programs that a cross build runs.
pub fn build(
    dirs: &Dirs,
    compiler: &Compiler,
    target: &Target,
    malloc: &Built,
    native: Option<&Built>,
) -> Result<Built> {
    let llvm = vendor::source("llvm")?;
    let stage = Stage::new(dirs, "llvm", target.arch)
        .recipe("llvm.rs", include_str!("llvm.rs"))
        .input("driver/CMakeLists.txt", include_str!("../driver/CMakeLists.txt"))
        .input("driver/strings.cpp", include_str!("../driver/strings.cpp"))
        .source("llvm", &llvm.id())
        .tool("clang", &compiler.version)
        .needs(&target.headers)
        .needs(&target.musl)
        .needs(&target.compiler_rt)
        .needs(&target.libcxx)
        .needs(malloc)
        .resumable();
    stage.build(|job| {
        preflight::check_room(dirs)?;
        let source = llvm.unpack(dirs)?;
        if !job.work.join("build/build.ninja").is_file() {
            // Only once: new times on the headers would make ninja compile everything again.
            lay_sysroot(job, &[&target.headers, &target.musl, &target.libcxx])?;
            compiler.lay_resource(job, &[&target.compiler_rt])?;
            lay_driver(job)?;
        }
        configure(job, compiler, target.arch, &source, malloc, native)?;
        compile(job)?;
        install(job, compiler)?;
        if native.is_none() { install_native(job, compiler) } else { Ok(()) }
    })
}

/// The external project that completes the multicall binary, with a fixed path for the compiler's command line.
fn lay_driver(job: &Job) -> Result<()> {
    let driver = job.dir("driver")?;
    fs::write(driver.join("CMakeLists.txt"), include_str!("../driver/CMakeLists.txt"))?;
    Ok(fs::write(driver.join("strings.cpp"), include_str!("../driver/strings.cpp"))?)
}

fn configure(
    job: &Job,
    compiler: &Compiler,
    arch: Arch,
    source: &Path,
    malloc: &Built,
    native: Option<&Built>,
) -> Result<()> {
    let (work, triple) = (job.work.display(), arch.triple());
    let flags = [
        format!("--target={triple}"),
        format!("--sysroot={work}/sysroot"),
        format!("-resource-dir={work}/resource"),
        // File names in assertions must not tell where the store is.
        format!("-ffile-prefix-map={work}=/llvm -ffile-prefix-map={}=/llvm/src", source.display()),
    ]
    .join(" ");
    let link = [
        "-static -fuse-ld=lld --rtlib=compiler-rt --unwindlib=libunwind".into(),
        "-Wl,--icf=all".into(), // Equal template instances become one: 8 % smaller.
        format!("{} {}", malloc.dir.join("malloc.o").display(), allocator::LINK),
    ]
    .join(" ");
    job.cmd("cmake")
        .arg("-S")
        .arg(source.join("llvm"))
        .arg("-B")
        .arg(job.work.join("build"))
        .args(["-G", "Ninja"])
        .def("-DCMAKE_C_COMPILER", compiler.path("clang")?)
        .def("-DCMAKE_CXX_COMPILER", compiler.path("clang++")?)
        .def("-DCMAKE_AR", compiler.path("llvm-ar")?)
        .def("-DCMAKE_RANLIB", compiler.path("llvm-ranlib")?)
        .def("-DCMAKE_NM", compiler.path("llvm-nm")?)
        .def("-DCMAKE_C_FLAGS", &flags)
        .def("-DCMAKE_CXX_FLAGS", format!("{flags} -stdlib=libc++"))
        .def("-DCMAKE_ASM_FLAGS", &flags)
        .def("-DCMAKE_EXE_LINKER_FLAGS", link)
        .def("-DLLVM_HOST_TRIPLE", triple)
        .def("-DLLVM_DEFAULT_TARGET_TRIPLE", triple)
        .def("-DLLVM_EXTERNAL_DRIVER_SOURCE_DIR", job.work.join("driver"))
        .args(native.map_or(Vec::new(), |native| cross(arch, native)))
        .args(OPTIONS)
        // Not part of the key: the objects are the same.
        .def("-DLLVM_CCACHE_BUILD", if preflight::ccache().is_some() { "ON" } else { "OFF" })
        .run("configure LLVM")
}

/// What a build for another architecture adds.
fn cross(arch: Arch, native: &Built) -> Vec<String> {
    vec![
        // Without a system name CMake takes the build for a native one and tries to run what it compiled.
        "-DCMAKE_SYSTEM_NAME=Linux".into(),
        format!("-DCMAKE_SYSTEM_PROCESSOR={}", arch.machine()),
        // Else LLVM is configured a second time for the host, to make these.
        format!("-DLLVM_NATIVE_TOOL_DIR={}", native.dir.join("libexec").display()),
    ]
}

fn compile(job: &Job) -> Result<()> {
    job.cmd("ninja")
        .arg("-C")
        .arg(job.work.join("build"))
        .arg(format!("-j{}", host::jobs()))
        .arg("distribution")
        .run("build LLVM")
}

fn install(job: &Job, compiler: &Compiler) -> Result<()> {
    let bin = job.out.join("bin");
    fs::create_dir_all(&bin)?;
    strip(job, compiler, "llvm", &bin)?;
    for name in NAMES {
        tree::link("llvm", &bin.join(name))?;
    }
    tree::copy(&job.work.join("build/lib/clang"), &job.out.join("lib/clang"))
}

fn install_native(job: &Job, compiler: &Compiler) -> Result<()> {
    let libexec = job.out.join("libexec");
    fs::create_dir_all(&libexec)?;
    for name in NATIVE {
        strip(job, compiler, name, &libexec)?;
    }
    Ok(())
}

fn strip(job: &Job, compiler: &Compiler, name: &str, to: &Path) -> Result<()> {
    job.cmd(compiler.path("llvm-strip")?)
        .arg("-o")
        .arg(to.join(name))
        .arg(job.work.join("build/bin").join(name))
        .run(&format!("strip {name}"))
}

/// The names that building the other target needs; `prefix.rs` adds all others.
const NAMES: &[&str] = &["clang", "clang++", "ld.lld", "llvm-ar", "llvm-ranlib", "llvm-nm", "llvm-strip"];

/// What LLVM's build makes and runs, to make its own source.
const NATIVE: &[&str] = &["llvm-tblgen", "llvm-min-tblgen", "clang-tblgen"];

const OPTIONS: &[&str] = &[
    "-DCMAKE_BUILD_TYPE=Release",
    // -O3, CMake's default, gives 20 % more code and no faster compiler.
    "-DCMAKE_C_FLAGS_RELEASE=-O2 -DNDEBUG",
    "-DCMAKE_CXX_FLAGS_RELEASE=-O2 -DNDEBUG",
    "-DLLVM_ENABLE_PROJECTS=clang;lld",
    "-DLLVM_TARGETS_TO_BUILD=X86;AArch64",
    // One binary instead of twenty; a tool enters it only when it is named below.
    "-DLLVM_TOOL_LLVM_DRIVER_BUILD=ON",
    "-DLLVM_EXTERNAL_PROJECTS=driver",
    "-DLLVM_DISTRIBUTION_COMPONENTS=llvm-driver;clang;lld;llvm-ar;llvm-cxxfilt;llvm-nm;llvm-objcopy;llvm-objdump;\
     llvm-readobj;llvm-size;llvm-symbolizer;driver-strings;clang-resource-headers",
    // Static at a fixed address: no loader, and no 400,000 relocations at each start.
    "-DLLVM_BUILD_STATIC=ON",
    "-DLLVM_ENABLE_PIC=OFF",
    // Nothing unwinds through LLVM, which is built without exceptions: 5 % smaller.
    "-DLLVM_ENABLE_UNWIND_TABLES=OFF",
    // No library of the host may slip in.
    "-DLLVM_ENABLE_ZLIB=OFF",
    "-DLLVM_ENABLE_ZSTD=OFF",
    "-DLLVM_ENABLE_LIBXML2=OFF",
    "-DLLVM_ENABLE_LIBEDIT=OFF",
    "-DLLVM_ENABLE_CURL=OFF",
    "-DLLVM_ENABLE_HTTPLIB=OFF",
    "-DLLVM_ENABLE_LIBPFM=OFF",
    "-DLLVM_ENABLE_FFI=OFF",
    "-DLLVM_ENABLE_Z3_SOLVER=OFF",
    // What a compiler on board does not need.
    "-DLLVM_ENABLE_PLUGINS=OFF",
    "-DCLANG_PLUGIN_SUPPORT=OFF",
    "-DLLVM_ENABLE_BINDINGS=OFF",
    "-DLLVM_ENABLE_BACKTRACES=OFF",
    "-DCLANG_ENABLE_STATIC_ANALYZER=OFF",
    "-DCLANG_ENABLE_OBJC_REWRITER=OFF",
    "-DLLVM_INCLUDE_TESTS=OFF",
    "-DLLVM_INCLUDE_EXAMPLES=OFF",
    "-DLLVM_INCLUDE_BENCHMARKS=OFF",
    "-DLLVM_INCLUDE_DOCS=OFF",
    "-DLLVM_INCLUDE_UTILS=OFF",
    "-DCLANG_INCLUDE_TESTS=OFF",
    "-DCLANG_INCLUDE_DOCS=OFF",
    // Upstream's code, upstream's warnings.
    "-DLLVM_ENABLE_WARNINGS=OFF",
    // The version is the release's, whatever checkout this is built in.
    "-DLLVM_APPEND_VC_REV=OFF",
    // The compiler's defaults are what is on board.
    "-DCLANG_DEFAULT_LINKER=lld",
    "-DCLANG_DEFAULT_RTLIB=compiler-rt",
    "-DCLANG_DEFAULT_UNWINDLIB=libunwind",
    "-DCLANG_DEFAULT_CXX_STDLIB=libc++",
    "-DCLANG_DEFAULT_OBJCOPY=llvm-objcopy",
    "-DCLANG_DEFAULT_PIE_ON_LINUX=OFF",
    // A link of LLVM takes gigabytes.
    "-DLLVM_PARALLEL_LINK_JOBS=1",
];
