//! Texts for a terminal: without what it would obey, in cells of one column; times and amounts.

use core::time::Duration;

/// Text of others in which each character takes one column and none is obeyed: control characters, and all that may be wide or
/// combine with others, become `?`; tabs become blanks. `most` is the number of characters that are kept.
pub fn plain(text: &str, most: usize) -> String {
    text.chars().take(most).map(|letter| if letter == '\t' { ' ' } else { cell(letter) }).collect()
}

/// Whether scripts of one column per letter have it: Latin, Greek, Cyrillic.
fn cell(letter: char) -> char {
    match letter {
        ' '..='~' | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{24f}' | '\u{384}'..='\u{3ff}' | '\u{400}'..='\u{482}' => {
            letter
        }
        _ => '?',
    }
}

/// A time in two units at most: `7 s`, `3 min 5 s`, `2 h 14 min`, `12 d 3 h`.
pub fn age(time: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let mut rest = time.as_secs();
    let largest = UNITS.iter().position(|&(size, _)| rest >= size).unwrap_or(UNITS.len() - 1);
    let mut text = String::new();
    for &(size, unit) in UNITS.iter().skip(largest).take(2) {
        if rest / size > 0 || text.is_empty() {
            let blank = if text.is_empty() { "" } else { " " };
            text += &format!("{blank}{} {unit}", rest / size);
        }
        rest %= size;
    }
    text
}

/// Seconds since 1970 as `2026-11-21 06:45:50`, UTC.
pub fn date(seconds: i64) -> String {
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    format!("{year:04}-{month:02}-{day:02} {}", time_of_day(seconds))
}

/// Seconds since 1970 as `06:45:50`, UTC.
pub fn time_of_day(seconds: i64) -> String {
    let second = seconds.rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// Days since 1970 as year, month and day (Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// An amount of memory in KiB as MiB, or as GiB from 10 GiB on.
pub fn memory(kib: u64) -> String {
    if kib >= 10 << 20 { format!("{} GiB", kib >> 20) } else { format!("{} MiB", kib >> 10) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(plain("\x1b[2Ja\tb\u{9b}c\u{7f}\r\n", 100), "?[2Ja b?c???");
        assert_eq!(plain("\u{202e}x\u{301}\u{6f22}\u{1f600}é ж", 100), "?x???é ж");
        assert_eq!(plain("abcdef", 3), "abc");
        let all: String = (0..=0x10ffff).filter_map(char::from_u32).collect();
        assert!(plain(&all, usize::MAX).chars().all(|letter| !letter.is_control()));
    }

    #[test]
    fn dates() {
        // date -u -d @SECONDS
        assert_eq!(date(1_795_243_550), "2026-11-21 06:45:50");
        assert_eq!(date(1_835_395_199), "2028-02-28 23:59:59");
        assert_eq!(date(1_835_395_200), "2028-02-29 00:00:00");
        assert_eq!(date(-1), "1969-12-31 23:59:59");
        assert_eq!(time_of_day(86_399), "23:59:59");
    }

    #[test]
    fn ages_and_amounts() {
        for (seconds, text) in
            [(0, "0 s"), (60, "1 min"), (185, "3 min 5 s"), (8040, "2 h 14 min"), (1_047_600, "12 d 3 h")]
        {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
        assert_eq!(
            (memory(2048), memory(9 << 20), memory(16 << 20)),
            ("2 MiB".into(), "9216 MiB".into(), "16 GiB".into())
        );
    }
}
