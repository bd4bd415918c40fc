//! A service's state, and what the state machine wants done. Pure data; [`super::machine`] changes it.

use core::time::Duration;

use super::config::Config;
use super::graph::Links;
use super::start_limit::StartLimit;
use crate::log::Level;
use crate::sys::process::Pid;
use crate::sys::signal::Signal;

/// Where a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing runs. A service that is wanted waits for others.
    Inactive,
    /// Its process runs, or is about to, and it is not ready.
    Starting {
        /// It is given up then.
        deadline: Option<Duration>,
    },
    /// It runs and is ready.
    Up,
    /// A oneshot service has done its task.
    Done,
    /// It was told to end, and is here until all its processes have.
    Stopping {
        /// Why.
        why: StopReason,
        /// The next step is taken then, if it has not ended.
        deadline: Duration,
        /// How often it was killed already.
        kills: u32,
    },
    /// It ended and starts again.
    Backoff {
        /// Then.
        until: Duration,
    },
    /// It ended well and does not start again.
    Ended,
    /// It does not run, for this reason, until somebody asks for it.
    Failed(String),
}

/// StopReason a service is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Somebody asked for it.
    Asked,
    /// It was not ready in time.
    StartTimeout,
    /// It did not say in time that it is alive.
    Watchdog,
}

/// The times of a service's first process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// When it was started.
    pub started: Option<Duration>,
    /// When the service was ready for the first time, perhaps with a later process.
    pub ready: Option<Duration>,
    /// When it ended.
    pub ended: Option<Duration>,
}

/// A service and all that is known about it. Times are those since the machine's start.
#[derive(Clone, Debug)]
pub struct Unit {
    /// How it runs: the settings that its process was started with.
    pub config: Config,
    /// Settings that hold from its next start on.
    pub next: Option<Config>,
    /// Its stream in the logs.
    pub stream: u32,
    /// Its place among the others.
    pub links: Links,
    /// Its file is faulty, which is why it cannot start.
    pub faulty: Option<String>,
    /// It has no file: somebody in this program asked for it.
    pub transient: bool,
    /// Its file is gone: it goes too when it has ended.
    pub removed: bool,
    /// Where it is.
    pub state: State,
    /// When it came there.
    pub changed: Duration,
    /// It should run.
    pub wanted: bool,
    /// It should run when it has stopped.
    pub restart_pending: bool,
    /// Its main process. A service that stops may have none, and still processes that the main one started.
    pub pid: Option<Pid>,
    /// The process group of a main process that has ended, while the service stops.
    pub leader_pgid: Option<Pid>,
    /// What it says about itself.
    pub status: String,
    /// When its process was last started.
    pub started: Option<Duration>,
    /// When it was last ready.
    pub ready: Option<Duration>,
    /// When its process last ended.
    pub ended: Option<Duration>,
    /// Its first life, for the table of the boot.
    pub first: Life,
    /// How often it was started again after it ended by itself.
    pub restarts: u32,
    /// Short lives in a row.
    pub failures: u32,
    /// See [`StartLimit`].
    pub starts: StartLimit,
    /// How often it says that it is alive.
    pub watchdog: Option<Duration>,
    /// When it must have said so.
    pub watchdog_at: Option<Duration>,
}

impl Unit {
    /// A service that has not run yet.
    pub fn new(config: Config, now: Duration) -> Unit {
        Unit {
            config,
            next: None,
            stream: 0,
            links: Links::default(),
            faulty: None,
            transient: false,
            removed: false,
            state: State::Inactive,
            changed: now,
            wanted: false,
            restart_pending: false,
            pid: None,
            leader_pgid: None,
            status: String::new(),
            started: None,
            ready: None,
            ended: None,
            first: Life::default(),
            restarts: 0,
            failures: 0,
            starts: StartLimit::default(),
            watchdog: None,
            watchdog_at: None,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// The settings of its next start.
    pub fn latest(&self) -> &Config {
        self.next.as_ref().unwrap_or(&self.config)
    }

    /// StopReason it cannot start at all.
    pub fn refusal(&self) -> Option<&str> {
        self.faulty.as_deref().or(self.links.refused.as_deref())
    }

    /// Whether others may rely on it.
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up | State::Done)
    }

    /// Whether it should run, now or when it has stopped.
    pub fn will_run(&self) -> bool {
        self.wanted || self.restart_pending
    }

    /// Whether there is something to stop.
    pub fn is_active(&self) -> bool {
        matches!(self.state, State::Starting { .. } | State::Up | State::Done | State::Stopping { .. })
    }

    /// Whether others that need it may run.
    pub fn serves(&self) -> bool {
        self.is_up() && self.wanted
    }

    /// Its process is started.
    pub fn note_start(&mut self, now: Duration) {
        self.started = Some(now);
        self.first.started.get_or_insert(now);
    }

    /// It is ready.
    pub fn note_ready(&mut self, now: Duration) {
        self.ready = Some(now);
        self.first.ready.get_or_insert(now);
    }

    /// Its main process has ended.
    pub fn note_end(&mut self, now: Duration) {
        self.ended = Some(now);
        self.first.ended.get_or_insert(now);
    }

    /// Forgets earlier starts and failures: somebody asked for it.
    pub fn count_anew(&mut self) {
        self.starts = StartLimit::default();
        self.failures = 0;
    }

    /// Changes its state.
    pub fn go(&mut self, state: State, now: Duration) {
        self.state = state;
        self.changed = now;
    }

    /// When the machine has to look at it without any event.
    pub fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::Starting { deadline } => deadline,
            State::Up => self.watchdog_at,
            State::Stopping { deadline, .. } => Some(deadline),
            State::Backoff { until } => Some(until),
            _ => None,
        }
    }
}

/// A request of the machine to its runner; the number is the service's index in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start its process, then call `started` or `not_started`.
    Start(usize),
    /// Send its main process, and what belongs to it, a signal.
    Signal(usize, Signal),
    /// Kill everything that belongs to it.
    Kill(usize),
    /// Its main process, this one, ended by itself: kill what it left behind.
    Sweep(usize, Pid),
    /// It stops and has no main process any more: tell the rest to end, and call `emptied` when there is none.
    EndRest(usize),
    /// Tell people.
    Tell(usize, Level, String),
}
