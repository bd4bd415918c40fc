//! `config`: a profile with all that it extends.

use std::process::ExitCode;

use build_support::Result;
use build_support::inspect::print;
use system::{Profile, resolve};

use crate::context::Context;

/// Show every value of a profile, and where it was stated
#[derive(clap::Args)]
pub struct Args {
    /// A name from image/profiles/, or the path of your own TOML file
    #[arg(value_name = "PROFILE", default_value = "full")]
    profile: String,
}

/// Prints the values.
pub fn run(context: &Context, args: &Args) -> Result<ExitCode> {
    let resolved = resolve::resolve(&context.dirs, &context.profile_name(&args.profile)?)?;
    print(&resolved.show())?;
    Profile::of(&resolved)?; // Values that do not go together: after the values, which show why.
    Ok(ExitCode::SUCCESS)
}
