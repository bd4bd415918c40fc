//! The services across a change of PID 1's own program: what one tells the next, and what that takes. The supervisor's handover
//! calls it; see [`crate::handover::state`].

use core::time::Duration;
use std::os::fd::AsFd;

use super::{Context, Runner};
use crate::event::reactor::Reactor;
use crate::handover::state::{Record, Writer};
use crate::service::config::{Command, Config, Kind};
use crate::service::exec_status::{self, ExecStatus};
use crate::service::state::{Life, Origin, State, StopReason, Unit};
use crate::spawn::running;
use crate::sys::process::{self, Pid};
use crate::sys::signal::Signal;

/// The kind of a service's record.
pub const KIND: &str = "service";
/// More words or variables of a service without a file are not kept.
const WORDS: usize = 256;

impl Runner {
    /// Writes a record for each service.
    pub fn write<'a>(&'a self, writer: &mut Writer<'a>, reactor: &'a Reactor) {
        if let Some(exec_status) = &self.exec_status {
            exec_status.write(writer);
        }
        for (_, unit) in self.machine.services() {
            write_unit(writer, unit);
            let Some(runtime) = self.runtimes.iter().find(|runtime| runtime.stream == unit.stream) else {
                continue;
            };
            for fd in runtime.outputs.iter().filter_map(|token| reactor.descriptor(*token)) {
                writer.descriptor("output", fd);
            }
            if let Some(notify) = &runtime.notify {
                writer.descriptor("notify", notify.fd.as_fd()).field("notify-user", notify.user);
            }
        }
    }

    /// Takes the records of the program before this one, after the files were read: services go on where they were.
    pub fn adopt(&mut self, records: Vec<Record>, cx: &mut Context<'_>) {
        // Running services are in groups that the previous program created.
        self.groups();
        for mut record in records {
            if record.kind == exec_status::KIND {
                self.exec_status = ExecStatus::adopt(&mut record);
                continue;
            }
            let Some(name) = record.get("name").map(String::from) else {
                continue;
            };
            if self.machine.find(&name).is_none() {
                // Its file is gone, or it never had one.
                let unit = Unit::new(read_config(&name, &record), cx.now);
                let transient = record.has("fileless");
                let origin = if transient { Origin::Transient } else { Origin::File };
                self.machine.units.push(Unit { origin, removed: !transient, ..unit });
                self.add_streams(cx);
            }
            let Some(unit) = self.machine.find(&name).and_then(|index| self.machine.unit_mut(index)) else {
                continue;
            };
            read_unit(unit, &record, cx.now);
            let (stream, pid) = (unit.stream, unit.pid);
            if let Some(pid) = pid {
                self.watch_main_process(stream, pid, cx.reactor);
            }
            while let Some(fd) = record.take_descriptor("output") {
                self.read_output(stream, fd, cx);
            }
            if let (Some(fd), Some(user)) = (record.take_descriptor("notify"), record.parse("notify-user")) {
                // Without memory for it the service starts anew when it next has to say something.
                let _ = self.open_notifications(stream, fd, user, cx.reactor);
            }
        }
        self.look_at = Some(cx.now);
        self.machine.resolve();
    }

    /// Takes the children of PID 1 of which nothing is known, with their arguments.
    pub fn set_unclaimed(&mut self, children: Vec<(Pid, Vec<String>)>) {
        self.unclaimed = children;
    }

    /// Ends what runs of services of which nothing is known, of all or of the one with this name, so that none is started
    /// twice. The result are the children that were ended. Where there are no control groups the arguments tell whose process
    /// it is, and its session what it started.
    pub fn end_unclaimed(&mut self, only: Option<&str>) -> Vec<Pid> {
        if self.unclaimed.is_empty() {
            return Vec::new();
        }
        self.groups();
        let mut ended = Vec::new();
        let wanted = |unit: &&Unit| only.is_none_or(|name| unit.name() == name);
        let services = self.machine.services().map(|(_, unit)| unit);
        for (unit, groups) in services.filter(wanted).zip(self.groups.iter().cycle()) {
            let is_of = |(pid, arguments): &mut (Pid, Vec<String>)| match groups.has(unit.name(), *pid) {
                Some(is_in) => is_in,
                None => is_program_of(&unit.config.execution.command, arguments),
            };
            let found: Vec<_> = self.unclaimed.extract_if(.., is_of).map(|(pid, _)| pid).collect();
            if !found.is_empty() || (only.is_none() && unit.pid.is_none()) {
                groups.kill(unit.name());
            }
            for process in found.iter().flat_map(|&pid| running::session(pid).into_iter().chain([pid])) {
                // Gone is what was wanted.
                let _ = process::kill(process, Signal::KILL);
            }
            ended.extend(found);
        }
        ended
    }
}

/// Stricter than for the table's entries, because what is taken for a service's process is killed: of a line that a shell takes
/// apart every argument has to be in it.
fn is_program_of(command: &Command, arguments: &[String]) -> bool {
    match command {
        Command::Line(line) => {
            running::is_program_of(line, arguments) && arguments.iter().skip(1).all(|argument| line.contains(argument))
        }
        Command::Words(words) => running::is_program_of_words(words, arguments),
    }
}

