//! When a file or device that failed is tried again, and whether the failure was said.

use core::time::Duration;

use crate::event::backoff;

/// The first wait; each failure doubles it.
const FIRST: Duration = Duration::from_secs(5);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(320);

/// Failures in a row.
#[derive(Debug, Default)]
pub struct Retry {
    failures: u32,
    again: Duration,
}

impl Retry {
    /// Whether a try is due.
    pub fn is_due(&self, now: Duration) -> bool {
        self.failures == 0 || now >= self.again
    }

    /// When the next try is due, if the last one failed.
    pub fn deadline(&self) -> Option<Duration> {
        (self.failures > 0).then_some(self.again)
    }

    /// Notes a failure. Returns whether it is the first of its row, which is worth a line.
    pub fn failed(&mut self, now: Duration) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.again = now.saturating_add(backoff::doubled(FIRST, self.failures, LONGEST));
        self.failures == 1
    }

    /// Notes a success. Returns whether it ends a row of failures.
    pub fn succeeded(&mut self) -> bool {
        core::mem::take(&mut self.failures) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_only_the_first_failure_is_said() {
        let mut retry = Retry::default();
        let mut now = Duration::ZERO;
        let mut waits = Vec::new();
        for failure in 0..9 {
            assert!(retry.is_due(now));
            assert_eq!(retry.failed(now), failure == 0);
            let next = retry.deadline().unwrap();
            assert!(!retry.is_due(next - Duration::from_millis(1)));
            waits.push((next - now).as_secs());
            now = next;
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 320, 320]);
        assert!(retry.succeeded() && !retry.succeeded());
        assert_eq!(retry.deadline(), None);
    }
}
