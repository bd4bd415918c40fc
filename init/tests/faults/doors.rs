//! What the functions of `init/base/src/sys` ask the kernel: the test fails when one of them makes a call that is not tried.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::Path;

use crate::calls;

/// Functions outside (the last two parts of their path) and the system call behind each, of which a C library may choose one.
#[rustfmt::skip]
const DOORS: &[(&str, &[&str])] = &[
    ("libc::_exit", &["exit_group"]),
    ("libc::close", &["close"]),
    ("libc::execve", &["execve"]),
    ("libc::fcntl", &["fcntl"]),
    ("libc::fork", &["clone", "fork"]),
    ("libc::getauxval", &[]),
    ("libc::getpid", &["getpid"]),
    ("libc::getrlimit", &["prlimit64", "getrlimit"]),
    ("libc::ioctl", &["ioctl"]),
    ("libc::kill", &["kill"]),
    ("libc::nanosleep", &["nanosleep", "clock_nanosleep"]),
    ("libc::pause", &["pause", "ppoll"]),
    ("libc::recvmsg", &["recvmsg"]),
    ("libc::setsockopt", &["setsockopt"]),
    ("libc::sigaction", &["rt_sigaction"]),
    ("libc::sigaddset", &[]),
    ("libc::sigaltstack", &["sigaltstack"]),
    ("libc::sigemptyset", &[]),
    ("libc::signal", &["rt_sigaction"]),
    ("libc::signalfd", &["signalfd4"]),
    ("libc::sigprocmask", &["rt_sigprocmask"]),
    ("libc::sigtimedwait", &["rt_sigtimedwait"]),
    ("libc::swapoff", &["swapoff"]),
    // The only one that has no function of its own.
    ("libc::syscall", &["close_range"]),
    ("libc::write", &["write"]),
    ("buffer::spare_capacity", &[]),
    ("epoll::add", &["epoll_ctl"]),
    ("epoll::create", &["epoll_create1"]),
    ("epoll::delete", &["epoll_ctl"]),
    ("epoll::wait", &["epoll_wait", "epoll_pwait", "epoll_pwait2"]),
    ("fs::access", &["access", "faccessat"]),
    ("fs::chmod", &["chmod", "fchmodat"]),
    ("fs::chown", &["chown", "fchownat"]),
    ("fs::chownat", &["fchownat"]),
    ("fs::fcntl_getfl", &["fcntl"]),
    ("fs::fcntl_setfl", &["fcntl"]),
    ("fs::fstat", &["fstat"]),
    ("fs::fsync", &["fsync"]),
    ("fs::lstat", &["lstat", "newfstatat", "statx"]),
    ("fs::major", &[]),
    ("fs::makedev", &[]),
    ("fs::memfd_create", &["memfd_create"]),
    ("fs::minor", &[]),
    ("fs::mkdir", &["mkdir", "mkdirat"]),
    ("fs::mknodat", &["mknodat"]),
    ("fs::open", &["open", "openat"]),
    ("fs::openat2", &["openat2"]),
    ("RawDir::new", &["getdents64"]),
    ("fs::readlink", &["readlink", "readlinkat"]),
    ("fs::rename", &["rename", "renameat", "renameat2"]),
    ("fs::rmdir", &["rmdir", "unlinkat"]),
    ("fs::seek", &["lseek"]),
    ("fs::stat", &["stat", "newfstatat", "statx"]),
    ("fs::statvfs", &["statfs"]),
    ("fs::symlink", &["symlink", "symlinkat"]),
    ("fs::sync", &["sync"]),
    ("fs::unlink", &["unlink", "unlinkat"]),
    ("io::fcntl_dupfd_cloexec", &["fcntl"]),
    ("io::fcntl_setfd", &["fcntl"]),
    ("io::ioctl_fionread", &["ioctl"]),
    ("io::pread", &["pread64"]),
    ("io::read", &["read"]),
    ("io::write", &["write"]),
    ("IoUring::builder", &["io_uring_setup"]),
    ("mm::mmap_anonymous", &["mmap"]),
    ("mm::mremap", &["mremap"]),
    ("mm::munmap", &["munmap"]),
    ("mount::mount", &["mount"]),
    ("mount::mount_remount", &["mount"]),
    ("mount::unmount", &["umount2"]),
    ("net::accept_with", &["accept4"]),
    ("net::bind", &["bind"]),
    ("net::connect", &["connect"]),
    ("net::listen", &["listen"]),
    ("net::recv", &["recvfrom"]),
    ("net::recvfrom", &["recvfrom"]),
    ("net::send", &["sendto"]),
    ("net::sendto", &["sendto"]),
    ("net::socket_with", &["socket"]),
    ("sockopt::set_socket_passcred", &["setsockopt"]),
    ("sockopt::set_socket_recv_buffer_size_force", &["setsockopt"]),
    ("sockopt::set_socket_timeout", &["setsockopt"]),
    ("sockopt::socket_peercred", &["getsockopt"]),
    ("process::chdir", &["chdir"]),
    ("process::getpid", &["getpid"]),
    ("process::ioctl_tiocsctty", &["ioctl"]),
    ("process::getpgid", &["getpgid"]),
    ("process::kill_process", &["kill"]),
    ("process::kill_process_group", &["kill"]),
    ("process::pidfd_open", &["pidfd_open"]),
    ("pipe::pipe_with", &["pipe2"]),
    ("process::setpriority_process", &["setpriority"]),
    ("process::setrlimit", &["prlimit64", "setrlimit"]),
    ("process::setsid", &["setsid"]),
    ("process::test_kill_process", &["kill"]),
    ("process::test_kill_process_group", &["kill"]),
    ("process::umask", &["umask"]),
    ("process::wait", &["wait4"]),
    ("process::waitpid", &["wait4"]),
    ("process::exit", &["exit_group"]),
    ("rand::getrandom", &["getrandom"]),
    ("stdio::dup2_stderr", &["dup2", "dup3"]),
    ("stdio::dup2_stdin", &["dup2", "dup3"]),
    ("stdio::dup2_stdout", &["dup2", "dup3"]),
    ("stdio::stderr", &[]),
    ("stdio::stdin", &[]),
    ("system::reboot", &["reboot"]),
    ("system::sethostname", &["sethostname"]),
    ("system::uname", &["uname"]),
    ("termios::tcgetattr", &["ioctl"]),
    ("termios::tcgetwinsize", &["ioctl"]),
    ("termios::tcsetattr", &["ioctl"]),
    ("termios::tcsetwinsize", &["ioctl"]),
    ("thread::capabilities", &["capget"]),
    ("thread::configure_capability_in_ambient_set", &["prctl"]),
    ("thread::remove_capability_from_bounding_set", &["prctl"]),
    ("thread::set_capabilities", &["capset"]),
    ("thread::set_keep_capabilities", &["prctl"]),
    ("thread::set_no_new_privs", &["prctl"]),
    ("thread::set_thread_groups", &["setgroups"]),
    ("thread::set_thread_res_gid", &["setresgid"]),
    ("thread::set_thread_res_uid", &["setresuid"]),
    ("thread::sleep", &["nanosleep", "clock_nanosleep"]),
    ("time::clock_gettime", &["clock_gettime"]),
    ("time::clock_settime", &["clock_settime"]),
];

