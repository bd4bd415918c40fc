//! `cargo bloomery COMMAND`: the one door to building, booting and looking into a system.

mod bisect;
mod build;
mod busy;
mod completion;
mod config;
mod context;
mod cost;
mod decode;
mod editor;
mod enter;
mod gdb;
mod init;
mod initramfs;
mod kbuild;
mod keys;
mod menuconfig;
mod new;
mod paused;
mod pe;
mod run;
mod size;
mod store;
mod trace;
mod typed;
mod update;
mod usage;
mod watch;

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
    New(new::Args),
    Build(build::Args),
    Run(run::Args),
    Gdb(gdb::Args),
    Trace(trace::Args),
    Decode(decode::Args),
    Editor(editor::Args),
    Enter(enter::Args),
    Menuconfig(menuconfig::Args),
    Config(config::Args),
    Size(size::Args),
    Cost(cost::Args),
    Bisect(bisect::Args),
    Initramfs(initramfs::Args),
    Keys(keys::Args),
    Update(update::Args),
    Store(store::Args),
    Commands(store::CommandsArgs),
    /// Show, fetch, verify, re-pin and export the pinned upstream sources
    #[command(after_help = vendor::cli::VARIABLES)]
    Sources(vendor::cli::Arguments),
    Completion(completion::Args),
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let result = if args.next().is_some_and(|word| word == enter::INSIDE) {
        enter::inside(args)
    } else {
        match Cli::try_parse() {
            Ok(cli) => dispatch(cli),
            Err(error) => return usage::explain(&error),
        }
    };
    result.unwrap_or_else(|error| usage::report(&error))
}

fn dispatch(cli: Cli) -> Result<ExitCode> {
    if let Command::Completion(args) = &cli.command {
        return completion::run(args);
    }
    let context = Context::find(cli.directory.as_deref())?;
    match cli.command {
        Command::New(args) => new::run(&context, &args),
        Command::Build(args) => build::run(&context, &args),
        Command::Run(args) => run::run(&context, args),
        Command::Gdb(args) => gdb::run(&context, &args),
        Command::Trace(args) => trace::run(&context, &args),
        Command::Decode(args) => decode::run(&context, &args),
        Command::Editor(args) => editor::run(&context, &args),
        Command::Enter(args) => enter::run(&context, &args),
        Command::Menuconfig(args) => menuconfig::run(&context, &args),
        Command::Config(args) => config::run(&context, &args),
        Command::Size(args) => size::run(&context, &args),
        Command::Cost(args) => cost::run(&context, &args),
        Command::Bisect(args) => bisect::run(&context, &args),
        Command::Initramfs(args) => initramfs::run(&context, &args),
        Command::Keys(args) => keys::run(&context, &args),
        Command::Update(args) => update::run(&context, &args),
        Command::Store(args) => store::run(&context, &args),
        Command::Commands(args) => store::commands(&context, &args),
        Command::Sources(args) => vendor::cli::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Completion(args) => completion::run(&args),
    }
}
