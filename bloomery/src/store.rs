//! `store` and `commands`: a look into the store of stage results.

use std::process::ExitCode;

use build_support::inspect::{self, print};
use build_support::{Result, store};
use clap::Subcommand;

use crate::context::{Context, arch};

/// Look into the store of stage results
#[derive(clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show every result: size, age, what it took, whether the last build used it
    List,
    /// Show what changed since the last result of a stage (musl, kernel, ...)
    Why {
        /// The stage, such as kernel or kernel-base-x86_64
        stage: String,
    },
    /// Compare every result with the digest taken when it was built
    Verify,
    /// Remove results that the last build of their stage did not use, the work directories of interrupted builds, and unpacked
    /// sources (archives stay)
    Gc {
        /// Show what would be removed
        #[arg(long)]
        dry_run: bool,
    },
    /// Show where the store is
    Path,
}

/// Looks into the store.
pub fn run(context: &Context, args: &Args) -> Result<ExitCode> {
    let dirs = &context.dirs;
    match &args.command {
        Command::List => print(&inspect::list(dirs)?)?,
        Command::Why { stage } => print(&store::why(dirs, stage)?)?,
        Command::Verify => print(&inspect::verify(dirs)?)?,
        Command::Gc { dry_run } => inspect::collect(dirs, *dry_run)?,
        Command::Path => print(&format!("{}\n", dirs.home.display()))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Show the commands of a stage as they were run, to be copied and tried
#[derive(clap::Args)]
pub struct CommandsArgs {
    /// The stage, such as musl, kernel or image-full-disk
    stage: String,
    /// x86_64 or arm64 [default: each that was built]
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,
}

/// Prints a stage's commands.
pub fn commands(context: &Context, args: &CommandsArgs) -> Result<ExitCode> {
    let arch = args.arch.as_deref().map(arch).transpose()?;
    print(&inspect::commands(&context.dirs, &args.stage, arch)?)?;
    Ok(ExitCode::SUCCESS)
}
