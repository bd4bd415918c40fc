//! Messages of DHCP as bytes: RFC 2131, section 2, and the options of RFC 2132, RFC 3397 and RFC 3442. Pure functions, for any
//! input.

use core::net::Ipv4Addr;

use init_base::host_name;

/// What every message begins with, before its options.
const HEADER: usize = 240;
/// The first four bytes of the options (RFC 2131, section 3).
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// The least that a relay has to pass on is this long (RFC 1542, section 2.1).
const SHORTEST: usize = 300;
/// The longest answer that we take (option 57): what an Ethernet frame has room for besides the headers of IP and UDP.
const LONGEST: u16 = 1472;
/// Asks that the answer be broadcast, since a host without an address gets no other.
const BROADCAST: u16 = 1 << 15;

/// Numbers of options.
mod option {
    pub const MASK: u8 = 1;
    pub const ROUTERS: u8 = 3;
    pub const NAME_SERVERS: u8 = 6;
    pub const LOG_SERVERS: u8 = 7;
    pub const HOST_NAME: u8 = 12;
    pub const DOMAIN: u8 = 15;
    pub const MTU: u8 = 26;
    pub const NTP_SERVERS: u8 = 42;
    pub const ADDRESS: u8 = 50;
    pub const SECONDS: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const KIND: u8 = 53;
    pub const SERVER: u8 = 54;
    pub const WANTED: u8 = 55;
    pub const LONGEST: u8 = 57;
    pub const RENEW: u8 = 58;
    pub const REBIND: u8 = 59;
    pub const CLIENT: u8 = 61;
    pub const SEARCH: u8 = 119;
    pub const STATIC_ROUTES: u8 = 121;
}

/// The options that we ask for, the more important first.
const WANTED: &[u8] = &[
    option::MASK,
    option::STATIC_ROUTES, // Before the routers, in whose place it is (RFC 3442).
    option::ROUTERS,
    option::NAME_SERVERS,
    option::DOMAIN,
    option::SEARCH,
    option::HOST_NAME,
    option::MTU,
    option::NTP_SERVERS,
    option::LOG_SERVERS,
    option::RENEW,
    option::REBIND,
];

/// A message to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who can offer an address? Otherwise a request for one.
    pub discover: bool,
    /// Names the exchange.
    pub exchange: u32,
    /// Since when we try, in seconds.
    pub seconds: u16,
    /// Our address, where it is in use and the server can answer to it; unspecified otherwise.
    pub client: Ipv4Addr,
    /// The address that was offered.
    pub wanted: Option<Ipv4Addr>,
    /// The server that offered it.
    pub server: Option<Ipv4Addr>,
}

/// Who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The card's address.
    pub mac: [u8; 6],
    /// The machine's name.
    pub host_name: Option<String>,
}

/// The bytes of a request.
pub fn encode(request: &Request, identity: &Identity) -> Vec<u8> {
    let mut bytes = vec![1, 1, 6, 0]; // BOOTREQUEST, Ethernet, bytes of its addresses, hops.
    bytes.extend(request.exchange.to_be_bytes());
    bytes.extend(request.seconds.to_be_bytes());
    let flags = if request.client.is_unspecified() { BROADCAST } else { 0 };
    bytes.extend(flags.to_be_bytes());
    bytes.extend(request.client.octets());
    bytes.resize(28, 0); // The addresses that servers fill in.
    bytes.extend(identity.mac);
    bytes.resize(HEADER - COOKIE.len(), 0); // Rest of the card's address, names of server and file.
    bytes.extend(COOKIE);

    put(&mut bytes, option::KIND, &[if request.discover { 1 } else { 3 }]);
    let [a, b, c, d, e, f] = identity.mac;
    put(&mut bytes, option::CLIENT, &[1, a, b, c, d, e, f]);
    for (number, address) in [(option::ADDRESS, request.wanted), (option::SERVER, request.server)] {
        if let Some(address) = address {
            put(&mut bytes, number, &address.octets());
        }
    }
    put(&mut bytes, option::LONGEST, &LONGEST.to_be_bytes());
    if let Some(name) = &identity.host_name {
        put(&mut bytes, option::HOST_NAME, name.as_bytes());
    }
    put(&mut bytes, option::WANTED, WANTED);
    bytes.push(255);
    bytes.resize(bytes.len().max(SHORTEST), 0);
    bytes
}

