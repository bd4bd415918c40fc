//! The kernel: compiled once a variant, then linked with what a profile puts inside it.

mod bootconfig;
mod compile;
mod configure;
mod link;
mod modules;

use std::path::Path;

use build_support::preflight::{self, HostClang};
use build_support::{Arch, Cmd, Job, Result, fs};

pub use bootconfig::check as check_boot_config;
pub use compile::compile;
pub use link::{Inside, link};
pub use modules::INSTALLED as MODULES;

/// What the kernel says of its build instead of who, where and when (Documentation/kbuild/reproducible-builds.rst).
const BUILD: &[&str] = &[
    "KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 2026",
    "KBUILD_BUILD_USER=bloomery",
    "KBUILD_BUILD_HOST=bloomery",
    "KBUILD_BUILD_VERSION=1",
];

/// The words of make that choose architecture and programs.
fn tools(arch: Arch) -> Result<Vec<String>> {
    let bin = toolchain::host()?.dir.join("bin");
    let first = HostClang::find()?;
    let program = |name: &str| bin.join(name).display().to_string();
    let host =
        |variable: &str, name: &str| -> Result<String> { Ok(format!("{variable}={}", first.program(name)?.display())) };
    let clang = program("clang");
    let cc = match preflight::ccache() {
        Some(ccache) => format!("{} {clang}", ccache.display()),
        None => clang,
    };
    Ok(vec![
        "LLVM=1".into(),
        format!("ARCH={}", arch.linux()),
        format!("CC={cc}"),
        format!("LD={}", program("ld.lld")),
        format!("AR={}", program("llvm-ar")),
        format!("NM={}", program("llvm-nm")),
        format!("STRIP={}", program("llvm-strip")),
        format!("OBJCOPY={}", program("llvm-objcopy")),
        format!("OBJDUMP={}", program("llvm-objdump")),
        format!("READELF={}", program("llvm-readelf")),
        // Tools that run during the build use the host's libraries (libelf), so the host's compiler makes them.
        host("HOSTCC", "clang")?,
        host("HOSTCXX", "clang++")?,
        host("HOSTLD", "ld.lld")?,
        host("HOSTAR", "llvm-ar")?,
    ])
}

/// `make` in a build directory, with all that every call of it for this kernel has.
fn make(job: &Job, arch: Arch, source: &Path, build: &Path) -> Result<Cmd> {
    Ok(job.make().arg("-C").arg(source).def("O", build).args(tools(arch)?).args(BUILD))
}

/// The files that make is asked for in a configured build directory.
fn targets(build: &Path, arch: Arch) -> Result<Vec<&'static str>> {
    let mut paths = vec![arch.kernel_image()];
    if has_efi_image(build, arch)? {
        paths.push(arch.efi_image());
    }
    Ok(paths.iter().map(|path| path.rsplit('/').next().unwrap_or(path)).collect())
}

/// Whether firmware gets another file than boot loaders: on arm64 the kernel that unpacks itself, where it is configured.
fn has_efi_image(build: &Path, arch: Arch) -> Result<bool> {
    let config = fs::read_to_string(build.join(".config"))?;
    Ok(arch.efi_image() != arch.kernel_image() && config.lines().any(|line| line == "CONFIG_EFI_ZBOOT=y"))
}

/// Copies the kernel and its configuration out of a build directory.
fn install(build: &Path, out: &Path, arch: Arch) -> Result<()> {
    fs::copy(build.join(arch.kernel_image()), out.join("kernel"))?;
    if has_efi_image(build, arch)? {
        fs::copy(build.join(arch.efi_image()), out.join("kernel.efi"))?;
    }
    fs::copy(build.join(".config"), out.join("kernel.config"))?;
    fs::create_dir_all(out.join("debug"))?;
    fs::copy(build.join("vmlinux"), out.join("debug/vmlinux"))?;
    Ok(())
}
