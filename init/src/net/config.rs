//! What `/etc/network/*.toml` asks for, one file for each rule. `net` reads them at the start and at a reload.
//!
//! The files are read in the order of their names, and the first that matches an interface is the only one that counts
//! for it. A fault is named with its file and line, and a setting that is faulty is left out; the rest of the file counts.

use core::net::IpAddr;

use crate::config::table::{self, Entry, Fault, Reader, Value};
use init_base::bootconfig;
use init_base::rtnetlink::Prefix;

/// Which interfaces a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// By name; `*` stands for any characters and `?` for one.
    Name(String),
    /// By the card's address.
    Mac([u8; 6]),
    /// Every wired card.
    Wired,
    /// The first wired card there is.
    FirstWired,
}

/// A route of the configuration, see [`init_base::rtnetlink::Route`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Where to; nothing is everywhere.
    pub to: Option<Prefix>,
    /// Through whom.
    pub via: Option<IpAddr>,
    /// Its own metric.
    pub metric: Option<u32>,
}

/// How an interface is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The interface is somebody else's: nothing is done to it.
    pub ignore: bool,
    /// IPv4 by DHCP.
    pub dhcp: bool,
    /// Listen to router advertisements; nothing leaves it to the kernel, which does unless it is a router itself.
    pub ra: Option<bool>,
    /// Whether there is IPv6 on it; nothing leaves it to the kernel.
    pub ipv6: Option<bool>,
    /// Its own addresses.
    pub addresses: Vec<Prefix>,
    /// Routes through it, those to everywhere (`gateway`) among them.
    pub routes: Vec<Way>,
    /// Name servers. They take the place of those that DHCP and routers tell.
    pub dns: Vec<IpAddr>,
    /// Domains in which short names are looked for.
    pub search: Vec<String>,
    /// The largest packet in bytes.
    pub mtu: Option<u32>,
    /// The metric of its routes.
    pub metric: Option<u32>,
}

/// A rule: for whom, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The interfaces; any of these.
    pub patterns: Vec<Pattern>,
    /// What they get.
    pub settings: Settings,
}

/// Everything that is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The first rule that matches counts.
    pub rules: Vec<Rule>,
}

/// The rule in a file's text, and what is wrong with it.
pub fn parse(text: &str) -> (Option<Rule>, Vec<Fault>) {
    match table::parse(text) {
        Ok(entries) => {
            let mut reader = Reader::new(entries);
            let rule = rule(&mut reader);
            (rule, reader.finish())
        }
        Err(faults) => (None, faults),
    }
}

/// The texts of files that would say what keys `NAME.KEY` say, with their names. A table of a route is `NAME.routes.ANY.KEY`.
pub fn texts(entries: &[bootconfig::Entry]) -> Vec<(String, String)> {
    let mut texts: Vec<(String, String, String)> = Vec::new();
    for entry in entries {
        let Some((name, key)) = entry.key.split_once('.') else { continue };
        let place = texts.iter().position(|(known, ..)| known == name).unwrap_or(texts.len());
        if place == texts.len() {
            texts.push((name.into(), String::new(), String::new()));
        }
        let Some((_, head, routes)) = texts.get_mut(place) else { continue };
        match key.strip_prefix("routes.").and_then(|rest| rest.split_once('.')) {
            Some((route, key)) => {
                let mark = format!("# {route}\n");
                if !routes.contains(&mark) {
                    routes.push_str(&format!("[[routes]]\n{mark}"));
                }
                routes.push_str(&line(key, &entry.values));
            }
            None => head.push_str(&line(key, &entry.values)),
        }
    }
    let whole = |(name, mut head, routes): (String, String, String)| {
        if !head.contains("match = ") {
            head.push_str(&line("match", core::slice::from_ref(&name)));
        }
        (name, head + &routes)
    };
    texts.into_iter().map(whole).collect()
}

/// A line of TOML. The boot configuration knows texts alone; what can be a number or a truth value is one.
fn line(key: &str, values: &[String]) -> String {
    let text = |value: &String| format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
    match values {
        [one] if matches!(one.as_str(), "true" | "false") || one.parse::<u32>().is_ok() => format!("{key} = {one}\n"),
        [one] => format!("{key} = {}\n", text(one)),
        many => format!("{key} = [{}]\n", many.iter().map(text).collect::<Vec<_>>().join(", ")),
    }
}

