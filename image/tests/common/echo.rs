//! A client of the echo service (RFC 862): messages of many lengths, each compared with its answer.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::limit;

/// The service's port.
pub const PORT: u16 = 7;
/// Messages over each protocol.
pub const MESSAGES: usize = 10_000;
/// Seconds without an answer by which TCP is taken for dead.
const SILENCE: f64 = 30.0;
/// The longest message: one packet of Ethernet, also with IPv6.
const LONGEST: usize = 1400;
/// Datagrams without an answer at a time: fewer than a card's queue holds.
const WINDOW: usize = 16;
/// After so long a datagram is taken for lost.
const LOST: Duration = Duration::from_millis(500);
/// One datagram of so many may be lost.
const MOST_LOST: usize = 10;

/// Figures of an exchange.
#[derive(Debug)]
pub struct Figures {
    /// Messages that came back as they were sent.
    pub messages: usize,
    /// Datagrams that were sent again.
    pub again: usize,
    /// The time for all.
    pub time: Duration,
}

/// Whether somebody answers at a host's port; a short look.
pub fn is_up(host: IpAddr) -> bool {
    answers_at(SocketAddr::new(host, PORT), Duration::from_secs(2))
}

/// Whether somebody answers at a port of this machine. QEMU takes the connection before its guest can, so the look is shorter.
pub fn answers(port: u16) -> bool {
    answers_at(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port), Duration::from_millis(500))
}

fn answers_at(address: SocketAddr, patience: Duration) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_millis(500)) else { return false };
    let _ = stream.set_read_timeout(Some(patience));
    let mut answer = [0; 2];
    stream.write_all(b"up").is_ok() && stream.read_exact(&mut answer).is_ok() && answer == *b"up"
}

/// Message number `n`: its number, and bytes that follow from it.
fn message(n: usize) -> Vec<u8> {
    // xorshift64 (Marsaglia 2003), never from 0.
    let mut state = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let length = next() as usize % (LONGEST - 8);
    let mut bytes = (n as u64).to_be_bytes().to_vec();
    bytes.extend((0..length).map(|_| next() as u8));
    bytes
}

/// Sends messages over one connection, while the answers are read.
pub fn tcp(host: IpAddr, count: usize) -> Result<Figures> {
    let begin = Instant::now();
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(host, PORT), limit(SILENCE))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(limit(SILENCE)))?;
    stream.set_write_timeout(Some(limit(SILENCE)))?;
    let mut writer = stream.try_clone()?;
    let sender = std::thread::spawn(move || (0..count).try_for_each(|n| writer.write_all(&message(n))));
    for n in 0..count {
        let wanted = message(n);
        let mut answer = vec![0; wanted.len()];
        stream.read_exact(&mut answer).with_context(|| format!("no answer by TCP to message {n} of {host}"))?;
        ensure!(answer == wanted, "TCP message {n} came back from {host} with other bytes");
    }
    sender.join().ok().context("the sender panicked")??;
    Ok(Figures { messages: count, again: 0, time: begin.elapsed() })
}

/// Sends datagrams, some at a time; those that are lost are sent again.
pub fn udp(host: IpAddr, count: usize) -> Result<Figures> {
    let begin = Instant::now();
    let any: IpAddr = if host.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect((host, PORT))?;
    socket.set_read_timeout(Some(LOST))?;
    let (mut next, mut waiting, mut again) = (0, Vec::new(), 0);
    let mut buffer = [0; LONGEST + 1];
    while next < count || !waiting.is_empty() {
        while next < count && waiting.len() < WINDOW {
            socket.send(&message(next))?;
            waiting.push(next);
            next += 1;
        }
        match socket.recv(&mut buffer) {
            Ok(length) => {
                let answer = &buffer[..length];
                let number = answer.first_chunk().context("an answer by UDP has no number")?;
                let n = u64::from_be_bytes(*number) as usize;
                ensure!(n < next && answer == message(n), "UDP message {n} came back from {host} with other bytes");
                waiting.retain(|sent| *sent != n); // The second answer to one that was sent again finds nothing.
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                again += waiting.len();
                ensure!(again <= count / MOST_LOST, "{again} datagrams of {next} to {host} were lost");
                for n in &waiting {
                    socket.send(&message(*n))?;
                }
            }
            Err(error) => bail!("cannot receive from {host}: {error}"),
        }
    }
    Ok(Figures { messages: count, again, time: begin.elapsed() })
}
