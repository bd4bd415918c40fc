use super::requests::broadcast;
use super::*;

/// A message of the kernel: header and body.
fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&(16 + body.len() as u32).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// `ifinfomsg` of interface `index` and attributes.
fn link(kind: u16, index: u32, flags: u32, attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![0, 0];
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(&index.to_ne_bytes());
    body.extend_from_slice(&flags.to_ne_bytes());
    body.extend_from_slice(&[0; 4]);
    body.extend(attributes.concat());
    body
}

#[test]
fn a_card_with_a_cable() {
    let body = link(
        1,
        2,
        0x1_1043,
        &[
            attribute(IFLA_IFNAME, b"eth0\0"),
            attribute(IFLA_ADDRESS, &[0x52, 0x54, 0, 0x12, 0x34, 0x56]),
            attribute(IFLA_MTU, &1500u32.to_ne_bytes()),
            attribute(IFLA_PARENT_DEV_NAME, b"0000:00:03.0\0"),
        ],
    );
    let expected = Link {
        index: 2,
        name: "eth0".into(),
        mac: Some([0x52, 0x54, 0, 0x12, 0x34, 0x56]),
        up: true,
        carrier: true,
        loopback: false,
        ethernet: true,
        enslaved: false,
        kind: String::new(),
        device: true,
        mtu: 1500,
    };
    assert_eq!(decode(&message(RTM_NEWLINK, 0, 0, &body)), [Message::Link(expected)]);
}

#[test]
fn virtual_and_enslaved_interfaces_are_told_apart() {
    // Nested attributes have a flag bit in their number.
    let info = attribute(0x8000 | IFLA_LINKINFO, &attribute(IFLA_INFO_KIND, b"veth\0"));
    let master = attribute(IFLA_MASTER, &7u32.to_ne_bytes());
    let body = link(1, 9, 0, &[attribute(IFLA_IFNAME, b"v0\0"), info, master]);
    let notices = decode(&message(RTM_NEWLINK, 0, 0, &body));
    let [Message::Link(link)] = &*notices else { panic!("{notices:?}") };
    assert_eq!((&*link.kind, link.enslaved, link.device, link.up), ("veth", true, false, false));
}

#[test]
fn news_of_a_bridge_about_its_ports_do_not_count() {
    let mut body = link(1, 4, 1, &[attribute(IFLA_IFNAME, b"eth0\0")]);
    body[0] = AF_BRIDGE;
    assert_eq!(decode(&message(RTM_NEWLINK, 0, 0, &body)), []);
    assert_eq!(decode(&message(RTM_DELLINK, 0, 0, &body)), []);
    body[0] = 0;
    assert_eq!(decode(&message(RTM_DELLINK, 0, 0, &body)), [Message::LinkGone(4)]);
}

#[test]
fn names_that_could_be_paths_are_refused() {
    for bad in ["..", ".", "a/b", "a b", "sixteen-letters!", "", "a\nb"] {
        let body = link(1, 4, 1, &[attribute(IFLA_IFNAME, format!("{bad}\0").as_bytes())]);
        assert_eq!(decode(&message(RTM_NEWLINK, 0, 0, &body)), [], "{bad}");
    }
}

#[test]
fn addresses_come_become_usable_and_go() {
    let body = |flags: u32| {
        let head = [vec![2, 24, 0x80, 0], 5u32.to_ne_bytes().to_vec()].concat();
        let rest = [attribute(IFA_ADDRESS, &[10, 0, 2, 99]), attribute(IFA_LOCAL, &[10, 0, 2, 15])].concat();
        [head, rest, attribute(IFA_FLAGS, &flags.to_ne_bytes())].concat()
    };
    let prefix = Prefix { address: [10, 0, 2, 15].into(), length: 24 };
    let expected = |usable| Message::Address { index: 5, prefix, global: true, usable };
    assert_eq!(decode(&message(RTM_NEWADDR, 0, 0, &body(0x80))), [expected(true)]);
    assert_eq!(decode(&message(RTM_NEWADDR, 0, 0, &body(0x40))), [expected(false)]);
    assert_eq!(decode(&message(RTM_DELADDR, 0, 0, &body(0x80))), [expected(false)]);

    let address: Ipv6Addr = "fe80::1".parse().unwrap();
    let body = [vec![10, 64, 0, 253, 5, 0, 0, 0], attribute(IFA_ADDRESS, &address.octets())].concat();
    let expected = Message::Address {
        index: u32::from_ne_bytes([5, 0, 0, 0]),
        prefix: Prefix { address: address.into(), length: 64 },
        global: false,
        usable: true,
    };
    assert_eq!(decode(&message(RTM_NEWADDR, 0, 0, &body)), [expected]);
}

