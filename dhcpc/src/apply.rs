//! What a lease changes on this machine: the interface's address, routes and packet size by rtnetlink(7), and files below
//! `/run/resolv` for the resolver and for init, which takes the address away where the client cannot any more. All that the server
//! told is in a file below `/run/dhcp`.

use core::net::{IpAddr, Ipv4Addr};

use init_base::rtnetlink::{self, Message, Prefix, Route};
use init_base::sys::netlink::{Protocol, Socket};
use init_base::sys::{Errno, Result};
use init_base::{lease, resolv};

use crate::client::Lease;
use crate::message::Offer;

/// The interface, and what it was given.
pub struct Interface {
    name: String,
    index: u32,
    metric: u32,
    /// Whether the server says how large packets are.
    takes_mtu: bool,
    socket: Socket,
    sequence: u32,
    given: Option<Given>,
}

/// What was given by a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Given {
    address: Prefix,
    routes: Vec<Route>,
}

impl Interface {
    /// The interface of this name and number. What a client before this one gave it is taken away.
    ///
    /// # Errors
    /// The kernel has no rtnetlink.
    pub fn new(name: &str, index: u32, metric: u32, takes_mtu: bool) -> Result<Interface> {
        let socket = Socket::open(Protocol::Route, &[])?;
        // Without it there is the error number.
        let _ = socket.explain_errors();
        let given = Given::parse(&resolv::part(&format!("lease.{name}")));
        let mut interface = Interface { name: name.into(), index, metric, takes_mtu, socket, sequence: 0, given };
        interface.unbind();
        Ok(interface)
    }

    /// Gives the interface what the lease says; what an earlier one gave besides is taken away. What fails is the result, for
    /// people.
    pub fn bind(&mut self, lease: &Lease) -> Vec<String> {
        let offer = &lease.offer;
        let given = Given { address: prefix(offer.address, offer.length), routes: routes(offer, self.metric) };
        let mut faults = Vec::new();
        if self.given.as_ref() != Some(&given) {
            self.unbind();
        }
        // The name servers first: they are there when the address is.
        faults.extend(self.resolver(&lines(offer, &resolv::part(&format!("static.{}", self.name)))));
        if let Some(mtu) = offer.mtu.filter(|_| self.takes_mtu) {
            let set = self.ask(|sequence, index| rtnetlink::set_mtu(sequence, index, mtu.into()));
            faults.extend(set.err().map(|error| format!("cannot set the size of packets to {mtu}: {error}")));
        }
        let added = self.ask(|sequence, index| rtnetlink::change_address(sequence, index, given.address, true));
        faults.extend(added.err().map(|error| format!("cannot add {}: {error}", offer.address)));
        // Also with the lease of before: an interface that was set down and up again has its address, and no routes.
        for route in &given.routes {
            match self.ask(|sequence, index| rtnetlink::change_dhcp_route(sequence, index, route, true)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => faults.push(format!("cannot add {}: {error}", describe(route))),
            }
        }
        let told = resolv::replace(&format!("lease.{}", self.name), &given.text());
        faults.extend(told.err().map(|error| format!("cannot write the lease below {}: {error}", resolv::DIR)));
        let shown = file_of(lease).write(&self.name);
        faults.extend(shown.err().map(|error| format!("cannot write the lease below {}: {error}", lease::DIR)));
        self.given = Some(given);
        faults
    }

    /// Takes away what a lease gave.
    pub fn unbind(&mut self) {
        let Some(given) = self.given.take() else { return };
        // What is gone with its interface, or by another hand, is no fault.
        for route in &given.routes {
            let _ = self.ask(|sequence, index| rtnetlink::change_dhcp_route(sequence, index, route, false));
        }
        let _ = self.ask(|sequence, index| rtnetlink::change_address(sequence, index, given.address, false));
        let _ = resolv::replace(&format!("lease.{}", self.name), "");
        let _ = lease::remove(&self.name);
        let _ = self.resolver("");
    }

    /// Writes lines for the resolver.
    fn resolver(&self, lines: &str) -> Option<String> {
        let written = resolv::replace(&format!("dhcp.{}", self.name), lines).and_then(|()| resolv::put_together());
        written.err().map(|error| format!("cannot write name servers below {}: {error}", resolv::DIR))
    }

    /// A request to the kernel, which has answered when the call returns.
    fn ask(&mut self, message: impl Fn(u32, u32) -> Vec<u8>) -> Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&message(self.sequence, self.index))?;
        let mut buffer = Vec::with_capacity(1024);
        while let Some(received) = self.socket.receive(&mut buffer)? {
            for message in rtnetlink::decode(buffer.get(..received.length).unwrap_or_default()) {
                match message {
                    Message::Answer { sequence, error } if sequence == self.sequence => {
                        return error.map_or(Ok(()), |(error, _)| Err(error));
                    }
                    _ => {}
                }
            }
        }
        Err(Errno::BADMSG)
    }
}

impl Given {
    /// A line: the address, which init reads, then `NETWORK GATEWAY METRIC` for each route.
    fn text(&self) -> String {
        let mut text = format!("{}/{}", self.address.address, self.address.length);
        for route in &self.routes {
            let to = route.to.map_or("0.0.0.0/0".into(), |to| format!("{}/{}", to.address, to.length));
            let via = route.via.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            text += &format!(" {to} {via} {}", route.metric);
        }
        text + "\n"
    }

