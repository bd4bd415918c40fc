//! How many starts within a time are too many. The state machine asks before each restart.

use core::time::Duration;

/// The starts of a service within the current interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartLimit {
    begin: Duration,
    count: u32,
}

impl StartLimit {
    /// Counts a start.
    pub fn count(&mut self, now: Duration, interval: Duration) {
        self.forget_old(now, interval);
        self.count = self.count.saturating_add(1);
    }

    /// Takes the last start back.
    pub fn uncount(&mut self) {
        self.count = self.count.saturating_sub(1);
    }

    /// Whether one more start is allowed at `now`. A `limit` of 0 allows all.
    pub fn allows(&mut self, now: Duration, limit: u32, interval: Duration) -> bool {
        self.forget_old(now, interval);
        limit == 0 || self.count < limit
    }

    fn forget_old(&mut self, now: Duration, interval: Duration) {
        if self.count == 0 || now.saturating_sub(self.begin) >= interval {
            *self = StartLimit { begin: now, count: 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_within_an_interval() {
        let seconds = Duration::from_secs;
        let mut limit = StartLimit::default();
        let mut start = |at, most| {
            let allowed = limit.allows(seconds(at), most, seconds(10));
            limit.count(seconds(at), seconds(10));
            allowed
        };
        let starts: Vec<bool> = [5, 6, 7, 8, 14, 15, 16].map(|at| start(at, 3)).into();
        assert_eq!(starts, [true, true, true, false, false, true, true]);
        assert!((0..1000).all(|_| start(16, 0)));
    }
}
