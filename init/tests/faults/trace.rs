//! Watches the system calls of a process through ptrace(2), and makes one of them fail.
//!
//! The program under test is the one that is shipped, without a word about faults in it. Errors come from where the kernel's
//! errors come from.

use std::fs;
use std::io::Error;

use libc::{c_int, c_long, c_void, pid_t};

/// `PTRACE_GET_SYSCALL_INFO` of linux/ptrace.h (Linux 5.3).
const GET_SYSCALL_INFO: c_int = 0x420e;
/// What a stop at a system call has in its status, because of `PTRACE_O_TRACESYSGOOD`.
const SYSCALL_STOP: c_int = libc::SIGTRAP | 0x80;

/// A stop or the end of a traced process.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// Before a system call.
    Entry(Call),
    /// After one, with its result.
    Exit(i64),
    /// It runs another program now.
    Exec,
    /// It is about to get this signal.
    Signal(c_int),
    /// Something of ptrace's own.
    Other,
    /// It has ended, with the status of wait(2).
    Ended(c_int),
}

/// A system call and its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub number: c_long,
    pub arguments: [u64; 6],
}

fn request(request: c_int, pid: pid_t, address: usize, data: usize) -> Result<c_long, Error> {
    // SAFETY: the callers pass what the request reads or writes, and it lives as long as the call.
    match unsafe { libc::ptrace(request as _, pid, address as *mut c_void, data as *mut c_void) } {
        -1 => Err(Error::last_os_error()),
        value => Ok(value),
    }
}

/// Called once for a process that asked to be traced and stopped: system calls, children and programs are told apart, and it ends
/// with the tracer.
pub fn begin(pid: pid_t) -> Result<(), Error> {
    let options = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_EXITKILL;
    request(libc::PTRACE_SETOPTIONS as _, pid, 0, options as usize).map(drop)
}

/// Lets a process go on to its next system call, with a signal or 0. One that was killed meanwhile is no error.
pub fn go_on(pid: pid_t, signal: c_int) {
    let _ = request(libc::PTRACE_SYSCALL as _, pid, 0, signal as usize);
}

/// Does not watch a process any more.
pub fn let_go(pid: pid_t) {
    let _ = request(libc::PTRACE_DETACH as _, pid, 0, 0);
}

/// The next stop of a process that this thread traces; nothing when all of them run.
pub fn next() -> Option<(pid_t, Stop)> {
    let mut status = 0;
    // SAFETY: the call writes one status.
    let pid = unsafe { libc::waitpid(-1, &mut status, libc::__WALL | libc::__WNOTHREAD | libc::WNOHANG) };
    if pid <= 0 {
        return None;
    }
    if !libc::WIFSTOPPED(status) {
        return Some((pid, Stop::Ended(status)));
    }
    let stop = match (libc::WSTOPSIG(status), status >> 16) {
        (SYSCALL_STOP, _) => call(pid).unwrap_or(Stop::Other),
        (_, libc::PTRACE_EVENT_EXEC) => Stop::Exec,
        // A new child stops so.
        (libc::SIGSTOP, 0) => Stop::Other,
        (signal, 0) => Stop::Signal(signal),
        _ => Stop::Other,
    };
    Some((pid, stop))
}

fn call(pid: pid_t) -> Option<Stop> {
    // `struct ptrace_syscall_info`: the operation, the processor, two addresses; then number and arguments, or the result.
    let mut info = [0u64; 16];
    request(GET_SYSCALL_INFO, pid, size_of_val(&info), info.as_mut_ptr() as usize).ok()?;
    match info[0].to_ne_bytes()[0] {
        1 => {
            let mut arguments = [0; 6];
            arguments.copy_from_slice(&info[4..10]);
            Some(Stop::Entry(Call { number: info[3] as c_long, arguments }))
        }
        2 => Some(Stop::Exit(info[3] as i64)),
        _ => None,
    }
}

