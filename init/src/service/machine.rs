//! The state machine of all services and of the lines of inittab: what happened goes in, what is to be done comes out. Pure code:
//! the runner calls it, does its [`Action`]s, and tells it the time. The moves from state to state are in [`advance`], what
//! people ask for in [`requests`], and what is particular to lines in [`lines`].

mod advance;
mod lines;
mod requests;

use core::time::Duration;
use std::collections::VecDeque;

use super::config::{Kind, StopMode};
use super::notify::Message;
use super::state::{Action, State, StopReason, Unit};
use crate::sys::process::{Exit, Pid};
use advance::seconds;

pub(super) use advance::UNKILLABLE;
pub use requests::Changes;

/// A service can make one stop so much longer than its stop-timeout, and not at all when the system goes down.
const MOST_EXTENSION: Duration = Duration::from_secs(600);

/// Why a daemon that goes to the background does not run: PID 1 watches the process that it started.
const FORKED: &str = "it went to the background, where it is not watched (exit code 0, and processes that it left were ended); hint: \
                      start it with its option for the foreground, often -F, -f, -D, -n or --foreground";
/// A process that lived longer did not start to go to the background.
const FORKS_WITHIN: Duration = Duration::from_secs(10);
/// The status of a service that has said so, until it is ready again.
const RELOADS: &str = "reads its configuration again";

/// All services and lines.
#[derive(Debug)]
pub struct Machine {
    pub(super) units: Vec<Unit>,
    pub(super) actions: VecDeque<Action>,
    /// For services without a stop timeout of their own.
    pub(super) grace: Duration,
    /// Nothing starts until this is over.
    pub(super) paused: bool,
    /// Nothing starts any more.
    pub(super) closing: bool,
    /// Lines start again; while the boot or the shutdown goes through the table they do not.
    pub(super) runs_lines: bool,
    /// For each service, whether it waits for one that will not come by itself.
    blocked: Vec<bool>,
}

impl Machine {
    /// No services yet. `grace` is the usual time between stop signal and SIGKILL.
    pub fn new(grace: Duration) -> Machine {
        Machine {
            units: Vec::new(),
            actions: VecDeque::new(),
            grace,
            paused: false,
            closing: false,
            runs_lines: false,
            blocked: Vec::new(),
        }
    }

    /// The services and lines.
    pub fn units(&self) -> &[Unit] {
        &self.units
    }

    /// The services, each with its index among the units.
    pub fn services(&self) -> impl Iterator<Item = (usize, &Unit)> {
        self.units.iter().enumerate().filter(|(_, unit)| unit.is_service())
    }

    /// One unit, for its runner's own notes.
    pub fn unit_mut(&mut self, index: usize) -> Option<&mut Unit> {
        self.units.get_mut(index)
    }

