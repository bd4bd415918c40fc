//! Runs the table: starts what is due, takes what ended, and listens to requests. The boot runs it for ever; the
//! shutdown borrows its waiting and reaping.

mod entry;
mod handover;
mod hotplug;
mod reload;
mod services;
pub(crate) mod timeline;

use core::time::Duration;

use crate::config::options::Options;
use crate::control::Server;
use crate::event::backoff;
use crate::event::reactor::{Event, EventKind, Reactor, Source};
use crate::event::signals::{self, SignalRequest};
use crate::handover::checkpoint::{self, Checkpoint};
use crate::handover::rescue;
use crate::log::{debug, error, info, warn};
use crate::logs::{Logs, Now};
use crate::platform::button;
use crate::platform::watchdog::Watchdog;
use crate::service::runner::Runner;
use crate::spawn::inittab::{self, Action, Line};
use crate::spawn::{self, Environment};
use crate::sys::Result;
use crate::sys::process::{self, Exit, Pid};
use crate::sys::signal::{self, Signal};
use crate::sys::system::{self, Power};
use timeline::Timeline;

pub use entry::Entry;
use entry::not_started;

/// Ended children taken in one turn, so that a storm of them does not keep PID 1 from everything else.
const REAPED: usize = 1024;

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
    reexec: bool,
}

impl Wanted {
    fn anything(&self) -> bool {
        self.power.is_some() || self.restart || self.ctrl_alt_del || self.reload || self.reexec
    }
}

