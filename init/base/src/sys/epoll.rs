//! epoll: what [`super::ring::Ring`] does, for kernels that refuse io_uring.

use core::time::Duration;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, EventData, EventFlags};

use super::files::read;
use super::ring::Ring;
use super::wait::{Buffers, EventKind, Interest, PolledFd, Slots, Target, Token};
use super::{Errno, Result};

/// Events taken in one turn.
const EVENTS: usize = 32;

/// A descriptor that is waited for.
struct Registration<S> {
    source: S,
    target: Target,
    hold: bool,
}

/// An epoll set and what it waits for; tokens and events are as in [`super::ring::Ring`].
pub struct Epoll<S> {
    set: OwnedFd,
    registrations: Slots<Registration<S>>,
    buffers: Buffers,
}

impl<S: Copy> Epoll<S> {
    /// Makes an empty set.
    pub fn new() -> Result<Epoll<S>> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Epoll { set, registrations: Slots::new(), buffers: Buffers::new() })
    }

    /// Takes over what a ring waits for, with the same tokens. What cannot be taken over is named to `lost`.
    pub fn take_over(&mut self, ring: Ring<S>, mut lost: impl FnMut(Token, S, Errno)) {
        let set = self.set.as_fd();
        self.registrations = ring.into_operations().map(|token, operation| {
            let (source, hold) = (operation.source, operation.is_held());
            if operation.is_forgotten() {
                return None;
            }
            let registered = duplicated(operation.target).and_then(|target| {
                let registration = Registration { source, target, hold };
                add(set, token, &registration).map(|()| registration)
            });
            registered.map_err(|error| lost(token, source, error)).ok()
        });
    }

    /// Reads from `fd`, at most `size` bytes at a time, until its end or an error.
    pub fn watch(&mut self, fd: OwnedFd, size: usize, source: S) -> Result<Token> {
        self.insert(Target::Watch { fd, size }, source)
    }

    /// Waits once for `fd` to be ready.
    pub fn poll(&mut self, fd: BorrowedFd<'_>, interest: Interest, source: S) -> Result<Token> {
        let fd = PolledFd::Duplicate(rustix::io::fcntl_dupfd_cloexec(fd, 3)?);
        self.insert(Target::Poll { fd, interest }, source)
    }

    fn insert(&mut self, target: Target, source: S) -> Result<Token> {
        let token = self.registrations.insert(Registration { source, target, hold: false });
        let added = match self.registrations.get(token) {
            Some(registration) => add(self.set.as_fd(), token, registration),
            None => Err(Errno::INVAL),
        };
        if let Err(error) = added {
            self.registrations.remove(token);
            return Err(error);
        }
        Ok(token)
    }

    /// Cancels a watch, whose descriptor is closed, or a poll.
    pub fn forget(&mut self, token: Token) {
        if let Some(registration) = self.registrations.remove(token) {
            remove(self.set.as_fd(), &registration);
        }
    }

    /// Stops a watch for a while, or lets it go on.
    pub fn hold(&mut self, token: Token, hold: bool) {
        let Some(registration) = self.registrations.get_mut(token) else {
            return;
        };
        if registration.hold == hold {
            return;
        }
        registration.hold = hold;
        if hold {
            // Taken out and not only masked, because an end is reported whatever the mask.
            remove(self.set.as_fd(), registration);
        } else {
            // It was in the set before; without memory to put it back the stream ends its output.
            let _ = add(self.set.as_fd(), token, registration);
        }
    }

    /// The descriptor of a watch.
    pub fn descriptor(&self, token: Token) -> Option<BorrowedFd<'_>> {
        match &self.registrations.get(token)?.target {
            Target::Watch { fd, .. } => Some(fd.as_fd()),
            Target::Poll { .. } | Target::File(_) => None,
        }
    }

    /// Takes the buffer of an event back.
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        self.buffers.give(buffer);
    }

    /// Waits as [`super::ring::Ring::wait`] does.
    pub fn wait(&mut self, timeout: Option<Duration>, mut each: impl FnMut(Token, S, EventKind)) -> Result<()> {
        let timeout = timeout.map(|time| rustix::time::Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        let mut ready = [const { core::mem::MaybeUninit::uninit() }; EVENTS];
        let ready = match epoll::wait(&self.set, &mut ready, timeout.as_ref()) {
            Ok((ready, _)) => ready,
            Err(Errno::INTR) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        for event in ready.iter() {
            self.take(Token::of_bits(event.data.u64()), &mut each);
        }
        Ok(())
    }

    /// Reads from a watch that is ready, or ends a poll.
    fn take(&mut self, token: Token, each: &mut impl FnMut(Token, S, EventKind)) {
        let Some(registration) = self.registrations.get(token) else {
            return;
        };
        let source = registration.source;
        let what = match &registration.target {
            Target::Poll { .. } | Target::File(_) => EventKind::Ready,
            Target::Watch { fd, size } => match self.buffers.take(*size).and_then(|buffer| read_into(fd, buffer)) {
                Ok(buffer) => EventKind::Data(buffer),
                // It stays ready and is read at the next turn.
                Err(Errno::AGAIN | Errno::NOMEM) => return,
                Err(error) => EventKind::Error(error),
            },
        };
        if !matches!(&what, EventKind::Data(bytes) if !bytes.is_empty()) {
            self.forget(token);
        }
        each(token, source, what);
    }
}

/// Reads once into the room of an empty buffer.
fn read_into(fd: &OwnedFd, mut buffer: Vec<u8>) -> Result<Vec<u8>> {
    buffer.resize(buffer.capacity(), 0);
    let count = read(fd, &mut buffer)?;
    buffer.truncate(count);
    Ok(buffer)
}

/// The target with a descriptor that an epoll set can have beside another of the same file.
fn duplicated(target: Target) -> Result<Target> {
    Ok(match target {
        Target::Poll { fd, interest } => Target::Poll { fd: PolledFd::Duplicate(fd.duplicate()?), interest },
        // Done or not, nobody knows.
        Target::File(_) => return Err(Errno::IO),
        watch => watch,
    })
}

fn add<S>(set: BorrowedFd<'_>, token: Token, registration: &Registration<S>) -> Result<()> {
    if registration.hold {
        return Ok(());
    }
    let (fd, flags) = match &registration.target {
        Target::Watch { fd, .. } => (fd.as_fd(), EventFlags::IN),
        Target::Poll { fd: PolledFd::Duplicate(fd), interest: Interest::Read } => (fd.as_fd(), EventFlags::IN),
        Target::Poll { fd: PolledFd::Duplicate(fd), interest: Interest::Write } => (fd.as_fd(), EventFlags::OUT),
        Target::Poll { fd: PolledFd::Borrowed(_), .. } | Target::File(_) => return Err(Errno::BADF),
    };
    epoll::add(set, fd, EventData::new_u64(token.bits()), flags)
}

/// Takes a descriptor out of the set. It is not there while it is held.
fn remove<S>(set: BorrowedFd<'_>, registration: &Registration<S>) {
    let fd = match &registration.target {
        Target::Watch { fd, .. } | Target::Poll { fd: PolledFd::Duplicate(fd), .. } => fd,
        Target::Poll { fd: PolledFd::Borrowed(_), .. } | Target::File(_) => return,
    };
    // The set has it, or it was held: there is nothing else that could go wrong.
    let _ = epoll::delete(set, fd);
}
