//! `build`: calls cargo for the crate `image`, whose build scripts make everything.

use std::io::ErrorKind;
use std::os::fd::AsFd as _;
use std::process::{Command, ExitCode, Stdio};

use build_support::{Arch, Result, bail, vars};
use system::machine::quote;

use crate::context::{Context, arch};
use crate::usage::say;

/// Build profiles. What is in the store is not built again
#[derive(clap::Args)]
pub struct Args {
    /// Names from image/profiles/, or paths of your own TOML files [default: $BLOOMERY_PROFILE, else full]
    #[arg(value_name = "PROFILE")]
    profiles: Vec<String>,
    /// x86_64 or arm64; can be repeated [default: $BLOOMERY_ARCH, else this machine's]
    #[arg(long, value_name = "ARCH")]
    arch: Vec<String>,
}

/// Builds.
pub fn run(context: &Context, args: &Args) -> Result<ExitCode> {
    let archs = match args.arch.as_slice() {
        [] => vars::archs()?,
        names => names.iter().map(|name| arch(name)).collect::<Result<_>>()?,
    };
    // The variable's paths count from the project's root, as they do for `cargo build`.
    let profiles = match args.profiles.as_slice() {
        [] => vars::profiles(&context.dirs.root),
        names => names.iter().map(|name| context.profile_name(name)).collect::<Result<_>>()?,
    };
    for name in &profiles {
        let profile = context.profile(name)?;
        archs.iter().try_for_each(|arch| profile.check_arch(*arch))?;
    }
    cargo(context, &archs, &profiles)
}

/// The command as a person types it.
pub fn text(archs: &[Arch], profiles: &[String]) -> String {
    let (archs, profiles) = (names(archs), profiles.join(" "));
    format!(
        "{}={} {}={} cargo {}",
        vars::ARCH,
        quote(archs.as_ref()),
        vars::PROFILE,
        quote(profiles.as_ref()),
        ARGS.join(" ")
    )
}

const ARGS: &[&str] = &["build", "-p", "image", "--release"];

/// Runs it, and returns how it ended. Its output goes to standard error: standard output is the guest's alone.
///
/// # Errors
/// A cargo that does not start.
pub fn cargo(context: &Context, archs: &[Arch], profiles: &[String]) -> Result<ExitCode> {
    say(&text(archs, profiles));
    // Cargo names itself to the programs that it runs.
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    command
        .args(ARGS)
        .current_dir(&context.dirs.root)
        .stdout(Stdio::from(std::io::stderr().as_fd().try_clone_to_owned()?));
    command.env(vars::ARCH, names(archs)).env(vars::PROFILE, profiles.join(" "));
    if std::env::var_os("CARGO_TARGET_DIR").is_some() {
        command.env("CARGO_TARGET_DIR", &context.dirs.target); // A relative one counts from where the user is.
    }
    let status = match command.status() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("cargo is not installed\nhint: ./setup.sh says how to get it")
        }
        status => status?,
    };
    // Cargo has said what went wrong.
    Ok(status.code().map_or(ExitCode::FAILURE, |code| ExitCode::from(u8::try_from(code).unwrap_or(1))))
}

fn names(archs: &[Arch]) -> String {
    archs.iter().map(|arch| arch.name()).collect::<Vec<_>>().join(" ")
}
