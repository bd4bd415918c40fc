//! Does what the state machine wants: processes, sockets, logs. The supervisor tells it what happened.

mod messages;
pub(crate) mod network;
pub mod saved;

use core::time::Duration;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::cgroup::Groups;
use super::config::{Config, Reload, StopMode};
use super::exec_status::{ExecStatus, NotRun};
use super::file::{self, File};
use super::launch::{self, Problem, Setting};
use super::machine::{Changes, Machine};
use super::runtime::{Reloading, Runtime};
use super::state::{Action, State, Unit};
use crate::event::reactor::{Event, EventKind, Reactor, Source};
use crate::log::{self, debug, error};
use crate::logs::{Logs, Now};
use crate::spawn::{self, Environment, NOT_RUN};
use crate::sys::process::{self, Exit, Pid};
use crate::sys::signal::Signal;
use crate::sys::{Errno, Result, files};

/// How often services that stop are looked at for what their main processes left. The end of a child of PID 1 is an event,
/// and the look comes at once; that of another process's child is none.
const LOOK: Duration = Duration::from_millis(100);

/// What the runner works with.
pub struct Context<'a> {
    /// Where it waits.
    pub reactor: &'a mut Reactor,
    /// Where output goes.
    pub logs: &'a mut Logs,
    /// PID 1's environment.
    pub environment: &'a Environment,
    /// The time since the machine's start.
    pub now: Duration,
}

/// The services at work.
pub struct Runner {
    pub(super) machine: Machine,
    pub(super) runtimes: Vec<Runtime>,
    /// Looked for with the first service.
    pub(super) groups: Option<Groups>,
    /// When to look whether something is left of services that stop and have no main process any more.
    pub(super) look_at: Option<Duration>,
    /// What children say that cannot run their programs; made with the first start.
    pub(super) exec_status: Option<ExecStatus>,
    /// Where datagrams are read to.
    pub(super) buffer: Vec<u8>,
    /// The machine has had an address.
    pub(super) online: bool,
    /// When the first process of a line was started.
    pub(super) first_line: Option<Duration>,
    /// Children that ran before this program and are nobody's yet, with their arguments: some are a service's that comes later.
    pub(super) unclaimed: Vec<(Pid, Vec<String>)>,
}

impl Runner {
    /// No services yet. `grace` is the usual time between stop signal and SIGKILL.
    pub fn new(grace: Duration) -> Runner {
        let machine = Machine::new(grace);
        Runner {
            machine,
            runtimes: Vec::new(),
            groups: None,
            look_at: None,
            exec_status: None,
            buffer: Vec::new(),
            online: false,
            first_line: None,
            unclaimed: Vec::new(),
        }
    }