/// Functions that the system of these tests does not come to, and why.
const NOT_HERE: &[(&str, &str)] = &[
    ("fs::chownat", "of nodes in /dev whose group is another; the stage's are files of a group that it cannot leave"),
    ("fs::mknodat", "a missing console is one fault already; a lasting one comes here"),
    ("mm::mremap", "the heap's area holds all of this system"),
    ("mm::munmap", "the heap's area holds all of this system"),
    ("process::getpgid", "of the processes in a control group, of which the stage has none"),
    ("libc::nanosleep", "only in the handler of a fault"),
    ("libc::pause", "only in the handler of a fault, when the program is gone"),
    ("thread::sleep", "only tests sleep"),
    ("time::clock_settime", "a clock that works is not set by what the last shutdown left, and the host's works"),
    ("net::connect", "of the control tool, which is another process"),
];

/// Calls for a service with another user, which the stage has only when root runs the tests.
const OF_ROOT: &[&str] = &["setgroups", "setresgid", "setresuid", "capget", "capset"];

/// The functions outside that a source file calls.
fn used(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    for line in code.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        // use rustix::process::{Resource, getrlimit};
        if let Some((module, names)) = line.strip_prefix("use rustix::").and_then(|list| list.rsplit_once("::")) {
            let module = module.rsplit("::").next().unwrap_or(module);
            let names = names.trim_matches(['{', '}', ';']).split(", ");
            let functions =
                names.filter(|name| name.contains('_') || name.starts_with("get") || name.starts_with("set"));
            found.extend(functions.map(|name| format!("{module}::{name}")));
        }
        let mut rest = line;
        while let Some(end) = rest.find('(') {
            let before = &rest[..end];
            let start =
                before.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':').map_or(0, |at| at + 1);
            let mut parts = before[start..].rsplit("::");
            let (function, module) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let outside = ["libc", "rustix", "std", "IoUring", "RawDir", "net", "sockopt", "epoll"];
            let first = before[start..].split("::").next().unwrap_or_default();
            // A type's function makes no call, but for these two.
            let typed =
                !["IoUring", "RawDir"].contains(&module) && !module.starts_with(|c: char| c.is_ascii_lowercase());
            let plain = function.starts_with(|c: char| c == '_' || c.is_ascii_lowercase());
            let harmless = ["c_int", "c_ulong", "env"].contains(&module);
            if outside.contains(&first) && plain && !typed && !harmless {
                found.insert(format!("{module}::{function}"));
            }
            rest = &rest[end + 1..];
        }
    }
    found
}

/// Fails when PID 1's door to the kernel has a call that is not known here, or that none of the tests makes fail. `seen` has
/// the names of the calls that were recorded.
pub fn all_are_tried(seen: &HashSet<&str>) {
    let mut wrong = BTreeSet::new();
    let mut functions = BTreeSet::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("base/src/sys")).unwrap() {
        let path = entry.unwrap().path();
        functions.extend(used(&fs::read_to_string(&path).unwrap()));
    }
    assert!(functions.len() > 80, "the source is not understood: {functions:?}");
    for function in &functions {
        let Some((_, names)) = DOORS.iter().find(|(name, _)| name == function) else {
            wrong.insert(format!("{function}: doors.rs does not have it"));
            continue;
        };
        let rows: Vec<_> = calls::all().filter(|row| names.contains(&row.name)).collect();
        if rows.is_empty() && !names.is_empty() {
            wrong.insert(format!("{function}: calls.rs has none of {names:?}"));
        }
        let may_fail = rows.iter().any(|row| !row.errors.is_empty());
        // SAFETY: it only asks.
        let root = unsafe { libc::geteuid() } == 0;
        let elsewhere = NOT_HERE.iter().any(|(name, _)| name == function)
            || (!root && names.iter().any(|name| OF_ROOT.contains(name)));
        if may_fail && !elsewhere && !names.iter().any(|name| seen.contains(name)) {
            wrong.insert(format!("{function}: no test makes it fail"));
        }
    }
    for (name, _) in DOORS {
        if !functions.contains(*name) {
            wrong.insert(format!("{name}: nothing calls it any more"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
