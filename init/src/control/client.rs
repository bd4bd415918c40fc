//! One connection of the control socket: its bytes in and out, and what it waits for. The server owns it.

use core::time::Duration;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::protocol::{self, Request};
use super::{Action, Code, Operations, Progress, Refusal};
use crate::event::reactor::{Interest, Reactor, Source, Token};
use crate::log::info;
use crate::logs::Cursor;
use crate::sys::{Errno, socket};

/// A client that neither asks nor takes its answer for so long is closed.
const IDLE: Duration = Duration::from_secs(30);
/// Bytes of log that wait for a client. A slower one misses lines, and is told so.
const ROOM: usize = 16 << 10;
/// Requests of one client that are answered in a turn.
const REQUESTS: usize = 8;

/// What a client waits for.
#[derive(Debug)]
enum Work {
    /// For the next request.
    Nothing,
    /// For a service.
    Service { action: Action, name: String, until: Duration },
    /// For lines of a log, up to a number.
    Lines { stream: u32, next: u64, until: u64 },
    /// For lines of all logs.
    AllLines { cursors: Vec<Cursor>, follow: bool },
}

impl Work {
    /// Whether it waits for lines that are still to be written.
    fn follows(&self) -> bool {
        matches!(self, Work::Lines { until: u64::MAX, .. } | Work::AllLines { follow: true, .. })
    }
}

/// A connection.
pub struct Client {
    id: u32,
    fd: OwnedFd,
    input: Vec<u8>,
    output: Vec<u8>,
    /// How much of `output` is sent.
    sent: usize,
    work: Work,
    reading: Option<Token>,
    writing: Option<Token>,
    /// When it last asked or took something.
    moved: Duration,
    /// It sends no more requests.
    ended: bool,
    /// It is to be closed when its output is sent.
    last: bool,
    /// The last turn ended before there was nothing left to do.
    more: bool,
    /// It is to be closed now.
    dead: bool,
}

