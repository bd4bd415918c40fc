//! Files that only grow, and the renames that rotate them. Each step is a [`Job`]: io_uring does it while nobody waits, and
//! [`Job::run`] at once. The logs of services use it.

use core::mem::MaybeUninit;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

use io_uring::{opcode, squeue, types};
use rustix::fs::{FileType, Mode, OFlags};

use super::{Errno, Result, retry};

/// The kernel's messages of a service are for root's eyes, and for a group that its directory may be given to.
const MODE: Mode = Mode::from_raw_mode(0o640);
const DIRECTORY: Mode = Mode::from_raw_mode(0o755);

/// What the kernel writes for statx(2).
type RawStatus = MaybeUninit<rustix::fs::Statx>;

/// What is known about an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether it is a regular file.
    pub regular: bool,
    /// Bytes.
    pub size: u64,
}

/// A step. What it needs is its own until it is done.
#[derive(Debug)]
pub enum Job {
    /// Opens a file to write at its end, and makes it when there is none; empties it too where asked. A symbolic link is
    /// refused (`ELOOP`): a service that owns the directory could point it anywhere.
    Open {
        /// Where it is.
        path: CString,
        /// Whether what is in it goes.
        empty: bool,
    },
    /// Asks about an open file; see [`Job::look`].
    Look(OwnedFd, Box<RawStatus>),
    /// Writes once; a full disk may take a part of it.
    Write(OwnedFd, Vec<u8>),
    /// Gives a file another name, in the place of what had that name.
    Rename(CString, CString),
    /// Makes a directory.
    MakeDir(CString),
    /// Closes a file. On a file system of the network that waits for the server.
    Close(OwnedFd),
}

/// A step that is done, with what it took and its result.
#[derive(Debug)]
pub enum Completion {
    /// The file, which is in non-blocking mode.
    Opened(Result<OwnedFd>),
    /// The file, and what is known about it.
    Looked(OwnedFd, Result<Status>),
    /// The file, the bytes, and how many of them were written.
    Wrote(OwnedFd, Vec<u8>, Result<usize>),
    /// Whether it was renamed.
    Renamed(Result<()>),
    /// Whether the directory was made; `EINVAL` from io_uring before Linux 5.15.
    Made(Result<()>),
    /// It is closed, whatever the kernel said.
    Closed,
}

impl Job {
    /// Asks about an open file.
    pub fn look(fd: OwnedFd) -> Job {
        Job::Look(fd, Box::new(MaybeUninit::zeroed()))
    }

    /// Does it now, however long that takes.
    pub fn run(self) -> Completion {
        match self {
            Job::Open { path, empty } => Completion::Opened(retry(|| rustix::fs::open(&path, flags(empty), MODE))),
            Job::Look(fd, _) => {
                let status =
                    rustix::fs::fstat(&fd).map(|stat| status(stat.st_mode, u64::try_from(stat.st_size).unwrap_or(0)));
                Completion::Looked(fd, status)
            }
            Job::Write(fd, bytes) => {
                let result = write(&fd, &bytes);
                Completion::Wrote(fd, bytes, result)
            }
            Job::Rename(from, to) => Completion::Renamed(rustix::fs::rename(&from, &to)),
            Job::MakeDir(path) => Completion::Made(rustix::fs::mkdir(&path, DIRECTORY)),
            Job::Close(fd) => {
                drop(fd);
                Completion::Closed
            }
        }
    }

    /// The request for io_uring. It points to memory that the job owns and that stays where it is when the job is moved.
    pub(super) fn entry(&mut self) -> squeue::Entry {
        let here = types::Fd(libc::AT_FDCWD);
        let entry = match self {
            Job::Open { path, empty } => opcode::OpenAt::new(here, path.as_ptr())
                .flags(flags(*empty).bits().cast_signed())
                .mode(MODE.as_raw_mode())
                .build(),
            Job::Look(fd, status) => {
                opcode::Statx::new(types::Fd(fd.as_raw_fd()), c"".as_ptr(), status.as_mut_ptr().cast())
                    .flags(libc::AT_EMPTY_PATH)
                    .mask(libc::STATX_TYPE | libc::STATX_SIZE)
                    .build()
            }
            Job::Write(fd, bytes) => {
                let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                // Offset -1 is the file's own position, which is its end.
                opcode::Write::new(types::Fd(fd.as_raw_fd()), bytes.as_ptr(), length).offset(u64::MAX).build()
            }
            Job::Rename(from, to) => opcode::RenameAt::new(here, from.as_ptr(), here, to.as_ptr()).build(),
            Job::MakeDir(path) => opcode::MkDirAt::new(here, path.as_ptr()).mode(DIRECTORY.as_raw_mode()).build(),
            Job::Close(fd) => opcode::Close::new(types::Fd(fd.as_raw_fd())).build(),
        };
        // At once in a thread of the kernel: some file systems wait for others even in the first try, which must not.
        entry.flags(squeue::Flags::ASYNC)
    }

    /// What became of it by io_uring's answer to [`Job::entry`].
    pub(super) fn done(self, result: i32) -> Completion {
        let count = usize::try_from(result).map_err(|_| Errno::from_raw_os_error(result.saturating_neg()));
        match self {
            // SAFETY: the kernel has just opened it, and nothing else owns it.
            Job::Open { .. } => Completion::Opened(count.map(|_| unsafe { OwnedFd::from_raw_fd(result) })),
            Job::Look(fd, raw) => Completion::Looked(
                fd,
                count.map(|_| {
                    // SAFETY: all of it is integers, which were zero before the kernel wrote.
                    let raw = unsafe { raw.assume_init_ref() };
                    status(raw.stx_mode.into(), raw.stx_size)
                }),
            ),
            Job::Write(fd, bytes) => Completion::Wrote(fd, bytes, count),
            Job::Rename(..) => Completion::Renamed(count.map(drop)),
            Job::MakeDir(_) => Completion::Made(count.map(drop)),
            Job::Close(fd) => {
                // The kernel closed it. Its number may be another file's already.
                let _ = fd.into_raw_fd();
                Completion::Closed
            }
        }
    }
}

fn flags(empty: bool) -> OFlags {
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::NOCTTY
        | OFlags::NONBLOCK // Else the open of a FIFO waits for a reader.
        | OFlags::CLOEXEC;
    if empty { flags | OFlags::TRUNC } else { flags }
}

fn status(mode: u32, size: u64) -> Status {
    Status { regular: FileType::from_raw_mode(mode) == FileType::RegularFile, size }
}

/// Writes once; a full disk may take a part of it.
pub fn write(fd: impl AsFd, bytes: &[u8]) -> Result<usize> {
    retry(|| rustix::io::write(&fd, bytes))
}