fn put(bytes: &mut Vec<u8>, number: u8, value: &[u8]) {
    let value = value.get(..255).unwrap_or(value);
    bytes.extend([number, value.len() as u8]);
    bytes.extend(value);
}

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An address can be had.
    Offer,
    /// It is ours.
    Ack,
    /// It is not.
    Nak,
}

/// A server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What it is.
    pub kind: Kind,
    /// Who sent it.
    pub server: Option<Ipv4Addr>,
    /// What it gives; of a refusal, nothing in it counts.
    pub offer: Offer,
}

/// What a server gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The address.
    pub address: Ipv4Addr,
    /// Bits of its network's prefix.
    pub length: u8,
    /// Routers, the best first.
    pub routers: Vec<Ipv4Addr>,
    /// Routes in place of these: network, bits of its prefix, gateway (unspecified: none).
    pub routes: Vec<(Ipv4Addr, u8, Ipv4Addr)>,
    /// Name servers.
    pub name_servers: Vec<Ipv4Addr>,
    /// Servers of NTP.
    pub ntp_servers: Vec<Ipv4Addr>,
    /// Servers that take logs.
    pub log_servers: Vec<Ipv4Addr>,
    /// Domains in which short names are looked for.
    pub search: Vec<String>,
    /// The machine's name.
    pub host_name: Option<String>,
    /// The largest packet in bytes.
    pub mtu: Option<u16>,
    /// How long it is ours, in seconds; `u32::MAX` is for ever.
    pub seconds: u32,
    /// When to ask its server again, and when everyone, in seconds.
    pub renew: Option<u32>,
    /// See `renew`.
    pub rebind: Option<u32>,
}

/// The answer in a datagram to the exchange of this card; nothing when it is none, or malformed.
pub fn decode(bytes: &[u8], exchange: u32, mac: [u8; 6]) -> Option<Reply> {
    let is_reply = *bytes.first()? == 2 && bytes.get(4..8)? == exchange.to_be_bytes();
    if !is_reply || bytes.get(28..34)? != mac || bytes.get(HEADER - 4..HEADER)? != COOKIE {
        return None;
    }
    let options = Options::read(bytes)?;
    let kind = match options.get(option::KIND)? {
        [2] => Kind::Offer,
        [5] => Kind::Ack,
        [6] => Kind::Nak,
        _ => return None,
    };
    let address = address(bytes.get(16..20)?)?;
    if kind != Kind::Nak && (address.is_unspecified() || address.is_broadcast() || address.is_loopback()) {
        return None;
    }
    let server = options.get(option::SERVER).and_then(self::address);
    Some(Reply { kind, server, offer: options.offer(address) })
}

/// Options by number, the parts of each in one (RFC 3396).
struct Options(Vec<(u8, Vec<u8>)>);

impl Options {
    /// Reads the options and, where they say so, what is in the places of the file's and the server's name.
    fn read(bytes: &[u8]) -> Option<Options> {
        let mut options = Options(Vec::new());
        options.take(bytes.get(HEADER..)?);
        let overload = options.get(option::OVERLOAD).and_then(|value| value.first().copied()).unwrap_or(0);
        if overload & 1 != 0 {
            options.take(bytes.get(108..HEADER - 4)?);
        }
        if overload & 2 != 0 {
            options.take(bytes.get(44..108)?);
        }
        Some(options)
    }

