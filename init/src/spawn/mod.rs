//! Starting programs: the terminal, the session, the environment. The supervisor and the rescue call it.

pub mod command;
pub(crate) mod console;
pub mod inittab;
pub(crate) mod limits;
pub(crate) mod running;

use std::ffi::{CStr, CString};

use crate::log;
use crate::sys::process::Pid;
use crate::sys::{Errno, Result, descriptors, files, process, signal, tty};
use command::Program;
use console::Terminal;
use inittab::{Action, Line};

/// `PATH` of every program, unless the kernel command line gave another.
pub const SEARCH_PATH: &str = "/sbin:/usr/sbin:/bin:/usr/bin";
/// The exit code of a child whose program could not be run (the shells' convention).
pub const NOT_RUN: i32 = 127;

/// The environment of every program, as `NAME=value`.
#[derive(Clone, Debug)]
pub struct Environment(Vec<String>);

impl Environment {
    /// The environment from what the kernel gave PID 1, with busybox init's additions. `run_level` is PID 1's first argument.
    pub fn new(given: Vec<String>, run_level: Option<&str>) -> Environment {
        let mut environment = Environment(given);
        environment.set_default("PATH", SEARCH_PATH);
        environment.set_default("SHELL", command::SHELL);
        environment.set_default("USER", "root");
        environment.set_default("HOME", "/");
        if let Some(level) = run_level {
            environment.set("RUNLEVEL", level);
        }
        environment
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|item| item.strip_prefix(name)?.strip_prefix('='))
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|item| item.split_once('=').is_none_or(|(known, _)| known != name));
        self.0.push(format!("{name}={value}"));
    }

    fn set_default(&mut self, name: &str, value: &str) {
        if self.get(name).is_none() {
            self.set(name, value);
        }
    }

    /// The environment for a program on the terminal at `path`.
    pub(crate) fn on_terminal(&self, path: &str) -> Environment {
        let mut environment = self.clone();
        environment.set("TERM", &console::term_for(path, self.get("TERM")));
        environment
    }

    /// The variables as exec takes them.
    pub fn to_c(&self) -> Vec<CString> {
        command::strings(self.0.iter().cloned()).unwrap_or_default()
    }
}

/// Whether an entry's program becomes the leader of its terminal, so that Ctrl-C and job control work in it.
///
/// An entry that names its terminal does, as under busybox. On the console only what a person types into does: the end of
/// a session hangs its terminal up, and a start script or a service must not take that from the shell, or lose its children
/// with it.
pub fn leads_terminal(line: &Line) -> bool {
    match line.action {
        Action::Askfirst => true,
        Action::Respawn => !line.terminal.is_empty() || command::is_interactive(&line.command),
        _ => !line.terminal.is_empty() || command::is_login(&line.command),
    }
}

/// Opens the terminal for an entry. What runs only once runs on the console, or on nothing, when its terminal is missing.
fn terminal_for(line: &Line) -> Result<Terminal> {
    let found = console::open(&line.terminal, leads_terminal(line));
    match found {
        Err(error) if console::is_absent(error) && !waits_for_terminal(line) => {
            console::open("", false).or_else(|_| console::open("null", false))
        }
        result => result,
    }
}

/// Whether an entry is of no use until its terminal is there. A service on the console needs no console to run.
pub fn waits_for_terminal(line: &Line) -> bool {
    line.action.respawns() && leads_terminal(line)
}

/// Starts the program of an entry.
///
/// # Errors
/// [`console::is_absent`] errors: the terminal is missing. Others: no process, descriptor or memory is left.
pub fn start(line: &Line, environment: &Environment) -> Result<Pid> {
    let terminal = terminal_for(line)?;
    let environment = environment.on_terminal(&terminal.path);
    process::fork(|| child(line, &terminal, &environment))
}

/// Starts a child that does some of PID 1's own `work` and ends with the exit code that it returns. As any program it ends by
/// SIGTERM and holds nothing that PID 1 has open, so that a later PID 1 can open it again.
///
/// # Errors
/// No process or memory is left.
pub fn helper(work: impl FnOnce() -> i32) -> Result<Pid> {
    process::fork(|| {
        // It is killed when it takes too long, with or without this.
        let _ = signal::block(&[]);
        descriptors::close_others(log::sink());
        work()
    })
}

/// The child's side, up to the program; returns the exit code when there is nothing to run.
fn child(line: &Line, terminal: &Terminal, environment: &Environment) -> i32 {
    if let Err(error) = prepare(line, terminal) {
        files::to_stderr(format_args!("init: cannot prepare {} for '{}': {error}\n", terminal.path, line.command));
        return NOT_RUN;
    }
    if line.action == Action::Askfirst {
        // It may wait for days, and no exec has closed them yet.
        descriptors::close_others(None);
        if !enter_pressed() {
            return 0;
        }
    }
    let error = exec(&line.command, environment);
    files::to_stderr(format_args!("init: cannot run '{}': {error}\n", line.command));
    NOT_RUN
}

