//! The logs as PID 1 hands them out: a connection to its control socket for each service, on which the lines that are there come
//! first and then those to come.

use core::time::Duration;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use init_base::protocol::{self, Part};
use init_base::sys::{Errno, files, socket};

/// PID 1 accepts and answers at once; a longer silence than this is that of a PID 1 in trouble.
const TIMEOUT: Duration = Duration::from_secs(5);
/// More lines than the memory for logs has.
const ALL: u32 = 1_000_000;
/// Bytes of a line that has no end yet; PID 1's lines are shorter (2000 bytes).
const LONGEST: usize = 8192;

/// The log of a service.
pub struct Follower {
    name: String,
    socket: OwnedFd,
    bytes: Vec<u8>,
    line: Vec<u8>,
    /// The last line of the connection before: what comes up to it was handed out.
    seen: Option<String>,
    last: Option<String>,
}

impl Follower {
    /// Begins to follow a service. `last` is the last line that was handed out before.
    ///
    /// # Errors
    /// PID 1 is not reachable.
    pub fn open(path: &str, name: &str, last: Option<String>) -> Result<Follower, Errno> {
        let socket = ask(path, &format!("log {name} {ALL} follow"))?;
        let (bytes, line) = (Vec::new(), Vec::new());
        Ok(Follower { name: name.into(), socket, bytes, line, seen: last.clone(), last })
    }

    /// The service.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The last line that was handed out.
    pub fn into_last(self) -> Option<String> {
        self.last
    }

    /// Hands out the lines that came, as PID 1 writes them: time and text. False when there will be no more on this connection.
    pub fn receive(&mut self, mut each: impl FnMut(&str)) -> bool {
        let mut block = [0; 4096];
        let alive = match socket::receive(&self.socket, &mut block) {
            Ok(0) => false,
            Ok(count) => {
                self.bytes.extend_from_slice(block.get(..count).unwrap_or_default());
                true
            }
            Err(Errno::AGAIN) => true,
            Err(_) => false,
        };
        loop {
            match protocol::take_part(&mut self.bytes) {
                Ok(Some(Part::Accepted)) => {}
                Ok(Some(Part::Block(block))) => self.take(&block, &mut each),
                Ok(None) => return alive,
                // The service is gone, or has no log.
                Ok(Some(Part::End | Part::Refused(_))) | Err(_) => return false,
            }
        }
    }

    fn take(&mut self, block: &[u8], each: &mut impl FnMut(&str)) {
        for &byte in block {
            if byte != b'\n' && self.line.len() < LONGEST {
                self.line.push(byte);
                continue;
            }
            let line = String::from_utf8_lossy(&core::mem::take(&mut self.line)).into_owned();
            if self.is_new(&line) {
                each(&line);
                self.last = Some(line);
            }
        }
    }

    /// Whether a line comes after the last one of the connection before.
    fn is_new(&mut self, line: &str) -> bool {
        let Some(seen) = &self.seen else { return true };
        if line == seen {
            self.seen = None;
            return false;
        }
        let is_new = time(line) > time(seen);
        if is_new {
            self.seen = None;
        }
        is_new
    }
}

impl AsFd for Follower {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The time of a line, for comparison: those since the machine's start come before those of the clock.
fn time(line: &str) -> (bool, usize, &str) {
    let stamp = line.split(' ').next().unwrap_or_default();
    match stamp.strip_prefix('+') {
        Some(seconds) => (false, seconds.len(), seconds),
        None => (true, 0, stamp),
    }
}

/// The names of all services.
///
/// # Errors
/// PID 1 is not reachable, or does not answer.
pub fn services(path: &str) -> Result<Vec<String>, Errno> {
    let socket = ask(path, "list")?;
    let (mut bytes, mut text) = (Vec::new(), Vec::new());
    loop {
        match protocol::take_part(&mut bytes) {
            Ok(Some(Part::Accepted)) => {}
            Ok(Some(Part::Block(block))) => text.extend(block),
            Ok(Some(Part::End)) => break,
            Ok(Some(Part::Refused(_))) | Err(_) => return Err(Errno::BADMSG),
            Ok(None) => {
                let mut block = [0; 4096];
                match files::read(&socket, &mut block)? {
                    0 => return Err(Errno::PIPE),
                    count => bytes.extend_from_slice(block.get(..count).unwrap_or_default()),
                }
            }
        }
    }
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().filter_map(|line| Some(protocol::listed(line)?.name.to_owned())).collect())
}

fn ask(path: &str, request: &str) -> Result<OwnedFd, Errno> {
    let socket = socket::connect(path, TIMEOUT, Some(TIMEOUT))?;
    socket::send(&socket, format!("{request}\n").as_bytes())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    fn follower(last: Option<&str>) -> (Follower, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        let last = last.map(String::from);
        let (bytes, line) = (Vec::new(), Vec::new());
        (Follower { name: "web".into(), socket: near.into(), bytes, line, seen: last.clone(), last }, far)
    }

    fn lines(follower: &mut Follower) -> Vec<String> {
        let mut lines = Vec::new();
        follower.receive(|line| lines.push(line.to_owned()));
        lines
    }

    #[test]
    fn lines_wherever_blocks_are_cut() {
        let (mut follower, mut far) = follower(None);
        far.write_all(b"ok\ndata 9\n+1.000 on").unwrap();
        assert!(lines(&mut follower).is_empty());
        far.write_all(b"data 13\ne\n+2.000 two\n").unwrap();
        assert_eq!(lines(&mut follower), ["+1.000 one", "+2.000 two"]);
        drop(far);
        assert!(!follower.receive(|_| panic!("a line")));
    }

    #[test]
    fn a_new_connection_goes_on_where_the_last_one_ended() {
        let all = b"ok\ndata 43\n+9.000 a\n+10.000 b\n+10.000 c\n2026-01-01 d\n\n";
        for (last, expected) in [
            (Some("+10.000 b"), &["+10.000 c", "2026-01-01 d"][..]),
            (Some("+10.000 c"), &["2026-01-01 d"]),
            // It was overwritten.
            (Some("+1.000 x"), &["+9.000 a", "+10.000 b", "+10.000 c", "2026-01-01 d"]),
            (Some("2025-01-01 x"), &["2026-01-01 d"]),
        ] {
            let (mut follower, mut far) = follower(last);
            far.write_all(all).unwrap();
            assert_eq!(
                lines(&mut follower).iter().filter(|line| !line.is_empty()).collect::<Vec<_>>(),
                expected,
                "{last:?}"
            );
        }
    }
}