    fn take(&mut self, mut bytes: &[u8]) {
        loop {
            bytes = match bytes {
                [0, rest @ ..] => rest,
                [255, ..] | [] | [_] => return,
                [number, length, rest @ ..] => {
                    let Some((value, rest)) = rest.split_at_checked(usize::from(*length)) else { return };
                    match self.0.iter_mut().find(|(known, _)| known == number) {
                        Some((_, parts)) => parts.extend(value),
                        None => self.0.push((*number, value.to_vec())),
                    }
                    rest
                }
            };
        }
    }

    fn get(&self, number: u8) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| *known == number).map(|(_, value)| &**value)
    }

    fn addresses(&self, number: u8) -> Vec<Ipv4Addr> {
        self.get(number).unwrap_or_default().chunks_exact(4).filter_map(address).collect()
    }

    fn seconds(&self, number: u8) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(number)?.try_into().ok()?))
    }

    fn offer(&self, address: Ipv4Addr) -> Offer {
        let domain = || self.get(option::DOMAIN).and_then(|value| domain(&String::from_utf8_lossy(value)));
        let search = self.get(option::SEARCH).map(search).filter(|list| !list.is_empty());
        Offer {
            address,
            length: self.get(option::MASK).and_then(length).unwrap_or_else(|| classful(address)),
            routers: self.addresses(option::ROUTERS),
            routes: self.get(option::STATIC_ROUTES).map(routes).unwrap_or_default(),
            name_servers: self.addresses(option::NAME_SERVERS),
            ntp_servers: self.addresses(option::NTP_SERVERS),
            log_servers: self.addresses(option::LOG_SERVERS),
            search: search.unwrap_or_else(|| domain().into_iter().collect()),
            host_name: self.get(option::HOST_NAME).and_then(name_of_host),
            // 576 bytes is what every host must take (RFC 791).
            mtu: self
                .get(option::MTU)
                .and_then(|value| Some(u16::from_be_bytes(value.try_into().ok()?)))
                .filter(|mtu| *mtu >= 576),
            seconds: self.seconds(option::SECONDS).unwrap_or(u32::MAX),
            renew: self.seconds(option::RENEW),
            rebind: self.seconds(option::REBIND),
        }
    }
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?))
}

/// The length of a prefix by its mask, whose ones stand all before its zeros.
fn length(mask: &[u8]) -> Option<u8> {
    let mask = u32::from_be_bytes(mask.try_into().ok()?);
    (mask.leading_ones() + mask.trailing_zeros() == 32).then_some(mask.leading_ones() as u8)
}

/// The length by the class of an address, for a server that says no mask.
fn classful(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..=127 => 8,
        128..=191 => 16,
        _ => 24,
    }
}

/// Routes: the length of a prefix, as many bytes of the network as it has, and the gateway.
fn routes(mut bytes: &[u8]) -> Vec<(Ipv4Addr, u8, Ipv4Addr)> {
    let mut routes = Vec::new();
    while let Some((&length, rest)) = bytes.split_first() {
        let significant = usize::from(length).div_ceil(8);
        let Some((network, rest)) = rest.split_at_checked(significant).filter(|_| length <= 32) else { break };
        let Some((gateway, rest)) = rest.split_at_checked(4) else { break };
        let mut whole = [0; 4];
        whole.iter_mut().zip(network).for_each(|(to, from)| *to = *from);
        let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        let network = Ipv4Addr::from(u32::from_be_bytes(whole) & mask);
        routes.extend(address(gateway).map(|gateway| (network, length, gateway)));
        bytes = rest;
    }
    routes
}

/// The machine's name, which some servers end with a zero byte (RFC 2132, section 2).
fn name_of_host(value: &[u8]) -> Option<String> {
    let name = core::str::from_utf8(value).ok()?.trim_end_matches(['\0', '.']);
    host_name::is_valid(name).then(|| name.into())
}

