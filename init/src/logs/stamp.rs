//! When a line was written: the wall clock, or the time since the machine's start while the clock is not set.

use core::time::Duration;

use crate::platform::clock;
use crate::sys;

/// The present, as the logs need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since the machine's start.
    pub uptime: Duration,
    /// Milliseconds since 1970 UTC.
    pub wall: i64,
}

impl Now {
    /// Asks the kernel.
    pub fn read() -> Now {
        Now { uptime: sys::system::uptime(), wall: sys::clock::milliseconds() }
    }
}

/// The time of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// Milliseconds since 1970 UTC.
    Wall(i64),
    /// Milliseconds since the machine's start.
    Uptime(u64),
}

impl Stamp {
    /// The stamp of a line of now.
    pub fn of(now: Now) -> Stamp {
        if sys::clock::is_set(now.wall, now.uptime) {
            Stamp::Wall(now.wall)
        } else {
            Stamp::Uptime(u64::try_from(now.uptime.as_millis()).unwrap_or(u64::MAX))
        }
    }

    /// What sorts stamps: those from before the clock was set come first.
    pub fn order(self) -> (u8, u64) {
        match self {
            Stamp::Uptime(time) => (0, time),
            Stamp::Wall(time) => (1, u64::try_from(time).unwrap_or(0)),
        }
    }

    /// The stamp as 9 bytes, for [`Stamp::from_bytes`].
    pub fn to_bytes(self) -> [u8; 9] {
        let (kind, time) = match self {
            Stamp::Wall(time) => (b'w', time.to_ne_bytes()),
            Stamp::Uptime(time) => (b'u', time.to_ne_bytes()),
        };
        let mut bytes = [kind; 9];
        bytes[1..].copy_from_slice(&time);
        bytes
    }

    /// The stamp of [`Stamp::to_bytes`].
    pub fn from_bytes(bytes: &[u8; 9]) -> Option<Stamp> {
        let (kind, time) = bytes.split_first()?;
        let time: [u8; 8] = time.try_into().ok()?;
        match kind {
            b'w' => Some(Stamp::Wall(i64::from_ne_bytes(time))),
            b'u' => Some(Stamp::Uptime(u64::from_ne_bytes(time))),
            _ => None,
        }
    }

    /// Appends the stamp as one word: `2026-11-21T06:45:50.123Z` (RFC 3339), or `+12.345` seconds.
    pub fn write(self, out: &mut Vec<u8>) {
        match self {
            Stamp::Uptime(time) => {
                out.push(b'+');
                // Six digits before the point reach to eleven days, and more are written when there are more.
                let digits = time.checked_ilog10().map_or(1, |digits| digits as usize + 1);
                number(out, time / 1000, digits.saturating_sub(3).max(1));
                out.push(b'.');
                number(out, time % 1000, 3);
            }
            Stamp::Wall(time) => {
                let date = clock::fields(time.div_euclid(1000));
                let parts = [
                    (i64::from(date.year) + 1900, 4, b'-'),
                    (i64::from(date.month) + 1, 2, b'-'),
                    (date.day.into(), 2, b'T'),
                    (date.hour.into(), 2, b':'),
                    (date.minute.into(), 2, b':'),
                    (date.second.into(), 2, b'.'),
                    (time.rem_euclid(1000), 3, b'Z'),
                ];
                for (value, digits, end) in parts {
                    number(out, u64::try_from(value).unwrap_or(0), digits);
                    out.push(end);
                }
            }
        }
    }
}

/// Appends the last `digits` digits of a number, zeros in front.
fn number(out: &mut Vec<u8>, value: u64, digits: usize) {
    for place in (0..digits as u32).rev() {
        let digit = value / 10u64.saturating_pow(place) % 10;
        out.push(b'0' + digit as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(stamp: Stamp) -> String {
        let mut out = Vec::new();
        stamp.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_wall_clock_in_utc_with_milliseconds() {
        // date -u -d @1795243550
        assert_eq!(text(Stamp::Wall(1_795_243_550_123)), "2026-11-21T06:45:50.123Z");
        assert_eq!(text(Stamp::Wall(1_835_395_199_999)), "2028-02-28T23:59:59.999Z");
        assert_eq!(text(Stamp::Wall(1_835_395_200_000)), "2028-02-29T00:00:00.000Z");
    }

    #[test]
    fn the_uptime_while_the_clock_is_not_set() {
        let now = |seconds, wall| Now { uptime: Duration::from_millis(seconds), wall };
        assert_eq!(Stamp::of(now(12_345, 5_000)), Stamp::Uptime(12_345));
        let earliest = sys::clock::SOURCE_DATE * 1000;
        assert_eq!(Stamp::of(now(5, earliest + 5)), Stamp::Wall(earliest + 5));
        // PID 1 set the clock to that date 2 s after the start, since nothing told the time.
        assert_eq!(Stamp::of(now(9_000, earliest + 7_000)), Stamp::Uptime(9_000));
        for (time, expected) in [(0, "+0.000"), (7, "+0.007"), (12_345, "+12.345"), (1_000_000_000, "+1000000.000")] {
            assert_eq!(text(Stamp::Uptime(time)), expected);
        }
        assert_eq!(text(Stamp::Uptime(u64::MAX)), "+18446744073709551.615");
    }
}
