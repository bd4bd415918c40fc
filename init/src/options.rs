//! What the kernel command line and PID 1's arguments ask of it. The boot reads them once.

use core::time::Duration;

use crate::log::Level;
use crate::sys::files;

/// The kernel's command line, as proc shows it.
pub const PATH: &str = "/proc/cmdline";
/// How long programs get between SIGTERM and SIGKILL when the system goes down; nothing waits longer than it must,
/// so this is only for programs that do not end.
pub const GRACE: Duration = Duration::from_secs(3);
/// The longest grace that `init.grace` can ask for.
const LONGEST_GRACE: Duration = Duration::from_secs(3600);

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `quiet`, `debug`: how much is said.
    pub level: Level,
    /// `single`, `-s`, `1`: a shell on the console in place of the table.
    pub single: bool,
    /// `init.ro`: the root file system stays read-only.
    pub keep_read_only: bool,
    /// `init.epoll`: do not use io_uring.
    pub epoll: bool,
    /// `init.grace=SECONDS`: see [`GRACE`].
    pub grace: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options { level: Level::Info, single: false, keep_read_only: false, epoll: false, grace: GRACE }
    }
}

/// The options in the kernel's command line and in the words that it passed on to PID 1. Unknown words are for others.
pub fn parse(command_line: &str, arguments: &[&str]) -> Options {
    let mut options = Options::default();
    for word in command_line.split_ascii_whitespace() {
        match word {
            // After `--` come PID 1's own arguments, which are in `arguments`.
            "--" => break,
            "quiet" => options.level = Level::Always,
            "debug" => options.level = Level::Debug,
            "single" => options.single = true,
            "init.ro" => options.keep_read_only = true,
            "init.epoll" => options.epoll = true,
            _ => {
                if let Some(seconds) = word.strip_prefix("init.grace=") {
                    options.grace = grace(seconds);
                }
            }
        }
    }
    options.single |= matches!(arguments.first(), Some(&("single" | "-s" | "1")));
    options
}

fn grace(seconds: &str) -> Duration {
    seconds.parse().map_or(GRACE, |seconds| Duration::from_secs(seconds).min(LONGEST_GRACE))
}

/// Reads the kernel's command line; without proc only the arguments count.
pub fn load(arguments: &[&str]) -> Options {
    let content = files::read_file(PATH).unwrap_or_default();
    parse(&String::from_utf8_lossy(&content), arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_understood() {
        let options = parse("root=/dev/vda2 ro quiet init.epoll init.grace=7 init.ro", &[]);
        assert_eq!(options.level, Level::Always);
        assert!(options.epoll && options.keep_read_only && !options.single);
        assert_eq!(options.grace, Duration::from_secs(7));
    }

    #[test]
    fn ro_alone_does_not_keep_the_root_read_only() {
        assert_eq!(parse("ro console=ttyS0", &[]), Options::default());
    }

    #[test]
    fn single_user_mode_as_busybox_knows_it() {
        for word in ["single", "-s", "1"] {
            assert!(parse("", &[word]).single);
        }
        assert!(parse("single", &[]).single);
        assert!(!parse("", &["3", "single"]).single);
        assert!(!parse("-- single", &[]).single);
    }

    #[test]
    fn a_wrong_grace_is_the_usual_one() {
        assert_eq!(parse("init.grace=x", &[]).grace, GRACE);
        assert_eq!(parse("init.grace=0", &[]).grace, Duration::ZERO);
        assert_eq!(parse("init.grace=99999999", &[]).grace, LONGEST_GRACE);
    }
}
