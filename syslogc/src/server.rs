//! Which server: its form in words, and who names it.

use core::fmt;
use std::net::{SocketAddr, ToSocketAddrs};

use init_base::lease::{self, Lease};
use init_base::sys::files;

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A datagram each (RFC 5426).
    Udp,
    /// With their lengths in one stream (RFC 6587, section 3.4.1).
    Tcp,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// How messages travel to it.
    pub transport: Transport,
    /// Its name or address; an IPv6 address without brackets.
    host: String,
    port: u16,
}

impl Server {
    /// Reads `udp://HOST:PORT` or `tcp://HOST:PORT`; without a port it is 514 (RFC 5426, section 3.3), which servers take for TCP too.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(text: &str) -> Result<Server, String> {
        let wrong = || format!("'{text}' is no server\nhint: udp://HOST:PORT or tcp://HOST:PORT");
        let (scheme, place) = text.split_once("://").ok_or_else(wrong)?;
        let transport = match scheme {
            "udp" => Transport::Udp,
            "tcp" => Transport::Tcp,
            _ => return Err(wrong()),
        };
        let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(PORT), |port| port.parse().map_err(|_| wrong()))?;
        let is_host =
            !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte));
        if !is_host || port == 0 {
            return Err(wrong());
        }
        Ok(Server { transport, host: host.into(), port })
    }

    /// Its addresses. A name is looked up anew each time, because the server may have moved.
    ///
    /// # Errors
    /// There is none, for people.
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        let found = (self.host.as_str(), self.port).to_socket_addrs();
        let found: Vec<SocketAddr> = found.map_err(|error| format!("{}: {error}", self.host))?.collect();
        if found.is_empty() { Err(format!("{} has no address", self.host)) } else { Ok(found) }
    }
}

/// The port of syslog.
const PORT: u16 = 514;
/// The settings in force: lines `setting KEY VALUE SOURCE`, with tabs between.
const SETTINGS: &str = "/run/settings";

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.transport == Transport::Udp { "udp" } else { "tcp" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

/// The server that this machine's settings name, else that of a DHCP lease; nothing where nobody names one.
///
/// # Errors
/// The setting is no server, for people.
pub fn find() -> Result<Option<Server>, String> {
    let settings = files::read_file(SETTINGS).unwrap_or_default();
    if let Some(value) = setting(&String::from_utf8_lossy(&settings)) {
        return Server::parse(&value).map(Some).map_err(|error| format!("the setting `syslog`: {error}"));
    }
    let mut interfaces = files::list_dir(lease::DIR).unwrap_or_default();
    interfaces.sort();
    let servers = interfaces.iter().filter_map(|interface| Lease::read(interface)?.log_servers.first().copied());
    Ok(servers.map(|address| Server { transport: Transport::Udp, host: address.to_string(), port: PORT }).next())
}

/// The value of the setting `syslog`.
fn setting(text: &str) -> Option<String> {
    let value = |line: &str| Some(line.strip_prefix("setting\tsyslog\t")?.split('\t').next()?.to_owned());
    text.lines().find_map(value).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_in_words() {
        let back = |text: &str| Server::parse(text).unwrap().to_string();
        assert_eq!(back("udp://10.0.0.1"), "udp://10.0.0.1:514");
        assert_eq!(back("tcp://log.example.org:6514"), "tcp://log.example.org:6514");
        assert_eq!(back("udp://[fd00::1]"), "udp://[fd00::1]:514");
        for bad in
            ["", "10.0.0.1", "udp://", "http://a", "udp://a:0", "udp://a:x", "udp://a b", "tcp://[::1", "udp://a:1:2"]
        {
            assert!(Server::parse(bad).is_err(), "{bad}");
        }
        let addresses = Server::parse("tcp://[::1]:99").unwrap().addresses().unwrap();
        assert_eq!(addresses, ["[::1]:99".parse().unwrap()]);
    }

    #[test]
    fn the_setting() {
        let text = "setting\tsyslogd\tx\ty\nfault\tsyslog\t3\tz\nsetting\tsyslog\tudp://a:5\tBLOOMERY.TXT\n";
        assert_eq!(setting(text).as_deref(), Some("udp://a:5"));
        assert_eq!((setting(""), setting("setting\tsyslog\t\tx\n")), (None, None));
    }
}
