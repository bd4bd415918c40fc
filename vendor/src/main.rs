//! `cargo run -p vendor -- ...`: shows, fetches, verifies, re-pins and exports the sources.

use std::process::ExitCode;

use clap::Parser as _;

/// The sources that Bloomery builds: pinned in vendor/sources.toml, verified before anything is built from them.
#[derive(clap::Parser)]
#[command(bin_name = "cargo run -p vendor --", after_help = vendor::cli::VARIABLES)]
struct Program {
    #[command(flatten)]
    arguments: vendor::cli::Arguments,
}

fn main() -> ExitCode {
    match vendor::cli::run(&Program::parse().arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
