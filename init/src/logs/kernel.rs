//! Lines of a service in the kernel log, for those who ask for it: a serial console then shows them, and they outlive
//! the service in pstore.
//!
//! The kernel takes ten lines in five seconds of one open file and drops the rest, unless `printk.devkmsg=on` is on its
//! command line (devkmsg_write in kernel/printk/printk.c). Each service has an open file of its own.

use core::time::Duration;
use std::os::fd::OwnedFd;

use super::lines;
use super::retry::Retry;
use super::ring::{Line, Ring};
use crate::log::error;
use crate::sys::{Errno, Result, append, files};

const PATH: &str = "/dev/kmsg";
/// `LOG_DAEMON` of syslog(3), as the kernel counts facilities.
const FACILITY: u8 = 3;
/// `LOG_INFO`, unless the line begins with a level of its own.
const LEVEL: u8 = 6;
/// The kernel refuses more than 992 bytes or, in later versions, 1024 (LOG_LINE_MAX, PRINTKRB_RECORD_MAX).
const LONGEST: usize = 960;
/// Lines that one turn writes at most.
const TURN: usize = 64;

/// The kernel log as a place for a service's lines.
#[derive(Debug)]
pub struct KernelLog {
    fd: Option<OwnedFd>,
    /// The number of the next line to write.
    next: u64,
    retry: Retry,
}

impl KernelLog {
    /// Takes the lines from number `next` on.
    pub fn new(next: u64) -> KernelLog {
        KernelLog { fd: None, next, retry: Retry::default() }
    }

    /// When it has to be looked at again without new lines.
    pub fn deadline(&self, ring: &Ring) -> Option<Duration> {
        (self.next < ring.end()).then(|| self.retry.deadline().unwrap_or(Duration::ZERO))
    }

    /// Writes the lines that the kernel log has not yet, at most [`TURN`].
    pub fn flush(&mut self, name: &str, ring: &Ring, now: Duration, buffer: &mut Vec<u8>) {
        if self.next >= ring.end() || !self.retry.is_due(now) {
            return;
        }
        let result = self.write(name, ring, buffer);
        match result {
            Ok(()) => drop(self.retry.succeeded()),
            Err(error) => {
                self.fd = None;
                if self.retry.failed(now) {
                    error!("cannot write the log of {name} to {PATH}: {error}");
                }
            }
        }
    }

    fn write(&mut self, name: &str, ring: &Ring, buffer: &mut Vec<u8>) -> Result<()> {
        let fd = match &self.fd {
            Some(fd) => fd,
            None => self.fd.insert(files::open_log(PATH)?),
        };
        self.next = self.next.max(ring.oldest());
        for line in ring.lines(self.next).take(TURN) {
            message(buffer, name, &line);
            match append::write(fd, buffer) {
                // A line that the kernel does not take is no reason to keep the next ones.
                Ok(_) | Err(Errno::INVAL) => self.next += 1,
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

/// Puts `<priority>name: text` into `buffer`. A line may begin with its own level as `<0>` to `<7>` (sd-daemon(3)). A longer text
/// ends before the character that has no room. A zero byte would end the message in the kernel (devkmsg_write), so it is escaped
/// as the kernel escapes other control characters.
fn message(buffer: &mut Vec<u8>, name: &str, line: &Line<'_>) {
    let mut start = line.bytes();
    let own = match (start.next(), start.next(), start.next()) {
        (Some(b'<'), Some(level @ b'0'..=b'7'), Some(b'>')) => Some(level - b'0'),
        _ => None,
    };
    buffer.clear();
    let priority = FACILITY << 3 | own.unwrap_or(LEVEL);
    buffer.extend_from_slice(format!("<{priority}>{name}: ").as_bytes());
    for byte in line.bytes().skip(if own.is_some() { 3 } else { 0 }) {
        match byte {
            0 => buffer.extend_from_slice(br"\x00"),
            byte => buffer.push(byte),
        }
        if buffer.len() > LONGEST {
            buffer.truncate(LONGEST);
            return buffer.truncate(LONGEST - lines::cut_character(buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stamp::Stamp;
    use super::*;

    fn text(line: &str) -> String {
        let mut ring = Ring::new(1 << 16);
        ring.push(Stamp::Uptime(0), line.as_bytes());
        let mut buffer = b"old".to_vec();
        message(&mut buffer, "web", &ring.lines(0).next().unwrap());
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn messages_carry_facility_and_level() {
        assert_eq!(text("hello"), "<30>web: hello");
        assert_eq!(text("<3>disk on fire"), "<27>web: disk on fire");
        for odd in ["<8>x", "<3", "<31>x", "<>", ""] {
            assert_eq!(text(odd), format!("<30>web: {odd}"));
        }
    }

    #[test]
    fn a_long_message_ends_at_the_limit() {
        let room = LONGEST - "<30>web: ".len();
        for (count, kept) in [(room - 1, room - 1), (room, room), (room + 1, room), (2000, room)] {
            assert_eq!(text(&"x".repeat(count)), format!("<30>web: {}", "x".repeat(kept)));
        }
        // With a level of its own the line is three bytes longer than its message.
        assert_eq!(text(&format!("<3>{}", "x".repeat(room + 1))), format!("<27>web: {}", "x".repeat(room)));
        for before in room - 4..=room {
            let kept = if before + 4 <= room { "\u{1f980}" } else { "" };
            let whole = "x".repeat(before);
            assert_eq!(text(&(whole.clone() + "\u{1f980}y")).trim_end_matches('y'), format!("<30>web: {whole}{kept}"));
        }
    }

    #[test]
    fn a_zero_byte_does_not_end_the_message() {
        assert_eq!(text("a\0b\0"), r"<30>web: a\x00b\x00");
        assert_eq!(text(&"\0".repeat(2000)).len(), LONGEST);
    }

    #[test]
    fn a_missing_kernel_log_is_tried_again() {
        let mut ring = Ring::new(4096);
        ring.push(Stamp::Uptime(0), b"a");
        let mut log = KernelLog::new(0);
        assert_eq!(log.deadline(&ring), Some(Duration::ZERO));
        log.retry.failed(Duration::from_secs(1));
        log.flush("web", &ring, Duration::from_secs(2), &mut Vec::new());
        assert_eq!((log.next, log.deadline(&ring)), (0, Some(Duration::from_secs(6))));
    }
}
