//! A shell on the console where nothing else helps.

use core::time::Duration;

use crate::inittab::{Action, Line};
use crate::log::say;
use crate::signals::{self, Request};
use crate::spawn::{self, Environment};
use crate::sys::process::{self, Pid};
use crate::sys::signal;
use crate::sys::{files, system};

/// Where a shell may be, best first; the last one is busybox without its links.
const SHELLS: &[(&str, &str)] =
    &[("/bin/sh", "-/bin/sh"), ("/bin/ash", "-/bin/ash"), ("/bin/busybox", "/bin/busybox ash")];

/// The entry of a rescue shell.
pub fn shell_line() -> Line {
    let found = SHELLS.iter().find(|(path, _)| files::is_executable(path));
    let command = found.map_or("-/bin/sh", |(_, command)| command);
    // Askfirst leads its terminal whatever the command is, but a rescue must not wait for a key.
    Line::new("", Action::Respawn, command)
}

/// What PID 1 does for the rest of its life when its event loop is lost or the program has a fault: it takes ended
/// children, keeps a shell on the console, and still halts, powers off and reboots, without an orderly shutdown.
pub fn last_resort(reason: &str) -> ! {
    say!("{reason}; only a rescue shell is left");
    let environment = Environment::new(process::environment(), None);
    let line = shell_line();
    let mut shell: Option<Pid> = None;
    loop {
        if shell.is_none() {
            match spawn::start(&line, &environment) {
                Ok(pid) => shell = Some(pid),
                Err(error) => say!("cannot start a shell: {error}"),
            }
        }
        match signal::wait_one(&signals::all()).and_then(signals::request) {
            Some(Request::Power(power)) => {
                system::sync();
                if let Err(error) = crate::shutdown::set_power(power) {
                    say!("{error}");
                }
            }
            Some(_) => {}
            None => system::sleep(Duration::from_secs(1)),
        }
        while let Ok(Some((pid, _))) = process::wait_any() {
            if shell == Some(pid) {
                shell = None;
                // A shell that cannot run must not take the whole processor.
                system::sleep(Duration::from_secs(1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rescue_shell_can_lead_its_terminal() {
        assert!(SHELLS[..2].iter().all(|(_, command)| crate::command::is_login(command)));
        assert!(shell_line().action.respawns());
    }
}
