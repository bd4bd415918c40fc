//! The moves of the state machine from state to state: see [`super`].

use core::time::Duration;

use super::{FORKED, Machine};
use crate::event::backoff;
use crate::log::Level;
use crate::service::config::{Kind, Policy};
use crate::service::state::{Action, State, StopReason, Unit};
use crate::sys::process::Exit;
use crate::sys::signal::Signal;

/// How long a killed process may take to go; longer is one that hangs in the kernel.
const KILL_LIMIT: Duration = Duration::from_secs(5);
/// How often it is killed before it is given up.
const KILLS: u32 = 2;

/// Why a stop has failed.
pub(in crate::service) const UNKILLABLE: &str = "its process cannot be killed";

impl Machine {
    /// Moves one service a step; returns whether there was one to go.
    pub(super) fn advance(&mut self, index: usize, now: Duration) -> bool {
        let Some(unit) = self.units.get(index) else {
            return false;
        };
        let held = self.holds(unit);
        match unit.state {
            State::Inactive if unit.wanted && !held => return self.start_if_possible(index, now),
            State::Backoff { .. } if !unit.wanted => self.stopped(index, now),
            State::Backoff { until } if until <= now && !held => self.go(index, State::Inactive, now),
            State::Starting { .. } | State::Up | State::Done if !unit.wanted && self.may_stop(index) => {
                self.tell_to_end(index, StopReason::Asked, now);
            }
            State::Starting { deadline: Some(deadline) } if deadline <= now => {
                self.tell_to_end(index, StopReason::StartTimeout, now);
            }
            State::Up if unit.watchdog_at.is_some_and(|time| time <= now) => {
                self.tell_to_end(index, StopReason::Watchdog, now);
            }
            State::Stopping { why, deadline, kills } if deadline <= now => self.kill(index, why, kills, now),
            _ => return false,
        }
        true
    }

    fn go(&mut self, index: usize, state: State, now: Duration) {
        if let Some(unit) = self.units.get_mut(index) {
            unit.go(state, now);
        }
    }

    fn tell(&mut self, index: usize, level: Level, text: String) {
        let text = match self.units.get(index).filter(|unit| !unit.is_service()) {
            Some(line) => format!("{} {text}", line.label()),
            None => text,
        };
        self.actions.push_back(Action::Tell(index, level, text));
    }

    fn start_if_possible(&mut self, index: usize, now: Duration) -> bool {
        if let Some(unit) = self.units.get_mut(index)
            && let Some(reason) = unit.refusal()
        {
            // A faulty file was told about with its lines.
            let level = if unit.faulty.is_some() { Level::Debug } else { Level::Warn };
            let (text, state) = (format!("cannot start: {reason}"), State::Failed(reason.into()));
            unit.wanted = false;
            unit.go(state, now);
            self.tell(index, level, text);
            return true;
        }
        if self.waits_for(index).is_some() {
            return false;
        }
        let Some(unit) = self.units.get_mut(index) else {
            return false;
        };
        if let Some(next) = unit.next.take() {
            unit.config = *next;
        }
        unit.status.clear();
        unit.ready = None;
        unit.ended = None;
        unit.go(State::Starting { deadline: unit.config.start_timeout.map(|limit| now + limit) }, now);
        self.actions.push_back(Action::Start(index));
        true
    }

    /// A service stops after those that were to start after it, when they stop too.
    fn may_stop(&self, index: usize) -> bool {
        let holds = |unit: &Unit| !unit.wanted && unit.is_active() && unit.links.after.contains(&index);
        !self.units.iter().any(holds)
    }

    fn tell_to_end(&mut self, index: usize, why: StopReason, now: Duration) {
        let grace = self.grace;
        let Some(unit) = self.units.get_mut(index) else {
            return;
        };
        // A hung process is asked for its memory image.
        let signal = if why == StopReason::Watchdog { Signal::ABORT } else { unit.config.stop_signal };
        let deadline = now + unit.config.stop_timeout.unwrap_or(grace);
        unit.watchdog_at = None;
        unit.go(State::Stopping { why, deadline, kills: 0 }, now);
        // A task that is done has no main process.
        let running = unit.pid.is_some();
        self.actions.push_back(if running { Action::Signal(index, signal) } else { Action::EndRest(index) });
    }

    fn kill(&mut self, index: usize, why: StopReason, kills: u32, now: Duration) {
        let Some(unit) = self.units.get_mut(index) else {
            return;
        };
        if kills == KILLS {
            // When it ends after all it is an orphan like others.
            unit.pid = None;
            unit.leader_pgid = None;
            return self.give_up(index, UNKILLABLE.into(), now);
        }
        let after = now.saturating_sub(unit.changed);
        // The time of the change stays: it is the one at which it was told to end.
        unit.state = State::Stopping { why, deadline: now + KILL_LIMIT, kills: kills + 1 };
        let text = match unit.pid {
            Some(_) if !unit.is_service() => "did not end and is killed".into(),
            Some(_) => format!("did not end within {} and is killed", seconds(after)),
            None => format!("what it started did not end within {} and is killed", seconds(after)),
        };
        self.actions.push_back(Action::Kill(index));
        self.tell(index, Level::Warn, text);
    }

