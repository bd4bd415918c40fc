//! Replacing the program of PID 1 while the system runs: after an upgrade, and after a fault.
//!
//! On request ([`go`], SIGURG, `init u`) the program writes what it knows (see [`crate::handover::state`]) into memory and runs the
//! program that its file is now, which reads it and goes on. Nothing is given up before the new program has said that it reads
//! such a state, so a broken file changes nothing. After a fault there is no state but how far the boot was (see
//! [`crate::handover::progress`]): the new program looks at the processes for the programs of its table, so that none is started twice.

use core::time::Duration;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use super::progress::{self, Mark};
use super::rescue;
use super::state::{self, Record, VERSION};
use crate::log::{debug, say};
use crate::spawn::PATH as SEARCH_PATH;
use crate::spawn::command::{self, Program};
use crate::spawn::limits;
use crate::supervisor::Supervisor;
use crate::sys::process::{self, Exit, Pid};
use crate::sys::{Errno, descriptors, fault, files, system};

/// With the number of the descriptor that the state is read from.
const STATE: &str = "--state=";
/// `SECONDS:MARK:MARK`: when the program that had a fault was started after another fault (since the machine's start), or 0;
/// how far that other program was; how far this one was.
const FAULT: &str = "--after-fault=";
/// Asks a program that is not PID 1 whether it reads a version of the state.
const READS: &str = "--reads-state=";
/// Where PID 1 is when nothing else is known.
const PROGRAM: &str = "/sbin/init";
/// The exit code of a program that does; no other program's answer to an argument that it does not know.
const YES: i32 = 86;
/// How long the new program may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Two faults within this time: starting again does not help.
const SOON: Duration = Duration::from_secs(60);

/// PID 1's arguments without those of this module.
static ARGUMENTS: OnceLock<Vec<String>> = OnceLock::new();
/// The fault that this program was started after, if it was.
static AFTER_FAULT: OnceLock<Fault> = OnceLock::new();

/// A fault of the program before this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Fault {
    /// When this program started after it, since the machine's start; 0 for none.
    time: Duration,
    /// How far the program was.
    at: Mark,
}

/// What is left to do after a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// What was done before.
    pub done: Mark,
    /// A phase of the boot that is not done, because it had two faults.
    pub left_out: Option<usize>,
}

/// How this program came to be PID 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start<'a> {
    /// The kernel started it.
    Boot,
    /// The one before it had a fault.
    AfterFault(Rest),
    /// It takes over from the one before it, with what that knew: the descriptor for [`take_state`].
    TakeOver(&'a str),
}

/// Finds out how this program was started; the arguments without this module's.
pub fn start<'a>(arguments: &[&'a str]) -> (Vec<&'a str>, Start<'a>) {
    let own = |argument: &&&str| !argument.starts_with(STATE) && !argument.starts_with(FAULT);
    let plain: Vec<&str> = arguments.iter().filter(own).copied().collect();
    // Once for each program.
    let _ = ARGUMENTS.set(plain.iter().map(|&argument| argument.into()).collect());
    let value = |name: &str| arguments.iter().find_map(|argument| argument.strip_prefix(name));
    let start = if let Some(text) = value(FAULT) {
        descriptors::close_others(None);
        Start::AfterFault(after_fault(text))
    } else if let Some(number) = value(STATE) {
        Start::TakeOver(number)
    } else {
        Start::Boot
    };
    (plain, start)
}

/// What is left to do after the fault that `text` tells of, if anything but the last resort is.
fn after_fault(text: &str) -> Rest {
    let now = system::uptime();
    let (before, at) = faults(text);
    // Once for each program.
    let _ = AFTER_FAULT.set(Fault { time: now, at });
    if is_last(before, Fault { time: now, at }) {
        if let Some(power) = at.power() {
            // It was to go down, and nobody may be there to use a shell.
            system::sync();
            let _ = system::set_power(power);
        }
        rescue::last_resort("a second fault in init within a minute");
    }
    rest(before, at)
}

/// The fault before the last one, and how far the program was at the last one.
fn faults(text: &str) -> (Fault, Mark) {
    let mut fields = text.split(':');
    let time = fields.next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
    let mut mark = || Mark::parse(fields.next().unwrap_or_default());
    (Fault { time: Duration::from_secs(time), at: mark() }, mark())
}

