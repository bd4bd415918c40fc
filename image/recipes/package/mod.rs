//! Packages of a profile that are no part of Bloomery: a directory with `build.sh` and whatever it needs.

use std::path::Path;

use build_support::{Arch, Built, Dirs, Job, Result, Stage, bail, digest, ensure, fs, host, tree};

use system::Profile;
use system::profile::{OWN_PACKAGES, Package};

/// Builds every package of the profile that is a directory.
pub fn build_all(dirs: &Dirs, arch: Arch, profile: &Profile) -> Result<Vec<Built>> {
    let mut built = Vec::new();
    for package in &profile.root.packages {
        if let Package::Dir(dir) = package {
            built.push(build(dirs, arch, dir)?);
        }
    }
    Ok(built)
}

/// Leaves what `build.sh` installs below `$DESTDIR`.
fn build(dirs: &Dirs, arch: Arch, package: &Path) -> Result<Built> {
    let script = package.join("build.sh");
    if !script.is_file() {
        bail!(
            "the package {} has no build.sh\nhint: use {}, or a directory with a build.sh (docs/packages.md)",
            package.display(),
            OWN_PACKAGES.join(", ")
        );
    }
    let name = package.file_name().unwrap_or_default().to_string_lossy();
    Stage::new(dirs, "package", arch)
        .instance(&name)
        .recipe("package.rs", include_str!("package.rs"))
        .input("files", &digest::tree(package)?)
        .tool("toolchain", &toolchain::host()?.digest)
        .build(|job| {
            let build = job.dir("build")?;
            tree::copy(package, &build)?;
            run(job, arch, &build)?;
            ensure!(fs::read_dir(&job.out)?.next().is_some(), "{} installed nothing below $DESTDIR", script.display());
            Ok(())
        })
}

/// Runs the script with the toolchain in the variables that Makefiles know.
fn run(job: &Job, arch: Arch, build: &Path) -> Result<()> {
    let bin = toolchain::host()?.dir.join("bin");
    let program = |name: &str| bin.join(name).display().to_string();
    let target = format!("--target={}", arch.short_triple());
    job.cmd("sh")
        .args(["-e", "build.sh"])
        .dir(build)
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
        .env("SOURCE_DATE_EPOCH", build_support::EPOCH.to_string())
        .run("build the package")
}
