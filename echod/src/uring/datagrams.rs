//! UDP of the engine on io_uring: one multishot receive for each socket; a datagram goes back out of its buffer, in which
//! the kernel has put its sender too.

use core::time::Duration;

use super::tags::{ANSWERED, DATAGRAMS, tag};
use crate::service::{Service, port_of};
use crate::sys::Result;
use crate::sys::provided::Buffer;
use crate::sys::socket_ring::{Completion, Datagram, SocketRing};

/// Buffers, if there is a socket.
const BUFFERS: u16 = 64;
/// Bytes of one. The longest UDP payload is 65,507 bytes by IPv4 and 65,527 by IPv6.
const SIZE: u32 = 65_536;
/// How soon to receive again after an error: no buffer, no memory, or an earlier answer that nobody wanted.
const RETRY: Duration = Duration::from_millis(1);

/// The datagrams on their way back.
pub struct Datagrams {
    /// Buffers that are being sent, by number.
    sending: Vec<Option<Buffer>>,
    /// Which sockets the kernel receives from.
    receiving: Vec<bool>,
}

/// How many buffers of which size are needed.
pub fn buffers(service: &Service) -> (u16, u32) {
    if service.datagrams.is_empty() { (1, 1) } else { (BUFFERS, SIZE) }
}

impl Datagrams {
    /// Nothing is received yet.
    pub fn new(service: &Service) -> Datagrams {
        let sending = (0..buffers(service).0).map(|_| None).collect();
        Datagrams { sending, receiving: vec![false; service.datagrams.len()] }
    }

    /// Receives from all sockets.
    pub fn receive(&mut self, ring: &mut SocketRing, service: &Service) {
        for ((fd, on), number) in service.datagrams.iter().zip(&mut self.receiving).zip(0..) {
            if !core::mem::replace(on, true) {
                ring.receive_datagrams(fd, tag(DATAGRAMS, number));
            }
        }
    }

    /// Sends back what came; returns after which time to call [`Datagrams::receive`] if the kernel has stopped.
    pub fn received(
        &mut self,
        ring: &mut SocketRing,
        service: &mut Service,
        socket: u32,
        completion: &Completion,
    ) -> Option<Duration> {
        let stopped = self.receiving.get_mut(socket as usize).filter(|_| !completion.more);
        let again = stopped.map(|on| {
            *on = false;
            if completion.result.is_err() { RETRY } else { Duration::ZERO }
        });
        if let Some(datagram) = ring.datagram(completion) {
            self.answer(ring, service, socket, datagram);
        }
        again
    }

    fn answer(&mut self, ring: &mut SocketRing, service: &mut Service, socket: u32, datagram: Datagram) {
        let wanted = !datagram.cut && datagram.source.is_some() && service.answers(port_of(ring.sender(&datagram)));
        match (service.datagrams.get(socket as usize), self.sending.get_mut(usize::from(datagram.buffer.id()))) {
            (Some(fd), Some(place)) if wanted => {
                ring.send_back(fd, &datagram, tag(ANSWERED, datagram.buffer.id().into()));
                *place = Some(datagram.buffer);
            }
            _ => {
                service.counters.dropped += 1;
                ring.datagrams.give(datagram.buffer);
            }
        }
    }

    /// One has gone back, or not.
    pub fn answered(&mut self, ring: &mut SocketRing, service: &mut Service, buffer: u32, result: Result<u32>) {
        let counters = &mut service.counters;
        *(if result.is_ok() { &mut counters.datagrams } else { &mut counters.dropped }) += 1;
        if let Some(buffer) = self.sending.get_mut(buffer as usize).and_then(Option::take) {
            ring.datagrams.give(buffer);
        }
    }
}
