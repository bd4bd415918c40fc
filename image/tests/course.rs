//! The course on a kernel to learn on: every command of docs/lab.md is run as it stands there.

mod common;

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use build_support::{Arch, Dirs, fs, tree, vars};
use common::guest::{Guest, Start, extra};
use common::outputs::Outputs;
use common::pages::{answer, blocks, command, commands, talk};
use common::{report, slots};
use system::machine::Options;

/// The profiles whose kernels CI has.
const SHIPPED: &[&str] = &["lab", "lab-hello", "lab-nolibc"];

#[test]
fn every_command_of_the_page_runs() -> Result<()> {
    let dirs = Dirs::find()?;
    let page = fs::read_to_string(dirs.root.join("docs/lab.md"))?;
    let commands = commands(&page);
    ensure!(commands.len() >= 8, "the page has {} commands, so they are no longer found", commands.len());
    let full = vars::on("BLOOMERY_CI_FULL", false);
    let place = tempfile::tempdir()?;
    for command in commands {
        let words: Vec<&str> = command.split(' ').collect();
        let runs = match words[..] {
            ["./run.sh", arch, "--profile", profile] if SHIPPED.contains(&profile) => boot(&dirs, arch, profile, &[]),
            ["cargo", "bloomery", "trace", profile, ref rest @ ..] => trace(&dirs, profile, rest, full),
            ["cargo", "bloomery", "initramfs", profile, arch] => initramfs(&dirs, profile, arch),
            _ if !full => {
                testing::skip(&format!("kernel-lab- of `{command}` takes minutes; BLOOMERY_CI_FULL=1 builds it"));
                Ok(())
            }
            ["./run.sh", arch, "--profile", profile, ref rest @ ..] => boot(&dirs, arch, profile, rest),
            ["cargo", "bloomery", "gdb", ..] => gdb(&dirs, command),
            // A shell's line: output goes from one command to the next by a file.
            ["echo", ..] | ["cargo", "bloomery", "decode" | "editor" | "bisect", ..] => {
                shell(&dirs, command, place.path())
            }
            _ => bail!("docs/lab.md has the command `{command}`, which this test cannot run"),
        };
        runs.with_context(|| format!("`{command}` of docs/lab.md"))?;
    }
    Ok(())
}

/// What is typed in guests: each block in one boot, every command with status 0.
#[test]
fn every_command_in_a_guest_succeeds() -> Result<()> {
    let dirs = Dirs::find()?;
    let page = fs::read_to_string(dirs.root.join("docs/lab.md"))?;
    let blocks = guest_blocks(&page);
    ensure!(blocks.len() >= 3, "the page has {} blocks for guests, so they are no longer found", blocks.len());
    for (at, (profile, commands)) in blocks.into_iter().enumerate() {
        if !SHIPPED.contains(&profile) && !vars::on("BLOOMERY_CI_FULL", false) {
            testing::skip(&format!("kernel-lab- of {profile} takes minutes; BLOOMERY_CI_FULL=1 builds it"));
            continue;
        }
        let path = if profile.contains('/') { dirs.root.join(profile).display().to_string() } else { profile.into() };
        let Some(outputs) = Outputs::of(Arch::host()?, &path)? else { continue };
        let _slot = slots::one();
        let options = Options { extra: extra(&["-no-reboot"]), ..Options::default() };
        let name = format!("course-{at}");
        let mut guest = Guest::start(&outputs, &Start { options, ..Start::new(&name, &path) })?;
        guest.prompt()?;
        guest.run("dmesg -n 1")?; // Messages of the kernel would fall into answers.
        commands.iter().try_for_each(|command| guest.run(command).map(drop))?;
        guest.type_keys("reboot -f\n")?;
        guest.ended(30.0)?;
    }
    Ok(())
}

/// The profiles of guests, and what is typed there.
fn guest_blocks(page: &str) -> Vec<(&str, Vec<&str>)> {
    blocks(page).into_iter().filter_map(|(name, lines)| Some((name.strip_prefix("guest ")?, lines))).collect()
}

/// `run.sh` shows a shell or a first program; both are told to end the machine.
fn boot(dirs: &Dirs, arch: &str, profile: &str, options: &[&str]) -> Result<()> {
    if Outputs::of(Arch::parse(arch)?, profile)?.is_none() {
        return Ok(());
    }
    let _slot = slots::one();
    let words = [&[arch, "--profile", profile], options, &["--", "-no-reboot"]].concat();
    talk(command(dirs, "./run.sh", &words, &dirs.root), &[("# ", "reboot -f\n"), ("Enter restarts the machine.", "\n")])
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

/// GDB in batch mode. What follows `--` in the page is executed before the words here.
fn gdb(dirs: &Dirs, line: &str) -> Result<()> {
    let _slot = slots::one();
    let (line, more) = line.split_once(" -- ").unwrap_or((line, ""));
    let line = format!("{line} -- -batch {more} -ex bt -ex 'p 6 * 7'");
    let text = answer(command(dirs, "sh", &["-c", &line], &dirs.root))?;
    ensure!(text.contains(" = 42\n") && text.contains(" at "), "it prints:\n{text}");
    Ok(())
}

/// A line of the page in a shell. What it writes goes to a directory of its own.
fn shell(dirs: &Dirs, line: &str, place: &Path) -> Result<()> {
    let _slot = slots::one();
    // Its examples.
    if !place.join("image").exists() {
        tree::link(dirs.root.join("image"), &place.join("image"))?;
    }
    let line = line.replace("cargo bloomery", &format!("cargo bloomery -C {}", place.display()));
    let line = line.replace("console.log", &place.join("console.log").display().to_string());
    let text = answer(command(dirs, "bash", &["-o", "pipefail", "-c", &line], &dirs.root))?;
    ensure!(line.starts_with("echo ") || !text.is_empty(), "it prints nothing");
    Ok(())
}

fn initramfs(dirs: &Dirs, profile: &str, arch: &str) -> Result<()> {
    if Outputs::of(Arch::parse(arch)?, profile)?.is_none() {
        return Ok(());
    }
    let text = answer(command(dirs, "cargo", &["bloomery", "initramfs", profile, arch], &dirs.root))?;
    ensure!(text.contains("usr/bin/busybox"), "it prints:\n{text}");
    Ok(())
}

#[test]
fn commands_are_found_in_blocks_of_shell() {
    let page = "text\n```sh\n./a b   # why\n\n# alone\nc\n```\n```toml\nd\n```\n";
    assert_eq!(commands(page), ["./a b", "c"]);
    assert_eq!(guest_blocks("```guest lab\nfree # why\nls\n```\n"), [("lab", vec!["free", "ls"])]);
}
