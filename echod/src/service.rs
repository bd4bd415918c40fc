//! What both engines share: the sockets, the clock, the signals, the counters and when they look after idle connections.

use core::fmt;
use core::time::Duration;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Instant;

use super::options::Options;
use crate::sys::files::to_stderr;
use crate::sys::signal::{self, Signal};
use crate::sys::{Errno, files, inet};

/// Connections that may wait to be accepted; the kernel takes less when net.core.somaxconn is lower.
const BACKLOG: i32 = 4096;
/// Signals blocked and received through signalfd.
const SIGNALS: [Signal; 3] = [Signal::TERM, Signal::INT, Signal::USR1];
/// Idle connections are looked for this often in their time.
const SWEEPS: u32 = 4;
/// Services that answer whatever they get (RFC 862, 867, 864, 865, 868 and TFTP): with one of them on the other side,
/// a datagram with a forged sender would go to and fro for ever.
const ANSWERING: [u16; 6] = [7, 13, 17, 19, 37, 69];

/// How often what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections taken.
    pub accepted: u64,
    /// Connections closed because there were too many.
    pub refused: u64,
    /// Connections closed because nothing moved.
    pub idle: u64,
    /// Connections closed because there was no memory for what they did not take.
    pub overrun: u64,
    /// Bytes sent back by TCP.
    pub bytes: u64,
    /// Datagrams sent back.
    pub datagrams: u64,
    /// Datagrams that were not: answers to answers, too long ones, full queues.
    pub dropped: u64,
    /// Receives that found no buffer and were put off.
    pub starved: u64,
    /// Times the engine waited.
    pub turns: u64,
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counters { accepted, refused, idle, overrun, bytes, datagrams, dropped, starved, turns } = self;
        write!(f, "accepted={accepted} refused={refused} idle={idle} overrun={overrun} bytes={bytes} ")?;
        write!(f, "datagrams={datagrams} dropped={dropped} starved={starved} turns={turns}")
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Go on.
    Nothing,
    /// Stop.
    Stop,
}

/// The service, whichever engine runs it.
pub struct Service {
    /// What was asked for.
    pub options: Options,
    /// Listening TCP sockets.
    pub listeners: Vec<OwnedFd>,
    /// UDP sockets.
    pub datagrams: Vec<OwnedFd>,
    /// Where signals are read.
    pub signals: OwnedFd,
    /// How often what happened.
    pub counters: Counters,
    /// The ports of `datagrams`.
    own_ports: Vec<u16>,
    start: Instant,
    now: Duration,
    next_sweep: Duration,
}

impl Service {
    /// Opens the sockets.
    ///
    /// # Errors
    /// What could not be opened and what to do about it, for people.
    pub fn open(options: Options) -> Result<Service, String> {
        let listeners = options.tcp.iter().map(|&port| open("TCP", options.bind, port, |at| inet::listen(at, BACKLOG)));
        let listeners = listeners.collect::<Result<Vec<_>, _>>()?;
        let datagrams = options.udp.iter().map(|&port| open("UDP", options.bind, port, inet::bind));
        let datagrams = datagrams.collect::<Result<Vec<_>, _>>()?;
        let own_ports = datagrams.iter().filter_map(|fd| Some(inet::address_of(fd).ok()?.port())).collect();
        let signals = signal::block(&SIGNALS).and_then(|()| signal::descriptor(&SIGNALS));
        let signals = signals.map_err(|error| format!("cannot receive signals: {error}"))?;
        let mut service = Service {
            options,
            listeners,
            datagrams,
            signals,
            counters: Counters::default(),
            own_ports,
            start: Instant::now(),
            now: Duration::ZERO,
            next_sweep: Duration::ZERO,
        };
        service.next_sweep = service.sweep_interval().unwrap_or_default();
        Ok(service)
    }

    /// Says where it serves, one line a socket.
    pub fn announce(&self) {
        for (kind, sockets) in [("TCP", &self.listeners), ("UDP", &self.datagrams)] {
            for fd in sockets {
                if let Ok(address) = inet::address_of(fd) {
                    to_stderr(format_args!("echod: {kind} {address}\n"));
                }
            }
        }
    }

    /// Reads the clock; an engine calls it once a turn.
    pub fn tick(&mut self) -> Duration {
        self.counters.turns += 1;
        self.now = self.start.elapsed();
        self.now
    }

    /// The time of the last tick.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// How long an engine may wait; nothing is for ever.
    pub fn patience(&self) -> Option<Duration> {
        self.options.idle_timeout.map(|_| self.next_sweep.saturating_sub(self.now).max(Duration::from_millis(1)))
    }

