//! The engine on epoll: edge-triggered, each connection registered once. A receive that does not fill the buffer has
//! emptied the socket (epoll(7)), so a request costs one recv and one send.

use core::time::Duration;
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};

use super::service::{Request, Service, ends_listening, is_shortage, port_of};
use super::table::{Budget, Table};
use crate::sys::ready::{Readiness, ReadySet};
use crate::sys::{Errno, Result, inet, socket};

/// Connections accepted, or datagrams answered, before others get their turn.
const BATCH: usize = 64;
/// Full buffers of one connection that are sent back before others get their turn.
const ROUNDS: usize = 8;
/// How soon to accept again when descriptors or memory were short.
const RETRY: Duration = Duration::from_millis(100);
/// The longest UDP payload is 65,507 bytes; one byte more shows that nothing was cut.
const DATAGRAM: usize = 65_536;

/// Tags of the set: connections have their descriptor's number, which is an `i32`.
const SIGNALS: u64 = 1 << 32;
const LISTENERS: u64 = 2 << 32;
const DATAGRAMS: u64 = 3 << 32;

struct Connection {
    fd: OwnedFd,
    /// Bytes that the peer has not taken; nothing is received meanwhile.
    pending: Vec<u8>,
    /// It is in the queue of those that go on next turn.
    queued: bool,
    /// The other side sends no more: it is received from until its end is found, for which there is no further edge.
    ended: bool,
}

/// What became of a connection.
#[derive(PartialEq, Eq)]
enum Step {
    /// It waits.
    Waits,
    /// It has more.
    More,
    /// It ended.
    Ended,
    /// There is no memory for what it does not take.
    Overrun,
}

struct Engine<'a> {
    service: &'a mut Service,
    set: ReadySet,
    table: Table<Connection>,
    budget: Budget,
    buffer: Vec<u8>,
    /// Connections that had more than [`ROUNDS`] buffers.
    more: VecDeque<u32>,
    /// When to accept again.
    resume: Option<Duration>,
}

/// Serves until a signal stops it; calls `ready` when it does.
pub fn run(service: &mut Service, ready: impl FnOnce(&Service)) -> Result<()> {
    let set = ReadySet::new()?;
    set.add_level(&service.signals, SIGNALS)?;
    for (fd, at) in service.listeners.iter().zip(LISTENERS..) {
        set.add_level(fd, at)?;
    }
    for (fd, at) in service.datagrams.iter().zip(DATAGRAMS..) {
        set.add_level(fd, at)?;
    }
    ready(service);
    let size = usize::try_from(service.options.buffer_size).unwrap_or(DATAGRAM).max(DATAGRAM);
    let mut engine = Engine {
        set,
        table: Table::new(service.options.max_connections as usize),
        budget: Budget::new(service.options.max_pending),
        buffer: vec![0; size],
        more: VecDeque::new(),
        resume: None,
        service,
    };
    while engine.turn()? == Request::Nothing {}
    Ok(())
}

