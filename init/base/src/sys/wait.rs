//! What the two ways to wait, [`super::ring`] and [`super::epoll`], have in common: tokens, the places that they name,
//! what can happen, and the buffers that reads fill.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::append::{Completion, Job};
use super::{Errno, Result, check};

/// Names one watch or poll. It is not reused while the kernel may still answer for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    slot: u32,
    generation: u32,
}

impl Token {
    /// Names nothing.
    pub const NONE: Token = Token { slot: u32::MAX, generation: u32::MAX };

    /// The token as the 64 bits that the kernel hands back.
    pub(super) fn bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// The token of [`Token::bits`].
    pub(super) fn of_bits(bits: u64) -> Token {
        Token { slot: bits as u32, generation: (bits >> 32) as u32 }
    }
}

/// What a poll waits for. An end of the connection and an error count as readiness for either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something can be read.
    Read,
    /// Something can be written.
    Write,
}

/// What happened to a descriptor.
#[derive(Debug)]
pub enum EventKind {
    /// A watch read this; nothing at the end of the stream, after which the watch is gone and its descriptor closed.
    Data(Vec<u8>),
    /// A poll's descriptor is ready; the poll is gone.
    Ready,
    /// A job on a file is done.
    File(Completion),
    /// The watch, poll or job failed and is gone.
    Error(Errno),
}

/// What is waited for.
pub(super) enum Target {
    /// Read again and again.
    Watch {
        /// What is read.
        fd: OwnedFd,
        /// Bytes that one read may return.
        size: usize,
    },
    /// Asked once whether it is ready. The number is the owner's descriptor in the ring, and a duplicate in epoll.
    Poll {
        /// Whose readiness.
        fd: PolledFd,
        /// For what.
        interest: Interest,
    },
    /// A job on a file, of the ring alone. None is left where the ring failed while the kernel had it.
    File(Option<Job>),
}

/// The descriptor of a poll.
pub(super) enum PolledFd {
    /// The caller's own, which it keeps open until the event or until it forgets the poll.
    Borrowed(RawFd),
    /// A duplicate, because an epoll set takes a descriptor only once.
    Duplicate(OwnedFd),
}

impl PolledFd {
    pub(super) fn raw(&self) -> RawFd {
        match self {
            PolledFd::Borrowed(fd) => *fd,
            PolledFd::Duplicate(fd) => fd.as_raw_fd(),
        }
    }

    /// Another descriptor of the same file; `EBADF` when its owner closed it.
    pub(super) fn duplicate(&self) -> Result<OwnedFd> {
        // SAFETY: fcntl(2) takes any number, and returns a new descriptor that nothing else owns, or an error.
        unsafe {
            let fd = check(libc::fcntl(self.raw(), libc::F_DUPFD_CLOEXEC, 3))?;
            Ok(OwnedFd::from_raw_fd(fd))
        }
    }
}

/// Places for values, each named by a [`Token`].
pub(super) struct Slots<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    pub(super) fn new() -> Slots<T> {
        Slots { slots: Vec::new(), free: Vec::new() }
    }

    /// Puts a value in a free place.
    pub(super) fn insert(&mut self, value: T) -> Token {
        if let Some(slot) = self.free.pop()
            && let Some((generation, place)) = self.slots.get_mut(slot as usize)
        {
            *place = Some(value);
            return Token { slot, generation: *generation };
        }
        // A process has far fewer descriptors than 2^32.
        let slot = self.slots.len() as u32;
        self.slots.push((0, Some(value)));
        // A place for it, so that a removal never allocates.
        self.free.reserve(self.slots.len() - self.free.len());
        Token { slot, generation: 0 }
    }

    /// The value of a token, unless it was removed.
    pub(super) fn get_mut(&mut self, token: Token) -> Option<&mut T> {
        match self.slots.get_mut(token.slot as usize) {
            Some((generation, value)) if *generation == token.generation => value.as_mut(),
            _ => None,
        }
    }

    /// The value of a token, unless it was removed.
    pub(super) fn get(&self, token: Token) -> Option<&T> {
        match self.slots.get(token.slot as usize) {
            Some((generation, value)) if *generation == token.generation => value.as_ref(),
            _ => None,
        }
    }

    /// Takes a value out; its place gets another token.
    pub(super) fn remove(&mut self, token: Token) -> Option<T> {
        let (generation, value) = self.slots.get_mut(token.slot as usize)?;
        if *generation != token.generation {
            return None;
        }
        let value = value.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(token.slot);
        Some(value)
    }

    /// The values with their tokens.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Token, &mut T)> {
        self.slots.iter_mut().enumerate().filter_map(|(slot, (generation, value))| {
            value.as_mut().map(|value| (Token { slot: slot as u32, generation: *generation }, value))
        })
    }

    /// The same tokens with other values; where `change` returns nothing the place becomes free.
    pub(super) fn map<U>(self, mut change: impl FnMut(Token, T) -> Option<U>) -> Slots<U> {
        let mut changed = Slots::new();
        for (slot, (mut generation, value)) in self.slots.into_iter().enumerate() {
            let slot = slot as u32;
            let value = value.and_then(|value| change(Token { slot, generation }, value));
            if value.is_none() {
                generation = generation.wrapping_add(1);
                changed.free.push(slot);
            }
            changed.slots.push((generation, value));
        }
        changed
    }
}

/// Buffers that were used and can be used again, so that events allocate nothing once they flow.
pub(super) struct Buffers(Vec<Vec<u8>>);

/// More free buffers than this are given back to the allocator.
const KEPT: usize = 32;

impl Buffers {
    pub(super) fn new() -> Buffers {
        Buffers(Vec::with_capacity(KEPT))
    }

    /// An empty buffer with room for `size` bytes.
    ///
    /// # Errors
    /// `ENOMEM` when there is no memory.
    pub(super) fn take(&mut self, size: usize) -> Result<Vec<u8>> {
        if let Some(index) = self.0.iter().position(|buffer| buffer.capacity() == size) {
            return Ok(self.0.swap_remove(index));
        }
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(size).map_err(|_| Errno::NOMEM)?;
        Ok(buffer)
    }

    /// Takes a used buffer back.
    pub(super) fn give(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() > 0 && self.0.len() < KEPT {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_one_value_only() {
        let mut slots = Slots::new();
        let (a, b) = (slots.insert('a'), slots.insert('b'));
        assert_eq!(slots.remove(a), Some('a'));
        assert_eq!(slots.remove(a), None);
        let c = slots.insert('c');
        assert_ne!(a, c);
        assert_eq!((slots.get(a), slots.get(b), slots.get(c)), (None, Some(&'b'), Some(&'c')));
        assert_eq!(Token::of_bits(c.bits()), c);
        let slots = slots.map(|_, letter| (letter == 'b').then_some(1));
        assert_eq!((slots.get(b), slots.get(c)), (Some(&1), None));
    }

    #[test]
    fn buffers_are_used_again() {
        let mut buffers = Buffers::new();
        let mut first = buffers.take(64).unwrap();
        first.push(1);
        let place = first.as_ptr();
        buffers.give(first);
        let again = buffers.take(64).unwrap();
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        assert!(buffers.take(usize::MAX).is_err());
    }
}
