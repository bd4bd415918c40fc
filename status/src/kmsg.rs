//! The kernel's log, whose messages the screen keeps off the consoles.

use core::time::Duration;
use std::collections::VecDeque;

use init_base::date;
use init_base::kmsg::{Reader, Record};

use crate::model::LogLine;
use crate::text::plain;

/// The name that its lines have among those of services.
const NAME: &str = "kernel";
/// Lines that are kept.
const MOST: usize = 300;
/// Records that are read at once, so that a kernel that says much does not keep the program.
const AT_ONCE: usize = 2000;
/// Characters of a line that are kept.
const LONGEST: usize = 1000;
/// The least grave level that a person should see without asking: a warning (syslog(2)).
const WARNING: u8 = 4;

/// The newest lines.
pub struct Kmsg {
    /// Nothing where the kernel does not let us read it.
    reader: Option<Reader>,
    lines: VecDeque<Record>,
}

impl Kmsg {
    /// Opens it.
    pub fn open() -> Kmsg {
        Kmsg { reader: Reader::open().ok(), lines: VecDeque::new() }
    }

    /// Takes what is new.
    pub fn read(&mut self) {
        let Some(reader) = &self.reader else { return };
        for _ in 0..AT_ONCE {
            let Some(record) = reader.next_record() else { return };
            self.lines.push_back(Record { text: plain(&record.text, LONGEST), ..record });
            self.lines.drain(..self.lines.len().saturating_sub(MOST));
        }
    }

    /// The lines with their times, by the clock where that is set.
    pub fn lines(&self, uptime: Duration, clock: Option<i64>) -> impl Iterator<Item = LogLine> {
        self.lines.iter().map(move |record| LogLine {
            service: NAME.into(),
            stamp: stamp(record.time, uptime, clock),
            text: record.text.clone(),
            minor: record.level > WARNING,
        })
    }
}

/// A time since the machine's start in the form of the other logs.
fn stamp(time: Duration, uptime: Duration, clock: Option<i64>) -> String {
    match clock {
        Some(now) => {
            let ago = i64::try_from(uptime.saturating_sub(time).as_millis()).unwrap_or(i64::MAX);
            date::timestamp(now.saturating_mul(1000).saturating_sub(ago))
        }
        None => format!("+{}.{:03}", time.as_secs(), time.subsec_millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_by_the_clock() {
        let seconds = Duration::from_secs;
        assert_eq!(stamp(seconds(2), seconds(12), Some(1_795_243_550)), "2026-11-21T06:45:40.000Z");
        assert_eq!(stamp(Duration::from_millis(2500), seconds(12), None), "+2.500");
    }
}
