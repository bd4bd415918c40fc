//! Brings the system down in order, waiting for events and never for a fixed time. The boot calls [`run`] with the
//! supervisor's goal.

mod teardown;

use core::time::Duration;

use crate::log::{debug, error, info, warn};
use crate::platform::power;
use crate::platform::watchdog::Watchdog;
use crate::spawn::console;
use crate::spawn::inittab::Action;
use crate::spawn::limits;
use crate::spawn::{self, running};
use crate::supervisor::{Goal, Supervisor};
use crate::sys::process;
use crate::sys::signal::{self, Signal};
use crate::sys::system::{self, Power};
use crate::sys::{Errno, files};

/// The longest time that one `shutdown` entry may take.
const ENTRY_LIMIT: Duration = Duration::from_secs(60);
/// How long killed processes may take to go; longer is a process that hangs in the kernel.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// The exit status by which a container asks its manager for a reboot, as systemd's does: systemd-nspawn@.service names it in
/// `RestartForceExitStatus=`.
const REBOOT_CONTAINER: i32 = 133;

/// Does what `goal` says. Returns only when that failed, with the reason.
pub fn run(supervisor: &mut Supervisor, goal: Goal) -> String {
    warn!("going down: {}", name(goal));
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
            // Looked up while /proc is there.
            let contained = process::is_in_container();
            teardown::run(supervisor);
            if power == Power::Halt {
                // Nobody feeds it any more, and a halted machine is meant to stay so.
                disarm_watchdog(supervisor);
            }
            warn!("{} after {} ms", name(goal), (system::uptime() - started).as_millis());
            match power::set(power) {
                // A container ends with its PID 1.
                _ if contained => process::exit(if power == Power::Reboot { REBOOT_CONTAINER } else { 0 }),
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
    let leaders = running::terminal_leaders().unwrap_or_else(|_| supervisor.terminal_leaders().collect());
    signal_all(Signal::TERM);
    for leader in leaders {
        // Gone is as good.
        let _ = process::kill(leader, Signal::HUP);
    }
    // A stopped process does not handle SIGTERM before SIGCONT.
    signal_all(Signal::CONT);
    if wait_for_all(supervisor, supervisor.options.grace) {
        info!("all processes ended");
        return;
    }
    warn!("not all processes ended in time; killing the rest");
    // Again and again, because what forks at the right moment escapes one round.
    for _ in 0..KILL_LIMIT.as_secs() {
        signal_all(Signal::KILL);
        if wait_for_all(supervisor, Duration::from_secs(1)) {
            return;
        }
    }
    warn!("some processes cannot be killed; going on");
}

fn signal_all(signal: Signal) {
    match process::kill_all(signal) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => error!("cannot signal the processes: {error}"),
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
        error!("cannot stop the watchdog: {error}; it will reset the machine");
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
        error!("cannot open the terminal of '{}': {error}", line.command);
        supervisor.environment().clone()
    });
    limits::restore_in_child();
    if let Err(error) = signal::block(&[]) {
        error!("cannot unblock signals: {error}");
    }
    let error = spawn::exec(&line.command, &environment);
    let reason = format!("cannot run '{}' in the place of init: {error}", line.command);
    match signal::block(&crate::event::signals::all()) {
        Ok(()) => reason,
        Err(second) => format!("{reason}; and signals cannot be blocked again: {second}"),
    }
}
