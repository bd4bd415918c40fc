//! Reads the rules of [`super::config`], and says what is wrong with them: that of the machine's settings, those of the boot
//! configuration, then those of files.

use init_base::bootconfig::{self, Entry};

use init_base::settings::{self, Settings as Told};

use super::config::{self, Pattern, Rule, Settings, Way, parse};
use crate::log::{error, warn};
use crate::sys::{Errno, files};

/// Where the rules are.
const DIR: &str = "/etc/network";
/// More rule files than this are not read.
const MOST_FILES: usize = 256;

/// The rule of the settings, those of the boot configuration, then those of all files in the order of their names. `command_line`
/// is the kernel's.
pub fn read_all(command_line: &str) -> Vec<Rule> {
    let mut rules = Vec::from_iter(told(&settings::load(command_line)));
    rules.extend(configured(bootconfig::below("network")));
    rules.extend(read_files());
    rules
}

/// The rule of the settings, if one of them is about the network. It is for one interface: the one that they name, or else the
/// first wired card. Values are known to be right.
fn told(settings: &Told) -> Option<Rule> {
    if ["interface", "address", "gateway", "dns", "search"].iter().all(|key| settings.value(key).is_none()) {
        return None;
    }
    let addresses: Vec<_> = settings.values("address").iter().filter_map(|text| config::prefix(text)).collect();
    let gateways = settings.values("gateway").iter().filter_map(|text| text.parse().ok());
    let asked = settings.values("address").iter().any(|text| text == "dhcp");
    let pattern = settings.value("interface").and_then(config::pattern).unwrap_or(Pattern::FirstWired);
    Some(Rule {
        patterns: vec![pattern],
        settings: Settings {
            dhcp: asked || !addresses.iter().any(|prefix| prefix.address.is_ipv4()),
            addresses,
            routes: gateways.map(|via| Way { to: None, via: Some(via), metric: None }).collect(),
            dns: settings.values("dns").iter().filter_map(|text| text.parse().ok()).collect(),
            search: settings.values("search").to_vec(),
            ..Settings::default()
        },
    })
}

/// The rules in keys `NAME.KEY`: one for each name, which is that of an interface unless `NAME.match` says another pattern.
fn configured(entries: Vec<Entry>) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (name, text) in config::texts(&entries) {
        let (rule, faults) = parse(&text);
        for fault in faults.iter().take(5) {
            warn!("boot configuration, network.{name}: {}", fault.message);
        }
        rules.extend(rule);
    }
    rules
}

fn read_files() -> Vec<Rule> {
    let names = match files::list_dir(DIR) {
        Ok(names) => names,
        Err(Errno::NOENT) => return Vec::new(),
        Err(error) => {
            error!("cannot read {DIR}: {error}");
            return Vec::new();
        }
    };
    let names = names.iter().filter(|name| name.ends_with(".toml") && !name.starts_with('.'));
    names.take(MOST_FILES).filter_map(|name| read(&format!("{DIR}/{name}"))).collect()
}

fn read(path: &str) -> Option<Rule> {
    let content = match files::read_file(path) {
        Ok(content) => content,
        Err(error) => {
            error!("cannot read {path}: {error}");
            return None;
        }
    };
    let Ok(text) = String::from_utf8(content) else {
        warn!("{path} is no text; the whole file is left out");
        return None;
    };
    let (rule, faults) = parse(&text);
    for fault in faults.iter().take(5) {
        match fault.line {
            0 => warn!("{path}: {}", fault.message),
            line => warn!("{path}, line {line}: {}", fault.message),
        }
    }
    rule
}

#[cfg(test)]
mod tests {
    use init_base::settings::{Setting, Source};

    use super::*;

    fn rule(settings: &[(&'static str, &str)]) -> Option<Rule> {
        let setting = |(key, values): &(&'static str, &str)| Setting {
            source: Source::CommandLine,
            key,
            values: values.split(' ').map(String::from).collect(),
        };
        told(&Told { settings: settings.iter().map(setting).collect(), faults: Vec::new() })
    }

    #[test]
    fn settings_make_a_rule() {
        assert_eq!(rule(&[("hostname", "iron")]), None);
        let fixed = rule(&[("address", "10.0.0.5/8 fd00::5/64"), ("gateway", "10.0.0.1"), ("dns", "9.9.9.9")]).unwrap();
        assert_eq!(fixed.patterns, [Pattern::FirstWired]);
        assert!(!fixed.settings.dhcp);
        assert_eq!((fixed.settings.addresses.len(), fixed.settings.routes.len(), fixed.settings.dns.len()), (2, 1, 1));
        let named = rule(&[("interface", "52:54:00:12:34:56"), ("dns", "9.9.9.9")]).unwrap();
        assert_eq!(named.patterns, [Pattern::Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56])]);
        assert!(named.settings.dhcp);
        assert!(rule(&[("address", "10.0.0.5/8 dhcp")]).unwrap().settings.dhcp);
        assert!(rule(&[("address", "fd00::5/64")]).unwrap().settings.dhcp, "IPv4 is not fixed by an IPv6 address");
    }
}
