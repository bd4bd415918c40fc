//! Does what the state machine of the services wants: processes, sockets, logs. The supervisor tells it what happened.

mod messages;
mod network;
pub mod saved;

use core::time::Duration;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::cgroup::Groups;
use super::config::{Config, Reload};
use super::file;
use super::launch::{self, Problem, Setting};
use super::machine::{Changes, Machine};
use super::runtime::{Reloading, Runtime};
use super::state::{Action, State, Unit, Weight};
use super::unrun::Unrun;
use crate::event::reactor::{Event, Reactor, Source, What};
use crate::log::{debug, say};
use crate::logs::{Logs, Now};
use crate::spawn::Environment;
use crate::sys::process::{self, Exit, Pid};
use crate::sys::signal::Signal;
use crate::sys::{Errno, Result, files};

/// How often services that stop are looked at for what their main processes left. The end of a child of PID 1 is an event,
/// and the look comes at once; that of another process's child is none.
const LOOK: Duration = Duration::from_millis(100);

/// What the runner works with.
pub struct Surroundings<'a> {
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
    pub(super) unrun: Option<Unrun>,
    /// Where datagrams are read to.
    pub(super) buffer: Vec<u8>,
    /// The machine has had an address.
    pub(super) online: bool,
    /// Children that ran before this program and are nobody's yet, with their arguments: some are a service's that comes later.
    pub(super) strangers: Vec<(Pid, Vec<String>)>,
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
            unrun: None,
            buffer: Vec::new(),
            online: false,
            strangers: Vec::new(),
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

    /// Reads the services' files, at boot and for a reload; [`Runner::act`] starts and stops what they ask for.
    ///
    /// # Errors
    /// When their directory cannot be read; all stays as it was.
    pub fn load(&mut self, around: &mut Surroundings<'_>) -> Result<Changes> {
        let mut files = file::load()?;
        network::add_if_named(&mut files);
        let changes = self.machine.set_files(files, around.now);
        self.add_streams(around);
        Ok(changes)
    }

    /// Runs a service that has no file, until it is removed.
    pub fn add(&mut self, config: Config, around: &mut Surroundings<'_>) {
        let name = config.name.clone();
        self.machine.add(config, around.now);
        self.add_streams(around);
        self.end_strangers(Some(&name));
    }

    /// Gives each service its stream in the logs, with the settings of its file.
    pub(super) fn add_streams(&mut self, around: &mut Surroundings<'_>) {
        for unit in &mut self.machine.units {
            unit.stream = around.logs.add_stream(unit.name(), unit.latest().log_settings());
        }
    }

    /// When [`Runner::act`] has work without an event.
    pub fn deadline(&self) -> Option<Duration> {
        let runtimes = self.runtimes.iter().filter_map(Runtime::deadline);
        self.machine.deadline().into_iter().chain(self.look_at).chain(runtimes).min()
    }

    /// Does everything that is due. Returns whether there was something.
    pub fn act(&mut self, around: &mut Surroundings<'_>) -> bool {
        let mut moved = false;
        for runtime in &mut self.runtimes {
            runtime.release(around.reactor, around.now, around.logs.is_waiting(runtime.stream));
        }
        moved |= self.end_main_processes(around);
        moved |= self.look_for_rest(around.now);
        loop {
            moved |= self.machine.tick(around.now);
            let Some(first) = self.machine.next_action() else {
                break;
            };
            moved = true;
            self.execute(first, around);
            while let Some(action) = self.machine.next_action() {
                self.execute(action, around);
            }
        }
        self.machine.remove_gone(|unit| {
            debug!("{} is gone", unit.name());
            if let Some(groups) = &mut self.groups {
                groups.remove(unit.name());
            }
            if let Some(index) = self.runtimes.iter().position(|runtime| runtime.stream == unit.stream) {
                let logs = &mut *around.logs;
                self.runtimes
                    .swap_remove(index)
                    .end(around.reactor, |bytes| logs.append(unit.stream, bytes, Now::read()));
            }
            around.logs.remove_stream(unit.stream);
        });
        moved
    }

    fn execute(&mut self, action: Action, around: &mut Surroundings<'_>) {
        match action {
            Action::Start(index) => self.start(index, around),
            Action::Signal(index, signal) => self.signal(index, signal, around),
            Action::Kill(index) => {
                self.signal(index, Signal::KILL, around);
                self.kill_group(index, self.machine.units().get(index).and_then(|unit| unit.left));
            }
            Action::Sweep(index, pid) => self.kill_group(index, Some(pid)),
            Action::EndRest(index) => self.end_rest(index, around),
            Action::Tell(index, weight, text) => {
                let Some(unit) = self.machine.units().get(index) else {
                    return;
                };
                match weight {
                    Weight::Wrong => say!("{}: {text}", unit.name()),
                    Weight::Detail => debug!("{}: {text}", unit.name()),
                }
                note(around.logs, unit.stream, &text);
            }
        }
    }

    fn start(&mut self, index: usize, around: &mut Surroundings<'_>) {
        let Some(unit) = self.machine.units().get(index) else {
            return;
        };
        let (stream, config) = (unit.stream, unit.config.clone());
        if network::is_meant(&config) {
            return self.end_wait_for_network(around.now);
        }
        match self.launch(stream, &config, around) {
            Ok(pid) => {
                debug!("{} started as process {pid}", config.name);
                note(around.logs, stream, &format!("started as process {pid}"));
                self.machine.started(index, pid, around.now);
            }
            Err(Problem::Lasting(reason)) => self.machine.not_started(index, reason, false, around.now),
            Err(Problem::Passing(reason)) => self.machine.not_started(index, reason, true, around.now),
        }
    }

    fn launch(
        &mut self,
        stream: u32,
        config: &Config,
        around: &mut Surroundings<'_>,
    ) -> core::result::Result<Pid, Problem> {
        let mut variables = Vec::new();
        if config.notifies() {
            let path = format!("{}/{}", messages::DIR, config.name);
            self.listen(stream, config, &path, around.reactor)?;
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
        let unrun = self.unrun();
        let setting =
            Setting { environment: around.environment, variables, cgroup: cgroup.as_deref(), log: writer, unrun };
        let pid = launch::start(&config.execution.command, &config.execution, setting)?;
        if let Some(reader) = reader {
            self.read_output(stream, reader, around);
        }
        Ok(pid)
    }

    /// Reads what a service writes, from now on.
    pub(super) fn read_output(&mut self, stream: u32, reader: OwnedFd, around: &mut Surroundings<'_>) {
        match around.reactor.watch(reader, Source::Output(stream)) {
            Ok(token) => self.runtime(stream).add_output(token, around.reactor),
            Err(error) => say!("cannot read the output of a service: {error}"),
        }
    }

    /// Where children say that they cannot run their programs; nothing where there is no descriptor for it now.
    fn unrun(&mut self) -> Option<BorrowedFd<'_>> {
        if self.unrun.is_none() {
            self.unrun = Unrun::new().ok();
        }
        self.unrun.as_ref().map(Unrun::writer)
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

    fn signal(&mut self, index: usize, signal: Signal, around: &mut Surroundings<'_>) {
        let Some((unit, pid)) = self.machine.units().get(index).and_then(|unit| Some((unit, unit.pid?))) else {
            return;
        };
        let result = process::signal_group(pid, signal);
        if signal != Signal::KILL {
            // What is stopped cannot end before it goes on.
            let _ = process::signal_group(pid, Signal::CONT);
        }
        if let Err(error) = result {
            say!("{}: cannot signal process {pid}: {error}", unit.name());
        }
        debug!("{}: sent signal {} to process {pid}", unit.name(), signal.as_raw());
        note(around.logs, unit.stream, &format!("told to end by signal {}", signal.as_raw()));
    }

    /// Kills what is left of a service whose main process was `pid`.
    fn kill_group(&mut self, index: usize, pid: Option<Pid>) {
        if let (Some(groups), Some(unit)) = (&self.groups, self.machine.units().get(index)) {
            groups.kill(unit.name());
        }
        if let Some(group) = pid {
            // Nothing left is what was hoped for.
            let _ = process::kill_group(group, Signal::KILL);
        }
    }

    /// Tells what is left of a service without a main process to end. What is in the process group of that was told with it.
    fn end_rest(&mut self, index: usize, around: &mut Surroundings<'_>) {
        let Some(unit) = self.machine.units().get(index) else {
            return;
        };
        if !self.has_rest(unit) {
            return self.machine.emptied(index, around.now);
        }
        let signal = unit.config.stop_signal;
        if let Some(groups) = &self.groups {
            groups.signal(unit.name(), signal, unit.left);
        }
        note(around.logs, unit.stream, &format!("what it started is told to end by signal {}", signal.as_raw()));
        self.look_at = Some(around.now + LOOK);
    }

    /// Whether a service without a main process still has others.
    fn has_rest(&self, unit: &Unit) -> bool {
        unit.left.is_some_and(process::group_exists)
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
    pub fn ended(&mut self, pid: Pid, exit: Exit, around: &mut Surroundings<'_>) -> bool {
        self.strangers.retain(|(stranger, _)| *stranger != pid);
        // It may be the last one that a service left.
        self.look_at = self.look_at.map(|_| around.now);
        if let Some(groups) = &mut self.groups {
            groups.remove_left();
        }
        let error = self.unrun.as_mut().and_then(|unrun| unrun.take(pid));
        if let Some(error) = error.filter(|_| exit == Exit::Code(launch::NOT_RUN))
            && self.not_run(pid, error, around)
        {
            return true;
        }
        // What it said last counts: that it was ready, or which process goes on in its place.
        if let Some(stream) = self.machine.units().iter().find(|unit| unit.pid == Some(pid)).map(|unit| unit.stream) {
            self.take_notifications(stream, around);
        }
        if let Some(index) = self.machine.exited(pid, exit, around.now) {
            if let Some(unit) = self.machine.units().get(index) {
                debug!("{} (process {pid}) ended: {exit}", unit.name());
                note(around.logs, unit.stream, &format!("process {pid} ended: {exit}"));
            }
            return true;
        }
        let Some(runtime) = self.runtimes.iter_mut().find(|runtime| runtime.reloading == Some(Reloading::Runs(pid)))
        else {
            return false;
        };
        runtime.reloading = Some(Reloading::Ended(exit));
        match error {
            Some(error) => note(around.logs, runtime.stream, &format!("its reload command cannot be run: {error}")),
            None if exit != Exit::Code(0) => {
                note(around.logs, runtime.stream, &format!("its reload command failed: {exit}"));
            }
            None => {}
        }
        true
    }

    /// The process `pid` ended because it could not run its program. Returns whether that was one of a service, which is as if it
    /// had not been started.
    fn not_run(&mut self, pid: Pid, error: Errno, around: &mut Surroundings<'_>) -> bool {
        let Some(unit) = self.machine.units().iter().find(|unit| unit.pid == Some(pid)) else {
            return false;
        };
        let execution = &unit.config.execution;
        let problem = launch::not_run(&execution.command, execution, around.environment, error);
        let passing = matches!(problem, Problem::Passing(_));
        let (Problem::Lasting(reason) | Problem::Passing(reason)) = problem;
        self.machine.not_run(pid, reason, passing, around.now)
    }

    /// Takes what a service wrote.
    pub fn output(&mut self, event: &Event, stream: u32, around: &mut Surroundings<'_>) {
        let now = Now::read();
        match &event.what {
            What::Data(bytes) if !bytes.is_empty() => {
                around.logs.append(stream, bytes, now);
                if self.runtime(stream).floods(bytes.len(), now.uptime) || around.logs.is_waiting(stream) {
                    around.reactor.hold(event.token, true);
                    self.runtime(stream).held.push(event.token);
                }
            }
            what => {
                if let What::Error(error) = what {
                    note(around.logs, stream, &format!("its output cannot be read: {error}"));
                }
                let runtime = self.runtime(stream);
                runtime.outputs.retain(|token| *token != event.token);
                if runtime.outputs.is_empty() {
                    around.logs.end(stream, now);
                }
            }
        }
    }

    /// Takes what all services wrote last.
    pub fn drain(&mut self, around: &mut Surroundings<'_>) {
        for runtime in &self.runtimes {
            for &token in &runtime.outputs {
                around.reactor.drain(token, |bytes| around.logs.append(runtime.stream, bytes, Now::read()));
            }
        }
    }

    /// Asks a service to read its configuration again.
    ///
    /// # Errors
    /// Why that is not possible.
    pub fn reload(&mut self, index: usize, around: &mut Surroundings<'_>) -> core::result::Result<(), String> {
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
                let (log, unrun) = (Some(writer), self.unrun());
                let setting =
                    Setting { environment: around.environment, variables, cgroup: cgroup.as_deref(), log, unrun };
                match launch::start(command, &config.execution, setting) {
                    Ok(pid) => {
                        self.read_output(stream, reader, around);
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