    /// What is known about the services.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The same, to ask for something; [`Runner::act`] does it.
    pub fn machine_mut(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// When the first process of a line was started.
    pub fn first_line(&self) -> Option<Duration> {
        self.first_line
    }

    /// Reads the services' files, at boot and for a reload; [`Runner::act`] starts and stops what they ask for. `arguments` are for
    /// those that take the ones of the machine's settings.
    ///
    /// # Errors
    /// When their directory cannot be read; all stays as it was.
    pub fn load(&mut self, arguments: &str, cx: &mut Context<'_>) -> Result<Changes> {
        let mut files = file::load(arguments)?;
        network::add_if_named(&mut files);
        let faults = files.iter().flat_map(File::faults).collect();
        let changes = Changes { faults, ..self.machine.set_files(files, cx.now) };
        self.add_streams(cx);
        Ok(changes)
    }

    /// Runs a service that has no file, until it is removed.
    pub fn add(&mut self, config: Config, cx: &mut Context<'_>) {
        let name = config.name.clone();
        self.machine.add(config, cx.now);
        self.add_streams(cx);
        self.end_unclaimed(Some(&name));
    }

    /// Gives each service its stream in the logs, with the settings of its file.
    pub(super) fn add_streams(&mut self, cx: &mut Context<'_>) {
        for unit in self.machine.units.iter_mut().filter(|unit| unit.is_service()) {
            unit.stream = cx.logs.add_stream(unit.name(), unit.latest().log_settings());
        }
    }

    /// When [`Runner::act`] has work without an event.
    pub fn deadline(&self) -> Option<Duration> {
        let runtimes = self.runtimes.iter().filter_map(Runtime::deadline);
        self.machine.deadline().into_iter().chain(self.look_at).chain(runtimes).min()
    }

    /// Does everything that is due. Returns whether there was something.
    pub fn act(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        for runtime in &mut self.runtimes {
            runtime.release(cx.reactor, cx.now, cx.logs.is_waiting(runtime.stream));
        }
        moved |= self.end_main_processes(cx);
        moved |= self.look_for_rest(cx.now);
        loop {
            moved |= self.machine.tick(cx.now);
            if !self.execute_all(cx) {
                break;
            }
            moved = true;
        }
        self.machine.remove_gone(|unit| {
            if !unit.is_service() {
                return;
            }
            debug!("{} is gone", unit.name());
            if let Some(groups) = &mut self.groups {
                groups.remove(unit.name());
            }
            if let Some(index) = self.runtimes.iter().position(|runtime| runtime.stream == unit.stream) {
                let logs = &mut *cx.logs;
                self.runtimes.swap_remove(index).end(cx.reactor, |bytes| logs.append(unit.stream, bytes, Now::read()));
            }
            cx.logs.remove_stream(unit.stream);
        });
        moved
    }

    /// Does what the machine wants done. Returns whether there was something.
    fn execute_all(&mut self, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        while let Some(action) = self.machine.next_action() {
            any = true;
            self.execute(action, cx);
        }
        any
    }

    fn execute(&mut self, action: Action, cx: &mut Context<'_>) {
        match action {
            Action::Start(index) => self.start(index, cx),
            Action::Signal(index, signal) => self.signal(index, signal, cx),
            Action::Kill(index) => {
                self.signal(index, Signal::KILL, cx);
                self.kill_group(index, self.machine.units().get(index).and_then(|unit| unit.leader_pgid));
            }
            Action::Sweep(index, pid) => self.kill_group(index, Some(pid)),
            Action::EndRest(index) => self.end_rest(index, cx),
            Action::Tell(index, level, text) => {
                let Some(unit) = self.machine.units().get(index) else {
                    return;
                };
                match unit.is_service() {
                    true => log::write(level, format_args!("{}: {text}", unit.name())),
                    false => log::write(level, format_args!("{text}")),
                }
                note(cx.logs, unit.stream, &text);
            }
        }
    }

    fn start(&mut self, index: usize, cx: &mut Context<'_>) {
        let Some(unit) = self.machine.units().get(index) else {
            return;
        };
        if let Some(entry) = unit.entry() {
            let started = spawn::start(&entry.line, cx.environment);
            return self.line_started(index, started, cx.now);
        }
        let (stream, config) = (unit.stream, unit.config.clone());
        if network::is_meant(&config) {
            return self.end_wait_for_network(cx.now);
        }
        match self.launch(stream, &config, cx) {
            Ok(pid) => {
                debug!("{} started as process {pid}", config.name);
                note(cx.logs, stream, &format!("started as process {pid}"));
                self.machine.started(index, pid, cx.now);
            }
            Err(Problem::Lasting(reason)) => self.machine.not_started(index, reason, false, cx.now),
            Err(Problem::Passing(reason)) => self.machine.not_started(index, reason, true, cx.now),
        }
    }

    fn line_started(&mut self, index: usize, started: Result<Pid>, now: Duration) {
        match started {
            Ok(pid) => {
                if let Some(unit) = self.machine.units().get(index) {
                    debug!("{} started as process {pid}", unit.label());
                }
                self.first_line.get_or_insert(now);
                self.machine.started(index, pid, now);
            }
            Err(error) => self.machine.line_not_started(index, error, now),
        }
    }

    /// Starts the process of a line by its turn.
    pub fn start_line(&mut self, index: usize, cx: &mut Context<'_>) {
        self.machine.begin_line(index, cx.now);
        self.execute(Action::Start(index), cx);
        self.execute_all(cx);
    }

    fn launch(&mut self, stream: u32, config: &Config, cx: &mut Context<'_>) -> core::result::Result<Pid, Problem> {
        let mut variables = Vec::new();
        if config.notifies() {
            let path = format!("{}/{}", messages::DIR, config.name);
            self.listen(stream, config, &path, cx.reactor)?;
            variables.push(("NOTIFY_SOCKET", path));
        }
        if let Some(time) = config.watchdog {
            variables.push(("WATCHDOG_USEC", time.as_micros().to_string()));
        }
        let passing = |error: Errno| Problem::Passing(format!("cannot make a pipe for its output: {error}"));
        let (reader, writer) = match config.execution.output.is_logged() {
            true => files::pipe().map(|(reader, writer)| (Some(reader), Some(writer))).map_err(passing)?,
            false => (None, None),
        };
        let cgroup = self.groups().prepare(&config.name, &config.execution.cgroup).map_err(Problem::Passing)?;
        let exec_status = self.exec_status();
        let setting =
            Setting { environment: cx.environment, variables, cgroup: cgroup.as_deref(), log: writer, exec_status };
        let pid = launch::start(&config.execution.command, &config.execution, setting)?;
        if let Some(reader) = reader {
            self.read_output(stream, reader, cx);
        }
        Ok(pid)
    }

    /// Reads what a service writes, from now on.
    pub(super) fn read_output(&mut self, stream: u32, reader: OwnedFd, cx: &mut Context<'_>) {
        match cx.reactor.watch(reader, Source::Output(stream)) {
            Ok(token) => self.runtime(stream).add_output(token, cx.reactor),
            Err(error) => error!("cannot read the output of a service: {error}"),
        }
    }

    /// Where children say that they cannot run their programs; nothing where there is no descriptor for it now.
    fn exec_status(&mut self) -> Option<BorrowedFd<'_>> {
        if self.exec_status.is_none() {
            self.exec_status = ExecStatus::new().ok();
        }
        self.exec_status.as_ref().map(ExecStatus::writer)
    }

