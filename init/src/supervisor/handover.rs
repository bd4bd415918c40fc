//! What the supervisor tells the next program of PID 1, and what it takes from the one before.

use core::time::Duration;

use super::Supervisor;
use super::services::DISKS;
use super::table::BOOT;
use crate::handover::checkpoint::Checkpoint;
use crate::handover::replace;
use crate::handover::state::{Record, Writer};
use crate::log::{debug, info};
use crate::logs::{self, Now};
use crate::platform::watchdog::Watchdog;
use crate::service::exec_status;
use crate::service::runner::saved;
use crate::service::state::{Entry, State, StopReason, Unit};
use crate::spawn::inittab::{Action, Line};
use crate::spawn::running;
use crate::sys::process::{self, Exit, Pid};
use crate::sys::signal::Signal;
use crate::sys::system;
use std::os::fd::AsFd;

/// How long PID 1 looks at nothing but log files, so that the watchdog gets its food.
const SLICE: Duration = Duration::from_millis(100);
/// How long the next program may take to say whether it can take over.
const ANSWER: Duration = Duration::from_secs(10);
/// How long children that were killed may take to go, all together; a longer one hangs in the kernel.
const KILLED: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Replaces the program of PID 1. Returns only when that did not work, with the reason; then everything is as before.
    pub(super) fn run_anew(&mut self) -> String {
        let path = replace::program();
        match self.run_program(&replace::question(&path), ANSWER) {
            Some(Exit::Code(replace::YES)) => {}
            Some(exit) => return format!("{path} is not an init that can take over from this one ({exit})"),
            None => return format!("{path} does not answer"),
        }
        // This program handles everything it has already read.
        if let Err(reason) = self.quiesce() {
            return reason.into();
        }
        if self.is_going_down() {
            return "the system goes down".into();
        }
        let (text, kept) = self.state().finish();
        match replace::run(&path, &text, &kept) {
            Ok(never) => match never {},
            Err(reason) => reason,
        }
    }

    /// Handles everything read so far, so that nothing is lost with this program.
    ///
    /// # Errors
    /// Why this program cannot go: the kernel would wait for a disk before it runs the next.
    pub fn quiesce(&mut self) -> Result<(), &'static str> {
        self.reactor.quiesce();
        self.take_events();
        let deadline = system::uptime() + DISKS;
        self.logs.hurry();
        loop {
            let now = system::uptime();
            if self.logs.deadline().is_some_and(|time| time <= now) {
                self.logs.tick(Now::read());
            }
            self.write_logs();
            if !self.logs.is_at_work() {
                break;
            }
            if now >= deadline {
                return Err("a log file's disk does not answer");
            }
            if let Some(watchdog) = &mut self.watchdog {
                watchdog.feed_if_due(now);
            }
            self.reactor.wait_for_files(SLICE);
            self.take_events();
        }
        self.reap();
        Ok(())
    }

    /// All that the next program has to know.
    pub fn state(&self) -> Writer<'_> {
        let mut writer = Writer::default();
        writer.record("supervisor").flag("paused", self.paused).flag("reload", self.wanted.reload);
        writer.flag("ctrl-alt-del", self.wanted.ctrl_alt_del);
        writer.record("timeline").time("init", Some(self.timeline.init));
        writer.time("first", self.timeline.first_process).time("booted", self.timeline.booted);
        for phase in &self.timeline.phases {
            writer.record("phase").field("name", &phase.name);
            writer.time("start", Some(phase.start)).time("duration", Some(phase.duration));
        }
        if let Some(watchdog) = &self.watchdog {
            writer.record("watchdog").descriptor("device", watchdog.as_fd());
        }
        for (_, unit, entry) in self.services.machine().lines() {
            write_line(&mut writer, unit, entry);
        }
        self.services.write(&mut writer, &self.reactor);
        self.logs.write(&mut writer);
        writer
    }

    /// Takes what the program before this one knew, and goes on with it.
    pub fn adopt(&mut self, records: Vec<Record>) {
        let services = self.take_records(records);
        self.settle();
        let (runner, mut cx) = self.services();
        runner.adopt(services, &mut cx);
        // Children may have ended during the exec.
        self.reap();
        let lines = self.services.machine().lines();
        let running = lines.iter().filter(|(_, unit, _)| unit.pid.is_some()).count();
        info!("init took over; {running} of {} entries run", lines.len());
    }

    /// Takes the records that are the supervisor's own, and returns those of services. Others are left out: a newer program
    /// wrote them.
    fn take_records(&mut self, records: Vec<Record>) -> Vec<Record> {
        let mut services = Vec::new();
        for mut record in records {
            match record.kind.as_str() {
                "supervisor" => {
                    self.set_paused(record.has("paused"));
                    self.wanted.reload = record.has("reload");
                    self.wanted.ctrl_alt_del = record.has("ctrl-alt-del");
                }
                "timeline" => {
                    self.timeline.init = record.time("init").unwrap_or_default();
                    self.timeline.first_process = record.time("first");
                    self.timeline.booted = record.time("booted");
                }
                "phase" => {
                    let start = record.time("start").unwrap_or_default();
                    let end = start.saturating_add(record.time("duration").unwrap_or_default());
                    self.timeline.add(record.get("name").unwrap_or_default().to_owned(), start, end);
                }
                "watchdog" => self.watchdog = record.take_descriptor("device").map(Watchdog::new),
                "entry" => {
                    if let Some(unit) = read_line(&record) {
                        self.services.machine_mut().push_line(unit);
                    }
                }
                logs::KIND => self.logs.restore(&record),
                saved::KIND | exec_status::KIND => services.push(record),
                other => debug!("a '{other}' of the init before this one is not known"),
            }
        }
        services
    }

    /// Finds the processes of the table where nothing is known of them, so that none is started twice, and goes on from `done`.
    pub fn adopt_running(&mut self, done: Checkpoint) {
        // They work for a program that is gone, and what they hold has to be free for this one.
        let helpers = running::helpers();
        for &pid in &helpers {
            kill(pid);
        }
        self.wait_for_ends(&helpers);
        let mut children = running::children();
        let last = self.mark_begun(done);
        self.find_programs(&mut children, last, done.is_booted());
        self.services.set_unclaimed(children);
        if done.is_booted() {
            self.timeline.booted = Some(system::uptime());
            self.settle();
            self.end_unclaimed();
        } else {
            self.note_take_over();
        }
        self.reap();
    }

    /// Marks the lines that the boot came to before a fault, and returns the place of the last one.
    fn mark_begun(&mut self, done: Checkpoint) -> Option<usize> {
        let mut left = if done.is_booted() { usize::MAX } else { done.entries() };
        let mut last = None;
        for place in BOOT.into_iter().flat_map(|action| self.places(action)).collect::<Vec<_>>() {
            if left == 0 {
                break;
            }
            left -= 1;
            last = Some(place);
            if let Some(entry) = self.entry_mut(place) {
                entry.begun = true;
            }
        }
        last
    }

    /// Looks for the programs of the lines among the children, and takes them out of there. What the boot waits for one by one
    /// can only run when it is the `last` that was begun; what runs all the time, only after the boot.
    fn find_programs(&mut self, children: &mut Vec<(Pid, Vec<String>)>, last: Option<usize>, booted: bool) {
        let now = system::uptime();
        let may_run = |entry: &Entry| match entry.line.action {
            Action::Respawn | Action::Askfirst => booted,
            Action::Once => entry.begun,
            Action::Sysinit | Action::Wait => !booted && last == Some(entry.place),
            _ => false,
        };
        let machine = self.services.machine_mut();
        // First those on their own terminals, because several may have the same program.
        for on_terminal in [true, false] {
            for index in 0..machine.units().len() {
                let unit = machine.units().get(index).filter(|unit| unit.pid.is_none());
                let Some(Entry { line, .. }) = unit.and_then(Unit::entry).filter(|entry| may_run(entry)) else {
                    continue;
                };
                let Line { terminal, command, .. } = line;
                let is_its = |(pid, words): &(Pid, Vec<String>)| {
                    running::is_program_of(command, words) && (!on_terminal || running::is_on(*pid, terminal))
                };
                if let Some(found) = children.iter().position(is_its) {
                    let (pid, _) = children.swap_remove(found);
                    debug!("'{command}' runs as process {pid}");
                    machine.line_runs(index, pid, now);
                }
            }
        }
    }

    /// Ends what runs of services that were started by a program before this one: their output has lost its reader, so they
    /// start anew.
    pub(super) fn end_unclaimed(&mut self) {
        let ended = self.services.end_unclaimed(None);
        self.wait_for_ends(&ended);
    }

    /// Waits for the ends of children that were killed, for a short time, and starts nothing meanwhile: a terminal or a port
    /// has to be free before its next program comes.
    fn wait_for_ends(&mut self, killed: &[Pid]) {
        let deadline = system::uptime() + KILLED;
        let paused = self.paused;
        self.set_paused(true);
        for &pid in killed {
            self.wait_for_process(pid, deadline.saturating_sub(system::uptime()));
        }
        self.set_paused(paused);
    }

    /// Does the steps of a boot between the table and its first respawn.
    fn settle(&mut self) {
        self.note_take_over();
        self.start_control();
        self.load_services();
    }

    fn note_take_over(&mut self) {
        self.awaiting_first = None;
        self.timeline.taken_over = Some(system::uptime());
    }
}

