//! Packages of a profile that are no part of Bloomery: a directory with `build.sh` and whatever it needs.

use std::path::Path;

use build_support::{Arch, Built, Dirs, Job, Result, Stage, digest, ensure, fs, outside};
use system::Profile;
use system::profile::Package;
use toolchain::cross;

mod environment;
mod kernel;

/// Builds every package of the profile that is a directory, some of them for its kernel.
pub fn build_all(dirs: &Dirs, arch: Arch, profile: &Profile, compiled: &Built) -> Result<Vec<Built>> {
    let mut built = Vec::new();
    for package in &profile.root.packages {
        if let Package::Dir(dir) = package {
            let script = fs::read_to_string(dir.join("build.sh"))?;
            let has_module = script.contains(kernel::MAKE);
            ensure!(
                !has_module || profile.kernel.has_modules(),
                "the package {} compiles a module, and the kernel of {} loads none\nhint: add `modules = \"plain\"` below [kernel]",
                dir.display(),
                profile.name
            );
            built.push(build(dirs, arch, dir, has_module.then_some(compiled))?);
        }
    }
    Ok(built)
}

/// Leaves what `build.sh` installs below `$DESTDIR`. A package with a module is for one kernel.
fn build(dirs: &Dirs, arch: Arch, package: &Path, compiled: Option<&Built>) -> Result<Built> {
    let script = package.join("build.sh");
    let text = fs::read_to_string(&script)?;
    let outside = outside::of(package, &text)?;
    let name = package.file_name().unwrap_or_default().to_string_lossy();
    // Unpacked only for those that need it.
    let is_needed = compiled.is_some() || text.contains(environment::LINUX);
    let linux = if is_needed { Some(vendor::source("linux")?) } else { None };
    let mut stage = Stage::new(dirs, "package", arch);
    if let Some(linux) = &linux {
        stage = stage.source("linux", &linux.id());
    }
    if let Some(compiled) = compiled {
        stage = stage.recipe("package/kernel.rs", include_str!("kernel.rs")).needs(compiled);
    }
    stage
        .instance(&name)
        .recipe("package/mod.rs", include_str!("mod.rs"))
        .recipe("package/environment.rs", include_str!("environment.rs"))
        .input("cmake", &cross::cmake(Path::new("TOOLCHAIN"), arch))
        .input("meson", &cross::meson(Path::new("TOOLCHAIN"), arch, Path::new("CMAKE")))
        .input("files", &digest::tree(package)?)
        .input("outside", &outside::digest(&outside)?)
        .tool("toolchain", &toolchain::host()?.digest)
        .build(|job| {
            let build = job.dir("build")?;
            outside::copy(package, &build)?;
            let linux = linux.map(|linux| linux.unpack(dirs)).transpose()?;
            let module = match (compiled, &linux) {
                (Some(compiled), Some(source)) => Some(kernel::prepare(job, arch, source, compiled, &name)?),
                _ => None,
            };
            run(job, arch, &build, linux.as_deref(), module)?;
            ensure!(fs::read_dir(&job.out)?.next().is_some(), "{} installed nothing below $DESTDIR", script.display());
            Ok(())
        })
}

/// Runs the script: files that it makes without saying a mode have the same one whatever umask the user has.
fn run(job: &Job, arch: Arch, build: &Path, linux: Option<&Path>, module: Option<String>) -> Result<()> {
    let cmd = job.cmd("sh").args(["-c", "umask 022; exec sh -e build.sh"]).dir(build).header_hint(HEADER_HINT);
    let cmd = linux.into_iter().fold(cmd, |cmd, source| cmd.env(environment::LINUX, source));
    let cmd = module.into_iter().fold(cmd, |cmd, make| cmd.env(kernel::MAKE, make));
    environment::set(cmd, job, arch)?.run("build the package")
}

const HEADER_HINT: &str = "a header is missing: the system has what musl, the kernel and libc++ have; build a library that the \
                           package needs in its build.sh (docs/packages.md)";