    pub(super) fn groups(&mut self) -> &mut Groups {
        self.groups.get_or_insert_with(Groups::open)
    }

    pub(super) fn runtime(&mut self, stream: u32) -> &mut Runtime {
        let known = self.runtimes.iter().position(|runtime| runtime.stream == stream);
        let index = known.unwrap_or_else(|| {
            self.runtimes.push(Runtime::new(stream));
            self.runtimes.len() - 1
        });
        &mut self.runtimes[index]
    }

    fn signal(&mut self, index: usize, signal: Signal, cx: &mut Context<'_>) {
        let Some((unit, pid)) = self.machine.units().get(index).and_then(|unit| Some((unit, unit.pid?))) else {
            return;
        };
        if unit.config.stop_mode == StopMode::Main {
            // What is in its process group may be a session.
            let result = process::kill(pid, signal).and_then(|()| process::kill(pid, Signal::CONT));
            if let Err(error) = result {
                error!("{}: cannot signal process {pid}: {error}", unit.label());
            }
            return note(cx.logs, unit.stream, &format!("told to end by signal {}", signal.as_raw()));
        }
        let result = process::signal_group(pid, signal);
        if signal == Signal::TERM && unit.entry().is_some_and(|entry| spawn::leads_terminal(&entry.line)) {
            // A shell ignores SIGTERM and ends by SIGHUP, as when its terminal goes away.
            let _ = process::signal_group(pid, Signal::HUP);
        }
        if signal != Signal::KILL {
            // A stopped process does not handle SIGTERM before SIGCONT.
            let _ = process::signal_group(pid, Signal::CONT);
        }
        if let Err(error) = result {
            error!("{}: cannot signal process {pid}: {error}", unit.label());
        }
        debug!("{}: sent signal {} to process {pid}", unit.label(), signal.as_raw());
        note(cx.logs, unit.stream, &format!("told to end by signal {}", signal.as_raw()));
    }

    /// Kills what is left of a service whose main process was `pid`.
    fn kill_group(&mut self, index: usize, pid: Option<Pid>) {
        let service = self.machine.units().get(index).filter(|unit| unit.is_service());
        if service.is_some_and(|unit| unit.config.stop_mode == StopMode::Main) {
            return;
        }
        if let (Some(groups), Some(unit)) = (&self.groups, service) {
            groups.kill(unit.name());
        }
        if let Some(group) = pid {
            // Nothing left is what was hoped for.
            let _ = process::kill_group(group, Signal::KILL);
        }
    }

