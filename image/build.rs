//! Builds the images of every wanted profile and architecture. Leaves them below `target/bloomery/<arch>`.

use std::process::ExitCode;

use build_support::{Arch, Dirs, Result, cargo, report, vars};

mod recipes;

use recipes::profile::Profile;
use recipes::{init, kernel, outputs, package, root};

fn main() -> ExitCode {
    report::run(build)
}

fn build() -> Result<()> {
    if cargo::skips() {
        cargo::say_skipped();
        return Ok(());
    }
    let dirs = Dirs::find()?;
    for arch in vars::archs()? {
        for name in vars::profiles() {
            build_profile(&dirs, arch, &Profile::read(&dirs, &name)?)?;
        }
    }
    Ok(())
}

fn build_profile(dirs: &Dirs, arch: Arch, profile: &Profile) -> Result<()> {
    let init = init::build(dirs, arch)?;
    let kernel = kernel::build(dirs, arch, profile, &outputs::guids(arch).root.to_string())?;
    let packages = package::build_all(dirs, arch, profile)?;
    let root = root::assemble(dirs, arch, profile, &init, &packages)?;
    outputs::write(dirs, arch, profile, &kernel, &root)?;
    cargo::rerun_if_changed(&outputs::inputs(dirs, profile))
}
