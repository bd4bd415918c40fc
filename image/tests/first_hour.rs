//! A stranger's first hour: every command of the README is run as it is printed there.

mod common;

use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use build_support::{Arch, Dirs, fs};
use common::outputs::Outputs;
use common::pages::{answer, command, commands, talk};
use common::programs::{C_PROGRAM, CPP_PROGRAM};
use common::{limit, slots};
use system::machine::GDB_PORT;

/// What a shell's prompt ends with, and the answer to it: a kernel without ACPI cannot power off.
const GO: &[(&str, &str)] = &[("# ", "reboot -f\n")];

#[test]
fn every_command_of_the_readme_runs() -> Result<()> {
    let dirs = Dirs::find()?;
    let page = fs::read_to_string(dirs.root.join("README.md"))?;
    let commands = commands(&page);
    ensure!(commands.len() >= 20, "the page has {} commands, so they are no longer found", commands.len());
    // What compilers are given.
    let desk = tempfile::tempdir()?;
    fs::write(desk.path().join("hello.c"), C_PROGRAM)?;
    fs::write(desk.path().join("hello.cpp"), CPP_PROGRAM)?;
    for command in commands {
        run(&dirs, desk.path(), command).with_context(|| format!("`{command}` of README.md"))?;
    }
    Ok(())
}

fn run(dirs: &Dirs, desk: &Path, line: &str) -> Result<()> {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["./setup.sh", "&&", ref rest @ ..] => {
            answer(command(dirs, "./setup.sh", &["--dry-run"], &dirs.root))?;
            run(dirs, desk, &rest.join(" "))
        }
        // That is what runs.
        ["cargo", "test", "--workspace"] => Ok(()),
        ["./run.sh", "--help"] => says(command(dirs, "./run.sh", &["--help"], &dirs.root), "--profile"),
        ["./run.sh", arch, ref options @ ..] => boot(dirs, arch, options),
        ["echo", ref rest @ ..] => {
            let pipe = format!("echo {}", rest.join(" "));
            built(rest.last().copied().unwrap_or_default(), Arch::X86_64, || {
                says(command(dirs, "sh", &["-c", &format!("{pipe} --snapshot")], &dirs.root), "Linux bloomery")
            })
        }
        ["cargo", "bloomery", ref rest @ ..] => bloomery(dirs, rest),
        ["cargo", "run", "-p", "vendor", "--", ref rest @ ..] => vendor(dirs, rest),
        [program, ref rest @ ..] if program.starts_with("target/bloomery/toolchain/bin/") => {
            let program = dirs.target.join(program.trim_start_matches("target/"));
            answer(command(dirs, &program.display().to_string(), rest, desk)).map(drop)
        }
        _ => bail!("this test does not know how to run it"),
    }
}

/// Does something where a profile is built, or can be in time.
fn built(profile: &str, arch: Arch, work: impl FnOnce() -> Result<()>) -> Result<()> {
    if Outputs::of(arch, profile)?.is_none() {
        return Ok(());
    }
    let _slot = slots::one();
    work()
}

fn says(command: Command, words: &str) -> Result<()> {
    let text = answer(command)?;
    ensure!(text.contains(words), "`{words}` is not in what it says:\n{text}");
    Ok(())
}

/// A machine that shows a shell is told to end; one that waits for a debugger has its port open.
fn boot(dirs: &Dirs, arch: &str, options: &[&str]) -> Result<()> {
    let profile = options.iter().skip_while(|word| **word != "--profile").nth(1).copied().unwrap_or("full");
    let args = [&[arch], options].concat();
    built(profile, Arch::parse(arch)?, || {
        if options.contains(&"--dry-run") {
            return says(command(dirs, "./run.sh", &args, &dirs.root), "qemu-system-");
        }
        if options.contains(&"--gdb") {
            return waits_for_gdb(command(dirs, "./run.sh", &args, &dirs.root));
        }
        // Other tests begin with the disks as they were built.
        let snapshot: &[&str] = if options.contains(&"--snapshot") { &[] } else { &["--snapshot"] };
        talk(command(dirs, "./run.sh", &[&args[..], snapshot, &["--", "-no-reboot"]].concat(), &dirs.root), GO)
    })
}

fn waits_for_gdb(mut run: Command) -> Result<()> {
    let mut run = run.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let began = Instant::now();
    let mut open = false;
    while !open && run.try_wait()?.is_none() && began.elapsed() < limit(60.0) {
        open = TcpStream::connect(("127.0.0.1", GDB_PORT)).is_ok();
        std::thread::sleep(Duration::from_millis(100));
    }
    // QEMU ends with the program that runs it.
    run.kill()?;
    run.wait()?;
    ensure!(open, "nobody waits for a debugger at port {GDB_PORT}");
    Ok(())
}

fn bloomery(dirs: &Dirs, words: &[&str]) -> Result<()> {
    let args = [&["bloomery"], words].concat();
    let run = |dir: &Path| command(dirs, "cargo", &args, dir);
    match words {
        ["enter", "arm64" | "x86_64", "uname", "-m"] => {
            built("full", Arch::parse(words[1])?, || says(run(&dirs.root), Arch::parse(words[1])?.machine()))
        }
        ["enter", rest @ ..] => {
            let words = if rest.is_empty() { "" } else { "clang version" };
            built("full", Arch::host()?, || says(run(&dirs.root), words))
        }
        // In a store of its own: what others need stays.
        ["store", "gc"] => {
            let store = tempfile::tempdir()?;
            let mut run = run(&dirs.root);
            run.env("BLOOMERY_HOME", store.path());
            answer(run).map(drop)
        }
        ["store", ..] | ["commands", ..] => says(run(&dirs.root), "kernel"),
        _ => bail!("this test does not know how to run it"),
    }
}

fn vendor(dirs: &Dirs, words: &[&str]) -> Result<()> {
    let run = |words: &[&str]| {
        let args = [&["run", "-q", "-p", "vendor", "--"], words].concat();
        command(dirs, "cargo", &args, &dirs.root)
    };
    match words {
        ["list"] => says(run(words), "linux"),
        ["fetch"] => answer(run(words)).map(drop),
        ["unpack", "linux"] => {
            let place = dirs.root.join("vendor/upstream");
            let there = place.exists();
            answer(run(words))?;
            ensure!(place.is_dir(), "there is no {}", place.display());
            if there { Ok(()) } else { fs::remove_dir_all(&place).map_err(Into::into) }
        }
        ["export", "DIR"] => {
            let dir = tempfile::tempdir()?;
            answer(run(&["export", &dir.path().display().to_string()]))?;
            ensure!(fs::read_dir(dir.path())?.count() > 5, "nothing was exported");
            Ok(())
        }
        _ => bail!("this test does not know how to run it"),
    }
}
