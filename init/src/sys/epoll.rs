//! epoll: what [`super::ring::Ring`] does, for kernels that refuse io_uring.

use core::time::Duration;
use std::os::fd::OwnedFd;

use rustix::event::epoll;

use super::files::read;
use super::ring::BUFFER;
use super::{Errno, Result};

/// An epoll set and what it watches; numbers are as in [`super::ring::Ring`].
pub struct Epoll {
    set: OwnedFd,
    watches: Vec<OwnedFd>,
}

impl Epoll {
    /// Makes an empty set.
    pub fn new() -> Result<Epoll> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Epoll { set, watches: Vec::new() })
    }

    /// Reads from `fd` from now on.
    pub fn watch(&mut self, fd: OwnedFd) -> Result<()> {
        let number = epoll::EventData::new_u64(self.watches.len() as u64);
        // Added even when the call below fails, so that the numbers stay those of the calls.
        self.watches.push(fd);
        match self.watches.last() {
            Some(fd) => epoll::add(&self.set, fd, number, epoll::EventFlags::IN),
            None => Err(Errno::INVAL),
        }
    }

    /// Waits as [`super::ring::Ring::wait`] does.
    pub fn wait(&mut self, timeout: Option<Duration>, mut each: impl FnMut(usize, Result<&[u8]>)) -> Result<()> {
        let timeout = timeout.map(|time| rustix::time::Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        let mut ready = [const { core::mem::MaybeUninit::uninit() }; 8];
        let ready = match epoll::wait(&self.set, &mut ready, timeout.as_ref()) {
            Ok((ready, _)) => ready,
            Err(Errno::INTR) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        for event in ready.iter() {
            let number = event.data.u64() as usize;
            let Some(fd) = self.watches.get(number) else {
                continue;
            };
            let mut buffer = [0; BUFFER];
            let result = read(fd, &mut buffer).map(|count| &buffer[..count]);
            if matches!(result, Ok([]) | Err(_)) {
                epoll::delete(&self.set, fd)?;
            }
            each(number, result);
        }
        Ok(())
    }
}
