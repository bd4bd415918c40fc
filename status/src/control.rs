//! The connection to PID 1's control socket. It never waits: requests are sent one at a time, and answers are taken when they come.

use core::time::Duration;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use init_base::protocol::{self, Part};
use init_base::sys::system::Power;
use init_base::sys::{Errno, retry, socket};
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// PID 1 answers at once; a longer silence is that of a PID 1 in trouble.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer that are kept: PID 1 has 1 MiB of lines for all services together.
const MOST: usize = 2 << 20;

/// A question to PID 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The services.
    List,
    /// The last lines of a service.
    Log(String, usize),
    /// The end of the machine.
    End(Power),
}

impl Request {
    fn line(&self) -> String {
        match self {
            Request::List => "list\n".into(),
            Request::Log(name, lines) => format!("log {name} {lines}\n"),
            Request::End(power) => format!("shutdown {}\n", protocol::power_word(*power)),
        }
    }
}

/// An answer: text, or why there is none.
pub type Answer = (Request, Result<String, String>);

/// The connection, and the questions that wait.
pub struct Control {
    path: String,
    socket: Option<OwnedFd>,
    waiting: VecDeque<Request>,
    /// The question that was sent, and when.
    asked: Option<(Request, Duration)>,
    bytes: Vec<u8>,
    text: Vec<u8>,
}

impl Control {
    /// No connection yet.
    pub fn new(path: &str) -> Control {
        Control {
            path: path.into(),
            socket: None,
            waiting: VecDeque::new(),
            asked: None,
            bytes: Vec::new(),
            text: Vec::new(),
        }
    }

    /// Whether answers are waited for.
    pub fn is_busy(&self) -> bool {
        self.asked.is_some() || !self.waiting.is_empty()
    }

    /// Where the next answer comes.
    pub fn socket(&self) -> Option<&OwnedFd> {
        self.socket.as_ref().filter(|_| self.asked.is_some())
    }

    /// When an answer is too late.
    pub fn deadline(&self) -> Option<Duration> {
        self.asked.as_ref().map(|(_, since)| *since + TIMEOUT)
    }

    /// Asks after the questions that wait. The answers are those that are there at once: failures.
    pub fn ask(&mut self, request: Request, now: Duration) -> Vec<Answer> {
        self.waiting.push_back(request);
        self.send_next(now)
    }

    /// Takes what the socket has.
    pub fn receive(&mut self, now: Duration) -> Vec<Answer> {
        let mut answers = Vec::new();
        loop {
            match self.take_part() {
                Ok(Some(Part::Accepted)) => {}
                Ok(Some(Part::Block(block))) => {
                    let room = MOST.saturating_sub(self.text.len());
                    self.text.extend_from_slice(block.get(..room).unwrap_or(&block));
                }
                Ok(Some(Part::End)) => {
                    let text = String::from_utf8_lossy(&self.text).into_owned();
                    answers.extend(self.answer(Ok(text)));
                    answers.extend(self.send_next(now));
                }
                Ok(Some(Part::Refused(refusal))) => {
                    answers.extend(self.answer(Err(refusal.message)));
                    answers.extend(self.send_next(now));
                }
                Ok(None) => return answers,
                Err(reason) => {
                    answers.extend(self.fail(&reason));
                    return answers;
                }
            }
        }
    }

    /// Gives up an answer that is too late.
    pub fn tick(&mut self, now: Duration) -> Vec<Answer> {
        match self.deadline().is_some_and(|deadline| deadline <= now) {
            true => self.fail("init does not answer"),
            false => Vec::new(),
        }
    }

