//! Interfaces, addresses, routes and name servers, from rtnetlink(7) and the files below /run.

use init_base::lease::Lease;
use init_base::resolv;
use init_base::rtnetlink::{self, HeldAddress, HeldRoute, Item, Link};
use init_base::sys::files;
use init_base::sys::netlink::{Protocol, Socket};

use crate::model::{Address, AddressState, Interface, Origin, Route};
use crate::text::plain;

/// Bytes of a part of a list; the kernel sends at most 32 KiB at once (netlink_dump in net/netlink/af_netlink.c).
const BUFFER: usize = 32 << 10;
/// Parts of a list that are read: a bound for a kernel without an end.
const PARTS: usize = 1000;
/// Origins of name servers by the names of their files.
const ORIGINS: [(&str, Origin); 3] = [("static.", Origin::Static), ("dhcp.", Origin::Dhcp), ("ra.", Origin::Router)];

/// Asks the kernel.
pub struct Network {
    socket: Option<Socket>,
    sequence: u32,
}

impl Network {
    /// Opens a socket; a kernel without networking has no interfaces.
    pub fn open() -> Network {
        Network { socket: Socket::open(Protocol::Route, &[]).ok(), sequence: 0 }
    }

    /// The interfaces and routes of now.
    pub fn read(&mut self) -> (Vec<Interface>, Vec<Route>) {
        let lists = [rtnetlink::list_links, rtnetlink::list_addresses, rtnetlink::list_routes];
        let items: Vec<Item> = lists.into_iter().flat_map(|list| self.ask(list)).collect();
        let interfaces = interfaces(&items, |name| (Lease::read(name), leased(name)));
        (interfaces, routes(&items))
    }

    /// A list. What is missing in one is in that of the next second.
    fn ask(&mut self, list: fn(u32) -> Vec<u8>) -> Vec<Item> {
        self.sequence = self.sequence.wrapping_add(1);
        let done = Item::Done { sequence: self.sequence };
        let mut items = Vec::new();
        let Some(socket) = self.socket.as_ref().filter(|socket| socket.send(&list(self.sequence)).is_ok()) else {
            return items;
        };
        let mut buffer = Vec::with_capacity(BUFFER);
        for _ in 0..PARTS {
            match socket.receive(&mut buffer) {
                Ok(Some(received)) if received.from_kernel => items.extend(rtnetlink::inventory(&buffer)),
                Ok(Some(_)) => {}
                _ => return items,
            }
            if items.last() == Some(&done) {
                return items;
            }
        }
        items
    }
}

/// The address that a DHCP client's script wrote down for an interface.
fn leased(interface: &str) -> Option<String> {
    let text = resolv::part(&format!("lease.{interface}"));
    Some(text.split_ascii_whitespace().next()?.split_once('/')?.0.to_owned())
}

/// The interfaces in lists, without `lo`; `lease_of` has the leases by interface: as a whole, and only the address.
fn interfaces(items: &[Item], lease_of: impl Fn(&str) -> (Option<Lease>, Option<String>)) -> Vec<Interface> {
    let links = items.iter().filter_map(|item| match item {
        Item::Link(link) if !link.loopback => Some(link),
        _ => None,
    });
    links
        .map(|link| {
            let (lease, leased) = lease_of(&link.name);
            let held = items.iter().filter_map(|item| match item {
                Item::Address(held) if held.index == link.index => Some(held),
                _ => None,
            });
            Interface {
                name: plain(&link.name, 16),
                mac: mac(link),
                up: link.up,
                carrier: link.carrier,
                mtu: link.mtu,
                addresses: held.map(|held| address(held, lease.as_ref(), leased.as_deref())).collect(),
                lease,
            }
        })
        .collect()
}

fn mac(link: &Link) -> String {
    let bytes = link.mac.into_iter().flatten().map(|byte| format!("{byte:02x}"));
    bytes.collect::<Vec<_>>().join(":")
}

