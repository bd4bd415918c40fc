//! Running another program in the place of PID 1's: what `init u` and SIGURG ask for, after an upgrade. The supervisor calls
//! this.
//!
//! Nothing is given up before the new program has said that it reads such a state, so a broken file changes nothing.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use super::state::VERSION;
use crate::log::warn;
use crate::spawn::{command, limits};
use crate::sys::{Errno, descriptors, files, proc, process};

/// With the number of the descriptor that the state is read from.
pub(super) const STATE: &str = "--state=";
/// Asks a program that is not PID 1 whether it reads a version of the state.
const READS: &str = "--reads-state=";
/// Where PID 1 is when nothing else is known.
const PROGRAM: &str = "/sbin/init";
/// The exit code of a program that reads it; no other program's answer to an argument that it does not know.
pub const YES: i32 = 86;

/// PID 1's arguments without those of this directory's modules.
static ARGUMENTS: OnceLock<Vec<String>> = OnceLock::new();

/// Keeps the arguments that the next program gets too.
pub(super) fn keep_arguments(arguments: &[&str]) {
    // Once for each program.
    let _ = ARGUMENTS.set(arguments.iter().map(|&argument| argument.into()).collect());
}

/// The command that asks the program at `path` whether it can take over; it exits with [`YES`] then.
pub fn question(path: &str) -> String {
    format!("{path} {READS}{VERSION}")
}

/// The exit code of a program that is not PID 1 and is asked [`question`]; nothing when the arguments are others.
pub fn answer(arguments: &[&str]) -> Option<i32> {
    let [argument] = arguments else {
        return None;
    };
    let version = argument.strip_prefix(READS)?;
    Some(if version.parse() == Ok(VERSION) { YES } else { 1 })
}

/// Writes the state, leaves `kept` open, and runs the program at `path`.
pub fn run(path: &str, text: &str, kept: &[BorrowedFd<'_>]) -> Result<core::convert::Infallible, String> {
    let memory = write_state(text).map_err(|error| format!("cannot keep the state in memory: {error}"))?;
    let (path, arguments) = command_line(path, Some(format!("{STATE}{}", memory.as_raw_fd())))
        .map_err(|error| format!("cannot make the command line: {error}"))?;
    let environment = command::strings(process::environment()).unwrap_or_default();
    keep(kept, &memory, true).map_err(|error| format!("cannot hand descriptors over: {error}"))?;
    limits::restore_in_child();
    let error = process::exec(&path, &arguments, &environment);
    limits::raise();
    if let Err(error) = keep(kept, &memory, false) {
        warn!("programs started from now on find open descriptors of init: {error}");
    }
    Err(format!("cannot run {}: {error}", path.to_string_lossy()))
}

pub(super) fn write_state(text: &str) -> Result<OwnedFd, Errno> {
    let memory = descriptors::memory_file("init-state")?;
    files::write_all(&memory, text.as_bytes())?;
    descriptors::rewind(&memory)?;
    Ok(memory)
}

fn keep(kept: &[BorrowedFd<'_>], memory: &OwnedFd, keep: bool) -> Result<(), Errno> {
    kept.iter().copied().chain([memory.as_fd()]).try_for_each(|fd| descriptors::keep_on_exec(fd, keep))
}

/// Path and arguments of this program, as the next one gets them.
pub(super) fn own_command_line() -> Result<(CString, Vec<CString>), Errno> {
    command_line(&program(), None)
}

/// Path and arguments of the next program.
fn command_line(path: &str, own: Option<String>) -> Result<(CString, Vec<CString>), Errno> {
    let given = ARGUMENTS.get().map(Vec::as_slice).unwrap_or_default();
    let words = [path.to_owned()].into_iter().chain(given.iter().cloned()).chain(own);
    let arguments = command::strings(words).ok_or(Errno::INVAL)?;
    Ok((CString::new(path).map_err(|_| Errno::INVAL)?, arguments))
}

/// The file that this program was started from, or the one that has taken its place.
pub fn program() -> String {
    // Before /proc is there, what the kernel was told is as good.
    let path = proc::own_executable().ok().or_else(process::started_by).unwrap_or_default();
    let path = proc::without_mark(&path);
    if path.starts_with('/') && files::is_executable(path) { path.into() } else { PROGRAM.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_question_is_answered() {
        assert_eq!(answer(&["--reads-state=1"]), Some(YES));
        assert_eq!(answer(&["--reads-state=2"]), Some(1));
        assert_eq!(answer(&["-q"]), None);
        assert_eq!(answer(&[]), None);
    }

    #[test]
    fn the_program_is_known_with_and_without_proc() {
        let own = process::started_by().unwrap();
        assert!(program().ends_with(own.rsplit('/').next().unwrap()), "{own}");
    }
}
