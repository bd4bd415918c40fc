//! What PID 1 says: lines on the console, or in the kernel log when there is no console.
//!
//! Every module calls [`error!`], [`warn!`], [`info!`] or [`debug!`]. A line never waits: what a stopped terminal (Ctrl-S) does not
//! take is lost, because a PID 1 that waits for a terminal stops the system. The supervisor takes the lines for PID 1's own log,
//! `initctl log init`, where those are too that `quiet` silences.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU8, Ordering};
use core::time::Duration;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, OnceLock};

use crate::sys::{clock, files, system};

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What could not be done. Never silenced.
    Error,
    /// What else a person must know: what is left out, what had to be forced, that the system stops. Never silenced.
    Warn,
    /// The phases of the boot; `quiet` on the kernel command line silences it.
    Info,
    /// Every start and end of a program; only with `debug` on the kernel command line.
    Debug,
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);
static SINK: OnceLock<OwnedFd> = OnceLock::new();
/// The lines that the supervisor has not yet taken.
static RECENT: Mutex<Vec<Said>> = Mutex::new(Vec::new());
/// The name of PID 1's own log.
pub const NAME: &str = "init";
/// Lines that wait for the supervisor at most. The boot has about 50.
const MOST: usize = 256;

/// A line that was said.
#[derive(Debug)]
pub struct Said {
    /// When, since the machine's start.
    pub uptime: Duration,
    /// When, in milliseconds since 1970 UTC.
    pub wall: i64,
    /// How grave it is.
    pub level: Level,
    /// The message alone.
    pub text: String,
}

/// Takes the lines that were said since the last call.
pub fn take() -> Vec<Said> {
    RECENT.lock().map(|mut lines| core::mem::take(&mut *lines)).unwrap_or_default()
}

/// Says lines up to `level` from now on.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Sends lines to `fd` from now on (the first call counts); it must be open without blocking.
pub fn set_sink(fd: OwnedFd) {
    // A second sink would be a second console, and there is one.
    let _ = SINK.set(fd);
}

/// Where lines go, when that is no standard descriptor.
pub fn sink() -> Option<BorrowedFd<'static>> {
    SINK.get().map(AsFd::as_fd)
}

/// A line as it is written: one buffer and one write, so that lines of the kernel and of programs do not cut it.
struct Line {
    bytes: [u8; 512],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // The last byte stays free for the line's end.
        let room = self.bytes.len() - 1 - self.length;
        let count = text.len().min(room);
        self.bytes[self.length..self.length + count].copy_from_slice(&text.as_bytes()[..count]);
        self.length += count;
        Ok(())
    }
}

/// Writes `init: <message>` when `level` is said. Use the macros.
pub fn write(level: Level, message: fmt::Arguments<'_>) {
    let loud = level as u8 <= LEVEL.load(Ordering::Relaxed);
    if loud || level <= Level::Info {
        remember(level, message);
    }
    if !loud {
        return;
    }
    let mut line = Line { bytes: [0; 512], length: 0 };
    let formatted = write!(line, "init: {message}");
    line.bytes[line.length] = b'\n';
    line.length += 1;
    // A message whose parts fail to print is still worth its beginning, and there is nobody to tell.
    let _ = formatted;
    let _ = match SINK.get() {
        Some(fd) => files::write_all(fd, &line.bytes[..line.length]),
        None => files::write_all(stderr(), &line.bytes[..line.length]),
    };
    if level <= Level::Warn {
        keep(&line.bytes[..line.length]);
    }
}

/// Keeps a line for the supervisor. A child of PID 1 that was made while another thread did this cannot, and has no log.
fn remember(level: Level, message: fmt::Arguments<'_>) {
    if let Ok(mut lines) = RECENT.try_lock()
        && lines.len() < MOST
    {
        let (uptime, wall) = (system::uptime(), clock::milliseconds());
        lines.push(Said { uptime, wall, level, text: message.to_string() });
    }
}

/// Keeps a line in the kernel's log, where it is still found when the console has scrolled on, and from where it is sent to a
/// server.
fn keep(line: &[u8]) {
    // Of a daemon (3 * 8), to debug (7): with any other severity the kernel may print it on the console once more.
    const PRIORITY: &[u8] = b"<31>";
    if let Ok(log) = files::open_log("/dev/kmsg") {
        let _ = files::write_all(&log, &[PRIORITY, line].concat());
    }
}

fn stderr() -> BorrowedFd<'static> {
    rustix::stdio::stderr()
}

/// Says what could not be done.
macro_rules! error {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Error, format_args!($($arg)*)) };
}
/// Says what else a person must know. A macro called `warn` would be taken for the built-in attribute.
macro_rules! warning {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Warn, format_args!($($arg)*)) };
}
/// Says how the boot goes on.
macro_rules! info {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Info, format_args!($($arg)*)) };
}
/// Says what only a person who looks for a fault wants to know.
macro_rules! debug {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Debug, format_args!($($arg)*)) };
}
pub(crate) use {debug, error, info, warning as warn};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_and_keeps_its_line_end_free() {
        let mut line = Line { bytes: [0; 512], length: 0 };
        write!(line, "{}", "x".repeat(600)).unwrap();
        assert_eq!(line.length, 511);
    }
}
