//! Reads the rules of [`super::config`], and says what is wrong with them: that of the machine's settings, those of the boot
//! configuration, then those of files.

use init_base::bootconfig::{self, Entry};

use init_base::settings::{self, Settings as Told};

use super::config::{self, Pattern, Rule, Settings, Way, parse};
use crate::sys::{Errno, files};

/// Where the rules are.
pub const DIR: &str = "/etc/network";
/// More rule files than this are not read.
const MOST_FILES: usize = 256;

/// What one source says: the settings, a name in the boot configuration, or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name, for messages.
    pub name: String,
    /// Its rule.
    pub rule: Option<Rule>,
    /// What is wrong with it. The rest of its rule counts where there is none of before.
    pub faults: Vec<String>,
}

/// All sources: the settings, the boot configuration, then all files in the order of their names. `command_line` is the kernel's.
///
/// # Errors
/// When the files' directory is there and cannot be read.
pub fn read_all(command_line: &str) -> Result<Vec<Source>, String> {
    let told = told(&settings::load(command_line));
    let mut sources =
        Vec::from_iter(told.map(|rule| Source { name: "settings".into(), rule: Some(rule), faults: Vec::new() }));
    sources.extend(configured(bootconfig::below("network")));
    sources.extend(read_files()?);
    Ok(sources)
}

/// The sources of a reload: one that is faulty now stays as it was, if it was there.
pub fn keep_faulty(new: Vec<Source>, old: &[Source]) -> Vec<Source> {
    let keep = |source: Source| match old.iter().find(|known| known.name == source.name) {
        Some(known) if !source.faults.is_empty() => Source { rule: known.rule.clone(), ..source },
        _ => source,
    };
    new.into_iter().map(keep).collect()
}

/// How many rules are new, gone and changed.
pub fn changes(new: &[Source], old: &[Source]) -> (usize, usize, usize) {
    let rule_of = |all: &'_ [Source], name: &str| {
        all.iter().find(|source| source.name == name).and_then(|source| source.rule.clone())
    };
    let is_there = |source: &&Source| source.rule.is_some();
    let added = new.iter().filter(is_there).filter(|source| rule_of(old, &source.name).is_none()).count();
    let gone = old.iter().filter(is_there).filter(|source| rule_of(new, &source.name).is_none()).count();
    let differs = |source: &&Source| {
        rule_of(old, &source.name).is_some_and(|known| source.rule.as_ref().is_some_and(|rule| *rule != known))
    };
    (added, gone, new.iter().filter(differs).count())
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
fn configured(entries: Vec<Entry>) -> Vec<Source> {
    let source = |(name, text): (String, String)| {
        let (rule, faults) = parse(&text);
        let name = format!("boot configuration, network.{name}");
        let faults = faults.iter().map(|fault| format!("{name}: {}", fault.message)).collect();
        Source { name, rule, faults }
    };
    config::texts(&entries).into_iter().map(source).collect()
}

fn read_files() -> Result<Vec<Source>, String> {
    let names = match files::list_dir(DIR) {
        Ok(names) => names,
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(error) => return Err(format!("cannot read {DIR}: {error}")),
    };
    let names = names.iter().filter(|name| name.ends_with(".toml") && !name.starts_with('.'));
    Ok(names.take(MOST_FILES).map(|name| read(format!("{DIR}/{name}"))).collect())
}

fn read(path: String) -> Source {
    let text = match files::read_file(&path).map(String::from_utf8) {
        Ok(Ok(text)) => text,
        Ok(Err(_)) => return faulty(path, "it is no text; the whole file is left out".into()),
        Err(error) => return faulty(path, format!("it cannot be read: {error}")),
    };
    let (rule, faults) = parse(&text);
    let place = |line: usize| if line == 0 { String::new() } else { format!(", line {line}") };
    let faults = faults.iter().map(|fault| format!("{path}{}: {}", place(fault.line), fault.message)).collect();
    Source { name: path, rule, faults }
}

fn faulty(path: String, message: String) -> Source {
    Source { faults: vec![format!("{path}: {message}")], name: path, rule: None }
}

#[cfg(test)]
mod tests {
    use init_base::settings::{Setting, Source as Origin};

    use super::*;

    fn rule(settings: &[(&'static str, &str)]) -> Option<Rule> {
        let setting = |(key, values): &(&'static str, &str)| Setting {
            source: Origin::CommandLine,
            key,
            values: values.split(' ').map(String::from).collect(),
        };
        told(&Told { settings: settings.iter().map(setting).collect(), faults: Vec::new() })
    }

    #[test]
    fn a_faulty_source_stays_as_it_was() {
        let source = |name: &str, mtu: Option<u32>, fault: bool| Source {
            name: name.into(),
            rule: mtu.map(|mtu| Rule {
                patterns: vec![Pattern::Wired],
                settings: Settings { mtu: Some(mtu), ..Settings::default() },
            }),
            faults: if fault { vec!["x".into()] } else { Vec::new() },
        };
        let old = [source("a", Some(1), false), source("b", Some(2), false), source("c", Some(3), false)];
        let new = vec![source("a", Some(9), true), source("b", Some(8), false), source("d", None, true)];
        let kept = keep_faulty(new, &old);
        let rules: Vec<_> = kept.iter().map(|source| source.rule.as_ref().and_then(|rule| rule.settings.mtu)).collect();
        assert_eq!(rules, [Some(1), Some(8), None]);
        assert_eq!(changes(&kept, &old), (0, 1, 1));
        assert_eq!(changes(&old, &[]), (3, 0, 0));
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