/// The table at work.
pub struct Supervisor {
    reactor: Reactor,
    entries: Vec<Entry>,
    environment: Environment,
    /// What the kernel command line asks.
    pub options: Options,
    /// How long the parts of the boot took.
    pub timeline: Timeline,
    /// The machine's watchdog, when it was asked for.
    pub watchdog: Option<Watchdog>,
    services: Runner,
    logs: Logs,
    control: Server,
    hotplug: hotplug::Hotplug,
    /// A power key is watched.
    power_key: bool,
    /// Somebody goes through the list of entries, which must not change.
    walking: bool,
    /// There may be ended children that were not taken yet.
    unreaped: bool,
    /// The process that [`Supervisor::wait_for_process`] waits for, and how it ended.
    awaited: Option<(Pid, Option<Exit>)>,
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
            entries: Vec::new(),
            environment,
            services: Runner::new(options.grace),
            logs: Logs::new(),
            control: Server::default(),
            hotplug: hotplug::Hotplug::default(),
            power_key: false,
            walking: false,
            unreaped: false,
            options,
            timeline: Timeline::new(since),
            watchdog: None,
            awaited: None,
            wanted: Wanted::default(),
            paused: false,
            awaiting_first: Some(since),
        }
    }

    /// Starts to listen to signals.
    pub fn listen(&mut self) -> Result<()> {
        let descriptor = signal::descriptor(&signals::all())?;
        self.reactor.watch(descriptor, Source::Signals).map(drop)
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
        self.start_control();
        self.watch_power_keys();
        for action in [Action::Sysinit, Action::Wait] {
            self.wait_for_begun(action);
            self.run_all(action, None, true);
            self.reload_if_wanted();
        }
        self.timeline.booted = Some(system::uptime());
        // An entry may have brought the first one.
        self.watch_power_keys();
        if self.goal().is_none() {
            self.load_services();
            self.end_unclaimed();
            self.start_all(Action::Once);
            checkpoint::reach(Checkpoint::BOOTED);
        }
        self.supervise()
    }

    /// Watches the power keys that are there, unless one is watched already or they would have their events.
    fn watch_power_keys(&mut self) {
        if !self.power_key && !self.hotplug.listens() {
            self.power_key = button::watch(&mut self.reactor);
        }
    }

    /// Keeps the table running until the system is asked to go down.
    fn supervise(&mut self) -> Goal {
        // A request made during the boot counts: a rescue would drop it.
        if self.goal().is_none() && self.has_nothing_to_run() {
            self.rescue("there is nothing to run: inittab has no entry for it, and there is no service");
        }
        loop {
            if let Some(goal) = self.goal() {
                return goal;
            }
            self.run_ctrl_alt_del();
            self.reload_if_wanted();
            if core::mem::take(&mut self.wanted.reexec) {
                info!("init runs its program anew");
                let reason = self.run_anew();
                warn!("{reason}; going on as before");
            }
            // Only here, where nobody holds an entry's place in the list.
            self.entries.retain(|entry| !entry.stale || entry.pid.is_some());
            let now = system::uptime();
            self.start_due(now);
            self.kill_overdue(now);
            // A request that arrived while an entry was waited for raises no further event.
            if self.wanted.anything() {
                continue;
            }
            let deadline = self.entries.iter().filter_map(|entry| entry.deadline(self.paused)).min();
            self.step(deadline);
        }
    }

    /// Whether the table and the services' files ask for no program at all. A table whose programs have ended is obeyed: what
    /// they set up may be all that the machine is for, and nobody is to get a shell that it does not name.
    fn has_nothing_to_run(&self) -> bool {
        let runs =
            |entry: &Entry| !matches!(entry.line.action, Action::CtrlAltDel | Action::Shutdown | Action::Restart);
        !self.entries.iter().any(runs) && !self.services.machine().units().iter().any(|unit| unit.wanted)
    }

    /// Replaces the table by a shell on the console, because `reason`.
    pub fn rescue(&mut self, reason: &str) {
        warn!("{reason}; a rescue shell starts on the console");
        self.entries.retain(|entry| entry.pid.is_some() || !entry.line.action.respawns());
        self.entries.push(Entry::new(rescue::shell_line()));
        self.set_paused(false);
        self.services.machine_mut().reopen();
        self.wanted = Wanted::default();
    }

    fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
        self.services.machine_mut().pause(paused);
    }

    /// Goes on after a [`Supervisor::rescue`], or where the program before this one was replaced.
    pub fn resume(&mut self) -> Goal {
        self.watch_power_keys();
        self.supervise()
    }

    /// Whether the system has been asked to go down.
    pub fn is_going_down(&self) -> bool {
        self.goal().is_some()
    }

    /// Runs a command of the boot on the console, at most for `limit`; a request to go down ends the wait early. `None`
    /// when it could not be started, or still runs.
    pub fn run_program(&mut self, command: &str, limit: Duration) -> Option<Exit> {
        match spawn::start(&Line::new("", Action::Sysinit, command), &self.environment) {
            Ok(pid) => self.wait_for_process(pid, limit),
            Err(error) => {
                error!("cannot start '{command}': {error}");
                None
            }
        }
    }

    /// Waits for the end of a child that is nobody's service, at most for `limit`, and serves everybody meanwhile. A
    /// request to go down that comes meanwhile ends the wait early.
    pub fn wait_for_process(&mut self, pid: Pid, limit: Duration) -> Option<Exit> {
        let deadline = system::uptime() + limit;
        let went_down_before = self.is_going_down();
        self.awaited = Some((pid, None));
        while let Some((_, None)) = self.awaited
            && system::uptime() < deadline
            && self.is_going_down() == went_down_before
        {
            self.step(Some(deadline));
        }
        self.awaited.take().and_then(|(_, exit)| exit)
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
        // Also from within itself: ctrl-alt-del during another entry.
        let walking = core::mem::replace(&mut self.walking, true);
        for index in 0..self.entries.len() {
            if interruptible && self.goal().is_some() {
                break;
            }
            if self.entries[index].is_due(action) {
                let start = system::uptime();
                self.start(index);
                self.wait_for(index, limit, interruptible);
                if matches!(action, Action::Sysinit | Action::Wait) {
                    self.timeline.add(self.entries[index].line.command.clone(), start, system::uptime());
                }
            }
        }
        self.walking = walking;
    }

    fn wait_for(&mut self, index: usize, limit: Option<Duration>, interruptible: bool) {
        let deadline = limit.map(|limit| system::uptime() + limit);
        while self.entries[index].pid.is_some() {
            if interruptible && self.goal().is_some() {
                return;
            }
            if deadline.is_some_and(|deadline| system::uptime() >= deadline) {
                warn!("'{}' does not end; going on without it", self.entries[index].line.command);
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
            if self.entries[index].is_due(action) {
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
        self.begin(index);
        let entry = &mut self.entries[index];
        let now = system::uptime();
        match spawn::start(&entry.line, &self.environment) {
            Ok(pid) => {
                entry.pid = Some(pid);
                entry.started = now;
                entry.absent = false;
                debug!("'{}' started as process {pid}", entry.line.command);
                if let Some(since) = self.awaiting_first.take() {
                    self.timeline.first_process = Some(now);
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

    /// Does what is due, waits for an event, at most until `deadline`, and takes what ended and what was asked. Returns
    /// whether there are still children.
    pub fn step(&mut self, deadline: Option<Duration>) -> bool {
        let plugged = self.hotplug_work();
        let due = self.work();
        let now = system::uptime();
        let fed = self.watchdog.as_mut().map(|watchdog| {
            watchdog.feed_if_due(now);
            watchdog.deadline()
        });
        // Children left unreaped in the last turn raise no further signal.
        let unreaped = self.unreaped.then_some(now);
        let deadline = [deadline, due, plugged, fed, unreaped].into_iter().flatten().min();
        let timeout = deadline.map(|deadline| deadline.saturating_sub(now));
        if let Err(error) = self.reactor.wait(timeout) {
            rescue::last_resort(&format!("cannot wait for events any more: {error}"));
        }
        self.take_events();
        // Also without a SIGCHLD in the events: several may have merged into one, and asking costs one call.
        self.reap()
    }

    fn take_events(&mut self) {
        while let Some(event) = self.reactor.next_event() {
            match event {
                Event { source: Source::LogFile(file), kind: EventKind::File(done), .. } => {
                    self.logs.done(file, Ok(done), Now::read());
                }
                event => {
                    self.take_event(&event);
                    self.reactor.recycle(event);
                }
            }
        }
    }

    fn take_event(&mut self, event: &Event) {
        match (event.source, &event.kind) {
            (Source::Signals, EventKind::Data(bytes)) if !bytes.is_empty() => {
                for signal in signal::received(bytes) {
                    self.take_request(signal);
                }
            }
            (Source::Signals, _) => {
                warn!("the signal descriptor broke; opening another");
                if let Err(error) = self.listen() {
                    rescue::last_resort(&format!("cannot listen to signals any more: {error}"));
                }
            }
            (Source::PowerKey, EventKind::Data(bytes)) if button::pressed(bytes) => {
                warn!("the power button was pressed");
                self.wanted.power.get_or_insert(Power::Off);
            }
            (Source::PowerKey, EventKind::Error(error)) => debug!("a power key is gone: {error}"),
            (Source::Output(stream), _) => {
                let (services, mut cx) = self.services();
                services.output(event, stream, &mut cx);
            }
            (Source::LogFile(file), EventKind::Error(error)) => self.logs.done(file, Err(*error), Now::read()),
            (Source::Notify(stream), _) => {
                let (services, mut cx) = self.services();
                services.notified(stream, &mut cx);
            }
            (Source::MainProcess(stream), _) => self.services.main_process_ended(stream),
            (Source::Control | Source::Client(_), _) => {
                let mut control = core::mem::take(&mut self.control);
                control.event(event, self);
                self.control = control;
            }
            (Source::Uevents, _) => self.take_uevents(),
            (Source::Links, _) => self.take_links(),
            (Source::PowerKey | Source::LogFile(_), _) => {}
        }
    }

    fn take_request(&mut self, signal: Signal) {
        match signals::request(signal) {
            Some(SignalRequest::Power(power)) => {
                self.wanted.power.get_or_insert(power);
            }
            Some(SignalRequest::Restart) if self.first_line(Action::Restart).is_none() => {
                warn!("SIGQUIT has no effect: inittab has no restart entry");
            }
            Some(SignalRequest::Restart) => self.wanted.restart = true,
            Some(SignalRequest::CtrlAltDel) => self.wanted.ctrl_alt_del = true,
            Some(SignalRequest::Reload) => self.wanted.reload = true,
            Some(SignalRequest::Reexec) => self.wanted.reexec = true,
            Some(SignalRequest::Pause) => self.set_paused(true),
            Some(SignalRequest::Continue) => self.set_paused(false),
            Some(SignalRequest::Reap) | None => {}
        }
    }

    /// Takes ended children, all unless there are very many. Returns whether there are still children.
    pub fn reap(&mut self) -> bool {
        self.unreaped = false;
        for _ in 0..REAPED {
            match process::wait_any() {
                Ok(Some((pid, exit))) => self.ended(pid, exit),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
        self.unreaped = true;
        true
    }

    fn ended(&mut self, pid: Pid, exit: Exit) {
        if let Some((awaited, end @ None)) = &mut self.awaited
            && *awaited == pid
        {
            *end = Some(exit);
            return;
        }
        let Some(index) = self.entries.iter().position(|entry| entry.pid == Some(pid)) else {
            if self.hotplug_ended(pid) {
                return;
            }
            let (services, mut cx) = self.services();
            // Any other pid is an orphan whose parent ended before it.
            services.ended(pid, exit, &mut cx);
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
            warn!(
                "'{command}' ended after {} ms ({exit}) {} times in a row; one start in {wait} s",
                lived.as_millis(),
                entry.failures
            );
        }
    }

    fn reload_if_wanted(&mut self) {
        if core::mem::take(&mut self.wanted.reload) {
            // Not for a request on the control socket, which shows that it is there, and whose server is at work.
            self.open_control();
            match self.reload() {
                Ok(text) => info!("tables read again: {text}"),
                Err(reason) => warn!("{reason}"),
            }
        }
    }

    /// Reads inittab and the services' files again. Returns what changed, or why nothing did.
    fn reload(&mut self) -> core::result::Result<String, String> {
        if self.options.single || self.options.emergency {
            return Err("the tables are not read: this system was started for one person's shell".into());
        }
        // Services come after the entries of the boot, which reads their files then.
        let services = self.timeline.booted.and_then(|_| self.load_services());
        self.reload_network();
        let lines = inittab::load();
        let mut text = match &lines {
            Some(lines) => format!("inittab has {} entries", lines.len()),
            None => format!("{} stays as it was", inittab::PATH),
        };
        if let Some(changes) = services {
            text += &format!("; services: {} new, {} gone, {} changed", changes.new, changes.gone, changes.changed);
        }
        match lines {
            Some(lines) => self.change_entries(lines),
            None if services.is_none() => return Err(text),
            None => {}
        }
        Ok(text)
    }

    fn change_entries(&mut self, lines: Vec<Line>) {
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
                warn!("'{}' did not end and is killed", entry.line.command);
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

fn signal_group(pid: Pid, signal: Signal) {
    if let Err(error) = process::signal_group(pid, signal) {
        error!("cannot signal process {pid}: {error}");
    }
}
