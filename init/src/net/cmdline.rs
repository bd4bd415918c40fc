//! `ip=` on the kernel command line, in the kernel's own forms (Documentation/admin-guide/nfs/nfsroot.rst): the kernel's
//! own code for it (CONFIG_IP_PNP) would wait for the network before PID 1 runs, so PID 1 does what it asks.

use core::net::{IpAddr, Ipv4Addr};

use super::config::{Config, Pattern, Rule, Settings, Way};
use init_base::rtnetlink::Prefix;

/// What the command line asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpOptions {
    /// Rules that come before those of the files.
    pub rules: Vec<Rule>,
    /// `ip=off`: interfaces without a rule are left alone.
    pub off: bool,
    /// The machine's name, for a system that has none.
    pub host_name: Option<String>,
    /// What is wrong.
    pub faults: Vec<String>,
}

/// Reads every `ip=` (and `nfsaddrs=`, its old name) of the command line.
pub fn parse(command_line: &str) -> IpOptions {
    let mut request = IpOptions::default();
    for word in command_line.split_ascii_whitespace().take_while(|word| *word != "--") {
        if let Some(value) = word.strip_prefix("ip=").or_else(|| word.strip_prefix("nfsaddrs=")) {
            request.read(value);
        }
    }
    // The last word about an interface counts.
    request.rules.reverse();
    request
}

impl IpOptions {
    /// The rules of the command line, then those of the files, then, unless `ip=off` forbids it, DHCP on wired cards.
    pub fn with_files(self, files: Vec<Rule>) -> Config {
        let mut rules = self.rules;
        rules.extend(files);
        if !self.off {
            let settings = Settings { dhcp: true, ..Settings::default() };
            rules.push(Rule { patterns: vec![Pattern::Wired], settings });
        }
        Config { rules }
    }

    fn read(&mut self, value: &str) {
        match value {
            "" | "off" | "none" => self.off = true,
            // `dhcp,TYPE,VALUE` names a client identifier. udhcpc's own, the card's address, is kept.
            _ if dynamic(value) => {
                let settings = Settings { dhcp: true, ..Settings::default() };
                self.rules.push(Rule { patterns: vec![Pattern::Wired], settings });
            }
            _ if !value.contains(':') && value.parse::<Ipv4Addr>().is_err() => {
                self.faults.push(format!("ip={value}: neither dhcp nor off nor an address; it is left out"));
            }
            _ => self.read_fields(value),
        }
    }

    /// `client:server:gateway:netmask:hostname:device:autoconf:dns0:dns1:ntp0`; all may be empty. The server is for a root
    /// over NFS, and the time server is not for init.
    fn read_fields(&mut self, value: &str) {
        let fields: Vec<&str> = value.split(':').collect();
        let field = |number: usize| fields.get(number).copied().unwrap_or_default();
        let mut address = |number: usize, what: &str| match field(number).parse::<Ipv4Addr>() {
            Ok(address) if address.is_unspecified() => None,
            Ok(address) => Some(address),
            Err(_) if field(number).is_empty() => None,
            Err(_) => {
                self.faults.push(format!("ip={value}: the {what} '{}' is no IPv4 address", field(number)));
                None
            }
        };
        let (client, gateway, mask) = (address(0, "address"), address(2, "gateway"), address(3, "netmask"));
        let dns: Vec<IpAddr> =
            [address(7, "name server"), address(8, "name server")].into_iter().flatten().map(IpAddr::V4).collect();
        if !field(4).is_empty() {
            // The part behind a dot is the NIS domain.
            self.host_name = field(4).split('.').next().filter(|name| !name.is_empty()).map(String::from);
        }

        let mut settings = Settings { dns, ..Settings::default() };
        match client {
            // With an address the kernel asks nobody, whatever the method is.
            Some(client) => match length(client, mask) {
                Some(length) => {
                    settings.addresses.push(Prefix { address: client.into(), length });
                    let via = gateway.map(IpAddr::V4);
                    settings.routes.extend(via.map(|via| Way { to: None, via: Some(via), metric: None }));
                }
                None => {
                    let mask = field(3);
                    return self.faults.push(format!("ip={value}: the netmask '{mask}' is none; it is left out"));
                }
            },
            None if field(0).is_empty() || field(0).parse() == Ok(Ipv4Addr::UNSPECIFIED) => {
                settings.dhcp = !matches!(field(6), "off" | "none" | "static");
            }
            // Said already.
            None => return,
        }
        if !settings.dhcp && settings.addresses.is_empty() {
            settings.ignore = true;
        }
        let pattern = match field(5) {
            "" if settings.ignore => {
                self.off = true;
                return;
            }
            "" if settings.dhcp => Pattern::Wired,
            "" => Pattern::FirstWired,
            name => Pattern::Name(name.into()),
        };
        self.rules.push(Rule { patterns: vec![pattern], settings });
    }
}

