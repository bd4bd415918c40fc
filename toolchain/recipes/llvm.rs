//! LLVM: one static multicall binary that runs on any Linux of its architecture, on the host and on board.
//!
//! The host's is built once by the host's compiler, and builds the other architecture's.

use std::path::Path;

use build_support::{Arch, Built, Dirs, Job, Places, Result, Stage, fs, places, preflight, tree};

use super::allocator;
use super::target::{Compiler, Target, lay_sysroot};

/// Builds LLVM for the architecture of `target` with `compiler`, on `target`'s libraries. Its programs cannot run on
/// another architecture, whose build uses those in `native`, the host's LLVM. `compression` is what `compression.rs` built.
/// Leaves `bin/llvm` with the few names that building libraries needs, `lib/clang/<version>/include`, and in the host's
/// result `libexec` with the programs that a cross build runs.
pub fn build(
    dirs: &Dirs,
    compiler: &Compiler,
    target: &Target,
    malloc: &Built,
    compression: &[Built],
    native: Option<&Built>,
) -> Result<Built> {
    let llvm = vendor::source("llvm")?;
    let parts = Parts { target, malloc, link: allocator::LINK, native };
    let stage = Stage::new(dirs, "llvm", target.arch)
        .recipe("llvm.rs", include_str!("llvm.rs"))
        .input("cmake", &places::lines(&definitions(&parts, &compiler.named(), &Places::named())?))
        .source("llvm", &llvm.id())
        .tool("clang", &compiler.version)
        .needs(&target.headers)
        .needs(&target.musl)
        .needs(&target.compiler_rt)
        .needs(&target.libcxx)
        .needs(malloc)
        .resumable();
    let stage = DRIVER.iter().fold(stage, |stage, (name, text)| stage.input(&format!("driver/{name}"), text));
    let stage = compression.iter().fold(stage, |stage, library| stage.needs(library));
    stage.build(|job| {
        preflight::check_room(dirs)?;
        let source = llvm.unpack(dirs)?;
        if !job.work.join("build/build.ninja").is_file() {
            // Only once: new times on the headers would make ninja compile everything again.
            lay_sysroot(job, &[&target.headers, &target.musl, &target.libcxx])?;
            compiler.lay_resource(job, &[&target.compiler_rt])?;
            compression.iter().try_for_each(|library| tree::copy(&library.dir, &job.work.join("libraries")))?;
            lay_driver(job)?;
        }
        job.cmake(source.join("llvm"))
            .define(definitions(&parts, compiler, &Places::of(job, &source))?)
            // Not part of the key: how fast it is built.
            .define([format!("LLVM_CCACHE_BUILD={}", if preflight::ccache().is_some() { "ON" } else { "OFF" })])
            .define(["LLVM_PARALLEL_LINK_JOBS=1"]) // A link of LLVM takes gigabytes.
            .target("distribution")
            .run("build LLVM")?;
        install(job, compiler)?;
        if native.is_none() { install_native(job, compiler) } else { Ok(()) }
    })
}

/// What CMake's definitions depend on.
pub struct Parts<'a> {
    /// The libraries that it is linked with.
    pub target: &'a Target,
    /// The allocator.
    pub malloc: &'a Built,
    /// What the allocator wants from the linker.
    pub link: &'a str,
    /// The LLVM whose programs a cross build runs.
    pub native: Option<&'a Built>,
}

/// The external project that completes the multicall binary.
const DRIVER: &[(&str, &str)] = &[
    ("CMakeLists.txt", include_str!("../driver/CMakeLists.txt")),
    ("strings.cpp", include_str!("../driver/strings.cpp")),
    ("profdata.cpp", include_str!("../driver/profdata.cpp")),
    ("cov.cpp", include_str!("../driver/cov.cpp")),
];

/// Lays it at a fixed path for the compiler's command line.
fn lay_driver(job: &Job) -> Result<()> {
    let driver = job.dir("driver")?;
    DRIVER.iter().try_for_each(|(name, text)| Ok(fs::write(driver.join(name), text)?))
}

/// CMake's definitions, but those that do not change the result.
///
/// # Errors
/// As [`Compiler::path`].
pub fn definitions(parts: &Parts, compiler: &Compiler, places: &Places) -> Result<Vec<String>> {
    let (work, triple) = (&places.work, parts.target.arch.triple());
    let flags = [
        format!("--target={triple}"),
        format!("--sysroot={work}/sysroot"),
        format!("-resource-dir={work}/resource"),
        "-fno-pie".into(), // LLVM_ENABLE_PIC=OFF leaves it to the compiler's default.
        // File names in assertions must not tell where the store is.
        format!("-ffile-prefix-map={work}=/llvm -ffile-prefix-map={}=/llvm/src", places.source),
    ]
    .join(" ");
    let link = [
        compiler.link()?.join(" "),
        "-Wl,--icf=all".into(), // Equal template instances become one: 8 % smaller.
        format!("{}/malloc.o {}", places.result(parts.malloc), parts.link),
    ]
    .join(" ");
    let mut definitions = compiler.cmake_programs()?;
    definitions.extend([
        format!("CMAKE_C_FLAGS={flags}"),
        format!("CMAKE_CXX_FLAGS={flags} -stdlib=libc++"),
        format!("CMAKE_ASM_FLAGS={flags}"),
        format!("CMAKE_EXE_LINKER_FLAGS={link}"),
        format!("LLVM_HOST_TRIPLE={triple}"),
        format!("LLVM_DEFAULT_TARGET_TRIPLE={triple}"),
        format!("LLVM_EXTERNAL_DRIVER_SOURCE_DIR={work}/driver"),
        // Not in the sysroot: named as an include directory, that would stand before libc++'s headers.
        format!("ZLIB_INCLUDE_DIR={work}/libraries/include"),
        format!("ZLIB_LIBRARY_RELEASE={work}/libraries/lib/libz.a"),
        format!("zstd_INCLUDE_DIR={work}/libraries/include"),
        format!("zstd_LIBRARY={work}/libraries/lib/libzstd.a"),
        format!("zstd_STATIC_LIBRARY={work}/libraries/lib/libzstd.a"),
    ]);
    definitions.extend(parts.native.map_or(Vec::new(), |native| cross(parts.target.arch, native, places)));
    definitions.extend(OPTIONS.iter().map(|option| option.to_string()));
    Ok(definitions)
}

