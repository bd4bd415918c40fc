//! The system calls of PID 1, and the errors that each can return.
//!
//! The errors are those of the calls' manual pages, without those that only a wrong program gets (EFAULT, EBADF, EINVAL of a
//! flag that is always the same), and with those of cgroups and security modules.

use libc::*;

use crate::ring;

/// What names a call beside its own name.
#[derive(Clone, Copy, Debug)]
pub enum Subject {
    /// Nothing.
    No,
    /// A path.
    Path(usize),
    /// A descriptor, by what it is.
    Descriptor(usize),
    /// A descriptor and the request on it.
    Request(usize, usize),
    /// A number.
    Number(usize),
}

/// A system call that PID 1 may make.
pub struct Row {
    pub number: c_long,
    pub name: &'static str,
    pub subject: Subject,
    /// None: the call has no errors but a wrong program's.
    pub errors: &'static [c_int],
    /// The call does its work although it says that it failed.
    pub done: bool,
}

use Subject::*;

const fn row(number: c_long, name: &'static str, subject: Subject, errors: &'static [c_int]) -> Row {
    Row { number, name, subject, errors, done: false }
}

/// Errors of finding and opening a file.
#[rustfmt::skip]
const OPEN: &[c_int] = &[
    EACCES, EBUSY, EDQUOT, EEXIST, EINTR, EIO, EISDIR, ELOOP, EMFILE, ENAMETOOLONG, ENFILE, ENODEV, ENOENT, ENOMEM,
    ENOSPC, ENOTDIR, ENXIO, EOVERFLOW, EPERM, EROFS, ETXTBSY, EAGAIN,
];
/// Errors of asking about a path.
const LOOK: &[c_int] = &[EACCES, EIO, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM, ENOTDIR];
/// Errors of changing a directory.
#[rustfmt::skip]
const CHANGE: &[c_int] = &[
    EACCES, EBUSY, EDQUOT, EEXIST, EIO, EISDIR, ELOOP, EMLINK, ENAMETOOLONG, ENOENT, ENOMEM, ENOSPC, ENOTDIR,
    ENOTEMPTY, EPERM, EROFS, EXDEV,
];
#[rustfmt::skip]
const WRITE: &[c_int] = &[EAGAIN, EDQUOT, EFBIG, EINTR, EIO, ENOMEM, ENOSPC, EPERM, EPIPE, EACCES, EINVAL, EBUSY];
const MAKE: &[c_int] = &[EAGAIN, ENOMEM, ENOSPC, EPERM];
const SOCKET: &[c_int] = &[EACCES, EAFNOSUPPORT, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM, EPROTONOSUPPORT];
const RECEIVE: &[c_int] = &[EAGAIN, ECONNREFUSED, ECONNRESET, EINTR, ENOBUFS, ENOMEM];
const SEND: &[c_int] = &[EACCES, EAGAIN, ECONNREFUSED, ECONNRESET, EINTR, ENOBUFS, ENOMEM, EPERM, EPIPE];

