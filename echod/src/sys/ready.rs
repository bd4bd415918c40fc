//! An epoll set for many sockets: what the companion `echod` waits with where the kernel refuses io_uring.

use core::time::Duration;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, Event, EventData, EventFlags};

use super::{Errno, Result};

/// Events taken in one turn.
const EVENTS: usize = 512;

/// What is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// What it was added with.
    pub tag: u64,
    /// The other side has ended, or there is an error: a read tells.
    pub ended: bool,
}

/// A set of descriptors.
pub struct ReadySet {
    set: OwnedFd,
    events: Vec<Event>,
}

impl ReadySet {
    /// An empty set.
    pub fn new() -> Result<ReadySet> {
        Ok(ReadySet { set: epoll::create(epoll::CreateFlags::CLOEXEC)?, events: Vec::with_capacity(EVENTS) })
    }

    /// Tells each turn that `fd` can be read.
    pub fn add_level(&self, fd: impl AsFd, tag: u64) -> Result<()> {
        epoll::add(&self.set, fd, EventData::new_u64(tag), EventFlags::IN)
    }

    /// Tells once that something came, left or ended.
    pub fn add_edge(&self, fd: impl AsFd, tag: u64) -> Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.set, fd, EventData::new_u64(tag), flags)
    }

    /// Takes `fd` out.
    pub fn remove(&self, fd: impl AsFd) -> Result<()> {
        epoll::delete(&self.set, fd)
    }

    /// Waits for something, at most for `timeout`; returns how much is ready.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<usize> {
        let timeout = timeout.map(|time| rustix::time::Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        self.events.clear();
        match epoll::wait(&self.set, rustix::buffer::spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(self.events.len()),
            Err(error) => Err(error),
        }
    }

    /// One of what the last wait found.
    pub fn ready(&self, at: usize) -> Option<Readiness> {
        let event = self.events.get(at)?;
        let ends = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        // Copied: the kernel's structure is packed on x86-64.
        let (flags, data) = (event.flags, event.data);
        Some(Readiness { tag: data.u64(), ended: flags.intersects(ends) })
    }
}
