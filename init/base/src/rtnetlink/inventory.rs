//! What the kernel lists of interfaces, addresses and routes, with how it got them: for programs that show it. PID 1 decides
//! by [`super::decode`].

use core::net::IpAddr;
use core::time::Duration;

use super::numbers::*;
use super::requests::MessageBuilder;
use super::{Attributes, Link, Packet, Packets, Prefix, address, u32_at};

/// Part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An interface.
    Link(Link),
    /// An address.
    Address(HeldAddress),
    /// A unicast route of the main table.
    Route(HeldRoute),
    /// The end of the list that the request `sequence` asked for.
    Done {
        /// The number that the request had.
        sequence: u32,
    },
}

/// An address that an interface has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldAddress {
    /// The interface's number.
    pub index: u32,
    /// The address.
    pub prefix: Prefix,
    /// It counts at this link alone.
    pub link_local: bool,
    /// A router's advertisement told it (`IFA_PROTO` of Linux 5.18).
    pub by_router: bool,
    /// It does not end by itself.
    pub permanent: bool,
    /// The kernel still asks whether another host has it.
    pub tentative: bool,
    /// Another host has it.
    pub duplicate: bool,
    /// When it was given, since the machine's start.
    pub since: Duration,
    /// Seconds for which it is valid; nothing is for ever.
    pub valid: Option<u32>,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRoute {
    /// The interface's number.
    pub index: u32,
    /// Where to; nothing is everywhere.
    pub to: Option<Prefix>,
    /// Through whom.
    pub via: Option<IpAddr>,
    /// Of several ways to the same network the lowest is taken.
    pub metric: u32,
    /// Who made it: a number of rtnetlink(7), `RTPROT_`.
    pub protocol: u8,
}

impl HeldRoute {
    /// A DHCP client made it.
    pub fn is_by_dhcp(&self) -> bool {
        self.protocol == RTPROT_DHCP
    }

    /// A router's advertisement told it.
    pub fn is_by_router(&self) -> bool {
        self.protocol == RTPROT_RA
    }

    /// The kernel made it, with an address.
    pub fn is_by_kernel(&self) -> bool {
        self.protocol == RTPROT_KERNEL
    }
}

/// The items in a datagram; what is malformed or of no interest is left out.
pub fn inventory(bytes: &[u8]) -> Vec<Item> {
    Packets(bytes).filter_map(|packet| packet.item()).collect()
}

/// A request for the list of all routes.
pub fn list_routes(sequence: u32) -> Vec<u8> {
    MessageBuilder::new(RTM_GETROUTE, NLM_F_DUMP, sequence, &[AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).finish()
}

impl Packet<'_> {
    fn item(&self) -> Option<Item> {
        match self.kind {
            NLMSG_DONE => Some(Item::Done { sequence: self.sequence }),
            RTM_NEWLINK => self.link().map(Item::Link),
            RTM_NEWADDR => self.held_address().map(Item::Address),
            RTM_NEWROUTE => self.held_route().map(Item::Route),
            _ => None,
        }
    }

    /// `struct ifaddrmsg`: family, prefix length, flags, scope, index.
    fn held_address(&self) -> Option<HeldAddress> {
        let super::Message::Address { index, prefix, .. } = self.address()? else { return None };
        let mut flags = u32::from(*self.body.get(2)?);
        let (mut protocol, mut times) = (0, None);
        for (kind, value) in Attributes(self.body.get(8..)?) {
            match kind {
                IFA_FLAGS => flags = u32_at(value, 0)?,
                IFA_PROTO => protocol = *value.first()?,
                IFA_CACHEINFO => times = Some(value),
                _ => {}
            }
        }
        // `struct ifa_cacheinfo`: seconds that it is preferred and valid, then hundredths of seconds since the machine's start
        // at which it was made and changed.
        let time = |offset| times.and_then(|times| u32_at(times, offset));
        Some(HeldAddress {
            index,
            prefix,
            link_local: *self.body.get(3)? == RT_SCOPE_LINK,
            by_router: protocol == IFAPROT_KERNEL_RA,
            permanent: flags & IFA_F_PERMANENT != 0,
            tentative: flags & IFA_F_TENTATIVE != 0,
            duplicate: flags & IFA_F_DADFAILED != 0,
            since: Duration::from_millis(u64::from(time(8).unwrap_or(0)) * 10),
            valid: time(4).filter(|valid| *valid != u32::MAX),
        })
    }

    /// `struct rtmsg`: family, lengths of destination and source, type of service, table, protocol, scope, type, flags.
    fn held_route(&self) -> Option<HeldRoute> {
        let &[family, length, _, _, table, protocol, _, kind] = self.body.get(..8)? else { return None };
        if table != RT_TABLE_MAIN || kind != RTN_UNICAST || u32_at(self.body, 8)? & RTM_F_CLONED != 0 {
            return None;
        }
        let mut route = HeldRoute { index: 0, to: None, via: None, metric: 0, protocol };
        for (kind, value) in Attributes(self.body.get(12..)?) {
            match kind {
                RTA_DST => route.to = address(family, value).map(|address| Prefix { address, length }),
                RTA_GATEWAY => route.via = address(family, value),
                RTA_OIF => route.index = u32_at(value, 0)?,
                RTA_PRIORITY => route.metric = u32_at(value, 0)?,
                _ => {}
            }
        }
        (route.index != 0).then_some(route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtnetlink::requests::{change_address, change_dhcp_route};
    use crate::rtnetlink::{Route, list_addresses, list_links};
    use crate::sys::netlink::{Protocol, Socket};

    fn prefix(text: &str, length: u8) -> Prefix {
        Prefix { address: text.parse().unwrap(), length }
    }

    #[test]
    fn a_request_to_add_reads_as_what_it_adds() {
        // Requests and lists have the same form.
        let bytes = change_address(1, 7, prefix("10.0.0.5", 24), true);
        let [Item::Address(held)] = &inventory(&bytes)[..] else { panic!("{bytes:?}") };
        assert_eq!((held.index, held.prefix, held.valid), (7, prefix("10.0.0.5", 24), None));
        let route = Route { to: None, via: Some("10.0.0.1".parse().unwrap()), metric: 9, on_link: true };
        let [Item::Route(held)] = &inventory(&change_dhcp_route(1, 7, &route, true))[..] else { panic!() };
        assert_eq!((held.to, held.via, held.metric, held.is_by_dhcp()), (None, route.via, 9, true));
        for length in 0..bytes.len() {
            inventory(&bytes[..length]);
        }
    }

    #[test]
    fn this_machine_has_its_loopback_address() {
        let socket = Socket::open(Protocol::Route, &[]).unwrap();
        let mut items = Vec::new();
        for (sequence, request) in [list_links(1), list_addresses(2), list_routes(3)].iter().enumerate() {
            socket.send(request).unwrap();
            let done = Item::Done { sequence: sequence as u32 + 1 };
            let mut buffer = Vec::with_capacity(32 << 10);
            while !items.contains(&done) {
                assert!(socket.receive(&mut buffer).unwrap().is_some(), "the list has no end: {items:?}");
                items.extend(inventory(&buffer));
            }
        }
        let lo = items.iter().find_map(|item| match item {
            Item::Link(link) if link.loopback => Some(link.index),
            _ => None,
        });
        // A namespace of a build may have its loopback interface down.
        let has = items.iter().any(|item| {
            matches!(item, Item::Address(held) if Some(held.index) == lo && held.prefix == prefix("127.0.0.1", 8) && held.permanent)
        });
        assert!(lo.is_some() && (has || !items.iter().any(|item| matches!(item, Item::Address(_)))), "{items:?}");
    }
}
