//! Runs the table: starts what is due, takes what ended, and listens to requests. The boot runs it for ever; the
//! shutdown borrows its waiting and reaping.

use core::time::Duration;

use crate::backoff;
use crate::button;
use crate::console;
use crate::inittab::{self, Action, Line};
use crate::log::{debug, info, say};
use crate::options::Options;
use crate::reactor::{Event, Reactor, Source};
use crate::reload;
use crate::rescue;
use crate::signals::{self, Request};
use crate::spawn::{self, Environment};
use crate::sys::process::{self, Exit, Pid};
use crate::sys::signal::{self, Signal};
use crate::sys::system::{self, Power};
use crate::sys::{Errno, Result};

/// A line of the table and the state of its program. Times are those since the machine's start.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The line.
    pub line: Line,
    /// The program while it runs.
    pub pid: Option<Pid>,
    /// A reload took the line away; the entry goes when its program has ended.
    pub stale: bool,
    /// When the program was last started.
    started: Duration,
    /// Failures in a row, see [`backoff`].
    failures: u32,
    /// The program does not start again before this time.
    next_start: Duration,
    /// When a program that was told to end is killed.
    kill_at: Option<Duration>,
    /// Its terminal is missing, and that was said.
    absent: bool,
}

impl Entry {
    /// An entry that has not run yet.
    pub fn new(line: Line) -> Entry {
        Entry {
            line,
            pid: None,
            stale: false,
            started: Duration::ZERO,
            failures: 0,
            next_start: Duration::ZERO,
            kill_at: None,
            absent: false,
        }
    }

    /// When the supervisor has to look at the entry again without any event.
    fn deadline(&self, paused: bool) -> Option<Duration> {
        match self.pid {
            Some(_) => self.kill_at,
            None if self.line.action.respawns() && !self.stale && !paused => Some(self.next_start),
            None => None,
        }
    }
}

/// Why the supervisor ends its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The system goes down.
    Power(Power),
    /// The `restart` entry takes PID 1's place.
    Restart,
}

/// What has been asked for and not yet done.
#[derive(Default)]
struct Wanted {
    power: Option<Power>,
    restart: bool,
    ctrl_alt_del: bool,
    reload: bool,
}

/// The table at work.
pub struct Supervisor {
    reactor: Reactor,
    events: Vec<Event>,
    entries: Vec<Entry>,
    environment: Environment,
    /// What the kernel command line asks.
    pub options: Options,
    wanted: Wanted,
    paused: bool,
    /// When PID 1 started, until the first program has.
    awaiting_first: Option<Duration>,
}

impl Supervisor {
    /// A supervisor that waits with `reactor`. `since` is when PID 1 started.
    pub fn new(reactor: Reactor, options: Options, environment: Environment, since: Duration) -> Supervisor {
        Supervisor {
            reactor,
            events: Vec::new(),
            entries: Vec::new(),
            environment,
            options,
            wanted: Wanted::default(),
            paused: false,
            awaiting_first: Some(since),
        }
    }

    /// Starts to listen to signals.
    pub fn listen(&mut self) -> Result<()> {
        let descriptor = signal::descriptor(&signals::all())?;
        self.reactor.watch(descriptor, Source::Signals)
    }

    /// Takes the table; nothing of it runs yet.
    pub fn set_lines(&mut self, lines: Vec<Line>) {
        self.entries = lines.into_iter().map(Entry::new).collect();
    }

    /// The environment that programs get.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The first line with `action`.
    pub fn first_line(&self, action: Action) -> Option<&Line> {
        self.entries.iter().map(|entry| &entry.line).find(|line| line.action == action)
    }

    /// Boots by the table, then keeps it running until the system is asked to go down.
    pub fn run(&mut self) -> Goal {
        for action in [Action::Sysinit, Action::Wait] {
            self.run_all(action, None, true);
            self.reload_if_wanted();
        }
        button::watch(&mut self.reactor);
        if self.goal().is_none() {
            self.start_all(Action::Once);
        }
        self.supervise()
    }

    /// Keeps the table running until the system is asked to go down.
    fn supervise(&mut self) -> Goal {
        let runs = |entry: &Entry| entry.line.action.respawns() || entry.line.action == Action::Once;
        if !self.entries.iter().any(runs) {
            self.rescue("inittab has nothing to run: no respawn, askfirst or once entry");
        }
        loop {
            if let Some(goal) = self.goal() {
                return goal;
            }
            self.run_ctrl_alt_del();
            self.reload_if_wanted();
            // Only here, where nobody holds an entry's place in the list.
            self.entries.retain(|entry| !entry.stale || entry.pid.is_some());
            let now = system::uptime();
            self.start_due(now);
            self.kill_overdue(now);
            let deadline = self.entries.iter().filter_map(|entry| entry.deadline(self.paused)).min();
            self.step(deadline);
        }
    }

