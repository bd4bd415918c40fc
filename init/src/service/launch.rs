//! Starts a service's process: what is looked up before the fork, and what the child does up to its program. The runner calls
//! [`start`].

use std::ffi::{CStr, CString};
use std::os::fd::{BorrowedFd, OwnedFd};

use super::account::{Accounts, Identity};
use super::config::{Command, Execution, Output};
use super::exec_status::{self, NotRun};
use crate::spawn::command::{self, Program};
use crate::spawn::{self, Environment, NOT_RUN};
use crate::spawn::{console, limits};
use crate::sys::process::{self, Pid};
use crate::sys::{self, Errno, descriptors, files, privileges, signal};

/// What execve(2) says of a program that has to be changed, or put there, by somebody. Others are want of memory or of processes,
/// a disk, a server.
const LASTING: &[Errno] = &[
    Errno::NOENT,
    Errno::NOTDIR,
    Errno::LIBACC,
    Errno::ACCESS,
    Errno::PERM,
    Errno::LOOP,
    Errno::NAMETOOLONG,
    Errno::ISDIR,
    Errno::NOEXEC,
    Errno::LIBBAD,
    Errno::INVAL,
    Errno::TOOBIG,
];

/// Settings of a process that do not come from its service's file.
pub struct Setting<'a> {
    /// PID 1's environment.
    pub environment: &'a Environment,
    /// More variables.
    pub variables: Vec<(&'static str, String)>,
    /// The file to write to for joining the control group.
    pub cgroup: Option<&'a str>,
    /// The end of the pipe to the log.
    pub log: Option<OwnedFd>,
    /// Where to [`exec_status::tell`] that the program cannot be run; without it the exit code alone says so.
    pub exec_status: Option<BorrowedFd<'a>>,
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
    exec_status: Option<BorrowedFd<'a>>,
}