fn rule(reader: &mut Reader) -> Option<Rule> {
    let patterns = reader.take("match", |value| list(value, "a name, a pattern or a card's address", pattern));
    let addresses = reader.take("addresses", |value| list(value, "an address like 192.168.1.5/24", prefix));
    let addresses = addresses.unwrap_or_default();
    let dhcp = reader.take("dhcp", Value::boolean);
    let gateways = reader.take("gateway", |value| list(value, "an address", address)).unwrap_or_default();
    let mut routes = reader.take("routes", ways).unwrap_or_default();
    routes.extend(gateways.into_iter().map(|via| Way { to: None, via: Some(via), metric: None }));
    let settings = Settings {
        ignore: reader.take("ignore", Value::boolean).unwrap_or(false),
        dhcp: dhcp.unwrap_or(!addresses.iter().any(|prefix| prefix.address.is_ipv4())),
        ra: reader.take("ra", Value::boolean),
        ipv6: reader.take("ipv6", Value::boolean),
        addresses,
        routes,
        dns: reader.take("dns", |value| list(value, "an address", address)).unwrap_or_default(),
        search: reader.take("search", |value| list(value, "a domain", domain)).unwrap_or_default(),
        // 68 bytes is the least that IPv4 works with (RFC 791).
        mtu: reader.take("mtu", |value| number(value, 68, 65535)),
        metric: reader.take("metric", metric),
    };
    let Some(patterns) = patterns.filter(|patterns| !patterns.is_empty()) else {
        reader.fault("it is for no interface; hint: match = \"eth0\"");
        return None;
    };
    Some(Rule { patterns, settings })
}

/// The parts of a list through `read`; a single text is a list of one.
fn list<T>(value: &Value, wanted: &str, read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    let texts = match value {
        Value::Text(_) => vec![value.text()?],
        _ => value.texts()?,
    };
    let read = |text: &String| read(text).ok_or_else(|| format!("has '{text}', and {wanted} is wanted"));
    texts.iter().map(read).collect()
}

fn number(value: &Value, least: u32, most: u32) -> Result<u32, String> {
    let number = value.integer(least.into(), most.into())?;
    u32::try_from(number).map_err(|_| "is too large".into())
}

