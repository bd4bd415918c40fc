//! What a DHCP server gave an interface, in a file below [`DIR`]: for people and for programs that show it. `dhcpc` writes it, and
//! removes it with the lease.
//!
//! A line is `KEY=VALUE`, with blanks between the values of a list; what the server did not tell has no line. Times are seconds
//! since the machine's start, which no change of the clock moves.

use core::net::Ipv4Addr;
use core::str::FromStr;
use std::fmt::Write;

use crate::host_name;
use crate::sys::{Errno, Result, files};

/// Where the files are, each with the name of its interface.
pub const DIR: &str = "/run/dhcp";
/// Values of a list that count: a message of DHCP has room for some hundred.
const MOST: usize = 64;

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Bits of its network's prefix.
    pub length: u8,
    /// The server.
    pub server: Option<Ipv4Addr>,
    /// When it was got or renewed last.
    pub bound: u64,
    /// When its server is asked for more time.
    pub renew: u64,
    /// When everyone is.
    pub rebind: u64,
    /// When it ends; nothing is never.
    pub end: Option<u64>,
    /// Routers, the best first.
    pub routers: Vec<Ipv4Addr>,
    /// Name servers.
    pub name_servers: Vec<Ipv4Addr>,
    /// Servers of NTP (option 42, RFC 2132, section 8.3).
    pub ntp_servers: Vec<Ipv4Addr>,
    /// Servers that take logs (option 7, RFC 2132, section 3.9).
    pub log_servers: Vec<Ipv4Addr>,
    /// Domains in which short names are looked for.
    pub domains: Vec<String>,
    /// The machine's name.
    pub host_name: Option<String>,
}

impl Lease {
    /// The text of the file.
    pub fn text(&self) -> String {
        let mut text = format!("address={}/{}\n", self.address, self.length);
        let mut line = |key: &str, value: &dyn core::fmt::Display| {
            // Writing to memory does not fail.
            let _ = writeln!(text, "{key}={value}");
        };
        if let Some(server) = &self.server {
            line("server", server);
        }
        line("bound", &self.bound);
        line("renew", &self.renew);
        line("rebind", &self.rebind);
        if let Some(end) = &self.end {
            line("end", end);
        }
        let lists = [
            ("routers", &self.routers),
            ("name-servers", &self.name_servers),
            ("ntp-servers", &self.ntp_servers),
            ("log-servers", &self.log_servers),
        ];
        for (key, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            line(key, &list.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(" "));
        }
        if !self.domains.is_empty() {
            line("domains", &self.domains.join(" "));
        }
        if let Some(name) = &self.host_name {
            line("host-name", name);
        }
        text
    }

    /// Reads the text of a file; nothing when it has no address. Keys of later versions are passed over.
    pub fn parse(text: &str) -> Option<Lease> {
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let number = |key| value(key).and_then(|text| text.parse().ok());
        let (address, length) = value("address")?.split_once('/')?;
        let bound = number("bound").unwrap_or(0);
        Some(Lease {
            address: address.parse().ok()?,
            length: length.parse().ok().filter(|length| *length <= 32)?,
            server: value("server").and_then(|text| text.parse().ok()),
            bound,
            renew: number("renew").unwrap_or(bound),
            rebind: number("rebind").unwrap_or(bound),
            end: number("end"),
            routers: list(value("routers")),
            name_servers: list(value("name-servers")),
            ntp_servers: list(value("ntp-servers")),
            log_servers: list(value("log-servers")),
            domains: list(value("domains")),
            host_name: value("host-name").filter(|name| host_name::is_valid(name)).map(String::from),
        })
    }

    /// The lease of an interface, if it has one.
    pub fn read(interface: &str) -> Option<Lease> {
        let content = files::read_file(&format!("{DIR}/{interface}")).ok()?;
        Lease::parse(&String::from_utf8_lossy(&content))
    }

    /// Writes the file of an interface.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, interface: &str) -> Result<()> {
        match files::make_dir(DIR, 0o755) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        files::replace_file(&format!("{DIR}/{interface}"), 0o644, self.text().as_bytes(), false)
    }
}

/// The leases of all interfaces, in the order of their names.
pub fn all() -> Vec<Lease> {
    let names = files::list_dir(DIR).unwrap_or_default();
    names.iter().filter_map(|name| Lease::read(name)).collect()
}

/// Removes the file of an interface.
///
/// # Errors
/// Those of the file system; a file that is not there is none.
pub fn remove(interface: &str) -> Result<()> {
    match files::remove(&format!("{DIR}/{interface}")) {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}

fn list<T: FromStr>(text: Option<&str>) -> Vec<T> {
    let words = text.unwrap_or_default().split_ascii_whitespace();
    words.filter_map(|word| word.parse().ok()).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> Lease {
        let address = |last| Ipv4Addr::new(10, 0, 2, last);
        Lease {
            address: address(15),
            length: 24,
            server: Some(address(2)),
            bound: 4,
            renew: 1804,
            rebind: 3154,
            end: Some(3604),
            routers: vec![address(2)],
            name_servers: vec![address(3), address(4)],
            ntp_servers: vec![address(5)],
            log_servers: vec![],
            domains: vec!["a.org".into(), "b.org".into()],
            host_name: Some("iron".into()),
        }
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let text = "address=10.0.2.15/24\nserver=10.0.2.2\nbound=4\nrenew=1804\nrebind=3154\nend=3604\nrouters=10.0.2.2\n\
                    name-servers=10.0.2.3 10.0.2.4\nntp-servers=10.0.2.5\ndomains=a.org b.org\nhost-name=iron\n";
        assert_eq!(lease().text(), text);
        assert_eq!(Lease::parse(text), Some(lease()));
        let least = Lease { server: None, end: None, host_name: None, domains: vec![], ..lease() };
        assert_eq!(Lease::parse(&least.text()), Some(least));
    }

    #[test]
    fn other_texts() {
        for text in ["", "address=", "address=10.0.2.15", "address=10.0.2.15/33", "server=10.0.2.2"] {
            assert_eq!(Lease::parse(text), None, "{text}");
        }
        let odd =
            Lease::parse("address=10.0.2.15/24\nserver=x\nend=-1\nrouters=x 10.0.2.2\nhost-name=a b\nnew=1\n").unwrap();
        assert_eq!((odd.server, odd.end, odd.routers.len(), odd.host_name), (None, None, 1, None));
    }
}
