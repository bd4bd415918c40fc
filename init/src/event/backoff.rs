//! When something that failed is tried again. The supervisor, the state machine of services and the logs ask.

use core::time::Duration;

/// A program that lived at least this long was not failing: it starts again at once.
pub const HEALTHY: Duration = Duration::from_secs(1);
/// The longest time between two starts of a program that fails at once, and between two looks for a missing terminal.
pub const LONGEST: Duration = Duration::from_secs(32);

/// The wait after `failures` failures in a row: `first`, and twice as long with each more, up to `longest`; none without a failure.
pub fn doubled(first: Duration, failures: u32, longest: Duration) -> Duration {
    match failures {
        0 => Duration::ZERO,
        // More doublings than these are longer than any limit.
        count => first.saturating_mul(1 << (count - 1).min(30)).min(longest),
    }
}

/// The time from one start to the next after `failures` failures in a row: 1, 2, 4, ... 32 seconds; none without a failure.
pub fn between_starts(failures: u32) -> Duration {
    doubled(HEALTHY, failures, LONGEST)
}

/// The failures in a row after a program that had failed `before` times ended after `lived`.
pub fn failures(before: u32, lived: Duration) -> u32 {
    if lived < HEALTHY { before.saturating_add(1) } else { 0 }
}

/// Whether the `failures`th failure in a row is worth a line: each one that makes the wait longer.
pub fn worth_saying(failures: u32) -> bool {
    (1..=6).contains(&failures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let seconds: Vec<u64> = (0..9).map(|n| between_starts(n).as_secs()).collect();
        assert_eq!(seconds, [0, 1, 2, 4, 8, 16, 32, 32, 32]);
        assert_eq!(between_starts(u32::MAX), LONGEST);
    }

    #[test]
    fn a_healthy_life_forgives() {
        assert_eq!(failures(3, Duration::from_millis(999)), 4);
        assert_eq!(failures(3, Duration::from_secs(1)), 0);
        assert_eq!(failures(u32::MAX, Duration::ZERO), u32::MAX);
    }

    #[test]
    fn the_last_line_is_that_of_the_longest_wait() {
        assert!(!worth_saying(0));
        assert_eq!(between_starts(6), LONGEST);
        assert!(worth_saying(6));
        assert!(!worth_saying(7));
    }
}
