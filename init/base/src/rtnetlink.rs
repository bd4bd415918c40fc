//! Packets of rtnetlink(7) as bytes: pure functions, for any input.
//!
//! Numbers are in the machine's byte order, addresses in the network's; every part starts at a multiple of 4.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

use crate::sys::Errno;

mod inventory;
mod numbers;
mod requests;

pub use inventory::{HeldAddress, HeldRoute, Item, inventory, list_routes};
use numbers::*;
pub use requests::{change_address, change_dhcp_route, change_route, list_addresses, list_links, set_mtu, set_up};

/// Multicast groups whose news [`decode`] understands: interfaces, IPv4 and IPv6 addresses, and options of router advertisements
/// that are for programs.
pub const GROUPS: &[u32] = &[RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_ND_USEROPT];

/// Bytes of a message's header, `struct nlmsghdr`.
const HEADER: usize = 16;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number of it; never used again for another one.
    pub index: u32,
    /// Its name; no slash, no blank, not `.` or `..`, so that it can be a part of a path.
    pub name: String,
    /// The address of an Ethernet card.
    pub mac: Option<[u8; 6]>,
    /// It was set up.
    pub up: bool,
    /// It has a cable and a partner at the other end.
    pub carrier: bool,
    /// It is `lo`.
    pub loopback: bool,
    /// It carries Ethernet frames.
    pub ethernet: bool,
    /// A bridge or a bond owns it.
    pub enslaved: bool,
    /// What kind of virtual interface it is (`veth`, `tun`, ...); empty for a card.
    pub kind: String,
    /// It belongs to a device on a bus. Kernels before 5.14 do not tell.
    pub device: bool,
    /// The largest packet in bytes; 0 when the message does not tell.
    pub mtu: u32,
}

/// An address and the length of its network's prefix in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    /// The address.
    pub address: IpAddr,
    /// At most 32 for IPv4 and 128 for IPv6.
    pub length: u8,
}

impl FromStr for Prefix {
    type Err = ();

    /// An address with the length of its network, `10.0.0.1/8` or `fd00::1/64`.
    fn from_str(text: &str) -> core::result::Result<Prefix, ()> {
        let (address, length) = text.split_once('/').ok_or(())?;
        let address: IpAddr = address.parse().map_err(|_| ())?;
        let length: u8 = length.parse().map_err(|_| ())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        if length <= longest { Ok(Prefix { address, length }) } else { Err(()) }
    }
}

/// A way to a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to; nothing is everywhere.
    pub to: Option<Prefix>,
    /// Through whom; nothing is the network at this interface itself.
    pub via: Option<IpAddr>,
    /// The lowest of several ways is taken.
    pub metric: u32,
    /// The gateway is at this interface although no address of ours is in its network.
    pub on_link: bool,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// An interface appeared, or something about it changed.
    Link(Link),
    /// The interface with this number is gone.
    LinkGone(u32),
    /// An interface has an address that can be used, or has it no longer.
    Address {
        /// The interface's number.
        index: u32,
        /// The address.
        prefix: Prefix,
        /// Reachable beyond the link.
        global: bool,
        /// It is there and usable.
        usable: bool,
    },
    /// A router tells name servers (RFC 8106).
    NameServers {
        /// The interface's number.
        index: u32,
        /// The servers.
        servers: Vec<Ipv6Addr>,
        /// How long they are valid in seconds; `u32::MAX` is for ever.
        lifetime: u32,
    },
    /// The answer to the request `sequence`.
    Answer {
        /// The number that the request had.
        sequence: u32,
        /// What went wrong, and the kernel's words about it (may be empty).
        error: Option<(Errno, String)>,
    },
    /// The end of the list that the request `sequence` asked for.
    Done {
        /// The number that the request had.
        sequence: u32,
    },
}

/// The notices in a datagram; what is malformed or of no interest is left out.
pub fn decode(bytes: &[u8]) -> Vec<Message> {
    Packets(bytes).filter_map(|message| message.notice()).collect()
}

/// Packets of a datagram.
struct Packets<'a>(&'a [u8]);

struct Packet<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Packet<'a>> {
        let length = usize::try_from(u32_at(self.0, 0)?).ok()?;
        let message = self.0.get(..length)?;
        let message = Packet {
            kind: u16_at(message, 4)?,
            flags: u16_at(message, 6)?,
            sequence: u32_at(message, 8)?,
            body: message.get(HEADER..)?,
        };
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}

/// Attributes: a number without its two flag bits, and the value.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let length = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)? & 0x3fff;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