fn write_unit(writer: &mut Writer<'_>, unit: &Unit) {
    let transient = unit.origin == Origin::Transient;
    let (word, deadline, reason) = match &unit.state {
        State::Inactive => ("inactive", None, None),
        State::Starting { deadline } => ("starting", *deadline, None),
        State::Up => ("up", None, None),
        State::Done => ("done", None, None),
        State::Stopping { why, deadline, .. } => (word_of(*why), Some(*deadline), None),
        State::Backoff { until } => ("backoff", Some(*until), None),
        State::Ended => ("ended", None, None),
        State::Failed(reason) => ("failed", None, Some(reason)),
    };
    writer.record(KIND).field("name", unit.name()).field("state", word).time("deadline", deadline);
    writer
        .option("reason", reason)
        .time("changed", Some(unit.changed))
        .option("pid", unit.pid)
        .option("left", unit.leader_pgid);
    writer.flag("wanted", unit.wanted).flag("again", unit.restart_pending).flag("fileless", transient);
    writer.time("started", unit.started).time("ready", unit.ready).time("ended", unit.ended);
    writer.time("first-start", unit.first.started).time("first-ready", unit.first.ready);
    writer.time("first-end", unit.first.ended);
    writer.field("restarts", unit.restarts).field("failures", unit.failures).field("status", &unit.status);
    writer.time("watchdog", unit.watchdog).time("watchdog-at", unit.watchdog_at);
    if transient || unit.removed {
        if let Command::Words(words) = &unit.config.execution.command {
            for (number, word) in words.iter().enumerate().take(WORDS) {
                writer.field(&format!("word{number}"), word);
            }
        }
        for (number, (name, value)) in unit.config.execution.environment.iter().enumerate().take(WORDS) {
            writer.field(&format!("variable{number}"), format_args!("{name}={value}"));
        }
    }
}

fn word_of(why: StopReason) -> &'static str {
    match why {
        StopReason::Asked => "stopping",
        StopReason::StartTimeout => "start-timeout",
        StopReason::Watchdog => "hung",
    }
}

fn read_config(name: &str, record: &Record) -> Config {
    let list =
        |kind: &str| (0..WORDS).map_while(|number| record.get(&format!("{kind}{number}")).map(String::from)).collect();
    let mut config = Config::new(name, Kind::Simple, Command::Words(list("word")));
    let variables: Vec<String> = list("variable");
    let split = |text: &String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    config.execution.environment = variables.iter().filter_map(split).collect();
    config
}

fn read_unit(unit: &mut Unit, record: &Record, now: Duration) {
    let deadline = record.time("deadline");
    let stopping = |why| State::Stopping { why, deadline: deadline.unwrap_or(now), kills: 0 };
    unit.state = match record.get("state") {
        Some("starting") => State::Starting { deadline },
        Some("up") => State::Up,
        Some("done") => State::Done,
        Some("stopping") => stopping(StopReason::Asked),
        Some("start-timeout") => stopping(StopReason::StartTimeout),
        Some("hung") => stopping(StopReason::Watchdog),
        Some("backoff") => State::Backoff { until: deadline.unwrap_or(now) },
        Some("ended") => State::Ended,
        Some("failed") => State::Failed(record.get("reason").unwrap_or_default().into()),
        _ => State::Inactive,
    };
    unit.pid = record.parse("pid").filter(|&pid| pid > 1);
    unit.leader_pgid = record.parse("left").filter(|&pid| pid > 1);
    unit.changed = record.time("changed").unwrap_or(now);
    unit.wanted = record.has("wanted") && !unit.removed;
    unit.restart_pending = record.has("again");
    unit.started = record.time("started");
    unit.ready = record.time("ready");
    unit.ended = record.time("ended");
    let (started, ready, ended) = (record.time("first-start"), record.time("first-ready"), record.time("first-end"));
    unit.first = Life { started, ready, ended };
    unit.restarts = record.parse("restarts").unwrap_or(0);
    unit.failures = record.parse("failures").unwrap_or(0);
    unit.status = record.get("status").unwrap_or_default().into();
    unit.watchdog = record.time("watchdog");
    unit.watchdog_at = record.time("watchdog-at");
    if unit.pid.is_none() && matches!(unit.state, State::Starting { .. } | State::Up) {
        unit.state = State::Inactive;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_services_own_process_is_ended() {
        let words = |list: &[&str]| -> Vec<String> { list.iter().map(|&word| word.into()).collect() };
        let line = Command::Line("/bin/sh -c 'echo a; sleep 5' >/run/x".into());
        assert!(is_program_of(&line, &words(&["/bin/sh", "-c", "echo a; sleep 5"])));
        assert!(!is_program_of(&line, &words(&["/bin/sh", "-c", "echo b"])));
        assert!(is_program_of(&Command::Line("/etc/rc x".into()), &words(&["/bin/sh", "/etc/rc", "x"])));
        let list = Command::Words(words(&["sleep", "5"]));
        assert!(is_program_of(&list, &words(&["sleep", "5"])));
        assert!(!is_program_of(&list, &words(&["sleep", "50"])));
    }
}
