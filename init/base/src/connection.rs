//! The end of the control connection that asks: `initctl`'s and the other programs'.

use core::time::Duration;
use std::os::fd::OwnedFd;

use crate::protocol::{self, Part, Refusal};
use crate::sys::{Errno, files, socket};

/// PID 1 accepts and answers at once, so a longer silence than this is that of a PID 1 in trouble.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// PID 1 refused.
    Refused(Refusal),
    /// There is no PID 1 to talk to.
    Silent(String),
}

/// A connection to PID 1.
pub struct Connection {
    fd: OwnedFd,
    bytes: Vec<u8>,
}

impl Connection {
    /// Connects to the socket at `path`, and sends a request. `wait` is how long the request asks PID 1 to wait; nothing is
    /// for ever.
    pub fn ask(path: &str, request: &str, wait: Option<Duration>) -> Result<Connection, Failure> {
        let timeout = wait.map(|wait| wait.saturating_add(ANSWER_TIMEOUT));
        let fd = socket::connect(path, ANSWER_TIMEOUT, timeout).map_err(|error| {
            let hint = match error {
                Errno::NOENT => "; hint: is PID 1 this init? `readlink /proc/1/exe` tells",
                Errno::AGAIN => "; PID 1 does not answer, and others wait already",
                Errno::CONNREFUSED => "; hint: nobody listens there; `kill -HUP 1` makes init open it again",
                _ => "",
            };
            Failure::Silent(format!("cannot connect to {path}: {error}{hint}"))
        })?;
        let result = socket::send(&fd, format!("{request}\n").as_bytes());
        let connection = Connection { fd, bytes: Vec::new() };
        match result {
            // It may have been refused before it asked; then the reason is there to be read.
            Ok(_) | Err(Errno::PIPE) => Ok(connection),
            Err(error) => Err(Failure::Silent(format!("cannot ask PID 1: {error}"))),
        }
    }

    /// Hands the answer's blocks to `each` as they come.
    pub fn answer(&mut self, mut each: impl FnMut(&[u8])) -> Result<(), Failure> {
        loop {
            match protocol::take_part(&mut self.bytes).map_err(|what| Failure::Silent(format!("PID 1 sent {what}")))? {
                Some(Part::Accepted) => {}
                Some(Part::Block(bytes)) => each(&bytes),
                Some(Part::End) => return Ok(()),
                Some(Part::Refused(refusal)) => return Err(Failure::Refused(refusal)),
                None => self.receive()?,
            }
        }
    }

    fn receive(&mut self) -> Result<(), Failure> {
        let mut block = [0; 16 << 10];
        match files::read(&self.fd, &mut block) {
            Ok(0) => Err(Failure::Silent("PID 1 closed the connection".into())),
            Ok(count) => {
                self.bytes.extend_from_slice(block.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(Errno::AGAIN) => Err(Failure::Silent("PID 1 does not answer".into())),
            Err(error) => Err(Failure::Silent(format!("cannot read PID 1's answer: {error}"))),
        }
    }
}

/// Asks, and returns the whole answer as text.
pub fn ask(path: &str, request: &str) -> Result<String, Failure> {
    let mut text = Vec::new();
    Connection::ask(path, request, Some(Duration::ZERO))?.answer(|block| text.extend_from_slice(block))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_silence_is_no_refusal() {
        let (near, _far) = UnixStream::pair().unwrap();
        near.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let failure = Connection { fd: near.into(), bytes: Vec::new() }.answer(|_| {}).unwrap_err();
        assert!(matches!(&failure, Failure::Silent(message) if message == "PID 1 does not answer"), "{failure:?}");
    }
}
