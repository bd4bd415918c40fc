//! What PID 1's answers say of services and their logs. Pure functions, for any text.

use init_base::protocol;

use crate::model::{LogLine, Service};
use crate::text::plain;

/// Characters of a line that are kept: a log's lines have at most 2000 bytes.
const LONGEST: usize = 2000;
/// Characters of a name (names::is_service_name) and of a field.
const NAME: usize = 64;
/// Characters of the words about a service.
const WORDS: usize = 200;
/// How PID 1 begins its own lines in a service's log, and those about an end.
const NOTE: &str = "init: ";
const ENDED: &str = " ended: ";

/// The services of an answer to `list`. Those that PID 1 makes itself for each interface (`dhcp@eth0`) are last.
pub fn services(text: &str) -> Vec<Service> {
    let service = |line| {
        let row = protocol::listed(line)?;
        Some(Service {
            name: plain(row.name, NAME),
            state: plain(row.state, NAME),
            health: row.health,
            age: row.age,
            restarts: plain(row.restarts, NAME),
            text: plain(row.text, WORDS),
            last_exit: None,
        })
    };
    let mut services: Vec<Service> = text.lines().filter_map(service).collect();
    services.sort_by_key(|service| service.name.contains('@'));
    services
}

/// The lines of an answer to `log`.
pub fn log(service: &str, text: &str) -> Vec<LogLine> {
    let line = |line: &str| {
        let (stamp, text) = line.split_once(' ').unwrap_or((line, ""));
        LogLine { service: service.into(), stamp: plain(stamp, 32), text: plain(text, LONGEST), minor: false }
    };
    text.lines().map(line).collect()
}

/// Puts the lines of several logs into the order of their times; those of before the clock was set are first.
pub fn merge(mut lines: Vec<LogLine>) -> Vec<LogLine> {
    let key = |line: &LogLine| match line.stamp.strip_prefix('+').and_then(|seconds| seconds.split_once('.')) {
        // All have three digits after the point.
        Some((seconds, rest)) => (0, seconds.len(), format!("{seconds}{rest}")),
        None => (1, 0, line.stamp.clone()),
    };
    // The order within a log stays, also among lines of the same time.
    lines.sort_by_cached_key(key);
    lines
}

/// How a service's last process ended, by the lines of its log.
pub fn last_exit(lines: &[LogLine]) -> Option<String> {
    lines.iter().rev().find_map(|line| {
        let (process, exit) = line.text.strip_prefix(NOTE)?.split_once(ENDED)?;
        process.starts_with("process ").then(|| exit.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use init_base::protocol::Health;

    #[test]
    fn rows_of_services() {
        let text =
            "dhcp@eth0\trunning\tup\t9\t8000\t0\t\necho\tbackoff\tchanging\t-\t500\t3\texit \u{1b}[2Jcode 1\n\nx\ty\n";
        let services = services(text);
        let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
        assert_eq!(names, ["echo", "dhcp@eth0"]);
        assert_eq!((services[0].health, services[0].age), (Health::Changing, Duration::from_millis(500)));
        assert_eq!(services[0].text, "exit ?[2Jcode 1");
    }

    #[test]
    fn lines_by_their_times() {
        let web = log("web", "+9.000 one\n2026-11-21T06:45:50.123Z three\n");
        let echo = log("echo", "+12.500 two \u{1b}c\n2026-11-21T06:45:49.000Z first\nodd\n");
        let all = merge(web.into_iter().chain(echo).collect());
        let texts: Vec<&str> = all.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["one", "two ?c", "first", "three", ""]);
    }

    #[test]
    fn the_end_of_a_process() {
        let lines =
            log("web", "+1.000 init: process 7 ended: exit code 1\n+2.000 init: started as process 8\n+3.000 x\n");
        assert_eq!(last_exit(&lines).as_deref(), Some("exit code 1"));
        assert_eq!(last_exit(&lines[1..]), None);
    }
}