fn address(held: &HeldAddress, lease: Option<&Lease>, leased: Option<&str>) -> Address {
    let address = held.prefix.address;
    let is_leased = lease.is_some_and(|lease| address == lease.address) || leased == Some(&address.to_string());
    let origin = match address {
        _ if is_leased => Origin::Dhcp,
        _ if held.link_local => Origin::LinkLocal,
        // Kernels before 5.18 do not tell; an address of an advertisement ends, and the other ones here do not.
        core::net::IpAddr::V6(_) if held.by_router || !held.permanent => Origin::Router,
        _ => Origin::Static,
    };
    Address {
        address,
        length: held.prefix.length,
        origin,
        since: held.since,
        valid: held.valid,
        state: match held {
            HeldAddress { duplicate: true, .. } => AddressState::Duplicate,
            HeldAddress { tentative: true, .. } => AddressState::Tentative,
            _ => AddressState::Usable,
        },
    }
}

/// The routes in lists, without those that come with an address.
fn routes(items: &[Item]) -> Vec<Route> {
    let name_of = |index: u32| {
        let link = items.iter().find_map(|item| match item {
            Item::Link(link) if link.index == index => Some(link.name.as_str()),
            _ => None,
        });
        plain(link.unwrap_or("?"), 16)
    };
    let held = items.iter().filter_map(|item| match item {
        Item::Route(held) if !held.is_by_kernel() => Some(held),
        _ => None,
    });
    held.map(|held| Route {
        to: held.to.map_or("default".into(), |to| format!("{}/{}", to.address, to.length)),
        via: held.via.map_or(String::new(), |via| via.to_string()),
        interface: name_of(held.index),
        metric: held.metric,
        origin: origin_of(held),
    })
    .collect()
}

fn origin_of(held: &HeldRoute) -> Origin {
    match held {
        _ if held.is_by_dhcp() => Origin::Dhcp,
        _ if held.is_by_router() => Origin::Router,
        _ => Origin::Static,
    }
}

/// The name servers, in the order in which a resolver asks them.
pub fn name_servers() -> Vec<(String, Origin)> {
    let mut names = files::list_dir(resolv::DIR).unwrap_or_default();
    names.sort();
    let mut servers = Vec::new();
    for (prefix, origin) in ORIGINS {
        for name in names.iter().filter(|name| name.starts_with(prefix) && !name.ends_with(".new")) {
            let text = resolv::part(name);
            let found = text.lines().filter_map(|line| line.strip_prefix("nameserver "));
            servers.extend(found.map(|server| (plain(server.trim(), 64), origin)));
        }
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use init_base::rtnetlink::Prefix;

    fn link(index: u32, name: &str, loopback: bool) -> Item {
        Item::Link(Link {
            index,
            name: name.into(),
            mac: Some([0x52, 0x54, 0, 0x12, 0x34, index as u8]),
            up: true,
            carrier: true,
            loopback,
            ethernet: true,
            enslaved: false,
            kind: String::new(),
            device: true,
            mtu: 1500,
        })
    }

    fn held(text: &str, permanent: bool, link_local: bool) -> Item {
        Item::Address(HeldAddress {
            index: 2,
            prefix: Prefix { address: text.parse().unwrap(), length: 24 },
            link_local,
            by_router: false,
            permanent,
            tentative: false,
            duplicate: false,
            since: Duration::from_secs(3),
            valid: None,
        })
    }

    #[test]
    fn each_address_says_how_it_was_got() {
        let items = [
            link(1, "lo", true),
            link(2, "eth0", false),
            held("10.0.2.15", true, false),
            held("10.0.2.16", true, false),
            held("fd00::5", true, false),
            held("fd00::6", false, false),
            held("fe80::1", true, true),
        ];
        let found = interfaces(&items, |_| (None, Some("10.0.2.15".into())));
        assert_eq!((found.len(), found[0].mac.as_str()), (1, "52:54:00:12:34:02"));
        let origins: Vec<Origin> = found[0].addresses.iter().map(|address| address.origin).collect();
        let expected = [Origin::Dhcp, Origin::Static, Origin::Static, Origin::Router, Origin::LinkLocal];
        assert_eq!(origins, expected);
    }

    #[test]
    fn this_machine_can_be_asked() {
        let (interfaces, routes) = Network::open().read();
        assert!(interfaces.iter().all(|interface| interface.name != "lo"));
        assert!(routes.iter().all(|route| !route.to.is_empty()));
    }
}