impl Client {
    /// A new connection.
    pub fn new(id: u32, fd: OwnedFd, now: Duration) -> Client {
        Client {
            id,
            fd,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            work: Work::Nothing,
            reading: None,
            writing: None,
            moved: now,
            ended: false,
            last: false,
            more: false,
            dead: false,
        }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether the server shall close it.
    pub fn is_done(&self) -> bool {
        let idle = matches!(self.work, Work::Nothing) && self.output.is_empty() && !self.has_request();
        self.dead || (idle && (self.last || self.ended))
    }

    /// Whether there is a whole request to answer next.
    fn has_request(&self) -> bool {
        matches!(self.work, Work::Nothing) && !self.last && self.input.contains(&b'\n')
    }

    /// Whether it belongs to root.
    pub fn is_root(&self) -> bool {
        socket::peer_user(&self.fd) == Ok(0)
    }

    /// When it has to be looked at without an event.
    pub fn deadline(&self) -> Option<Duration> {
        let idle = self.moved.saturating_add(IDLE);
        match &self.work {
            _ if self.more => Some(Duration::ZERO),
            Work::Service { until, .. } => Some(*until),
            Work::Nothing if self.output.is_empty() && self.has_request() => Some(Duration::ZERO),
            // A follower may wait for lines as long as it likes.
            Work::Lines { .. } | Work::AllLines { .. } if self.output.is_empty() => None,
            Work::Lines { .. } | Work::AllLines { .. } | Work::Nothing => Some(idle),
        }
    }

    /// Takes the event of one of its polls.
    pub fn ready(&mut self, token: Token, now: Duration) {
        if self.reading == Some(token) {
            self.reading = None;
            self.receive(now);
        } else if self.writing == Some(token) {
            self.writing = None;
        }
    }

    fn receive(&mut self, now: Duration) {
        let mut block = [0; protocol::LONGEST];
        match socket::receive(&self.fd, &mut block) {
            // A follower has nothing to say, so its end is the end.
            Ok(0) if self.work.follows() => self.dead = true,
            Ok(0) => self.ended = true,
            Ok(count) => {
                self.moved = now;
                self.input.extend_from_slice(block.get(..count).unwrap_or_default());
                // Requests may be sent ahead, but not without bound.
                if self.input.len() > 2 * protocol::LONGEST {
                    self.refuse(&Refusal::new(Code::Usage, "too many requests ahead of their answers"));
                    self.last = true;
                    self.input.clear();
                }
            }
            Err(Errno::AGAIN) => {}
            Err(_) => self.dead = true,
        }
    }

    /// Does what can be done now: requests, waiting, output. The server calls it after every turn's events.
    pub fn work(&mut self, operations: &mut impl Operations, now: Duration) {
        for _ in 0..REQUESTS {
            // Lines follow when what was said before is out.
            self.send(now);
            let proceeded = self.proceed(operations, now);
            self.send(now);
            // More only for a client that takes its answers.
            let takes = !self.dead && self.output.is_empty();
            self.more = takes && (proceeded || self.take_request(operations, now));
            if !self.more {
                break;
            }
        }
        let patient = self.more || self.has_request();
        self.dead |= !patient && self.deadline().is_some_and(|deadline| deadline <= now);
        self.poll(operations.reactor());
    }

    /// Carries on with what it waits for. Returns whether that led to something.
    fn proceed(&mut self, operations: &mut impl Operations, now: Duration) -> bool {
        match &mut self.work {
            Work::Nothing => false,
            Work::Service { action, name, until } => {
                let result = match operations.progress(*action, name) {
                    Ok(Progress::Pending) if now < *until => return false,
                    Ok(Progress::Pending) => {
                        let message = format!("'{name}' needs longer; it goes on, and `status {name}` tells how");
                        Err(Refusal::new(Code::Timeout, message))
                    }
                    Ok(Progress::Done) => Ok(()),
                    Err(refusal) => Err(refusal),
                };
                self.work = Work::Nothing;
                self.moved = now;
                self.answer(result);
                true
            }
            Work::Lines { .. } | Work::AllLines { .. } if !self.output.is_empty() => false,
            Work::Lines { stream, next, until } => {
                let mut lines = Vec::new();
                // Nothing can be missed by one who stops at a number that is in the past.
                let there = operations.logs().read(*stream, next, ROOM, &mut lines);
                let more = there && *next < *until;
                self.give_lines(&lines, more)
            }
            Work::AllLines { cursors, follow } => {
                let mut lines = Vec::new();
                let more = operations.logs().read_all(cursors, *follow, ROOM, &mut lines);
                self.give_lines(&lines, more)
            }
        }
    }

    /// Puts lines of a log into the output. Returns whether that led to something.
    fn give_lines(&mut self, lines: &[u8], more: bool) -> bool {
        if !lines.is_empty() {
            protocol::block(&mut self.output, lines);
        }
        if !more {
            self.work = Work::Nothing;
            self.output.extend_from_slice(b"end\n");
        }
        !more || !lines.is_empty()
    }

    /// Answers the next request, if there is a whole one and nothing else to do. Returns whether there was.
    fn take_request(&mut self, operations: &mut impl Operations, now: Duration) -> bool {
        if !matches!(self.work, Work::Nothing) || self.last {
            return false;
        }
        let Some(end) = self.input.iter().position(|&byte| byte == b'\n') else {
            if self.input.len() >= protocol::LONGEST {
                self.refuse(&Refusal::new(Code::Usage, "the request is too long"));
                self.last = true;
            }
            return false;
        };
        let rest = self.input.split_off(end + 1);
        let mut line = core::mem::replace(&mut self.input, rest);
        line.truncate(end);
        self.moved = now;
        match protocol::parse(&line) {
            Ok(request) if request.is_free() || self.is_root() => self.serve(request, operations, now),
            Ok(_) => self.refuse(&Refusal::new(Code::Denied, "only root may do that")),
            Err(refusal) => self.refuse(&refusal),
        }
        true
    }

    fn serve(&mut self, request: Request<'_>, operations: &mut impl Operations, now: Duration) {
        let mut text = String::new();
        match request {
            Request::List => operations.list().iter().for_each(|summary| protocol::row(&mut text, summary)),
            Request::Analyze => operations.spans().iter().for_each(|span| protocol::span_row(&mut text, span)),
            Request::Status(name) => {
                let Some((summary, more)) = operations.status(name) else {
                    return self.refuse(&Refusal::unknown(name));
                };
                protocol::row(&mut text, &summary);
                more.iter().for_each(|(key, value)| protocol::pair(&mut text, key, value));
            }
            Request::ReloadTables => match operations.reload_tables() {
                Ok(message) => protocol::pair(&mut text, "tables", &message),
                Err(refusal) => return self.refuse(&refusal),
            },
            Request::Do(action, name, timeout) => return self.begin(action, name, timeout, operations, now),
            Request::Log { name: protocol::ALL, lines, follow } => {
                self.output.extend_from_slice(b"ok\n");
                self.work = Work::AllLines { cursors: operations.logs().tails(lines, follow), follow };
                return;
            }
            Request::Log { name, lines, follow } => return self.start_log(name, lines, follow, operations),
            Request::Shutdown(power) => {
                info!("{} was asked for on the control socket", protocol::power_word(power));
                return self.answer(operations.power(power));
            }
        }
        self.output.extend_from_slice(&protocol::reply(&text));
    }

    fn begin(
        &mut self,
        action: Action,
        name: &str,
        timeout: Duration,
        operations: &mut impl Operations,
        now: Duration,
    ) {
        match operations.begin(action, name) {
            Ok(Progress::Pending) if !timeout.is_zero() => {
                self.work = Work::Service { action, name: name.into(), until: now.saturating_add(timeout) };
            }
            result => self.answer(result.map(drop)),
        }
    }

    fn start_log(&mut self, name: &str, lines: u64, follow: bool, operations: &mut impl Operations) {
        let logs = operations.logs();
        let found = logs.find(name).and_then(|stream| Some((stream, logs.last(stream, lines)?, logs.next(stream)?)));
        let Some((stream, next, end)) = found else {
            let refusal = match operations.status(name) {
                Some(_) => {
                    Refusal::new(Code::Failed, format!("'{name}' has no log; it writes to a terminal or nowhere"))
                }
                None => Refusal::unknown(name),
            };
            return self.refuse(&refusal);
        };
        self.output.extend_from_slice(b"ok\n");
        self.work = Work::Lines { stream, next, until: if follow { u64::MAX } else { end } };
    }

    fn answer(&mut self, result: Result<(), Refusal>) {
        match result {
            Ok(()) => self.output.extend_from_slice(protocol::OK.as_bytes()),
            Err(refusal) => self.refuse(&refusal),
        }
    }

    fn refuse(&mut self, refusal: &Refusal) {
        self.output.extend_from_slice(protocol::error(refusal).as_bytes());
    }

    /// Sends as much as the client takes.
    fn send(&mut self, now: Duration) {
        while let Some(rest) = self.output.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match socket::send(&self.fd, rest) {
                Ok(count) => {
                    self.sent += count;
                    self.moved = now;
                }
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.dead = true;
                    return;
                }
            }
        }
        self.output.clear();
        // A long list is no reason to keep its memory.
        self.output.shrink_to(2 * ROOM);
        self.sent = 0;
    }

    /// Waits for what it needs next.
    fn poll(&mut self, reactor: &mut Reactor) {
        let (fd, source): (BorrowedFd<'_>, _) = (self.fd.as_fd(), Source::Client(self.id));
        let wanted = [
            (&mut self.reading, Interest::Read, !self.ended && !self.dead),
            (&mut self.writing, Interest::Write, !self.output.is_empty()),
        ];
        for (token, interest, wanted) in wanted {
            if wanted && token.is_none() {
                *token = reactor.poll(fd, interest, source).ok();
                // One that is not waited for would never be answered.
                self.dead |= token.is_none();
            }
        }
    }

    /// Gives up its polls, before it is closed.
    pub fn forget(&mut self, reactor: &mut Reactor) {
        for token in [self.reading.take(), self.writing.take()].into_iter().flatten() {
            reactor.forget(token);
        }
    }
}
