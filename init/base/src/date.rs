//! Dates of the Gregorian calendar, in UTC.

/// Milliseconds since 1970 in the form of RFC 3339: `2026-11-21T06:45:50.123Z`.
pub fn timestamp(milliseconds: i64) -> String {
    let seconds = milliseconds.div_euclid(1000);
    format!("{}T{}.{:03}Z", day(seconds), time_of_day(seconds), milliseconds.rem_euclid(1000))
}

/// Seconds since 1970 as `2026-11-21`.
pub fn day(seconds: i64) -> String {
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    format!("{year:04}-{month:02}-{day:02}")
}

/// Seconds since 1970 as `06:45:50`.
pub fn time_of_day(seconds: i64) -> String {
    let second = seconds.rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// Days since 1970 as year, month and day (Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(719_468);
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times() {
        // date -u -d @SECONDS
        assert_eq!(timestamp(1_795_243_550_123), "2026-11-21T06:45:50.123Z");
        assert_eq!(timestamp(1_835_395_199_999), "2028-02-28T23:59:59.999Z");
        assert_eq!(timestamp(1_835_395_200_000), "2028-02-29T00:00:00.000Z");
        assert_eq!((day(-1), time_of_day(-1)), ("1969-12-31".into(), "23:59:59".into()));
        for far in [i64::MIN, i64::MAX] {
            timestamp(far);
        }
    }
}
