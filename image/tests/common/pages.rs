//! Commands of pages, run as they stand there.

use std::io::{Read, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use anyhow::{Context as _, Result, ensure};
use build_support::Dirs;

use super::limit;

/// Seconds without output after which a command is taken for dead.
const SILENCE: f64 = 120.0;

/// The commands in a page's blocks of shell, without their comments.
pub fn commands(page: &str) -> Vec<&str> {
    let blocks = blocks(page).into_iter().filter(|(name, _)| *name == "sh");
    blocks.flat_map(|(_, lines)| lines).collect()
}

/// The fenced blocks of a page: what stands behind the fence, and the lines without their comments.
pub fn blocks(page: &str) -> Vec<(&str, Vec<&str>)> {
    let (mut blocks, mut inside) = (Vec::new(), false);
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(name) => {
                blocks.push((name, Vec::new()));
                inside = true;
            }
            None if inside => {
                let line = line.split(" #").next().unwrap_or(line).trim();
                let lines = blocks.last_mut().map(|(_, lines): &mut (&str, Vec<&str>)| lines);
                lines
                    .into_iter()
                    .filter(|_| !line.is_empty() && !line.starts_with('#'))
                    .for_each(|lines| lines.push(line));
            }
            None => {}
        }
    }
    blocks
}

/// A command with the target directory that this test run has.
pub fn command(dirs: &Dirs, program: &str, args: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(dir);
    if std::env::var_os("CARGO_TARGET_DIR").is_some() {
        command.env("CARGO_TARGET_DIR", &dirs.target);
    }
    command
}

/// What a command that ends well prints.
pub fn answer(mut command: Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{}:\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

/// Starts a machine, waits until its console ends with one of some texts, types an answer to that, and waits for the machine's end.
pub fn talk(mut run: Command, talk: &[(&str, &str)]) -> Result<()> {
    let mut run = run.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let output = bytes_of(run.stdout.take().context("no pipe")?);
    let ends: Vec<&str> = talk.iter().map(|(end, _)| *end).collect();
    let shown = wait_for(&output, &ends);
    let keys = shown.as_ref().ok().and_then(|shown| talk.iter().find(|(end, _)| shown.ends_with(end)));
    match (&shown, keys) {
        (Ok(_), Some((_, keys))) => run.stdin.take().context("no pipe")?.write_all(keys.as_bytes())?,
        _ => run.kill()?,
    }
    let ended = run.wait()?;
    let shown = shown?;
    ensure!(ended.success(), "QEMU did not end well after:\n{shown}");
    Ok(())
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