#[test]
fn name_servers_of_a_router() {
    let server: Ipv6Addr = "2001:db8::53".parse().unwrap();
    // RDNSS: type 25, 3 units of 8 bytes, lifetime 600 seconds, one address.
    let option = [vec![25, 3, 0, 0, 0, 0, 2, 0x58], server.octets().to_vec()].concat();
    let head = [vec![10, 0, 0, 0], 3u32.to_ne_bytes().to_vec(), vec![134, 0, 0, 0, 0, 0, 0, 0]].concat();
    let expected = Message::NameServers { index: 3, servers: vec![server], lifetime: 600 };
    assert_eq!(decode(&message(RTM_NEWNDUSEROPT, 0, 0, &[head.clone(), option.clone()].concat())), [expected]);
    // A length beyond the message, and another option.
    let mut cut = option.clone();
    cut[1] = 9;
    assert_eq!(decode(&message(RTM_NEWNDUSEROPT, 0, 0, &[head.clone(), cut].concat())), []);
    let mut other = option;
    other[0] = 31;
    assert_eq!(decode(&message(RTM_NEWNDUSEROPT, 0, 0, &[head, other].concat())), []);
}

#[test]
fn answers_and_the_kernels_words() {
    let request = message(RTM_NEWADDR, 5, 77, &[1, 2, 3, 4]);
    let ok = [vec![0; 4], request.clone()].concat();
    let expected = Message::Answer { sequence: 77, error: None };
    assert_eq!(decode(&message(NLMSG_ERROR, NLM_F_CAPPED, 77, &ok)), [expected]);

    let words = attribute(NLMSGERR_ATTR_MSG, b"IPv4: Invalid scope value\0");
    let refused = (-22i32).to_ne_bytes().to_vec();
    let expected = Message::Answer { sequence: 77, error: Some((Errno::INVAL, "IPv4: Invalid scope value".into())) };
    // With the whole request, and with its header alone.
    let whole = [refused.clone(), request.clone(), words.clone()].concat();
    assert_eq!(decode(&message(NLMSG_ERROR, NLM_F_ACK_TLVS, 77, &whole)), core::slice::from_ref(&expected));
    let capped = [refused.clone(), request[..16].to_vec(), words].concat();
    assert_eq!(decode(&message(NLMSG_ERROR, NLM_F_ACK_TLVS | NLM_F_CAPPED, 77, &capped)), [expected]);

    let silent = [refused, request].concat();
    let expected = Message::Answer { sequence: 77, error: Some((Errno::INVAL, String::new())) };
    assert_eq!(decode(&message(NLMSG_ERROR, 0, 77, &silent)), [expected]);
    assert_eq!(decode(&message(NLMSG_DONE, 2, 8, &[0; 4])), [Message::Done { sequence: 8 }]);
}

#[test]
fn several_messages_in_a_datagram() {
    let bytes = [message(NLMSG_DONE, 0, 1, &[0; 3]), message(0x77, 0, 0, &[1]), message(NLMSG_DONE, 0, 2, &[])];
    assert_eq!(decode(&bytes.concat()), [Message::Done { sequence: 1 }, Message::Done { sequence: 2 }]);
}

