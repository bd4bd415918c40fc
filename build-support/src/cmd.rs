//! The only place that starts a process: it logs the command, gives it a clean environment, checks its status and
//! turns a failure into an error that says what was wanted, what was run and what it said last.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow, bail};
use fs_err as fs;
use rustix::process::Signal;

use crate::host;
use crate::progress::Status;

/// What a command may see of the user's environment: who they are, where programs and caches lie, how to reach
/// the network. Everything else (CFLAGS, MAKEFLAGS, RUSTFLAGS, ...) would change results behind the store's back.
const PASSED_ON: &[&str] = &[
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "TERM",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "CCACHE_DIR",
    "CCACHE_MAXSIZE",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
];

/// How many lines of the log an error shows.
const TAIL: usize = 30;

/// What to do about a full disk.
pub(crate) const FULL_DISK: &str =
    "the disk is full: free some space, or point BLOOMERY_HOME at a larger disk, and build again";

/// What commands used: the sum of their processor time and the largest process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system time of all processes, in seconds.
    pub cpu_seconds: f64,
    /// Resident size of the largest single process, in bytes.
    pub peak_bytes: u64,
}

/// The log file of a step, and what its commands used so far.
pub struct Log {
    /// Where it is.
    pub path: PathBuf,
    file: fs::File,
    usage: Mutex<Usage>,
}

impl Log {
    /// Makes an empty log, and its directory.
    pub fn create(path: &Path) -> Result<Arc<Log>> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let file = fs::File::create(path)?;
        Ok(Arc::new(Log { path: path.to_path_buf(), file, usage: Mutex::default() }))
    }

    /// Adds a line.
    pub fn line(&self, text: &str) -> Result<()> {
        Ok(writeln!(&self.file, "{text}")?)
    }

    /// What the commands used so far.
    pub fn usage(&self) -> Usage {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, used: Usage) {
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        usage.cpu_seconds += used.cpu_seconds;
        usage.peak_bytes = usage.peak_bytes.max(used.peak_bytes);
    }

    fn tail(&self) -> String {
        let text = fs::read(&self.path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }
}

thread_local! {
    /// The log of the stage that this thread builds.
    static STAGE: RefCell<Option<Arc<Log>>> = const { RefCell::new(None) };
}

/// While it lives, commands of this thread that have no log of their own are named in the one of [`Noting::start`]: a
/// library that writes disks starts programs and knows no stage. Their output stays out of it.
pub struct Noting(());

impl Noting {
    /// Names commands in `log`.
    pub fn start(log: &Arc<Log>) -> Noting {
        STAGE.set(Some(Arc::clone(log)));
        Noting(())
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        STAGE.set(None);
    }
}

/// A command to run.
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    dir: Option<PathBuf>,
    envs: Vec<(OsString, OsString)>,
    input: Option<PathBuf>,
    log: Option<Arc<Log>>,
    status: Option<Arc<Status>>,
    relays: bool,
    header_hint: &'static str,
}

