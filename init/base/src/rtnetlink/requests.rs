//! Requests to the kernel: the other half of [`super`].

use core::net::{IpAddr, Ipv4Addr};

use super::numbers::*;
use super::{Prefix, Route};

/// A request in the making.
pub(super) struct MessageBuilder(Vec<u8>);

impl MessageBuilder {
    pub(super) fn new(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> MessageBuilder {
        let mut bytes = Vec::with_capacity(96);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(body);
        MessageBuilder(bytes)
    }

    /// Adds an attribute; values here are numbers and addresses, at most 16 bytes, multiples of 4.
    fn with(mut self, kind: u16, value: &[u8]) -> MessageBuilder {
        let length = 4 + value.len() as u16;
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = self.0.len() as u32;
        if let Some(field) = self.0.get_mut(..4) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
        self.0
    }
}

/// A request for the list of all interfaces.
pub fn list_links(sequence: u32) -> Vec<u8> {
    MessageBuilder::new(RTM_GETLINK, NLM_F_DUMP, sequence, &link_body(0, 0))
        .with(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes())
        .finish()
}

/// A request for the list of all addresses.
pub fn list_addresses(sequence: u32) -> Vec<u8> {
    MessageBuilder::new(RTM_GETADDR, NLM_F_DUMP, sequence, &[AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0]).finish()
}

fn link_body(index: u32, flags: u32) -> [u8; 16] {
    let mut body = [0; 16];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..12].copy_from_slice(&flags.to_ne_bytes());
    // Only the flag "up" is to change.
    body[12..16].copy_from_slice(&(flags & IFF_UP).to_ne_bytes());
    body
}

/// A request to set an interface up.
pub fn set_up(sequence: u32, index: u32) -> Vec<u8> {
    MessageBuilder::new(RTM_NEWLINK, NLM_F_ACK, sequence, &link_body(index, IFF_UP)).finish()
}

/// A request to set the largest packet in bytes.
pub fn set_mtu(sequence: u32, index: u32, mtu: u32) -> Vec<u8> {
    MessageBuilder::new(RTM_NEWLINK, NLM_F_ACK, sequence, &link_body(index, 0))
        .with(IFLA_MTU, &mtu.to_ne_bytes())
        .finish()
}

/// A request to give an interface an address (`add`), or to take it away.
pub fn change_address(sequence: u32, index: u32, prefix: Prefix, add: bool) -> Vec<u8> {
    let (kind, flags) = if add { (RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE) } else { (RTM_DELADDR, 0) };
    let [a, b, c, d] = index.to_ne_bytes();
    let body = [family(prefix.address), prefix.length, 0, 0, a, b, c, d];
    let request = MessageBuilder::new(kind, NLM_F_ACK | flags, sequence, &body);
    match prefix.address {
        IpAddr::V6(address) => request.with(IFA_LOCAL, &address.octets()).with(IFA_ADDRESS, &address.octets()),
        IpAddr::V4(address) => {
            let request = request.with(IFA_LOCAL, &address.octets()).with(IFA_ADDRESS, &address.octets());
            match broadcast(address, prefix.length) {
                Some(broadcast) => request.with(IFA_BROADCAST, &broadcast.octets()),
                None => request,
            }
        }
    }
    .finish()
}

/// The broadcast address of a network; one of two addresses (RFC 3021) or one has none.
pub(super) fn broadcast(address: Ipv4Addr, length: u8) -> Option<Ipv4Addr> {
    let hosts = u32::MAX.checked_shr(length.into()).filter(|_| length < 31)?;
    Some(Ipv4Addr::from(u32::from(address) | hosts))
}

/// A request to add a route through an interface (`add`), or to remove it. The kernel answers EEXIST when that very route is
/// there. It would take another card's route for the same one when it is asked to replace, and both have the same metric.
pub fn change_route(sequence: u32, index: u32, route: &Route, add: bool) -> Vec<u8> {
    change_route_of(RTPROT_STATIC, sequence, index, route, add)
}

/// The same for a route that a DHCP server told.
pub fn change_dhcp_route(sequence: u32, index: u32, route: &Route, add: bool) -> Vec<u8> {
    change_route_of(RTPROT_DHCP, sequence, index, route, add)
}

fn change_route_of(origin: u8, sequence: u32, index: u32, route: &Route, add: bool) -> Vec<u8> {
    let (kind, flags) = if add { (RTM_NEWROUTE, NLM_F_CREATE | NLM_F_APPEND) } else { (RTM_DELROUTE, 0) };
    let known = route.to.map(|prefix| prefix.address).or(route.via);
    // `struct rtmsg`: family, lengths of destination and source, type of service, table, protocol, scope, type, flags.
    let mut body = [0; 12];
    body[0] = known.map_or(AF_INET, family);
    body[1] = route.to.map_or(0, |prefix| prefix.length);
    body[4] = RT_TABLE_MAIN;
    body[5] = origin;
    body[6] = if route.via.is_none() && body[0] == AF_INET { RT_SCOPE_LINK } else { 0 };
    body[7] = RTN_UNICAST;
    let on_link = if route.on_link && route.via.is_some() { RTNH_F_ONLINK } else { 0 };
    body[8..].copy_from_slice(&on_link.to_ne_bytes());
    let mut request = MessageBuilder::new(kind, NLM_F_ACK | flags, sequence, &body)
        .with(RTA_OIF, &index.to_ne_bytes())
        .with(RTA_PRIORITY, &route.metric.to_ne_bytes());
    let destination = route.to.map(|prefix| prefix.address);
    for (kind, address) in [(RTA_DST, destination), (RTA_GATEWAY, route.via)] {
        request = match address {
            Some(IpAddr::V4(address)) => request.with(kind, &address.octets()),
            Some(IpAddr::V6(address)) => request.with(kind, &address.octets()),
            None => request,
        };
    }
    request.finish()
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}