#[test]
fn any_bytes_are_survived() {
    // Every cut and every single wrong byte of a good datagram, and numbers that point anywhere.
    let body = link(1, 2, 1, &[attribute(IFLA_IFNAME, b"eth0\0"), attribute(IFLA_ADDRESS, &[1; 6])]);
    let refused = [(-1i32).to_ne_bytes().to_vec(), vec![0xff; 16], attribute(1, b"x\0")].concat();
    for good in [message(RTM_NEWLINK, 0, 0, &body), message(NLMSG_ERROR, NLM_F_ACK_TLVS, 0, &refused)] {
        for place in 0..good.len() {
            decode(&good[..place]);
            for value in [0, 1, 3, 0x7f, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[place] = value;
                decode(&bad);
            }
        }
    }
    let mut state = 1u32;
    for length in 0..2000 {
        let noise: Vec<u8> = (0..length % 97)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8 & if length % 2 == 0 { 0xff } else { 0x1f }
            })
            .collect();
        decode(&noise);
    }
}

/// The parts of a request: kind, flags, the body behind the header.
fn parts(request: &[u8]) -> (u16, u16, &[u8]) {
    assert_eq!(u32_at(request, 0), Some(request.len() as u32), "the length field");
    (u16_at(request, 4).unwrap(), u16_at(request, 6).unwrap(), &request[16..])
}

#[test]
fn requests_about_interfaces() {
    let request = set_up(7, 3);
    let (kind, flags, body) = parts(&request);
    assert_eq!((kind, flags, body.len()), (RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, 16));
    assert_eq!([u32_at(body, 4), u32_at(body, 8), u32_at(body, 12)], [Some(3), Some(1), Some(1)]);
    let request = set_mtu(7, 3, 9000);
    let (_, _, body) = parts(&request);
    assert_eq!([u32_at(body, 8), u32_at(body, 12)], [Some(0), Some(0)], "the flags stay");
    assert_eq!(Attributes(&body[16..]).collect::<Vec<_>>(), [(IFLA_MTU, &9000u32.to_ne_bytes()[..])]);
}

#[test]
fn requests_about_addresses_can_be_read_back() {
    for (address, length, broadcast) in
        [("192.168.1.5", 24, Some([192, 168, 1, 255])), ("10.0.0.1", 31, None), ("fd00::5", 64, None)]
    {
        let prefix = Prefix { address: address.parse().unwrap(), length };
        for add in [true, false] {
            let request = change_address(9, 2, prefix, add);
            let expected = Message::Address { index: 2, prefix, global: true, usable: add };
            assert_eq!(decode(&request), [expected]);
            let found = Attributes(&request[24..]).find(|(kind, _)| *kind == IFA_BROADCAST);
            assert_eq!(found.map(|(_, value)| value), broadcast.as_ref().map(|bytes| &bytes[..]));
        }
    }
    assert_eq!(broadcast([1, 2, 3, 4].into(), 0), Some(Ipv4Addr::BROADCAST));
}

#[test]
fn requests_about_routes() {
    let via = Some([10, 0, 2, 2].into());
    let request = change_route(9, 2, &Route { to: None, via, metric: 102, on_link: false }, true);
    let (kind, flags, body) = parts(&request);
    // Never in place of another: that could be another card's.
    assert_eq!((kind, flags), (RTM_NEWROUTE, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND));
    assert_eq!(body[..12], [2, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0]);
    let attributes: Vec<_> = Attributes(&body[12..]).collect();
    let (index, metric) = (2u32.to_ne_bytes(), 102u32.to_ne_bytes());
    assert_eq!(attributes, [(RTA_OIF, &index[..]), (RTA_PRIORITY, &metric), (RTA_GATEWAY, &[10, 0, 2, 2])]);

    let to = Some(Prefix { address: "fd01::".parse().unwrap(), length: 32 });
    let request = change_route(9, 2, &Route { to, via: None, metric: 1, on_link: true }, false);
    let (kind, _, body) = parts(&request);
    assert_eq!((kind, body[0], body[1], body[6]), (RTM_DELROUTE, 10, 32, 0));
    let to = Some(Prefix { address: [10, 9, 0, 0].into(), length: 16 });
    let request = change_route(9, 2, &Route { to, via: None, metric: 1, on_link: false }, true);
    assert_eq!(parts(&request).2[6], RT_SCOPE_LINK, "IPv4 routes without a gateway are the link's");
}
