//! `cargo bloomery COMMAND`: the one door to building, booting and looking into a system.

mod build;
mod context;
mod run;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;

use build_support::Result;
use clap::{Parser, Subcommand};
use context::Context;

/// Bloomery turns upstream source into a complete, minimal Linux system.
#[derive(Parser)]
#[command(name = "bloomery", bin_name = "cargo bloomery", version, arg_required_else_help = true)]
struct Cli {
    /// Take relative paths from this directory
    #[arg(short = 'C', long, value_name = "DIR", global = true)]
    directory: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Build(build::Args),
    Run(run::Args),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::explain(&error),
    };
    match dispatch(cli) {
        Ok(code) => code,
        Err(error) => usage::report(&error),
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode> {
    let context = Context::find(cli.directory.as_deref())?;
    match cli.command {
        Command::Build(args) => build::run(&context, &args),
        Command::Run(args) => run::run(&context, args),
    }
}
