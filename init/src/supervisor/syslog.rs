//! The socket of syslog(3): what programs say there is a log of its own, `initctl log messages`, with a file as services have.
//!
//! A line is `<PRIORITY>Mon DD HH:MM:SS TAG[PID]: TEXT` (RFC 3164, section 4.1, as C libraries write it). Its time is left out,
//! since the log has its own, and its priority becomes words.

use std::os::fd::{AsFd, OwnedFd};

use super::Supervisor;
use crate::event::reactor::{Interest, Source};
use crate::log::{debug, error};
use crate::logs::{Now, Settings};
use crate::sys::{nodes, notify};

/// The socket (syslog(3), `_PATH_LOG`).
const PATH: &str = "/dev/log";
/// The name of the log.
const NAME: &str = "messages";
/// Bytes of a datagram that are kept: musl sends at most 1,024.
const LONGEST: usize = 2048;
/// Datagrams that are taken in one turn.
const DATAGRAMS: usize = 64;

/// Facilities and severities by their numbers (RFC 3164, section 4.1.1; the names are those of logger(1)).
const FACILITIES: &[&str] = &[
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
const SEVERITIES: &[&str] = &["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// The open socket and its log.
pub(super) struct Syslog {
    fd: OwnedFd,
    stream: u32,
}

impl Supervisor {
    /// Opens the socket, in the place of an old one.
    pub(super) fn start_syslog(&mut self) {
        if self.syslog.is_some() {
            return;
        }
        let fd = match notify::listen(PATH, 0).and_then(|fd| nodes::set_mode(PATH, 0o666).map(|()| fd)) {
            Ok(fd) => fd,
            Err(error) => return debug!("no {PATH}: {error}"),
        };
        let stream = self.logs.add_stream(NAME, Settings::new(NAME));
        self.syslog = Some(Syslog { fd, stream });
        self.wait_for_syslog();
    }

    fn wait_for_syslog(&mut self) {
        if let Some(syslog) = &self.syslog
            && let Err(error) = self.reactor.poll(syslog.fd.as_fd(), Interest::Read, Source::Syslog)
        {
            error!("cannot wait for {PATH} any more: {error}");
        }
    }

    /// Takes what programs said, and waits for more.
    pub(super) fn take_syslog(&mut self) {
        let mut buffer = [0; LONGEST];
        for _ in 0..DATAGRAMS {
            let Some(syslog) = &self.syslog else { return };
            let Ok(Some((count, _))) = notify::receive(&syslog.fd, &mut buffer) else { break };
            let line = line(buffer.get(..count).unwrap_or_default());
            self.logs.append(syslog.stream, &line, Now::read());
        }
        self.wait_for_syslog();
    }
}

/// A datagram as a line of the log.
fn line(datagram: &[u8]) -> Vec<u8> {
    let (priority, rest) = priority(datagram).unwrap_or((13, datagram)); // Without one it is user.notice (RFC 3164, section 4.3.3).
    let facility = FACILITIES.get(priority >> 3).unwrap_or(&"user");
    let severity = SEVERITIES.get(priority & 7).unwrap_or(&"notice");
    let text = without_time(rest).trim_ascii_end();
    let text = text.strip_suffix(b"\0").unwrap_or(text);
    // One datagram is one line, whatever is in it.
    let text: Vec<u8> = text.iter().map(|&byte| if byte == b'\n' || byte == 0 { b' ' } else { byte }).collect();
    [format!("{facility}.{severity} ").as_bytes(), &text, b"\n"].concat()
}

/// `<13>`, and what follows.
fn priority(datagram: &[u8]) -> Option<(usize, &[u8])> {
    let rest = datagram.strip_prefix(b"<")?;
    let end = rest.iter().take(4).position(|byte| *byte == b'>')?;
    let number = core::str::from_utf8(rest.get(..end)?).ok()?.parse().ok().filter(|number| *number < 192)?;
    Some((number, rest.get(end + 1..)?))
}

/// Leaves out `Mon DD HH:MM:SS `.
fn without_time(text: &[u8]) -> &[u8] {
    let is_time = text.get(..16).is_some_and(|time| {
        time[..3].iter().all(u8::is_ascii_alphabetic)
            && [3, 6, 15].iter().all(|&at| time[at] == b' ')
            && [9, 12].iter().all(|&at| time[at] == b':')
            && [7, 8, 10, 11, 13, 14].iter().all(|&at| time[at].is_ascii_digit())
    });
    if is_time { text.get(16..).unwrap_or_default() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_become_lines() {
        for (datagram, expected) in [
            ("<13>Nov 30 18:20:00 root: hello", "user.notice root: hello"),
            ("<30>Nov  3 08:20:00 sshd[7]: ready\n", "daemon.info sshd[7]: ready"),
            ("<191>x\ny\0", "local7.debug x y"),
            ("<192>x", "user.notice <192>x"),
            ("<>x", "user.notice <>x"),
            ("plain", "user.notice plain"),
            ("", "user.notice"),
            ("<11>Nov 30 18:2", "user.err Nov 30 18:2"),
        ] {
            let line = line(datagram.as_bytes());
            assert_eq!(String::from_utf8_lossy(&line).trim_end(), expected, "{datagram}");
            assert!(line.ends_with(b"\n") && line.iter().filter(|byte| **byte == b'\n').count() == 1);
        }
        assert_eq!(line(&[0xff; 3000]).len(), "user.notice ".len() + 3001);
    }
}
