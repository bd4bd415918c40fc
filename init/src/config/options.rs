//! What the kernel command line, the boot configuration and PID 1's arguments ask of it. The boot reads them once.

use core::time::Duration;

use init_base::bootconfig::{self, Entry};
use init_base::settings::{self, Settings};

use crate::log::Level;
use crate::sys::files;

/// The kernel's command line, as proc shows it.
pub const COMMAND_LINE: &str = "/proc/cmdline";
/// How long programs get between SIGTERM and SIGKILL when the system goes down; nothing waits longer than it must,
/// so this is only for programs that do not end.
pub const GRACE: Duration = Duration::from_secs(3);
/// The longest grace that `init.grace` can ask for.
const LONGEST_GRACE: Duration = Duration::from_secs(3600);
/// More words than a person gets wrong; the rest is not named.
const MOST_UNKNOWN: usize = 8;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `quiet`, `debug`: how much is said.
    pub level: Level,
    /// `single`, `-s`, `1`: a shell on the console in place of the table.
    pub single: bool,
    /// `emergency`, `-b`: such a shell after the least that it needs.
    pub emergency: bool,
    /// `init.ro`: the root file system stays read-only.
    pub keep_read_only: bool,
    /// `init.ro-if-faulty`: a file system that is not in order is mounted read-only.
    pub read_only_if_faulty: bool,
    /// `init.epoll`: do not use io_uring.
    pub epoll: bool,
    /// `init.grace=SECONDS`: see [`GRACE`].
    pub grace: Duration,
    /// `init.watchdog=SECONDS`: the watchdog's time-out; none leaves it off.
    pub watchdog: Option<i32>,
    /// `init.skip=PHASE,PHASE`: phases of the boot that are left out.
    pub skip: Vec<String>,
    /// `init.hostname=NAME`: the machine's name, in place of the one in /etc/hostname.
    pub host_name: Option<String>,
    /// Words that start like options and are none.
    pub unknown: Vec<String>,
    /// What this machine was told apart from that.
    pub settings: Settings,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            level: Level::Info,
            single: false,
            emergency: false,
            keep_read_only: false,
            read_only_if_faulty: false,
            epoll: false,
            grace: GRACE,
            watchdog: None,
            skip: Vec::new(),
            host_name: None,
            unknown: Vec::new(),
            settings: Settings::default(),
        }
    }
}

/// The options in the boot configuration (keys below `init`), in the kernel's command line, which a run can add to and which
/// therefore wins, and in the words that the kernel passed on to PID 1. Unknown words are for others.
pub fn parse(configured: &[Entry], command_line: &str, arguments: &[&str]) -> Options {
    let mut options = Options::default();
    for entry in configured {
        let word = format!("{}={}", entry.key, entry.joined());
        match entry.key.as_str() {
            "single" => options.single = true,
            "emergency" => options.emergency = true,
            _ => options.take_or_name(&word),
        }
    }
    for word in command_line.split_ascii_whitespace() {
        match word {
            // After `--` come PID 1's own arguments, which are in `arguments`.
            "--" => break,
            "quiet" => options.level = Level::Warn,
            "debug" => options.level = Level::Debug,
            "single" => options.single = true,
            "emergency" => options.emergency = true,
            _ => {
                if let Some(own) = word.strip_prefix("init.") {
                    options.take_or_name(own);
                }
            }
        }
    }
    options.single |= matches!(arguments.first(), Some(&("single" | "-s" | "1")));
    options.emergency |= matches!(arguments.first(), Some(&("emergency" | "-b")));
    options
}

impl Options {
    /// Takes an option, and remembers one that is none.
    fn take_or_name(&mut self, own: &str) {
        let word = || format!("init.{own}");
        if self.take(own).is_none() && self.unknown.len() < MOST_UNKNOWN && !self.unknown.contains(&word()) {
            self.unknown.push(word());
        }
    }

    /// Takes an option of PID 1's own, without `init.`; `None` when there is no such option, or its value is none.
    fn take(&mut self, word: &str) -> Option<()> {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        match name {
            "ro" => self.keep_read_only = true,
            "ro-if-faulty" => self.read_only_if_faulty = true,
            "epoll" => self.epoll = true,
            "grace" => self.grace = Duration::from_secs(value.parse().ok()?).min(LONGEST_GRACE),
            "watchdog" => self.watchdog = Some(value.parse().ok().filter(|seconds| *seconds > 0)?),
            "skip" => self.skip = value.split(',').filter(|name| !name.is_empty()).map(String::from).collect(),
            "hostname" => self.host_name = Some(host_name(value)?.to_owned()),
            _ => return None,
        }
        Some(())
    }
}

