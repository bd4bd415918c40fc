//! `updater`: takes signed updates and settings for a system with two kernel slots, and keeps an update whose services come up
//! (docs/updates.md). It is linked into init's program, which runs it by this name.
//!
//! [`disk`] is the disk that the kernels lie on, [`receive`] takes an update, [`trial`] decides about one that was started, [`health`]
//! asks PID 1, [`kept`] changes settings, [`serve`] waits for whoever brings something. One thread.

mod arguments;
mod config;
mod disk;
mod health;
mod kept;
mod receive;
mod serve;
mod trial;

use arguments::{Asked, USAGE};
use config::Config;
use disk::Disk;
use init_base::sys::files::{self, to_stderr};
use slots::state::Running;

/// Runs it with the arguments after the name; returns the exit code.
pub fn run(arguments: &[&str]) -> i32 {
    let result = match arguments::parse(arguments) {
        Ok(Asked::Serve(arguments)) => Config::read().and_then(|config| serve::serve(&arguments, &config)),
        Ok(Asked::Show) => show(),
        Ok(Asked::Change(changes)) => change(&changes),
        Ok(Asked::Help) => {
            to_stdout(USAGE);
            Ok(())
        }
        Err(message) => {
            to_stderr(format_args!("updater: {message}\nhint: updater --help\n"));
            return 2;
        }
    };
    match result {
        Ok(()) => 0,
        Err(message) => {
            to_stderr(format_args!("updater: {message}\n"));
            1
        }
    }
}

fn to_stdout(text: &str) {
    let _ = files::write_all(rustix::stdio::stdout(), text.as_bytes());
}

fn find() -> Result<(Disk, [u8; slots::state::BUILD_ID]), String> {
    let running = disk::running_kernel()?;
    Ok((Disk::find(&running)?, running))
}

fn show() -> Result<(), String> {
    let (disk, running) = find()?;
    let (_, state) = disk.state().ok_or("the disk does not tell which kernel is good")?;
    let mut text = format!("disk {}\n", disk.name);
    for slot in [1, 2] {
        let kernel = state.kernel(slot);
        let mut words = Vec::new();
        words.extend((slot == state.good).then_some("good"));
        words.extend((slot == state.trial).then_some("on trial"));
        let runs = kernel.length > 0 && kernel.build_id == running;
        words.extend(runs.then_some("running"));
        if words.is_empty() {
            words.push("spare");
        }
        text += &match kernel.length {
            0 => format!("slot {slot}: empty\n"),
            bytes => format!("slot {slot}: {bytes} bytes, serial {}, {}\n", kernel.serial, words.join(", ")),
        };
    }
    if state.running(&running) == Running::Returned {
        text += "the update did not come up\n";
    }
    for line in disk.kept().unwrap_or_default().lines() {
        text += &format!("kept: {line}\n");
    }
    to_stdout(&text);
    Ok(())
}

fn change(changes: &[(String, Option<String>)]) -> Result<(), String> {
    let (disk, _) = find()?;
    let text = kept::change(&disk.kept().unwrap_or_default(), changes)?;
    disk.set_kept(&text)
}
