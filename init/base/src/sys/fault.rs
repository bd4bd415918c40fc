//! Faults of the program itself: a bad address, an abort. Instead of the kernel's panic that the end of PID 1 is, the program
//! starts again in the same process.

use core::sync::atomic::{AtomicU8, Ordering};
use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::OnceLock;

use super::descriptors::{self, Limit};
use super::{Result, check};

/// The signals that the kernel sends for a fault, and the one of abort(3).
const SIGNALS: &[c_int] = &[libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGABRT];
/// Bytes of the handler's stack; the fault may be that the usual one is full. More than any processor's registers need.
const STACK: usize = 64 << 10;

/// Digits of a mark, see [`mark`].
const DIGITS: usize = 5;

/// The command line of the handler's exec, made beforehand because a handler must not allocate.
struct Program {
    path: CString,
    arguments: Vec<*const c_char>,
    /// The end of the last argument.
    mark: [&'static AtomicU8; DIGITS],
}

// SAFETY: the pointers are to strings that are never freed or changed.
unsafe impl Send for Program {}
// SAFETY: as above.
unsafe impl Sync for Program {}

static PROGRAM: OnceLock<Program> = OnceLock::new();
/// The limit on open descriptors that the program starts with, when this one has changed it.
static LIMIT: OnceLock<Limit> = OnceLock::new();

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// From now on a fault of this process runs `path` in its place, with `arguments` and, as the last one, `last` followed by the
/// digits of the latest [`mark`]. The first call counts.
///
/// # Errors
/// When the kernel does not take the handlers; a fault then is what it was.
pub fn restart_with(path: CString, arguments: Vec<CString>, last: CString) -> Result<()> {
    let strings: &'static [CString] = arguments.leak();
    let bytes = last.into_bytes().into_iter().chain([b'0'; DIGITS]).chain([0]);
    let last: &'static [AtomicU8] = bytes.map(AtomicU8::new).collect::<Vec<_>>().leak();
    let Some((_, digits)) = last.split_last().and_then(|(_, text)| text.split_last_chunk::<DIGITS>()) else {
        return Ok(());
    };
    let ends = [last.as_ptr().cast(), core::ptr::null()];
    let arguments = strings.iter().map(|string| string.as_ptr()).chain(ends).collect();
    if PROGRAM.set(Program { path, arguments, mark: digits.each_ref() }).is_err() {
        return Ok(());
    }
    // Not cleared: that would use its pages.
    let stack = Vec::<u8>::with_capacity(STACK).leak().as_mut_ptr();
    let stack = libc::stack_t { ss_sp: stack.cast(), ss_flags: 0, ss_size: STACK };
    // SAFETY: the stack is never freed and nothing else uses it.
    check(unsafe { libc::sigaltstack(&stack, core::ptr::null_mut()) })?;
    // SAFETY: `sigaction` is plain data for which all bits zero is a value.
    let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
    action.sa_sigaction = handle as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    for &signal in SIGNALS {
        // SAFETY: `action` is initialised, and the handler calls only what may be called in one.
        check(unsafe { libc::sigaction(signal, &action, core::ptr::null_mut()) })?;
    }
    Ok(())
}

/// Writes a number into the last argument of the program of [`restart_with`]: all that it learns of this one's work. What
/// has more than five digits is cut to the last of them.
pub fn mark(number: u32) {
    let digits = PROGRAM.get().into_iter().flat_map(|program| program.mark.iter().rev());
    digits.fold(number, |number, digit| {
        // Below 10.
        digit.store(b'0' + (number % 10) as u8, Ordering::Relaxed);
        number / 10
    });
}

/// The latest [`mark`]; nothing without a program.
pub fn marked() -> Option<u32> {
    let digits = PROGRAM.get()?.mark.iter().map(|digit| u32::from(digit.load(Ordering::Relaxed).wrapping_sub(b'0')));
    Some(digits.fold(0, |number, digit| number * 10 + digit))
}

/// Gives the program of [`restart_with`] this limit on open descriptors, which it takes for the one that its children get. The
/// first call counts.
pub fn restart_below(limit: Limit) {
    // A second call says the same.
    let _ = LIMIT.set(limit);
}

/// Runs the program of [`restart_with`] in the place of this one; returns only when that failed.
pub fn restart() {
    if let Some(program) = PROGRAM.get() {
        if let Some(limit) = LIMIT.get() {
            // A lower limit than now is always allowed.
            let _ = descriptors::set_descriptor_limit(*limit);
        }
        // SAFETY: path and arguments are terminated strings and a terminated array; `environ` is libc's.
        unsafe { libc::execve(program.path.as_ptr(), program.arguments.as_ptr(), environ.cast()) };
    }
}

extern "C" fn handle(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel gives a valid pointer, because of SA_SIGINFO; getpid takes nothing.
    let (code, own) = unsafe { ((*info).si_code, libc::getpid()) };
    if own != 1 {
        // A child before its exec: it ends as any process.
        // SAFETY: the default action is always allowed.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    }
    // A signal sent by a process (si_code <= 0) is no fault, but abort(3) sends its own.
    // SAFETY: a signal that a process sent carries its sender.
    if code <= 0 && !(signal == libc::SIGABRT && unsafe { (*info).si_pid() } == own) {
        return;
    }
    let text = b"init: a fault in init; it starts again\n";
    let pause = libc::timespec { tv_sec: 1, tv_nsec: 0 };
    // SAFETY: all of these may be called in a handler, and get valid pointers.
    unsafe {
        libc::write(2, text.as_ptr().cast(), text.len());
        // A fault that comes at once again must not take the whole processor.
        libc::nanosleep(&pause, core::ptr::null_mut());
        restart();
        // The program is gone or there is no memory. Staying is better than the kernel's panic.
        loop {
            libc::pause();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::{self, Exit};
    use crate::sys::signal::Signal;

    #[test]
    fn the_mark_is_the_end_of_the_last_argument() {
        let child = process::fork(|| {
            // The shell's `$0` is the first word after the script.
            let script = c"test $0 = at:00037".into();
            if restart_with(c"/bin/sh".into(), vec![c"sh".into(), c"-c".into(), script], c"at:".into()).is_err() {
                return 1;
            }
            mark(98_765);
            mark(37);
            if marked() != Some(37) {
                return 2;
            }
            restart();
            3
        });
        assert_eq!(process::wait_for(child.unwrap()), Ok(Exit::Code(0)));
    }

    #[test]
    fn a_child_of_pid_1_ends_by_its_fault() {
        let child = process::fork(|| {
            if restart_with(c"/bin/false".into(), vec![c"false".into()], c"--mark=".into()).is_err() {
                return 1;
            }
            // Sent by itself, and not PID 1: the default action is set, and the second one ends it.
            let own = process::id();
            let _ = process::kill(own, Signal::SEGV);
            let _ = process::kill(own, Signal::SEGV);
            2
        });
        assert_eq!(process::wait_for(child.unwrap()), Ok(Exit::Signal(libc::SIGSEGV)));
    }
}