    /// Replaces the table by a shell on the console, because `reason`.
    pub fn rescue(&mut self, reason: &str) {
        say!("{reason}; a rescue shell starts on the console");
        self.entries.retain(|entry| entry.pid.is_some() || !entry.line.action.respawns());
        self.entries.push(Entry::new(rescue::shell_line()));
        self.paused = false;
        self.wanted = Wanted::default();
    }

    /// Goes on after a [`Supervisor::rescue`].
    pub fn resume(&mut self) -> Goal {
        self.supervise()
    }

    fn goal(&self) -> Option<Goal> {
        match self.wanted.power {
            Some(power) => Some(Goal::Power(power)),
            None => self.wanted.restart.then_some(Goal::Restart),
        }
    }

    /// Runs all entries with `action`, one after the other, each for at most `limit`; a request to go down ends it early
    /// when `interruptible`.
    pub fn run_all(&mut self, action: Action, limit: Option<Duration>, interruptible: bool) {
        for index in 0..self.entries.len() {
            if interruptible && self.goal().is_some() {
                return;
            }
            if self.entries[index].line.action == action && self.entries[index].pid.is_none() {
                self.start(index);
                self.wait_for(index, limit, interruptible);
            }
        }
    }

    fn wait_for(&mut self, index: usize, limit: Option<Duration>, interruptible: bool) {
        let deadline = limit.map(|limit| system::uptime() + limit);
        while self.entries[index].pid.is_some() {
            if interruptible && self.goal().is_some() {
                return;
            }
            if deadline.is_some_and(|deadline| system::uptime() >= deadline) {
                say!("'{}' does not end; going on without it", self.entries[index].line.command);
                return;
            }
            if interruptible {
                self.run_ctrl_alt_del();
            }
            self.step(deadline);
        }
    }

    fn start_all(&mut self, action: Action) {
        for index in 0..self.entries.len() {
            if self.entries[index].line.action == action {
                self.start(index);
            }
        }
    }

    fn run_ctrl_alt_del(&mut self) {
        if core::mem::take(&mut self.wanted.ctrl_alt_del) {
            info!("ctrl-alt-del");
            self.run_all(Action::CtrlAltDel, None, true);
        }
    }

    fn start_due(&mut self, now: Duration) {
        for index in 0..self.entries.len() {
            let entry = &self.entries[index];
            if entry.pid.is_none() && entry.deadline(self.paused).is_some_and(|time| time <= now) {
                self.start(index);
            }
        }
    }

    fn start(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        let now = system::uptime();
        match spawn::start(&entry.line, &self.environment) {
            Ok(pid) => {
                entry.pid = Some(pid);
                entry.started = now;
                entry.absent = false;
                debug!("'{}' started as process {pid}", entry.line.command);
                if let Some(since) = self.awaiting_first.take() {
                    let own = (system::uptime() - since).as_millis();
                    info!("{own} ms to first process, {} ms after the kernel started", now.as_millis());
                }
            }
            Err(error) => {
                entry.failures = backoff::failures(entry.failures, Duration::ZERO);
                entry.next_start = now + backoff::between_starts(entry.failures);
                not_started(entry, error);
            }
        }
    }

    /// Waits for an event, at most until `deadline`, and takes what ended and what was asked. Returns whether there
    /// are still children.
    pub fn step(&mut self, deadline: Option<Duration>) -> bool {
        let timeout = deadline.map(|deadline| deadline.saturating_sub(system::uptime()));
        let mut events = core::mem::take(&mut self.events);
        if let Err(error) = self.reactor.wait(timeout, &mut events) {
            rescue::last_resort(&format!("cannot wait for events any more: {error}"));
        }
        for event in events.drain(..) {
            self.take_event(event);
        }
        self.events = events;
        // Also without a SIGCHLD in the events: several may have merged into one, and asking costs one call.
        self.reap()
    }

    fn take_event(&mut self, event: Event) {
        match (event.source, event.read) {
            (Source::Signals, Ok(bytes)) if !bytes.is_empty() => {
                for signal in signal::received(&bytes) {
                    self.take_request(signal);
                }
            }
            (Source::Signals, _) => {
                say!("the signal descriptor broke; opening another");
                if let Err(error) = self.listen() {
                    rescue::last_resort(&format!("cannot listen to signals any more: {error}"));
                }
            }
            (Source::PowerKey, Ok(bytes)) if button::pressed(&bytes) => {
                say!("the power button was pressed");
                self.wanted.power.get_or_insert(Power::Off);
            }
            (Source::PowerKey, Ok(_)) => {}
            (Source::PowerKey, Err(error)) => debug!("a power key is gone: {error}"),
        }
    }

