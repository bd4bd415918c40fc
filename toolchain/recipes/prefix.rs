//! The toolchain as one directory that can lie anywhere: LLVM, a sysroot for each target, and the configuration
//! files through which `--target=<triple>` is all that a user has to say.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use build_support::{Arch, Built, Dirs, Result, Stage, fs, tree};

use super::target::Target;

/// Leaves `bin` with programs for `arch`, `lib/clang`, and a directory for each target.
pub fn build(dirs: &Dirs, arch: Arch, llvm: &Built, targets: &[Target]) -> Result<Built> {
    let mut stage = Stage::new(dirs, "toolchain", arch)
        .recipe("prefix.rs", include_str!("prefix.rs"))
        .input("as", include_str!("../driver/as"))
        .needs(llvm);
    for target in targets {
        stage = stage.needs(&target.headers).needs(&target.musl).needs(&target.compiler_rt).needs(&target.libcxx);
    }
    stage.build(|job| {
        for part in ["bin", "lib"] {
            tree::copy(&llvm.dir.join(part), &job.out.join(part))?;
        }
        for name in NAMES {
            tree::link("llvm", &job.out.join("bin").join(name))?;
        }
        let assembler = job.out.join("bin/as");
        fs::write(&assembler, include_str!("../driver/as"))?;
        fs::set_permissions(&assembler, Permissions::from_mode(0o755))?;
        for entry in fs::read_dir(job.out.join("lib/clang"))? {
            let resource = entry?.path();
            for target in targets {
                tree::copy(&target.compiler_rt.dir, &resource)?;
            }
        }
        for target in targets {
            let sysroot = job.out.join(target.arch.short_triple());
            for part in [&target.headers, &target.musl, &target.libcxx] {
                tree::copy(&part.dir, &sysroot)?;
            }
            let name = format!("bin/{}.cfg", target.arch.triple());
            fs::write(job.out.join(name), config(target.arch.short_triple()))?;
        }
        Ok(())
    })
}

/// What the multicall binary is called. `as` is a script of its own.
const NAMES: &[&str] = &[
    "clang",
    "clang++",
    "clang-cpp",
    "cc",
    "c++",
    "cpp",
    "lld",
    "ld",
    "ld.lld",
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
    "llvm-nm",
    "llvm-objcopy",
    "llvm-strip",
    "llvm-objdump",
    "llvm-readelf",
    "llvm-readobj",
    "llvm-size",
    "llvm-strings",
    "llvm-addr2line",
    "llvm-symbolizer",
    "llvm-cxxfilt",
];

/// clang reads the file named after its target from the directory that it lies in.
fn config(sysroot: &str) -> String {
    format!("# There are static libraries only.\n-static\n--sysroot=<CFGDIR>/../{sysroot}\n")
}
