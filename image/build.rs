//! Builds the outputs of every wanted profile and architecture. Leaves them below `target/bloomery/<arch>`.

use std::process::ExitCode;

use build_support::{Arch, Dirs, Result, cargo, report, vars};
use system::Profile;
use system::outputs::{self, Loaders, Parts};

mod recipes;

use recipes::{init, inputs, kernel, licences, loader, package, root, signer};

fn main() -> ExitCode {
    report::run(build)
}

fn build() -> Result<()> {
    if cargo::skips() {
        cargo::say_skipped();
        cargo::warn_skipped();
        return Ok(());
    }
    let dirs = Dirs::find()?;
    let profiles = inputs::read_profiles(&dirs)?;
    for arch in vars::archs()? {
        for profile in &profiles {
            build_profile(&dirs, arch, profile)?;
        }
    }
    Ok(())
}

/// The kernel's source has the profile's files laid over it wherever a recipe asks for it.
fn build_profile(dirs: &Dirs, arch: Arch, profile: &Profile) -> Result<()> {
    match &profile.kernel.overlay {
        Some(overlay) => vendor::with_overlay("linux", overlay, || build_parts(dirs, arch, profile)),
        None => build_parts(dirs, arch, profile),
    }
}

fn build_parts(dirs: &Dirs, arch: Arch, profile: &Profile) -> Result<()> {
    profile.check_arch(arch)?;
    for key in profile.signing_keys() {
        key.check()?;
    }
    let boot_config = kernel::check_boot_config(dirs, arch, profile)?;
    let compiled = kernel::compile(dirs, arch, profile)?;
    let init = if profile.has("init") { Some(init::build(dirs, arch, profile)?) } else { None };
    let packages = package::build_all(dirs, arch, profile, &compiled)?;
    let root = root::assemble(dirs, arch, profile, &compiled, init.as_ref(), &packages)?;
    let inside = kernel::Inside { root: &root, boot_config: boot_config.as_ref() };
    let kernel = kernel::link(dirs, arch, profile, compiled, &inside)?;
    let signer = if profile.is_signed() { Some(signer::build(dirs)?) } else { None };
    let loaders = if profile.needs_loader(arch) { Some(Loaders { built: loader::build(dirs, arch)? }) } else { None };
    let licences = licences::of(profile)?;
    let (loaders, signer) = (loaders.as_ref(), signer.as_ref());
    let parts = Parts { kernel: &kernel, root: &root, licences: &licences, loaders, signer };
    outputs::build(dirs, arch, profile, &parts)?;
    cargo::rerun_if_changed(&inputs::of(dirs, profile)?)
}
