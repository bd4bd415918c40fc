//! Faults of the program itself: a bad address, an abort. Instead of the kernel's panic that the end of PID 1 is, the program
//! starts again in the same process.

use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::OnceLock;

use super::descriptors::{self, Limit};
use super::{Result, check};

/// The signals that the kernel sends for a fault, and the one of abort(3).
const SIGNALS: &[c_int] = &[libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGABRT];
/// Bytes of the handler's stack; the fault may be that the usual one is full. More than any processor's registers need.
const STACK: usize = 64 << 10;

/// What the handler runs. All of it is made beforehand, because a handler must not allocate.
struct Program {
    path: CString,
    arguments: Vec<*const c_char>,
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

/// From now on a fault of this process runs `path` with `arguments` in its place. The first call counts.
///
/// # Errors
/// When the kernel does not take the handlers; a fault then is what it was.
pub fn restart_with(path: CString, arguments: Vec<CString>) -> Result<()> {
    let strings: &'static [CString] = arguments.leak();
    let arguments = strings.iter().map(|string| string.as_ptr()).chain([core::ptr::null()]).collect();
    if PROGRAM.set(Program { path, arguments }).is_err() {
        return Ok(());
    }
    let stack = libc::stack_t { ss_sp: vec![0u8; STACK].leak().as_mut_ptr().cast(), ss_flags: 0, ss_size: STACK };
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
    // What a process sent is no fault (SI_USER and the like are not positive), but abort(3) sends its signal itself.
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
    fn a_child_of_pid_1_ends_by_its_fault() {
        let child = process::fork(|| {
            if restart_with(c"/bin/false".into(), vec![c"false".into()]).is_err() {
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
