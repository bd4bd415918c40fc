//! What instrumented programs call: coverage and profiles, UndefinedBehaviorSanitizer, control flow integrity, Scudo,
//! XRay and libFuzzer. Not LLVM's business: built by the new clang, after it.

use build_support::{Arch, Built, Dirs, Job, Places, Result, Stage, fs, places, tree};

use super::target::{Compiler, Target, lay_sysroot};

/// The archives without `libclang_rt.` and `.a`. The rest of compiler-rt needs a dynamic loader: see `compat.rs`.
const ARCHIVES: &[&str] = &[
    "profile",
    "ubsan_standalone",
    "ubsan_standalone_cxx",
    "ubsan_minimal",
    "ubsan_loop_detect",
    "cfi",
    "cfi_diag",
    "scudo_standalone",
    "scudo_standalone_cxx",
    "xray",
    "xray-basic",
    "xray-fdr",
    "xray-profiling",
    "fuzzer",
    "fuzzer_no_main",
    "fuzzer_interceptors",
];

/// Functions of the C library that an archive replaces, and then looks for by the dynamic loader. It finds none and fails
/// every call, so programs keep musl's own.
const KEPT_INSIDE: &[(&str, &[&str])] = &[
    ("ubsan_standalone", &["sigaction", "signal"]),
    ("cfi", &["dlopen", "dlclose"]),
    ("cfi_diag", &["dlopen", "dlclose"]),
];

/// Leaves `lib/<triple>`, `include` and `share`, to be laid into a resource directory.
pub fn build(dirs: &Dirs, compiler: &Compiler, target: &Target) -> Result<Built> {
    let llvm = vendor::source("llvm")?;
    Stage::new(dirs, "runtimes", target.arch)
        .recipe("runtimes.rs", include_str!("runtimes.rs"))
        .recipe("target.rs", include_str!("target.rs"))
        .input("cmake", &places::lines(&definitions(target.arch, &compiler.named(), &Places::named())?))
        .source("llvm", &llvm.id())
        .tool("clang", &compiler.version)
        .needs(&target.headers)
        .needs(&target.musl)
        .needs(&target.compiler_rt)
        .needs(&target.libcxx)
        .build(|job| {
            lay_sysroot(job, &[&target.headers, &target.musl, &target.libcxx])?;
            compiler.lay_resource(job, &[&target.compiler_rt])?;
            let source = llvm.unpack(dirs)?;
            let project = job
                .cmake(source.join("compiler-rt"))
                .define(definitions(target.arch, compiler, &Places::of(job, &source))?)
                // Not `install`: that would link shared libraries too.
                .target("compiler-rt-headers")
                .target("cfi_ignorelist");
            ARCHIVES
                .iter()
                .fold(project, |project, name| project.target(&format!("libclang_rt.{name}.a")))
                .run("build the runtimes")?;
            install(job, compiler, target.arch)
        })
}

fn definitions(arch: Arch, compiler: &Compiler, places: &Places) -> Result<Vec<String>> {
    let mut definitions = compiler.cmake(arch, places)?;
    definitions.push(format!("COMPILER_RT_INSTALL_PATH={}", places.out));
    definitions.extend(OPTIONS.iter().map(|option| option.to_string()));
    Ok(definitions)
}

const OPTIONS: &[&str] = &[
    "COMPILER_RT_STANDALONE_BUILD=ON",
    "COMPILER_RT_DEFAULT_TARGET_ONLY=ON",
    "LLVM_ENABLE_PER_TARGET_RUNTIME_DIR=ON",
    // Of stages before.
    "COMPILER_RT_BUILD_BUILTINS=OFF",
    "COMPILER_RT_BUILD_CRT=OFF",
    // The interpreter's runtime, and two that need a dynamic loader.
    "COMPILER_RT_BUILD_ORC=OFF",
    "COMPILER_RT_BUILD_MEMPROF=OFF",
    "COMPILER_RT_BUILD_CTX_PROFILE=OFF",
    "COMPILER_RT_SANITIZERS_TO_BUILD=ubsan_minimal;cfi;scudo_standalone;gwp_asan",
    "COMPILER_RT_SCUDO_STANDALONE_BUILD_SHARED=OFF",
    "COMPILER_RT_USE_BUILTINS_LIBRARY=ON",
    // libFuzzer would build a libc++ of its own, against interference by instrumented ones: 1,600 files.
    "COMPILER_RT_USE_LIBCXX=OFF",
    "COMPILER_RT_INCLUDE_TESTS=OFF",
];

fn install(job: &Job, compiler: &Compiler, arch: Arch) -> Result<()> {
    let (build, lib) = (job.work.join("build"), job.out.join("lib").join(arch.triple()));
    fs::create_dir_all(&lib)?;
    for name in ARCHIVES {
        let file = format!("libclang_rt.{name}.a");
        fs::copy(build.join("lib").join(arch.triple()).join(&file), lib.join(&file))?;
    }
    for (name, functions) in KEPT_INSIDE {
        job.cmd(compiler.path("llvm")?)
            .arg("objcopy")
            .args(functions.iter().map(|function| format!("--localize-symbol={function}")))
            .arg(lib.join(format!("libclang_rt.{name}.a")))
            .run(&format!("keep functions inside {name}"))?;
    }
    tree::copy(&build.join("include"), &job.out.join("include"))?;
    tree::copy(&build.join("share"), &job.out.join("share"))
}