    /// A stop is complete.
    pub(super) fn stopped(&mut self, index: usize, now: Duration) {
        let Some(unit) = self.units.get_mut(index) else {
            return;
        };
        if core::mem::take(&mut unit.restart_pending) {
            unit.wanted = true;
            unit.count_anew();
        }
        unit.status.clear();
        unit.go(State::Inactive, now);
    }

    /// The process of a service that was up ended by itself.
    pub(super) fn ended(&mut self, index: usize, exit: Exit, now: Duration) {
        let Some(unit) = self.units.get_mut(index) else {
            return;
        };
        let (is_service, oneshot) = (unit.is_service(), unit.config.kind == Kind::Oneshot);
        let forked = core::mem::take(&mut unit.forked);
        if unit.config.restart.policy != Policy::Always && !(is_service && (oneshot || !is_clean(exit))) {
            unit.wanted = false;
            unit.go(State::Ended, now);
            if forked {
                unit.status = FORKED.into();
                self.tell(index, Level::Warn, FORKED.into());
            } else if is_service {
                self.tell(index, Level::Debug, format!("ended ({exit})"));
            }
            return;
        }
        let lived = now.saturating_sub(unit.started.unwrap_or(now));
        let reason = match is_service {
            true if forked => FORKED.into(),
            true => format!("it ended after {} ({exit})", seconds(lived)),
            false => format!("ended after {} ms ({exit})", lived.as_millis()),
        };
        self.failed(index, reason, now);
    }

    /// A service does not run, though it should, because of `reason`: it starts again, if it may.
    pub(super) fn failed(&mut self, index: usize, reason: String, now: Duration) {
        let Some(unit) = self.units.get_mut(index) else {
            return;
        };
        if !unit.wanted {
            return self.stopped(index, now);
        }
        let restart = unit.config.restart;
        if restart.policy == Policy::Never {
            return self.give_up(index, reason, now);
        }
        if !unit.starts.allows(now, restart.limit, restart.interval) {
            let (limit, interval) = (restart.limit, seconds(restart.interval));
            let text = format!("{reason}; start limit reached ({limit} starts in {interval}); giving up");
            return self.give_up(index, text, now);
        }
        let lived = now.saturating_sub(unit.started.unwrap_or(now));
        unit.failures = if lived < restart.steady { unit.failures.saturating_add(1) } else { 0 };
        unit.restarts = unit.restarts.saturating_add(1);
        let since = if restart.since_start { now.saturating_sub(lived) } else { now };
        let until = since + restart.wait(unit.failures);
        if unit.is_service() {
            return self.back_off(index, reason, until, now);
        }
        unit.go(State::Backoff { until }, now);
        // One short life may be a person who pressed Ctrl-D.
        if unit.failures > 1 && backoff::worth_saying(unit.failures) {
            let (count, wait) = (unit.failures, restart.wait(unit.failures).as_secs());
            self.tell(index, Level::Warn, format!("{reason} {count} times in a row; one start in {wait} s"));
        }
    }

    /// A service could not be started, for a reason that passes: it is tried again until it runs.
    pub(super) fn postponed(&mut self, index: usize, reason: String, now: Duration) {
        let Some(unit) = self.units.get_mut(index) else {
            return;
        };
        if !unit.wanted {
            return self.stopped(index, now);
        }
        unit.failures = unit.failures.saturating_add(1);
        // Its own delay may be none, and what is missing does not come sooner by asking all the time.
        let until = now + backoff::between_starts(unit.failures);
        self.back_off(index, reason, until, now);
    }

    fn back_off(&mut self, index: usize, reason: String, until: Duration, now: Duration) {
        let Some(unit) = self.units.get_mut(index) else {
            return;
        };
        let said = unit.failures == 0 || backoff::worth_saying(unit.failures);
        unit.go(State::Backoff { until }, now);
        unit.status.clone_from(&reason);
        let when = if until <= now { "at once".into() } else { format!("in {}", seconds(until - now)) };
        self.tell(index, if said { Level::Warn } else { Level::Debug }, format!("{reason}; it starts again {when}"));
    }

    /// A service does not run, because of `reason`, until somebody asks for it.
    pub(super) fn give_up(&mut self, index: usize, reason: String, now: Duration) {
        let Some(unit) = self.units.get_mut(index) else {
            return;
        };
        unit.wanted = core::mem::take(&mut unit.restart_pending);
        unit.status.clear();
        unit.go(State::Failed(reason.clone()), now);
        self.tell(index, Level::Warn, format!("failed: {reason}"));
    }
}

/// Whether an end that nobody asked for is a good one: exit code 0, or a signal by which programs are told to end.
fn is_clean(exit: Exit) -> bool {
    let asked = [Signal::TERM, Signal::INT, Signal::HUP, Signal::PIPE];
    match exit {
        Exit::Code(code) => code == 0,
        Exit::Signal(number) => asked.iter().any(|signal| signal.as_raw() == number),
    }
}

/// A time for people: `250 ms`, `3 s`.
pub(super) fn seconds(time: Duration) -> String {
    match time.as_millis() {
        short @ ..2000 if short % 1000 != 0 => format!("{short} ms"),
        _ => format!("{} s", time.as_secs()),
    }
}
