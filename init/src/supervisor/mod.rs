//! Runs the table: starts what is due, takes what ended, and listens to requests. The boot runs it for ever; the
//! shutdown borrows its waiting and reaping.

mod handover;
mod hotplug;
mod own_log;
mod services;
mod syslog;
mod table;
pub(crate) mod timeline;

use core::time::Duration;

use crate::config::options::Options;
use crate::control::Server;
use crate::event::reactor::{Event, EventKind, Reactor, Source};
use crate::event::signals::{self, SignalRequest};
use crate::handover::checkpoint::{self, Checkpoint};
use crate::handover::rescue;
use crate::log::{debug, error, info, warn};
use crate::logs::{Logs, Now};
use crate::net::Reloaded;
use crate::platform::button;
use crate::platform::watchdog::Watchdog;
use crate::service::machine::Changes;
use crate::service::runner::Runner;
use crate::service::state::Unit;
use crate::spawn::inittab::{self, Action, Line};
use crate::spawn::{self, Environment};
use crate::sys::Result;
use crate::sys::process::{self, Exit, Pid};
use crate::sys::signal::{self, Signal};
use crate::sys::system::{self, Power};
use timeline::Timeline;

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
    syslog: Option<syslog::Syslog>,
    /// The number of PID 1's own log.
    own_log: u32,
    hotplug: hotplug::Hotplug,
    /// A power key is watched.
    power_key: bool,
    /// Somebody goes through the table, whose places must not change.
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
        let mut logs = Logs::new();
        let own_log = own_log::open(&mut logs);
        Supervisor {
            reactor,
            environment,
            services: Runner::new(options.grace),
            logs,
            own_log,
            control: Server::default(),
            syslog: None,
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

    /// The environment that programs get.
    pub fn environment(&self) -> &Environment {
        &self.environment
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
            // A request that arrived while an entry was waited for raises no further event.
            if self.wanted.anything() {
                continue;
            }
            self.services.machine_mut().run_lines(true);
            self.step(None);
            self.services.machine_mut().run_lines(false);
        }
    }

    /// Whether the table and the services' files ask for no program at all. A table whose programs have ended is obeyed: what
    /// they set up may be all that the machine is for, and nobody is to get a shell that it does not name.
    fn has_nothing_to_run(&self) -> bool {
        let runs = |unit: &Unit| match unit.entry() {
            Some(entry) => !matches!(entry.line.action, Action::CtrlAltDel | Action::Shutdown | Action::Restart),
            None => unit.wanted,
        };
        !self.services.machine().units().iter().any(runs)
    }

    /// Replaces the table by a shell on the console, because `reason`.
    pub fn rescue(&mut self, reason: &str) {
        warn!("{reason}; a rescue shell starts on the console");
        self.set_paused(false);
        let machine = self.services.machine_mut();
        machine.rescue(rescue::shell_line(), system::uptime());
        machine.reopen();
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
            (Source::Syslog, _) => self.take_syslog(),
            (Source::PowerKey | Source::LogFile(_), _) => {}
        }
    }

    /// Asks for the end of the system, unless that was asked for already.
    pub fn ask_for(&mut self, power: Power) {
        self.wanted.power.get_or_insert(power);
    }

    fn take_request(&mut self, signal: Signal) {
        match signals::request(signal) {
            Some(SignalRequest::Power(power)) => self.ask_for(power),
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
        if self.hotplug_ended(pid) {
            return;
        }
        let (services, mut cx) = self.services();
        // Any other pid is an orphan whose parent ended before it.
        services.ended(pid, exit, &mut cx);
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

    /// Reads inittab and the files of services and of the network again. One that has a fault stays as it was. Returns what
    /// changed; everything that is wrong, before that, is the error.
    fn reload(&mut self) -> core::result::Result<String, String> {
        if self.options.single || self.options.emergency {
            return Err("the tables are not read: this system was started for one person's shell".into());
        }
        let (mut faults, mut done) = (Vec::new(), Vec::new());
        match inittab::reload() {
            Ok(lines) => {
                done.push(format!("inittab has {} entries", lines.len()));
                self.change_lines(lines);
            }
            Err(wrong) => {
                done.push(format!("{} stays as it was", inittab::PATH));
                faults.extend(wrong);
            }
        }
        if let Some(Reloaded { new, gone, changed, faults: wrong }) = self.reload_network() {
            done.push(format!("network: {new} new, {gone} gone, {changed} changed"));
            faults.extend(wrong);
        }
        faults.iter().for_each(|fault| warn!("{fault}"));
        // Services come after the entries of the boot, which reads their files then. What is wrong in these is said as they are read.
        if let Some(changes) = self.timeline.booted.and_then(|_| self.load_services()) {
            let Changes { new, gone, changed, faults: wrong } = changes;
            done.push(format!("services: {new} new, {gone} gone, {changed} changed"));
            faults.extend(wrong);
        }
        match faults.is_empty() {
            true => Ok(done.join("; ")),
            false => Err(format!("{}; what is right counts: {}", faults.join("; "), done.join("; "))),
        }
    }
}