/// All calls. One that PID 1 makes and that is missing here fails the test.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row(SYS_openat, "openat", Path(1), OPEN),
    row(SYS_openat2, "openat2", Path(1), &[EACCES, EAGAIN, EINTR, EIO, ELOOP, EMFILE, ENAMETOOLONG, ENFILE, ENOENT, ENOMEM, ENOSYS, ENOTDIR, EPERM, EXDEV]),
    row(SYS_read, "read", Descriptor(0), &[EAGAIN, EINTR, EIO, EISDIR, ENOMEM]),
    row(SYS_pread64, "pread64", Descriptor(0), &[EINTR, EIO, ENOMEM]),
    row(SYS_write, "write", Descriptor(0), WRITE),
    row(SYS_writev, "writev", Descriptor(0), &[EAGAIN, EINTR, EIO, ENOSPC, EPIPE]),
    row(SYS_lseek, "lseek", Descriptor(0), &[ESPIPE, EOVERFLOW]),
    row(SYS_getdents64, "getdents64", Descriptor(0), &[EIO, ENOENT, ENOMEM]),
    Row { done: true, ..row(SYS_close, "close", No, &[EINTR, EIO, ENOSPC]) },
    row(SYS_close_range, "close_range", No, &[EMFILE, ENOMEM, ENOSYS]),
    row(SYS_fcntl, "fcntl", Request(0, 1), &[EMFILE, EINTR, ENOMEM, EPERM]),
    row(SYS_ioctl, "ioctl", Request(0, 1), &[EIO, EINTR, ENOTTY, EPERM, EACCES, ENODEV, EINVAL]),
    row(SYS_dup, "dup", Descriptor(0), &[EMFILE]),
    row(SYS_dup3, "dup3", Descriptor(0), &[EBUSY, EINTR, EMFILE]),
    row(SYS_pipe2, "pipe2", No, &[EMFILE, ENFILE, ENOMEM]),
    row(SYS_memfd_create, "memfd_create", No, &[EMFILE, ENFILE, ENOMEM, ENOSYS]),
    row(SYS_fsync, "fsync", Descriptor(0), &[EINTR, EIO, ENOSPC, EROFS, EDQUOT]),
    row(SYS_fchmod, "fchmod", Descriptor(0), CHANGE),
    row(SYS_fchown, "fchown", Descriptor(0), CHANGE),
    row(SYS_ftruncate, "ftruncate", Descriptor(0), &[EFBIG, EINTR, EIO, EPERM]),
    row(SYS_fstat, "fstat", Descriptor(0), &[ENOMEM, EOVERFLOW]),
    row(SYS_newfstatat, "newfstatat", Path(1), LOOK),
    row(SYS_statx, "statx", Path(1), LOOK),
    row(SYS_statfs, "statfs", Path(0), LOOK),
    row(SYS_faccessat, "faccessat", Path(1), LOOK),
    row(SYS_faccessat2, "faccessat2", Path(1), LOOK),
    row(SYS_readlinkat, "readlinkat", Path(1), LOOK),
    row(SYS_mkdirat, "mkdirat", Path(1), CHANGE),
    row(SYS_mknodat, "mknodat", Path(1), CHANGE),
    row(SYS_symlinkat, "symlinkat", Path(2), CHANGE),
    row(SYS_unlinkat, "unlinkat", Path(1), CHANGE),
    row(SYS_renameat2, "renameat2", Path(1), CHANGE),
    row(SYS_renameat, "renameat", Path(1), CHANGE),
    row(SYS_fchmodat, "fchmodat", Path(1), CHANGE),
    row(SYS_fchownat, "fchownat", Path(1), CHANGE),
    row(SYS_utimensat, "utimensat", Path(1), CHANGE),
    row(SYS_chdir, "chdir", Path(0), LOOK),
    row(SYS_mount, "mount", Path(1), &[EACCES, EBUSY, EINVAL, ELOOP, EMFILE, ENAMETOOLONG, ENODEV, ENOENT, ENOMEM, ENOSPC, ENOTBLK, ENOTDIR, ENXIO, EPERM, EROFS]),
    row(SYS_umount2, "umount2", Path(0), &[EAGAIN, EBUSY, EINVAL, ENAMETOOLONG, ENOENT, ENOMEM, EPERM]),
    row(SYS_swapoff, "swapoff", Path(0), &[EINVAL, ENOMEM, EPERM, ENOENT]),
    row(SYS_sethostname, "sethostname", No, &[EPERM]),
    row(SYS_reboot, "reboot", Number(2), &[EPERM, EINVAL]),
    row(SYS_clock_settime, "clock_settime", No, &[EPERM]),
    row(SYS_settimeofday, "settimeofday", No, &[EPERM]),
    row(SYS_getrandom, "getrandom", No, &[EAGAIN, EINTR, ENOSYS]),
    row(SYS_socket, "socket", Number(0), SOCKET),
    row(SYS_bind, "bind", Descriptor(0), &[EACCES, EADDRINUSE, EADDRNOTAVAIL, ELOOP, ENOENT, ENOMEM, ENOTDIR, EPERM, EROFS]),
    row(SYS_listen, "listen", Descriptor(0), &[EADDRINUSE, EOPNOTSUPP]),
    row(SYS_connect, "connect", Descriptor(0), &[EACCES, EAGAIN, ECONNREFUSED, EINTR, ENOENT, ETIMEDOUT]),
    row(SYS_accept4, "accept4", Descriptor(0), &[EAGAIN, ECONNABORTED, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM, EPROTO]),
    row(SYS_setsockopt, "setsockopt", Request(0, 2), &[ENOMEM, ENOBUFS, ENOPROTOOPT, EPERM]),
    row(SYS_getsockopt, "getsockopt", Request(0, 2), &[ENOPROTOOPT, EINVAL]),
    row(SYS_getsockname, "getsockname", Descriptor(0), &[ENOBUFS]),
    row(SYS_recvfrom, "recvfrom", Descriptor(0), RECEIVE),
    row(SYS_recvmsg, "recvmsg", Descriptor(0), RECEIVE),
    row(SYS_sendto, "sendto", Descriptor(0), SEND),
    row(SYS_sendmsg, "sendmsg", Descriptor(0), SEND),
    row(SYS_signalfd4, "signalfd4", No, &[EMFILE, ENFILE, ENODEV, ENOMEM]),
    row(SYS_io_uring_setup, "io_uring_setup", No, &[EMFILE, ENFILE, ENOMEM, EPERM, ENOSYS, EINVAL]),
    row(SYS_io_uring_enter, "io_uring_enter", No, &[EAGAIN, EBUSY, EINTR, ENOMEM, EBADR, ENXIO, EBADFD, EIO]),
    row(SYS_io_uring_register, "io_uring_register", No, &[ENOMEM, EINVAL, EPERM]),
    row(SYS_epoll_create1, "epoll_create1", No, &[EMFILE, ENFILE, ENOMEM]),
    row(SYS_epoll_ctl, "epoll_ctl", Descriptor(2), &[EEXIST, ENOENT, ENOMEM, ENOSPC, EPERM]),
    row(SYS_epoll_pwait, "epoll_pwait", No, &[EINTR]),
    row(SYS_epoll_pwait2, "epoll_pwait2", No, &[EINTR, ENOSYS]),
    row(SYS_ppoll, "ppoll", No, &[EINTR, ENOMEM]),
    row(SYS_clone, "clone", No, &[EAGAIN, ENOMEM, EPERM]),
    row(SYS_clone3, "clone3", No, &[EAGAIN, ENOMEM, EPERM, EACCES, EBUSY, EOPNOTSUPP, ENOSYS]),
    row(SYS_wait4, "wait4", No, &[ECHILD, EINTR]),
    row(SYS_waitid, "waitid", No, &[ECHILD, EINTR]),
    row(SYS_getpgid, "getpgid", No, &[EPERM, ESRCH]),
    row(SYS_kill, "kill", Number(1), &[EPERM, ESRCH]),
    row(SYS_tgkill, "tgkill", Number(2), &[EPERM, ESRCH]),
    row(SYS_pidfd_open, "pidfd_open", No, &[EMFILE, ENFILE, ENODEV, ENOMEM, ENOSYS, ESRCH]),
    row(SYS_pidfd_send_signal, "pidfd_send_signal", Number(1), &[EPERM, ESRCH, ENOSYS]),
    row(SYS_setsid, "setsid", No, &[EPERM]),
    row(SYS_setpgid, "setpgid", No, &[EPERM, ESRCH, EACCES]),
    row(SYS_setpriority, "setpriority", No, &[EACCES, EPERM, ESRCH]),
    row(SYS_setgroups, "setgroups", No, &[ENOMEM, EPERM]),
    row(SYS_setresgid, "setresgid", No, &[EAGAIN, EPERM]),
    row(SYS_setresuid, "setresuid", No, &[EAGAIN, EPERM]),
    row(SYS_capget, "capget", No, &[EPERM]),
    row(SYS_capset, "capset", No, &[EPERM]),
    row(SYS_setrlimit, "setrlimit", No, &[EPERM]),
    row(SYS_prlimit64, "prlimit64", Number(1), &[EPERM]),
    row(SYS_prctl, "prctl", Number(0), &[EPERM, EINVAL]),
    row(SYS_execve, "execve", Path(0), &[E2BIG, EACCES, EAGAIN, EINVAL, EIO, EISDIR, ELOOP, EMFILE, ENFILE, ENOENT, ENOEXEC, ENOMEM, ENOTDIR, EPERM, ETXTBSY]),
    row(SYS_finit_module, "finit_module", No, &[EPERM, EEXIST, ENOMEM]),
    row(SYS_sigaltstack, "sigaltstack", No, &[ENOMEM]),
    row(SYS_nanosleep, "nanosleep", No, &[EINTR]),
    row(SYS_clock_nanosleep, "clock_nanosleep", No, &[EINTR]),
    row(SYS_rt_sigtimedwait, "rt_sigtimedwait", No, &[EAGAIN, EINTR]),
    // What is asked through io_uring; the errors are in the answers.
    row(ring::READ, "io_uring:read", No, &[EIO, ENOMEM, EINTR, EAGAIN, ECANCELED]),
    row(ring::POLL, "io_uring:poll", No, &[ENOMEM, EINTR, ECANCELED, EBADF]),
    row(ring::OPEN, "io_uring:openat", No, OPEN),
    row(ring::STATUS, "io_uring:statx", No, LOOK),
    row(ring::WRITE, "io_uring:write", No, WRITE),
    row(ring::RENAME, "io_uring:renameat", No, CHANGE),
    row(ring::MAKE_DIR, "io_uring:mkdirat", No, CHANGE),
    row(ring::CLOSE, "io_uring:close", No, &[EINTR, EIO, ENOSPC]),
    row(ring::CANCEL, "io_uring:cancel", No, &[ENOENT, EALREADY]),
    // The memory of the program itself.
    row(SYS_brk, "brk", No, &[ENOMEM]),
    row(SYS_mmap, "mmap", Descriptor(4), MAKE),
    row(SYS_mremap, "mremap", No, &[EAGAIN, ENOMEM]),
    row(SYS_munmap, "munmap", No, &[ENOMEM]),
    row(SYS_madvise, "madvise", Number(2), &[EAGAIN, ENOMEM]),
    row(SYS_mprotect, "mprotect", No, &[ENOMEM]),
    // These fail for a wrong program only, or never.
    row(SYS_exit, "exit", No, &[]),
    row(SYS_exit_group, "exit_group", No, &[]),
    row(SYS_getpid, "getpid", No, &[]),
    row(SYS_gettid, "gettid", No, &[]),
    row(SYS_getppid, "getppid", No, &[]),
    row(SYS_getuid, "getuid", No, &[]),
    row(SYS_geteuid, "geteuid", No, &[]),
    row(SYS_umask, "umask", No, &[]),
    row(SYS_uname, "uname", No, &[]),
    row(SYS_sync, "sync", No, &[]),
    row(SYS_rt_sigprocmask, "rt_sigprocmask", No, &[]),
    row(SYS_rt_sigaction, "rt_sigaction", No, &[]),
    row(SYS_rt_sigreturn, "rt_sigreturn", No, &[]),
    row(SYS_restart_syscall, "restart_syscall", No, &[]),
    row(SYS_set_robust_list, "set_robust_list", No, &[]),
    row(SYS_set_tid_address, "set_tid_address", No, &[]),
    row(SYS_clock_gettime, "clock_gettime", No, &[]),
];

