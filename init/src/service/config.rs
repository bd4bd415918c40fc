//! What a service's file says, as [`super::file`] reads it.

use core::time::Duration;

use crate::event::backoff;
use crate::logs;
use crate::spawn::command::needs_shell;
use crate::spawn::inittab::Line;
use crate::sys::privileges::{Limit, Resource};
use crate::sys::signal::Signal;

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its name: that of its file without `.toml`.
    pub name: String,
    /// A description for people.
    pub description: String,
    /// Whether it starts at boot.
    pub enabled: bool,
    /// When it counts as started.
    pub kind: Kind,
    /// Services that start before it if they start at all.
    pub after: Vec<String>,
    /// Services without which it does not run.
    pub needs: Vec<String>,
    /// How its processes run.
    pub execution: Execution,
    /// When it starts again.
    pub restart: Restart,
    /// How long it may take until it is started; nothing is no limit.
    pub start_timeout: Option<Duration>,
    /// The signal that tells it to end.
    pub stop_signal: Signal,
    /// What a stop ends.
    pub stop_mode: StopMode,
    /// Time from that signal to SIGKILL; nothing is the system's usual grace.
    pub stop_timeout: Option<Duration>,
    /// How it reads its configuration again.
    pub reload: Reload,
    /// It must say `WATCHDOG=1` at least this often.
    pub watchdog: Option<Duration>,
    /// What becomes of its output.
    pub log: Log,
}

/// What a stop, a restart or the end of the main process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// All that the service has started.
    All,
    /// The main process alone: the rest are other people's sessions.
    Main,
}

/// When a service counts as started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As soon as its process runs.
    Simple,
    /// When its process has ended well; then it stays "done".
    Oneshot,
    /// When it says `READY=1`.
    Notify,
}

/// A command as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A line, with the rules of inittab.
    Line(String),
    /// A program and its arguments.
    Words(Vec<String>),
}

impl Command {
    /// Adds words, with blanks between them, to its end. No shell takes them for more than words.
    pub fn add_words(&mut self, words: &str) {
        let more = words.split_ascii_whitespace();
        match self {
            Command::Words(all) => all.extend(more.map(String::from)),
            Command::Line(line) if needs_shell(line) => {
                more.for_each(|word| line.push_str(&format!(" '{}'", word.replace('\'', "'\\''"))));
            }
            Command::Line(line) => {
                *self = Command::Words(line.split_ascii_whitespace().chain(more).map(String::from).collect());
            }
        }
    }
}

/// How a service's processes run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// The main process.
    pub command: Command,
    /// Variables in addition to PID 1's.
    pub environment: Vec<(String, String)>,
    /// The user, by name or number; root without one.
    pub user: Option<String>,
    /// The group, by name or number; the user's own without one.
    pub group: Option<String>,
    /// More groups; those of the group file without this.
    pub groups: Option<Vec<String>>,
    /// The working directory.
    pub directory: String,
    /// Permission bits that new files do not get.
    pub umask: u32,
    /// From -20 (gets more of the processor) to 19.
    pub nice: i32,
    /// From -1000 (never killed for memory) to 1000.
    pub oom_score_adj: Option<i32>,
    /// Whether programs with set-user-id bits and file capabilities get none of them.
    pub no_new_privileges: bool,
    /// The capabilities that it and its children can have, by their numbers as bits; all without this.
    pub capabilities: Option<u64>,
    /// Resource limits.
    pub limits: Vec<(Resource, Limit)>,
    /// Where its output goes.
    pub output: Output,
    /// Limits of its control group: file name and value.
    pub cgroup: Vec<(&'static str, String)>,
}

/// Where standard output and error go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// To the log.
    Log,
    /// To the log and to the kernel's log.
    Kmsg,
    /// To the console.
    Console,
    /// Nowhere.
    Null,
}

impl Output {
    /// Whether it is read by PID 1.
    pub fn is_logged(self) -> bool {
        matches!(self, Output::Log | Output::Kmsg)
    }
}

/// When a service that has ended starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// After which ends.
    pub policy: Policy,
    /// The wait after a life of less than `steady`; it doubles with each such life in a row.
    pub delay: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// This many starts within `interval` are too many; 0 is no limit.
    pub limit: u32,
    /// See `limit`.
    pub interval: Duration,
    /// A process that lived at least this long starts again at once.
    pub steady: Duration,
    /// Whether the wait begins with the last start, and not with the end.
    pub since_start: bool,
}

/// After which ends a service starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// After each one.
    Always,
    /// After an exit code other than 0, a signal, a timeout.
    OnFailure,
    /// After none.
    Never,
}

/// How a service reads its configuration again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reload {
    /// It cannot.
    Never,
    /// By this signal.
    Signal(Signal),
    /// By this command, which finds the main process in `MAINPID`.
    Command(Command),
}

/// Changes to the usual settings of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// The file; an empty path is none.
    pub file: Option<String>,
    /// Bytes of a file.
    pub size: Option<u64>,
    /// Old files that are kept.
    pub keep: Option<u32>,
    /// Bytes a second, 0 for no limit.
    pub rate: Option<u64>,
}