/// A domain that can be a word of resolv.conf(5).
fn domain(text: &str) -> Option<String> {
    let text = text.trim_end_matches(['\0', '.']);
    let good = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_');
    (!text.is_empty() && text.len() <= 253 && text.chars().all(good)).then(|| text.into())
}

/// Domains as DNS has them, with pointers into the same option (RFC 1035, section 4.1.4).
fn search(bytes: &[u8]) -> Vec<String> {
    let mut domains = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let Some((name, next)) = name(bytes, at) else { break };
        domains.extend(domain(&name));
        at = next;
    }
    domains
}

/// The name at a place, and where the next one begins.
fn name(bytes: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut at, mut next) = (start, None);
    let mut name = String::new();
    loop {
        let length = *bytes.get(at)?;
        at += 1;
        match length {
            0 => return Some((name, next.unwrap_or(at))),
            1..=63 => {
                let label = bytes.get(at..at + usize::from(length))?;
                name.push_str(&String::from_utf8_lossy(label));
                name.push('.');
                at += usize::from(length);
            }
            0xc0.. => {
                let target = usize::from(length & 0x3f) << 8 | usize::from(*bytes.get(at)?);
                next.get_or_insert(at + 1);
                // Only backwards, so that there is an end.
                at = Some(target).filter(|target| *target < at - 1)?;
            }
            _ => return None,
        }
        if name.len() > 255 {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    fn identity() -> Identity {
        Identity { mac: MAC, host_name: Some("iron".into()) }
    }

    /// An answer with these options.
    fn reply(kind: u8, options: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![2, 1, 6, 0, 0, 0, 0, 7];
        bytes.resize(16, 0);
        bytes.extend([10, 0, 2, 15]);
        bytes.resize(28, 0);
        bytes.extend(MAC);
        bytes.resize(HEADER - 4, 0);
        bytes.extend(COOKIE);
        put(&mut bytes, option::KIND, &[kind]);
        options.iter().for_each(|(number, value)| put(&mut bytes, *number, value));
        bytes.push(255);
        bytes
    }

    #[test]
    fn a_request_is_what_the_rfc_says() {
        let mut request = Request {
            discover: true,
            exchange: 0x0102_0304,
            seconds: 5,
            client: Ipv4Addr::UNSPECIFIED,
            wanted: None,
            server: None,
        };
        let bytes = encode(&request, &identity());
        assert_eq!(&bytes[..12], [1, 1, 6, 0, 1, 2, 3, 4, 0, 5, 0x80, 0]);
        assert_eq!((&bytes[28..34], bytes[34], bytes.len()), (&MAC[..], 0, SHORTEST));
        assert_eq!(&bytes[236..243], [99, 130, 83, 99, 53, 1, 1]);
        let has = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        assert!(has(&bytes, b"\x0c\x04iron") && !has(&bytes, &[50, 4]));

        request.client = Ipv4Addr::new(10, 0, 2, 15);
        assert_eq!(encode(&request, &identity())[10..16], [0, 0, 10, 0, 2, 15]);
        request = Request { discover: false, client: Ipv4Addr::UNSPECIFIED, wanted: Some(request.client), ..request };
        assert!(has(&encode(&request, &identity()), &[50, 4, 10, 0, 2, 15]));
    }

    #[test]
    fn an_answer_has_all_that_it_says() {
        let bytes = reply(
            5,
            &[
                (option::MASK, &[255, 255, 240, 0]),
                (option::ROUTERS, &[10, 0, 2, 2, 10, 0, 2, 3]),
                (option::NAME_SERVERS, &[9, 9, 9, 9]),
                (option::NTP_SERVERS, &[10, 0, 2, 4, 10, 0, 2, 5]),
                (option::LOG_SERVERS, &[10, 0, 2, 6]),
                (option::DOMAIN, b"example.org\0"),
                (option::HOST_NAME, b"node-7\0"),
                (option::MTU, &[0x05, 0xaa]),
                (option::SECONDS, &[0, 0, 0x0e, 0x10]),
                (option::SERVER, &[10, 0, 2, 2]),
                (option::RENEW, &[0, 0, 0, 60]),
                (option::STATIC_ROUTES, &[0, 10, 0, 2, 2]),
                (option::STATIC_ROUTES, &[12, 172, 31, 10, 0, 2, 9]),
            ],
        );
        let found = decode(&bytes, 7, MAC).unwrap();
        assert_eq!((found.kind, found.server), (Kind::Ack, Some(Ipv4Addr::new(10, 0, 2, 2))));
        let offer = found.offer;
        assert_eq!((offer.address.to_string().as_str(), offer.length), ("10.0.2.15", 20));
        assert_eq!((offer.routers.len(), offer.ntp_servers.len()), (2, 2));
        assert_eq!(offer.log_servers, [Ipv4Addr::new(10, 0, 2, 6)]);
        assert_eq!(offer.search, ["example.org"]);
        assert_eq!(offer.host_name.as_deref(), Some("node-7"));
        let odd = reply(5, &[(option::HOST_NAME, b"a b")]);
        assert_eq!(decode(&odd, 7, MAC).unwrap().offer.host_name, None);
        assert_eq!((offer.mtu, offer.seconds, offer.renew, offer.rebind), (Some(1450), 3600, Some(60), None));
        let gateway = |last| Ipv4Addr::new(10, 0, 2, last);
        let expected = [(Ipv4Addr::UNSPECIFIED, 0, gateway(2)), (Ipv4Addr::new(172, 16, 0, 0), 12, gateway(9))];
        assert_eq!(offer.routes, expected);
    }

    #[test]
    fn answers_to_others_do_not_count() {
        let bytes = reply(2, &[]);
        assert!(decode(&bytes, 7, MAC).is_some());
        assert_eq!(decode(&bytes, 8, MAC), None);
        assert_eq!(decode(&bytes, 7, [0; 6]), None);
        assert_eq!(decode(&reply(1, &[]), 7, MAC), None);
        assert_eq!(decode(&bytes[..HEADER], 7, MAC), None);
        for length in 0..bytes.len() {
            decode(&bytes[..length], 7, MAC);
        }
        assert_eq!(decode(&bytes, 7, MAC).unwrap().offer.length, 8);
    }

    #[test]
    fn options_in_the_places_of_names() {
        let mut bytes = reply(2, &[(option::OVERLOAD, &[3])]);
        bytes[108..114].copy_from_slice(&[option::ROUTERS, 4, 10, 0, 2, 2]);
        bytes[114] = 255;
        bytes[44..50].copy_from_slice(&[option::NAME_SERVERS, 4, 1, 1, 1, 1]);
        let offer = decode(&bytes, 7, MAC).unwrap().offer;
        assert_eq!((offer.routers.len(), offer.name_servers.len()), (1, 1));
    }

    #[test]
    fn compressed_domains() {
        // eng.apple.com and marketing.apple.com, the example of RFC 3397.
        let bytes = b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04";
        assert_eq!(search(bytes), ["eng.apple.com", "marketing.apple.com"]);
        for bad in [&b"\xc0\x00"[..], b"\x03en", b"\x40a", b"\x01a\xc0\x05", b"\x01 \0"] {
            assert!(search(bad).is_empty(), "{bad:?}");
        }
    }

    #[test]
    fn masks_and_classes() {
        assert_eq!([[255, 0, 0, 0], [0; 4], [255; 4]].map(|mask| length(&mask)), [Some(8), Some(0), Some(32)]);
        assert_eq!((length(&[255, 0, 255, 0]), length(&[255])), (None, None));
        assert_eq!([10, 172, 192].map(|first| classful(Ipv4Addr::new(first, 0, 0, 1))), [8, 16, 24]);
    }
}
