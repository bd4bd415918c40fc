//! The wall clock at boot and at shutdown. The boot calls [`start`], the shutdown [`save`].
//!
//! The kernel sets the clock from the RTC itself where it was built to; where it did not, [`start`] does. On a machine
//! without an RTC, or with an empty battery, time goes on from where the last shutdown left it, and never starts before
//! [`SOURCE_DATE`]: certificates are not valid in 1970.
//!
//! That the last shutdown's time may itself be wrong (an RTC that once read badly, a mistyped date) is why it never overrules
//! a clock that works, and why any sane time replaces it.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::log::{debug, error, info};
use crate::sys::clock::{self, Fields};
use crate::sys::{Errno, files};

/// The clock is never before it.
pub use crate::sys::clock::SOURCE_DATE;
/// The shutdown's time is this file's date. It holds no data.
const SAVED: &str = "/var/lib/clock";
/// A distribution's own earliest date is this file's date (systemd's convention).
const EPOCH: &str = "/usr/lib/clock-epoch";
/// Clocks, the first of which that opens is used.
const DEVICES: &[&str] = &["/dev/rtc0", "/dev/rtc"];
const SYS_CLASS: &str = "/sys/class/rtc";
/// hwclock's file; its third line is `LOCAL` when the RTC shows local time, which another system on this machine
/// wants. Then the RTC is not written.
const ADJTIME: &str = "/etc/adjtime";

/// Nothing but the last shutdown tells what time it is: [`start`] found no clock that works.
static GUESSED: AtomicBool = AtomicBool::new(false);

/// Sets the clock when it is not right already, and says so.
pub fn start() {
    let now = clock::now();
    let rtc = if kernel_set_clock() { None } else { read_rtc() };
    // Without an RTC the kernel starts in 1970, or with a time that a hypervisor or firmware told it.
    let shown = rtc.unwrap_or(now);
    GUESSED.store(shown < earliest(), Ordering::Relaxed);
    let Some(time) = right_time(now, shown, earliest(), date(SAVED)) else {
        return;
    };
    match clock::set(time) {
        Ok(()) => info!("the clock was set to {}", text(time)),
        // A container's clock is its host's.
        Err(error @ Errno::PERM) => debug!("cannot set the clock: {error}"),
        Err(error) => error!("cannot set the clock: {error}"),
    }
}

/// Raises a guessed clock to the last shutdown's time, when the file that tells it came with a mount after [`start`].
pub fn raise() {
    let saved = date(SAVED);
    if GUESSED.load(Ordering::Relaxed) && clock::now() < saved && clock::set(saved).is_ok() {
        info!("the clock was set to {}", text(saved));
    }
}

/// Keeps the time for the next boot: in the RTC, and in a file's date for machines without one. The caller syncs.
pub fn save() {
    let now = clock::now();
    if now < earliest() {
        // It never was right.
        return;
    }
    match files::replace_file(SAVED, 0o644, b"", false) {
        // No /var/lib, or a read-only root: nothing is lost on a machine with an RTC.
        Ok(()) | Err(Errno::ROFS | Errno::NOENT) => {}
        Err(error) => error!("cannot write {SAVED}: {error}"),
    }
    if shows_local_time(&files::read_file(ADJTIME).unwrap_or_default()) {
        return;
    }
    let shown = read_rtc();
    if shown.is_none_or(|shown| (shown - now).abs() < 2) {
        return;
    }
    if let Some(Err(error)) = open_rtc().map(|fd| clock::set_rtc(fd, &fields(now))) {
        debug!("the RTC was not set: {error}");
    }
}

/// The time to set, if any: what a clock shows, unless that is before `earliest` and so nothing but a guess is left.
fn right_time(now: i64, shown: i64, earliest: i64, saved: i64) -> Option<i64> {
    let best = if shown < earliest { now.max(saved).max(earliest) } else { shown };
    (best != now).then_some(best)
}

/// The earliest time that it can be.
fn earliest() -> i64 {
    SOURCE_DATE.max(date(EPOCH))
}

/// A file's date; 1970 without one.
fn date(path: &str) -> i64 {
    files::status(path).map_or(0, |status| status.modified)
}