/// At the entry of a system call: the kernel does not carry it out.
pub fn skip(pid: pid_t) {
    #[cfg(target_arch = "x86_64")]
    {
        let place = std::mem::offset_of!(libc::user_regs_struct, orig_rax);
        let _ = request(libc::PTRACE_POKEUSER as _, pid, place, usize::MAX);
    }
    #[cfg(target_arch = "aarch64")]
    {
        /// `NT_ARM_SYSTEM_CALL` of linux/elf.h.
        const SYSTEM_CALL: usize = 0x404;
        let number: c_int = -1;
        let part = libc::iovec { iov_base: (&raw const number).cast_mut().cast(), iov_len: size_of::<c_int>() };
        let _ = request(libc::PTRACE_SETREGSET as _, pid, SYSTEM_CALL, &raw const part as usize);
    }
}

/// At the exit of a system call: its caller gets this result.
pub fn set_result(pid: pid_t, result: i64) {
    #[cfg(target_arch = "x86_64")]
    {
        let place = std::mem::offset_of!(libc::user_regs_struct, rax);
        let _ = request(libc::PTRACE_POKEUSER as _, pid, place, result as usize);
    }
    #[cfg(target_arch = "aarch64")]
    {
        /// `NT_PRSTATUS` of linux/elf.h.
        const GENERAL: usize = 1;
        // x0 to x30, stack, program counter, state.
        let mut registers = [0u64; 34];
        let part = libc::iovec { iov_base: registers.as_mut_ptr().cast(), iov_len: size_of_val(&registers) };
        if request(libc::PTRACE_GETREGSET as _, pid, GENERAL, &raw const part as usize).is_ok() {
            registers[0] = result as u64;
            let _ = request(libc::PTRACE_SETREGSET as _, pid, GENERAL, &raw const part as usize);
        }
    }
}

/// The text at an address of a process, at most 255 bytes.
pub fn text(pid: pid_t, address: u64) -> String {
    let mut bytes = [0u8; 255];
    // Up to the end of the page first, because the next one may not be there.
    let rest = 4096 - (address as usize & 4095);
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let parts = [
        libc::iovec { iov_base: address as *mut c_void, iov_len: rest.min(bytes.len()) },
        libc::iovec {
            iov_base: (address as usize + rest) as *mut c_void,
            iov_len: bytes.len() - rest.min(bytes.len()),
        },
    ];
    // SAFETY: the local part describes `bytes`; the remote ones are checked by the kernel.
    let count = unsafe { libc::process_vm_readv(pid, &local, 1, parts.as_ptr(), 2, 0) };
    let read = &bytes[..usize::try_from(count).unwrap_or(0)];
    let end = read.iter().position(|&byte| byte == 0).unwrap_or(read.len());
    String::from_utf8_lossy(&read[..end]).into_owned()
}

/// Reads from a process; false when not all is there.
pub fn read(pid: pid_t, address: u64, bytes: &mut [u8]) -> bool {
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: address as *mut c_void, iov_len: bytes.len() };
    // SAFETY: the local part describes `bytes`; the remote one is checked by the kernel.
    unsafe { libc::process_vm_readv(pid, &local, 1, &remote, 1, 0) == bytes.len() as isize }
}

/// Writes to a process; false when not all was written.
pub fn write(pid: pid_t, address: u64, bytes: &[u8]) -> bool {
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: address as *mut c_void, iov_len: bytes.len() };
    // SAFETY: the local part describes `bytes`, which the call only reads; the remote one is checked by the kernel.
    unsafe { libc::process_vm_writev(pid, &local, 1, &remote, 1, 0) == bytes.len() as isize }
}

/// What a descriptor of a process is.
pub fn descriptor(pid: pid_t, number: u64) -> String {
    let target = fs::read_link(format!("/proc/{pid}/fd/{}", number as c_int)).unwrap_or_default();
    target.to_string_lossy().into_owned()
}
