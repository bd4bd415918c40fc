//! Starts a service's process: what is looked up before the fork, and what the child does up to its program. The runner calls
//! [`start`].

use std::ffi::CString;
use std::os::fd::OwnedFd;

use super::account::{Accounts, Identity};
use super::config::{Command, Execution, Output};
use crate::command::{self, Program};
use crate::spawn::{self, Environment};
use crate::sys::process::{self, Pid};
use crate::sys::{self, Errno, files, privileges, signal};
use crate::{console, limits, log};

/// The exit code of a child whose program could not be run (the shells' convention).
const NOT_RUN: i32 = 127;

/// What a process gets besides what its service's file says.
pub struct Setting<'a> {
    /// PID 1's environment.
    pub environment: &'a Environment,
    /// More variables.
    pub variables: Vec<(&'static str, String)>,
    /// The file to write to for joining the control group.
    pub cgroup: Option<&'a str>,
    /// The end of the pipe to the log.
    pub log: Option<OwnedFd>,
}

/// Why a process was not started.
#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    /// It will not be otherwise the next time.
    Lasting(String),
    /// Something is missing that may come: memory, processes, descriptors.
    Passing(String),
}

/// All that the child needs, looked up before the fork.
struct Plan<'a> {
    execution: &'a Execution,
    program: Program,
    environment: Vec<CString>,
    identity: Option<Identity>,
    cgroup: Option<&'a str>,
    input: OwnedFd,
    output: OwnedFd,
}

/// Starts `command` in the way that `execution` says.
pub fn start(command: &Command, execution: &Execution, setting: Setting<'_>) -> Result<Pid, Problem> {
    let identity = identity(execution)?;
    let environment = environment(execution, &setting, identity.as_ref());
    let program = program(command, &environment)?;
    let null = || files::open_device("/dev/null");
    let opened = null().and_then(|input| Ok((input, output(execution.output, setting.log).unwrap_or_else(null)?)));
    let (input, output) =
        opened.map_err(|error| Problem::Passing(format!("cannot open its input and output: {error}")))?;
    let cgroup = setting.cgroup;
    let plan = Plan { execution, program, environment: environment.to_c(), identity, cgroup, input, output };
    process::fork(|| child(&plan)).map_err(|error| Problem::Passing(format!("cannot make a process: {error}")))
}

fn identity(execution: &Execution) -> Result<Option<Identity>, Problem> {
    let Execution { user, group, groups, .. } = execution;
    if user.is_none() && group.is_none() && groups.is_none() {
        return Ok(None);
    }
    let accounts = Accounts::load().map_err(Problem::Passing)?;
    accounts.identity(user.as_deref(), group.as_deref(), groups.as_deref()).map(Some).map_err(Problem::Lasting)
}

/// The user id that a service's processes have.
///
/// # Errors
/// When its user is not known, or cannot be looked up now.
pub fn user_of(execution: &Execution) -> Result<u32, Problem> {
    identity(execution).map(|identity| identity.map_or(0, |identity| identity.user))
}

fn environment(execution: &Execution, setting: &Setting<'_>, identity: Option<&Identity>) -> Environment {
    let mut environment = setting.environment.clone();
    if let Some(entry) = identity.and_then(|identity| identity.entry.as_ref()) {
        for (name, value) in
            [("USER", &entry.name), ("LOGNAME", &entry.name), ("HOME", &entry.home), ("SHELL", &entry.shell)]
        {
            environment.set(name, value);
        }
    }
    for (name, value) in &execution.environment {
        environment.set(name, value);
    }
    for (name, value) in &setting.variables {
        environment.set(name, value);
    }
    environment
}

/// The program, which has to be there: its absence is worth more than an exit code.
fn program(command: &Command, environment: &Environment) -> Result<Program, Problem> {
    let path = environment.get("PATH").unwrap_or(spawn::PATH);
    let (program, text) = match command {
        Command::Line(line) => (command::program(line, path), line.as_str()),
        Command::Words(words) => (command::of_words(words, path), words.first().map_or("", String::as_str)),
    };
    let program = program.ok_or_else(|| Problem::Lasting(format!("'{text}' is no command")))?;
    let name = text.trim_start_matches('-').split_ascii_whitespace().next().unwrap_or(text);
    let results = program.paths.iter().filter_map(|path| path.to_str().ok()).map(files::check_executable);
    match found(results) {
        Ok(true) => Ok(program),
        Ok(false) if name.contains('/') => Err(Problem::Lasting(format!("there is no program {name}"))),
        Ok(false) => Err(Problem::Lasting(format!("there is no program {name} in {path}"))),
        Err(error) => Err(Problem::Passing(format!("cannot look for the program {name}: {error}"))),
    }
}

