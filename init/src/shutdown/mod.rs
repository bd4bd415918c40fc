//! Brings the system down in order, waiting for events and never for a fixed time. The boot calls [`run`] with the
//! supervisor's goal.

mod teardown;

use core::time::Duration;

use crate::log::{debug, info, say};
use crate::platform::watchdog::Watchdog;
use crate::spawn;
use crate::spawn::console;
use crate::spawn::inittab::Action;
use crate::spawn::limits;
use crate::supervisor::{Goal, Supervisor};
use crate::sys::process::{self, Exit, Pid};
use crate::sys::signal::{self, Signal};
use crate::sys::system::{self, Power};
use crate::sys::{Errno, files};

/// The longest time that one `shutdown` entry may take.
const ENTRY_LIMIT: Duration = Duration::from_secs(60);
/// How long killed processes may take to go; longer is a process that hangs in the kernel.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Does what `goal` says. Returns only when that failed, with the reason.
pub fn run(supervisor: &mut Supervisor, goal: Goal) -> String {
    say!("going down: {}", name(goal));
    let started = system::uptime();
    if let Some(watchdog) = &mut supervisor.watchdog {
        watchdog.go_down();
    }
    supervisor.stop_services();
    teardown::save(supervisor);
    supervisor.run_all(Action::Shutdown, Some(ENTRY_LIMIT), false);
    end_processes(supervisor);
    supervisor.finish_logs();
    match goal {
        Goal::Restart => {
            disarm_watchdog(supervisor);
            restart(supervisor)
        }
        Goal::Power(power) => {
            teardown::run(supervisor);
            if power == Power::Halt {
                // Nobody feeds it any more, and a halted machine is meant to stay so.
                disarm_watchdog(supervisor);
            }
            say!("{} after {} ms", name(goal), (system::uptime() - started).as_millis());
            match set_power(power) {
                Ok(()) => format!("the kernel did not {}", name(goal)),
                Err(reason) => reason,
            }
        }
    }
}

fn name(goal: Goal) -> &'static str {
    match goal {
        Goal::Power(Power::Halt) => "halt",
        Goal::Power(Power::Off) => "power off",
        Goal::Power(Power::Reboot) => "reboot",
        Goal::Restart => "restart of init",
    }
}

/// Tells all processes to end, waits for it, and kills those that did not.
fn end_processes(supervisor: &mut Supervisor) {
    // Looked up first, while they are all there.
    let leaders = terminal_leaders().unwrap_or_else(|_| supervisor.terminal_leaders().collect());
    signal_all(Signal::TERM);
    for leader in leaders {
        // Gone is as good.
        let _ = process::kill(leader, Signal::HUP);
    }
    // What is stopped cannot end before it goes on.
    signal_all(Signal::CONT);
    if wait_for_all(supervisor, supervisor.options.grace) {
        info!("all processes ended");
        return;
    }
    say!("not all processes ended in time; killing the rest");
    // Again and again, because what forks at the right moment escapes one round.
    for _ in 0..KILL_LIMIT.as_secs() {
        signal_all(Signal::KILL);
        if wait_for_all(supervisor, Duration::from_secs(1)) {
            return;
        }
    }
    say!("some processes cannot be killed; going on");
}

/// The leaders of all sessions on a terminal: shells, which ignore SIGTERM and end when their terminal goes.
fn terminal_leaders() -> Result<Vec<Pid>, Errno> {
    let names = files::list_dir("/proc")?;
    let pids = names.iter().filter_map(|name| name.parse().ok());
    let leads = |pid: &Pid| {
        // A process that ended meanwhile leads nothing.
        files::read_file(&format!("/proc/{pid}/stat")).is_ok_and(|stat| leads_terminal(*pid, &stat))
    };
    Ok(pids.filter(|pid| *pid != process::id()).filter(leads).collect())
}

/// Whether the process leads a session that has a terminal: `pid (name) state parent group session terminal ...` (proc(5)).
fn leads_terminal(pid: Pid, stat: &[u8]) -> bool {
    let stat = String::from_utf8_lossy(stat);
    // The name may hold blanks and brackets.
    let Some((_, fields)) = stat.rsplit_once(')') else {
        return false;
    };
    let mut numbers = fields.split_ascii_whitespace().skip(3).map(str::parse::<i64>);
    let (session, terminal) = (numbers.next(), numbers.next());
    session == Some(Ok(pid.into())) && matches!(terminal, Some(Ok(number)) if number != 0)
}

