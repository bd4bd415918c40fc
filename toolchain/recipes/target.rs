//! What a C and C++ compiler needs for one target: kernel headers, musl, compiler-rt and libc++.

use std::path::{Path, PathBuf};

use build_support::preflight::HostClang;
use build_support::{Arch, Built, Context as _, Dirs, Job, Result, host, tree};

use super::{compiler_rt, headers, libcxx, musl};

/// The libraries of one target.
pub struct Target {
    /// The architecture.
    pub arch: Arch,
    /// The kernel's headers.
    pub headers: Built,
    /// The C library.
    pub musl: Built,
    /// The compiler's own library and start files.
    pub compiler_rt: Built,
    /// The C++ library.
    pub libcxx: Built,
}

/// Builds the libraries of one target.
pub fn build(dirs: &Dirs, arch: Arch, compiler: &Compiler) -> Result<Target> {
    let headers = headers::build(dirs, arch)?;
    let musl = musl::build(dirs, arch, compiler)?;
    let compiler_rt = compiler_rt::build(dirs, arch, compiler, &musl)?;
    let libcxx = libcxx::build(dirs, arch, compiler, &headers, &musl, &compiler_rt)?;
    Ok(Target { arch, headers, musl, compiler_rt, libcxx })
}

/// A compiler that does not know the target yet: it gets sysroot and resource directory by flags.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// Where its programs are.
    dir: PathBuf,
    /// What follows each program's name, such as `-22`.
    suffix: String,
    /// What enters the key.
    pub version: String,
}

impl Compiler {
    /// The host's compiler.
    pub fn host(clang: &HostClang) -> Compiler {
        Compiler { dir: PathBuf::new(), suffix: clang.suffix.clone(), version: clang.version.clone() }
    }

    /// The LLVM that was built here.
    pub fn own(llvm: &Built) -> Compiler {
        Compiler { dir: llvm.dir.join("bin"), suffix: String::new(), version: llvm.digest.clone() }
    }

    /// The path of one of its programs, or its name for the search path.
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}{}", self.suffix))
    }

    /// The whole path of one of its programs.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        let program = self.program(name);
        if program.is_absolute() {
            return Ok(program);
        }
        let text = program.display().to_string();
        host::find_program(&text).with_context(|| format!("`{text}` is not installed\nhint: run ./setup.sh"))
    }

    /// `-D` options for a CMake project that is built for `arch` with this compiler.
    pub fn cmake(&self, arch: Arch, job: &Job) -> Result<Vec<String>> {
        let program = |name: &str| -> Result<String> { Ok(self.path(name)?.display().to_string()) };
        let flags = self.flags(arch, job);
        let options = [
            ("CMAKE_BUILD_TYPE", "Release".to_string()),
            // Without a system name CMake takes the build for a native one and tries to run what it compiled.
            ("CMAKE_SYSTEM_NAME", "Linux".into()),
            ("CMAKE_SYSTEM_PROCESSOR", arch.machine().into()),
            ("CMAKE_C_COMPILER", program("clang")?),
            ("CMAKE_CXX_COMPILER", program("clang++")?),
            ("CMAKE_AR", program("llvm-ar")?),
            ("CMAKE_RANLIB", program("llvm-ranlib")?),
            ("CMAKE_NM", program("llvm-nm")?),
            ("CMAKE_C_COMPILER_TARGET", arch.triple().into()),
            ("CMAKE_CXX_COMPILER_TARGET", arch.triple().into()),
            ("CMAKE_ASM_COMPILER_TARGET", arch.triple().into()),
            // There is nothing to link programs with yet.
            ("CMAKE_TRY_COMPILE_TARGET_TYPE", "STATIC_LIBRARY".into()),
            ("CMAKE_C_FLAGS", flags.clone()),
            ("CMAKE_CXX_FLAGS", flags.clone()),
            ("CMAKE_ASM_FLAGS", flags),
        ];
        Ok(options.iter().map(|(name, value)| format!("-D{name}={value}")).collect())
    }

    /// Compiler flags for a job whose work directory has `sysroot` and `resource`.
    pub fn flags(&self, arch: Arch, job: &Job) -> String {
        let (work, home) = (job.work.display(), job.dirs.home.display());
        [
            format!("--target={}", arch.triple()),
            format!("--sysroot={work}/sysroot"),
            format!("-resource-dir={work}/resource"),
            // The linker drops what nothing uses.
            "-ffunction-sections -fdata-sections".into(),
            // File names in assertions must not tell where the store is.
            format!("-ffile-prefix-map={work}=. -ffile-prefix-map={home}=."),
        ]
        .join(" ")
    }

    /// Makes `resource`: clang's own headers, and what `parts` hold (compiler-rt).
    pub fn lay_resource(&self, job: &Job, parts: &[&Built]) -> Result<PathBuf> {
        let resource = job.dir("resource")?;
        let own = job.read(self.program("clang"), &["-print-resource-dir"])?;
        tree::copy(&Path::new(own.trim()).join("include"), &resource.join("include"))?;
        for part in parts {
            tree::copy(&part.dir, &resource)?;
        }
        Ok(resource)
    }
}

/// Makes `sysroot` out of results.
pub fn lay_sysroot(job: &Job, parts: &[&Built]) -> Result<PathBuf> {
    let sysroot = job.dir("sysroot")?;
    for part in parts {
        tree::copy(&part.dir, &sysroot)?;
    }
    Ok(sysroot)
}