    /// Tells what is left of a service without a main process to end. What is in the process group of that was told with it.
    fn end_rest(&mut self, index: usize, cx: &mut Context<'_>) {
        let Some(unit) = self.machine.units().get(index) else {
            return;
        };
        if !self.has_rest(unit) {
            return self.machine.emptied(index, cx.now);
        }
        let signal = unit.config.stop_signal;
        if let Some(groups) = &self.groups {
            groups.signal(unit.name(), signal, unit.leader_pgid);
        }
        note(cx.logs, unit.stream, &format!("what it started is told to end by signal {}", signal.as_raw()));
        self.look_at = Some(cx.now + LOOK);
    }

    /// Whether a service without a main process still has others.
    fn has_rest(&self, unit: &Unit) -> bool {
        if unit.config.stop_mode == StopMode::Main {
            return false;
        }
        unit.leader_pgid.is_some_and(process::group_exists)
            || self.groups.as_ref().is_some_and(|groups| groups.is_populated(unit.name()))
    }

    /// Goes on with the services that stop and of which nothing is left. Returns whether there were some.
    fn look_for_rest(&mut self, now: Duration) -> bool {
        if self.look_at.is_none_or(|time| time > now) {
            return false;
        }
        let units = self.machine.units().iter().enumerate();
        let waiting = units.filter(|(_, unit)| matches!(unit.state, State::Stopping { .. }) && unit.pid.is_none());
        let (left, empty): (Vec<_>, Vec<_>) = waiting.partition(|(_, unit)| self.has_rest(unit));
        self.look_at = (!left.is_empty()).then(|| now + LOOK);
        let empty: Vec<usize> = empty.into_iter().map(|(index, _)| index).collect();
        for &index in &empty {
            self.machine.emptied(index, now);
        }
        !empty.is_empty()
    }

    /// A process ended. Returns whether it was one of a service.
    pub fn ended(&mut self, pid: Pid, exit: Exit, cx: &mut Context<'_>) -> bool {
        self.unclaimed.retain(|(child, _)| *child != pid);
        // It may be the last one that a service left.
        self.look_at = self.look_at.map(|_| cx.now);
        if let Some(groups) = &mut self.groups {
            groups.remove_left();
        }
        let fault = self.exec_status.as_mut().and_then(|exec_status| exec_status.take(pid));
        if let Some(fault) = fault.filter(|_| exit == Exit::Code(NOT_RUN))
            && self.not_run(pid, fault, cx)
        {
            return true;
        }
        // Read its last notifications first: READY=1, or the MAINPID that replaces it.
        if let Some(stream) = self.machine.units().iter().find(|unit| unit.pid == Some(pid)).map(|unit| unit.stream) {
            self.take_notifications(stream, cx);
        }
        if exit == Exit::Code(0) && self.has_others(pid) {
            self.machine.left_others(pid, cx.now);
        }
        if let Some(index) = self.machine.exited(pid, exit, cx.now) {
            if let Some(unit) = self.machine.units().get(index) {
                debug!("{} (process {pid}) ended: {exit}", unit.label());
                note(cx.logs, unit.stream, &format!("process {pid} ended: {exit}"));
            }
            return true;
        }
        let Some(runtime) = self.runtimes.iter_mut().find(|runtime| runtime.reloading == Some(Reloading::Runs(pid)))
        else {
            return false;
        };
        runtime.reloading = Some(Reloading::Ended(exit));
        match fault {
            Some(NotRun { error, .. }) => {
                note(cx.logs, runtime.stream, &format!("its reload command cannot be run: {error}"));
            }
            None if exit != Exit::Code(0) => {
                note(cx.logs, runtime.stream, &format!("its reload command failed: {exit}"));
            }
            None => {}
        }
        true
    }

    /// Whether the control group of the service whose main process was `pid` has other processes.
    fn has_others(&self, pid: Pid) -> bool {
        let unit = self.machine.units().iter().find(|unit| unit.pid == Some(pid));
        unit.zip(self.groups.as_ref()).is_some_and(|(unit, groups)| groups.is_populated(unit.name()))
    }

