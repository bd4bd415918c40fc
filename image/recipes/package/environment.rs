//! What `build.sh` sees: the target's programs and libraries, and of the machine that builds only its programs.

use std::path::PathBuf;

use build_support::{Arch, Cmd, Job, Result, fs, host};
use toolchain::cross;

/// Where the kernel's source is, for programs of its `tools/`.
pub const LINUX: &str = "LINUX_SOURCE";

/// Directories of cargo and rustup below the user's home: programs and caches, which do not change what is built.
const RUST: &[(&str, &str)] = &[("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")];

/// Adds the variables that Makefiles, configure scripts, pkg-config, CMake and meson read, and takes away who the user is:
/// a package that took a file of theirs would not be built again when that file changes.
pub fn set(cmd: Cmd, job: &Job, arch: Arch) -> Result<Cmd> {
    let root = toolchain::host()?.dir;
    let sysroot = root.join(arch.short_triple());
    let program = |name: &str| root.join("bin").join(name).display().to_string();
    let target = format!("--target={}", arch.short_triple());
    let home = job.dir("home")?;
    let share = job.dir("share")?;
    let (cmake, meson) = (share.join("target.cmake"), share.join("target.meson"));
    fs::write(&cmake, cross::cmake(&root, arch))?;
    fs::write(&meson, cross::meson(&root, arch, &cmake))?;
    let cmd = cmd
        .env("DESTDIR", &job.out)
        .env("ARCH", arch.name())
        .env("TARGET", arch.short_triple())
        .env("JOBS", host::jobs().to_string())
        .env("CC", format!("{} {target}", program("clang")))
        .env("CXX", format!("{} {target}", program("clang++")))
        .env("LD", program("ld.lld"))
        .env("AR", program("llvm-ar"))
        .env("RANLIB", program("llvm-ranlib"))
        .env("NM", program("llvm-nm"))
        .env("STRIP", program("llvm-strip"))
        .env("OBJCOPY", program("llvm-objcopy"))
        .env("CONFIG_SITE", sysroot.join("usr/share/config.site"))
        .env(
            "PKG_CONFIG_LIBDIR",
            ["lib", "share"].map(|dir| format!("{}/usr/{dir}/pkgconfig", sysroot.display())).join(":"),
        )
        .env("PKG_CONFIG_SYSROOT_DIR", &sysroot)
        .env("CMAKE_TOOLCHAIN_FILE", &cmake)
        .env("MESON_CROSS_FILE", &meson)
        .env("SOURCE_DATE_EPOCH", build_support::EPOCH.to_string())
        .env("HOME", &home)
        .env("USER", "bloomery")
        .env("LOGNAME", "bloomery");
    let user = std::env::home_dir();
    let known = |variable: &str, dir: &str| -> Option<PathBuf> {
        let place = std::env::var_os(variable).map(PathBuf::from).or_else(|| Some(user.as_ref()?.join(dir)))?;
        place.is_dir().then_some(place)
    };
    Ok(RUST.iter().fold(cmd, |cmd, (variable, dir)| match known(variable, dir) {
        Some(place) => cmd.env(variable, place),
        None => cmd,
    }))
}
