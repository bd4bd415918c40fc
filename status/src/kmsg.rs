//! The kernel's log, whose messages the screen keeps off the consoles: from /dev/kmsg
//! (Documentation/ABI/testing/dev-kmsg), one record a read.

use core::time::Duration;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use init_base::sys::{Errno, files};
use rustix::fs::{Mode, OFlags};

use crate::model::LogLine;
use crate::text::{self, plain};

/// The name that its lines have among those of services.
const NAME: &str = "kernel";
/// Lines that are kept.
const MOST: usize = 300;
/// Records that are read at once, so that a kernel that says much does not keep the program.
const AT_ONCE: usize = 2000;
/// Bytes of the longest record (CONSOLE_EXT_LOG_MAX of include/linux/printk.h).
const RECORD: usize = 8192;
/// The least important level that a person should see without asking: a warning (syslog(2)).
const WARNING: u8 = 4;

/// A line: its level, the time since the machine's start, and the text.
type Entry = (u8, Duration, String);

/// The newest lines.
pub struct Kmsg {
    fd: Option<OwnedFd>,
    lines: VecDeque<Entry>,
}

impl Kmsg {
    /// Opens it; a kernel that does not let us read it has no lines.
    pub fn open() -> Kmsg {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Kmsg { fd: rustix::fs::open("/dev/kmsg", flags, Mode::empty()).ok(), lines: VecDeque::new() }
    }

    /// Takes what is new.
    pub fn read(&mut self) {
        let Some(fd) = &self.fd else { return };
        let mut record = [0; RECORD];
        for _ in 0..AT_ONCE {
            match files::read(fd, &mut record) {
                Ok(count @ 1..) => {
                    let text = String::from_utf8_lossy(record.get(..count).unwrap_or_default());
                    self.lines.extend(parse(&text));
                    self.lines.drain(..self.lines.len().saturating_sub(MOST));
                }
                // Older records were overwritten; the next read goes on behind them.
                Err(Errno::PIPE) => {}
                _ => return,
            }
        }
    }

    /// The lines with their times, by the clock where that is set.
    pub fn lines(&self, uptime: Duration, clock: Option<i64>) -> impl Iterator<Item = LogLine> {
        self.lines.iter().map(move |(level, time, text)| LogLine {
            service: NAME.into(),
            stamp: stamp(*time, uptime, clock),
            text: text.clone(),
            minor: *level > WARNING,
        })
    }
}

/// A time since the machine's start in the form of the other logs.
fn stamp(time: Duration, uptime: Duration, clock: Option<i64>) -> String {
    match clock {
        Some(now) => {
            let ago = i64::try_from(uptime.saturating_sub(time).as_millis()).unwrap_or(i64::MAX);
            let at = now.saturating_mul(1000).saturating_sub(ago);
            format!("{}.{:03}Z", text::date(at.div_euclid(1000)).replace(' ', "T"), at.rem_euclid(1000))
        }
        None => format!("+{}.{:03}", time.as_secs(), time.subsec_millis()),
    }
}

/// A record: `PRIORITY,NUMBER,MICROSECONDS,FLAGS;TEXT`, then lines that tell more. The level is the priority's lowest three bits.
fn parse(record: &str) -> Option<Entry> {
    let (head, rest) = record.split_once(';')?;
    let mut fields = head.split(',');
    let priority: u32 = fields.next()?.parse().ok()?;
    let time = Duration::from_micros(fields.nth(1)?.parse().ok()?);
    Some(((priority & 7) as u8, time, plain(rest.lines().next()?, 1000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let record = "6,339,5140900,-;NET: Registered \\x1b[2J\n SUBSYSTEM=net\n";
        assert_eq!(parse(record), Some((6, Duration::from_micros(5_140_900), "NET: Registered \\x1b[2J".into())));
        assert_eq!(parse("12,1,7,c,more;user\u{7}\n").unwrap().2, "user?");
        for odd in ["", ";", "x,1,2,-;a", "6,1;a", "6,1,2,-;"] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn times_by_the_clock() {
        let seconds = Duration::from_secs;
        assert_eq!(stamp(seconds(2), seconds(12), Some(1_795_243_550)), "2026-11-21T06:45:40.000Z");
        assert_eq!(stamp(Duration::from_millis(2500), seconds(12), None), "+2.500");
    }
}