    /// The process `pid` ended because it could not run its program. Returns whether that was one of a service, which is as if it
    /// had not been started.
    fn not_run(&mut self, pid: Pid, fault: NotRun, cx: &mut Context<'_>) -> bool {
        let Some(unit) = self.machine.units().iter().find(|unit| unit.pid == Some(pid)) else {
            return false;
        };
        let execution = &unit.config.execution;
        let problem = launch::not_run(&execution.command, execution, cx.environment, fault);
        let passing = matches!(problem, Problem::Passing(_));
        let (Problem::Lasting(reason) | Problem::Passing(reason)) = problem;
        self.machine.not_run(pid, reason, passing, cx.now)
    }

    /// Takes what a service wrote.
    pub fn output(&mut self, event: &Event, stream: u32, cx: &mut Context<'_>) {
        let now = Now::read();
        match &event.kind {
            EventKind::Data(bytes) if !bytes.is_empty() => {
                cx.logs.append(stream, bytes, now);
                if self.runtime(stream).floods(bytes.len(), now.uptime) || cx.logs.is_waiting(stream) {
                    cx.reactor.hold(event.token, true);
                    self.runtime(stream).held.push(event.token);
                }
            }
            what => {
                if let EventKind::Error(error) = what {
                    note(cx.logs, stream, &format!("its output cannot be read: {error}"));
                }
                let runtime = self.runtime(stream);
                runtime.outputs.retain(|token| *token != event.token);
                if runtime.outputs.is_empty() {
                    cx.logs.end(stream, now);
                }
            }
        }
    }

    /// Takes what all services wrote last.
    pub fn drain(&mut self, cx: &mut Context<'_>) {
        for runtime in &self.runtimes {
            for &token in &runtime.outputs {
                cx.reactor.drain(token, |bytes| cx.logs.append(runtime.stream, bytes, Now::read()));
            }
        }
    }

    /// Asks a service to read its configuration again.
    ///
    /// # Errors
    /// Why that is not possible.
    pub fn reload(&mut self, index: usize, cx: &mut Context<'_>) -> core::result::Result<(), String> {
        let unit = self.machine.units().get(index).ok_or("there is no such service")?;
        let Some(pid) = unit.pid.filter(|_| unit.is_up()) else {
            return Err(format!("{} does not run", unit.name()));
        };
        let (stream, config) = (unit.stream, unit.config.clone());
        let name = &config.name;
        match &config.reload {
            Reload::Never => Err(format!("{name} has no reload-signal and no reload-command; hint: restart it")),
            Reload::Signal(signal) => {
                process::kill(pid, *signal).map_err(|error| format!("cannot signal {name}: {error}"))
            }
            Reload::Command(command) => {
                if matches!(self.runtime(stream).reloading, Some(Reloading::Runs(_))) {
                    return Err(format!("the reload command of {name} still runs"));
                }
                let (reader, writer) = files::pipe().map_err(|error| format!("cannot make a pipe: {error}"))?;
                let cgroup = self.groups().prepare(&config.name, &config.execution.cgroup)?;
                let variables = vec![("MAINPID", pid.to_string())];
                let (log, exec_status) = (Some(writer), self.exec_status());
                let setting =
                    Setting { environment: cx.environment, variables, cgroup: cgroup.as_deref(), log, exec_status };
                match launch::start(command, &config.execution, setting) {
                    Ok(pid) => {
                        self.read_output(stream, reader, cx);
                        self.runtime(stream).reloading = Some(Reloading::Runs(pid));
                        Ok(())
                    }
                    Err(Problem::Lasting(reason) | Problem::Passing(reason)) => Err(reason),
                }
            }
        }
    }

    /// How the reload of a service goes.
    pub fn reloading(&self, index: usize) -> Option<Reloading> {
        let stream = self.machine.units().get(index)?.stream;
        self.runtimes.iter().find(|runtime| runtime.stream == stream)?.reloading
    }
}

fn note(logs: &mut Logs, stream: u32, text: &str) {
    logs.note(stream, format_args!("{text}"), Now::read());
}