/// Whether the second of two faults leaves nothing but the last resort: they came soon after each other, and not in a phase
/// of the boot, which can be left out.
fn is_last(before: Fault, fault: Fault) -> bool {
    let soon = before.time > Duration::ZERO && fault.time.saturating_sub(before.time) < SOON;
    soon && fault.at.under_way().is_none()
}

/// A phase that had a fault is done again, because the fault may have been of something else that came meanwhile, and left out
/// when it has another.
fn rest(before: Fault, at: Mark) -> Rest {
    match at.under_way().filter(|_| before.time > Duration::ZERO && before.at == at) {
        Some(phase) => Rest { done: Mark::ended(phase), left_out: Some(phase) },
        None => Rest { done: at, left_out: None },
    }
}

/// Takes what the program before this one knew, or says why that cannot be read. It has to be the first to open anything. It
/// takes memory as that has lines of logs, so [`guard`] comes before.
pub fn take_state(number: &str) -> Result<Vec<Record>, String> {
    read(number).inspect_err(|_| descriptors::close_others(None))
}

fn read(number: &str) -> Result<Vec<Record>, String> {
    let number: RawFd = number.parse().map_err(|_| format!("{STATE} has no number"))?;
    let fd = descriptors::adopt(number).map_err(|error| format!("it is not open: {error}"))?;
    let mut content = Vec::new();
    let mut block = [0; 4096];
    while content.len() <= state::MAX {
        match files::read(&fd, &mut block).map_err(|error| format!("it cannot be read: {error}"))? {
            0 => break,
            count => content.extend_from_slice(block.get(..count).unwrap_or_default()),
        }
    }
    let text = String::from_utf8(content).map_err(|_| state::Fault::Cut.to_string())?;
    let mut records = state::parse(&text).map_err(|fault| fault.to_string())?;
    state::claim(&mut records, number);
    Ok(records)
}

/// Makes faults of this program start it again. The boot calls it first of all.
pub fn guard(start: Start<'_>) {
    let before = AFTER_FAULT.get().copied().unwrap_or_default();
    let seconds = before.time.as_secs().max(u64::from(before.time > Duration::ZERO));
    let last = format!("{FAULT}{seconds}:{}:", before.at.number());
    let (Ok((path, arguments)), Ok(last)) = (command_line(&program(), None), CString::new(last)) else {
        return;
    };
    if let Err(error) = fault::restart_with(path, arguments, last) {
        debug!("a fault in init will end the system: {error}");
    }
    progress::set(match start {
        Start::Boot => Mark::default(),
        Start::AfterFault(rest) => rest.done,
        Start::TakeOver(_) => Mark::BOOTED,
    });
}

/// What a panic of this program does: start again, or, when that does not help, keep a shell on the console.
pub fn after_panic(reason: &str) -> ! {
    let before = AFTER_FAULT.get().copied().unwrap_or_default();
    if !is_last(before, Fault { time: system::uptime(), at: progress::reached() }) {
        say!("{reason}; init starts again");
        fault::restart();
    }
    rescue::last_resort(reason)
}

/// Answers [`READS`] for the exit code of a program that is not PID 1; nothing when the arguments are others.
pub fn answer(arguments: &[&str]) -> Option<i32> {
    let [argument] = arguments else {
        return None;
    };
    let version = argument.strip_prefix(READS)?;
    Some(if version.parse() == Ok(VERSION) { YES } else { 1 })
}

/// Replaces the program. Returns only when that did not work, with the reason; then everything is as before.
pub fn go(supervisor: &mut Supervisor) -> String {
    let path = program();
    match supervisor.run_program(&format!("{path} {READS}{VERSION}"), ANSWER) {
        Some(Exit::Code(YES)) => {}
        Some(exit) => return format!("{path} is not an init that can take over from this one ({exit})"),
        None => return format!("{path} does not answer"),
    }
    // What was read so far is dealt with by this program.
    if let Err(reason) = supervisor.quiesce() {
        return reason.into();
    }
    if supervisor.is_going_down() {
        return "the system goes down".into();
    }
    let (text, kept) = supervisor.state().finish();
    match hand_over(&path, &text, &kept) {
        Ok(never) => match never {},
        Err(reason) => reason,
    }
}

