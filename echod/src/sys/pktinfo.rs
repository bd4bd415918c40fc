//! To which address a datagram came, so that its answer comes from there: IP_PKTINFO of ip(7), IPV6_PKTINFO of ipv6(7).
//! For the companion `echod`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};

use super::{Result, check};

/// Bytes before the data of a control message: its length as a word, level and type (cmsg(3)).
const HEAD: usize = size_of::<usize>() + 8;
/// The most bytes of control messages that come with a datagram: IPv4 on an IPv6 socket has one of each kind.
pub const RECEIVED: usize = space(size_of::<libc::in6_pktinfo>()) + space(size_of::<libc::in_pktinfo>());
/// The most bytes of the one that goes with an answer.
const SENT: usize = space(size_of::<libc::in6_pktinfo>());

/// Bytes of a control message with so much data.
const fn space(data: usize) -> usize {
    (HEAD + data).next_multiple_of(size_of::<usize>())
}

/// Lets the kernel say of every datagram of a socket where it came to. Before bind(2), or the first ones come without.
pub fn ask(fd: impl AsFd, ipv6: bool) -> Result<()> {
    // An IPv6 socket takes IPv4 too, for which only this one tells a broadcast from other datagrams.
    switch_on(&fd, libc::IPPROTO_IP, libc::IP_PKTINFO)?;
    if ipv6 { switch_on(&fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) } else { Ok(()) }
}

fn switch_on(fd: &impl AsFd, level: libc::c_int, option: libc::c_int) -> Result<()> {
    let on: libc::c_int = 1;
    let length = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the option's value is this `int`.
    check(unsafe { libc::setsockopt(fd.as_fd().as_raw_fd(), level, option, (&raw const on).cast(), length) }).map(drop)
}

/// The address that an answer goes from, as control message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Source {
    bytes: [u8; SENT],
    length: usize,
}

impl Source {
    /// Of a datagram's control messages: where it came to, if that is one address of this machine. To broadcasts and
    /// multicasts there is no answer, or one datagram with a forged sender would get it many.
    pub fn of(control: &[u8]) -> Option<Source> {
        let mut rest = control;
        while let Some((level, kind, data, next)) = first_message(rest) {
            let found = match (level, kind) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => Source::of_ipv4(data),
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => Source::of_ipv6(data),
                _ => None,
            };
            if found.is_some() {
                return found;
            }
            rest = next;
        }
        None
    }

    /// Of a `struct in_pktinfo`: interface, the address of this machine to answer from, the datagram's destination.
    fn of_ipv4(data: &[u8]) -> Option<Source> {
        let (interface, own, destination) = (data.get(..4)?, data.get(4..8)?, data.get(8..12)?);
        if own != destination {
            return None;
        }
        let address = Ipv4Addr::from(*own.first_chunk::<4>()?);
        let interface = if address.is_link_local() { interface } else { &[0; 4] };
        Some(Source::new(libc::IPPROTO_IP, libc::IP_PKTINFO, &[interface, own, &[0; 4]].concat()))
    }

    /// Of a `struct in6_pktinfo`: the datagram's destination, interface.
    fn of_ipv6(data: &[u8]) -> Option<Source> {
        let (destination, interface) = (data.get(..16)?, data.get(16..20)?);
        let address = Ipv6Addr::from(*destination.first_chunk::<16>()?);
        // Of an IPv4 one the other message says more.
        if address.is_multicast() || address.to_ipv4_mapped().is_some() {
            return None;
        }
        let interface = if address.is_unicast_link_local() { interface } else { &[0; 4] };
        Some(Source::new(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &[destination, interface].concat()))
    }

    fn new(level: libc::c_int, kind: libc::c_int, data: &[u8]) -> Source {
        let mut bytes = [0; SENT];
        let head = (HEAD + data.len()).to_ne_bytes().into_iter().chain(level.to_ne_bytes()).chain(kind.to_ne_bytes());
        for (to, from) in bytes.iter_mut().zip(head.chain(data.iter().copied())) {
            *to = from;
        }
        Source { bytes, length: space(data.len()) }
    }

    /// The message.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// The first control message, with what is behind it: level, type, data, rest.
fn first_message(control: &[u8]) -> Option<(libc::c_int, libc::c_int, &[u8], &[u8])> {
    let (length, after) = control.split_first_chunk()?;
    let (level, after) = after.split_first_chunk()?;
    let (kind, _) = after.split_first_chunk()?;
    let length = usize::from_ne_bytes(*length);
    let data = control.get(HEAD..length)?;
    let rest = control.get(length.next_multiple_of(size_of::<usize>())..).unwrap_or_default();
    Some((i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind), data, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(interface: i32, own: [u8; 4], destination: [u8; 4]) -> Source {
        let data = [interface.to_ne_bytes(), own, destination].concat();
        Source::new(libc::IPPROTO_IP, libc::IP_PKTINFO, &data)
    }

    fn ipv6(destination: &str, interface: i32) -> Source {
        let destination: Ipv6Addr = destination.parse().unwrap();
        let data = [destination.octets().as_slice(), &interface.to_ne_bytes()].concat();
        Source::new(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &data)
    }

    #[test]
    fn an_answer_goes_from_where_the_datagram_came_to() {
        let control = ipv4(3, [10, 0, 0, 2], [10, 0, 0, 2]);
        assert_eq!(Source::of(control.bytes()), Some(ipv4(0, [10, 0, 0, 2], [0; 4])));
        let control = ipv4(3, [169, 254, 0, 2], [169, 254, 0, 2]);
        assert_eq!(Source::of(control.bytes()), Some(ipv4(3, [169, 254, 0, 2], [0; 4])));
        assert_eq!(Source::of(ipv6("2001:db8::1", 3).bytes()), Some(ipv6("2001:db8::1", 0)));
        assert_eq!(Source::of(ipv6("fe80::1", 3).bytes()), Some(ipv6("fe80::1", 3)));
    }

    #[test]
    fn ipv4_on_an_ipv6_socket_has_two_messages() {
        let both = |one: Source, other: Source| [one.bytes(), other.bytes()].concat();
        let control = both(ipv6("::ffff:10.0.0.2", 3), ipv4(3, [10, 0, 0, 2], [10, 0, 0, 2]));
        assert_eq!(control.len(), RECEIVED);
        assert_eq!(Source::of(&control), Some(ipv4(0, [10, 0, 0, 2], [0; 4])));
        let broadcast = both(ipv6("::ffff:10.0.0.255", 3), ipv4(3, [10, 0, 0, 2], [10, 0, 0, 255]));
        assert_eq!(Source::of(&broadcast), None);
    }

    #[test]
    fn what_many_got_is_not_answered() {
        for control in [ipv4(3, [10, 0, 0, 2], [255; 4]), ipv4(3, [10, 0, 0, 2], [224, 0, 0, 1]), ipv6("ff02::1", 3)] {
            assert_eq!(Source::of(control.bytes()), None);
        }
    }

    #[test]
    fn messages_that_are_cut_say_nothing() {
        let whole = ipv6("2001:db8::1", 3);
        for length in 0..HEAD + 20 {
            assert_eq!(Source::of(&whole.bytes()[..length]), None, "{length}");
        }
        assert_eq!(Source::of(&[0; 64]), None);
    }
}