    /// The idle timeout, when it is time to look for idle connections.
    pub fn sweep(&mut self) -> Option<Duration> {
        let interval = self.sweep_interval()?;
        if self.now < self.next_sweep {
            return None;
        }
        self.next_sweep = self.now.saturating_add(interval);
        self.options.idle_timeout
    }

    fn sweep_interval(&self) -> Option<Duration> {
        self.options.idle_timeout.map(|timeout| timeout / SWEEPS)
    }

    /// Reads the signals that came.
    pub fn read_signals(&mut self) -> Request {
        // Room for one: the descriptor stays ready for the next.
        let mut record = [0; 128];
        let Ok(count) = files::read(&self.signals, &mut record) else {
            return Request::Nothing;
        };
        match signal::received(record.get(..count).unwrap_or_default()).next() {
            Some(Signal::USR1) => {
                to_stderr(format_args!("echod: {}\n", self.counters));
                Request::Nothing
            }
            Some(_) => Request::Stop,
            None => Request::Nothing,
        }
    }

    /// Whether a datagram from this port is answered.
    pub fn answers(&self, port: u16) -> bool {
        port != 0 && !ANSWERING.contains(&port) && !self.own_ports.contains(&port)
    }
}

/// Opens a socket on all addresses, or on the one that is asked for.
fn open(
    kind: &str,
    ip: Option<IpAddr>,
    port: u16,
    socket: impl Fn(SocketAddr) -> crate::sys::Result<OwnedFd>,
) -> Result<OwnedFd, String> {
    let address = SocketAddr::new(ip.unwrap_or(Ipv6Addr::UNSPECIFIED.into()), port);
    let opened = match socket(address) {
        // A kernel without IPv6.
        Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if ip.is_none() => {
            socket(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
        }
        result => result,
    };
    opened.map_err(|error| format!("cannot listen on {kind} {address}: {error}\nhint: {}", hint(error)))
}

fn hint(error: Errno) -> &'static str {
    match error {
        Errno::ACCESS => {
            "ports below 1024 need root or the capability net_bind_service; choose others by --tcp and --udp"
        }
        Errno::ADDRINUSE => "another program has the port; choose another by --tcp and --udp",
        Errno::ADDRNOTAVAIL => "give --bind an address of this machine",
        _ => "see --help for the choice of ports and addresses",
    }
}

/// The port in a `sockaddr_in` or `sockaddr_in6`: both have it, in network order, after two bytes.
pub fn port_of(name: &[u8]) -> u16 {
    match name {
        [_, _, high, low, ..] => u16::from_be_bytes([*high, *low]),
        _ => 0,
    }
}

/// Whether an error of accept(2) ends the listening socket; all others are of one connection or pass.
pub fn ends_listening(error: Errno) -> bool {
    matches!(error, Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::OPNOTSUPP | Errno::FAULT)
}

/// Whether an error of accept(2) says that something is short, so that the next try waits a little.
pub fn is_shortage(error: Errno) -> bool {
    matches!(error, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Service {
        let bind = Some(Ipv4Addr::LOCALHOST.into());
        Service::open(Options { tcp: vec![0], udp: vec![0], bind, ..Options::default() }).unwrap()
    }

    #[test]
    fn services_that_answer_are_not_answered() {
        let service = service();
        let own = inet::address_of(&service.datagrams[0]).unwrap().port();
        for port in [0, 7, 19, own] {
            assert!(!service.answers(port), "{port}");
        }
        assert!(service.answers(own.wrapping_add(1).max(1024)));
    }

    #[test]
    fn the_port_of_both_families() {
        assert_eq!(port_of(&[2, 0, 0x1e, 0x61, 127, 0, 0, 1]), 7777);
        assert_eq!(port_of(&[2, 0, 1]), 0);
    }

    #[test]
    fn sweeps_come_four_times_in_the_timeout() {
        let mut service = service();
        service.options.idle_timeout = Some(Duration::from_secs(8));
        service.next_sweep = Duration::from_secs(2);
        service.now = Duration::from_millis(500);
        assert_eq!(service.patience(), Some(Duration::from_millis(1500)));
        assert_eq!(service.sweep(), None);
        service.now = Duration::from_secs(2);
        assert_eq!(service.sweep(), Some(Duration::from_secs(8)));
        assert_eq!(service.patience(), Some(Duration::from_secs(2)));
        service.options.idle_timeout = None;
        assert_eq!((service.patience(), service.sweep()), (None, None));
    }

    #[test]
    fn a_taken_port_is_said() {
        let service = service();
        let port = inet::address_of(&service.listeners[0]).unwrap().port();
        let bind = Some(Ipv4Addr::LOCALHOST.into());
        let options = Options { tcp: vec![port], udp: vec![], bind, ..Options::default() };
        let error = Service::open(options).err().unwrap();
        assert!(error.contains("another program has the port"), "{error}");
    }
}