/// Whether the kernel took its time from an RTC (CONFIG_RTC_HCTOSYS).
fn kernel_set_clock() -> bool {
    let names = files::list_dir(SYS_CLASS).unwrap_or_default();
    names.iter().any(|name| {
        files::read_file(&format!("{SYS_CLASS}/{name}/hctosys")).is_ok_and(|content| content.starts_with(b"1"))
    })
}

fn open_rtc() -> Option<std::os::fd::OwnedFd> {
    DEVICES.iter().find_map(|path| files::open_readable(path).ok())
}

fn read_rtc() -> Option<i64> {
    let fields = clock::read_rtc(open_rtc()?).ok()?;
    seconds(&fields)
}

fn shows_local_time(adjtime: &[u8]) -> bool {
    String::from_utf8_lossy(adjtime).lines().nth(2).is_some_and(|line| line.trim() == "LOCAL")
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, by counting years from March, so that the leap day is
/// the year's last: 1461 days are four years, less one day a century but every fourth.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (month * 153 + 2) / 5 + day - 1
        // Days from 1 March of year 0 to 1970-01-01.
        - 719_468
}

/// The time that an RTC in UTC shows; nothing for one that shows no date.
fn seconds(fields: &Fields) -> Option<i64> {
    let within = |value: i32, low: i32, high: i32| (low..=high).contains(&value).then_some(i64::from(value));
    // A leap second is 60.
    let second = within(fields.second, 0, 60)?;
    let minute = within(fields.minute, 0, 59)?;
    let hour = within(fields.hour, 0, 23)?;
    let day = within(fields.day, 1, 31)?;
    let month = within(fields.month, 0, 11)? + 1;
    let year = within(fields.year, 70, 8000)? + 1900;
    Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Converts a time to the fields of an RTC that runs in UTC.
pub fn fields(seconds: i64) -> Fields {
    let (day, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // An estimate that is at most a year too early, and a few steps.
    let mut year = 1970 + day / 366;
    while days(year + 1, 1, 1) <= day {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days(year, month + 1, 1) <= day {
        month += 1;
    }
    Fields {
        second: (rest % 60) as i32,
        minute: (rest / 60 % 60) as i32,
        hour: (rest / 3600) as i32,
        day: (day - days(year, month, 1) + 1) as i32,
        month: month as i32 - 1,
        year: i32::try_from(year - 1900).unwrap_or(i32::MAX),
        ..Fields::default()
    }
}

/// `2026-01-01 00:00:00 UTC`.
fn text(seconds: i64) -> String {
    let Fields { second, minute, hour, day, month, year, .. } = fields(seconds);
    format!("{}-{:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC", i64::from(year) + 1900, month + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_seconds() {
        // Known to `date -u -d @SECONDS`.
        for (time, shown) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (SOURCE_DATE, "2026-01-01 00:00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(text(time), shown);
            assert_eq!(seconds(&fields(time)), Some(time));
        }
        for time in (0..5_000_000_000).step_by(40_000_001) {
            assert_eq!(seconds(&fields(time)), Some(time));
        }
    }

    #[test]
    fn an_rtc_without_a_date_is_not_believed() {
        assert_eq!(seconds(&Fields::default()), None);
        let good = fields(SOURCE_DATE);
        assert_eq!(seconds(&Fields { month: 12, ..good }), None);
        assert_eq!(seconds(&Fields { year: i32::MAX, ..good }), None);
    }

    #[test]
    fn a_clock_that_works_counts_more_than_the_last_shutdown() {
        const EARLIEST: i64 = 100;
        // The last shutdown's time was wrong once, and is later than what the RTC or the kernel shows.
        assert_eq!(right_time(5, 900, EARLIEST, 9000), Some(900));
        assert_eq!(right_time(900, 900, EARLIEST, 9000), None);
        // An empty battery, or no RTC at all.
        assert_eq!(right_time(5, 90, EARLIEST, 700), Some(700));
        assert_eq!(right_time(5, 5, EARLIEST, 0), Some(100));
        assert_eq!(right_time(500, 90, EARLIEST, 0), None);
    }

    #[test]
    fn a_local_rtc_is_told_by_the_third_line() {
        assert!(shows_local_time(b"0.0 0 0.0\n0\nLOCAL\n"));
        assert!(!shows_local_time(b"0.0 0 0.0\n0\nUTC\n"));
        assert!(!shows_local_time(b""));
    }
}