fn signal_all(signal: Signal) {
    match process::kill_all(signal) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => say!("cannot signal the processes: {error}"),
    }
}

/// Waits until there is no other process, at most for `time`; returns whether there is none.
fn wait_for_all(supervisor: &mut Supervisor, time: Duration) -> bool {
    let deadline = system::uptime() + time;
    // All processes are descendants of PID 1, so having no child is being alone.
    // Asked before the first wait, because nothing happens any more when there was no process.
    let mut others = supervisor.reap();
    while others && system::uptime() < deadline {
        others = supervisor.step(Some(deadline));
    }
    !others
}

/// Stops the watchdog for what comes next in the place of this PID 1.
fn disarm_watchdog(supervisor: &mut Supervisor) {
    if let Some(Err(error)) = supervisor.watchdog.take().map(Watchdog::disarm) {
        say!("cannot stop the watchdog: {error}; it will reset the machine");
    }
}

/// Asks the kernel to halt, power off or reboot.
///
/// A child does it: where the kernel cannot power off, the call ends its caller, and the end of PID 1 is a panic.
///
/// # Errors
/// Why it failed. `Ok` means that the kernel took the request and is still there.
pub fn set_power(power: Power) -> Result<(), String> {
    let asked = process::fork(|| system::set_power(power).map_or_else(Errno::raw_os_error, |()| 0));
    let pid = match asked {
        Ok(pid) => pid,
        // No memory for a child: better the risk than to stay.
        Err(_) => {
            return system::set_power(power).map_err(|error| format!("the kernel refused to stop: {error}"));
        }
    };
    match process::wait_for(pid) {
        Ok(Exit::Code(0)) => Ok(()),
        Ok(Exit::Code(code)) => {
            let error = Errno::from_raw_os_error(code);
            Err(format!("the kernel refused to stop: {error}"))
        }
        Ok(exit) => Err(format!("the request to stop ended with {exit}")),
        Err(error) => Err(format!("cannot wait for the request to stop: {error}")),
    }
}

/// Runs the `restart` entry in this process. Returns why it could not.
fn restart(supervisor: &Supervisor) -> String {
    let Some(line) = supervisor.first_line(Action::Restart) else {
        return "there is no restart entry".into();
    };
    // The next init finds the machine as the kernel hands it over.
    if let Err(error) = system::ctrl_alt_del_resets(true) {
        debug!("cannot hand ctrl-alt-del back to the kernel: {error}");
    }
    let opened = console::open(&line.terminal, false).and_then(|terminal| {
        files::set_blocking(&terminal.fd)?;
        files::set_stdio(&terminal.fd)?;
        Ok(supervisor.environment().on_terminal(&terminal.path))
    });
    let environment = opened.unwrap_or_else(|error| {
        say!("cannot open the terminal of '{}': {error}", line.command);
        supervisor.environment().clone()
    });
    limits::restore_in_child();
    if let Err(error) = signal::block(&[]) {
        say!("cannot unblock signals: {error}");
    }
    let error = spawn::exec(&line.command, &environment);
    let reason = format!("cannot run '{}' in the place of init: {error}", line.command);
    match signal::block(&crate::event::signals::all()) {
        Ok(()) => reason,
        Err(second) => format!("{reason}; and signals cannot be blocked again: {second}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_leaders_with_a_terminal() {
        assert!(leads_terminal(61, b"61 (sh) S 1 61 61 1088 61 4194304 0"));
        assert!(leads_terminal(61, b"61 (a) S 1 0) S 1 61 61 1088 61"));
        assert!(!leads_terminal(61, b"61 (daemon) S 1 61 61 0 -1"));
        assert!(!leads_terminal(62, b"62 (vi) S 61 62 61 1088 62"));
        assert!(!leads_terminal(61, b"61 (sh"));
        assert!(!leads_terminal(61, b""));
    }

    #[test]
    fn this_test_is_no_leader_of_all_terminals() {
        let leaders = terminal_leaders().unwrap();
        assert!(!leaders.contains(&process::id()));
    }
}
