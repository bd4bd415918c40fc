//! What is made of the servers' answers: how far the clock is off, and what is done about it.

use core::time::Duration;

use crate::message::{Reply, Time};

/// An error up to this many nanoseconds is taken away bit by bit, a larger one at once (`STEPT` of RFC 5905, section 7.1).
const STEP: i64 = 128_000_000;
/// With an error below this the clock is right, and asked for less often.
const GOOD: i64 = 10_000_000;
/// The least and the longest time between two questions (RFC 4330, section 10, and `MAXPOLL` of most programs).
const SHORTEST: Duration = Duration::from_secs(64);
const LONGEST: Duration = Duration::from_secs(1024);

/// One answer, with what this machine's clock showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Nanoseconds that the server's clock is ahead.
    pub offset: i64,
    /// Nanoseconds on the way, there and back.
    pub delay: i64,
    /// The server's stratum.
    pub stratum: u8,
}

impl Sample {
    /// From an answer to a question that was sent and answered at these times of this machine's clock (RFC 5905, section 8).
    pub fn new(asked: Time, reply: Reply, answered: Time) -> Sample {
        let there = difference(reply.received, asked);
        let back = difference(reply.sent, answered);
        let delay = difference(answered, asked).saturating_sub(difference(reply.sent, reply.received));
        Sample { offset: there.saturating_add(back) / 2, delay: delay.max(0), stratum: reply.stratum }
    }
}

/// Nanoseconds from `b` to `a`.
fn difference(a: Time, b: Time) -> i64 {
    let nanoseconds = a.as_nanos() as i128 - b.as_nanos() as i128;
    i64::try_from(nanoseconds).unwrap_or(if nanoseconds < 0 { i64::MIN } else { i64::MAX })
}

/// The sample to go by, with its place: that in the middle of three and more, so that one server that is wrong does not count; else the
/// one with the shortest way.
pub fn best(samples: &[Sample]) -> Option<(usize, Sample)> {
    let mut all: Vec<(usize, Sample)> = samples.iter().copied().enumerate().collect();
    if all.len() < 3 {
        return all.into_iter().min_by_key(|(_, sample)| sample.delay);
    }
    all.sort_by_key(|(_, sample)| sample.offset);
    all.get((all.len() - 1) / 2).copied()
}

/// What is to be done to the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Set it by so many nanoseconds.
    Step(i64),
    /// Let it run faster or slower until so many nanoseconds are gone.
    Slew(i64),
}

/// The change for an error.
pub fn change(offset: i64) -> Change {
    if offset.saturating_abs() > STEP { Change::Step(offset) } else { Change::Slew(offset) }
}

/// How long to wait until the next questions.
#[derive(Debug)]
pub struct Pace(Duration);

impl Pace {
    /// At the start.
    pub fn new() -> Pace {
        Pace(SHORTEST)
    }

    /// After an answer that said how wrong the clock is.
    pub fn after(&mut self, offset: i64) -> Duration {
        self.0 = if offset.saturating_abs() < GOOD { (self.0 * 2).min(LONGEST) } else { SHORTEST };
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn at(nanoseconds: i64) -> Time {
        Duration::from_nanos((2_000_000_000 * SECOND + nanoseconds) as u64)
    }

    #[test]
    fn offset_and_delay() {
        // The server is 5 s ahead; the way takes 20 ms there and back, the server 3 ms.
        let reply = Reply { stratum: 2, received: at(5 * SECOND + 10_000_000), sent: at(5 * SECOND + 13_000_000) };
        let sample = Sample::new(at(0), reply, at(23_000_000));
        assert_eq!(sample, Sample { offset: 5 * SECOND, delay: 20_000_000, stratum: 2 });
        // A clock that was set back between question and answer.
        assert_eq!(Sample::new(at(9), reply, at(0)).delay, 0);
    }

    #[test]
    fn one_liar_does_not_count() {
        let sample = |offset, delay| Sample { offset, delay, stratum: 1 };
        assert_eq!(best(&[]), None);
        assert_eq!(best(&[sample(9, 5), sample(4, 3)]), Some((1, sample(4, 3))));
        let three = [sample(2, 90), sample(900 * SECOND, 1), sample(3, 80)];
        assert_eq!(best(&three), Some((2, sample(3, 80))));
    }

    #[test]
    fn large_errors_are_set_and_small_ones_fade() {
        assert_eq!(change(-STEP - 1), Change::Step(-STEP - 1));
        assert_eq!(change(STEP), Change::Slew(STEP));
        assert_eq!(change(i64::MIN), Change::Step(i64::MIN));
    }

    #[test]
    fn a_clock_that_is_right_is_asked_for_less_often() {
        let mut pace = Pace::new();
        let seconds = [1, 1, 1, 1, 1].map(|offset| pace.after(offset).as_secs());
        assert_eq!(seconds, [128, 256, 512, 1024, 1024]);
        assert_eq!(pace.after(-SECOND).as_secs(), 64);
    }
}