/// `steady` of services.
const STEADY: Duration = Duration::from_secs(10);
/// Time that a `notify` service has to say that it is ready, unless its file says otherwise.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(90);

impl Config {
    /// A service with the usual settings.
    pub fn new(name: &str, kind: Kind, command: Command) -> Config {
        let policy = if kind == Kind::Oneshot { Policy::Never } else { Policy::Always };
        Config {
            name: name.into(),
            description: String::new(),
            enabled: true,
            kind,
            after: Vec::new(),
            needs: Vec::new(),
            execution: Execution::new(command),
            restart: Restart {
                policy,
                delay: Duration::from_secs(1),
                longest: Duration::from_secs(60),
                limit: 5,
                interval: Duration::from_secs(60),
                steady: STEADY,
                since_start: false,
            },
            // A task may take as long as it needs; a program that should say something and does not hangs.
            start_timeout: (kind == Kind::Notify).then_some(NOTIFY_TIMEOUT),
            stop_signal: Signal::TERM,
            stop_mode: StopMode::All,
            stop_timeout: None,
            reload: Reload::Never,
            watchdog: None,
            log: Log::default(),
        }
    }

    /// The settings of a line of inittab, with the times of [`backoff`]: it is started until it runs.
    pub fn of_line(line: &Line) -> Config {
        let mut config = Config::new("", Kind::Simple, Command::Line(line.command.clone()));
        config.restart = Restart {
            policy: if line.action.respawns() { Policy::Always } else { Policy::Never },
            delay: backoff::HEALTHY,
            longest: backoff::LONGEST,
            limit: 0,
            interval: Duration::ZERO,
            steady: backoff::HEALTHY,
            since_start: true,
        };
        config
    }

    /// The settings of its log.
    pub fn log_settings(&self) -> logs::Settings {
        let mut settings = logs::Settings::new(&self.name);
        let Log { memory, file, size, keep, rate } = &self.log;
        if let Some(memory) = memory {
            settings.memory = usize::try_from(*memory).unwrap_or(usize::MAX);
        }
        if let Some(rate) = *rate {
            settings.rate = rate;
            settings.burst = settings.burst.max(rate);
        }
        if let Some(place) = &mut settings.file {
            place.size = size.unwrap_or(place.size);
            place.keep = keep.unwrap_or(place.keep);
            place.path = file.clone().unwrap_or(core::mem::take(&mut place.path));
        }
        settings.file = settings.file.filter(|place| !place.path.is_empty());
        settings.kernel = self.execution.output == Output::Kmsg;
        settings
    }

    /// Whether a process that was started by `old` runs as this says.
    pub fn keeps_process_of(&self, old: &Config) -> bool {
        self.execution == old.execution && self.kind == old.kind && self.watchdog == old.watchdog
    }

    /// Whether it uses the notification socket.
    pub fn notifies(&self) -> bool {
        self.kind == Kind::Notify || self.watchdog.is_some()
    }
}

impl Restart {
    /// The wait before the next start after `failures` short lives in a row.
    pub fn wait(&self, failures: u32) -> Duration {
        backoff::doubled(self.delay, failures, self.longest)
    }
}

impl Execution {
    /// Runs `command` as root in `/`, without limits.
    pub fn new(command: Command) -> Execution {
        Execution {
            command,
            environment: Vec::new(),
            user: None,
            group: None,
            groups: None,
            directory: "/".into(),
            umask: 0o022,
            nice: 0,
            oom_score_adj: None,
            no_new_privileges: false,
            capabilities: None,
            limits: Vec::new(),
            output: Output::Log,
            cgroup: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::new("web", Kind::Simple, Command::Line("/bin/web".into()))
    }

    #[test]
    fn log_settings_are_the_usual_ones_with_changes() {
        let usual = logs::Settings::new("web");
        assert_eq!(config().log_settings(), usual);
        let mut changed = config();
        changed.log = Log { keep: Some(7), file: Some("/var/log/web".into()), ..Log::default() };
        changed.execution.output = Output::Kmsg;
        let settings = changed.log_settings();
        assert!(settings.kernel);
        let place = settings.file.unwrap();
        assert_eq!((place.path.as_str(), place.keep, place.size), ("/var/log/web", 7, usual.file.unwrap().size));
        changed.log.file = Some(String::new());
        assert_eq!(changed.log_settings().file, None);
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let restart = config().restart;
        let seconds: Vec<u64> = (0..9).map(|failures| restart.wait(failures).as_secs()).collect();
        assert_eq!(seconds, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(restart.wait(u32::MAX).as_secs(), 60);
        assert_eq!(Restart { delay: Duration::ZERO, ..restart }.wait(5), Duration::ZERO);
    }

    #[test]
    fn only_what_a_process_sees_replaces_it() {
        let (old, mut new) = (config(), config());
        new.after.push("x".into());
        new.restart.limit = 3;
        assert!(new.keeps_process_of(&old));
        new.execution.nice = 1;
        assert!(!new.keeps_process_of(&old));
    }
}
