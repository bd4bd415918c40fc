//! What PID 1 does through io_uring without a system call of its own: the tests read its queues at each io_uring_enter(2), and
//! change an answer in them.
//!
//! The layout is that of linux/io_uring.h: `struct io_uring_params`, `io_uring_sqe` and `io_uring_cqe`.

use std::collections::HashMap;

use libc::{c_int, c_long, pid_t};

use crate::calls::Row;
use crate::trace::{self, Call};

/// `IORING_OFF_SQ_RING` and `IORING_OFF_SQES`: what is mapped of a ring.
const OFF_RING: u64 = 0;
const OFF_ENTRIES: u64 = 0x1000_0000;
/// Bytes of a request and of an answer.
const REQUEST: u64 = 64;
const ANSWER: u64 = 16;

/// Numbers that no system call has, for what is asked through the ring: the operation's (`IORING_OP_*`) below this.
const FIRST: c_long = -1000;

/// Operations: `IORING_OP_POLL_ADD`, `IORING_OP_ASYNC_CANCEL`, `IORING_OP_OPENAT`, `IORING_OP_CLOSE`, `IORING_OP_STATX`,
/// `IORING_OP_READ`, `IORING_OP_WRITE`, `IORING_OP_RENAMEAT`, `IORING_OP_MKDIRAT`.
pub const POLL: c_long = FIRST - 6;
pub const CANCEL: c_long = FIRST - 14;
pub const OPEN: c_long = FIRST - 18;
pub const CLOSE: c_long = FIRST - 19;
pub const STATUS: c_long = FIRST - 21;
pub const READ: c_long = FIRST - 22;
pub const WRITE: c_long = FIRST - 23;
pub const RENAME: c_long = FIRST - 35;
pub const MAKE_DIR: c_long = FIRST - 37;

/// A ring of PID 1, as far as it is known yet.
pub struct Ring {
    /// The descriptor.
    fd: u64,
    /// `struct io_uring_params`, after the kernel filled it in.
    parameters: [u8; 120],
    /// Where the queues and the requests are.
    queues: u64,
    entries: u64,
    /// What was asked: number and descriptor of an operation by its mark.
    asked: HashMap<u64, (c_long, c_int)>,
    /// Answers that were looked at.
    seen: u32,
}

/// An answer that the program has not taken yet.
pub struct Answer {
    pub operation: c_long,
    pub descriptor: c_int,
    /// Where its result is.
    place: u64,
}

impl Ring {
    /// A ring that io_uring_setup(2) has just made.
    pub fn new(pid: pid_t, setup: &Call, fd: i64) -> Option<Ring> {
        let fd = u64::try_from(fd).ok()?;
        let mut ring = Ring { fd, parameters: [0; 120], queues: 0, entries: 0, asked: HashMap::new(), seen: 0 };
        trace::read(pid, setup.arguments[1], &mut ring.parameters).then_some(ring)
    }

    /// Takes note of an mmap(2).
    pub fn mapped(&mut self, call: &Call, address: i64) {
        let address = u64::try_from(address).unwrap_or(0);
        match call.arguments[5] {
            OFF_RING if call.arguments[4] as c_int as u64 == self.fd => self.queues = address,
            OFF_ENTRIES if call.arguments[4] as c_int as u64 == self.fd => self.entries = address,
            _ => {}
        }
    }

    /// A number of the parameters.
    fn parameter(&self, at: usize) -> u64 {
        u64::from(u32::from_ne_bytes(self.parameters[at..at + 4].try_into().unwrap()))
    }

    /// A number in the queues, whose place the parameters have at `at`.
    fn number(&self, pid: pid_t, at: usize) -> Option<u32> {
        let mut bytes = [0; 4];
        trace::read(pid, self.queues + self.parameter(at), &mut bytes).then_some(u32::from_ne_bytes(bytes))
    }

    /// Takes note of what io_uring_enter(2) is about to tell the kernel.
    pub fn submitted(&mut self, pid: pid_t) -> Option<()> {
        if self.queues == 0 || self.entries == 0 {
            return None;
        }
        // Head, tail and mask of the requests.
        let (head, tail, mask) = (self.number(pid, 40)?, self.number(pid, 44)?, self.number(pid, 48)?);
        for index in (0..tail.wrapping_sub(head)).map(|count| head.wrapping_add(count) & mask) {
            let mut entry = [0; REQUEST as usize];
            if trace::read(pid, self.entries + u64::from(index) * REQUEST, &mut entry) {
                let mark = u64::from_ne_bytes(entry[32..40].try_into().unwrap());
                let descriptor = c_int::from_ne_bytes(entry[4..8].try_into().unwrap());
                self.asked.insert(mark, (FIRST - c_long::from(entry[0]), descriptor));
            }
        }
        Some(())
    }

    /// The answers that have come since the last call.
    pub fn answers(&mut self, pid: pid_t) -> Option<Vec<Answer>> {
        if self.queues == 0 {
            return None;
        }
        // Tail and mask of the answers.
        let (tail, mask) = (self.number(pid, 84)?, self.number(pid, 88)?);
        let mut answers = Vec::new();
        while self.seen != tail {
            let place = self.queues + self.parameter(100) + u64::from(self.seen & mask) * ANSWER;
            self.seen = self.seen.wrapping_add(1);
            let mut mark = [0; 8];
            if trace::read(pid, place, &mut mark)
                && let Some(&(operation, descriptor)) = self.asked.get(&u64::from_ne_bytes(mark))
            {
                answers.push(Answer { operation, descriptor, place: place + 8 });
            }
        }
        Some(answers)
    }
}

impl Answer {
    /// Makes it an error.
    pub fn fail(&self, pid: pid_t, error: c_int) -> bool {
        trace::write(pid, self.place, &(-error).to_ne_bytes())
    }

    /// What is known about its operation.
    pub fn row(&self) -> Option<&'static Row> {
        crate::calls::find(self.operation)
    }
}
