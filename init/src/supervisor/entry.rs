//! A line of inittab and what is known of its program.

use core::time::Duration;

use crate::event::backoff;
use crate::log::{error, info};
use crate::spawn::console;
use crate::spawn::inittab::{Action, Line};
use crate::sys::Errno;
use crate::sys::process::Pid;

/// The actions of the boot, in its order.
pub(super) const BOOT: [Action; 3] = [Action::Sysinit, Action::Wait, Action::Once];

/// A line of the table and the state of its program. Times are those since the machine's start.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The line.
    pub line: Line,
    /// The program while it runs.
    pub pid: Option<Pid>,
    /// A reload took the line away; the entry goes when its program has ended.
    pub stale: bool,
    /// The boot has come to it, now or before a fault of init.
    pub(super) begun: bool,
    /// When the program was last started.
    pub(super) started: Duration,
    /// Failures in a row, see [`backoff`].
    pub(super) failures: u32,
    /// The program does not start again before this time.
    pub(super) next_start: Duration,
    /// When a program that was told to end is killed.
    pub(super) kill_at: Option<Duration>,
    /// Its terminal is missing, and that was said.
    pub(super) absent: bool,
}

impl Entry {
    /// An entry that has not run yet.
    pub fn new(line: Line) -> Entry {
        Entry {
            line,
            pid: None,
            stale: false,
            begun: false,
            started: Duration::ZERO,
            failures: 0,
            next_start: Duration::ZERO,
            kill_at: None,
            absent: false,
        }
    }

    /// Whether the boot starts its program now; it never starts one twice.
    pub(super) fn is_due(&self, action: Action) -> bool {
        let once = BOOT.contains(&action);
        self.line.action == action && self.pid.is_none() && !(once && self.begun)
    }

    /// When the supervisor has to look at the entry again without any event.
    pub(super) fn deadline(&self, paused: bool) -> Option<Duration> {
        match self.pid {
            Some(_) => self.kill_at,
            None if self.line.action.respawns() && !self.stale && !paused => Some(self.next_start),
            None => None,
        }
    }
}

/// Says that an entry's program was not started, unless that was said before.
pub(super) fn not_started(entry: &mut Entry, error: Errno) {
    let Line { terminal, command, .. } = &entry.line;
    if console::is_absent(error) {
        if !core::mem::replace(&mut entry.absent, true) {
            let name = if terminal.is_empty() { "console" } else { terminal };
            info!("'{command}' waits for its terminal /dev/{name}, which is not there ({error})");
        }
    } else if backoff::worth_saying(entry.failures) {
        let next = if entry.line.action.respawns() { "it is tried again" } else { "going on without it" };
        error!("cannot start '{command}': {error}; {next}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(action: Action) -> Entry {
        Entry { next_start: Duration::from_secs(9), ..Entry::new(Line::new("", action, "/bin/x")) }
    }

    #[test]
    fn only_respawning_entries_without_a_program_wait_for_a_start() {
        assert_eq!(entry(Action::Respawn).deadline(false), Some(Duration::from_secs(9)));
        assert_eq!(entry(Action::Askfirst).deadline(false), Some(Duration::from_secs(9)));
        assert_eq!(entry(Action::Respawn).deadline(true), None);
        assert_eq!(entry(Action::Once).deadline(false), None);
        assert_eq!(Entry { stale: true, ..entry(Action::Respawn) }.deadline(false), None);
        assert_eq!(Entry { pid: Some(5), ..entry(Action::Respawn) }.deadline(false), None);
    }

    #[test]
    fn a_program_that_must_end_is_looked_at_even_while_paused() {
        let time = Some(Duration::from_secs(4));
        assert_eq!(Entry { pid: Some(5), kill_at: time, ..entry(Action::Respawn) }.deadline(true), time);
    }
}
