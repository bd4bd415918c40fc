//! io_uring: one ring, one READ in flight for each watched descriptor.

use core::time::Duration;
use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::{IoUring, opcode, types};

use super::{Errno, Result};

/// Entries of the submission queue: one READ for each of a handful of descriptors; when it is full it is
/// submitted early.
const ENTRIES: u32 = 16;
/// Bytes a READ may return: two signal records, or ten input events.
pub const BUFFER: usize = 256;

/// A watched descriptor and the buffer that the kernel reads into.
struct Watch {
    fd: OwnedFd,
    // Never freed: closing a ring cancels its reads some time later, and PID 1 has a handful of these for life.
    buffer: &'static mut [u8; BUFFER],
}

/// One ring and what it watches; a watch's number is its place in the order of [`Ring::watch`] calls.
pub struct Ring {
    ring: IoUring,
    watches: Vec<Watch>,
}

impl Ring {
    /// Sets a ring up, with completions run only inside this thread's own waits where the kernel can do so (6.1).
    ///
    /// # Errors
    /// What io_uring_setup(2) returned, for example `ENOSYS`, `EPERM` (kernel.io_uring_disabled), `ENOMEM`; `ENOSYS` too
    /// when the kernel is older than 5.11 and cannot wait with a timeout.
    pub fn new() -> Result<Ring> {
        let deferred = IoUring::builder()
            // The child of a fork has no use for the queues.
            .dontfork()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(ENTRIES);
        let ring = match deferred {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => IoUring::builder().dontfork().build(ENTRIES),
            result => result,
        };
        let ring = ring.map_err(|error| errno_of(&error))?;
        if !ring.params().is_feature_ext_arg() || !ring.params().is_feature_fast_poll() {
            return Err(Errno::NOSYS);
        }
        Ok(Ring { ring, watches: Vec::new() })
    }

    /// Reads from `fd` from now on; each read's result comes out of [`Ring::wait`].
    pub fn watch(&mut self, fd: OwnedFd) -> Result<()> {
        self.watches.push(Watch { fd, buffer: Box::leak(Box::new([0; BUFFER])) });
        self.arm(self.watches.len() - 1)
    }

    /// Queues the next READ of a watch.
    fn arm(&mut self, number: usize) -> Result<()> {
        let Some(watch) = self.watches.get_mut(number) else {
            return Err(Errno::INVAL);
        };
        let fd = types::Fd(watch.fd.as_raw_fd());
        // Offset -1 is the file's own position, the only one that a stream has.
        let read = opcode::Read::new(fd, watch.buffer.as_mut_ptr(), BUFFER as u32)
            .offset(u64::MAX)
            .build()
            .user_data(number as u64);
        loop {
            // SAFETY: the buffer is never freed, and it has one READ in flight at a time: a watch is armed when it is made and
            // after each completion. The descriptor lives as long as the ring.
            if unsafe { self.ring.submission().push(&read) }.is_ok() {
                return Ok(());
            }
            self.ring.submit().map_err(|error| errno_of(&error))?;
        }
    }

    /// Submits what is queued, waits for a completion, at most for `timeout`, and hands each read's watch number and
    /// result to `each`. A read that failed or found the end is not armed again.
    pub fn wait(&mut self, timeout: Option<Duration>, mut each: impl FnMut(usize, Result<&[u8]>)) -> Result<()> {
        self.enter(timeout)?;
        loop {
            let entry = self.ring.completion().next();
            let Some(entry) = entry else {
                return Ok(());
            };
            let number = entry.user_data() as usize;
            let Some(watch) = self.watches.get(number) else {
                continue;
            };
            match usize::try_from(entry.result()) {
                Ok(0) => each(number, Ok(&[])),
                Ok(count) => {
                    each(number, Ok(&watch.buffer[..count.min(BUFFER)]));
                    self.arm(number)?;
                }
                Err(_) => {
                    let errno = Errno::from_raw_os_error(-entry.result());
                    match errno {
                        Errno::INTR | Errno::AGAIN => self.arm(number)?,
                        errno => each(number, Err(errno)),
                    }
                }
            }
        }
    }

    fn enter(&mut self, timeout: Option<Duration>) -> Result<()> {
        let submitter = self.ring.submitter();
        let entered = match timeout {
            None => submitter.submit_and_wait(1),
            Some(time) => {
                let time = types::Timespec::from(time);
                let arguments = types::SubmitArgs::new().timespec(&time);
                submitter.submit_with_args(1, &arguments)
            }
        };
        match entered.map_err(|error| errno_of(&error)) {
            // EBUSY: completions wait to be taken, which the caller does next.
            Ok(_) | Err(Errno::TIME | Errno::INTR | Errno::BUSY | Errno::AGAIN) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Gives the watched descriptors back, in the order of their numbers.
    pub fn into_descriptors(self) -> Vec<OwnedFd> {
        let Ring { ring, watches } = self;
        drop(ring);
        watches.into_iter().map(|watch| watch.fd).collect()
    }
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO))
}