    /// The index of the service `name`.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.services().find(|(_, unit)| unit.name() == name).map(|(index, _)| index)
    }

    /// Holds all starts back, or lets them go on.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// When [`Machine::tick`] has to be called without any event.
    pub fn deadline(&self) -> Option<Duration> {
        let counts = |unit: &&Unit| !(matches!(unit.state, State::Backoff { .. }) && self.holds(unit));
        self.units.iter().filter(counts).filter_map(Unit::deadline).min()
    }

    /// Whether a unit does not start now.
    fn holds(&self, unit: &Unit) -> bool {
        self.paused || self.closing || !(self.runs_lines || unit.is_service())
    }

    /// Moves every service as far as it can go without another event. Returns whether one moved.
    pub fn tick(&mut self, now: Duration) -> bool {
        let mut any = false;
        loop {
            self.find_blocked();
            let mut moved = false;
            for index in 0..self.units.len() {
                moved |= self.advance(index, now);
            }
            any |= moved;
            if !moved {
                return any;
            }
        }
    }

    /// What is to be done next.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The process of a service was started.
    pub fn started(&mut self, index: usize, pid: Pid, now: Duration) {
        let Some(unit) = self.units.get_mut(index) else {
            return;
        };
        unit.pid = Some(pid);
        unit.note_start(now);
        unit.starts.count(now, unit.config.restart.interval);
        unit.watchdog = unit.config.watchdog;
        if let Some(entry) = unit.entry_mut() {
            entry.absent = false;
        }
        if unit.config.kind == Kind::Simple {
            become_ready(unit, now);
        }
    }

    /// The process of a service could not be started. `passing` tells that it may work later.
    pub fn not_started(&mut self, index: usize, reason: String, passing: bool, now: Duration) {
        if let Some(unit) = self.units.get_mut(index) {
            unit.note_start(now);
        }
        if passing {
            self.postponed(index, reason, now);
        } else {
            self.give_up(index, reason, now);
        }
    }

    /// The process `pid` ended without having run its program. Where a service waited for that, all is as if it had not been
    /// started; returns false where none did.
    pub fn not_run(&mut self, pid: Pid, reason: String, passing: bool, now: Duration) -> bool {
        let waits = |unit: &Unit| unit.pid == Some(pid) && unit.wanted && !matches!(unit.state, State::Stopping { .. });
        let Some(index) = self.units.iter().position(waits) else {
            return false;
        };
        if let Some(unit) = self.units.get_mut(index) {
            unit.pid = None;
            unit.watchdog_at = None;
            unit.starts.uncount();
            // It never was, if it seemed to be.
            if let Some(ready) = unit.ready.take() {
                unit.first.ready = unit.first.ready.filter(|first| *first != ready);
            }
        }
        self.not_started(index, reason, passing, now);
        true
    }

    /// The main process of a service is about to be said to have ended with exit code 0, and there are processes that it left.
    pub fn left_others(&mut self, pid: Pid, now: Duration) {
        let unit = self.units.iter_mut().find(|unit| unit.pid == Some(pid));
        if let Some(unit) = unit.filter(|unit| unit.is_service() && unit.config.kind != Kind::Oneshot) {
            let lived = now.saturating_sub(unit.started.unwrap_or(now));
            unit.forked = unit.wanted && unit.config.stop_mode != StopMode::Main && lived < FORKS_WITHIN;
        }
    }

    /// A process ended. Returns the unit whose main process it was. Nothing is done about what a line's process has started.
    pub fn exited(&mut self, pid: Pid, exit: Exit, now: Duration) -> Option<usize> {
        let index = self.units.iter().position(|unit| unit.pid == Some(pid))?;
        let unit = self.units.get_mut(index)?;
        unit.pid = None;
        unit.note_end(now);
        unit.watchdog_at = None;
        let is_service = unit.is_service();
        if matches!(unit.state, State::Stopping { .. }) && !is_service {
            self.stopped(index, now);
            return Some(index);
        }
        if matches!(unit.state, State::Stopping { .. }) {
            unit.leader_pgid = Some(pid);
            self.actions.push_back(Action::EndRest(index));
            return Some(index);
        }
        let done =
            matches!(unit.state, State::Starting { .. }) && unit.config.kind == Kind::Oneshot && exit == Exit::Code(0);
        if is_service && !(done && unit.wanted) {
            // Processes left by a finished oneshot are its result and stay until it is stopped.
            self.actions.push_back(Action::Sweep(index, pid));
        }
        match unit.state {
            _ if !unit.wanted => self.stopped(index, now),
            State::Starting { .. } if done => {
                unit.note_ready(now);
                unit.failures = 0;
                unit.go(State::Done, now);
            }
            State::Starting { .. } if unit.config.kind == Kind::Notify => {
                let forked = core::mem::take(&mut unit.forked);
                let reason = if forked { FORKED.into() } else { format!("it ended before it was ready ({exit})") };
                self.failed(index, reason, now);
            }
            _ => self.ended(index, exit, now),
        }
        Some(index)
    }

    /// A service that stops has no process any more.
    pub fn emptied(&mut self, index: usize, now: Duration) {
        let Some(unit) = self.units.get_mut(index) else {
            return;
        };
        unit.leader_pgid = None;
        match unit.state {
            State::Stopping { why: StopReason::Asked, .. } => self.stopped(index, now),
            State::Stopping { why: StopReason::Watchdog, .. } => {
                self.failed(index, "watchdog timeout".into(), now);
            }
            State::Stopping { why: StopReason::StartTimeout, .. } => {
                let limit = unit.config.start_timeout.unwrap_or_default();
                self.failed(index, format!("it was not ready within {}", seconds(limit)), now);
            }
            _ => {}
        }
    }

    /// A service said something on its notification socket.
    pub fn notified(&mut self, index: usize, message: Message, now: Duration) {
        let Some(unit) = self.units.get_mut(index) else {
            return;
        };
        match (message, &mut unit.state) {
            (Message::Ready, State::Starting { .. }) if unit.config.kind == Kind::Notify => become_ready(unit, now),
            (Message::Ready, State::Up) if unit.status == RELOADS => unit.status.clear(),
            (Message::Status(text), _) => unit.status = text,
            (Message::Reloading, _) => unit.status = RELOADS.into(),
            (Message::Stopping, _) => unit.status = "ends".into(),
            (Message::MainPid(pid), _) if unit.pid.is_some() => unit.pid = Some(pid),
            (Message::Alive, State::Up) => unit.watchdog_at = unit.watchdog.map(|time| now + time),
            (Message::Hung, State::Up) => unit.watchdog_at = Some(now),
            (Message::WatchdogInterval(time), state) => {
                unit.watchdog = Some(time);
                unit.watchdog_at = (*state == State::Up).then_some(now + time);
            }
            (Message::Extend(time), State::Starting { deadline: Some(deadline) }) => {
                *deadline = (*deadline).max(now + time);
            }
            (Message::Extend(time), State::Stopping { deadline, kills: 0, .. }) if !self.closing => {
                let usual = unit.changed + unit.config.stop_timeout.unwrap_or(self.grace);
                *deadline = (now + time).min(usual + MOST_EXTENSION).max(*deadline);
            }
            _ => {}
        }
    }

    /// The service that this one waits for before it can start.
    pub fn waits_for(&self, index: usize) -> Option<usize> {
        let links = &self.units.get(index)?.links;
        let needed = links.needs.iter().find(|&&other| !self.units.get(other).is_some_and(Unit::serves));
        needed.or_else(|| links.after.iter().find(|&&other| self.is_on_the_way(other))).copied()
    }

    /// Whether a service waits for one that will not come by itself.
    pub fn is_blocked(&self, index: usize) -> bool {
        self.blocked.get(index).copied().unwrap_or(false)
    }

    /// Whether a service will come up without anybody's help: those after it wait for that.
    fn is_on_the_way(&self, index: usize) -> bool {
        let Some(unit) = self.units.get(index) else {
            return false;
        };
        unit.will_run()
            && match unit.state {
                State::Inactive => unit.refusal().is_none() && !self.is_blocked(index),
                State::Starting { .. } | State::Stopping { .. } => true,
                // One that failed had its turn.
                State::Backoff { .. } | State::Up | State::Done | State::Ended | State::Failed(_) => false,
            }
    }

    fn find_blocked(&mut self) {
        self.blocked.clear();
        self.blocked.resize(self.units.len(), false);
        let mut changed = true;
        while changed {
            changed = false;
            for (index, unit) in self.units.iter().enumerate() {
                let stands = |&other: &usize| {
                    self.units.get(other).is_some_and(|need| match need.state {
                        // It stops only to start again.
                        _ if need.restart_pending => false,
                        _ if !need.wanted || need.refusal().is_some() => !need.is_up(),
                        State::Inactive => self.blocked.get(other) == Some(&true),
                        State::Backoff { .. } | State::Ended | State::Failed(_) => true,
                        _ => false,
                    })
                };
                let blocked = unit.links.needs.iter().any(stands);
                if let Some(place) = self.blocked.get_mut(index)
                    && blocked
                    && !*place
                {
                    *place = true;
                    changed = true;
                }
            }
        }
    }
}

fn become_ready(unit: &mut Unit, now: Duration) {
    unit.note_ready(now);
    unit.watchdog_at = unit.watchdog.map(|time| now + time);
    unit.go(State::Up, now);
}

#[cfg(test)]
mod tests;
