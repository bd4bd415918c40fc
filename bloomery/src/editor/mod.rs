//! `editor`: files for editors. Leaves `.vscode/launch.json` and `tasks.json`, `compile_commands.json` for the kernel's source, and a build
//! directory with the headers that a build generates.

mod commands;
mod vscode;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use build_support::inspect::print;
use build_support::{Arch, Result, ensure, fs, tree};
use serde_json::Value;
use system::outputs;

use crate::context::{Context, arch, linux};
use crate::usage::{say, wrong};
use crate::{build, gdb};

/// Write what an editor needs to browse a profile's kernel and to debug it
///
/// DIR becomes a folder to open: `linux` in it leads to the kernel's source, `compile_commands.json` has the command of each file that
/// the kernel is made of (clangd and the C/C++ extension of VS Code read it), and `.vscode` has the tasks that build and start the system
/// and a configuration that debugs it. Files of these names are replaced.
#[derive(clap::Args)]
pub struct Args {
    /// A name from image/profiles/, or the path of your own TOML file
    #[arg(value_name = "PROFILE")]
    profile: String,
    /// x86_64 or arm64
    #[arg(value_name = "ARCH")]
    arch: String,
    /// The folder
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Writes the files, and prints their names.
pub fn run(context: &Context, args: &Args) -> Result<ExitCode> {
    let arch = arch(&args.arch)?;
    let dir = folder(&args.dir)?;
    let gdb = gdb::find_gdb(arch)?;
    let name = gdb::with_debug(context, &context.profile_name(&args.profile)?)?;
    let profile = context.profile(&name)?;
    profile.check_arch(arch)?;
    let code = build::cargo(context, &[arch], std::slice::from_ref(&name))?;
    if code != ExitCode::SUCCESS {
        return Ok(code);
    }
    let own = context.dirs.output(arch).join(outputs::directory(&profile));
    let config = context.dirs.output(arch).join(format!("{}.config", gdb::kernel(&profile)?));
    let source = linux(&context.dirs, &profile)?;
    tree::link(&source, &dir.join("linux"))?;
    say("asking make for the commands that compile the kernel");
    let kernel = commands::Kernel { arch, source: &source, config: &config, build: &dir.join("build") };
    let target = vscode::Target {
        name: &args.profile,
        profile: &name,
        arch,
        root: &context.dirs.root,
        debug: &own.join("debug"),
        gdb: &gdb,
    };
    for (file, value) in [
        ("compile_commands.json", commands::read(&kernel, &context.dirs)?),
        (".vscode/tasks.json", vscode::tasks(&target)),
        (".vscode/launch.json", vscode::launch(&target)),
    ] {
        write(&dir.join(file), &value)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The folder as an absolute path. make takes none with a space or a colon in it (Makefile of Linux).
fn folder(dir: &Path) -> Result<PathBuf> {
    let dir = std::path::absolute(dir)?;
    let text = dir.to_string_lossy();
    if text.contains([' ', ':']) {
        return Err(wrong(&format!("make takes no path with a space or a colon: {text}"), "name another directory"));
    }
    ensure!(
        !dir.exists() || dir.is_dir(),
        "{text} is no directory\nhint: name one, or a path where there is nothing yet"
    );
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

fn write(file: &Path, value: &Value) -> Result<()> {
    tree::write_atomically(file, format!("{value:#}\n").as_bytes())?;
    print(&format!("{}\n", file.display()))
}

/// The label of a task, by which others name it.
fn label(name: &str, arch: Arch, what: &str) -> String {
    format!("{name} {arch}: {what}")
}
