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

/// Milliseconds since 1970 of `2026-11-21`, `2026-11-21 06:45`, and the same with `T` between, with seconds, parts of them and a `Z`.
pub fn parse(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
    let mut parts = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let known = (1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    let days = known.then(|| days(year, month, day)).filter(|days| civil(*days) == (year, month, day))?;
    days.checked_mul(86_400_000)?.checked_add(parse_time(time.strip_suffix('Z').unwrap_or(time))?)
}

/// Milliseconds since midnight of `06:45`, `06:45:50` or `06:45:50.123`.
pub fn parse_time(text: &str) -> Option<i64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = whole.splitn(3, ':').map(|part| part.parse::<u8>().ok().map(i64::from));
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?);
    let thousandths = format!("{part:0<3}").get(..3)?.parse::<u16>().ok()?;
    let known = hour < 24 && minute < 60 && second < 60;
    known.then_some(((hour * 60 + minute) * 60 + second) * 1000 + i64::from(thousandths))
}

/// The opposite of [`civil`] (days_from_civil of the same source).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
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
        for (text, milliseconds) in [
            ("2026-11-21T06:45:50.123Z", Some(1_795_243_550_123)),
            ("2028-02-29", Some(1_835_395_200_000)),
            ("1969-12-31 23:59", Some(-60_000)),
            ("2027-02-29", None),
            ("2026-11-21 24:00", None),
            ("2026-11", None),
        ] {
            assert_eq!(parse(text), milliseconds, "{text}");
        }
        for far in [i64::MIN, i64::MAX] {
            timestamp(far);
        }
    }
}
