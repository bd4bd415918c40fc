//! What hands type that know other inits: `init 6`, `telinit q`, `shutdown -r now`. Each is a signal to PID 1.

use crate::event::signals::REEXEC;
use crate::sys::files::{self, to_stderr};
use crate::sys::process;
use crate::sys::signal::Signal;

/// What such a command asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Send PID 1 this.
    Signal(Signal),
    /// Say this, which ends with a hint.
    Refusal(&'static str),
    /// Say how it is used.
    Usage,
}

const USAGE: &str = "init: this is the system's first process; the kernel starts it as PID 1.
usage: init 0      power off (the same as: kill -USR2 1)
       init 6      reboot (the same as: kill -TERM 1)
       init -q     read /etc/inittab and the services again (the same as: kill -HUP 1)
       init u      run init's program anew, after an upgrade (the same as: kill -URG 1)
signals to PID 1: HUP reload, USR1 halt, USR2 power off, TERM reboot, INT ctrl-alt-del,
                  QUIT restart, TSTP stop starting programs, CONT go on, URG run init's program anew
";

const SHUTDOWN: &str = "usage: shutdown [-r|-h|-P|-H] now [MESSAGE]...
Powers off; with -r reboots, with -H halts. `initctl shutdown` does the same and waits for it.
";

/// `init` and `telinit` outside of PID 1; returns the exit code.
pub fn init(args: &[&str]) -> i32 {
    answer("init", init_words(args), USAGE)
}

/// `shutdown`; returns the exit code.
pub fn shutdown(args: &[&str]) -> i32 {
    answer("shutdown", shutdown_words(args), SHUTDOWN)
}

fn init_words(args: &[&str]) -> Asked {
    match args {
        ["0"] => Asked::Signal(Signal::USR2),
        ["6"] => Asked::Signal(Signal::TERM),
        ["-q" | "q" | "Q"] => Asked::Signal(Signal::HUP),
        // telinit's word for it.
        ["u" | "U"] => Asked::Signal(REEXEC),
        ["1" | "s" | "S"] => {
            Asked::Refusal("a running system does not become a single user's; hint: boot with the word `single`")
        }
        ["2" | "3" | "4" | "5"] => Asked::Refusal("there are no runlevels; hint: `initctl list` shows what runs"),
        _ => Asked::Usage,
    }
}

/// The words of sysvinit's and systemd's `shutdown`. Of the options that it does not have, those that change what happens are refused.
fn shutdown_words(args: &[&str]) -> Asked {
    let (mut signal, mut when) = (Signal::USR2, None);
    for word in args {
        match *word {
            "-r" | "--reboot" => signal = Signal::TERM,
            "-h" | "-P" | "-p" | "--poweroff" => signal = Signal::USR2,
            "-H" | "--halt" => signal = Signal::USR1,
            "-c" => {
                return Asked::Refusal("nothing is planned, so nothing can be cancelled; hint: shutdown acts at once");
            }
            "-hP" | "-Ph" | "-hp" => signal = Signal::USR2,
            _ if when.is_none() && word.starts_with('-') => return Asked::Usage,
            // Words after the time are a message to users.
            _ => when = when.or(Some(*word)),
        }
    }
    match when {
        Some("now" | "+0") => Asked::Signal(signal),
        Some(_) => Asked::Refusal("only `now` is known; hint: (sleep 300; shutdown now) &"),
        None => Asked::Refusal("it is not said when; hint: shutdown now"),
    }
}

fn answer(name: &str, asked: Asked, usage: &str) -> i32 {
    let signal = match asked {
        Asked::Signal(signal) => signal,
        Asked::Refusal(reason) => {
            to_stderr(format_args!("{name}: {}\n", reason.replace("; hint: ", "\nhint: ")));
            return 1;
        }
        Asked::Usage => {
            to_stderr(format_args!("{usage}"));
            return 1;
        }
    };
    // To another program these signals mean something else.
    if !is_init(&files::read_file("/proc/1/comm").unwrap_or_default()) {
        to_stderr(format_args!("{name}: PID 1 is not this init\nhint: use the commands of the one that runs\n"));
        return 1;
    }
    match process::kill(1, signal) {
        Ok(()) => 0,
        Err(error) => {
            to_stderr(format_args!("{name}: cannot send a signal to PID 1: {error}\nhint: run this as root\n"));
            1
        }
    }
}

/// Whether a process of this name is init.
fn is_init(name: &[u8]) -> bool {
    name.trim_ascii() == b"init"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_pid_1_is_not_signalled() {
        assert!(is_init(b"init\n") && !is_init(b"systemd\n") && !is_init(b""));
    }

    #[test]
    fn runlevels() {
        assert_eq!(init_words(&["0"]), Asked::Signal(Signal::USR2));
        assert_eq!(init_words(&["6"]), Asked::Signal(Signal::TERM));
        assert_eq!(init_words(&["q"]), Asked::Signal(Signal::HUP));
        for words in [&["1"][..], &["S"], &["3"]] {
            assert!(matches!(init_words(words), Asked::Refusal(text) if text.contains("hint: ")), "{words:?}");
        }
        for words in [&[][..], &["7"], &["0", "now"]] {
            assert_eq!(init_words(words), Asked::Usage, "{words:?}");
        }
    }

    #[test]
    fn shutdown_as_it_is_typed() {
        for (words, signal) in [
            (&["now"][..], Signal::USR2),
            (&["-h", "now"], Signal::USR2),
            (&["-hP", "now"], Signal::USR2),
            (&["-r", "now"], Signal::TERM),
            (&["-r", "+0", "new", "kernel"], Signal::TERM),
            (&["now", "-r"], Signal::TERM),
            (&["-H", "now"], Signal::USR1),
        ] {
            assert_eq!(shutdown_words(words), Asked::Signal(signal), "{words:?}");
        }
        for words in [&[][..], &["-r"], &["+5"], &["23:00"], &["-c"]] {
            assert!(matches!(shutdown_words(words), Asked::Refusal(text) if text.contains("hint: ")), "{words:?}");
        }
        assert_eq!(shutdown_words(&["--help"]), Asked::Usage);
    }
}
