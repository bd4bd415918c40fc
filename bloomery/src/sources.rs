//! `sources`: the pinned upstream sources, by the program `vendor`.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use build_support::{Context as _, Result};

use crate::context::Context;

/// Show, fetch, verify, re-pin and export the pinned upstream sources
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// The command of `vendor` with its arguments, such as list or fetch [default: its help]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// Runs `vendor` where the user is.
pub fn run(context: &Context, args: &Args) -> Result<ExitCode> {
    let mut vendor = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    vendor.args(["run", "--quiet", "--release", "--manifest-path"]).arg(context.dirs.root.join("Cargo.toml"));
    let status = vendor.args(["--package", "vendor", "--"]).args(&args.words).status().context("cannot start cargo")?;
    Ok(status.code().map_or(ExitCode::FAILURE, |code| ExitCode::from(u8::try_from(code).unwrap_or(1))))
}
