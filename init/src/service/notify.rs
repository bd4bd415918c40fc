//! What a service tells PID 1 on its notification socket: the protocol of sd_notify(3), lines `NAME=value` in a
//! datagram. The runner calls [`parse`].

use core::time::Duration;

use crate::sys::process::Pid;

/// A line of a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// `READY=1`: it is started, or has read its configuration again.
    Ready,
    /// `RELOADING=1`: it reads its configuration again.
    Reloading,
    /// `STOPPING=1`: it is about to end.
    Stopping,
    /// `STATUS=`: what it does, for people.
    Status(String),
    /// `MAINPID=`: another process is the main one now.
    MainPid(Pid),
    /// `WATCHDOG=1`: it is alive.
    Alive,
    /// `WATCHDOG=trigger`: it found itself not to be.
    Hung,
    /// `WATCHDOG_USEC=`: how often it will say that it is alive.
    WatchdogInterval(Duration),
    /// `EXTEND_TIMEOUT_USEC=`: the start or the stop takes this much longer from now.
    Extend(Duration),
}

/// Bytes of a datagram that are looked at.
pub const LARGEST: usize = 4096;
/// Characters of a status that are kept.
const STATUS: usize = 120;
/// No extension is longer.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The messages of a datagram. What is unknown is left out, as the protocol asks.
pub fn parse(datagram: &[u8]) -> Vec<Message> {
    let text = String::from_utf8_lossy(datagram);
    text.lines().filter_map(message).collect()
}

fn message(line: &str) -> Option<Message> {
    let (name, value) = line.split_once('=')?;
    Some(match (name, value) {
        ("READY", "1") => Message::Ready,
        ("RELOADING", "1") => Message::Reloading,
        ("STOPPING", "1") => Message::Stopping,
        ("WATCHDOG", "1") => Message::Alive,
        ("WATCHDOG", "trigger") => Message::Hung,
        ("STATUS", text) => Message::Status(printable(text)),
        ("MAINPID", pid) => Message::MainPid(pid.parse().ok().filter(|pid| *pid > 1)?),
        ("WATCHDOG_USEC", time) => Message::WatchdogInterval(microseconds(time).filter(|time| !time.is_zero())?),
        ("EXTEND_TIMEOUT_USEC", time) => Message::Extend(microseconds(time)?),
        _ => return None,
    })
}

fn microseconds(text: &str) -> Option<Duration> {
    text.parse().ok().map(|time| Duration::from_micros(time).min(LONGEST))
}

/// Text of a stranger as it may be shown on a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).take(STATUS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_messages() {
        let datagram = b"READY=1\nSTATUS=50 % \x1b[31m\nMAINPID=42\nFDSTORE=1\nEXTEND_TIMEOUT_USEC=1500000\nWATCHDOG=1";
        let expected = [
            Message::Ready,
            Message::Status("50 %  [31m".into()),
            Message::MainPid(42),
            Message::Extend(Duration::from_millis(1500)),
            Message::Alive,
        ];
        assert_eq!(parse(datagram), expected);
        assert_eq!(parse(b"RELOADING=1\nMONOTONIC_USEC=5\n"), [Message::Reloading]);
        assert_eq!(parse(b"STOPPING=1\0"), []);
    }

    #[test]
    fn nonsense_says_nothing() {
        for text in ["", "READY", "READY=0", "MAINPID=1", "MAINPID=-5", "MAINPID=x", "WATCHDOG_USEC=0", "=", "\n\n"] {
            assert_eq!(parse(text.as_bytes()), [], "{text}");
        }
        assert_eq!(parse(b"EXTEND_TIMEOUT_USEC=18446744073709551615"), [Message::Extend(LONGEST)]);
        assert_eq!(parse(&[0xff; 5000]), []);
        let Message::Status(long) = &parse(format!("STATUS={}", "ü".repeat(500)).as_bytes())[0] else { panic!() };
        assert_eq!(long.chars().count(), STATUS);
    }
}
