//! Lines of a log, or of all: which of them are shown.

use std::collections::VecDeque;

use init_base::date;

/// Severities by their numbers (RFC 5424, section 6.2.1), and the names that syslog(3) has for them.
const SEVERITIES: &[(&str, u8)] = &[
    ("emerg", 0),
    ("alert", 1),
    ("crit", 2),
    ("err", 3),
    ("error", 3),
    ("warning", 4),
    ("warn", 4),
    ("notice", 5),
    ("info", 6),
    ("debug", 7),
];
/// That of a line that says none.
const USUAL: u8 = 6;

/// Which lines a person wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not before this.
    pub since: Option<Time>,
    /// Not after this.
    pub until: Option<Time>,
    /// As grave as this severity, or graver.
    pub severity: Option<u8>,
}

/// A time, as it is asked for and as lines have it, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// Since 1970 UTC.
    Wall(i64),
    /// Since the machine's start.
    Uptime(i64),
    /// Since the last midnight, UTC.
    Today(i64),
    /// Before now.
    Ago(i64),
}

/// The present.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Milliseconds since 1970 UTC.
    pub wall: i64,
    /// Milliseconds since the machine's start.
    pub uptime: i64,
}

impl Time {
    /// Understands `2026-11-21`, `2026-11-21 06:45[:50]`, `06:45[:50]` of today, `5m` ago (s, m, h, d), `+12.345` after the start.
    ///
    /// # Errors
    /// What is understood.
    pub fn parse(text: &str) -> Result<Time, String> {
        let known = date::parse(text)
            .map(Time::Wall)
            .or_else(|| date::parse_time(text).map(Time::Today))
            .or_else(|| milliseconds(text.strip_prefix('+')?).map(Time::Uptime))
            .or_else(|| age(text.strip_prefix('-').unwrap_or(text)).map(Time::Ago));
        known.ok_or_else(|| {
            format!("'{text}' is no time; write 5m (ago; s, m, h, d), 06:45, '2026-11-21 06:45' (UTC) or +12.5 (seconds after the start)")
        })
    }

    /// As milliseconds since 1970.
    fn at(self, now: Now) -> i64 {
        match self {
            Time::Wall(time) => time,
            Time::Uptime(time) => now.wall - now.uptime + time,
            Time::Today(time) => now.wall - now.wall.rem_euclid(86_400_000) + time,
            Time::Ago(time) => now.wall - time,
        }
    }
}

/// Milliseconds of `12` or `12.345` seconds.
fn milliseconds(text: &str) -> Option<i64> {
    let (seconds, part) = text.split_once('.').unwrap_or((text, ""));
    let thousandths = format!("{part:0<3}").get(..3)?.parse::<u16>().ok()?;
    i64::from(seconds.parse::<u32>().ok()?).checked_mul(1000)?.checked_add(thousandths.into())
}

/// Milliseconds of `90s`, `5m`, `2h` or `1d`.
fn age(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    Some(i64::from(number.parse::<u32>().ok()?) * seconds * 1000)
}

/// The number of a severity, by its name or as a number.
///
/// # Errors
/// Which there are.
pub fn severity(text: &str) -> Result<u8, String> {
    let number = text.parse().ok().filter(|number| *number < 8);
    let known = SEVERITIES.iter().find(|(name, _)| *name == text).map(|(_, number)| *number).or(number);
    known.ok_or_else(|| {
        format!("'{text}' is no severity; there are emerg, alert, crit, err, warning, notice, info, debug, and 0 to 7")
    })
}

impl Filter {
    /// Whether it leaves anything out.
    pub fn is_set(&self) -> bool {
        *self != Filter::default()
    }

    /// Whether a line is wanted: `TIME TEXT`, or `TIME NAME: TEXT` where lines of `all` logs are mixed.
    pub fn wants(&self, line: &str, all: bool, now: Now) -> bool {
        let (time, text) = line.split_once(' ').unwrap_or((line, ""));
        let text = if all { text.split_once(": ").map_or(text, |(_, text)| text) } else { text };
        let time = Time::parse(time).map(|time| time.at(now));
        let wanted = |limit: Option<Time>, holds: fn(i64, i64) -> bool| match (limit, &time) {
            (Some(limit), Ok(time)) => holds(*time, limit.at(now)),
            _ => true,
        };
        wanted(self.since, |time, limit| time >= limit)
            && wanted(self.until, |time, limit| time <= limit)
            && self.severity.is_none_or(|limit| severity_of(text) <= limit)
    }
}