/// Whether a program is in one of several places. An error of a disk, or of want of memory, says nothing about that.
fn found(results: impl Iterator<Item = sys::Result<()>>) -> sys::Result<bool> {
    let mut unknown = None;
    for result in results {
        match result {
            Ok(()) => return Ok(true),
            Err(error @ (Errno::IO | Errno::NOMEM)) => unknown = Some(error),
            Err(_) => {}
        }
    }
    unknown.map_or(Ok(false), Err)
}

/// Where output goes; nothing for the null device.
fn output(output: Output, log: Option<OwnedFd>) -> Option<sys::Result<OwnedFd>> {
    match output {
        Output::Log | Output::Kmsg => log.map(Ok),
        Output::Console => Some(console::open("", false).and_then(|terminal| {
            files::set_blocking(&terminal.fd)?;
            Ok(terminal.fd)
        })),
        Output::Null => None,
    }
}

/// The child's side, up to the program; returns the exit code when that does not run.
fn child(plan: &Plan<'_>) -> i32 {
    if let Err((what, error)) = prepare(plan) {
        log::to_stderr(format_args!("init: cannot {what}: {error}\n"));
        return NOT_RUN;
    }
    let Program { paths, arguments } = &plan.program;
    let error = spawn::exec_first(paths, arguments, &plan.environment);
    let name = paths.first().map(|path| path.to_string_lossy()).unwrap_or_default();
    log::to_stderr(format_args!("init: cannot run {name}: {error}\n"));
    NOT_RUN
}

/// Makes this process what the service's file says. The order matters: messages need the output, and each step the rights
/// that a later one gives up.
fn prepare(plan: &Plan<'_>) -> Result<(), (&'static str, Errno)> {
    let Plan { execution, identity, .. } = plan;
    let step = |what: &'static str| move |error: Errno| (what, error);
    files::set_input_output(&plan.input, &plan.output).map_err(step("set its input and output"))?;
    signal::block(&[]).map_err(step("unblock signals"))?;
    process::new_session().map_err(step("make a session"))?;
    if let Some(file) = plan.cgroup {
        files::write_file(file, b"0").map_err(step("join its control group"))?;
    }
    set_weights(execution);
    limits::restore_in_child();
    for (resource, limit) in &execution.limits {
        privileges::set_limit(*resource, *limit).map_err(step("set a resource limit"))?;
    }
    privileges::set_umask(execution.umask);
    if let Some(identity) = identity {
        privileges::set_groups(&identity.groups).map_err(step("take its groups"))?;
        privileges::set_group(identity.group).map_err(step("take its group"))?;
    }
    if let Some(kept) = execution.capabilities {
        privileges::bound_capabilities(kept).map_err(step("bound its capabilities"))?;
    }
    if let Some(identity) = identity {
        // Root gets what is in the bounding set with its program; others get what they keep.
        let kept = execution.capabilities.filter(|kept| *kept != 0 && identity.user != 0);
        kept.map_or(Ok(()), |_| privileges::keep_permitted()).map_err(step("keep its capabilities"))?;
        privileges::set_user(identity.user).map_err(step("become its user"))?;
        kept.map_or(Ok(()), privileges::take_capabilities).map_err(step("take its capabilities"))?;
    }
    if execution.no_new_privileges {
        privileges::no_new_privileges().map_err(step("renounce privileges"))?;
    }
    // As its own user, who may not be allowed to be there.
    process::change_dir(&execution.directory).map_err(step("go to its directory"))
}

