//! Processes: start, replace, wait, signal.

use std::ffi::{CStr, CString, c_char, c_int};
use std::os::fd::OwnedFd;

use super::signal::Signal;
use super::{Errno, Result, check, retry};

/// A process id; always positive.
pub type Pid = i32;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

impl core::fmt::Display for Exit {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// The name that the program was started by, and its arguments; those that are not UTF-8 are left out.
///
/// # Safety
/// `argv` holds `argc` pointers to terminated strings that live as long as the process.
pub unsafe fn arguments(argc: c_int, argv: *const *const c_char) -> (&'static str, Vec<&'static str>) {
    let argument = |index: usize| {
        // SAFETY: the caller promises `argc` valid pointers.
        unsafe { CStr::from_ptr(*argv.add(index)) }.to_str().ok()
    };
    let count = usize::try_from(argc).unwrap_or(0);
    // exec(2) may give no arguments at all, not even a name.
    let name = if count > 0 { argument(0) } else { None };
    (name.unwrap_or_default(), (1..count).filter_map(argument).collect())
}

/// The environment the kernel started the program with, as `NAME=value`; what is not UTF-8 is left out.
pub fn environment() -> Vec<String> {
    std::env::vars_os().filter_map(|(name, value)| Some(format!("{}={}", name.to_str()?, value.to_str()?))).collect()
}

/// The path that this program was started by, as the kernel was given it; known without /proc too.
pub fn started_by() -> Option<String> {
    // SAFETY: getauxval takes no pointers.
    let address = unsafe { libc::getauxval(libc::AT_EXECFN) };
    if address == 0 {
        return None;
    }
    // SAFETY: the kernel puts a terminated string there, which lives as long as the program (getauxval(3)).
    let path = unsafe { CStr::from_ptr(address as *const c_char) };
    path.to_str().ok().map(String::from)
}

/// This process's id.
pub fn id() -> Pid {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// Ends this process.
pub fn exit(code: i32) -> ! {
    std::process::exit(code)
}

/// The inode of the kernel's first namespace of processes (`PROC_PID_INIT_INO` of linux/proc_ns.h).
const FIRST_NAMESPACE: &str = "pid:[4026531836]";

/// Whether this process is in another namespace of processes than the kernel's first one, as in a container.
pub fn is_in_container() -> bool {
    super::files::read_link("/proc/self/ns/pid").is_ok_and(|link| link != FIRST_NAMESPACE)
}

/// Starts a process that runs `child` and exits with the code it returns.
///
/// The process has one thread, so `child` may allocate; it must not use the caller's ring.
pub fn fork(child: impl FnOnce() -> i32) -> Result<Pid> {
    // SAFETY: the process has a single thread, so no lock is held by anyone else at the fork, and the child leaves by
    // _exit without running what the parent registered for its own exit.
    unsafe {
        match check(libc::fork())? {
            0 => libc::_exit(child()),
            pid => Ok(pid),
        }
    }
}

/// Replaces the program of this process; returns only when that failed.
pub fn exec(path: &CStr, arguments: &[CString], environment: &[CString]) -> Errno {
    let arguments = pointers(arguments);
    let environment = pointers(environment);
    // SAFETY: both arrays end with a null pointer and point to strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    super::last_error()
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([core::ptr::null()]).collect()
}

/// Takes the next ended child, if there is one, without waiting.
///
/// # Errors
/// `ECHILD` when there is no child at all, which at shutdown means that every other process is gone.
pub fn wait_any() -> Result<Option<(Pid, Exit)>> {
    let found = retry(|| rustix::process::wait(rustix::process::WaitOptions::NOHANG))?;
    Ok(found.map(|(pid, status)| (pid.as_raw_nonzero().get(), exit_of(status))))
}

/// Waits for the child `pid`. PID 1 itself does so only for a child that is known to end at once.
pub fn wait_for(pid: Pid) -> Result<Exit> {
    let pid = existing(pid)?;
    let found = retry(|| rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()))?;
    found.map(|(_, status)| exit_of(status)).ok_or(Errno::CHILD)
}

fn exit_of(status: rustix::process::WaitStatus) -> Exit {
    match status.terminating_signal() {
        Some(signal) => Exit::Signal(signal),
        None => Exit::Code(status.exit_status().unwrap_or(0)),
    }
}

/// A number that can be a process's.
fn existing(pid: Pid) -> Result<rustix::process::Pid> {
    rustix::process::Pid::from_raw(pid.max(0)).ok_or(Errno::SRCH)
}

/// Sends a signal to one process.
pub fn kill(pid: Pid, signal: Signal) -> Result<()> {
    rustix::process::kill_process(existing(pid)?, signal)
}

/// Sends a signal to a process group.
pub fn kill_group(group: Pid, signal: Signal) -> Result<()> {
    rustix::process::kill_process_group(existing(group)?, signal)
}

/// Sends a signal to a process and to what it started in its own process group. That it is gone is no error.
pub fn signal_group(pid: Pid, signal: Signal) -> Result<()> {
    match kill_group(pid, signal) {
        // It ended in the meantime, or its child has not made its session yet, or it leads no group.
        Err(Errno::SRCH) => match kill(pid, signal) {
            Err(Errno::SRCH) => Ok(()),
            result => result,
        },
        result => result,
    }
}

/// The process group of a process.
pub fn group_of(pid: Pid) -> Result<Pid> {
    rustix::process::getpgid(Some(existing(pid)?)).map(|group| group.as_raw_nonzero().get())
}

/// A descriptor that is readable when the process has ended, whoever's child it is (pidfd_open(2), Linux 5.3).
pub fn descriptor(pid: Pid) -> Result<OwnedFd> {
    rustix::process::pidfd_open(existing(pid)?, rustix::process::PidfdFlags::empty())
}

/// Whether there is a process with this id.
pub fn exists(pid: Pid) -> bool {
    existing(pid).is_ok_and(|pid| rustix::process::test_kill_process(pid) != Err(Errno::SRCH))
}

/// Whether there is a process in this process group.
pub fn group_exists(group: Pid) -> bool {
    existing(group).is_ok_and(|group| rustix::process::test_kill_process_group(group) != Err(Errno::SRCH))
}

/// Sends a signal to every process but this one (and, for PID 1, to all that the kernel lets it reach).
pub fn kill_all(signal: Signal) -> Result<()> {
    // rustix has no function for it.
    // SAFETY: kill(2) takes no pointers.
    check(unsafe { libc::kill(-1, signal.as_raw()) }).map(drop)
}

/// Makes this process the leader of a new session without a terminal.
pub fn new_session() -> Result<()> {
    rustix::process::setsid().map(drop)
}

/// Goes to the directory `path`.
pub fn change_dir(path: &str) -> Result<()> {
    rustix::process::chdir(path)
}
