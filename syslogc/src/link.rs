//! The connection to the server.

use core::time::Duration;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use init_base::sys::socket;

use crate::message::frame;
use crate::queue::Queue;
use crate::server::{Server, Transport};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// A datagram that nobody refused for so long counts as taken.
const SETTLED: Duration = Duration::from_secs(2);

/// A connection.
pub enum Link {
    /// Datagrams.
    Udp(UdpSocket),
    /// A stream.
    Tcp(Stream),
}

/// A stream, and how much of it was written.
pub struct Stream {
    stream: TcpStream,
    written: u64,
    /// The rest of a frame that was begun.
    rest: Vec<u8>,
}

impl Link {
    /// Connects; waits at most some seconds for each of the server's addresses.
    ///
    /// # Errors
    /// Why there is no connection, for people.
    pub fn open(server: &Server) -> Result<Link, String> {
        let mut last = String::new();
        for address in server.addresses()? {
            let link = match server.transport {
                Transport::Udp => udp(address).map(Link::Udp),
                Transport::Tcp => tcp(address).map(Link::Tcp),
            };
            match link {
                Ok(link) => return Ok(link),
                Err(error) => last = error.to_string(),
            }
        }
        Err(last)
    }

    /// Sends what the connection takes now.
    ///
    /// # Errors
    /// It is broken. What nobody has acknowledged stays in the queue.
    pub fn send(&mut self, queue: &mut Queue, now: Duration) -> std::io::Result<()> {
        match self {
            Link::Udp(socket) => send_datagrams(socket, queue, now),
            Link::Tcp(stream) => stream.send(queue, now),
        }
    }

    /// Takes what the server sends, which nobody needs, and learns that the connection ended.
    ///
    /// # Errors
    /// It did.
    pub fn receive(&mut self) -> std::io::Result<()> {
        let mut block = [0; 512];
        let received = match self {
            Link::Udp(socket) => socket.recv(&mut block).map(|_| 1),
            Link::Tcp(stream) => stream.stream.read(&mut block),
        };
        match received {
            Ok(0) => Err(ErrorKind::ConnectionAborted.into()),
            Ok(_) => Ok(()),
            Err(error) if is_later(error.kind()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Tells the queue what has arrived. `is_broken` is whether [`Link::receive`] or [`Link::send`] has just failed: a refusal concerns
    /// any datagram of which nothing is known yet, however long ago it was sent, since it may have waited for this process.
    pub fn settle(&mut self, queue: &mut Queue, now: Duration, is_broken: bool) {
        match self {
            Link::Udp(_) if is_broken => {}
            Link::Udp(_) => queue.settle(now.saturating_sub(SETTLED)),
            Link::Tcp(stream) => {
                // Also the frame that was begun is not acknowledged before its end is written.
                let open = socket::unacknowledged(&stream.stream).unwrap_or(u64::MAX);
                queue.acknowledge(stream.written.saturating_sub(open));
            }
        }
    }

    /// Whether it waits for room.
    pub fn is_full(&self) -> bool {
        matches!(self, Link::Tcp(stream) if !stream.rest.is_empty())
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Link::Udp(socket) => socket.as_fd(),
            Link::Tcp(stream) => stream.stream.as_fd(),
        }
    }
}

fn udp(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    // Connected, so that the kernel tells of a port that nobody listens at.
    socket.connect(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn tcp(address: SocketAddr) -> std::io::Result<Stream> {
    let stream = TcpStream::connect_timeout(&address, CONNECT)?;
    stream.set_nonblocking(true)?;
    Ok(Stream { stream, written: 0, rest: Vec::new() })
}

fn send_datagrams(socket: &UdpSocket, queue: &mut Queue, now: Duration) -> std::io::Result<()> {
    while let Some(message) = queue.next() {
        match socket.send(message) {
            Ok(_) => queue.next_is_sent(0, now),
            Err(error) if is_later(error.kind()) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Stream {
    fn send(&mut self, queue: &mut Queue, now: Duration) -> std::io::Result<()> {
        loop {
            while !self.rest.is_empty() {
                match self.stream.write(&self.rest) {
                    Ok(count) => {
                        self.written += count as u64;
                        self.rest.drain(..count);
                    }
                    Err(error) if is_later(error.kind()) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            let Some(message) = queue.next() else { return Ok(()) };
            self.rest = frame(message);
            queue.next_is_sent(self.written + self.rest.len() as u64, now);
        }
    }
}

fn is_later(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_that_is_read_late_concerns_what_was_sent() {
        // A port that nobody listens at.
        let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut link = Link::open(&Server::parse(&format!("udp://127.0.0.1:{port}")).unwrap()).unwrap();
        let mut queue = Queue::default();
        queue.push(b"one".to_vec());
        link.send(&mut queue, Duration::ZERO).unwrap();
        // Loopback has brought the refusal when the send returns; this process reads it ten seconds later.
        let received = link.receive();
        assert_eq!(received.as_ref().map_err(std::io::Error::kind), Err(ErrorKind::ConnectionRefused));
        link.settle(&mut queue, Duration::from_secs(10), received.is_err());
        queue.take_back();
        assert_eq!(queue.next(), Some(&b"one"[..]));
    }
}
