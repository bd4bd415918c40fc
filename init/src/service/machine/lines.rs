//! The lines of inittab in the state machine: units without a name, which nothing needs and which need nothing. Those of `respawn`
//! and `askfirst` run for as long as the machine may run lines. The others run when the boot, the shutdown or ctrl-alt-del comes
//! to them ([`Machine::begin_line`]).

use core::time::Duration;

use super::Machine;
use crate::event::backoff;
use crate::log::Level;
use crate::service::config::Config;
use crate::service::state::{Action, Entry, Origin, State, StopReason, Unit};
use crate::spawn::console;
use crate::spawn::inittab::Line;
use crate::sys::Errno;
use crate::sys::process::Pid;

impl Unit {
    /// A line that has not run yet.
    pub fn of_line(line: Line, place: usize, now: Duration) -> Unit {
        let config = Config::of_line(&line);
        let wanted = line.action.respawns();
        let origin = Origin::Line(Entry { line, place, begun: false, absent: false });
        Unit { origin, wanted, stream: u32::MAX, ..Unit::new(config, now) }
    }
}

impl Machine {
    /// The lines in the order of the table, each with its index among the units.
    pub fn lines(&self) -> Vec<(usize, &Unit, &Entry)> {
        let mut lines: Vec<(usize, &Unit, &Entry)> = Vec::new();
        for (index, unit) in self.units.iter().enumerate() {
            if let Some(entry) = unit.entry() {
                // Nearly always the last.
                let at = lines.iter().rposition(|(_, _, other)| other.place < entry.place).map_or(0, |at| at + 1);
                lines.insert(at, (index, unit, entry));
            }
        }
        lines
    }

    /// The index of the line at a place of the table.
    pub fn line(&self, place: usize) -> Option<usize> {
        self.units.iter().position(|unit| unit.entry().is_some_and(|entry| entry.place == place))
    }

    /// Lets lines start again, or not.
    pub fn run_lines(&mut self, run: bool) {
        self.runs_lines = run;
    }

    /// Takes a table, at boot and for a reload. Returns the commands of the processes that are told to end.
    ///
    /// A line with the same terminal and command keeps its process and takes the new action (busybox has the same rule). A line
    /// that is gone goes behind the others, and for good when its process has ended.
    pub fn set_lines(&mut self, lines: Vec<Line>, now: Duration) -> Vec<String> {
        let mut old: Vec<usize> = self.lines().into_iter().map(|(index, ..)| index).collect();
        let count = lines.len();
        self.units.reserve(count);
        for (place, line) in lines.into_iter().enumerate() {
            let same = |unit: &Unit| {
                unit.entry().is_some_and(|old| old.line.terminal == line.terminal && old.line.command == line.command)
            };
            let known = old.iter().position(|&index| self.units.get(index).is_some_and(same));
            match known.map(|at| old.remove(at)).and_then(|index| self.units.get_mut(index)) {
                Some(unit) => take_line(unit, line, place, now),
                None => self.units.push(Unit::of_line(line, place, now)),
            }
        }
        let mut ending = Vec::new();
        for (place, index) in (count..).zip(old) {
            let Some(unit) = self.units.get_mut(index) else {
                continue;
            };
            let Some(entry) = unit.entry_mut() else {
                continue;
            };
            entry.place = place;
            let respawns = entry.line.action.respawns();
            // A program that runs once runs to its end.
            if respawns && unit.pid.is_some() && unit.wanted {
                ending.extend(unit.entry().map(|entry| entry.line.command.clone()));
            }
            unit.wanted &= !respawns;
            unit.restart_pending = false;
            unit.removed = true;
        }
        ending
    }

    /// Adds a line behind the others: one that another program of PID 1 knew.
    pub fn push_line(&mut self, mut unit: Unit) {
        if let Some(entry) = unit.entry_mut() {
            entry.place = self.lines().last().map_or(0, |(_, _, last)| last.place + 1);
        }
        self.units.push(unit);
    }

    /// Replaces the lines that would start again and do not run by this one.
    pub fn rescue(&mut self, line: Line, now: Duration) {
        for unit in &mut self.units {
            let respawns = unit.entry().is_some_and(|entry| entry.line.action.respawns());
            if respawns && unit.pid.is_none() {
                unit.wanted = false;
                unit.removed = true;
            }
        }
        self.push_line(Unit::of_line(line, 0, now));
    }

    /// A line is started by its turn, whatever it is.
    pub fn begin_line(&mut self, index: usize, now: Duration) {
        if let Some(unit) = self.units.get_mut(index) {
            unit.wanted = true;
            unit.go(State::Starting { deadline: None }, now);
        }
    }

    /// The process of a line was found running.
    pub fn line_runs(&mut self, index: usize, pid: Pid, now: Duration) {
        if let Some(unit) = self.units.get_mut(index) {
            unit.wanted = true;
            unit.pid = Some(pid);
            unit.note_start(now);
            unit.go(State::Up, now);
        }
    }

    /// The process of a line could not be started. One that runs all the time is tried again.
    pub fn line_not_started(&mut self, index: usize, error: Errno, now: Duration) {
        let Some(unit) = self.units.get_mut(index) else {
            return;
        };
        unit.failures = unit.failures.saturating_add(1);
        let failures = unit.failures;
        let Some(Entry { line, absent, .. }) = unit.entry_mut() else {
            return;
        };
        let (command, respawns) = (line.command.clone(), line.action.respawns());
        let said = if console::is_absent(error) {
            let name = if line.terminal.is_empty() { "console" } else { &line.terminal };
            let text = format!("'{command}' waits for its terminal /dev/{name}, which is not there ({error})");
            (!core::mem::replace(absent, true)).then_some((Level::Info, text))
        } else {
            let next = if respawns { "it is tried again" } else { "going on without it" };
            let text = format!("cannot start '{command}': {error}; {next}");
            backoff::worth_saying(failures).then_some((Level::Error, text))
        };
        unit.wanted = respawns && !unit.removed;
        let until = now + backoff::between_starts(failures);
        unit.go(if respawns { State::Backoff { until } } else { State::Ended }, now);
        self.actions.extend(said.map(|(level, text)| Action::Tell(index, level, text)));
    }

    /// A terminal came: the lines that wait for it start.
    pub fn terminal_came(&mut self, name: &str, now: Duration) {
        for unit in &mut self.units {
            if unit.entry().is_some_and(|entry| entry.absent && entry.line.terminal == name)
                && let State::Backoff { until } = &mut unit.state
            {
                *until = now;
                unit.failures = 0;
            }
        }
    }
}

/// Gives a unit its line in the new table.
fn take_line(unit: &mut Unit, line: Line, place: usize, now: Duration) {
    let respawns = line.action.respawns();
    unit.config = Config::of_line(&line);
    if let Some(entry) = unit.entry_mut() {
        (entry.line, entry.place) = (line, place);
    }
    unit.removed = false;
    match unit.state {
        // It was told to end, as a line that was gone.
        State::Stopping { why: StopReason::Asked, .. } => unit.restart_pending = respawns,
        State::Ended | State::Failed(_) if respawns => {
            unit.wanted = true;
            unit.go(State::Inactive, now);
        }
        _ if unit.pid.is_none() => unit.wanted = respawns,
        _ => unit.wanted = true,
    }
}
