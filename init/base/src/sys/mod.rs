//! The only door to the kernel: every system call that PID 1 makes is a function in this module, and all
//! of PID 1's `unsafe` code is behind it (plus the C entry point in `init/src/main.rs`).
//!
//! The functions are thin: they retry on EINTR and turn a result into [`Result`], and leave all decisions to their
//! callers. One door means one place for a later test to make any call fail.

pub mod append;
pub mod clock;
pub mod descriptors;
pub mod epoll;
pub mod fault;
pub mod files;
pub mod heap;
pub mod input;
pub mod netlink;
pub mod nodes;
pub mod notify;
pub mod privileges;
pub mod proc;
pub mod process;
pub mod random;
pub mod ring;
pub mod signal;
pub mod socket;
pub mod storage;
pub mod system;
pub mod tty;
pub mod wait;
pub mod watchdog;

pub use rustix::io::Errno;

/// What a system call returns.
pub type Result<T> = core::result::Result<T, Errno>;

/// The error that the last failing libc call left.
pub fn last_error() -> Errno {
    let raw = std::io::Error::last_os_error().raw_os_error();
    Errno::from_raw_os_error(raw.unwrap_or(libc::EIO))
}

/// Turns libc's "-1 and errno" into a [`Result`].
pub fn check(returned: libc::c_int) -> Result<libc::c_int> {
    if returned < 0 { Err(last_error()) } else { Ok(returned) }
}

/// Calls again for as long as a signal interrupts the call.
pub fn retry<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}