fn metric(value: &Value) -> Result<u32, String> {
    number(value, 0, i32::MAX as u32)
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

fn ways(value: &Value) -> Result<Vec<Way>, String> {
    let Value::List(parts) = value else {
        return Err(value.not("a list of tables"));
    };
    parts.iter().map(way).collect()
}

fn way(value: &Value) -> Result<Way, String> {
    let Value::Table(entries) = value else {
        return Err(value.not("a table like { to = \"10.0.0.0/8\", via = \"10.1.0.1\" }"));
    };
    let mut to = None;
    let mut way = Way { to: None, via: None, metric: None };
    for Entry { key, value, .. } in entries {
        match key.as_str() {
            "to" => to = Some(value.text()?),
            "via" => {
                let text = value.text()?;
                way.via = Some(address(&text).ok_or_else(|| format!("has '{text}', and an address is wanted"))?);
            }
            "metric" => way.metric = Some(metric(value)?),
            other => return Err(format!("has '{other}'; a route has to, via and metric")),
        }
    }
    match to.as_deref() {
        None => return Err("needs `to`, a network or \"default\"".into()),
        Some("default") if way.via.is_none() => return Err("needs `via` for a route to everywhere".into()),
        Some("default") => {}
        Some(text) => {
            let network = prefix(text).map(network);
            way.to = Some(network.ok_or_else(|| format!("has '{text}', and a network like 10.0.0.0/8 is wanted"))?);
        }
    }
    match (way.to, way.via) {
        (Some(to), Some(via)) if to.address.is_ipv4() != via.is_ipv4() => {
            Err(format!("has a gateway of another family: {via}"))
        }
        _ => Ok(way),
    }
}

/// An address with the length of its network, `10.0.0.1/8` or `fd00::1/64`.
pub fn prefix(text: &str) -> Option<Prefix> {
    text.parse().ok()
}

/// A card's address, `52:54:00:12:34:56`.
fn mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

/// Interfaces by a name, a pattern of names, or a card's address.
pub fn pattern(text: &str) -> Option<Pattern> {
    match mac(text) {
        Some(mac) => Some(Pattern::Mac(mac)),
        None => (!text.is_empty() && !text.contains(['/', ':', ' '])).then(|| Pattern::Name(text.into())),
    }
}

/// A domain, which becomes a word of a line.
fn domain(text: &str) -> Option<String> {
    let good = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_');
    (!text.is_empty() && text.len() <= 253 && text.chars().all(good)).then(|| text.into())
}

/// The network of an address: the kernel refuses a route to a network with bits set behind its prefix.
pub fn network(prefix: Prefix) -> Prefix {
    let address = match prefix.address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.length.min(32))).unwrap_or(0);
            IpAddr::V4((u32::from(address) & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.length.min(128))).unwrap_or(0);
            IpAddr::V6((u128::from(address) & mask).into())
        }
    };
    Prefix { address, length: prefix.length }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Rule {
        let (rule, faults) = parse(text);
        assert_eq!(faults, []);
        rule.unwrap()
    }

    fn faults(text: &str) -> Vec<(usize, String)> {
        parse(text).1.into_iter().map(|fault| (fault.line, fault.message)).collect()
    }

    #[test]
    fn a_static_host() {
        let rule = rule(
            "match = 'eth0'\naddresses = ['192.168.1.5/24', 'fd00::5/64']\ngateway = ['192.168.1.1', 'fd00::1']\n\
             dns = '9.9.9.9'\nsearch = ['example.org']\nmtu = 9_000\nra = false\nmetric = 0x10\n\
             [[routes]]\nto = '10.1.2.3/8'\nvia = '192.168.1.2'\nmetric = 5\n",
        );
        assert_eq!(rule.patterns, [Pattern::Name("eth0".into())]);
        let settings = rule.settings;
        assert_eq!(settings.addresses, [prefix("192.168.1.5/24").unwrap(), prefix("fd00::5/64").unwrap()]);
        assert!(!settings.dhcp, "an address of its own is in place of DHCP");
        assert_eq!((settings.ra, settings.ipv6, settings.ignore), (Some(false), None, false));
        assert_eq!((settings.mtu, settings.metric), (Some(9000), Some(16)));
        assert_eq!(settings.dns, ["9.9.9.9".parse::<IpAddr>().unwrap()]);
        assert_eq!(settings.search, ["example.org"]);
        let ways: Vec<_> = settings.routes.iter().map(|way| (way.to, way.via.unwrap().to_string())).collect();
        assert_eq!(
            ways,
            [(prefix("10.0.0.0/8"), "192.168.1.2".into()), (None, "192.168.1.1".into()), (None, "fd00::1".into())]
        );
    }

    #[test]
    fn the_boot_configuration_says_the_same() {
        let text = "eth0.addresses = \"192.168.1.5/24\", \"fd00::5/64\"\neth0.gateway = \"192.168.1.1\"\neth0.mtu = \"9000\"\n\
                    lan.match = \"en*\"\nlan.ra = \"false\"\neth0.routes.a.to = \"10.0.0.0/8\"\neth0.routes.a.via = \"192.168.1.2\"\n\
                    eth0.routes.b.to = \"172.16.0.0/12\"\neth0.routes.b.via = \"192.168.1.3\"\nlan.colour = \"a\\b\"\nalone = \"x\"\n";
        let texts = texts(&bootconfig::parse(text));
        assert_eq!(texts.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["eth0", "lan"]);
        let first = rule(&texts[0].1);
        assert_eq!(first.patterns, [Pattern::Name("eth0".into())]);
        assert_eq!(
            (first.settings.addresses.len(), first.settings.routes.len(), first.settings.mtu),
            (2, 3, Some(9000))
        );
        let (second, faults) = parse(&texts[1].1);
        assert_eq!(second.unwrap().settings.ra, Some(false));
        assert!(faults.len() == 1 && faults[0].message.contains("colour"), "{faults:?}");
    }

    #[test]
    fn dhcp_is_the_default_and_can_be_had_beside_an_address() {
        assert!(rule("match = ['en*', '52:54:00:12:34:56']").settings.dhcp);
        assert!(rule("match = 'e'\naddresses = 'fd00::5/64'").settings.dhcp);
        assert!(rule("match = 'e'\naddresses = '10.0.0.1/8'\ndhcp = true").settings.dhcp);
        let patterns = rule("match = ['en*', '52:54:00:12:34:Ab']").patterns;
        assert_eq!(patterns, [Pattern::Name("en*".into()), Pattern::Mac([0x52, 0x54, 0, 0x12, 0x34, 0xab])]);
    }

    /// The example that every image has, with and without the settings that are comments in it.
    #[test]
    fn the_example_is_a_rule() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../sysroot/skeleton/etc/network/example");
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(rule(&text).settings.routes.len(), 1);
        let is_setting = |line: &str| line.strip_prefix("# ").is_some_and(|line| line.contains(" = "));
        let all: String =
            text.lines().map(|line| format!("{}\n", if is_setting(line) { &line[2..] } else { line })).collect();
        let settings = rule(&all).settings;
        assert_eq!((settings.routes.len(), settings.mtu, settings.ipv6), (2, Some(9000), Some(false)));
    }

    #[test]
    fn faults_are_named_by_line_and_the_rest_counts() {
        let text = "match = 'eth0'\naddresses = ['10.0.0.2/8', '10.0.0.1']\nmtu = 5\ncolour = 'red'\ndns = '9.9.9.9'\n";
        let (rule, found) = parse(text);
        let settings = rule.unwrap().settings;
        assert_eq!((settings.addresses, settings.mtu, settings.dns.len()), (vec![], None, 1));
        assert_eq!(found.len(), 3);
        for (line, word) in [(2, "'addresses' has '10.0.0.1'"), (3, "from 68 to 65535"), (4, "'colour'")] {
            assert!(faults(text).iter().any(|(at, fault)| *at == line && fault.contains(word)), "{found:?}");
        }
    }

    #[test]
    fn a_file_without_interface_or_with_bad_syntax_is_no_rule() {
        assert_eq!(parse("dhcp = true").0, None);
        assert!(faults("dhcp = true")[0].1.contains("match = "));
        assert_eq!(parse("match = 'eth0'\n= 5\n").0, None);
        assert_eq!(faults("match = 'eth0'\n= 5\n")[0].0, 2);
        assert_eq!(parse("\0\x01[[[").0, None);
        assert_eq!(parse("match = []").0, None);
    }

    #[test]
    fn routes_need_a_network_and_one_family() {
        for bad in [
            "{}",
            "{ to = 'default' }",
            "{ via = '10.0.0.1' }",
            "{ to = '10.0.0.0/8', via = 'fd00::1' }",
            "{ to = '10.0.0.0/33', via = '10.0.0.1' }",
            "{ to = '10.0.0.0/8', via = 'x' }",
            "{ to = '10.0.0.0/8', over = 'x' }",
            "'10.0.0.0/8'",
        ] {
            let text = format!("match = 'e'\nroutes = [{bad}]");
            assert_eq!(parse(&text).0.unwrap().settings.routes, [], "{bad}");
            assert_eq!(faults(&text).len(), 1, "{bad}");
        }
        assert_eq!(rule("match = 'e'\nroutes = [{ to = '10.0.0.0/8' }]").settings.routes.len(), 1);
        assert_eq!(rule("match = 'e'\nroutes = [{ to = 'default', via = 'fe80::1' }]").settings.routes.len(), 1);
    }

    #[test]
    fn networks_have_no_bits_behind_their_prefix() {
        for (text, network_text) in [("10.1.2.3/8", "10.0.0.0"), ("1.2.3.4/0", "0.0.0.0"), ("1.2.3.4/32", "1.2.3.4")] {
            assert_eq!(network(prefix(text).unwrap()).address.to_string(), network_text);
        }
        assert_eq!(network(prefix("fd00::5/64").unwrap()).address.to_string(), "fd00::");
        assert_eq!(network(prefix("fd00::5/0").unwrap()).address.to_string(), "::");
        assert_eq!(prefix("10.0.0.1/33"), None);
        assert_eq!(prefix("10.0.0.1"), None);
    }
}
