//! Signals as readable events.

use core::time::Duration;
use std::os::fd::{FromRawFd, OwnedFd};

pub use rustix::process::Signal;

use super::{Result, check};

/// Size of `struct signalfd_siginfo` in bytes (fixed by the kernel's interface, signalfd(2)).
const RECORD: usize = 128;

/// `SIGRTMIN+number`, from 1 to 30, as others count: glibc and Go keep two of the kernel's real-time signals for themselves, so that theirs begin
/// at 34, and musl's at 35.
pub const fn real_time(number: i32) -> Signal {
    // SAFETY: musl keeps 32 to 34 for its threads, and all numbers from 1 on are above these.
    unsafe { Signal::from_raw_unchecked(34 + number) }
}

/// The signal of a number that the kernel told; none for those that libc keeps for its threads.
fn of_number(number: i32) -> Option<Signal> {
    let more = number.checked_sub(34).filter(|more| (1..=30).contains(more));
    Signal::from_named_raw(number).or_else(|| more.map(real_time))
}

/// The set of `signals`.
fn set_of(signals: &[Signal]) -> libc::sigset_t {
    // SAFETY: sigemptyset initialises the set it is given, and sigaddset only gets valid numbers.
    unsafe {
        let mut set: libc::sigset_t = core::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in signals {
            libc::sigaddset(&mut set, signal.as_raw());
        }
        set
    }
}

/// Blocks exactly `signals`. A blocked signal reaches PID 1 even where its default would be to ignore it.
pub fn block(signals: &[Signal]) -> Result<()> {
    let set = set_of(signals);
    // SAFETY: `set` is initialised, and a null old set is allowed.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &set, core::ptr::null_mut()) }).map(drop)
}

/// Makes the default happen for every signal that this process was started to ignore. A process started by nohup(1) or by a
/// container's manager may ignore some, and what it starts would too: a shell cannot even trap those (POSIX, `trap`).
pub fn restore_ignored() {
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: all bits zero is a value of the plain `action`, and both pointers are valid or null.
        unsafe {
            let mut action: libc::sigaction = core::mem::zeroed();
            // Refused for the few numbers that libc keeps for itself.
            let known = libc::sigaction(number, core::ptr::null(), &mut action) == 0;
            if known && action.sa_sigaction == libc::SIG_IGN {
                libc::signal(number, libc::SIG_DFL);
            }
        }
    }
}

/// A descriptor from which blocked `signals` are read.
pub fn descriptor(signals: &[Signal]) -> Result<OwnedFd> {
    let set = set_of(signals);
    // SAFETY: `set` is initialised.
    let raw = check(unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC) })?;
    // SAFETY: the call returned a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// The signals in `bytes` read from such a descriptor.
pub fn received(bytes: &[u8]) -> impl Iterator<Item = Signal> + '_ {
    bytes.chunks_exact(RECORD).filter_map(|record| {
        let number = i32::from_ne_bytes([record[0], record[1], record[2], record[3]]);
        of_number(number)
    })
}

/// Waits for one of the blocked `signals`, at most for `time`; only for a PID 1 that has lost its event loop.
pub fn wait_one(signals: &[Signal], time: Duration) -> Option<Signal> {
    let set = set_of(signals);
    // SAFETY: a `timespec` is plain data for which all bits zero is a value.
    let mut limit: libc::timespec = unsafe { core::mem::zeroed() };
    limit.tv_sec = time.as_secs() as _;
    limit.tv_nsec = time.subsec_nanos() as _;
    // SAFETY: `set` and `limit` are initialised, and a null information pointer is allowed.
    let number = unsafe { libc::sigtimedwait(&set, core::ptr::null_mut(), &limit) };
    of_number(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process;

    #[test]
    fn records_become_signals() {
        let mut bytes = vec![0u8; RECORD * 2 + 5];
        bytes[0] = 17;
        bytes[RECORD] = 12;
        assert_eq!(received(&bytes).collect::<Vec<_>>(), [Signal::CHILD, Signal::USR2]);
        bytes[0] = 37;
        assert_eq!(received(&bytes).next(), Some(real_time(3)));
        assert_eq!((of_number(0), of_number(34), of_number(65)), (None, None, None));
    }

    #[test]
    fn what_was_ignored_is_not_any_more() {
        let child = process::fork(|| {
            let _ = block(&[]);
            // SAFETY: ignoring is always allowed.
            unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) };
            restore_ignored();
            let _ = process::kill(process::id(), Signal::USR2);
            0
        });
        assert_eq!(process::wait_for(child.unwrap()), Ok(process::Exit::Signal(libc::SIGUSR2)));
    }
}