/// Writes the state, leaves `kept` open, and runs the program at `path`.
fn hand_over(path: &str, text: &str, kept: &[BorrowedFd<'_>]) -> Result<core::convert::Infallible, String> {
    let memory = write_state(text).map_err(|error| format!("cannot keep the state in memory: {error}"))?;
    let (path, arguments) = command_line(path, Some(format!("{STATE}{}", memory.as_raw_fd())))
        .map_err(|error| format!("cannot make the command line: {error}"))?;
    let environment = command::strings(process::environment()).unwrap_or_default();
    keep(kept, &memory, true).map_err(|error| format!("cannot hand descriptors over: {error}"))?;
    limits::restore_in_child();
    let error = process::exec(&path, &arguments, &environment);
    limits::raise();
    if let Err(error) = keep(kept, &memory, false) {
        say!("programs started from now on find open descriptors of init: {error}");
    }
    Err(format!("cannot run {}: {error}", path.to_string_lossy()))
}

fn write_state(text: &str) -> Result<OwnedFd, Errno> {
    let memory = descriptors::memory_file("init-state")?;
    files::write_all(&memory, text.as_bytes())?;
    descriptors::rewind(&memory)?;
    Ok(memory)
}

fn keep(kept: &[BorrowedFd<'_>], memory: &OwnedFd, keep: bool) -> Result<(), Errno> {
    kept.iter().copied().chain([memory.as_fd()]).try_for_each(|fd| descriptors::keep_on_exec(fd, keep))
}

/// Path and arguments of the next program.
fn command_line(path: &str, own: Option<String>) -> Result<(CString, Vec<CString>), Errno> {
    let given = ARGUMENTS.get().map(Vec::as_slice).unwrap_or_default();
    let words = [path.to_owned()].into_iter().chain(given.iter().cloned()).chain(own);
    let arguments = command::strings(words).ok_or(Errno::INVAL)?;
    Ok((CString::new(path).map_err(|_| Errno::INVAL)?, arguments))
}

/// The file that this program was started from, or the one that has taken its place.
fn program() -> String {
    // Before /proc is there, what the kernel was told is as good.
    let path = files::read_link("/proc/self/exe").ok().or_else(process::started_by).unwrap_or_default();
    let path = original(&path);
    if path.starts_with('/') && files::is_executable(path) { path.into() } else { PROGRAM.into() }
}

/// The kernel marks the path of a file that was removed or replaced (proc(5)).
fn original(path: &str) -> &str {
    path.strip_suffix(" (deleted)").unwrap_or(path)
}

/// The children of this process and their arguments; those that have none (ended, or of the kernel) are left out.
pub fn children() -> Vec<(Pid, Vec<String>)> {
    let names = files::list_dir("/proc").unwrap_or_default();
    let mut found = Vec::new();
    for pid in names.iter().filter_map(|name| name.parse::<Pid>().ok()) {
        let stat = files::read_file(&format!("/proc/{pid}/stat")).unwrap_or_default();
        if parent(&stat) != Some(process::id()) {
            continue;
        }
        let line = files::read_file(&format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = arguments_of(&line);
        if !words.is_empty() {
            found.push((pid, words));
        }
    }
    found
}

/// The children of this process that run its own program and never ran another: those that wait for Enter, or work for it.
pub fn helpers() -> Vec<Pid> {
    let path = |pid: &str| files::read_link(&format!("/proc/{pid}/exe")).ok();
    let Some(own) = path("self") else {
        return Vec::new();
    };
    let names = files::list_dir("/proc").unwrap_or_default();
    let is_helper = |pid: &Pid| {
        let stat = files::read_file(&format!("/proc/{pid}/stat")).unwrap_or_default();
        // The file may have been replaced since they were started.
        parent(&stat) == Some(process::id())
            && never_ran_another(&stat)
            && path(&pid.to_string()).is_some_and(|path| original(&path) == original(&own))
    };
    names.iter().filter_map(|name| name.parse().ok()).filter(is_helper).collect()
}

/// The processes of a session.
pub fn session(leader: Pid) -> Vec<Pid> {
    let names = files::list_dir("/proc").unwrap_or_default();
    let is_in = |pid: &Pid| {
        let stat = files::read_file(&format!("/proc/{pid}/stat")).unwrap_or_default();
        field(&stat, SESSION) == Some(leader)
    };
    names.iter().filter_map(|name| name.parse().ok()).filter(is_in).collect()
}

/// Fields of /proc/PID/stat, counted from the one after the name (proc(5)).
const PARENT: usize = 1;
const SESSION: usize = 3;
const FLAGS: usize = 6;
/// `PF_FORKNOEXEC` of the kernel's include/linux/sched.h, the same since Linux 2.4.
const FORKED: u32 = 0x40;

fn never_ran_another(stat: &[u8]) -> bool {
    field::<u32>(stat, FLAGS).is_some_and(|flags| flags & FORKED != 0)
}

/// A field of `pid (name) state parent ...`; the name may hold blanks and brackets.
fn field<T: core::str::FromStr>(stat: &[u8], number: usize) -> Option<T> {
    let stat = String::from_utf8_lossy(stat);
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(number)?.parse().ok()
}

fn parent(stat: &[u8]) -> Option<Pid> {
    field(stat, PARENT)
}

fn arguments_of(line: &[u8]) -> Vec<String> {
    let line = String::from_utf8_lossy(line);
    line.strip_suffix('\0').map_or_else(Vec::new, |line| line.split('\0').map(String::from).collect())
}

/// Whether a process reads from the terminal `name` in /dev.
pub fn is_on(pid: Pid, name: &str) -> bool {
    let input = files::read_link(&format!("/proc/{pid}/fd/0"));
    input.is_ok_and(|path| path.strip_prefix("/dev/") == Some(name))
}

/// Whether a process with these arguments is what a table's command runs: the program, or a script's interpreter with it. Of
/// a command that the shell takes apart only the words before its first special character are compared.
pub fn is_program_of(command: &str, arguments: &[String]) -> bool {
    command::program(command, SEARCH_PATH).is_some_and(|program| runs(&program, arguments))
}

/// The same for a command whose words are taken as they are.
pub fn is_program_of_words(words: &[String], arguments: &[String]) -> bool {
    command::of_words(words, SEARCH_PATH).is_some_and(|program| runs(&program, arguments))
}

fn runs(program: &Program, arguments: &[String]) -> bool {
    let words: Vec<_> = program.arguments.iter().map(|word| word.to_string_lossy()).collect();
    let same = |words: &[std::borrow::Cow<'_, str>], given: &[String]| {
        words.len() == given.len() && words.iter().zip(given).all(|(word, given)| **word == **given)
    };
    let script = arguments.get(1..).is_some_and(|rest| same(&words, rest));
    if same(&words, arguments) || script {
        return true;
    }
    let Some(text) = words.get(2).and_then(|text| text.strip_prefix("exec ")).filter(|_| words.len() == 3) else {
        return false;
    };
    let plain = |word: &&str| !word.contains(|character| command::SHELL_CHARACTERS.contains(character));
    let start: Vec<_> = text.split_ascii_whitespace().take_while(plain).collect();
    !start.is_empty()
        && arguments.len() >= start.len()
        && start.iter().zip(arguments).all(|(word, given)| word == given)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::signal;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(String::from).collect()
    }

    #[test]
    fn own_arguments_are_taken_out() {
        let (plain, start) = start(&["single", "x"]);
        assert_eq!(plain, ["single", "x"]);
        assert!(matches!(start, Start::Boot));
        assert_eq!(answer(&["--reads-state=1"]), Some(YES));
        assert_eq!(answer(&["--reads-state=2"]), Some(1));
        assert_eq!(answer(&["-q"]), None);
        assert_eq!(answer(&[]), None);
    }

    #[test]
    fn a_state_that_is_not_there_is_an_error() {
        for number in ["x", "-1", "0", "99999"] {
            assert!(read(number).is_err());
        }
    }

    #[test]
    fn a_state_goes_through_memory() {
        let mut writer = state::Writer::default();
        writer.record("paused").field("x", "y".repeat(10_000));
        let memory = write_state(&writer.finish().0).unwrap();
        let records = read(&std::os::fd::IntoRawFd::into_raw_fd(memory).to_string()).unwrap();
        assert_eq!(records[0].get("x").map(str::len), Some(10_000));
    }

    /// A fault at this second and mark.
    fn fault(second: u64, at: Mark) -> Fault {
        Fault { time: Duration::from_secs(second), at }
    }

    #[test]
    fn faults_in_a_row() {
        let last = |before, second| is_last(before, fault(second, Mark::BOOTED));
        assert!(!last(Fault::default(), 5));
        assert!(last(fault(1, Mark::begun(2)), 60));
        assert!(!last(fault(1, Mark::begun(2)), 61));
        // Not while a phase can be left out.
        assert!(!is_last(fault(1, Mark::begun(2)), fault(2, Mark::begun(2))));
        assert!(is_last(fault(1, Mark::begun(2)), fault(2, Mark::ended(2))));
    }

    #[test]
    fn a_phase_with_two_faults_is_left_out() {
        let [begun, later] = [2, 3].map(Mark::begun);
        assert_eq!(rest(Fault::default(), begun), Rest { done: begun, left_out: None });
        assert_eq!(rest(fault(1, begun), begun), Rest { done: Mark::ended(2), left_out: Some(2) });
        assert_eq!(rest(fault(1, begun), later), Rest { done: later, left_out: None });
        let entries = Mark::started(3);
        assert_eq!(rest(fault(1, entries), entries), Rest { done: entries, left_out: None });
    }

    #[test]
    fn the_argument_tells_of_two_faults() {
        let down = Mark::down(system::Power::Off);
        assert_eq!(
            faults(&format!("17:{}:{:05}", Mark::begun(4).number(), down.number())),
            (fault(17, Mark::begun(4)), down)
        );
        // Of an init that knew nothing of marks.
        assert_eq!(faults("17"), (fault(17, Mark::BOOTED), Mark::BOOTED));
    }

    #[test]
    fn the_program_is_known_with_and_without_proc() {
        let own = process::started_by().unwrap();
        assert!(program().ends_with(own.rsplit('/').next().unwrap()), "{own}");
    }

    #[test]
    fn a_replaced_file_is_found_by_its_path() {
        assert_eq!(original("/usr/bin/init (deleted)"), "/usr/bin/init");
        assert_eq!(original("/usr/bin/init"), "/usr/bin/init");
    }

    #[test]
    fn processes_are_known_by_their_arguments() {
        assert!(is_program_of("-/bin/sh", &words("-/bin/sh")));
        assert!(is_program_of("/sbin/getty -L ttyS0", &words("/sbin/getty -L ttyS0")));
        assert!(is_program_of("/etc/rc x", &words("/bin/sh /etc/rc x")));
        assert!(is_program_of("/sbin/udhcpc -f -i eth0 >/run/log 2>&1", &words("/sbin/udhcpc -f -i eth0")));
        assert!(!is_program_of("/sbin/getty -L ttyS0", &words("/sbin/getty -L ttyS1")));
        assert!(!is_program_of("/sbin/getty", &words("/sbin/getty x y")));
        assert!(!is_program_of("$X", &words("anything")));
        assert!(!is_program_of("", &[]));
    }

    #[test]
    fn children_are_told_by_their_parent() {
        assert_eq!(parent(b"61 (a) b) S 1 61 61"), Some(1));
        assert_eq!(parent(b"61 (sh"), None);
        assert!(never_ran_another(b"61 (sh) S 1 61 61 1088 61 4194368 0"));
        assert!(!never_ran_another(b"61 (sh) S 1 61 61 1088 61 4194304 0"));
        let child = process::fork(|| {
            system::sleep(Duration::from_secs(20));
            0
        });
        let child = child.unwrap();
        assert!(children().iter().any(|(pid, _)| *pid == child));
        assert!(helpers().contains(&child));
        process::kill(child, signal::Signal::KILL).unwrap();
        assert!(process::wait_for(child).is_ok());
    }

    #[test]
    fn arguments_of_a_process() {
        assert_eq!(arguments_of(b"sleep\x001000\0"), ["sleep", "1000"]);
        assert_eq!(arguments_of(b""), Vec::<String>::new());
    }
}