/// A machine's name: one word of at most 64 bytes, which is what the kernel takes (uname(2)).
pub fn host_name(text: &str) -> Option<&str> {
    let good = |name: &&str| (1..=64).contains(&name.len()) && !name.contains(['\0', ' ', '\t', '\n']);
    Some(text).filter(good)
}

/// Reads boot configuration and command line of the kernel, and the settings; without proc only the arguments count.
pub fn load(arguments: &[&str]) -> Options {
    let content = files::read_file(COMMAND_LINE).unwrap_or_default();
    let command_line = String::from_utf8_lossy(&content);
    let mut options = parse(&bootconfig::below("init"), &command_line, arguments);
    options.settings = settings::load(&command_line);
    if options.host_name.is_none() {
        options.host_name = options.settings.value("hostname").map(String::from);
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_understood() {
        let options = parse(&[], "root=/dev/vda2 ro quiet init.epoll init.grace=7 init.ro", &[]);
        assert_eq!(options.level, Level::Warn);
        assert!(options.epoll && options.keep_read_only && !options.single);
        assert_eq!(options.grace, Duration::from_secs(7));
    }

    #[test]
    fn the_boot_configuration_comes_before_the_command_line() {
        let entry = |key: &str, values: &[&str]| Entry {
            key: key.into(),
            values: values.iter().map(|value| (*value).into()).collect(),
        };
        let configured =
            [entry("grace", &["9"]), entry("skip", &["clock", "seed"]), entry("epoll", &[""]), entry("fast", &["x"])];
        let options = parse(&configured, "init.grace=7 init.hostname=iron", &["fast=x"]);
        assert_eq!((options.grace, options.epoll), (Duration::from_secs(7), true));
        assert_eq!((options.skip.join(" ").as_str(), options.host_name.as_deref()), ("clock seed", Some("iron")));
        assert_eq!(options.unknown, ["init.fast=x"]);
        assert!(parse(&[entry("single", &[""])], "", &[]).single);
    }

    #[test]
    fn ro_alone_does_not_keep_the_root_read_only() {
        assert_eq!(parse(&[], "ro console=ttyS0", &[]), Options::default());
    }

    #[test]
    fn single_user_mode_as_busybox_knows_it() {
        for word in ["single", "-s", "1"] {
            assert!(parse(&[], "", &[word]).single);
        }
        assert!(parse(&[], "single", &[]).single);
        assert!(!parse(&[], "", &["3", "single"]).single);
        assert!(!parse(&[], "-- single", &[]).single);
    }

    #[test]
    fn emergency_as_a_word_and_as_an_argument() {
        assert!(parse(&[], "ro emergency", &[]).emergency);
        assert!(parse(&[], "", &["-b"]).emergency);
        assert!(!parse(&[], "single", &["x", "-b"]).emergency);
    }

    #[test]
    fn values_and_their_bounds() {
        assert_eq!(parse(&[], "init.grace=0", &[]).grace, Duration::ZERO);
        assert_eq!(parse(&[], "init.grace=99999999", &[]).grace, LONGEST_GRACE);
        assert_eq!(parse(&[], "init.watchdog=30", &[]).watchdog, Some(30));
        assert_eq!(parse(&[], "init.skip=modules,,clock", &[]).skip, ["modules", "clock"]);
    }

    #[test]
    fn what_is_not_understood_is_named_once() {
        let options = parse(&[], "init.grace=x init.watchdog=-1 init.fast init.fast initrd=x init=/sbin/init", &[]);
        assert_eq!(options.unknown, ["init.grace=x", "init.watchdog=-1", "init.fast"]);
        assert_eq!((options.grace, options.watchdog), (GRACE, None));
        let many: Vec<String> = (0..99).map(|number| format!("init.{number}")).collect();
        assert_eq!(parse(&[], &many.join(" "), &[]).unknown.len(), MOST_UNKNOWN);
    }
}
