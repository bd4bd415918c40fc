//! The services in the supervisor: when they start, stop and are read again, and what the control socket does to them.

use core::time::Duration;

use super::Supervisor;
use crate::control::{self, Code, Operations, Progress, Refusal, Server, Span, Summary};
use crate::event::reactor::{Reactor, Source};
use crate::log::{error, info, warn};
use crate::logs::{Logs, Now};
use crate::service::machine::Changes;
use crate::service::report;
use crate::service::runner::{Context, Runner};
use crate::sys::system::{self, Power};

/// How often services and the control socket are asked in one turn, for as long as they keep each other busy.
const ROUNDS: usize = 4;

/// How long disks have to take the last lines of logs.
pub(super) const DISKS: Duration = Duration::from_secs(2);

impl Supervisor {
    /// The services, and what they work with.
    pub(super) fn services(&mut self) -> (&mut Runner, Context<'_>) {
        let cx = Context {
            reactor: &mut self.reactor,
            logs: &mut self.logs,
            environment: &self.environment,
            now: system::uptime(),
        };
        (&mut self.services, cx)
    }

    /// Reads the services' files; what they ask for starts and stops from now on. Returns what changed.
    pub(super) fn load_services(&mut self) -> Option<Changes> {
        if self.options.single || self.options.emergency {
            return None;
        }
        let arguments = self.options.settings.value("arguments").unwrap_or_default().to_owned();
        let (services, mut cx) = self.services();
        match services.load(&arguments, &mut cx) {
            Ok(changes) => Some(changes),
            Err(error) => {
                error!("cannot read {}: {error}; the services stay as they were", crate::service::file::DIR);
                None
            }
        }
    }

    /// Does what is due for services, logs and the control socket, and returns when there is more.
    pub(super) fn work(&mut self) -> Option<Duration> {
        let mut moved = self.act();
        // Requests of clients move services, and the clients wait for the result.
        for _ in 0..ROUNDS {
            let mut control = core::mem::take(&mut self.control);
            control.turn(self);
            self.control = control;
            if !self.act() {
                break;
            }
            moved = true;
        }
        self.take_own_lines();
        let now = system::uptime();
        if self.logs.deadline().is_some_and(|time| time <= now) {
            self.logs.tick(Now::read());
        }
        self.write_logs();
        // If anything moved, do not block: clients waiting on a service must be re-checked first.
        let deadlines = [self.services.deadline(), self.control.deadline(), self.logs.deadline(), moved.then_some(now)];
        deadlines.into_iter().flatten().min()
    }

    fn act(&mut self) -> bool {
        let (services, mut cx) = self.services();
        let moved = services.act(&mut cx);
        self.note_first_process();
        moved
    }

    /// Stops all services, those first that others do not rely on, and waits for it. It ends, because each has its own
    /// stop-timeout, which nothing that it says makes longer now, and is given up when SIGKILL does not end it.
    pub fn stop_services(&mut self) {
        let now = system::uptime();
        let running = !self.services.machine().is_all_stopped();
        self.services.machine_mut().stop_all(now);
        while !self.services.machine().is_all_stopped() {
            self.step(None);
        }
        if running {
            info!("services stopped after {} ms", (system::uptime() - now).as_millis());
        }
    }

    /// Starts what is to be done to log files.
    pub(super) fn write_logs(&mut self) {
        let reactor = &mut self.reactor;
        self.logs.hand_out(|file, job| reactor.file(job, Source::LogFile(file)));
    }

    /// Writes what services wrote last and closes their files, so that file systems can be unmounted. A disk that does not
    /// answer is not waited for.
    pub fn finish_logs(&mut self) {
        let (services, mut cx) = self.services();
        services.drain(&mut cx);
        self.take_own_lines();
        self.logs.end_all(Now::read());
        if !self.wait_for_logs() {
            warn!("log files are not written after {} s; going on without", DISKS.as_secs());
        }
        self.logs.close();
        self.wait_for_logs();
    }

    fn wait_for_logs(&mut self) -> bool {
        let deadline = system::uptime() + DISKS;
        while self.logs.is_at_work() && system::uptime() < deadline {
            self.step(Some(deadline));
        }
        !self.logs.is_at_work()
    }

    /// Opens the control socket, or opens it again where it is gone.
    pub(super) fn open_control(&mut self) {
        let mut control = core::mem::take(&mut self.control);
        control.reopen(self);
        self.control = control;
    }

    /// Opens the control socket at boot.
    pub(super) fn start_control(&mut self) {
        self.control = Server::start(self);
        self.start_syslog();
    }
}

impl Operations for Supervisor {
    fn reactor(&mut self) -> &mut Reactor {
        &mut self.reactor
    }

    fn logs(&self) -> &Logs {
        &self.logs
    }

    fn list(&self) -> Vec<Summary> {
        report::list(self.services.machine(), system::uptime())
    }

    fn status(&self, name: &str) -> Option<(Summary, Vec<(&'static str, String)>)> {
        let machine = self.services.machine();
        let index = machine.find(name)?;
        Some((report::summary(machine, index, system::uptime())?, report::details(machine, index)))
    }

    fn begin(&mut self, action: control::Action, name: &str) -> Result<Progress, Refusal> {
        if self.is_going_down() {
            return Err(Refusal::new(Code::Conflict, "the system is going down"));
        }
        let (services, mut cx) = self.services();
        let now = cx.now;
        let index = services.machine().find(name).ok_or_else(|| Refusal::unknown(name))?;
        let begun = match action {
            control::Action::Start => services.machine_mut().start(index, now),
            control::Action::Restart => services.machine_mut().restart(index, now),
            control::Action::Reload => services.reload(index, &mut cx),
            control::Action::Stop => {
                services.machine_mut().stop(index, now);
                Ok(())
            }
        };
        begun.map_err(|reason| Refusal::new(Code::Failed, format!("{name}: {reason}")))?;
        services.act(&mut cx);
        self.progress(action, name)
    }

    fn progress(&self, action: control::Action, name: &str) -> Result<Progress, Refusal> {
        let machine = self.services.machine();
        match machine.find(name) {
            Some(index) => report::progress(machine, action, index, self.services.reloading(index)),
            // A stop of a service whose file is gone ends so.
            None if action == control::Action::Stop => Ok(Progress::Done),
            None => Err(Refusal::unknown(name)),
        }
    }

    fn reload_tables(&mut self) -> Result<String, Refusal> {
        if self.is_going_down() {
            return Err(Refusal::new(Code::Conflict, "the system is going down"));
        }
        if self.walking {
            self.wanted.reload = true;
            return Ok("the tables are read when the entries that run now have ended".into());
        }
        self.reload().map_err(|reason| Refusal::new(Code::Failed, reason))
    }

    fn power(&mut self, power: Power) -> Result<(), Refusal> {
        if self.is_going_down() {
            return Err(Refusal::new(Code::Conflict, "the system is going down already"));
        }
        self.wanted.power = Some(power);
        Ok(())
    }

    fn spans(&self) -> Vec<Span> {
        let mut spans = self.timeline.spans();
        spans.extend(report::spans(self.services.machine()));
        spans.sort_by_key(|span| span.start);
        spans
    }
}