/// Whether the method is one that asks the network. There is only one that does here, DHCP, so it is taken for all.
fn dynamic(method: &str) -> bool {
    matches!(method, "on" | "any" | "dhcp" | "bootp" | "rarp" | "both") || method.starts_with("dhcp,")
}

/// The length of the client's network: from the mask, or by the class of the address as the kernel guesses it
/// (`ic_defaults` of its net/ipv4/ipconfig.c).
fn length(client: Ipv4Addr, mask: Option<Ipv4Addr>) -> Option<u8> {
    let Some(mask) = mask.map(u32::from) else {
        return Some(match client.octets() {
            [0..128, ..] => 8,
            [128..192, ..] => 16,
            [192..224, ..] => 24,
            _ => return None,
        });
    };
    let length = mask.leading_ones();
    (mask.count_ones() == length).then_some(length as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(command_line: &str) -> Rule {
        let request = parse(command_line);
        assert_eq!(request.faults, [] as [String; 0]);
        assert_eq!(request.rules.len(), 1, "{request:?}");
        request.rules.into_iter().next().unwrap()
    }

    #[test]
    fn a_method_alone_is_for_every_wired_card() {
        for word in ["ip=dhcp", "ip=on", "ip=any", "ip=both", "ip=bootp", "ip=rarp", "ip=dhcp,1,x", "nfsaddrs=dhcp"] {
            let rule = only(&format!("quiet {word} ro"));
            assert_eq!(rule.patterns, [Pattern::Wired], "{word}");
            assert!(rule.settings.dhcp, "{word}");
        }
    }

    #[test]
    fn off_leaves_the_others_alone() {
        for word in ["ip=", "ip=off", "ip=none", "ip=::::::off", "ip=:::::"] {
            let request = parse(word);
            assert_eq!(request.off, word != "ip=:::::", "{word}");
        }
        assert!(!parse("quiet").off);
    }

    #[test]
    fn every_field() {
        let command_line = "ip=10.0.2.15:10.0.2.2:10.0.2.2:255.255.255.0:iron.works:eth1:off:10.0.2.3:9.9.9.9:1.2.3.4";
        let rule = only(command_line);
        assert_eq!(rule.patterns, [Pattern::Name("eth1".into())]);
        let settings = rule.settings;
        assert!(!settings.dhcp && !settings.ignore);
        assert_eq!(settings.addresses, [Prefix { address: [10, 0, 2, 15].into(), length: 24 }]);
        assert_eq!(settings.routes, [Way { to: None, via: Some([10, 0, 2, 2].into()), metric: None }]);
        assert_eq!(settings.dns, [IpAddr::from([10, 0, 2, 3]), IpAddr::from([9, 9, 9, 9])]);
        assert_eq!(parse(command_line).host_name.as_deref(), Some("iron"));
    }

    #[test]
    fn the_network_is_guessed_by_class_as_the_kernel_does() {
        for (address, length) in [("10.0.0.1", 8), ("172.16.0.1", 16), ("192.168.0.1", 24)] {
            let rule = only(&format!("ip={address}"));
            assert_eq!(rule.patterns, [Pattern::FirstWired]);
            assert_eq!(rule.settings.addresses[0].length, length, "{address}");
        }
        assert_eq!(only("ip=10.0.0.1:::255.255.255.255::eth0").settings.addresses[0].length, 32);
        assert_eq!(parse("ip=224.0.0.1").rules, []);
    }

    #[test]
    fn a_device_with_dhcp_or_nothing() {
        let rule = only("ip=:::::eth0:dhcp");
        assert_eq!((rule.patterns, rule.settings.dhcp), (vec![Pattern::Name("eth0".into())], true));
        let rule = only("ip=0.0.0.0:::::eth0");
        assert_eq!((rule.patterns, rule.settings.dhcp), (vec![Pattern::Name("eth0".into())], true));
        assert!(only("ip=:::::eth0:off").settings.ignore);
    }

    #[test]
    fn the_last_word_about_a_device_comes_first() {
        let request = parse("ip=10.0.0.1:::::eth0 ip=10.0.0.2:::::eth0");
        assert_eq!(request.rules[0].settings.addresses[0].address, IpAddr::from([10, 0, 0, 2]));
    }

    #[test]
    fn what_is_wrong_is_said_and_left_out() {
        for word in ["ip=dhpc", "ip=10.0.0:::::eth0", "ip=10.0.0.1:::255.0.255.0::eth0", "ip=fe80::1"] {
            let request = parse(word);
            assert_eq!(request.rules, [], "{word}");
            assert!(!request.faults.is_empty(), "{word}");
        }
        // A wrong gateway is no reason to go without an address.
        let request = parse("ip=10.0.0.1::x:::eth0");
        assert_eq!((request.rules.len(), request.faults.len()), (1, 1));
        assert_eq!(parse("-- ip=dhcp").rules, []);
    }
}