/// What a build for another architecture adds.
fn cross(arch: Arch, native: &Built, places: &Places) -> Vec<String> {
    vec![
        // Without a system name CMake takes the build for a native one and tries to run what it compiled.
        "CMAKE_SYSTEM_NAME=Linux".into(),
        format!("CMAKE_SYSTEM_PROCESSOR={}", arch.machine()),
        // Else LLVM is configured a second time for the host, to make these.
        format!("LLVM_NATIVE_TOOL_DIR={}/libexec", places.result(native)),
    ]
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
    "CMAKE_BUILD_TYPE=Release",
    "CMAKE_INSTALL_PREFIX=/usr",
    // -O3, CMake's default, gives 20 % more code and no faster compiler.
    "CMAKE_C_FLAGS_RELEASE=-O2 -DNDEBUG",
    "CMAKE_CXX_FLAGS_RELEASE=-O2 -DNDEBUG",
    "LLVM_ENABLE_PROJECTS=clang;lld",
    "LLVM_TARGETS_TO_BUILD=X86;AArch64",
    // One binary instead of twenty; a tool enters it only when it is named below.
    "LLVM_TOOL_LLVM_DRIVER_BUILD=ON",
    "LLVM_EXTERNAL_PROJECTS=driver",
    "LLVM_DISTRIBUTION_COMPONENTS=llvm-driver;clang;lld;llvm-ar;llvm-cxxfilt;llvm-nm;llvm-objcopy;llvm-objdump;\
     llvm-readobj;llvm-size;llvm-symbolizer;driver-strings;driver-profdata;driver-cov;clang-resource-headers",
    // Static at a fixed address: no loader, and no 400,000 relocations at each start.
    "LLVM_BUILD_STATIC=ON",
    "LLVM_ENABLE_PIC=OFF",
    // Nothing unwinds through LLVM, which is built without exceptions: 5 % smaller.
    "LLVM_ENABLE_UNWIND_TABLES=OFF",
    // Compressed debug sections (-gz), in both formats that ELF has.
    "LLVM_ENABLE_ZLIB=FORCE_ON",
    "LLVM_ENABLE_ZSTD=FORCE_ON",
    "LLVM_USE_STATIC_ZSTD=ON",
    // No library of the host may slip in.
    "LLVM_ENABLE_LIBXML2=OFF",
    "LLVM_ENABLE_LIBEDIT=OFF",
    "LLVM_ENABLE_CURL=OFF",
    "LLVM_ENABLE_HTTPLIB=OFF",
    "LLVM_ENABLE_LIBPFM=OFF",
    "LLVM_ENABLE_FFI=OFF",
    "LLVM_ENABLE_Z3_SOLVER=OFF",
    // What a compiler on board does not need.
    "LLVM_ENABLE_PLUGINS=OFF",
    "CLANG_PLUGIN_SUPPORT=OFF",
    "LLVM_ENABLE_BINDINGS=OFF",
    "LLVM_ENABLE_BACKTRACES=OFF",
    "CLANG_ENABLE_STATIC_ANALYZER=OFF",
    "CLANG_ENABLE_OBJC_REWRITER=OFF",
    "LLVM_INCLUDE_TESTS=OFF",
    "LLVM_INCLUDE_EXAMPLES=OFF",
    "LLVM_INCLUDE_BENCHMARKS=OFF",
    "LLVM_INCLUDE_DOCS=OFF",
    "LLVM_INCLUDE_UTILS=OFF",
    "CLANG_INCLUDE_TESTS=OFF",
    "CLANG_INCLUDE_DOCS=OFF",
    // Upstream's code, upstream's warnings.
    "LLVM_ENABLE_WARNINGS=OFF",
    // The version is the release's, whatever checkout this is built in.
    "LLVM_APPEND_VC_REV=OFF",
    // The compiler's defaults are what is on board.
    "CLANG_DEFAULT_LINKER=lld",
    "CLANG_DEFAULT_RTLIB=compiler-rt",
    "CLANG_DEFAULT_UNWINDLIB=libunwind",
    "CLANG_DEFAULT_CXX_STDLIB=libc++",
    "CLANG_DEFAULT_OBJCOPY=llvm-objcopy",
    "CLANG_DEFAULT_PIE_ON_LINUX=OFF",
];
