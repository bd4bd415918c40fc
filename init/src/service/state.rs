//! A unit's state, and what the state machine wants done. Pure data; [`super::machine`] changes it.

use core::fmt;
use core::time::Duration;

use super::config::Config;
use super::graph::Links;
use super::start_limit::StartLimit;
use crate::log::Level;
use crate::spawn::inittab::Line;
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

/// Why a service is told to end.
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

/// Where a unit comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File,
    /// Somebody in this program, who asked for it.
    Transient,
    /// A line of inittab.
    Line(Entry),
}

/// A line of inittab, and what is known of it beside its process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The line.
    pub line: Line,
    /// Its place in the table.
    pub place: usize,
    /// The boot has come to it, now or before a fault of init.
    pub begun: bool,
    /// Its terminal is missing, and that was said.
    pub absent: bool,
}

/// A service or a line of inittab, and all that is known about it. Times are those since the machine's start.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Where it comes from.
    pub origin: Origin,
    /// How it runs: the settings that its process was started with.
    pub config: Config,
    /// Settings that hold from its next start on. Elsewhere, because few units have them and each would take twice the memory.
    pub next: Option<Box<Config>>,
    /// Its stream in the logs.
    pub stream: u32,
    /// Its place among the others.
    pub links: Links,
    /// Its file is faulty, which is why it cannot start.
    pub faulty: Option<String>,
    /// Its file or line is gone: it goes too when it has ended.
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
    /// Its process ended well and left others behind: a daemon went to the background.
    pub forked: bool,
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
    /// A service with a file, which has not run yet.
    pub fn new(config: Config, now: Duration) -> Unit {
        Unit {
            origin: Origin::File,
            config,
            next: None,
            stream: 0,
            links: Links::default(),
            faulty: None,
            removed: false,
            state: State::Inactive,
            changed: now,
            wanted: false,
            restart_pending: false,
            pid: None,
            leader_pgid: None,
            status: String::new(),
            started: None,
            forked: false,
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

    /// A service's name; a line has none.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Its line, and what is known of that; nothing for a service.
    pub fn entry(&self) -> Option<&Entry> {
        match &self.origin {
            Origin::Line(entry) => Some(entry),
            Origin::File | Origin::Transient => None,
        }
    }

    /// The same, to change it.
    pub fn entry_mut(&mut self) -> Option<&mut Entry> {
        match &mut self.origin {
            Origin::Line(entry) => Some(entry),
            Origin::File | Origin::Transient => None,
        }
    }

    /// Whether it is a service.
    pub fn is_service(&self) -> bool {
        self.entry().is_none()
    }

    /// Its name in messages.
    pub fn label(&self) -> impl fmt::Display + '_ {
        Label(self)
    }

    /// The settings of its next start.
    pub fn latest(&self) -> &Config {
        self.next.as_deref().unwrap_or(&self.config)
    }

    /// Why it cannot start at all.
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

struct Label<'a>(&'a Unit);

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.entry() {
            Some(entry) => write!(f, "'{}'", entry.line.command),
            None => f.write_str(self.0.name()),
        }
    }
}

/// A request of the machine to its runner; the number is the unit's index in the list.
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
