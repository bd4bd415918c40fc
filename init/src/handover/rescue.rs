//! A shell on the console where nothing else helps.

use core::time::Duration;

use crate::event::backoff;
use crate::event::signals::{self, SignalRequest};
use crate::log::{error, warn};
use crate::platform::power;
use crate::spawn::inittab::{Action, Line};
use crate::spawn::{self, Environment};
use crate::sys::process::{self, Pid};
use crate::sys::signal;
use crate::sys::{files, system};

/// Where a shell may be, best first; the last one is busybox without its links.
const SHELLS: &[(&str, &str)] =
    &[("/bin/sh", "-/bin/sh"), ("/bin/ash", "-/bin/ash"), ("/bin/busybox", "/bin/busybox ash")];

/// The shortest wait where waiting itself fails.
const PAUSE: Duration = Duration::from_millis(100);
/// A wait that only a signal ends.
const LONG: Duration = Duration::from_secs(3600);

/// The entry of a rescue shell.
pub fn shell_line() -> Line {
    let found = SHELLS.iter().find(|(path, _)| files::is_executable(path));
    let command = found.map_or("-/bin/sh", |(_, command)| command);
    // Askfirst leads its terminal whatever the command is, but a rescue must not wait for a key.
    Line::new("", Action::Respawn, command)
}

/// Runs PID 1 for the rest of its life when its event loop is lost or the program has a fault: it reaps ended
/// children, keeps a shell on the console, and still halts, powers off and reboots, without an orderly shutdown.
///
/// Here it waits for signals alone. An armed watchdog is not fed: an unattended machine is better off with its reset.
pub fn last_resort(reason: &str) -> ! {
    warn!("{reason}; only a rescue shell is left");
    let environment = Environment::new(process::environment(), None);
    let line = shell_line();
    let mut shell: Option<Pid> = None;
    let mut started = Duration::ZERO;
    let mut failures = 0;
    loop {
        let now = system::uptime();
        let next = started + backoff::between_starts(failures);
        if shell.is_none() && now >= next {
            started = now;
            match spawn::start(&line, &environment) {
                Ok(pid) => shell = Some(pid),
                Err(error) => {
                    failures = backoff::failures(failures, Duration::ZERO);
                    error!("cannot start a shell: {error}");
                }
            }
        }
        // A shell that cannot start is tried again when its time has come.
        let wait = if shell.is_none() { next.saturating_sub(now).max(PAUSE) } else { LONG };
        if let Some(SignalRequest::Power(power)) = signal::wait_one(&signals::all(), wait).and_then(signals::request) {
            system::sync();
            if let Err(error) = power::set(power) {
                warn!("{error}");
            }
        }
        while let Ok(Some((pid, _))) = process::wait_any() {
            if shell == Some(pid) {
                shell = None;
                failures = backoff::failures(failures, system::uptime().saturating_sub(started));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rescue_shell_can_lead_its_terminal() {
        assert!(SHELLS[..2].iter().all(|(_, command)| crate::spawn::command::is_login(command)));
        assert!(shell_line().action.respawns());
    }
}
