//! The one place where PID 1 waits: reads from watched descriptors, and a timeout.
//!
//! The supervisor and the shutdown wait here. Behind it is one io_uring ring, or epoll where the kernel refuses a ring.

use core::time::Duration;
use std::os::fd::OwnedFd;

use crate::log::say;
use crate::sys::epoll::Epoll;
use crate::sys::ring::Ring;
use crate::sys::{Errno, Result};

/// What a watched descriptor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The signal descriptor.
    Signals,
    /// An input device with a power key.
    PowerKey,
}

/// Something that happened to a watched descriptor.
#[derive(Debug)]
pub struct Event {
    /// Whose event it is.
    pub source: Source,
    /// What was read; nothing at the end of the stream. After an end or an error the descriptor is not read again.
    pub read: Result<Vec<u8>>,
}

enum Backend {
    Ring(Box<Ring>),
    Epoll(Epoll),
}

/// Watched descriptors and the means to wait for them.
pub struct Reactor {
    backend: Backend,
    sources: Vec<Source>,
}

impl Reactor {
    /// A reactor on io_uring, or on epoll when `ring` is false or the kernel refuses a ring, which is said once.
    ///
    /// # Errors
    /// When the kernel refuses epoll as well.
    pub fn new(ring: bool) -> Result<Reactor> {
        let backend = match ring.then(Ring::new) {
            Some(Ok(ring)) => Backend::Ring(Box::new(ring)),
            Some(Err(error)) => {
                say!("io_uring is not available ({error}); waiting with epoll");
                Backend::Epoll(Epoll::new()?)
            }
            None => {
                say!("waiting with epoll, as init.epoll asks");
                Backend::Epoll(Epoll::new()?)
            }
        };
        Ok(Reactor { backend, sources: Vec::new() })
    }

    /// Reads from `fd` from now on, as events of `source`.
    pub fn watch(&mut self, fd: OwnedFd, source: Source) -> Result<()> {
        self.sources.push(source);
        match &mut self.backend {
            Backend::Ring(ring) => ring.watch(fd),
            Backend::Epoll(epoll) => epoll.watch(fd),
        }
    }

    /// Waits for events, at most for `timeout`, and appends them to `events`. It may return early without one.
    ///
    /// # Errors
    /// When neither the ring nor epoll can wait.
    pub fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> Result<()> {
        let sources = &self.sources;
        let collect = |number: usize, read: Result<&[u8]>| {
            if let Some(&source) = sources.get(number) {
                events.push(Event { source, read: read.map(<[u8]>::to_vec) });
            }
        };
        match &mut self.backend {
            Backend::Epoll(epoll) => epoll.wait(timeout, collect),
            Backend::Ring(ring) => match ring.wait(timeout, collect) {
                Ok(()) => Ok(()),
                Err(error) => self.fall_back(error),
            },
        }
    }

    /// Goes on with epoll after the ring failed with `error`.
    fn fall_back(&mut self, error: Errno) -> Result<()> {
        say!("io_uring failed ({error}); waiting with epoll from now on");
        let ring = core::mem::replace(&mut self.backend, Backend::Epoll(Epoll::new()?));
        if let (Backend::Ring(ring), Backend::Epoll(epoll)) = (ring, &mut self.backend) {
            for fd in ring.into_descriptors() {
                epoll.watch(fd)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Write, pipe};

    /// Waits until an event arrives, and fails after some turns without one.
    fn next(reactor: &mut Reactor) -> Event {
        let mut events = Vec::new();
        for _ in 0..50 {
            reactor.wait(Some(Duration::from_millis(100)), &mut events).unwrap();
            if let Some(event) = events.pop() {
                return event;
            }
        }
        panic!("no event");
    }

    fn reads_until_the_end(ring: bool) {
        let (reader, mut writer) = pipe().unwrap();
        let mut reactor = Reactor::new(ring).unwrap();
        reactor.watch(reader.into(), Source::PowerKey).unwrap();
        for text in [&b"one"[..], b"two"] {
            writer.write_all(text).unwrap();
            let event = next(&mut reactor);
            assert_eq!(event.source, Source::PowerKey);
            assert_eq!(event.read.unwrap(), text);
        }
        drop(writer);
        assert_eq!(next(&mut reactor).read.unwrap(), b"");
        let mut events = Vec::new();
        let started = std::time::Instant::now();
        reactor.wait(Some(Duration::from_millis(30)), &mut events).unwrap();
        assert!(events.is_empty(), "a descriptor at its end is not read again");
        assert!(started.elapsed() >= Duration::from_millis(25));
    }

    // Where the build host refuses io_uring this tests the fall-back a second time.
    #[test]
    fn ring_reads_until_the_end() {
        reads_until_the_end(true);
    }

    #[test]
    fn epoll_reads_until_the_end() {
        reads_until_the_end(false);
    }

    #[test]
    fn a_failed_ring_hands_its_descriptors_to_epoll() {
        let (reader, mut writer) = pipe().unwrap();
        let mut reactor = Reactor::new(true).unwrap();
        reactor.watch(reader.into(), Source::Signals).unwrap();
        reactor.fall_back(Errno::BADF).unwrap();
        assert!(matches!(reactor.backend, Backend::Epoll(_)));
        writer.write_all(b"x").unwrap();
        assert_eq!(next(&mut reactor).read.unwrap(), b"x");
    }
}