    /// The next part of a reply; nothing when more bytes have to come.
    fn take_part(&mut self) -> Result<Option<Part>, String> {
        loop {
            let part = protocol::take_part(&mut self.bytes).map_err(|what| format!("init sent {what}"))?;
            let Some(fd) = self.socket.as_ref().filter(|_| part.is_none() && self.asked.is_some()) else {
                return Ok(part);
            };
            let mut block = [0; 4096];
            match socket::receive(fd, &mut block) {
                Ok(0) => return Err("init closed the connection".into()),
                Ok(count) => self.bytes.extend_from_slice(block.get(..count).unwrap_or_default()),
                Err(Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(format!("cannot read init's answer: {error}")),
            }
        }
    }

    fn send_next(&mut self, now: Duration) -> Vec<Answer> {
        if self.asked.is_some() {
            return Vec::new();
        }
        let Some(request) = self.waiting.pop_front() else { return Vec::new() };
        let line = request.line();
        self.text.clear();
        self.asked = Some((request, now));
        match self.connected().and_then(|socket| socket::send(socket, line.as_bytes())) {
            Ok(_) => Vec::new(),
            Err(Errno::PIPE | Errno::CONNRESET) if self.socket.is_some() => {
                // PID 1 closes connections that were idle, and a new PID 1 has none: a new connection is asked.
                self.socket = None;
                let sent = self.connected().and_then(|socket| socket::send(socket, line.as_bytes()));
                sent.err().map_or(Vec::new(), |error| self.fail(&unreachable(error)))
            }
            Err(error) => self.fail(&unreachable(error)),
        }
    }

    fn connected(&mut self) -> Result<&OwnedFd, Errno> {
        if self.socket.is_none() {
            self.bytes.clear();
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let fd = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            retry(|| net::connect(&fd, &SocketAddrUnix::new(&*self.path)?))?;
            self.socket = Some(fd);
        }
        self.socket.as_ref().ok_or(Errno::NOTCONN)
    }

    fn answer(&mut self, result: Result<String, String>) -> Option<Answer> {
        self.asked.take().map(|(request, _)| (request, result))
    }

    /// Ends the connection; what was to be asked besides is dropped, because it is asked again soon.
    fn fail(&mut self, reason: &str) -> Vec<Answer> {
        self.socket = None;
        self.bytes.clear();
        let waiting = core::mem::take(&mut self.waiting);
        let asked = self.asked.take().map(|(request, _)| request);
        asked.into_iter().chain(waiting).map(|request| (request, Err(reason.into()))).collect()
    }
}

fn unreachable(error: Errno) -> String {
    match error {
        Errno::NOENT | Errno::CONNREFUSED => "init is not reachable".into(),
        Errno::AGAIN => "init does not answer".into(),
        error => format!("init is not reachable: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    const NOW: Duration = Duration::from_secs(7);

    fn pair() -> (tempfile::TempDir, UnixListener, Control) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let control = Control::new(path.to_str().unwrap());
        (dir, listener, control)
    }

    fn read(stream: &mut impl Read) -> String {
        let mut bytes = [0; 100];
        let count = stream.read(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    }

    #[test]
    fn one_question_at_a_time_and_all_answers() {
        let (_dir, listener, mut control) = pair();
        assert!(control.ask(Request::List, NOW).is_empty());
        assert!(control.ask(Request::Log("web".into(), 5), NOW).is_empty());
        let (mut stream, _) = listener.accept().unwrap();
        assert_eq!(read(&mut stream), "list\n");
        stream.write_all(b"ok\ndata 4\nro").unwrap();
        assert!(control.receive(NOW).is_empty());
        stream.write_all(b"w\nend\n").unwrap();
        assert_eq!(control.receive(NOW), [(Request::List, Ok("row\n".into()))]);
        assert_eq!(read(&mut stream), "log web 5\n");
        stream.write_all(b"error unknown there is none\n").unwrap();
        let answers = control.receive(NOW);
        assert_eq!(answers, [(Request::Log("web".into(), 5), Err("there is none".into()))]);
        assert!(!control.is_busy());
    }

    #[test]
    fn a_connection_that_was_closed_is_made_anew() {
        let (_dir, listener, mut control) = pair();
        control.ask(Request::List, NOW);
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"ok\nend\n").unwrap();
        assert_eq!(control.receive(NOW).len(), 1);
        drop(stream);
        assert!(control.ask(Request::List, NOW).is_empty());
        assert_eq!(read(&mut listener.accept().unwrap().0), "list\n");
    }

    #[test]
    fn silence_and_nonsense_end_the_connection() {
        let (_dir, listener, mut control) = pair();
        control.ask(Request::List, NOW);
        assert!(control.tick(NOW).is_empty());
        assert_eq!(control.tick(NOW + TIMEOUT), [(Request::List, Err("init does not answer".into()))]);
        drop(listener.accept().unwrap());
        control.ask(Request::List, NOW);
        listener.accept().unwrap().0.write_all(b"what?\n").unwrap();
        assert!(control.receive(NOW)[0].1.as_ref().unwrap_err().contains("not of this protocol"));
        let mut control = Control::new("/no/such/socket");
        assert_eq!(control.ask(Request::List, NOW), [(Request::List, Err("init is not reachable".into()))]);
    }
}
