//! Asks servers, one datagram each.

use core::time::Duration;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use init_base::sys::random;

use crate::clock::Sample;
use crate::message::{self, Refusal, SIZE, Time};

/// The port of servers (RFC 5905, section 16).
const PORT: u16 = 123;
/// How long an answer is waited for.
const LIMIT: Duration = Duration::from_secs(2);
/// Servers that are asked at a time.
const MOST: usize = 8;

/// An answer that counts.
#[derive(Debug)]
pub struct Answer {
    /// The server, as it was named.
    pub server: String,
    /// What it said.
    pub sample: Sample,
}

/// Asks each server once.
///
/// # Errors
/// When none answers: what went wrong with each of them.
pub fn ask(servers: &[String]) -> Result<Vec<Answer>, String> {
    let mut faults = Vec::new();
    let mut answers = Vec::new();
    for server in servers.iter().take(MOST) {
        match ask_one(server) {
            Ok(sample) => answers.push(Answer { server: server.clone(), sample }),
            Err(fault) => faults.push(format!("{server}: {fault}")),
        }
    }
    if answers.is_empty() { Err(faults.join("; ")) } else { Ok(answers) }
}

fn ask_one(server: &str) -> Result<Sample, String> {
    let address = address(server)?;
    let own = match address.ip() {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((own, 0)).map_err(|error| error.to_string())?;
    // Packets of others are dropped by the kernel.
    socket.connect(address).map_err(|error| error.to_string())?;
    let nonce = random::seed().map(|bytes| u64::from_ne_bytes(core::array::from_fn(|byte| bytes[byte])));
    let nonce = nonce.map_err(|error| format!("no random number: {error}"))?;
    let asked = now();
    socket.send(&message::question(nonce)).map_err(|error| error.to_string())?;
    receive(&socket, nonce, asked)
}

fn receive(socket: &UdpSocket, nonce: u64, asked: Time) -> Result<Sample, String> {
    let end = Instant::now() + LIMIT;
    let mut packet = [0; SIZE];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("no answer".into());
        }
        socket.set_read_timeout(Some(left)).map_err(|error| error.to_string())?;
        let count = match socket.recv(&mut packet) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.to_string()),
        };
        let answered = now();
        match message::answer(packet.get(..count).unwrap_or_default(), nonce) {
            Ok(reply) => return Ok(Sample::new(asked, reply, answered)),
            Err(Refusal::Stray) => {}
            Err(Refusal::NotSynchronised) => return Err("it does not know the time itself".into()),
            Err(Refusal::GoAway) => return Err("it does not want to be asked".into()),
        }
    }
}

/// The first address of a server.
fn address(server: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = server.parse() {
        return Ok(address);
    }
    if let Ok(ip) = server.parse::<IpAddr>() {
        return Ok((ip, PORT).into());
    }
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| format!("'{port}' is no port"))?),
        None => (server, PORT),
    };
    let mut found = (host, port).to_socket_addrs().map_err(|_| String::from("the name is not known"))?;
    found.next().ok_or_else(|| "the name has no address".into())
}

fn now() -> Time {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("10.0.0.1", "10.0.0.1:123"),
            ("10.0.0.1:1123", "10.0.0.1:1123"),
            ("fd00::1", "[fd00::1]:123"),
            ("[fd00::1]:9", "[fd00::1]:9"),
            ("localhost:7", "127.0.0.1:7"),
        ] {
            let found = address(text).unwrap();
            assert!(found.to_string() == expected || text.starts_with("localhost") && found.port() == 7, "{found}");
        }
        assert_eq!(address("localhost:x"), Err("'x' is no port".into()));
    }

    #[test]
    fn a_server_answers() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let name = server.local_addr().unwrap().to_string();
        let answering = std::thread::spawn(move || {
            let mut packet = [0; SIZE];
            let (_, client) = server.recv_from(&mut packet).unwrap();
            let nonce: [u8; 8] = packet[40..].try_into().unwrap();
            // A stray answer comes first.
            let mut reply = [0; SIZE];
            reply[0] = 4 << 3 | 4;
            reply[1] = 3;
            server.send_to(&reply, client).unwrap();
            reply[24..32].copy_from_slice(&nonce);
            let stamp = ((now().as_secs() + 2_208_988_800 + 100) << 32).to_be_bytes();
            reply[32..40].copy_from_slice(&stamp);
            reply[40..48].copy_from_slice(&stamp);
            server.send_to(&reply, client).unwrap();
        });
        let answers = ask(&[name.clone(), "localhost:x".into()]).unwrap();
        answering.join().unwrap();
        assert_eq!((answers.len(), answers[0].server.as_str(), answers[0].sample.stratum), (1, name.as_str(), 3));
        assert!((98_000_000_000..101_000_000_000).contains(&answers[0].sample.offset), "{answers:?}");
        assert!(ask(&["localhost:x".into()]).unwrap_err().contains("localhost:x: 'x' is no port"));
    }
}
