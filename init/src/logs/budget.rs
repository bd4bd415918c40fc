//! How much a service may log: so many bytes a second, and a burst. What is over it is counted and dropped.

use core::time::Duration;

/// The cost of a line besides its bytes: its time stamp in the file, its slot in memory.
const OVERHEAD: u64 = 32;

/// A token bucket for lines.
#[derive(Debug)]
pub struct Budget {
    /// Bytes a second.
    rate: u64,
    /// Bytes that may come at once.
    burst: u64,
    left: u64,
    filled: Duration,
    dropped: u64,
}

impl Budget {
    /// A full budget. A rate of 0 is no limit.
    pub fn new(rate: u64, burst: u64) -> Budget {
        Budget { rate, burst, left: burst, filled: Duration::ZERO, dropped: 0 }
    }

    /// Changes the limits.
    pub fn set(&mut self, rate: u64, burst: u64) {
        self.rate = rate;
        self.burst = burst;
        self.left = self.left.min(burst);
    }

    /// Adds what the time since the last call allows. Returns how many lines were dropped before, once when there is room again.
    pub fn refill(&mut self, now: Duration) -> Option<u64> {
        let time = now.saturating_sub(self.filled).as_millis();
        let gain = time.saturating_mul(self.rate.into()) / 1000;
        // Time that was too short for a byte counts for the next call.
        if gain > 0 {
            self.filled = now;
            self.left = self.left.saturating_add(u64::try_from(gain).unwrap_or(u64::MAX)).min(self.burst);
        }
        let again = self.dropped > 0 && (self.rate == 0 || self.left >= self.resume_at());
        again.then(|| core::mem::take(&mut self.dropped))
    }

    /// Whether a line of `length` bytes fits; it is counted when it does not.
    pub fn take(&mut self, length: usize) -> bool {
        if self.rate == 0 {
            return true;
        }
        let cost = (length as u64).saturating_add(OVERHEAD);
        // Once lines are dropped, more of them go until the bucket has filled somewhat: whole pieces of a log are of more use
        // than every tenth line.
        if self.dropped > 0 || cost > self.left {
            self.dropped = self.dropped.saturating_add(1);
            return false;
        }
        self.left -= cost;
        true
    }

    /// When [`Budget::refill`] will tell how many lines were dropped, if some were.
    pub fn deadline(&self) -> Option<Duration> {
        let missing = self.resume_at().saturating_sub(self.left);
        let time = Duration::from_millis(missing.saturating_mul(1000).div_ceil(self.rate.max(1)));
        (self.dropped > 0).then(|| self.filled.saturating_add(time))
    }

    /// The fill at which a flood is let in again.
    fn resume_at(&self) -> u64 {
        (self.burst / 4).min(self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_fits_and_the_rest_is_counted() {
        let mut budget = Budget::new(1000, 8000);
        assert_eq!(budget.refill(SECOND), None);
        let fitted = (0..500).filter(|_| budget.take(68)).count();
        assert_eq!(fitted, 80);
        assert_eq!(budget.refill(SECOND), None);
        // A second fills what a second may take, which is where it goes on.
        assert_eq!(budget.deadline(), Some(2 * SECOND));
        assert_eq!(budget.refill(2 * SECOND - Duration::from_millis(1)), None);
        assert!(!budget.take(0), "still dropping");
        assert_eq!(budget.refill(2 * SECOND), Some(421));
        assert_eq!((budget.refill(2 * SECOND), budget.deadline()), (None, None));
        assert_eq!((0..500).filter(|_| budget.take(68)).count(), 10);
    }

    #[test]
    fn it_never_holds_more_than_the_burst() {
        let mut budget = Budget::new(1000, 2000);
        assert_eq!(budget.refill(Duration::MAX), None);
        assert_eq!((0..500).filter(|_| budget.take(68)).count(), 20);
        assert!(budget.refill(Duration::ZERO).is_none(), "a clock that goes back fills nothing");
    }

    #[test]
    fn many_short_turns_fill_as_one_long_one() {
        let mut budget = Budget::new(1000, 2000);
        while budget.take(0) {}
        for millisecond in 0..=500 {
            if budget.refill(Duration::from_millis(millisecond)).is_some() {
                assert!((450..=500).contains(&millisecond), "{millisecond}");
                return;
            }
        }
        panic!("never filled");
    }

    #[test]
    fn no_rate_is_no_limit() {
        let mut budget = Budget::new(0, 0);
        assert!((0..100_000).all(|_| budget.take(2000)));
        assert_eq!((budget.refill(SECOND), budget.deadline()), (None, None));
    }
}
