//! Load for `bench/echo`: connections that each send a message, wait for its echo and send the next. One thread, epoll.
//!
//! It prints one line: echoes, seconds, the latency in microseconds at several percentiles, and for how long the oldest message
//! that has not come back yet is on its way. Every echo is compared with what was sent. It ends with an error when nothing
//! comes back for [`SILENCE`], and when one connection had no echo in the whole measured time.

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::epoll;

/// No echo for so long is a hang.
const SILENCE: Duration = Duration::from_secs(10);
/// No echo of one connection for less than this is none, however short the measured time is: the host may be busy.
const MOMENT: Duration = Duration::from_secs(1);
/// Latencies are counted in classes that are 1/16 of their value wide.
const FINENESS: u32 = 4;

const USAGE: &str = "usage: echo_load ADDRESS CONNECTIONS BYTES SECONDS WARMUP-SECONDS";

struct Connection {
    stream: TcpStream,
    /// Bytes of the echo that have come.
    received: usize,
    /// Bytes of the message that have gone.
    sent: usize,
    began: Instant,
}

struct Load {
    connections: Vec<Connection>,
    message: Vec<u8>,
    buffer: Vec<u8>,
    latencies: Vec<u64>,
    echoes: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, connections, bytes, seconds, warmup] = arguments.as_slice() else {
        return Err(USAGE.into());
    };
    let address: SocketAddr = address.parse()?;
    let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut load = Load::connect(address, connections.parse()?, bytes.parse()?, &set)?;
    load.start()?;
    load.run(&set, Duration::from_secs_f64(warmup.parse()?))?;
    load.latencies.fill(0);
    load.echoes = 0;
    let began = Instant::now();
    load.run(&set, Duration::from_secs_f64(seconds.parse()?))?;
    let time = began.elapsed();
    let oldest = load.oldest(time.clamp(MOMENT, SILENCE))?;
    load.report(time, oldest);
    Ok(())
}

impl Load {
    fn connect(
        address: SocketAddr,
        count: u64,
        bytes: usize,
        set: &impl std::os::fd::AsFd,
    ) -> Result<Load, Box<dyn Error>> {
        let mut connections = Vec::new();
        for number in 0..count {
            let stream = TcpStream::connect(address).map_err(|error| format!("connection {number}: {error}"))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll::add(set, &stream, epoll::EventData::new_u64(number), epoll::EventFlags::IN)?;
            connections.push(Connection { stream, received: 0, sent: 0, began: Instant::now() });
        }
        let message = (0..bytes).map(|at| (at % 251) as u8).collect();
        Ok(Load { connections, message, buffer: vec![0; bytes], latencies: vec![0; 2048], echoes: 0 })
    }

    /// Sends the first message of each connection.
    fn start(&mut self) -> Result<(), Box<dyn Error>> {
        for connection in &mut self.connections {
            connection.began = Instant::now();
            connection.sent = connection.stream.write(&self.message)?;
        }
        Ok(())
    }

    fn run(&mut self, set: &impl std::os::fd::AsFd, time: Duration) -> Result<(), Box<dyn Error>> {
        let end = Instant::now() + time;
        let mut events = Vec::with_capacity(1024);
        loop {
            events.clear();
            let limit = rustix::time::Timespec { tv_sec: SILENCE.as_secs() as i64, tv_nsec: 0 };
            let waited = epoll::wait(set, rustix::buffer::spare_capacity(&mut events), Some(&limit));
            if waited.map_err(|error| format!("epoll: {error}"))? == 0 {
                let open = self.connections.len();
                return Err(format!("hang: none of {open} connections got an echo for {SILENCE:?}").into());
            }
            for event in &events {
                let data = event.data;
                self.echo(data.u64() as usize)?;
            }
            if Instant::now() >= end {
                return Ok(());
            }
        }
    }

    /// Takes what came; when it is a whole echo, sends the next message.
    fn echo(&mut self, number: usize) -> Result<(), Box<dyn Error>> {
        let connection = &mut self.connections[number];
        let received = match connection.stream.read(&mut self.buffer) {
            Ok(0) => return Err(format!("connection {number} was closed").into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let expected = self.message.get(connection.received..connection.received + received);
        if expected != Some(&self.buffer[..received]) {
            return Err(format!("connection {number}: the echo differs").into());
        }
        connection.received += received;
        if connection.sent < self.message.len() {
            connection.sent += connection.stream.write(&self.message[connection.sent..])?;
        }
        if connection.received == self.message.len() {
            let now = Instant::now();
            self.latencies[class((now - connection.began).as_nanos() as u64)] += 1;
            self.echoes += 1;
            connection.began = now;
            connection.received = 0;
            connection.sent = connection.stream.write(&self.message)?;
        }
        Ok(())
    }

    /// For how long the message that waits longest is on its way; an error when that is `limit`.
    fn oldest(&self, limit: Duration) -> Result<Duration, String> {
        let ages: Vec<Duration> = self.connections.iter().map(|connection| connection.began.elapsed()).collect();
        let hang = ages.iter().filter(|age| **age >= limit).count();
        let oldest = ages.iter().max().copied().unwrap_or_default();
        if hang > 0 {
            let open = ages.len();
            return Err(format!(
                "hang: {hang} of {open} connections got no echo for {limit:.1?}, one for {oldest:.1?}"
            ));
        }
        Ok(oldest)
    }

    fn report(&self, time: Duration, oldest: Duration) {
        let at = |share: f64| -> f64 {
            let wanted = (self.echoes as f64 * share) as u64;
            let mut seen = 0;
            let found = self.latencies.iter().position(|count| {
                seen += count;
                seen > wanted
            });
            value(found.unwrap_or(0)) as f64 / 1000.0
        };
        let (echoes, seconds) = (self.echoes, time.as_secs_f64());
        print!("echoes={echoes} seconds={seconds:.3}");
        print!(" p50={:.1} p99={:.1} p99.9={:.1}", at(0.5), at(0.99), at(0.999));
        println!(" oldest={:.1}", oldest.as_secs_f64() * 1e6);
    }
}

/// The class of a value: its highest bit and the [`FINENESS`] bits after it.
fn class(value: u64) -> usize {
    let bits = u64::BITS - value.leading_zeros();
    let shift = bits.saturating_sub(FINENESS + 1);
    ((u64::from(shift) << FINENESS) + (value >> shift)) as usize
}

/// The lowest value of a class.
fn value(class: usize) -> u64 {
    let class = class as u64;
    let shift = (class >> FINENESS).saturating_sub(1);
    (class - (shift << FINENESS)) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_connection_that_hangs_among_others_is_seen() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut one, (_other, _)) = (listener.accept().unwrap().0, listener.accept().unwrap());
            let mut bytes = [0; 64];
            while let Ok(count @ 1..) = one.read(&mut bytes) {
                one.write_all(&bytes[..count]).unwrap();
            }
        });
        let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let mut load = Load::connect(address, 2, 64, &set).unwrap();
        load.start().unwrap();
        let time = Duration::from_millis(200);
        load.run(&set, time).unwrap();
        assert!(load.echoes > 0);
        let error = load.oldest(time).unwrap_err();
        assert!(error.starts_with("hang: 1 of 2 connections"), "{error}");
        drop(load);
        server.join().unwrap();
    }

    #[test]
    fn classes_are_narrow_and_in_order() {
        for exact in [0, 1, 15, 16, 31, 32, 33, 1_000, 123_456, 10_000_000_000] {
            let lowest = value(class(exact));
            assert!(lowest <= exact && exact - lowest <= exact / 16, "{exact}: {lowest}");
        }
    }
}