fn kill(pid: Pid) {
    if let Err(error) = process::kill(pid, Signal::KILL) {
        debug!("cannot end process {pid}: {error}");
    }
}

fn write_line(writer: &mut Writer<'_>, unit: &Unit, entry: &Entry) {
    let Line { terminal, action, command } = &entry.line;
    let (next, kill) = match unit.state {
        State::Backoff { until } => (until, None),
        State::Stopping { deadline, .. } => (Duration::ZERO, Some(deadline)),
        _ => (Duration::ZERO, None),
    };
    writer.record("entry").field("terminal", terminal).field("action", action.name()).field("command", command);
    writer.option("pid", unit.pid).option("failures", Some(unit.failures).filter(|&count| count > 0));
    writer.flag("stale", unit.removed).flag("absent", entry.absent);
    writer.time("started", Some(unit.started.unwrap_or_default())).time("next", Some(next)).time("kill", kill);
}

/// The line of a record; nothing without a known action and a command.
fn read_line(record: &Record) -> Option<Unit> {
    let action = Action::from_name(record.get("action")?)?;
    let line = Line::new(record.get("terminal").unwrap_or_default(), action, record.get("command")?);
    let mut unit = Unit::of_line(line, 0, Duration::ZERO);
    unit.pid = record.parse("pid").filter(|&pid| pid > 1);
    unit.removed = record.has("stale");
    unit.started = record.time("started");
    unit.failures = record.parse("failures").unwrap_or(0);
    unit.state = match (unit.pid, record.time("kill")) {
        (Some(_), Some(deadline)) => State::Stopping { why: StopReason::Asked, deadline, kills: 0 },
        (Some(_), None) => State::Up,
        (None, _) if action.respawns() => State::Backoff { until: record.time("next").unwrap_or_default() },
        (None, _) => State::Ended,
    };
    // A program that was told to end starts again when its line is back in the table.
    let ending = matches!(unit.state, State::Stopping { .. });
    unit.wanted = !ending && (action.respawns() && !unit.removed || unit.pid.is_some());
    unit.restart_pending = ending && !unit.removed && action.respawns();
    if let Some(entry) = unit.entry_mut() {
        entry.absent = record.has("absent");
    }
    Some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::options::Options;
    use crate::event::reactor::Reactor;
    use crate::handover::state;
    use crate::spawn::Environment;

    fn supervisor() -> Supervisor {
        let environment = Environment::new(Vec::new(), None);
        Supervisor::new(Reactor::new(false).unwrap(), Options::default(), environment, Duration::ZERO)
    }

    #[test]
    fn the_next_program_knows_what_this_one_did() {
        let mut old = supervisor();
        let time = Duration::from_secs;
        let unit = |action, state| {
            let wanted = action == Action::Respawn;
            let line = Line::new("ttyS0", action, "-/bin/sh a\tb");
            Unit { state, wanted, started: Some(time(1)), failures: 3, ..Unit::of_line(line, 0, Duration::ZERO) }
        };
        let ending = State::Stopping { why: StopReason::Asked, deadline: time(9), kills: 0 };
        let mut absent = unit(Action::Respawn, State::Backoff { until: time(4) });
        absent.entry_mut().unwrap().absent = true;
        let lines = [
            Unit { pid: Some(77), removed: true, ..unit(Action::Askfirst, ending.clone()) },
            Unit { pid: Some(78), restart_pending: true, wanted: false, ..unit(Action::Respawn, ending) },
            Unit { pid: Some(79), ..unit(Action::Respawn, State::Up) },
            Unit { pid: Some(80), removed: true, wanted: true, ..unit(Action::Once, State::Up) },
            absent,
            unit(Action::CtrlAltDel, State::Ended),
        ];
        lines.into_iter().for_each(|unit| old.services.machine_mut().push_line(unit));
        old.paused = true;
        old.wanted.reload = true;
        old.timeline.add("clock", Duration::from_millis(3), Duration::from_millis(5));
        old.timeline.booted = Some(Duration::from_secs(2));

        let mut new = supervisor();
        let services = new.take_records(state::parse(&old.state().finish().0).unwrap());
        assert_eq!(services.len(), 0);
        let lines = |supervisor: &Supervisor| format!("{:#?}", supervisor.services.machine().lines());
        assert_eq!(lines(&new), lines(&old));
        assert!(new.paused && new.wanted.reload && !new.wanted.ctrl_alt_del);
        assert_eq!(new.timeline.phases, old.timeline.phases);
        assert_eq!(new.timeline.booted, old.timeline.booted);
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let mut writer = Writer::default();
        writer.record("entry").field("action", "fly").field("command", "x");
        writer.record("entry").field("action", "once");
        writer.record("entry").field("action", "once").field("command", "x").field("pid", "-5");
        writer.record("flight").field("name", "x");
        writer.record(saved::KIND).field("name", "x");
        let mut new = supervisor();
        let services = new.take_records(state::parse(&writer.finish().0).unwrap());
        assert_eq!(services.len(), 1);
        let lines = new.services.machine().lines();
        assert_eq!((lines.len(), lines[0].1.pid), (1, None));
    }
}
