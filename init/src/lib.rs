//! The parts of PID 1, as a library so that its decisions can be tested on the build host.
//!
//! The program `init` (`src/main.rs`) calls [`run`]. Decisions (what a line of inittab means, what a
//! signal asks for, when a program may start again, in which order to unmount) are pure functions with
//! tests beside them; everything that enters the kernel goes through [`sys`].

pub mod backoff;
pub mod boot;
pub mod button;
pub mod command;
pub mod console;
pub mod inittab;
pub mod log;
pub mod mounts;
pub mod options;
pub mod reactor;
pub mod reload;
pub mod rescue;
pub mod shutdown;
pub mod signals;
pub mod spawn;
pub mod supervisor;
pub mod sys;
pub mod unmount;

/// Runs PID 1, or, in a process that is not PID 1, the small command-line tool of the same name.
///
/// `args` are the program's arguments without its name. As PID 1 this does not return; otherwise the
/// result is the exit code.
pub fn run(args: &[&str]) -> i32 {
    if sys::process::id() == 1 {
        boot::run(args);
    }
    tool(args)
}

const USAGE: &str = "init: this is the system's first process; the kernel starts it as PID 1.
usage: init -q    read /etc/inittab again (the same as: kill -HUP 1)
signals to PID 1: HUP reload, USR1 halt, USR2 power off, TERM reboot, INT ctrl-alt-del,
                  QUIT restart, TSTP stop starting programs, CONT go on
";

/// What the program does when it is not PID 1; returns the exit code.
fn tool(args: &[&str]) -> i32 {
    if args == ["-q"] {
        return match sys::process::kill(1, sys::signal::Signal::HUP) {
            Ok(()) => 0,
            Err(error) => {
                log::to_stderr(format_args!("init: cannot send SIGHUP to PID 1: {error}\nhint: run this as root\n"));
                1
            }
        };
    }
    log::to_stderr(format_args!("{USAGE}"));
    1
}
