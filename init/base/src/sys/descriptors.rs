//! Descriptors and limits that outlive a program: what one PID 1 hands to the next through exec.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::fs::MemfdFlags;
use rustix::io::FdFlags;
pub use rustix::process::Rlimit as Limit;
use rustix::process::{Resource, setrlimit};

use super::{Errno, Result, check};

/// An empty file in memory; closed on exec until [`keep_on_exec`].
pub fn memory_file(name: &str) -> Result<OwnedFd> {
    rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)
}

/// Goes back to the first byte.
pub fn rewind(fd: impl AsFd) -> Result<()> {
    rustix::fs::seek(fd, rustix::fs::SeekFrom::Start(0)).map(drop)
}

/// Leaves `fd` open for the next program (`true`), or closes it on exec.
pub fn keep_on_exec(fd: impl AsFd, keep: bool) -> Result<()> {
    rustix::io::fcntl_setfd(fd, if keep { FdFlags::empty() } else { FdFlags::CLOEXEC })
}

/// Takes a descriptor that the program before left open, and closes it on the next exec.
///
/// Only for a program that has opened nothing yet, and once for each number: so it is nobody else's.
///
/// # Errors
/// `EBADF` when it is not open, or is one of the standard ones.
pub fn adopt(raw: RawFd) -> Result<OwnedFd> {
    if raw <= 2 {
        return Err(Errno::BADF);
    }
    // SAFETY: F_SETFD takes no pointers; a closed number gives EBADF.
    check(unsafe { libc::fcntl(raw, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, and the caller took each number once and before anything of this program was opened.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Closes all descriptors but the standard ones and `kept`. Only for a program that owns none of the others, or never uses
/// them again.
pub fn close_others(kept: Option<BorrowedFd<'_>>) {
    let kept = kept.map(|fd| fd.as_raw_fd()).filter(|&raw| raw > 2);
    match kept {
        Some(kept) => {
            close_between(3, kept - 1);
            close_between(kept + 1, RawFd::MAX);
        }
        None => close_between(3, RawFd::MAX),
    }
}

fn close_between(first: RawFd, last: RawFd) {
    if last < first {
        return;
    }
    // SAFETY: the call takes no pointers, and the caller owns none of the descriptors.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if closed < 0 {
        // Kernels before 5.9.
        for raw in first..=last.min(4095) {
            // SAFETY: as above; closing a number that is not open is an error and no more.
            unsafe { libc::close(raw) };
        }
    }
}

/// The limit on open descriptors.
///
/// # Errors
/// Where a filter refuses the call; rustix's function of this name ends the program then.
pub fn descriptor_limit() -> Result<Limit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call writes one limit.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    let finite = |value| (value != libc::RLIM_INFINITY).then_some(value);
    Ok(Limit { current: finite(limit.rlim_cur), maximum: finite(limit.rlim_max) })
}

/// Sets the limit on open descriptors.
pub fn set_descriptor_limit(limit: Limit) -> Result<()> {
    setrlimit(Resource::Nofile, limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{files, process};
    use std::os::fd::IntoRawFd;

    #[test]
    fn what_is_written_to_memory_is_read_back() {
        let fd = memory_file("test").unwrap();
        files::write_all(&fd, b"state").unwrap();
        rewind(&fd).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(files::read(&fd, &mut buffer), Ok(5));
        keep_on_exec(&fd, true).unwrap();
        let fd = adopt(fd.into_raw_fd()).unwrap();
        assert!(rustix::io::fcntl_getfd(&fd).unwrap().contains(FdFlags::CLOEXEC));
    }

    #[test]
    fn a_child_keeps_what_it_is_told_to() {
        let (kept, other) = (memory_file("kept").unwrap(), memory_file("other").unwrap());
        let open = |fd: &OwnedFd| rustix::io::fcntl_getfd(fd).is_ok();
        let child = process::fork(|| {
            close_others(Some(kept.as_fd()));
            let one = open(&kept) && !open(&other);
            close_others(None);
            i32::from(!one || open(&kept))
        });
        assert_eq!(process::wait_for(child.unwrap()), Ok(process::Exit::Code(0)));
        assert!(open(&kept) && open(&other));
    }

    #[test]
    fn closed_and_standard_descriptors_are_not_adopted() {
        for raw in [-1, 0, 2, 99_999] {
            assert_eq!(adopt(raw).err(), Some(Errno::BADF));
        }
    }
}
