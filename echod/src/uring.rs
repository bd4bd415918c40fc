//! The engine on io_uring: connections come by one multishot accept, messages by one multishot receive for each connection,
//! into buffers that the kernel takes from a ring, and go back out of the same buffers. A turn is one system call:
//! it submits the sends of the last turn and waits for the next receives.
//!
//! A multishot receive takes up to 32 buffers before this side sees the first of them, and all of them are kept when the
//! other side does not read. So a connection with more than messages is only waited for by the ring ([`Pace`]).
//!
//! Sends do not wait in the kernel, so each is done when it is submitted, and only a failure is told. A slow reader keeps
//! no buffer: what it does not take is copied, from the budget, and sent when it takes more. Until then nothing is received
//! from it.

mod connection;
mod datagrams;
mod tags;

use core::time::Duration;
use std::collections::VecDeque;
use std::os::fd::AsRawFd;

use super::service::{Request, Service, ends_listening, is_shortage};
use super::table::{Budget, Table};
use crate::sys::provided::Buffer;
use crate::sys::socket_ring::{Completion, SocketRing, accepted};
use crate::sys::{Errno, Result, socket};
use connection::{Connection, Pace};
use datagrams::Datagrams;
use tags::{ACCEPT, ANSWERED, DATAGRAMS, RECEIVE, SEND, SIGNALS, WRITABLE, kind, number, of_send, place, tag};

/// How soon to try again when descriptors or memory were short.
const RETRY: Duration = Duration::from_millis(100);
/// A wait when there is nothing to do at a certain time.
const LONG: Duration = Duration::from_secs(3600);
/// Full buffers that are passed on before others get their turn.
const ROUNDS: usize = 8;
/// Buffers that may wait behind one that is sent before a connection is [`Pace::Bulk`].
const FEW: usize = 4;

/// The engine before it serves.
pub struct Uring {
    ring: SocketRing,
    table: Table<Connection>,
    budget: Budget,
    /// For what is received without the ring.
    buffer: Vec<u8>,
    /// Counts submissions, from 1.
    turn: u64,
    /// Buffers that are sent in this turn.
    sending: Vec<Option<Buffer>>,
    /// Connections that have more to do when this turn is submitted.
    behind: Vec<u32>,
    /// Connections whose receive found no buffer.
    starved: VecDeque<u32>,
    datagrams: Datagrams,
    /// Which listening sockets the kernel accepts from.
    accepting: Vec<bool>,
    /// When to accept and to receive datagrams again where that has ended.
    resume: Option<Duration>,
    now: Duration,
}

impl Uring {
    /// Sets the ring up.
    ///
    /// # Errors
    /// Why the kernel refused it.
    pub fn new(service: &Service) -> Result<Uring> {
        let options = &service.options;
        let ring = SocketRing::new((options.buffers, options.buffer_size), datagrams::buffers(service))?;
        Ok(Uring {
            ring,
            table: Table::new(options.max_connections as usize),
            budget: Budget::new(options.max_pending),
            buffer: vec![0; options.buffer_size as usize],
            turn: 1,
            sending: Vec::new(),
            behind: Vec::new(),
            starved: VecDeque::new(),
            datagrams: Datagrams::new(service),
            accepting: vec![false; service.listeners.len()],
            resume: Some(Duration::ZERO),
            now: Duration::ZERO,
        })
    }

    /// Serves until a signal stops it; calls `ready` when it does.
    pub fn run(mut self, service: &mut Service, ready: impl FnOnce(&Service)) -> Result<()> {
        self.ring.poll(&service.signals, false, tag(SIGNALS, 0));
        ready(service);
        let mut completions = Vec::new();
        loop {
            self.listen(service);
            self.feed();
            let submitted = self.ring.wait(self.patience(service), &mut completions)?;
            self.now = service.tick();
            // First what was not sent: what came meanwhile must go after it.
            for completion in completions.iter().filter(|completion| kind(completion.tag) == SEND) {
                self.not_sent(service, completion);
            }
            if submitted {
                self.all_sent(service);
            }
            for completion in completions.drain(..) {
                if self.complete(service, completion)? == Request::Stop {
                    return Ok(());
                }
            }
            if let Some(timeout) = service.sweep() {
                for slot in self.table.idle(self.now, timeout) {
                    service.counters.idle += 1;
                    self.close(slot);
                }
            }
        }
    }