/// Calls that only this processor's kernel has.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
pub const OLD_ROWS: &[Row] = &[
    row(SYS_open, "open", Path(0), OPEN),
    row(SYS_stat, "stat", Path(0), LOOK),
    row(SYS_lstat, "lstat", Path(0), LOOK),
    row(SYS_access, "access", Path(0), LOOK),
    row(SYS_readlink, "readlink", Path(0), LOOK),
    row(SYS_mkdir, "mkdir", Path(0), CHANGE),
    row(SYS_rmdir, "rmdir", Path(0), CHANGE),
    row(SYS_unlink, "unlink", Path(0), CHANGE),
    row(SYS_symlink, "symlink", Path(1), CHANGE),
    row(SYS_rename, "rename", Path(0), CHANGE),
    row(SYS_chmod, "chmod", Path(0), CHANGE),
    row(SYS_chown, "chown", Path(0), CHANGE),
    row(SYS_lchown, "lchown", Path(0), CHANGE),
    row(SYS_dup2, "dup2", Descriptor(0), &[EBUSY, EINTR, EMFILE]),
    row(SYS_fork, "fork", No, &[EAGAIN, ENOMEM]),
    row(SYS_vfork, "vfork", No, &[EAGAIN, ENOMEM]),
    row(SYS_poll, "poll", No, &[EINTR, ENOMEM]),
    row(SYS_epoll_wait, "epoll_wait", No, &[EINTR]),
    row(SYS_pause, "pause", No, &[EINTR]),
    row(SYS_arch_prctl, "arch_prctl", No, &[]),
    row(SYS_time, "time", No, &[]),
];
/// Calls that only this processor's kernel has.
#[cfg(not(target_arch = "x86_64"))]
pub const OLD_ROWS: &[Row] = &[];

/// All calls of this processor's kernel.
pub fn all() -> impl Iterator<Item = &'static Row> {
    ROWS.iter().chain(OLD_ROWS)
}

/// What is known about a call.
pub fn find(number: c_long) -> Option<&'static Row> {
    all().find(|row| row.number == number)
}

/// The name of an error, for a report.
pub fn error_name(error: c_int) -> String {
    let text = std::io::Error::from_raw_os_error(error).to_string();
    text.split(" (os").next().unwrap_or_default().to_owned()
}
