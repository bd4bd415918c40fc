//! Messages that wait for the server, and those of which nobody knows yet whether it got them. Pure.

use core::time::Duration;
use std::collections::VecDeque;

/// Bytes of messages that wait while the server is away; then the oldest ones are dropped, and counted.
pub const MOST: usize = 256 << 10;

/// A message that was sent.
struct Sent {
    message: Vec<u8>,
    /// Bytes of the stream up to its end.
    end: u64,
    at: Duration,
}

/// The queue.
#[derive(Default)]
pub struct Queue {
    waiting: VecDeque<Vec<u8>>,
    sent: VecDeque<Sent>,
    /// Bytes in both.
    bytes: usize,
    /// Messages that were dropped since [`Queue::take_lost`].
    lost: u64,
}

impl Queue {
    /// Adds a message.
    pub fn push(&mut self, message: Vec<u8>) {
        self.bytes += message.len();
        self.waiting.push_back(message);
        while self.bytes > MOST
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.bytes -= oldest.len();
            self.lost += 1;
        }
    }

    /// Adds a message that is to be the next one.
    pub fn push_first(&mut self, message: Vec<u8>) {
        self.bytes += message.len();
        self.waiting.push_front(message);
    }

    /// The next message to be sent.
    pub fn next(&self) -> Option<&[u8]> {
        self.waiting.front().map(Vec::as_slice)
    }

    /// The next message was sent; the stream has `end` bytes with it.
    pub fn next_is_sent(&mut self, end: u64, at: Duration) {
        self.sent.extend(self.waiting.pop_front().map(|message| Sent { message, end, at }));
    }

    /// The other end has so many bytes of the stream.
    pub fn acknowledge(&mut self, bytes: u64) {
        self.drop_sent(|sent| sent.end <= bytes);
    }

    /// Nothing was refused that was sent before this time.
    pub fn settle(&mut self, before: Duration) {
        self.drop_sent(|sent| sent.at < before);
    }

    fn drop_sent(&mut self, is_done: impl Fn(&Sent) -> bool) {
        while self.sent.front().is_some_and(&is_done)
            && let Some(sent) = self.sent.pop_front()
        {
            self.bytes -= sent.message.len();
        }
    }

    /// The connection ended: what was sent and not acknowledged is sent again.
    pub fn take_back(&mut self) {
        while let Some(sent) = self.sent.pop_back() {
            self.waiting.push_front(sent.message);
        }
    }

    /// How many messages were dropped since the last time.
    pub fn take_lost(&mut self) -> u64 {
        core::mem::take(&mut self.lost)
    }

    /// Whether everything is sent and acknowledged.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.sent.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_and_are_counted() {
        let mut queue = Queue::default();
        (0..300).for_each(|number: u32| queue.push(vec![number as u8; 1 << 10]));
        assert_eq!((queue.take_lost(), queue.take_lost()), (44, 0));
        assert_eq!(queue.next().unwrap()[0], 44);
        assert!(queue.bytes <= MOST);
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_in_its_order() {
        let mut queue = Queue::default();
        (0..4).for_each(|number| queue.push(vec![number; 10]));
        (1..4).for_each(|count| queue.next_is_sent(count * 10, Duration::from_secs(count)));
        queue.acknowledge(19);
        queue.take_back();
        assert_eq!(queue.waiting, [vec![1; 10], vec![2; 10], vec![3; 10]]);
        queue.next_is_sent(10, Duration::from_secs(9));
        queue.settle(Duration::from_secs(9));
        assert_eq!(queue.sent.len(), 1);
        queue.settle(Duration::from_secs(10));
        queue.waiting.clear();
        assert!(queue.is_empty());
    }
}
