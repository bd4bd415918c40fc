//! Files that only grow, and the renames that rotate them. The logs of services use it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};

use super::{Errno, Result, retry};

/// Opens the regular file `path` to write at its end, and makes it when there is none. Closed on exec.
///
/// # Errors
/// `ELOOP` for a symbolic link, which a service that owns the directory could point anywhere; `ENXIO` and `EINVAL` for
/// what is not a regular file.
pub fn open(path: &str, mode: u32) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::NOCTTY
        | OFlags::NONBLOCK // Else a FIFO without a reader stops PID 1.
        | OFlags::CLOEXEC;
    let fd = retry(|| rustix::fs::open(path, flags, Mode::from_raw_mode(mode)))?;
    match rustix::fs::fstat(&fd) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => Ok(fd),
        Ok(_) => Err(Errno::INVAL),
        Err(errno) => Err(errno),
    }
}

/// The size of an open file in bytes; nothing when no name leads to it any more.
pub fn size(fd: impl AsFd) -> Result<Option<u64>> {
    let stat = rustix::fs::fstat(fd)?;
    Ok((stat.st_nlink > 0).then(|| u64::try_from(stat.st_size).unwrap_or(0)))
}

/// Writes once; a full disk may take a part of it.
pub fn write(fd: impl AsFd, bytes: &[u8]) -> Result<usize> {
    retry(|| rustix::io::write(&fd, bytes))
}

/// Gives a file another name, in the place of what had that name.
pub fn rename(from: &str, to: &str) -> Result<()> {
    rustix::fs::rename(from, to)
}

/// Empties an open file.
pub fn truncate(fd: impl AsFd) -> Result<()> {
    retry(|| rustix::fs::ftruncate(&fd, 0))
}
