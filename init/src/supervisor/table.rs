//! The table in the supervisor: the boot, ctrl-alt-del and the shutdown go through it, one line after the other. All else about its
//! lines is the state machine's.

use core::time::Duration;

use super::Supervisor;
use crate::handover::checkpoint::{self, Checkpoint};
use crate::log::{info, warn};
use crate::service::state::{Entry, Unit};
use crate::spawn;
use crate::spawn::inittab::{Action, Line};
use crate::sys::process::Pid;
use crate::sys::system;

/// The actions of the boot, in its order.
pub(super) const BOOT: [Action; 3] = [Action::Sysinit, Action::Wait, Action::Once];

impl Supervisor {
    /// Takes the table; nothing of it runs yet.
    pub fn set_lines(&mut self, lines: Vec<Line>) {
        self.services.machine_mut().set_lines(lines, system::uptime());
    }

    /// Takes a new table.
    pub(super) fn change_lines(&mut self, lines: Vec<Line>) {
        for command in self.services.machine_mut().set_lines(lines, system::uptime()) {
            info!("stopping '{command}', which the table no longer has");
        }
    }

    /// The first line with `action`.
    pub fn first_line(&self, action: Action) -> Option<&Line> {
        let lines = self.services.machine().lines().into_iter();
        lines.map(|(_, _, entry)| &entry.line).find(|line| line.action == action)
    }

    /// The running programs that lead a terminal: shells, which SIGTERM does not end.
    pub fn terminal_leaders(&self) -> impl Iterator<Item = Pid> {
        let lines = self.services.machine().lines().into_iter();
        lines.filter(|(_, _, entry)| spawn::leads_terminal(&entry.line)).filter_map(|(_, unit, _)| unit.pid)
    }

    /// The unit of the line at a place of the table.
    fn at(&self, place: usize) -> Option<&Unit> {
        let machine = self.services.machine();
        machine.units().get(machine.line(place)?)
    }

    /// What is known of a line, to change it.
    pub(super) fn entry_mut(&mut self, place: usize) -> Option<&mut Entry> {
        let machine = self.services.machine_mut();
        machine.unit_mut(machine.line(place)?)?.entry_mut()
    }

    /// The places of the lines with `action`.
    pub(super) fn places(&self, action: Action) -> Vec<usize> {
        let lines = self.services.machine().lines();
        lines.iter().filter(|(.., entry)| entry.line.action == action).map(|(.., entry)| entry.place).collect()
    }

    /// Runs all lines with `action`, one after the other, each for at most `limit`; a request to go down ends it early
    /// when `interruptible`.
    pub fn run_all(&mut self, action: Action, limit: Option<Duration>, interruptible: bool) {
        // Also from within itself: ctrl-alt-del during another line.
        let walking = core::mem::replace(&mut self.walking, true);
        for place in self.places(action) {
            if interruptible && self.goal().is_some() {
                break;
            }
            let start = system::uptime();
            if self.start(place) {
                self.wait_for(place, limit, interruptible);
                if matches!(action, Action::Sysinit | Action::Wait) {
                    self.timeline.add(self.command(place), start, system::uptime());
                }
            }
        }
        self.walking = walking;
    }

    fn command(&self, place: usize) -> String {
        self.at(place).and_then(Unit::entry).map(|entry| entry.line.command.clone()).unwrap_or_default()
    }

    fn wait_for(&mut self, place: usize, limit: Option<Duration>, interruptible: bool) {
        let deadline = limit.map(|limit| system::uptime() + limit);
        while self.at(place).is_some_and(|unit| unit.pid.is_some()) {
            if interruptible && self.goal().is_some() {
                return;
            }
            if deadline.is_some_and(|deadline| system::uptime() >= deadline) {
                warn!("'{}' does not end; going on without it", self.command(place));
                return;
            }
            if interruptible {
                self.run_ctrl_alt_del();
            }
            self.step(deadline);
        }
    }

    /// Waits for what the boot waited for when the program before this one had its fault.
    pub(super) fn wait_for_begun(&mut self, action: Action) {
        for place in self.places(action) {
            if self.at(place).and_then(Unit::entry).is_some_and(|entry| entry.begun) {
                self.wait_for(place, None, true);
            }
        }
    }

    /// Starts all lines with `action`, and waits for none.
    pub(super) fn start_all(&mut self, action: Action) {
        for place in self.places(action) {
            self.start(place);
        }
    }

    pub(super) fn run_ctrl_alt_del(&mut self) {
        if core::mem::take(&mut self.wanted.ctrl_alt_del) {
            info!("ctrl-alt-del");
            self.run_all(Action::CtrlAltDel, None, true);
        }
    }

    /// A line has its turn. Returns whether that starts its program: the boot never starts one twice.
    fn start(&mut self, place: usize) -> bool {
        let Some(index) = self.services.machine().line(place) else {
            return false;
        };
        if self.at(place).is_some_and(|unit| unit.pid.is_some()) || !self.begin(place) {
            return false;
        }
        let (services, mut cx) = self.services();
        services.start_line(index, &mut cx);
        self.note_first_process();
        true
    }

    /// The boot comes to a line, which a program after a fault then does not start again. Returns whether it was not there before.
    fn begin(&mut self, place: usize) -> bool {
        let Some(entry) = self.entry_mut(place).filter(|entry| BOOT.contains(&entry.line.action)) else {
            return true;
        };
        if core::mem::replace(&mut entry.begun, true) {
            return false;
        }
        let begun = self.services.machine().lines().iter().filter(|(.., entry)| entry.begun).count();
        checkpoint::reach(Checkpoint::started(begun));
        true
    }

    /// Tells how long the boot took when its first program has started.
    pub(super) fn note_first_process(&mut self) {
        if let (Some(now), Some(since)) = (self.services.first_line(), self.awaiting_first) {
            self.awaiting_first = None;
            self.timeline.first_process = Some(now);
            let own = (system::uptime() - since).as_millis();
            info!("{own} ms to first process, {} ms after the kernel started", now.as_millis());
        }
    }
}