impl Packet<'_> {
    fn notice(&self) -> Option<Message> {
        match self.kind {
            NLMSG_ERROR => self.answer(),
            NLMSG_DONE => Some(Message::Done { sequence: self.sequence }),
            RTM_NEWLINK => self.link().map(Message::Link),
            // A port that leaves its bridge is told as a "deleted link" of the bridge family.
            RTM_DELLINK if *self.body.first()? == AF_BRIDGE => None,
            RTM_DELLINK => Some(Message::LinkGone(u32_at(self.body, 4)?)),
            RTM_NEWADDR | RTM_DELADDR => self.address(),
            RTM_NEWNDUSEROPT => self.name_servers(),
            _ => None,
        }
    }

    /// `struct nlmsgerr`: the negative error, and the request's header or all of it; then attributes.
    fn answer(&self) -> Option<Message> {
        let code = i32::from_ne_bytes(u32_at(self.body, 0)?.to_ne_bytes());
        let sequence = u32_at(self.body, 12)?;
        if code == 0 {
            return Some(Message::Answer { sequence, error: None });
        }
        let request = if self.flags & NLM_F_CAPPED != 0 { HEADER } else { u32_at(self.body, 4)? as usize };
        let rest = self.body.get(4usize.checked_add(request)?.checked_next_multiple_of(4)?..).unwrap_or_default();
        let words = match self.flags & NLM_F_ACK_TLVS {
            0 => None,
            _ => Attributes(rest).find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG).map(|(_, value)| text(value)),
        };
        // A number that is no error of Linux (its largest is 4095) cannot come from it.
        let errno = code.checked_neg().filter(|code| (1..4096).contains(code))?;
        Some(Message::Answer { sequence, error: Some((Errno::from_raw_os_error(errno), words.unwrap_or_default())) })
    }

    /// `struct ifinfomsg`: family, pad, type (u16), index, flags, changed flags.
    fn link(&self) -> Option<Link> {
        if *self.body.first()? == AF_BRIDGE {
            return None;
        }
        let kind = u16_at(self.body, 2)?;
        let flags = u32_at(self.body, 8)?;
        let mut link = Link {
            index: u32_at(self.body, 4)?,
            name: String::new(),
            mac: None,
            up: flags & IFF_UP != 0,
            carrier: flags & IFF_LOWER_UP != 0,
            loopback: flags & IFF_LOOPBACK != 0,
            ethernet: kind == ARPHRD_ETHER,
            enslaved: false,
            kind: String::new(),
            device: false,
            mtu: 0,
        };
        for (kind, value) in Attributes(self.body.get(16..)?) {
            match kind {
                IFLA_IFNAME => link.name = name(value)?,
                IFLA_ADDRESS => link.mac = value.try_into().ok(),
                IFLA_MTU => link.mtu = u32_at(value, 0)?,
                IFLA_MASTER => link.enslaved = true,
                IFLA_PARENT_DEV_NAME => link.device = true,
                IFLA_LINKINFO => {
                    if let Some((_, value)) = Attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND) {
                        link.kind = text(value);
                    }
                }
                _ => {}
            }
        }
        (!link.name.is_empty() && link.index != 0).then_some(link)
    }

    /// `struct ifaddrmsg`: family, prefix length, flags, scope, index.
    fn address(&self) -> Option<Message> {
        let (family, length, scope) = (*self.body.first()?, *self.body.get(1)?, *self.body.get(3)?);
        let index = u32_at(self.body, 4)?;
        let mut flags = u32::from(*self.body.get(2)?);
        let (mut local, mut peer) = (None, None);
        for (kind, value) in Attributes(self.body.get(8..)?) {
            match kind {
                // On a point-to-point link IFA_ADDRESS is the other side's; IPv6 otherwise has only that one.
                IFA_LOCAL => local = address(family, value),
                IFA_ADDRESS => peer = address(family, value),
                IFA_FLAGS => flags = u32_at(value, 0)?,
                _ => {}
            }
        }
        let address = local.or(peer)?;
        if length > if address.is_ipv4() { 32 } else { 128 } {
            return None;
        }
        let prefix = Prefix { address, length };
        let usable = self.kind == RTM_NEWADDR && flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED) == 0;
        // Scope 0 is the universe.
        Some(Message::Address { index, prefix, global: scope == 0, usable })
    }

    /// `struct nduseroptmsg`: family, pad, length of the options, index, ICMP type and code, pads; then options of
    /// neighbour discovery. Type 25 is the recursive DNS server option: length in units of 8 bytes, two reserved
    /// bytes, lifetime, addresses (RFC 8106, section 5.1).
    fn name_servers(&self) -> Option<Message> {
        let index = u32_at(self.body, 4)?;
        let option = self.body.get(16..)?;
        let length = usize::from(*option.get(1)?) * 8;
        if *self.body.first()? != AF_INET6 || *option.first()? != 25 {
            return None;
        }
        let lifetime = u32::from_be_bytes(option.get(4..8)?.try_into().ok()?);
        let servers = option.get(8..length)?.chunks_exact(16);
        let servers = servers.filter_map(|bytes| Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?))).collect();
        Some(Message::NameServers { index, servers, lifetime })
    }
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    let part = bytes.get(offset..offset.checked_add(2)?)?;
    Some(u16::from_ne_bytes(part.try_into().ok()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let part = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_ne_bytes(part.try_into().ok()?))
}

/// Text up to its terminator.
fn text(value: &[u8]) -> String {
    let end = value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(value.get(..end).unwrap_or_default()).into_owned()
}

/// An interface's name, which the kernel lets be no path (`dev_valid_name` in its net/core/dev.c).
fn name(value: &[u8]) -> Option<String> {
    let name = text(value);
    let bad = |char: char| char == '/' || char == ':' || char.is_whitespace() || char.is_control();
    (name.len() < IFNAMSIZ && !name.contains(bad) && name != "." && name != "..").then_some(name)
}

fn address(family: u8, value: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => <[u8; 4]>::try_from(value).ok().map(|bytes| Ipv4Addr::from(bytes).into()),
        AF_INET6 => <[u8; 16]>::try_from(value).ok().map(|bytes| Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