    fn take_request(&mut self, signal: Signal) {
        match signals::request(signal) {
            Some(Request::Power(power)) => {
                self.wanted.power.get_or_insert(power);
            }
            Some(Request::Restart) if self.first_line(Action::Restart).is_none() => {
                say!("SIGQUIT has no effect: inittab has no restart entry");
            }
            Some(Request::Restart) => self.wanted.restart = true,
            Some(Request::CtrlAltDel) => self.wanted.ctrl_alt_del = true,
            Some(Request::Reload) => self.wanted.reload = true,
            Some(Request::Pause) => self.paused = true,
            Some(Request::Continue) => self.paused = false,
            Some(Request::Reap) | None => {}
        }
    }

    /// Takes every ended child. Returns whether there are still children.
    pub fn reap(&mut self) -> bool {
        loop {
            match process::wait_any() {
                Ok(Some((pid, exit))) => self.ended(pid, exit),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    fn ended(&mut self, pid: Pid, exit: Exit) {
        let Some(index) = self.entries.iter().position(|entry| entry.pid == Some(pid)) else {
            // An orphan whose parent ended before it.
            return;
        };
        let entry = &mut self.entries[index];
        entry.pid = None;
        entry.kill_at = None;
        let command = &entry.line.command;
        debug!("'{command}' (process {pid}) ended: {exit}");
        if entry.stale || !entry.line.action.respawns() {
            return;
        }
        let lived = system::uptime().saturating_sub(entry.started);
        entry.failures = backoff::failures(entry.failures, lived);
        entry.next_start = entry.started + backoff::between_starts(entry.failures);
        // One short life may be a person who pressed Ctrl-D.
        if entry.failures > 1 && backoff::worth_saying(entry.failures) {
            let wait = backoff::between_starts(entry.failures).as_secs();
            say!(
                "'{command}' ended after {} ms ({exit}) {} times in a row; one start in {wait} s",
                lived.as_millis(),
                entry.failures
            );
        }
    }

    fn reload_if_wanted(&mut self) {
        if !core::mem::take(&mut self.wanted.reload) {
            return;
        }
        info!("reading {} again", inittab::PATH);
        let Some(lines) = inittab::load() else {
            say!("the table stays as it was");
            return;
        };
        self.entries = reload::merge(core::mem::take(&mut self.entries), lines);
        let kill_at = system::uptime() + self.options.grace;
        for entry in &mut self.entries {
            if let (true, true, Some(pid)) = (entry.stale, entry.line.action.respawns(), entry.pid) {
                info!("stopping '{}', which the table no longer has", entry.line.command);
                terminate(pid, spawn::leads_terminal(&entry.line));
                entry.kill_at.get_or_insert(kill_at);
            }
        }
    }

    fn kill_overdue(&mut self, now: Duration) {
        for entry in &mut self.entries {
            if let (Some(pid), Some(time)) = (entry.pid, entry.kill_at)
                && time <= now
            {
                say!("'{}' did not end and is killed", entry.line.command);
                signal_group(pid, Signal::KILL);
                entry.kill_at = None;
            }
        }
    }

    /// The running programs that lead a terminal: shells, which SIGTERM does not end.
    pub fn terminal_leaders(&self) -> impl Iterator<Item = Pid> + '_ {
        self.entries.iter().filter(|entry| spawn::leads_terminal(&entry.line)).filter_map(|entry| entry.pid)
    }
}

/// Tells an entry's program to end. A shell ignores SIGTERM and ends by SIGHUP, as when its terminal goes away.
fn terminate(pid: Pid, leads_terminal: bool) {
    signal_group(pid, Signal::TERM);
    if leads_terminal {
        signal_group(pid, Signal::HUP);
    }
    signal_group(pid, Signal::CONT);
}

/// Signals a program and what it started in its own process group.
fn signal_group(pid: Pid, signal: Signal) {
    match process::kill(-pid, signal) {
        // It ended in the meantime, or its child has not made its session yet.
        Ok(()) => {}
        Err(Errno::SRCH) => {
            // Gone altogether is what was wanted.
            let _ = process::kill(pid, signal);
        }
        Err(error) => say!("cannot signal process {pid}: {error}"),
    }
}

fn not_started(entry: &mut Entry, error: Errno) {
    let Line { terminal, command, .. } = &entry.line;
    if console::is_absent(error) {
        if !core::mem::replace(&mut entry.absent, true) {
            let name = if terminal.is_empty() { "console" } else { terminal };
            info!("'{command}' waits for its terminal /dev/{name}, which is not there ({error})");
        }
    } else if backoff::worth_saying(entry.failures) {
        let next = if entry.line.action.respawns() { "it is tried again" } else { "going on without it" };
        say!("cannot start '{command}': {error}; {next}");
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
