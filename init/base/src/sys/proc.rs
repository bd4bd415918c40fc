//! `/proc/PID` (proc(5)): the only reader of it. A process may end between two of these calls.

use super::Result;
use super::files;
use super::process::Pid;

/// Where the kernel shows the processes.
const PROC: &str = "/proc";
/// `PF_FORKNOEXEC` of the kernel's include/linux/sched.h, the same since Linux 2.4.
const FORKED: i64 = 0x40;

/// Some fields of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The parent.
    pub parent: Pid,
    /// The session's leader, which may be gone.
    pub session: Pid,
    /// The number of the session's terminal; 0 is none.
    terminal: i64,
    /// The kernel's `PF_` flags.
    flags: i64,
}

impl Stat {
    /// Reads `pid (name) state parent group session terminal foreground flags ...`; the name may hold blanks and brackets.
    fn parse(text: &[u8]) -> Option<Stat> {
        let end = text.iter().rposition(|&byte| byte == b')')?;
        let fields = core::str::from_utf8(text.get(end + 1..)?).ok()?;
        // One kind of number for all fields, because each kind is a function more.
        let mut numbers = fields.split_ascii_whitespace().skip(1).map_while(|field| field.parse::<i64>().ok());
        let (parent, session, terminal) = (numbers.next()?, numbers.nth(1)?, numbers.next()?);
        let flags = numbers.nth(1)?;
        let pid = |number: i64| Pid::try_from(number).ok();
        Some(Stat { parent: pid(parent)?, session: pid(session)?, terminal, flags })
    }

    /// Whether it is a process of its parent's program that never called execve(2).
    pub fn never_ran_another(&self) -> bool {
        self.flags & FORKED != 0
    }

    /// Whether it, the process `pid`, leads a session that has a terminal.
    pub fn leads_terminal(&self, pid: Pid) -> bool {
        self.session == pid && self.terminal != 0
    }
}

/// The processes for which `is_wanted` says so.
///
/// # Errors
/// When /proc is not mounted.
pub fn find(is_wanted: &dyn Fn(Pid, &Stat) -> bool) -> Result<Vec<Pid>> {
    let mut found = Vec::new();
    for name in files::list_dir(PROC)? {
        // A process that ended meanwhile has no stat.
        if let Ok(pid) = name.parse()
            && let Some(stat) = stat(pid)
            && is_wanted(pid, &stat)
        {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Reads `/proc/PID/stat`; nothing when the process is gone.
fn stat(pid: Pid) -> Option<Stat> {
    Stat::parse(&files::read_file(&format!("{PROC}/{pid}/stat")).ok()?)
}

/// The arguments of a process; none when it is gone, has ended, or is the kernel's.
pub fn arguments(pid: Pid) -> Vec<String> {
    arguments_of(&files::read_file(&format!("{PROC}/{pid}/cmdline")).unwrap_or_default())
}

fn arguments_of(line: &[u8]) -> Vec<String> {
    let line = String::from_utf8_lossy(line);
    line.strip_suffix('\0').map_or_else(Vec::new, |line| line.split('\0').map(String::from).collect())
}

/// The path of the program that a process runs; see [`without_mark`].
///
/// # Errors
/// When the process is gone, or /proc is not mounted.
pub fn executable(pid: Pid) -> Result<String> {
    files::read_link(&format!("{PROC}/{pid}/exe"))
}

/// The path of the program that this process runs.
///
/// # Errors
/// When /proc is not mounted.
pub fn own_executable() -> Result<String> {
    files::read_link("/proc/self/exe")
}

/// A path without the mark that the kernel sets behind that of a file that was removed or replaced.
pub fn without_mark(path: &str) -> &str {
    path.strip_suffix(" (deleted)").unwrap_or(path)
}

/// The path of a process's standard input.
///
/// # Errors
/// When the process is gone, or has none.
pub fn input(pid: Pid) -> Result<String> {
    files::read_link(&format!("{PROC}/{pid}/fd/0"))
}

/// The user whose process it is; nothing when it is gone.
pub fn owner(pid: Pid) -> Option<u32> {
    files::status(&format!("{PROC}/{pid}")).ok().map(|status| status.owner)
}

/// The control groups of a process, one a line: `HIERARCHY:CONTROLLERS:PATH` (cgroups(7)); nothing when it is gone.
pub fn control_groups(pid: Pid) -> Option<String> {
    let table = files::read_file(&format!("{PROC}/{pid}/cgroup")).ok()?;
    Some(String::from_utf8_lossy(&table).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_may_hold_anything() {
        let stat = Stat { parent: 1, session: 61, terminal: 1088, flags: 4_194_304 };
        assert_eq!(Stat::parse(b"61 (sh) S 1 60 61 1088 62 4194304 0"), Some(stat));
        assert_eq!(Stat::parse(b"61 (a) S 5 0) S 1 60 61 1088 62 4194304 0"), Some(stat));
        assert_eq!((Stat::parse(b"61 (sh"), Stat::parse(b""), Stat::parse(b"61 (sh) S 1 60")), (None, None, None));
    }

    #[test]
    fn session_leaders_with_a_terminal() {
        let stat = Stat { parent: 1, session: 61, terminal: 1088, flags: 0 };
        assert!(stat.leads_terminal(61) && !stat.leads_terminal(62));
        assert!(!Stat { terminal: 0, ..stat }.leads_terminal(61));
    }

    #[test]
    fn a_fork_is_known() {
        let with = |flags| Stat { parent: 1, session: 1, terminal: 0, flags };
        assert!(with(4_194_368).never_ran_another() && !with(4_194_304).never_ran_another());
    }

    #[test]
    fn arguments_of_a_process() {
        assert_eq!(arguments_of(b"sleep\x001000\0"), ["sleep", "1000"]);
        assert_eq!(arguments_of(b""), Vec::<String>::new());
    }

    #[test]
    fn a_replaced_file_is_found_by_its_path() {
        assert_eq!(without_mark("/usr/bin/init (deleted)"), "/usr/bin/init");
        assert_eq!(without_mark("/usr/bin/init"), "/usr/bin/init");
    }
}
