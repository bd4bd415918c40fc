//! What a C and C++ compiler needs for one target: kernel headers, musl, compiler-rt and libc++.

use std::path::{Path, PathBuf};

use build_support::preflight::HostClang;
use build_support::{Arch, Built, Dirs, Job, Places, Result, tree};

use super::{compiler_rt, headers, libcxx, musl};

/// Bytes of a thread's stack when the program asks for no size: the most that musl takes from a program's header
/// (`DEFAULT_STACK_MAX`), and glibc's usual size. Without it musl gives 128 KiB, with which LLVM's passes crash.
pub const STACK: u32 = 8 << 20;

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
    programs: Programs,
    /// What enters the key.
    pub version: String,
}

/// Where a compiler's programs are.
#[derive(Clone, Debug)]
enum Programs {
    /// All over the host.
    Host(HostClang),
    /// In one directory.
    Directory(String),
}

impl Compiler {
    /// The host's compiler.
    pub fn host(clang: &HostClang) -> Compiler {
        Compiler { programs: Programs::Host(clang.clone()), version: clang.version.clone() }
    }

    /// The LLVM that was built here.
    pub fn own(llvm: &Built) -> Compiler {
        let dir = llvm.dir.join("bin").display().to_string();
        Compiler { programs: Programs::Directory(dir), version: llvm.digest.clone() }
    }

    /// The same compiler in a key, where its place is a name; see [`Places`].
    pub fn named(&self) -> Compiler {
        Compiler { programs: Programs::Directory("$COMPILER".into()), version: self.version.clone() }
    }

    /// The path of one of its programs.
    ///
    /// # Errors
    /// For a program that the host's compiler is not asked for, see [`HostClang::program`].
    pub fn path(&self, name: &str) -> Result<String> {
        match &self.programs {
            Programs::Host(clang) => Ok(clang.program(name)?.display().to_string()),
            Programs::Directory(dir) => Ok(format!("{dir}/{name}")),
        }
    }

    /// Definitions for a CMake project that is built for `arch` with this compiler.
    ///
    /// # Errors
    /// As [`Compiler::path`].
    pub fn cmake(&self, arch: Arch, places: &Places) -> Result<Vec<String>> {
        let flags = self.flags(arch, places).join(" ");
        let mut definitions = self.cmake_programs()?;
        definitions.extend([
            "CMAKE_BUILD_TYPE=Release".into(),
            // Without a system name CMake takes the build for a native one and tries to run what it compiled.
            "CMAKE_SYSTEM_NAME=Linux".into(),
            format!("CMAKE_SYSTEM_PROCESSOR={}", arch.machine()),
            format!("CMAKE_C_COMPILER_TARGET={}", arch.triple()),
            format!("CMAKE_CXX_COMPILER_TARGET={}", arch.triple()),
            format!("CMAKE_ASM_COMPILER_TARGET={}", arch.triple()),
            // There is nothing to link programs with yet.
            "CMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY".into(),
            format!("CMAKE_C_FLAGS={flags}"),
            format!("CMAKE_CXX_FLAGS={flags}"),
            format!("CMAKE_ASM_FLAGS={flags}"),
        ]);
        Ok(definitions)
    }

    /// Definitions that name this compiler to a CMake project.
    ///
    /// # Errors
    /// As [`Compiler::path`].
    pub fn cmake_programs(&self) -> Result<Vec<String>> {
        let programs = [
            ("C_COMPILER", "clang"),
            ("CXX_COMPILER", "clang++"),
            ("ASM_COMPILER", "clang"),
            ("AR", "llvm-ar"),
            ("RANLIB", "llvm-ranlib"),
            ("NM", "llvm-nm"),
        ];
        programs.iter().map(|(variable, name)| Ok(format!("CMAKE_{variable}={}", self.path(name)?))).collect()
    }

    /// Compiler flags for a stage whose work directory has `sysroot` and `resource`.
    pub fn flags(&self, arch: Arch, places: &Places) -> Vec<String> {
        let Places { work, home, .. } = places;
        vec![
            format!("--target={}", arch.triple()),
            format!("--sysroot={work}/sysroot"),
            format!("-resource-dir={work}/resource"),
            // The libraries also serve programs that want to be position-independent (-static-pie).
            "-fPIE".into(),
            // The linker drops what nothing uses.
            "-ffunction-sections".into(),
            "-fdata-sections".into(),
            // File names in assertions must not tell where the store is.
            format!("-ffile-prefix-map={work}=."),
            format!("-ffile-prefix-map={home}=."),
        ]
    }

    /// Flags with which it links a static program with the new libraries.
    ///
    /// # Errors
    /// As [`Compiler::path`].
    pub fn link(&self) -> Result<Vec<String>> {
        Ok(vec![
            "-static".into(),
            "-fuse-ld=lld".into(),
            // clang looks for a plain `ld.lld`, which can be another LLVM's.
            format!("--ld-path={}", self.path("ld.lld")?),
            "--rtlib=compiler-rt".into(),
            "--unwindlib=libunwind".into(),
            format!("-Wl,-z,stack-size={STACK}"),
        ])
    }

    /// Makes `resource`: clang's own headers, and what `parts` hold (compiler-rt).
    pub fn lay_resource(&self, job: &Job, parts: &[&Built]) -> Result<PathBuf> {
        let resource = job.dir("resource")?;
        let own = job.read(self.path("clang")?, &["-print-resource-dir"])?;
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
