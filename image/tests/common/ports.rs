//! Which ports of a host are open, as a stranger sees them: one that is closed refuses.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::network::{MANY, MANY6};

/// Ports that are asked at the same time: many, because a question that is lost costs its whole time.
const AT_ONCE: usize = 64;
/// Questions before a port that says nothing counts as open: datagrams and refusals may be lost.
const MOST: usize = 5;
/// The time for a refusal.
const REFUSAL: Duration = Duration::from_secs(1);
/// The time between two questions by UDP: Linux sends a thousand refusals in a second (`icmp_msgs_per_sec`).
const PAUSE: Duration = Duration::from_micros(1250);
/// Refusals that it sends to one address at once (XRLIM_BURST_FACTOR in net/ipv4/icmp.c); after that, one a second.
const BURST: usize = 6;

/// A port of this machine that nobody has.
pub fn free() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The ports of a list that do not refuse a connection.
pub fn tcp(host: IpAddr, ports: &[u16]) -> Result<BTreeSet<u16>> {
    scan(ports, |_, port| {
        let refused = |error: std::io::Error| error.kind() == ErrorKind::ConnectionRefused;
        Ok(!TcpStream::connect_timeout(&SocketAddr::new(host, port), REFUSAL).is_err_and(refused))
    })
}

/// The ports of a list that do not refuse a datagram. A closed one is refused by ICMP, of which a host sends few to one
/// address: each question comes from another one of this side's many.
pub fn udp(host: IpAddr, ports: &[u16]) -> Result<BTreeSet<u16>> {
    let next = Mutex::new(Instant::now());
    scan(ports, |question, port| {
        wait_for_turn(&next);
        let socket =
            UdpSocket::bind((source(host, question / BURST), 0)).context("cannot bind to one of many addresses")?;
        socket.connect((host, port))?;
        socket.set_read_timeout(Some(REFUSAL))?;
        socket.send(b"anybody?")?;
        let refused = |error: std::io::Error| error.kind() == ErrorKind::ConnectionRefused;
        Ok(!socket.recv(&mut [0; 64]).is_err_and(refused))
    })
}

/// Waits until the next question may be asked.
fn wait_for_turn(next: &Mutex<Instant>) {
    let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
    let turn = (*next).max(Instant::now());
    *next = turn + PAUSE;
    drop(next);
    std::thread::sleep(turn.saturating_duration_since(Instant::now()));
}

/// One of this side's many addresses.
fn source(host: IpAddr, number: usize) -> IpAddr {
    // The first address of a network is no host's.
    let number = number as u16 + 1;
    match host {
        IpAddr::V4(_) => (u32::from(MANY) + u32::from(number)).to_be_bytes().into(),
        IpAddr::V6(_) => (u128::from(MANY6) + u128::from(number)).to_be_bytes().into(),
    }
}

/// Asks each port until it refuses, and returns those that never do. The question's number goes to `is_open`, too.
fn scan(ports: &[u16], is_open: impl Fn(usize, u16) -> Result<bool> + Sync) -> Result<BTreeSet<u16>> {
    let mut left: Vec<u16> = ports.to_vec();
    let asked = AtomicUsize::new(0);
    for _ in 0..MOST {
        let (next, open) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = || -> Result<()> {
            while let Some(port) = left.get(next.fetch_add(1, Ordering::Relaxed)) {
                if is_open(asked.fetch_add(1, Ordering::Relaxed), *port)? {
                    open.lock().unwrap_or_else(PoisonError::into_inner).push(*port);
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().ok().context("a scan panicked")?)
        })?;
        left = open.into_inner().unwrap_or_else(PoisonError::into_inner);
    }
    Ok(left.into_iter().collect())
}
