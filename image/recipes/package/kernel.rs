//! Modules out of the kernel's tree: a build directory of the profile's kernel, as far as modules need it.

use std::path::Path;

use build_support::host_clang::HostClang;
use build_support::{Arch, Built, Job, Result, fs, host};
use system::vmlinux::Vmlinux;

/// `make` with all its words but the target, for a script that names this variable: `$KERNEL_MAKE M="$PWD" modules`.
pub const MAKE: &str = "KERNEL_MAKE";

/// Prepares the directory, and returns [`MAKE`]'s value. The programs are those that compiled the kernel.
pub fn prepare(job: &Job, arch: Arch, source: &Path, compiled: &Built, package: &str) -> Result<String> {
    let build = job.dir("kernel")?;
    fs::copy(compiled.dir.join("kernel.config"), build.join(".config"))?;
    let words = words(job, arch, source, &build, package)?;
    job.make().args(&words).arg(format!("-j{}", host::jobs())).arg("modules_prepare").run("prepare for modules")?;
    // The kernel's own is in its build directory, which is gone. Without it modpost(8) knows no symbol of the kernel.
    let vmlinux = fs::read(compiled.dir.join("debug/vmlinux"))?;
    let lines: String = Vmlinux::parse(&vmlinux)?.exports()?.iter().map(|export| export.line()).collect();
    fs::write(build.join("Module.symvers"), lines)?;
    Ok(format!("make {}", words.join(" ")))
}

/// No path among them has a space: make itself knows none that has (Documentation/kbuild/kbuild.rst refuses such directories).
fn words(job: &Job, arch: Arch, source: &Path, build: &Path, package: &str) -> Result<Vec<String>> {
    let first = HostClang::find()?;
    let program = |name: &str| -> Result<String> { Ok(first.program(name)?.display().to_string()) };
    let own = job.work.join("build");
    Ok(vec![
        format!("-C{}", source.display()),
        format!("O={}", build.display()),
        format!("ARCH={}", arch.linux()),
        format!("LLVM={}/", toolchain::host()?.dir.join("bin").display()),
        // Programs that run during the build use the host's libraries (libelf).
        format!("HOSTCC={}", program("clang")?),
        format!("HOSTCXX={}", program("clang++")?),
        format!("HOSTLD={}", program("ld.lld")?),
        format!("HOSTAR={}", program("llvm-ar")?),
        // Debug information and messages name the package's files as /PACKAGE/FILE, wherever it was built.
        format!("KCFLAGS=-ffile-prefix-map={}=/{package}", own.display()),
    ])
}