    fn patience(&self, service: &Service) -> Duration {
        // These go on as soon as this turn is submitted and its buffers are free.
        if !self.behind.is_empty() || !self.starved.is_empty() {
            return Duration::ZERO;
        }
        let resume = self.resume.map(|at| at.saturating_sub(self.now).max(Duration::from_millis(1)));
        [service.patience(), resume].into_iter().flatten().fold(LONG, Duration::min)
    }

    /// Waits for connections and datagrams where that has ended, when it is time to.
    fn listen(&mut self, service: &Service) {
        if self.resume.is_none_or(|at| at > self.now) {
            return;
        }
        self.resume = None;
        for ((fd, on), number) in service.listeners.iter().zip(&mut self.accepting).zip(0..) {
            if !core::mem::replace(on, true) {
                self.ring.accept(fd, tag(ACCEPT, number));
            }
        }
        self.datagrams.receive(&mut self.ring, service);
    }

    /// Goes on to receive where there was no buffer, for as many connections as there are buffers now.
    fn feed(&mut self) {
        for _ in 0..self.ring.streams.free() {
            let Some(slot) = self.starved.pop_front() else {
                return;
            };
            self.receive(slot);
        }
    }

    fn complete(&mut self, service: &mut Service, completion: Completion) -> Result<Request> {
        let number = number(completion.tag);
        match kind(completion.tag) {
            RECEIVE => self.received(service, number, &completion),
            WRITABLE => {
                if let Some(connection) = self.table.touch(number, self.now) {
                    connection.polling = false;
                    self.push_on(service, number);
                }
            }
            ACCEPT => self.accepted(service, number, completion)?,
            DATAGRAMS => {
                if let Some(later) = self.datagrams.received(&mut self.ring, service, number, &completion) {
                    self.resume_in(later);
                }
            }
            ANSWERED => self.datagrams.answered(&mut self.ring, service, number, completion.result),
            SIGNALS => {
                let request = service.read_signals();
                self.ring.poll(&service.signals, false, tag(SIGNALS, 0));
                return Ok(request);
            }
            // Cancellations, and what was not sent.
            _ => {}
        }
        Ok(Request::Nothing)
    }