/// The severity that a line begins with: `<3>` (sd-daemon(3)), `daemon.err` as lines of syslog(3) have it, `error:` as PID 1 and many
/// programs say.
fn severity_of(text: &str) -> u8 {
    let named = |name: &str| SEVERITIES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    if let [b'<', digit @ b'0'..=b'7', b'>', ..] = text.as_bytes() {
        return digit - b'0';
    }
    let word = text.split(' ').next().unwrap_or_default();
    let by_syslog = word.split_once('.').and_then(|(_, severity)| named(severity));
    by_syslog.or_else(|| named(word.strip_suffix(':')?)).unwrap_or(USUAL)
}

/// The last lines of those that are given to it.
pub struct Last {
    lines: VecDeque<String>,
    /// How many are kept.
    count: usize,
}

impl Last {
    /// Keeps so many.
    pub fn new(count: u64) -> Last {
        Last { lines: VecDeque::new(), count: usize::try_from(count).unwrap_or(usize::MAX) }
    }

    /// Takes one more.
    pub fn push(&mut self, line: &str) {
        self.lines.push_back(line.into());
        if self.lines.len() > self.count {
            self.lines.pop_front();
        }
    }

    /// What is there.
    pub fn lines(self) -> impl Iterator<Item = String> {
        self.lines.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21 06:45:50 UTC, 100 s after the start.
    const NOW: Now = Now { wall: 1_795_243_550_000, uptime: 100_000 };

    fn filter(since: &str, until: &str, level: &str) -> Filter {
        let time = |text: &str| (!text.is_empty()).then(|| Time::parse(text).unwrap());
        let severity = (!level.is_empty()).then(|| severity(level).unwrap());
        Filter { since: time(since), until: time(until), severity }
    }

    #[test]
    fn times() {
        for (text, milliseconds) in [
            ("2026-11-21 06:45:50", 0),
            ("2026-11-21T06:45:50.250Z", 250),
            ("06:45", -50_000),
            ("06:45:49", -1_000),
            ("5m", -300_000),
            ("-90s", -90_000),
            ("1d", -86_400_000),
            ("+12.5", -87_500),
            ("+100", 0),
        ] {
            assert_eq!(Time::parse(text).unwrap().at(NOW) - NOW.wall, milliseconds, "{text}");
        }
        for text in ["", "s", "m", "25:00", "2026-13-01", "2026-02-30", "yesterday", "+", "-", "5x", "é"] {
            assert!(Time::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn severities() {
        for (text, number) in [
            ("<3>disk on fire", 3),
            ("daemon.warning dhcpc[7]: x", 4),
            ("error: cannot mount /data", 3),
            ("warning: x", 4),
            ("debug: x", 7),
            ("started", 6),
            ("a.b c", 6),
            ("", 6),
        ] {
            assert_eq!(severity_of(text), number, "{text}");
        }
        assert_eq!((severity("err"), severity("error"), severity("3")), (Ok(3), Ok(3), Ok(3)));
        assert!(severity("8").is_err() && severity("loud").is_err());
    }

    #[test]
    fn lines_are_left_out() {
        let line = "2026-11-21T06:45:00.000Z web: error: no memory";
        assert!(filter("06:44", "06:45", "err").wants(line, true, NOW));
        assert!(filter("", "", "").wants(line, false, NOW) && !filter("", "", "").is_set());
        for none in [filter("06:46", "", ""), filter("", "06:44", ""), filter("", "", "crit")] {
            assert!(!none.wants(line, true, NOW), "{none:?}");
        }
        // Before the clock was set.
        assert!(filter("2m", "", "").wants("+0.500 init: started", false, NOW));
        assert!(!filter("1m", "", "").wants("+0.500 init: started", false, NOW));
    }

    #[test]
    fn the_last_are_kept() {
        let mut last = Last::new(2);
        ["a", "b", "c"].iter().for_each(|line| last.push(line));
        assert_eq!(last.lines().collect::<Vec<_>>(), ["b", "c"]);
    }
}