/// Starts `command` in the way that `execution` says.
pub fn start(command: &Command, execution: &Execution, setting: Setting<'_>) -> Result<Pid, Problem> {
    let identity = identity(execution)?;
    let environment = environment(execution, &setting, identity.as_ref());
    let program = program(command, search_path(execution, setting.environment))?;
    let null = || files::open_device("/dev/null");
    let opened = null().and_then(|input| Ok((input, output(execution.output, setting.log).unwrap_or_else(null)?)));
    let (input, output) =
        opened.map_err(|error| Problem::Passing(format!("cannot open its input and output: {error}")))?;
    let Setting { cgroup, exec_status, .. } = setting;
    let plan =
        Plan { execution, program, environment: environment.to_c(), identity, cgroup, input, output, exec_status };
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

/// Why the program of `command` does not run, where its process found out. As for [`start`].
pub fn not_run(command: &Command, execution: &Execution, environment: &Environment, fault: NotRun) -> Problem {
    let NotRun { step, error } = fault;
    let reason = match error {
        error if step > 0 => format!("cannot {}: {error}", step_text(step, execution)),
        Errno::NOENT | Errno::NOTDIR => missing(command, search_path(execution, environment)),
        Errno::LIBACC => format!("cannot run {}: its interpreter is missing", name_of(command)),
        error => format!("cannot run {}: {error}", name_of(command)),
    };
    if LASTING.contains(&error) { Problem::Lasting(reason) } else { Problem::Passing(reason) }
}

/// What a process does before its program, in order; messages number them from 1.
#[rustfmt::skip]
const STEPS: &[&str] = &[
    "set its input and output", "unblock signals", "make a session", "join its control group", "set a resource limit",
    "take its groups", "take its group", "bound its capabilities", "keep its capabilities", "become its user",
    "take its capabilities", "renounce privileges", "go to its directory",
];

/// A step with the value that the service's file has for it.
fn step_text(step: u16, execution: &Execution) -> String {
    let what = STEPS.get(usize::from(step).saturating_sub(1)).copied().unwrap_or("prepare");
    match (what, &execution.user) {
        ("go to its directory", _) => format!("{what} {}", execution.directory),
        ("become its user", Some(user)) => format!("{what} {user}"),
        _ => what.into(),
    }
}

/// Where a program without a slash in its name is looked for.
fn search_path<'a>(execution: &'a Execution, environment: &'a Environment) -> &'a str {
    let own = execution.environment.iter().rfind(|(name, _)| name == "PATH").map(|(_, value)| value.as_str());
    own.or_else(|| environment.get("PATH")).unwrap_or(spawn::SEARCH_PATH)
}

/// The program, which has to be there as far as that can be known before the fork: its absence is worth more than an exit code.
fn program(command: &Command, path: &str) -> Result<Program, Problem> {
    let (program, text) = match command {
        Command::Line(line) => (command::program(line, path), line.as_str()),
        Command::Words(words) => (command::of_words(words, path), name_of(command)),
    };
    let program = program.ok_or_else(|| Problem::Lasting(format!("'{text}' is no command")))?;
    if program.paths.iter().all(|path| is_missing(path)) {
        return Err(Problem::Lasting(missing(command, path)));
    }
    Ok(program)
}

/// Whether it is certain that there is no program with this path. Other mounts than the root's are left to the child, which may
/// wait for their servers, and so is what the kernel does not tell.
fn is_missing(path: &CStr) -> bool {
    // A relative path begins in the service's directory.
    let Some(path) = path.to_str().ok().filter(|path| path.starts_with('/')) else {
        return false;
    };
    match files::status_on_root(path) {
        // access(2) would ask for PID 1, for which a directory can be executed too, and the program is run as somebody else.
        // Nobody can run what has no such bit at all; lists of access rights show theirs as the group's (acl(5)).
        Ok(status) => !status.regular || status.mode & 0o111 == 0,
        Err(error) => matches!(error, Errno::NOENT | Errno::NOTDIR),
    }
}

/// Tells a program that is not there from one that is and cannot be run.
fn missing(command: &Command, path: &str) -> String {
    match name_of(command) {
        name if name.starts_with('/') && files::status_on_root(name).is_ok_and(|status| !status.regular) => {
            format!("{name} is no program: it is no regular file")
        }
        name if name.starts_with('/') && files::status_on_root(name).is_ok() => {
            format!("{name} cannot be run: it has no execute bit; hint: chmod +x {name}")
        }
        name if name.contains('/') => format!("there is no program {name}"),
        name => format!("there is no program {name} in {path}"),
    }
}

/// The name of a command's program.
fn name_of(command: &Command) -> &str {
    match command {
        Command::Line(line) => line.trim_start_matches('-').split_ascii_whitespace().next().unwrap_or(line),
        Command::Words(words) => words.first().map_or("", String::as_str),
    }
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
        let step = STEPS.iter().position(|step| *step == what).map_or(0, |index| index as u16 + 1);
        if step == 0 || !told(plan, NotRun { step, error }) {
            files::to_stderr(format_args!("init: cannot {what}: {error}\n"));
        }
        return NOT_RUN;
    }
    // An exec would do that too, but on a file system that does not answer it comes late.
    descriptors::close_others(plan.exec_status);
    let Program { paths, arguments } = &plan.program;
    let error = spawn::exec_first(paths, arguments, &plan.environment);
    let is_there = || paths.iter().filter_map(|path| path.to_str().ok()).any(|path| files::status(path).is_ok());
    let reason = match error {
        // The kernel says of a script's interpreter, or of a program's loader, what it says of the program.
        Errno::NOENT if is_there() => Errno::LIBACC,
        error => error,
    };
    if told(plan, NotRun { step: 0, error: reason }) {
        return NOT_RUN;
    }
    let name = paths.first().map(|path| path.to_string_lossy()).unwrap_or_default();
    files::to_stderr(format_args!("init: cannot run {name}: {error}\n"));
    NOT_RUN
}

/// Whether PID 1 was told why the program does not run.
fn told(plan: &Plan<'_>, fault: NotRun) -> bool {
    plan.exec_status.is_some_and(|exec_status| exec_status::tell(exec_status, fault).is_ok())
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
        files::to_stderr(format_args!("init: cannot set oom-score-adj to {score}: {error}\n"));
    }
    if execution.nice != 0
        && let Err(error) = privileges::set_nice(execution.nice)
    {
        files::to_stderr(format_args!("init: cannot set nice to {}: {error}\n", execution.nice));
    }
}

