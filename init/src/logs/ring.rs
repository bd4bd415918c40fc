//! The last lines of a service, in bounded memory. Every line has a number, so that each reader (the file, the kernel
//! log, a follower) remembers one number and learns how many lines it missed.

use std::collections::VecDeque;

use super::stamp::Stamp;

/// What a line takes besides its bytes.
const RECORD: usize = size_of::<Record>();

#[derive(Debug)]
struct Record {
    stamp: Stamp,
    length: u32,
}

/// The last lines of a service.
#[derive(Debug)]
pub struct Ring {
    bytes: VecDeque<u8>,
    records: VecDeque<Record>,
    /// The number of the oldest line.
    first: u64,
    /// Bytes that it may take.
    limit: usize,
}

/// A line that was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// When it came.
    pub stamp: Stamp,
    /// Its bytes without an end, in two parts because the memory is a ring.
    pub parts: (&'a [u8], &'a [u8]),
}

impl Line<'_> {
    /// The bytes.
    pub fn bytes(&self) -> impl Iterator<Item = u8> + '_ {
        self.parts.0.iter().chain(self.parts.1).copied()
    }
}

impl Ring {
    /// An empty ring for at most `limit` bytes. It takes memory as it needs it.
    pub fn new(limit: usize) -> Ring {
        Ring { bytes: VecDeque::new(), records: VecDeque::new(), first: 0, limit }
    }

    /// Changes the limit; the oldest lines go where it is less.
    pub fn set_limit(&mut self, limit: usize) {
        let less = limit < self.limit;
        self.limit = limit;
        self.make_room(0);
        if less {
            self.bytes.shrink_to(limit);
            self.records.shrink_to(limit / RECORD);
        }
    }

    /// Bytes that it may take.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Adds a line; the oldest go to make room. A line is kept even where it alone is more than the limit. Returns the bytes
    /// that it takes.
    pub fn push(&mut self, stamp: Stamp, line: &[u8]) -> usize {
        self.make_room(line.len() + RECORD);
        self.bytes.extend(line);
        self.records.push_back(Record { stamp, length: u32::try_from(line.len()).unwrap_or(u32::MAX) });
        line.len() + RECORD
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.bytes.len() + self.records.len() * RECORD
    }

    fn make_room(&mut self, more: usize) {
        while self.used() + more > self.limit {
            let Some(record) = self.records.pop_front() else {
                return;
            };
            self.bytes.drain(..(record.length as usize).min(self.bytes.len()));
            self.first += 1;
        }
    }

    /// The number that the next line will have.
    pub fn end(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    /// The number of the line from which on there are `count` lines, or of the oldest one.
    pub fn last(&self, count: u64) -> u64 {
        self.end().saturating_sub(count).max(self.first)
    }

    /// The number of the oldest line that is there.
    pub fn oldest(&self) -> u64 {
        self.first
    }

    /// The lines from number `from` on that are still there.
    pub fn lines(&self, from: u64) -> impl Iterator<Item = Line<'_>> {
        let skip = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX).min(self.records.len());
        // From the near end: a follower wants the last few of many.
        let after: usize = self.records.range(skip..).map(|record| record.length as usize).sum();
        let mut at = self.bytes.len().saturating_sub(after);
        self.records.range(skip..).map(move |record| {
            let end = (at + record.length as usize).min(self.bytes.len());
            let line = Line { stamp: record.stamp, parts: parts(&self.bytes, at.min(end), end) };
            at = end;
            line
        })
    }
}

/// The bytes `from..to` of a queue.
fn parts(bytes: &VecDeque<u8>, from: usize, to: usize) -> (&[u8], &[u8]) {
    let (front, back) = bytes.as_slices();
    let cut = front.len();
    (slice(front, from, to), slice(back, from.saturating_sub(cut), to.saturating_sub(cut)))
}

/// The lines of `from..to` that are still in memory.
fn slice(bytes: &[u8], from: usize, to: usize) -> &[u8] {
    bytes.get(from.min(bytes.len())..to.min(bytes.len())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp::Uptime(1);

    fn all(ring: &Ring, from: u64) -> Vec<String> {
        ring.lines(from).map(|line| String::from_utf8(line.bytes().collect()).unwrap()).collect()
    }

    #[test]
    fn numbers_go_on_when_lines_go() {
        let mut ring = Ring::new(3 * (RECORD + 1));
        for line in ["a", "b", "c"] {
            ring.push(STAMP, line.as_bytes());
        }
        assert_eq!((all(&ring, 0), ring.end()), (vec!["a".into(), "b".into(), "c".into()], 3));
        ring.push(STAMP, b"d");
        assert_eq!((all(&ring, 0), ring.end(), ring.oldest()), (vec!["b".into(), "c".into(), "d".into()], 4, 1));
        assert_eq!((all(&ring, 3), all(&ring, 4), all(&ring, 99)), (vec!["d".into()], vec![], vec![]));
        assert_eq!((ring.last(1), ring.last(2), ring.last(99)), (3, 2, 1));
    }

    #[test]
    fn the_limit_holds_whatever_comes() {
        let limit = 4096;
        let mut ring = Ring::new(limit);
        let text = "0123456789".repeat(40);
        for number in 0..5000usize {
            let line = &text.as_bytes()[..(number * 37) % 401];
            ring.push(STAMP, line);
            assert!(ring.used() <= limit);
            let back = ring.lines(ring.end() - 1).next().unwrap();
            assert_eq!(back.bytes().collect::<Vec<_>>(), line);
        }
        assert!(ring.bytes.capacity() <= 2 * limit && ring.records.capacity() <= 2 * limit / RECORD);
        ring.set_limit(512);
        assert!(ring.used() <= 512 && ring.end() == 5000);
        ring.push(STAMP, &[b'x'; 600]);
        assert_eq!((ring.records.len(), ring.bytes.len()), (1, 600));
    }
}