/// Sets what only makes a service better or worse off; it runs without that too.
fn set_weights(execution: &Execution) {
    if let Some(score) = execution.oom_score_adj
        && let Err(error) = files::write_file("/proc/self/oom_score_adj", score.to_string().as_bytes())
    {
        log::to_stderr(format_args!("init: cannot set oom-score-adj to {score}: {error}\n"));
    }
    if execution.nice != 0
        && let Err(error) = privileges::set_nice(execution.nice)
    {
        log::to_stderr(format_args!("init: cannot set nice to {}: {error}\n", execution.nice));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::privileges::{Limit, Resource};
    use crate::sys::process::Exit;
    use std::io::Read;

    /// Runs a shell script with these settings and returns what it wrote and how it ended.
    fn run(script: &str, change: impl FnOnce(&mut Execution)) -> (String, Exit) {
        let words = ["/bin/sh", "-c", script].map(String::from);
        let mut execution = Execution::new(Command::Words(words.into()));
        change(&mut execution);
        let (reader, writer) = files::pipe().unwrap();
        let environment = Environment::new(vec!["KEPT=1".into()], None);
        let variables = vec![("MAINPID", "7".to_owned())];
        let setting = Setting { environment: &environment, variables, cgroup: None, log: Some(writer) };
        let command = execution.command.clone();
        let pid = start(&command, &execution, setting).unwrap();
        let mut text = String::new();
        std::fs::File::from(reader).read_to_string(&mut text).unwrap();
        (text, process::wait_for(pid).unwrap())
    }

    #[test]
    fn a_process_is_as_its_file_says() {
        let script = "pwd; umask; ulimit -n; echo $A $KEPT $MAINPID; nice; read x; echo err >&2; exit 3";
        let (text, exit) = run(script, |execution| {
            execution.directory = "/usr".into();
            execution.umask = 0o27;
            execution.nice = 3;
            execution.limits = vec![(Resource::Nofile, Limit { current: Some(64), maximum: Some(64) })];
            execution.environment = vec![("A".into(), "b c".into())];
        });
        assert_eq!(text, "/usr\n0027\n64\nb c 1 7\n3\nerr\n");
        assert_eq!(exit, Exit::Code(3));
    }

    #[test]
    fn privileges_are_renounced() {
        let (text, _) = run("grep -E '^(NoNewPrivs|CapBnd)' /proc/self/status", |execution| {
            execution.no_new_privileges = true;
            // Only root can do this; others get a message.
            execution.capabilities = (rustix::process::getuid().as_raw() == 0).then_some(1 << 10);
        });
        assert!(text.contains("NoNewPrivs:\t1"), "{text}");
        if rustix::process::getuid().as_raw() == 0 {
            assert!(text.contains("CapBnd:\t0000000000000400"), "{text}");
        }
    }

    #[test]
    fn what_fails_in_the_child_is_written_to_its_output() {
        let (text, exit) = run("echo never", |execution| execution.directory = "/no/such/dir".into());
        assert!(text.starts_with("init: cannot go to its directory"), "{text}");
        assert_eq!(exit, Exit::Code(NOT_RUN));
    }

    #[test]
    fn a_place_that_cannot_be_looked_at_is_not_an_empty_one() {
        let found = |results: &[sys::Result<()>]| super::found(results.iter().copied());
        assert_eq!(found(&[Err(Errno::NOENT), Err(Errno::ACCESS)]), Ok(false));
        assert_eq!(found(&[Err(Errno::IO), Err(Errno::NOENT)]), Err(Errno::IO));
        assert_eq!(found(&[Err(Errno::NOMEM), Ok(())]), Ok(true));
    }

    /// What a process with this user and these capabilities has in /proc/self/status; nothing where only root can do it.
    fn status_of(user: &str, capabilities: Option<u64>) -> Option<Vec<String>> {
        if rustix::process::getuid().as_raw() != 0 {
            eprintln!("skipped: only root can run something as another user");
            return None;
        }
        let script = "grep -E '^(Uid|Gid|Groups|Cap(Prm|Eff|Bnd|Amb)|NoNewPrivs):' /proc/self/status";
        let (text, exit) = run(script, |execution| {
            execution.user = Some(user.into());
            execution.groups = Some(vec!["7".into(), "9".into()]);
            execution.capabilities = capabilities;
            execution.no_new_privileges = true;
        });
        assert_eq!(exit, Exit::Code(0), "{text}");
        Some(text.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>().join(" ")).collect())
    }

    #[test]
    fn a_process_is_its_user_and_keeps_what_is_listed() {
        let Some(status) = status_of("12345", Some(1 << 10)) else {
            return;
        };
        let expected = [
            "Uid: 12345 12345 12345 12345",
            "Gid: 12345 12345 12345 12345",
            "Groups: 7 9",
            "CapPrm: 0000000000000400",
            "CapEff: 0000000000000400",
            "CapBnd: 0000000000000400",
            "CapAmb: 0000000000000400",
            "NoNewPrivs: 1",
        ];
        assert_eq!(status, expected);
    }

    #[test]
    fn another_user_has_no_capabilities_of_itself() {
        for capabilities in [None, Some(0)] {
            let Some(status) = status_of("12345", capabilities) else {
                return;
            };
            for name in ["CapPrm", "CapEff", "CapAmb"] {
                assert!(status.contains(&format!("{name}: 0000000000000000")), "{status:?}");
            }
        }
    }

    #[test]
    fn missing_programs_and_users_are_known_before() {
        let environment = Environment::new(Vec::new(), None);
        let problem = |command: Command, user: Option<&str>| {
            let mut execution = Execution::new(command.clone());
            execution.user = user.map(String::from);
            let setting = Setting { environment: &environment, variables: Vec::new(), cgroup: None, log: None };
            start(&command, &execution, setting).unwrap_err()
        };
        let line = |text: &str| Command::Line(text.into());
        assert_eq!(problem(line("/no/such -x"), None), Problem::Lasting("there is no program /no/such".into()));
        let text = format!("there is no program nosuchprogram in {}", spawn::PATH);
        assert_eq!(problem(Command::Words(vec!["nosuchprogram".into()]), None), Problem::Lasting(text));
        assert!(matches!(problem(line("true"), Some("no-such-user")), Problem::Lasting(_)));
    }
}