    /// Nothing for the text of another program.
    fn parse(text: &str) -> Option<Given> {
        let mut words = text.split_ascii_whitespace();
        let address = parse_prefix(words.next()?)?;
        let mut routes = Vec::new();
        while let Some(to) = words.next() {
            let (network, length) = (parse_prefix(to)?, to.ends_with("/0"));
            let via: Ipv4Addr = words.next()?.parse().ok()?;
            routes.push(route((!length).then_some(network), via, words.next()?.parse().ok()?));
        }
        Some(Given { address, routes })
    }
}

/// All that the server told, for the file.
fn file_of(lease: &Lease) -> lease::Lease {
    let Lease { offer, server, bound, renew, rebind, end } = lease;
    lease::Lease {
        address: offer.address,
        length: offer.length,
        server: *server,
        bound: bound.as_secs(),
        renew: renew.as_secs(),
        rebind: rebind.as_secs(),
        end: end.map(|end| end.as_secs()),
        routers: offer.routers.clone(),
        name_servers: offer.name_servers.clone(),
        ntp_servers: offer.ntp_servers.clone(),
        log_servers: offer.log_servers.clone(),
        domains: offer.search.clone(),
        host_name: offer.host_name.clone(),
    }
}

fn parse_prefix(text: &str) -> Option<Prefix> {
    let (address, length) = text.split_once('/')?;
    let length: u8 = length.parse().ok().filter(|length| *length <= 32)?;
    Some(prefix(address.parse().ok()?, length))
}

fn prefix(address: Ipv4Addr, length: u8) -> Prefix {
    Prefix { address: address.into(), length }
}

fn route(to: Option<Prefix>, via: Ipv4Addr, metric: u32) -> Route {
    let via = (!via.is_unspecified()).then_some(IpAddr::V4(via));
    // A gateway of a server is always at this interface, also where our network is a single address.
    Route { to, via, metric, on_link: via.is_some() }
}

/// The routes of a lease: those to networks first, because a gateway may be behind one.
fn routes(offer: &Offer, metric: u32) -> Vec<Route> {
    if !offer.routes.is_empty() {
        let mut ways: Vec<_> = offer.routes.clone();
        ways.sort_by_key(|(_, length, gateway)| (!gateway.is_unspecified(), *length == 0));
        let to = |network, length| (length > 0).then(|| prefix(network, length));
        return ways
            .into_iter()
            .map(|(network, length, gateway)| route(to(network, length), gateway, metric))
            .collect();
    }
    let routers = offer.routers.iter().filter(|router| !router.is_unspecified()).take(10);
    // init leaves ten metrics to each interface.
    routers.zip(metric..).map(|(router, metric)| route(None, *router, metric)).collect()
}

/// The lines of resolv.conf(5). What the interface's configuration says is in place of what the server says.
fn lines(offer: &Offer, configured: &str) -> String {
    let says = |word: &str| configured.lines().any(|line| line.starts_with(word));
    let mut text = String::new();
    if !offer.search.is_empty() && !says("search") {
        text += &format!("search {}\n", offer.search.join(" "));
    }
    if !says("nameserver") {
        text.extend(offer.name_servers.iter().map(|server| format!("nameserver {server}\n")));
    }
    text
}

fn describe(route: &Route) -> String {
    let to = route.to.map_or("the default route".into(), |to| format!("a route to {}/{}", to.address, to.length));
    route.via.map_or(to.clone(), |via| format!("{to} via {via}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> Offer {
        Offer {
            address: Ipv4Addr::new(10, 0, 0, 5),
            length: 24,
            routers: vec![Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)],
            routes: vec![],
            name_servers: vec![Ipv4Addr::new(9, 9, 9, 9)],
            ntp_servers: vec![],
            log_servers: vec![],
            search: vec!["a.org".into(), "b.org".into()],
            host_name: None,
            mtu: None,
            seconds: 60,
            renew: None,
            rebind: None,
        }
    }

    #[test]
    fn what_was_given_is_known_again() {
        let mut offer = offer();
        offer.routes = vec![
            (Ipv4Addr::UNSPECIFIED, 0, Ipv4Addr::new(10, 0, 0, 1)),
            (Ipv4Addr::new(10, 9, 0, 0), 16, Ipv4Addr::new(10, 0, 0, 9)),
            (Ipv4Addr::new(10, 0, 0, 9), 32, Ipv4Addr::UNSPECIFIED),
        ];
        let given = Given { address: prefix(offer.address, 24), routes: routes(&offer, 7) };
        let expected = "10.0.0.5/24 10.0.0.9/32 0.0.0.0 7 10.9.0.0/16 10.0.0.9 7 0.0.0.0/0 10.0.0.1 7\n";
        assert_eq!(given.text(), expected);
        assert_eq!(Given::parse(expected), Some(given));
        for other in ["", "10.0.0.5/24 10.0.0.1", "10.0.0.5/33", "x"] {
            assert_eq!(Given::parse(other), None, "{other}");
        }
    }

    #[test]
    fn routers_have_metrics_in_a_row() {
        let metrics: Vec<u32> = routes(&offer(), 100).iter().map(|route| route.metric).collect();
        assert_eq!(metrics, [100, 101]);
    }

    #[test]
    fn the_configuration_is_in_place_of_the_servers_words() {
        assert_eq!(lines(&offer(), ""), "search a.org b.org\nnameserver 9.9.9.9\n");
        assert_eq!(lines(&offer(), "nameserver 1.1.1.1\n"), "search a.org b.org\n");
        assert_eq!(lines(&offer(), "search c.org\n"), "nameserver 9.9.9.9\n");
    }
}
