//! The toolchain as one directory that can lie anywhere: LLVM, a sysroot for each target, and the configuration
//! files through which `--target=<triple>` is all that a user has to say.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use build_support::{Arch, Built, Dirs, Result, Stage, fs, tree};

use super::target::{Compiler, STACK, Target};
use super::{compat, runtimes};

/// The libraries of a target with what the new clang adds to them.
pub struct Complete {
    /// The libraries.
    pub target: Target,
    /// Names and start files.
    pub compat: Built,
    /// What instrumented programs call.
    pub runtimes: Built,
}

impl Complete {
    /// Builds what is missing with the new clang.
    pub fn build(dirs: &Dirs, target: Target, compiler: &Compiler) -> Result<Complete> {
        let compat = compat::build(dirs, compiler, &target)?;
        let runtimes = runtimes::build(dirs, compiler, &target)?;
        Ok(Complete { target, compat, runtimes })
    }

    /// Every part.
    pub fn parts(&self) -> [&Built; 6] {
        let Target { headers, musl, compiler_rt, libcxx, .. } = &self.target;
        [headers, musl, compiler_rt, libcxx, &self.compat, &self.runtimes]
    }
}

/// Leaves `bin` with programs for `arch`, `lib/clang`, and a directory for each target.
pub fn build(dirs: &Dirs, arch: Arch, llvm: &Built, targets: &[Complete]) -> Result<Built> {
    let stage = Stage::new(dirs, "toolchain", arch).recipe("prefix.rs", include_str!("prefix.rs")).needs(llvm);
    let stage = SCRIPTS.iter().fold(stage, |stage, (name, text)| stage.input(name, text));
    let stage = targets.iter().flat_map(Complete::parts).fold(stage, |stage, part| stage.needs(part));
    stage.build(|job| {
        for part in ["bin", "lib"] {
            tree::copy(&llvm.dir.join(part), &job.out.join(part))?;
        }
        for name in NAMES {
            tree::link("llvm", &job.out.join("bin").join(name))?;
        }
        for (name, text) in SCRIPTS {
            let script = job.out.join("bin").join(name);
            fs::write(&script, text)?;
            fs::set_permissions(&script, Permissions::from_mode(0o755))?;
        }
        targets.iter().try_for_each(|target| lay(target, &job.out))
    })
}

/// Lays a target's resources, sysroot and configuration file.
fn lay(complete: &Complete, out: &Path) -> Result<()> {
    let Complete { target, compat, runtimes } = complete;
    for entry in fs::read_dir(out.join("lib/clang"))? {
        let resource = entry?.path();
        for part in [&target.compiler_rt.dir, &compat.dir.join("resource"), &runtimes.dir] {
            tree::copy(part, &resource)?;
        }
    }
    let name = target.arch.short_triple();
    for part in [&target.headers.dir, &target.musl.dir, &target.libcxx.dir, &compat.dir.join("sysroot")] {
        tree::copy(part, &out.join(name))?;
    }
    let sysroot = format!("<CFGDIR>/../{name}");
    Ok(fs::write(out.join(format!("bin/{}.cfg", target.arch.triple())), config(Some(&sysroot)))?)
}

/// What clang is told by the file that is named after its target and lies beside it. `sysroot` is the directory with the
/// target's `usr`; none is the root file system.
pub fn config(sysroot: Option<&str>) -> String {
    let sysroot = sysroot.map_or(String::new(), |dir| format!("--sysroot={dir}\n"));
    format!(
        "# There are static libraries only.\n-static\n{sysroot}\
         # Bytes of a thread's stack, address space alone. It is the most that musl takes from here; its default is 131072.\n\
         $-Wl,-z,stack-size={STACK}\n"
    )
}

/// Programs that are scripts.
const SCRIPTS: &[(&str, &str)] = &[
    ("as", include_str!("../driver/as")),
    // POSIX's names: c89 of 1992, c99 of 2001. c17 of 2024.
    ("c89", "#!/bin/sh\nexec \"${0%/*}/clang\" -std=c89 \"$@\"\n"),
    ("c99", "#!/bin/sh\nexec \"${0%/*}/clang\" -std=c99 \"$@\"\n"),
    ("c17", "#!/bin/sh\nexec \"${0%/*}/clang\" -std=c17 \"$@\"\n"),
];

/// What the multicall binary is called.
const NAMES: &[&str] = &[
    "clang",
    "clang++",
    "clang-cpp",
    "cc",
    "c++",
    "cpp",
    "gcc",
    "g++",
    "gcov",
    "lld",
    "ld",
    "ld.lld",
    "lld-link", // For EFI programs: clang calls it for the target x86_64-unknown-windows.
    "ar",
    "ranlib",
    "nm",
    "objcopy",
    "strip",
    "objdump",
    "readelf",
    "size",
    "strings",
    "addr2line",
    "c++filt",
    "llvm-ar",
    "llvm-ranlib",
    "llvm-cov",
    "llvm-nm",
    "llvm-objcopy",
    "llvm-strip",
    "llvm-objdump",
    "llvm-profdata",
    "llvm-readelf",
    "llvm-readobj",
    "llvm-size",
    "llvm-strings",
    "llvm-addr2line",
    "llvm-symbolizer",
    "llvm-cxxfilt",
];