#[cfg(test)]
mod tests {
    use super::super::exec_status::ExecStatus;
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
        let setting =
            Setting { environment: &environment, variables, cgroup: None, log: Some(writer), exec_status: None };
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
    fn what_nobody_can_run_is_missing() {
        if files::status_on_root("/").is_err() {
            return testing::skip("this host refuses openat2");
        }
        for path in [c"/no/such/program", c"/etc", c"/etc/passwd/x"] {
            assert!(is_missing(path), "{path:?}");
        }
        // On other mounts nothing is certain, nor where it depends on a directory.
        for path in [c"/proc/no/such/program", c"no/such/program", c"/\xff"] {
            assert!(!is_missing(path), "{path:?}");
        }
    }

    /// What a process with this user and these capabilities has in /proc/self/status; nothing where only root can do it.
    fn status_of(user: &str, capabilities: Option<u64>) -> Option<Vec<String>> {
        if rustix::process::getuid().as_raw() != 0 {
            testing::skip("only root can run something as another user");
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

    /// What comes of a start that has to fail, before or after the fork.
    fn problem(command: Command, change: impl FnOnce(&mut Execution)) -> Problem {
        let environment = Environment::new(Vec::new(), None);
        let mut exec_status = ExecStatus::new().unwrap();
        let mut execution = Execution::new(command);
        change(&mut execution);
        let variables = Vec::new();
        let setting = Setting {
            environment: &environment,
            variables,
            cgroup: None,
            log: None,
            exec_status: Some(exec_status.writer()),
        };
        start(&execution.command, &execution, setting).map_or_else(core::convert::identity, |pid| {
            assert_eq!(process::wait_for(pid), Ok(Exit::Code(NOT_RUN)));
            not_run(&execution.command, &execution, &environment, exec_status.take(pid).unwrap())
        })
    }

    #[test]
    fn missing_programs_and_users_are_known() {
        let line = |text: &str| Command::Line(text.into());
        // The second one is on a mount of its own, and the last begins in a directory.
        for path in ["/no/such", "/proc/no/such", "no/such"] {
            let text = format!("there is no program {path}");
            assert_eq!(problem(line(&format!("{path} -x")), |_| {}), Problem::Lasting(text));
        }
        for path in [spawn::SEARCH_PATH, "/proc:/bin", "/bin:"] {
            let words = Command::Words(vec!["nosuchprogram".into()]);
            let text = format!("there is no program nosuchprogram in {path}");
            let change = |execution: &mut Execution| execution.environment = vec![("PATH".into(), path.into())];
            assert_eq!(problem(words, change), Problem::Lasting(text));
        }
        let nobody = problem(line("true"), |execution| execution.user = Some("no-such-user".into()));
        assert!(matches!(nobody, Problem::Lasting(_)));
    }

    #[test]
    fn programs_that_cannot_be_run_are_known_afterwards() {
        let script = std::env::temp_dir().join(format!("init-script-{}", std::process::id()));
        std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let path = script.to_str().unwrap();
        let found = problem(Command::Words(vec![path.into()]), |_| {});
        assert_eq!(found, Problem::Lasting(format!("cannot run {path}: its interpreter is missing")));
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        let found = problem(Command::Words(vec![path.into()]), |_| {});
        let text = format!("{path} cannot be run: it has no execute bit; hint: chmod +x {path}");
        assert_eq!(found, Problem::Lasting(text));
        std::fs::remove_file(&script).unwrap();
        let found = problem(Command::Words(vec!["/bin/".into()]), |_| {});
        assert_eq!(found, Problem::Lasting("/bin/ is no program: it is no regular file".into()));
        // A step before the program.
        let found = problem(Command::Line("true".into()), |execution| execution.directory = "/no/such".into());
        assert_eq!(found, Problem::Lasting(format!("cannot go to its directory /no/such: {}", Errno::NOENT)));
        let found = problem(Command::Line("/proc/self/status".into()), |_| {});
        assert_eq!(found, Problem::Lasting(format!("cannot run /proc/self/status: {}", Errno::ACCESS)));
        // What can be otherwise the next time.
        let execution = Execution::new(Command::Line("x".into()));
        let environment = Environment::new(Vec::new(), None);
        for error in [Errno::IO, Errno::NOMEM, Errno::NOTCONN, Errno::AGAIN] {
            let problem = not_run(&execution.command, &execution, &environment, NotRun { step: 0, error });
            assert!(matches!(problem, Problem::Passing(_)), "{problem:?}");
        }
    }
}
