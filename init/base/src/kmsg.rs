//! Reads the kernel's log: /dev/kmsg (Documentation/ABI/testing/dev-kmsg), one record a read.

use core::time::Duration;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::{Errno, Result, files};

/// Where it is.
const PATH: &str = "/dev/kmsg";
/// Bytes of the longest record (CONSOLE_EXT_LOG_MAX of include/linux/printk.h).
const LONGEST: usize = 8192;

/// A line of the kernel's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// How grave it is, from 0 (an emergency) to 7 (syslog(2)).
    pub level: u8,
    /// Its number; those of the next ones are higher by one each.
    pub number: u64,
    /// Since the machine's start.
    pub time: Duration,
    /// The line. The kernel writes control characters as `\x1b`.
    pub text: String,
}

/// A reader, which begins with the oldest record there is.
pub struct Reader(OwnedFd);

impl Reader {
    /// Opens it. No read of it waits.
    ///
    /// # Errors
    /// `EPERM` where only root may read it.
    pub fn open() -> Result<Reader> {
        files::open_device(PATH).map(Reader)
    }

    /// The next record; nothing when there is none yet. Records that were overwritten before they were read are missing.
    pub fn next_record(&self) -> Option<Record> {
        let mut bytes = [0; LONGEST];
        loop {
            match files::read(&self.0, &mut bytes) {
                Ok(count @ 1..) => {
                    if let Some(record) = parse(&String::from_utf8_lossy(bytes.get(..count).unwrap_or_default())) {
                        return Some(record);
                    }
                }
                // The next read goes on behind those that were overwritten.
                Err(Errno::PIPE) => {}
                _ => return None,
            }
        }
    }
}

impl AsFd for Reader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A record: `PRIORITY,NUMBER,MICROSECONDS,FLAGS;TEXT`, then lines that tell more. The level is the priority's lowest three bits.
fn parse(record: &str) -> Option<Record> {
    let (head, rest) = record.split_once(';')?;
    let mut fields = head.split(',');
    let priority: u32 = fields.next()?.parse().ok()?;
    Some(Record {
        level: (priority & 7) as u8,
        number: fields.next()?.parse().ok()?,
        time: Duration::from_micros(fields.next()?.parse().ok()?),
        text: rest.lines().next()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let record = "6,339,5140900,-;NET: Registered \\x1b[2J\n SUBSYSTEM=net\n";
        let expected = Record {
            level: 6,
            number: 339,
            time: Duration::from_micros(5_140_900),
            text: "NET: Registered \\x1b[2J".into(),
        };
        assert_eq!(parse(record), Some(expected));
        assert_eq!(parse("12,1,7,c,more;user\n").unwrap().level, 4);
        for odd in ["", ";", "x,1,2,-;a", "6,1;a", "6,1,2,-;"] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }
}