    fn accepted(&mut self, service: &mut Service, listener: u32, completion: Completion) -> Result<()> {
        if !completion.more {
            if let Some(on) = self.accepting.get_mut(listener as usize) {
                *on = false;
            }
            let later = match completion.result {
                Err(error) if ends_listening(error) => return Err(error),
                Err(error) if is_shortage(error) => RETRY,
                _ => Duration::ZERO,
            };
            self.resume_in(later);
        }
        let Some(fd) = accepted(completion) else {
            return Ok(());
        };
        let slot = u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX);
        match self.table.insert(slot, Connection::new(fd), self.now) {
            Ok(()) => {
                service.counters.accepted += 1;
                self.receive(slot);
            }
            // Dropped, and so closed.
            Err(_) => service.counters.refused += 1,
        }
        Ok(())
    }

    fn resume_in(&mut self, time: Duration) {
        let at = self.now.saturating_add(time);
        self.resume = Some(self.resume.map_or(at, |other| other.min(at)));
    }

    /// Goes on to receive from a connection, if it is one that may.
    fn receive(&mut self, slot: u32) {
        let Some(connection) = self.table.get(slot) else {
            return;
        };
        if connection.receiving || connection.ended || connection.closing || !connection.pending.is_empty() {
            return;
        }
        connection.receiving = true;
        if connection.pace == Pace::Messages {
            self.ring.receive(&connection.fd, tag(RECEIVE, slot.into()));
        } else {
            self.ring.poll(&connection.fd, false, tag(RECEIVE, slot.into()));
        }
    }

    fn received(&mut self, service: &mut Service, slot: u32, completion: &Completion) {
        let buffer = self.ring.received(completion);
        let Some(connection) = self.table.touch(slot, self.now) else {
            return self.give(buffer);
        };
        connection.receiving = completion.more;
        if connection.closing {
            self.give(buffer);
            return self.close(slot);
        }
        match (completion.result, buffer) {
            (Ok(1..), Some(buffer)) => {
                if connection.has_to_send(self.turn) {
                    connection.waiting.push_back(buffer);
                    self.behind.push(slot);
                    if !connection.pending.is_empty() {
                        // It was on its way when the receive was cancelled.
                        return self.set_aside(service, slot);
                    }
                    if connection.waiting.len() > FEW && connection.pace == Pace::Messages {
                        connection.pace = Pace::Bulk;
                        self.stop_receiving(slot);
                    }
                } else {
                    self.ring.send(&connection.fd, &buffer, of_send(slot, self.sending.len()));
                    self.sending.push(Some(buffer));
                    connection.sending = self.turn;
                }
                if !completion.more {
                    self.receive(slot);
                }
            }
            // A poll.
            (Ok(1..), None) => self.pass_on(service, slot),
            (Ok(_), buffer) => {
                connection.ended = true;
                let has_to_send = connection.has_to_send(self.turn);
                self.give(buffer);
                if has_to_send { self.behind.push(slot) } else { self.close(slot) }
            }
            (Err(Errno::NOBUFS), _) => {
                service.counters.starved += 1;
                self.starved.push_back(slot);
            }
            // Taken back because of its pace, or because the other side is slow; what is to be sent goes first.
            (Err(Errno::CANCELED), _) => self.receive(slot),
            (Err(Errno::INTR | Errno::AGAIN | Errno::NOMEM), _) => self.starved.push_back(slot),
            (Err(_), _) => self.close(slot),
        }
    }

    /// Receives and sends a buffer at a time, and so never has more than one that is not taken.
    fn pass_on(&mut self, service: &mut Service, slot: u32) {
        for _ in 0..ROUNDS {
            let Some(connection) = self.table.get(slot) else {
                return;
            };
            if connection.has_to_send(self.turn) {
                return self.behind.push(slot);
            }
            let received = match socket::receive(&connection.fd, &mut self.buffer) {
                Ok(count @ 1..) => self.buffer.get(..count).unwrap_or_default(),
                Err(Errno::AGAIN | Errno::NOMEM | Errno::NOBUFS) => break,
                Ok(_) | Err(_) => return self.close(slot),
            };
            if connection.pace == Pace::New && received.len() < self.buffer.len() {
                connection.pace = Pace::Messages;
            }
            let Ok(sent) = connection.send(received, &mut service.counters.bytes) else {
                return self.close(slot);
            };
            let rest = received.get(sent..).unwrap_or_default();
            if !connection.keep(rest, &mut self.budget) {
                return self.overrun(service, slot);
            }
            if !rest.is_empty() {
                return self.set_aside(service, slot);
            }
            if received.len() < self.buffer.len() {
                break;
            }
            connection.pace = Pace::Bulk;
        }
        self.receive(slot);
    }

    /// A buffer that was not sent, or only in part.
    fn not_sent(&mut self, service: &mut Service, completion: &Completion) {
        let Some(buffer) = self.sending.get_mut(place(completion.tag)).and_then(Option::take) else {
            return;
        };
        let slot = number(completion.tag);
        let count = match completion.result {
            Ok(count) => count as usize,
            Err(Errno::AGAIN | Errno::INTR | Errno::NOMEM | Errno::NOBUFS) => 0,
            Err(_) => {
                self.ring.streams.give(buffer);
                return self.close(slot);
            }
        };
        service.counters.bytes += count as u64;
        let rest = self.ring.streams.bytes(&buffer).get(count..).unwrap_or_default();
        let connection = self.table.get(slot).filter(|connection| !connection.closing);
        let kept = connection.map(|connection| connection.keep(rest, &mut self.budget));
        self.ring.streams.give(buffer);
        match kept {
            Some(true) => self.set_aside(service, slot),
            Some(false) => self.overrun(service, slot),
            None => {}
        }
    }

    /// Everything was submitted, so what was queued to be sent and is not known to have failed has gone.
    fn all_sent(&mut self, service: &mut Service) {
        self.turn += 1;
        for buffer in self.sending.drain(..).flatten() {
            service.counters.bytes += buffer.len() as u64;
            self.ring.streams.give(buffer);
        }
        for slot in core::mem::take(&mut self.behind) {
            self.push_on(service, slot);
        }
    }

    /// Sends what waits, as far as the other side takes it.
    fn push_on(&mut self, service: &mut Service, slot: u32) {
        let Some(connection) = self.table.get(slot) else {
            return;
        };
        if connection.closing {
            return self.close(slot);
        }
        if connection.sending == self.turn {
            return self.behind.push(slot);
        }
        let counted = &mut service.counters.bytes;
        match connection.send_pending(&mut self.budget, counted) {
            Ok(true) => {}
            Ok(false) => return self.set_aside(service, slot),
            Err(_) => return self.close(slot),
        }
        while let Some(buffer) = connection.waiting.pop_front() {
            let bytes = self.ring.streams.bytes(&buffer);
            let sent = connection.send(bytes, counted);
            let rest = bytes.get(sent.unwrap_or(0)..).unwrap_or_default();
            let (all, kept) = (rest.is_empty(), sent.is_ok() && connection.keep(rest, &mut self.budget));
            self.ring.streams.give(buffer);
            match sent {
                Err(_) => return self.close(slot),
                Ok(_) if !kept => return self.overrun(service, slot),
                Ok(_) if !all => return self.set_aside(service, slot),
                Ok(_) => {}
            }
        }
        if connection.ended { self.close(slot) } else { self.receive(slot) }
    }

    /// Copies what a slow reader has not taken, so that it keeps no buffers; waits until it takes more, and receives
    /// nothing from it until then.
    fn set_aside(&mut self, service: &mut Service, slot: u32) {
        let Some(connection) = self.table.get(slot) else {
            return;
        };
        connection.pace = Pace::Bulk;
        while let Some(buffer) = connection.waiting.pop_front() {
            let kept = connection.keep(self.ring.streams.bytes(&buffer), &mut self.budget);
            self.ring.streams.give(buffer);
            if !kept {
                return self.overrun(service, slot);
            }
        }
        if !connection.polling {
            connection.polling = true;
            self.ring.poll(&connection.fd, true, tag(WRITABLE, slot.into()));
        }
        self.stop_receiving(slot);
    }

    /// Takes a receive back; its last completion says so.
    fn stop_receiving(&mut self, slot: u32) {
        if self.table.get(slot).is_some_and(|connection| connection.receiving) {
            self.ring.cancel(tag(RECEIVE, slot.into()));
        }
    }

    fn overrun(&mut self, service: &mut Service, slot: u32) {
        service.counters.overrun += 1;
        self.close(slot);
    }

    /// Closes a connection, once the kernel has let go of it: a descriptor that it still receives from stays open.
    fn close(&mut self, slot: u32) {
        let Some(connection) = self.table.get(slot) else {
            return;
        };
        if !connection.closing {
            connection.closing = true;
            if connection.receiving {
                self.ring.cancel(tag(RECEIVE, slot.into()));
            }
            if connection.polling {
                self.ring.cancel(tag(WRITABLE, slot.into()));
            }
            for buffer in connection.waiting.drain(..) {
                self.ring.streams.give(buffer);
            }
            self.budget.give(connection.pending.len());
            connection.pending = Vec::new();
        }
        if connection.sending == self.turn {
            self.behind.push(slot);
        } else if !connection.receiving && !connection.polling {
            self.table.remove(slot);
        }
    }

    fn give(&mut self, buffer: Option<Buffer>) {
        if let Some(buffer) = buffer {
            self.ring.streams.give(buffer);
        }
    }
}
