//! The connections that are open, the same for both engines.

use core::time::Duration;

/// Why a connection is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A connection with what the engine knows about it.
struct Peer<C> {
    connection: C,
    /// When something moved last.
    moved: Duration,
}

/// Connections by the number that the kernel gave them, which is always among the lowest free ones.
pub struct Table<C> {
    slots: Vec<Option<Peer<C>>>,
    open: usize,
    limit: usize,
}

impl<C> Table<C> {
    /// An empty table for `limit` connections.
    pub fn new(limit: usize) -> Table<C> {
        Table { slots: Vec::new(), open: 0, limit }
    }

    /// Keeps a new connection; `now` is the time on any steady clock.
    ///
    /// # Errors
    /// [`Full`] when the limit is reached: the caller closes it.
    pub fn insert(&mut self, slot: u32, connection: C, now: Duration) -> Result<(), Full> {
        let index = slot as usize;
        if self.open >= self.limit {
            return Err(Full);
        }
        if index >= self.slots.len() {
            self.slots.resize_with(index.saturating_add(1), || None);
        }
        let place = self.slots.get_mut(index).ok_or(Full)?;
        if place.replace(Peer { connection, moved: now }).is_none() {
            self.open += 1;
        }
        Ok(())
    }

    /// A connection, on which something moved `now`.
    pub fn touch(&mut self, slot: u32, now: Duration) -> Option<&mut C> {
        let peer = self.slots.get_mut(slot as usize)?.as_mut()?;
        peer.moved = now;
        Some(&mut peer.connection)
    }

    /// A connection.
    pub fn get(&mut self, slot: u32) -> Option<&mut C> {
        Some(&mut self.slots.get_mut(slot as usize)?.as_mut()?.connection)
    }

    /// Forgets a connection.
    pub fn remove(&mut self, slot: u32) -> Option<C> {
        let peer = self.slots.get_mut(slot as usize)?.take()?;
        self.open = self.open.saturating_sub(1);
        Some(peer.connection)
    }

    /// Those on which nothing moved for `timeout`.
    pub fn idle(&self, now: Duration, timeout: Duration) -> Vec<u32> {
        let is_idle = |peer: &Peer<C>| now.saturating_sub(peer.moved) >= timeout;
        let slots = self.slots.iter().zip(0u32..);
        slots.filter(|(place, _)| place.as_ref().is_some_and(is_idle)).map(|(_, slot)| slot).collect()
    }
}

/// Memory for what slow readers have not taken, of all connections together.
#[derive(Debug)]
pub struct Budget {
    used: usize,
    limit: usize,
}

impl Budget {
    /// `limit` bytes, of which none is used.
    pub fn new(limit: usize) -> Budget {
        Budget { used: 0, limit }
    }

    /// Takes `bytes`, or nothing when there are not so many.
    #[must_use]
    pub fn take(&mut self, bytes: usize) -> bool {
        match self.used.checked_add(bytes) {
            Some(used) if used <= self.limit => {
                self.used = used;
                true
            }
            _ => false,
        }
    }

    /// Gives `bytes` back.
    pub fn give(&mut self, bytes: usize) {
        self.used = self.used.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn beyond_the_limit_nothing_is_kept() {
        let mut table = Table::new(2);
        assert_eq!(table.insert(5, 'a', at(0)), Ok(()));
        assert_eq!(table.insert(6, 'b', at(0)), Ok(()));
        assert_eq!(table.insert(7, 'c', at(0)), Err(Full));
        assert_eq!(table.get(7), None);
        assert_eq!(table.remove(5), Some('a'));
        assert_eq!(table.remove(5), None);
        assert_eq!(table.insert(5, 'd', at(0)), Ok(()));
        assert_eq!(table.get(5), Some(&mut 'd'));
    }

    #[test]
    fn what_moves_is_not_idle() {
        let mut table = Table::new(9);
        for slot in 0..3 {
            table.insert(slot, (), at(10)).unwrap();
        }
        table.touch(1, at(15));
        assert_eq!(table.idle(at(19), at(10)), []);
        assert_eq!(table.idle(at(20), at(10)), [0, 2]);
        table.remove(0);
        assert_eq!(table.idle(at(25), at(10)), [1, 2]);
        assert_eq!(table.touch(0, at(25)), None);
    }

    #[test]
    fn a_budget_is_never_exceeded() {
        let mut budget = Budget::new(10);
        assert!(budget.take(6));
        assert!(!budget.take(5));
        assert!(!budget.take(usize::MAX));
        budget.give(2);
        assert!(budget.take(6));
        assert!(!budget.take(1));
    }
}