impl Engine<'_> {
    fn turn(&mut self) -> Result<Request> {
        let timeout = if self.more.is_empty() { self.patience() } else { Some(Duration::ZERO) };
        let count = self.set.wait(timeout)?;
        let now = self.service.tick();
        for _ in 0..self.more.len() {
            if let Some(slot) = self.more.pop_front() {
                self.go_on(slot, now);
            }
        }
        for at in 0..count {
            let Some(Readiness { tag, ended }) = self.set.ready(at) else {
                break;
            };
            match tag {
                SIGNALS => {
                    if self.service.read_signals() == Request::Stop {
                        return Ok(Request::Stop);
                    }
                }
                LISTENERS..DATAGRAMS => self.accept(index(tag), now)?,
                DATAGRAMS.. => self.answer(index(tag)),
                slot => self.serve(u32::try_from(slot).unwrap_or(u32::MAX), ended, now),
            }
        }
        if self.resume.is_some_and(|at| at <= now) {
            self.resume = None;
            self.listen(true);
        }
        if let Some(timeout) = self.service.sweep() {
            for slot in self.table.idle(now, timeout) {
                self.service.counters.idle += 1;
                self.close(slot);
            }
        }
        Ok(Request::Nothing)
    }

    fn patience(&self) -> Option<Duration> {
        let resume = self.resume.map(|at| at.saturating_sub(self.service.now()).max(Duration::from_millis(1)));
        match (self.service.patience(), resume) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Waits for new connections, or does not.
    fn listen(&mut self, on: bool) {
        for (fd, at) in self.service.listeners.iter().zip(LISTENERS..) {
            // It was in the set before; when there is no memory the next turn tries again.
            let done = if on { self.set.add_level(fd, at) } else { self.set.remove(fd) };
            if done.is_err_and(|error| on && error != Errno::EXIST) {
                self.resume = Some(self.service.now().saturating_add(RETRY));
            }
        }
    }

    fn accept(&mut self, listener: usize, now: Duration) -> Result<()> {
        for _ in 0..BATCH {
            let Some(fd) = self.service.listeners.get(listener) else {
                return Ok(());
            };
            match socket::accept(fd) {
                Ok(fd) => self.admit(fd, now),
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) if ends_listening(error) => return Err(error),
                Err(error) if is_shortage(error) => {
                    self.listen(false);
                    self.resume = Some(now.saturating_add(RETRY));
                    return Ok(());
                }
                // That connection is gone already.
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn admit(&mut self, fd: OwnedFd, now: Duration) {
        let slot = u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX);
        if self.set.add_edge(&fd, slot.into()).is_err() {
            self.service.counters.refused += 1;
            return;
        }
        let connection = Connection { fd, pending: Vec::new(), queued: false, ended: false };
        match self.table.insert(slot, connection, now) {
            Ok(()) => self.service.counters.accepted += 1,
            // Dropped, and so closed.
            Err(_) => self.service.counters.refused += 1,
        }
    }

    /// A connection that was left with more to receive.
    fn go_on(&mut self, slot: u32, now: Duration) {
        if let Some(connection) = self.table.get(slot) {
            connection.queued = false;
            self.serve(slot, false, now);
        }
    }

    fn serve(&mut self, slot: u32, ended: bool, now: Duration) {
        let Some(connection) = self.table.touch(slot, now) else {
            return;
        };
        let size = usize::try_from(self.service.options.buffer_size).unwrap_or(usize::MAX);
        let room = self.buffer.len().min(size);
        let buffer = self.buffer.get_mut(..room).unwrap_or_default();
        let counted = &mut self.service.counters.bytes;
        connection.ended |= ended;
        let ended = connection.ended;
        match step(connection, ended, buffer, &mut self.budget, counted) {
            Step::Waits => {}
            Step::More if connection.queued => {}
            Step::More => {
                connection.queued = true;
                self.more.push_back(slot);
            }
            Step::Ended => self.close(slot),
            Step::Overrun => {
                self.service.counters.overrun += 1;
                self.close(slot);
            }
        }
    }

    fn close(&mut self, slot: u32) {
        // Closing the descriptor takes it out of the set.
        if let Some(connection) = self.table.remove(slot) {
            self.budget.give(connection.pending.len());
        }
    }

    /// Sends datagrams back.
    fn answer(&mut self, at: usize) {
        for _ in 0..BATCH {
            let Some(fd) = self.service.datagrams.get(at) else {
                return;
            };
            match inet::receive_from(fd, &mut self.buffer) {
                Ok(datagram) => {
                    let bytes = self.buffer.get(..datagram.count).unwrap_or_default();
                    let source = datagram.source.filter(|_| self.service.answers(port_of(datagram.sender())));
                    let sent = source.is_some_and(|from| inet::send_to(fd, bytes, &from, datagram.sender()).is_ok());
                    let counters = &mut self.service.counters;
                    *(if sent { &mut counters.datagrams } else { &mut counters.dropped }) += 1;
                }
                // An error that an earlier answer met (no such port) is told once.
                Err(_) => return,
            }
        }
    }
}

/// Sends back what a connection has.
fn step(at: &mut Connection, ended: bool, buffer: &mut [u8], budget: &mut Budget, counted: &mut u64) -> Step {
    if !at.pending.is_empty() {
        match socket::send(&at.fd, &at.pending) {
            Ok(count) => {
                at.pending.drain(..count.min(at.pending.len()));
                budget.give(count);
                *counted += count as u64;
            }
            Err(Errno::AGAIN) => {}
            Err(_) => return Step::Ended,
        }
        if !at.pending.is_empty() {
            return Step::Waits;
        }
        // It may have grown to a whole buffer.
        at.pending = Vec::new();
        // Data that arrived in the meantime raises no new edge.
        return receive(at, true, buffer, budget, counted);
    }
    receive(at, ended, buffer, budget, counted)
}

fn receive(at: &mut Connection, ended: bool, buffer: &mut [u8], budget: &mut Budget, counted: &mut u64) -> Step {
    for _ in 0..ROUNDS {
        let count = match socket::receive(&at.fd, buffer) {
            Ok(0) => return Step::Ended,
            Ok(count) => count,
            Err(Errno::AGAIN) => return Step::Waits,
            Err(_) => return Step::Ended,
        };
        let received = buffer.get(..count).unwrap_or_default();
        let sent = match socket::send(&at.fd, received) {
            Ok(sent) => sent,
            Err(Errno::AGAIN) => 0,
            Err(_) => return Step::Ended,
        };
        *counted += sent as u64;
        let rest = received.get(sent..).unwrap_or_default();
        if !rest.is_empty() {
            if !budget.take(rest.len()) {
                return Step::Overrun;
            }
            at.pending = rest.to_vec();
            return Step::Waits;
        }
        if count < buffer.len() && !ended {
            return Step::Waits;
        }
    }
    Step::More
}

fn index(tag: u64) -> usize {
    usize::try_from(tag & u64::from(u32::MAX)).unwrap_or(usize::MAX)
}