fn prepare(line: &Line, terminal: &Terminal) -> Result<()> {
    signal::block(&[])?;
    limits::restore_in_child();
    process::new_session()?;
    if terminal.is_tty && leads_terminal(line) {
        // Where another session has it, the program runs without job control, as under busybox, and leaves its state alone.
        if tty::set_controlling(&terminal.fd).is_ok() {
            console::make_sane(&terminal.fd);
        }
    }
    files::set_blocking(&terminal.fd)?;
    files::set_stdio(&terminal.fd)
}

/// Waits for the Enter key; false when the terminal ended.
fn enter_pressed() -> bool {
    let stdio = rustix::stdio::stdout();
    let prompt = b"\nPlease press Enter to activate this console. ";
    if files::write_all(stdio, prompt).is_err() {
        return false;
    }
    let mut byte = [0];
    loop {
        match files::read(rustix::stdio::stdin(), &mut byte) {
            Ok(1) if byte[0] == b'\n' => return true,
            Ok(1) => {}
            _ => return false,
        }
    }
}

/// Replaces this process by what `command` runs; returns only an error.
pub fn exec(command: &str, environment: &Environment) -> Errno {
    let path = environment.get("PATH").unwrap_or(SEARCH_PATH);
    let Some(Program { paths, arguments }) = command::program(command, path) else {
        return Errno::INVAL;
    };
    exec_first(&paths, &arguments, &environment.to_c())
}

/// Replaces this process by the first of `paths` that can run; returns only an error.
pub fn exec_first(paths: &[CString], arguments: &[CString], environment: &[CString]) -> Errno {
    let mut result = Errno::NOENT;
    for path in paths {
        let error = match process::exec(path, arguments, environment) {
            // A script without a `#!` line, which execvp(3) gives to the shell.
            Errno::NOEXEC => exec_script(path, arguments, environment),
            error => error,
        };
        // The error of a file that was found says more than ENOENT from a later directory.
        if result == Errno::NOENT {
            result = error;
        }
    }
    result
}

fn exec_script(path: &CStr, arguments: &[CString], environment: &[CString]) -> Errno {
    let shell = c"/bin/sh";
    let mut all = vec![shell.to_owned(), path.to_owned()];
    all.extend(arguments.iter().skip(1).cloned());
    process::exec(shell, &all, environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_has_what_busybox_gives() {
        let environment = Environment::new(vec!["HOME=/".into(), "TERM=linux".into(), "A=b=c".into()], Some("3"));
        for (name, value) in [
            ("HOME", "/"),
            ("USER", "root"),
            ("SHELL", "/bin/sh"),
            ("PATH", SEARCH_PATH),
            ("A", "b=c"),
            ("RUNLEVEL", "3"),
        ] {
            assert_eq!(environment.get(name), Some(value), "{name}");
        }
        let serial = environment.on_terminal("/dev/ttyS0");
        assert_eq!(serial.get("TERM"), Some("vt102"));
        assert_eq!(serial.0.iter().filter(|item| item.starts_with("TERM=")).count(), 1);
        assert_eq!(environment.get("TER"), None);
    }

    #[test]
    fn only_what_a_person_types_into_leads_the_console() {
        let leads = |terminal, action, command| leads_terminal(&Line::new(terminal, action, command));
        assert!(leads("", Action::Respawn, "-/bin/sh"));
        assert!(leads("", Action::Respawn, "/bin/sh"));
        assert!(leads("", Action::Askfirst, "/bin/x"));
        assert!(leads("ttyS0", Action::Respawn, "/bin/x"));
        assert!(leads("ttyS0", Action::Once, "/bin/x"));
        assert!(leads("", Action::Sysinit, "-/bin/sh"));
        assert!(!leads("", Action::Sysinit, "/etc/init.d/rcS"));
        assert!(!leads("", Action::Respawn, "/sbin/udhcpc -f"));
        assert!(!leads("", Action::Shutdown, "/bin/sh"));
    }

    #[test]
    fn a_one_time_program_does_not_wait_for_a_missing_terminal() {
        let line = Line::new("no-such-terminal", Action::Sysinit, "/bin/true");
        assert!(terminal_for(&line).is_ok());
        let line = Line { action: Action::Respawn, ..line };
        assert_eq!(terminal_for(&line).err(), Some(Errno::NOENT));
        assert!(waits_for_terminal(&line));
    }

    #[test]
    fn a_program_runs_and_its_exit_is_seen() {
        let environment = Environment::new(Vec::new(), None);
        let run = |command: &str| {
            let pid = start(&Line::new("null", Action::Once, command), &environment).unwrap();
            process::wait_for(pid).unwrap()
        };
        assert_eq!(run("/bin/sh -c true"), process::Exit::Code(0));
        assert_eq!(run("sh -c 'test \"$TERM\" = vt102 && exit 3'"), process::Exit::Code(3));
        assert_eq!(run("/no/such/program"), process::Exit::Code(127));
    }
}