impl Cmd {
    /// A command by its name or path.
    pub fn new(program: impl AsRef<OsStr>) -> Cmd {
        Cmd {
            program: program.as_ref().into(),
            args: Vec::new(),
            dir: None,
            envs: Vec::new(),
            input: None,
            log: None,
            status: None,
            relays: false,
            header_hint: "a header is missing: run ./setup.sh",
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Cmd {
        self.args.push(arg.as_ref().into());
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Cmd {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().into()));
        self
    }

    /// Adds `name=value` as one argument, as make and cmake want it.
    pub fn def(self, name: &str, value: impl AsRef<OsStr>) -> Cmd {
        let mut arg = OsString::from(name);
        arg.push("=");
        arg.push(value.as_ref());
        self.arg(arg)
    }

    /// Runs in this directory.
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Cmd {
        self.dir = Some(dir.as_ref().into());
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Cmd {
        self.envs.push((name.as_ref().into(), value.as_ref().into()));
        self
    }

    /// Sets an environment variable that is given as `NAME=VALUE`; without a `=` it is set to nothing.
    pub fn var(self, variable: &str) -> Cmd {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        self.env(name, value)
    }

    /// Reads standard input from a file; the default is nothing.
    pub fn input(mut self, file: impl AsRef<Path>) -> Cmd {
        self.input = Some(file.as_ref().into());
        self
    }

    /// Sends the output to a log.
    pub fn log(mut self, log: &Arc<Log>) -> Cmd {
        self.log = Some(Arc::clone(log));
        self
    }

    /// Lets ninja's count move a status line.
    pub fn status(mut self, status: &Arc<Status>) -> Cmd {
        self.status = Some(Arc::clone(status));
        self
    }

    /// Takes its lines `running: COMMAND` for commands that it starts in its turn, as the crates of the rust-lang
    /// project print them: log and error then have these, which a person can repeat, and the log not this one.
    pub fn relays(mut self) -> Cmd {
        self.relays = true;
        self
    }

    /// Says what to do about a missing header, where that is not one of this machine's.
    pub fn header_hint(mut self, hint: &'static str) -> Cmd {
        self.header_hint = hint;
        self
    }

    /// Runs it. `wanted` completes the sentence "cannot ...".
    pub fn run(self, wanted: &str) -> Result<()> {
        self.execute(wanted).map(drop)
    }

    /// Runs it and returns what it printed, standard output and error together.
    pub fn read(self, wanted: &str) -> Result<String> {
        self.execute(wanted)
    }

    /// The command as a person would type it.
    pub fn text(&self) -> String {
        let envs = self.envs.iter().map(|(name, value)| format!("{}={}", name.to_string_lossy(), quote(value)));
        envs.chain(std::iter::once(&self.program).chain(&self.args).map(|word| quote(word)))
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn execute(self, wanted: &str) -> Result<String> {
        let stage = STAGE.with_borrow(Option::clone);
        if let Some(log) = self.log.as_ref().or(stage.as_ref()).filter(|_| !self.relays) {
            let dir = self.dir.as_ref().map_or(String::new(), |dir| format!("cd {} && ", quote(dir.as_os_str())));
            log.line(&format!("\n$ {dir}{}", self.text()))?;
        }
        let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
        let child = self.command(writer)?.spawn().map_err(|error| self.not_started(wanted, &error))?;
        let mut output = Vec::new();
        let mut relayed = None;
        let mut reader = BufReader::new(reader);
        loop {
            let start = output.len();
            if reader.read_until(b'\n', &mut output).context("cannot read a command's output")? == 0 {
                break;
            }
            match self.relayed(&output[start..]) {
                Some(command) => {
                    self.observe(format!("\n$ {command}\n").as_bytes())?;
                    relayed = Some(command);
                }
                None => self.observe(&output[start..])?,
            }
            if self.log.is_some() {
                output.clear(); // The log has it; LLVM's build prints megabytes.
            }
        }
        let (status, usage) = wait(child.id()).with_context(|| format!("cannot wait for {}", self.text()))?;
        if let Some(log) = &self.log {
            log.add(usage);
        }
        let output = String::from_utf8_lossy(&output).into_owned();
        if status.success() { Ok(output) } else { Err(self.failed(wanted, relayed, status, &output)) }
    }

    /// The command that a line of its output announces.
    fn relayed(&self, line: &[u8]) -> Option<String> {
        let line = std::str::from_utf8(line).ok().filter(|_| self.relays)?;
        line.strip_prefix("running: ").map(|command| command.trim_end().to_string())
    }

    fn observe(&self, line: &[u8]) -> Result<()> {
        if let Some(log) = &self.log {
            (&log.file).write_all(line)?;
        }
        if let Some(status) = &self.status {
            status.observe(&String::from_utf8_lossy(line));
        }
        Ok(())
    }

    fn command(&self, output: std::io::PipeWriter) -> Result<Command> {
        let mut command = Command::new(&self.program);
        command.args(&self.args).env_clear();
        command.envs(PASSED_ON.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.env("PATH", std::env::join_paths(host::search_path())?);
        command.env("LC_ALL", "C").env("TZ", "UTC"); // Sorting, messages and dates do not depend on the user's place.
        // ccache tells compilers apart by the name of the real file, and that of our clang is `llvm`.
        command.env("CCACHE_COMPILERTYPE", "clang");
        command.envs(self.envs.iter().map(|(name, value)| (name, value)));
        command.stdin(match &self.input {
            Some(path) => Stdio::from(fs::File::open(path)?.into_file()),
            None => Stdio::null(),
        });
        command.stderr(output.try_clone().context("cannot copy a pipe")?).stdout(output);
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        // make and ninja end their compilers on SIGTERM; nothing goes on for a build that was killed.
        end_with_parent(&mut command);
        Ok(command)
    }

    fn not_started(&self, wanted: &str, error: &std::io::Error) -> anyhow::Error {
        let program = self.program.to_string_lossy();
        if error.kind() == std::io::ErrorKind::NotFound {
            return anyhow!("cannot {wanted}: `{program}` is not installed\nhint: run ./setup.sh");
        }
        anyhow!("cannot {wanted}: `{program}` does not start: {error}")
    }

    fn failed(&self, wanted: &str, relayed: Option<String>, status: ExitStatus, output: &str) -> anyhow::Error {
        let tail = self.log.as_ref().map_or(output.to_string(), |log| log.tail());
        let here = std::env::current_dir().unwrap_or_default();
        let dir = self.dir.clone().unwrap_or(here);
        let command = relayed.unwrap_or_else(|| self.text());
        let mut text = format!("cannot {wanted}\ncommand: {command}\nin: {}\nended with {status}", dir.display());
        for line in tail.lines() {
            text += &format!("\n  | {line}");
        }
        if let Some(log) = &self.log {
            text += &format!("\nlog: {}", log.path.display());
        }
        if let Some(hint) = hint(&tail, status, self.header_hint) {
            text += &format!("\nhint: {hint}");
        }
        anyhow!(text)
    }
}

/// Makes a command get SIGTERM when the process that starts it ends, or has become another program that ends.
pub fn end_with_parent(command: &mut Command) {
    let ask = || Ok(rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?);
    // SAFETY: the closure makes one system call and touches no memory.
    unsafe { command.pre_exec(ask) };
}

/// A word as a shell reads it.
fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@%".contains(c);
    let is_plain = !word.is_empty() && word.chars().all(plain);
    if is_plain { word.into_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// What to do about a failure whose cause the output names.
fn hint(output: &str, status: ExitStatus, header: &'static str) -> Option<&'static str> {
    if output.contains("No space left on device") {
        return Some(FULL_DISK);
    }
    if status.signal() == Some(libc::SIGKILL) || output.contains("Killed signal") || output.contains("out of memory") {
        return Some("memory ran out: close other programs, or build with fewer jobs (cargo build -j 1)");
    }
    if output.contains("fatal error:") && output.contains("file not found") {
        return Some(header);
    }
    None
}

/// Waits for a child and asks what it and its waited-for children used.
fn wait(pid: u32) -> Result<(ExitStatus, Usage)> {
    let mut status = 0;
    // SAFETY: rusage is plain data, for which all zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to live locals of the right types.
        let waited = unsafe { libc::wait4(pid.cast_signed(), &mut status, 0, &mut usage) };
        if waited >= 0 {
            break;
        }
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            bail!(error);
        }
    }
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let usage = Usage {
        cpu_seconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        peak_bytes: usage.ru_maxrss.unsigned_abs() * 1024, // In KiB, getrusage(2).
    };
    Ok((ExitStatus::from_raw(status), usage))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_returns_what_was_printed() {
        assert_eq!(Cmd::new("echo").arg("hello").read("greet").unwrap(), "hello\n");
    }

    #[test]
    fn a_failure_says_all() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::create(&dir.path().join("x.log")).unwrap();
        let script = "echo first; echo 'write: No space left on device'; exit 3";
        let error = Cmd::new("sh").args(["-c", script]).dir("/").log(&log).run("build x").unwrap_err().to_string();
        for part in [
            "cannot build x",
            "command: sh -c",
            "in: /",
            "exit status: 3",
            "| first",
            "x.log",
            "hint: the disk is full",
        ] {
            assert!(error.contains(part), "`{part}` is not in:\n{error}");
        }
    }

    #[test]
    fn a_relayed_command_is_the_one_that_failed() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::create(&dir.path().join("x.log")).unwrap();
        let script = "echo 'running: cd /build && \"cmake\" \"-G\"'; echo 'CMake Error: no generator'; exit 1";
        let cmd = Cmd::new("sh").args(["-c", script]).log(&log).relays();
        let error = cmd.run("build x").unwrap_err().to_string();
        assert!(error.contains("command: cd /build && \"cmake\" \"-G\"\n"), "{error}");
        assert!(error.contains("| CMake Error: no generator"), "{error}");
        assert!(fs::read_to_string(&log.path).unwrap().contains("\n$ cd /build && \"cmake\""));
    }

    #[test]
    fn commands_of_a_stage_are_named_in_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::create(&dir.path().join("x.log")).unwrap();
        let noting = Noting::start(&log);
        assert_eq!(Cmd::new("echo").arg("in a stage").read("greet").unwrap(), "in a stage\n");
        drop(noting);
        Cmd::new("echo").arg("after it").read("greet").unwrap();
        assert_eq!(fs::read_to_string(&log.path).unwrap(), "\n$ echo 'in a stage'\n");
    }

    #[test]
    fn a_missing_program_is_told_from_a_failing_one() {
        let error = Cmd::new("no-such-program").run("try").unwrap_err().to_string();
        assert!(error.contains("not installed") && error.contains("setup.sh"), "{error}");
    }

    #[test]
    fn the_text_of_a_command_is_what_a_shell_runs() {
        let words = ["plain", "", "it's", "a b", "$HOME", "\"", "a\nb"];
        let text = Cmd::new("printf").arg("[%s]").args(words).text();
        let printed = Cmd::new("sh").args(["-c", &text]).read("run it").unwrap();
        assert_eq!(printed, words.map(|word| format!("[{word}]")).concat(), "{text}");
    }

    #[test]
    fn the_environment_is_clean() {
        let text = Cmd::new("env").env("MINE", "1").read("look").unwrap();
        assert!(text.contains("MINE=1") && text.contains("LC_ALL=C") && !text.contains("CARGO_PKG_NAME"), "{text}");
    }

    #[test]
    fn processor_time_and_memory_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::create(&dir.path().join("x.log")).unwrap();
        let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done";
        Cmd::new("sh").args(["-c", script]).log(&log).run("count").unwrap();
        assert!(log.usage().cpu_seconds > 0.0 && log.usage().peak_bytes > 100_000, "{:?}", log.usage());
    }
}
