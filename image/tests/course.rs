//! The course on a kernel to learn on: every command of docs/lab.md is run as it stands there.

mod common;

use std::io::{Read, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use anyhow::{Context as _, Result, bail, ensure};
use build_support::{Arch, Dirs, fs, vars};
use common::outputs::Outputs;
use common::{limit, report, slots};

/// Seconds without output after which a command is taken for dead.
const SILENCE: f64 = 120.0;

#[test]
fn every_command_of_the_page_runs() -> Result<()> {
    let dirs = Dirs::find()?;
    let page = fs::read_to_string(dirs.root.join("docs/lab.md"))?;
    let commands = commands(&page);
    ensure!(commands.len() >= 8, "the page has {} commands, so they are no longer found", commands.len());
    let full = vars::on("BLOOMERY_CI_FULL", false);
    for command in commands {
        let words: Vec<&str> = command.split(' ').collect();
        let runs = match words[..] {
            ["./run.sh", arch, "--profile", profile] => boot(&dirs, arch, profile),
            ["cargo", "bloomery", "trace", profile, ref rest @ ..] => trace(&dirs, profile, rest, full),
            ["cargo", "bloomery", "gdb", profile, ref rest @ ..] if full => gdb(&dirs, profile, rest),
            ["cargo", "bloomery", "gdb", ..] => {
                testing::skip(&format!(
                    "kernel-lab- with debug information takes minutes for `{command}`; BLOOMERY_CI_FULL=1 builds it"
                ));
                Ok(())
            }
            _ => bail!("docs/lab.md has the command `{command}`, which this test cannot run"),
        };
        runs.with_context(|| format!("`{command}` of docs/lab.md"))?;
    }
    Ok(())
}

/// The commands in the blocks of shell, without their comments.
fn commands(page: &str) -> Vec<&str> {
    let mut inside = false;
    let mut commands = Vec::new();
    for line in page.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside => commands.push(line.split(" #").next().unwrap_or(line).trim()),
            _ => {}
        }
    }
    commands.retain(|command| !command.is_empty() && !command.starts_with('#'));
    commands
}

/// `run.sh` shows a shell or a first program; both are told to end the machine.
fn boot(dirs: &Dirs, arch: &str, profile: &str) -> Result<()> {
    if Outputs::of(Arch::parse(arch)?, profile)?.is_none() {
        return Ok(());
    }
    let _slot = slots::one();
    let mut run = command(dirs, "./run.sh", &[arch, "--profile", profile, "--", "-no-reboot"], &dirs.root);
    let mut run = run.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let output = bytes_of(run.stdout.take().context("no pipe")?);
    let shown = wait_for(&output, &["# ", "Enter restarts the machine."])?;
    let keys = if shown.ends_with("# ") { "reboot -f\n" } else { "\n" };
    run.stdin.take().context("no pipe")?.write_all(keys.as_bytes())?;
    ensure!(run.wait()?.success(), "QEMU did not end well after:\n{shown}");
    Ok(())
}

/// The host's own architecture may be one that takes half a minute to count.
fn trace(dirs: &Dirs, profile: &str, rest: &[&str], full: bool) -> Result<()> {
    let named = rest.first().and_then(|word| Arch::parse(word).ok());
    let arch = named.map_or_else(Arch::host, Ok)?;
    if arch == Arch::X86_64 && !full {
        report("a boot of x86_64 is counted with BLOOMERY_CI_FULL=1 alone");
        return Ok(());
    }
    let others = rest.iter().skip_while(|word| **word != "--compare").nth(1);
    for profile in [profile].into_iter().chain(others.copied()) {
        if Outputs::of(arch, profile)?.is_none() {
            return Ok(());
        }
    }
    let _slot = slots::one();
    let dir = tempfile::tempdir()?;
    let place = dir.path().display().to_string();
    let args = [&["bloomery", "-C", &place, "trace", profile], rest].concat();
    let text = answer(command(dirs, "cargo", &args, &dirs.root))?;
    ensure!(text.contains("start_kernel"), "it prints:\n{text}");
    let drawn = rest.iter().skip_while(|word| **word != "--svg").nth(1);
    drawn.map_or(Ok(()), |file| {
        let picture = fs::read_to_string(dir.path().join(file))?;
        ensure!(picture.starts_with("<svg "), "{file} is no picture");
        Ok(())
    })
}

fn gdb(dirs: &Dirs, profile: &str, rest: &[&str]) -> Result<()> {
    let _slot = slots::one();
    let args = [&["bloomery", "gdb", profile], rest, &["--", "-batch", "-ex", "bt"]].concat();
    let text = answer(command(dirs, "cargo", &args, &dirs.root))?;
    ensure!(text.contains("start_kernel"), "it prints:\n{text}");
    Ok(())
}

fn command(dirs: &Dirs, program: &str, args: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(dir);
    if std::env::var_os("CARGO_TARGET_DIR").is_some() {
        command.env("CARGO_TARGET_DIR", &dirs.target);
    }
    command
}

/// What a command that ends well prints.
fn answer(mut command: Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{}:\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

/// The bytes that come, from a thread of its own.
fn bytes_of(mut output: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, bytes) = channel();
    std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = output.read(&mut chunk) {
            if sender.send(chunk[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    bytes
}

/// Waits until the output ends with one of some texts, a line's end aside; returns all of it.
fn wait_for(bytes: &Receiver<Vec<u8>>, ends: &[&str]) -> Result<String> {
    let mut text = String::new();
    loop {
        let more = bytes.recv_timeout(limit(SILENCE)).with_context(|| format!("{ends:?} did not come:\n{text}"))?;
        text += &String::from_utf8_lossy(&more);
        let shown = text.trim_end_matches(['\r', '\n']);
        if ends.iter().any(|end| shown.ends_with(end)) {
            return Ok(shown.into());
        }
    }
}

#[test]
fn commands_are_found_in_blocks_of_shell() {
    let page = "text\n```sh\n./a b   # why\n\n# alone\nc\n```\n```toml\nd\n```\n";
    assert_eq!(commands(page), ["./a b", "c"]);
}
