//! One TCP connection of the engine on io_uring: what the kernel has of it, and what it has not taken.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use crate::sys::provided::Buffer;
use crate::sys::{Errno, Result, socket};
use crate::table::Budget;

/// How a connection is received from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Nothing came yet: one buffer, which shows what comes.
    New,
    /// Messages: a multishot receive.
    Messages,
    /// More at a time than a buffer, or a side that reads slowly: one buffer at a time, from now on.
    Bulk,
}

/// A connection.
pub struct Connection {
    pub fd: OwnedFd,
    /// The turn in which something was queued to be sent.
    pub sending: u64,
    /// Bytes received while a send was queued.
    pub waiting: VecDeque<Buffer>,
    /// Bytes that the peer has not taken; nothing is received meanwhile.
    pub pending: Vec<u8>,
    /// The kernel receives from it.
    pub receiving: bool,
    /// The kernel waits until it takes more.
    pub polling: bool,
    /// How it is received from.
    pub pace: Pace,
    /// The other side sends no more.
    pub ended: bool,
    /// It is closed when the kernel has let go of it.
    pub closing: bool,
}

impl Connection {
    /// One that has just come.
    pub fn new(fd: OwnedFd) -> Connection {
        Connection {
            fd,
            sending: 0,
            waiting: VecDeque::new(),
            pending: Vec::new(),
            receiving: false,
            polling: false,
            pace: Pace::New,
            ended: false,
            closing: false,
        }
    }

    /// Whether something is still to go, or goes in this turn.
    pub fn has_to_send(&self, turn: u64) -> bool {
        self.sending == turn || !self.waiting.is_empty() || !self.pending.is_empty()
    }

    /// Sends bytes as far as the other side takes them now.
    pub fn send(&self, bytes: &[u8], counted: &mut u64) -> Result<usize> {
        let count = match socket::send(&self.fd, bytes) {
            Ok(count) => count.min(bytes.len()),
            Err(Errno::AGAIN) => 0,
            Err(error) => return Err(error),
        };
        *counted += count as u64;
        Ok(count)
    }

    /// Sends what is pending as far as the other side takes it now; whether that is all.
    pub fn send_pending(&mut self, budget: &mut Budget, counted: &mut u64) -> Result<bool> {
        if self.pending.is_empty() {
            return Ok(true);
        }
        let count = self.send(&self.pending, counted)?;
        self.pending.drain(..count);
        budget.give(count);
        if self.pending.is_empty() {
            // It may have grown.
            self.pending = Vec::new();
        }
        Ok(self.pending.is_empty())
    }

    /// Keeps what it did not take; false without memory for it.
    #[must_use]
    pub fn keep(&mut self, rest: &[u8], budget: &mut Budget) -> bool {
        let kept = budget.take(rest.len());
        if kept {
            self.pending.extend_from_slice(rest);
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_is_not_taken_is_kept_in_order_and_within_the_budget() {
        let (one, mut other) = UnixStream::pair().unwrap();
        let mut connection = Connection::new(one.into());
        let (mut budget, mut counted) = (Budget::new(400_000), 0);
        let bytes: Vec<u8> = (0..400_000u32).map(|at| (at % 251) as u8).collect();
        assert!(connection.keep(&bytes[..300_000], &mut budget));
        assert!(!connection.keep(&bytes, &mut budget), "more than the budget");
        assert!(connection.keep(&bytes[300_000..], &mut budget));
        let mut back = vec![0; bytes.len()];
        let mut read = 0;
        while !connection.send_pending(&mut budget, &mut counted).unwrap() {
            assert!(connection.has_to_send(1));
            read += std::io::Read::read(&mut other, &mut back[read..]).unwrap();
        }
        std::io::Read::read_exact(&mut other, &mut back[read..]).unwrap();
        assert!(back == bytes && counted == 400_000 && !connection.has_to_send(1));
        assert!(budget.take(400_000), "all of it was given back");
    }
}
