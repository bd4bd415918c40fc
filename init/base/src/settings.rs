//! Settings that one machine was given without a build: in the file that its boot loader found on the medium (`NAME = VALUE`, one a
//! line, `#` begins a comment), in the ones that it was told to keep since, in the same form, and as `settings.NAME` on the kernel's
//! command line and in its boot configuration.
//!
//! What is wrong is left out and named; the rest counts. A name that several sources have is that of the one which was said last: on
//! the command line, then to be kept, then in the file.

use core::fmt;
use core::net::IpAddr;

use crate::bootconfig;
use crate::host_name;
use crate::names::nearest;
use crate::rtnetlink::Prefix;
use crate::sys::{Errno, files};

/// Where the boot loader leaves the file. A machine that was started in another way has none.
const PATH: &str = "/etc/bloomery.txt";
/// Where it leaves those that are kept (docs/updates.md).
const KEPT: &str = "/etc/settings.txt";
/// Bytes that are read; a boot loader takes no more.
const LARGEST: usize = 16 << 10;
/// More faults than a person reads.
const MOST_FAULTS: usize = 16;

/// Where a setting is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The kernel's boot configuration.
    BootConfiguration,
    /// A line of the file on the medium, from 1; 0 is the file as a whole.
    Medium(usize),
    /// A line of those that are kept, likewise.
    Kept(usize),
    /// The kernel's command line.
    CommandLine,
}

impl Source {
    /// The line in the file; 0 without one.
    pub fn line(self) -> usize {
        match self {
            Source::Medium(line) | Source::Kept(line) => line,
            _ => 0,
        }
    }

    /// Whether another is of the same kind: a line of the same file.
    fn is_beside(self, other: Source) -> bool {
        core::mem::discriminant(&self) == core::mem::discriminant(&other)
    }

    /// Its name without the line.
    pub fn name(self) -> &'static str {
        match self {
            Source::BootConfiguration => "boot configuration",
            Source::Medium(_) => "BLOOMERY.TXT",
            Source::Kept(_) => "kept settings",
            Source::CommandLine => "kernel command line",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line() {
            0 => to.write_str(self.name()),
            line => write!(to, "{}, line {line}", self.name()),
        }
    }
}

/// A setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Where it is said.
    pub source: Source,
    /// Its name.
    pub key: &'static str,
    /// Its values: one, or those of a list.
    pub values: Vec<String>,
}

/// A setting that does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where it is said.
    pub source: Source,
    /// What is wrong and what would be right.
    pub message: String,
}

/// What is set, and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The settings in force, in the order of their sources.
    pub settings: Vec<Setting>,
    /// What does not count.
    pub faults: Vec<Fault>,
}

/// A name that can be set.
struct Key {
    name: &'static str,
    /// Whether its value is a list: parts with commas or blanks between them, and more lines with that name.
    list: bool,
    is_right: fn(&str) -> bool,
    /// What would be right.
    wanted: &'static str,
}

#[rustfmt::skip]
const KEYS: &[Key] = &[
    Key { name: "hostname",  list: false, is_right: host_name::is_valid, wanted: "a name of at most 64 letters, digits, - and ." },
    Key { name: "interface", list: false, is_right: is_interface, wanted: "an interface's name like eth0, or a card's address" },
    Key { name: "address",   list: true,  is_right: is_prefix,    wanted: "dhcp, or an address with its network like 192.168.1.5/24" },
    Key { name: "gateway",   list: true,  is_right: is_address,   wanted: "an address like 192.168.1.1" },
    Key { name: "dns",       list: true,  is_right: is_address,   wanted: "an address like 192.168.1.1" },
    Key { name: "search",    list: true,  is_right: is_domain,    wanted: "a domain like example.org" },
    Key { name: "syslog",    list: false, is_right: is_log,       wanted: "a server like udp://192.168.1.9 or tcp://[fd00::9]:601" },
    Key { name: "ntp",       list: true,  is_right: is_server,    wanted: "a server like 192.168.1.1 or ntp.example.org:123" },
    Key { name: "arguments", list: false, is_right: |_| true,     wanted: "words" },
];

/// Reads all sources. `command_line` is the kernel's.
pub fn load(command_line: &str) -> Settings {
    let mut found = Settings::default();
    for entry in bootconfig::below("settings") {
        found.add(Source::BootConfiguration, &entry.key, &entry.joined());
    }
    for (path, source) in [(PATH, Source::Medium as fn(usize) -> Source), (KEPT, Source::Kept)] {
        match files::read_file(path) {
            Ok(content) => found.add_file(&content, source),
            Err(Errno::NOENT) => {}
            Err(error) => found.fault(source(0), format!("it cannot be read: {error}")),
        }
    }
    found.add_command_line(command_line);
    found
}

/// What is wrong with settings that are to be kept.
pub fn check(content: &[u8]) -> Vec<Fault> {
    let mut found = Settings::default();
    found.add_file(content, Source::Kept);
    found.faults
}

impl Settings {
    /// The values of a setting; none where nobody set it.
    pub fn values(&self, key: &str) -> &[String] {
        let of_all = self.settings.iter().find(|setting| setting.key == key);
        of_all.map(|setting| setting.values.as_slice()).unwrap_or_default()
    }

    /// The value of a setting that has one.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.values(key).first().map(String::as_str)
    }

    /// Adds what a file says. An editor of another system may have written it, with `\r\n` and the mark of UTF-8 at the start.
    fn add_file(&mut self, content: &[u8], source: fn(usize) -> Source) {
        let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
        // Padding behind the end of the text.
        let content = content.split(|byte| *byte == 0).next().unwrap_or_default();
        if content.len() > LARGEST {
            self.fault(source(0), format!("only its first {LARGEST} bytes count"));
        }
        let content = content.get(..LARGEST).unwrap_or(content);
        for (line, text) in (1..).zip(content.split(|byte| *byte == b'\n')) {
            let source = source(line);
            match core::str::from_utf8(text) {
                Ok(text) => self.add_line(source, text),
                Err(_) => self.fault(source, "it is not text in UTF-8".into()),
            }
        }
    }

    fn add_line(&mut self, source: Source, text: &str) {
        let text = text.split_once('#').map_or(text, |(text, _)| text).trim();
        match text.split_once('=') {
            _ if text.is_empty() => {}
            // A message must not do anything to the terminal that it is read at.
            _ if text.chars().any(char::is_control) => self.fault(source, "it has control characters".into()),
            Some((name, value)) => self.add(source, name.trim(), value.trim()),
            None => self.fault(source, format!("'{text}' is no setting; hint: NAME = VALUE")),
        }
    }

    fn add_command_line(&mut self, command_line: &str) {
        for word in command_line.split_ascii_whitespace().take_while(|word| *word != "--") {
            if let Some((name, value)) = word.strip_prefix("settings.").and_then(|word| word.split_once('=')) {
                self.add(Source::CommandLine, name, value);
            }
        }
    }

    fn fault(&mut self, source: Source, message: String) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(Fault { source, message });
        }
    }

    fn add(&mut self, source: Source, name: &str, value: &str) {
        match self.read(source, name, value) {
            Ok((key, values)) => self.put(Setting { source, key, values }),
            Err(message) => self.fault(source, message),
        }
    }

    /// Puts a setting in the place of another source's; a list of the same source grows.
    fn put(&mut self, setting: Setting) {
        match self.settings.iter_mut().find(|known| known.key == setting.key) {
            Some(known) if known.source.is_beside(setting.source) => known.values.extend(setting.values),
            Some(known) => *known = setting,
            None => self.settings.push(setting),
        }
    }

    /// The name as it is known, and its values.
    fn read(&self, source: Source, name: &str, value: &str) -> Result<(&'static str, Vec<String>), String> {
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        let key = KEYS.iter().find(|key| key.name.eq_ignore_ascii_case(name)).ok_or_else(|| unknown(name))?;
        let first = self.settings.iter().find(|setting| setting.key == key.name && !key.list);
        if let Some(first) =
            first.map(|setting| setting.source).filter(|first| source.line() > 0 && first.is_beside(source))
        {
            return Err(format!("'{}' was set in line {} already", key.name, first.line()));
        }
        let values: Vec<String> = match key.list {
            true => value.split([',', ' ', '\t']).filter(|part| !part.is_empty()).map(String::from).collect(),
            false => vec![value.into()],
        };
        match values.iter().find(|value| value.is_empty() || !(key.is_right)(value)) {
            None if values.is_empty() => Err(format!("'{}' has no value; hint: {}", key.name, key.wanted)),
            None => Ok((key.name, values)),
            Some(wrong) => Err(format!("'{}' has '{wrong}', and must be {}", key.name, key.wanted)),
        }
    }
}

fn unknown(name: &str) -> String {
    let known: Vec<_> = KEYS.iter().map(|key| key.name).collect();
    match nearest(&name.to_ascii_lowercase(), &known) {
        Some(known) => format!("there is no setting '{name}'; did you mean '{known}'?"),
        None => format!("there is no setting '{name}'; hint: the settings are {}", known.join(", ")),
    }
}

/// The kernel's names are shorter than 16 bytes (`IFNAMSIZ`).
fn is_interface(text: &str) -> bool {
    let is_mac =
        text.len() == 17 && text.split(':').all(|part| part.len() == 2 && u8::from_str_radix(part, 16).is_ok());
    is_mac || (text.len() < 16 && !text.contains(['/', ':', ' ']))
}

fn is_prefix(text: &str) -> bool {
    text == "dhcp" || text.parse::<Prefix>().is_ok()
}

fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// A name in which DNS is asked: letters, digits, `-`, `_` and dots (RFC 1123, section 2.1).
fn is_domain(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    text.len() <= 253 && text.bytes().all(good)
}

fn is_host(text: &str) -> bool {
    is_address(text) || is_domain(text)
}

fn is_log(text: &str) -> bool {
    is_server(text.strip_prefix("udp://").or_else(|| text.strip_prefix("tcp://")).unwrap_or(text))
}

/// A host, with a port or without. IPv6 addresses have brackets before a port.
fn is_server(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, port.strip_prefix(':').or(Some(""))),
        None => match text.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            _ => (text, None),
        },
    };
    !host.is_empty() && is_host(host) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(content: &[u8]) -> Settings {
        let mut found = Settings::default();
        found.add_file(content, Source::Medium);
        found
    }

    #[test]
    fn the_nearest_source_wins() {
        let mut found = Settings::default();
        found.add(Source::BootConfiguration, "dns", "9.9.9.9");
        found.add(Source::BootConfiguration, "ntp", "10.0.0.1");
        found.add_file(b"dns = 10.0.0.2\ndns = 10.0.0.3\nhostname = lead\ngateway = 10.0.0.9\n", Source::Medium);
        found.add_file(b"hostname = iron\ngateway = 10.0.0.8\n", Source::Kept);
        found.add_command_line(
            "quiet settings.hostname=tin settings.address=10.0.0.5/8,fd00::5/64 settings.x=1 -- settings.ntp=a",
        );
        assert_eq!(found.values("dns"), ["10.0.0.2", "10.0.0.3"]);
        assert_eq!((found.value("hostname"), found.value("ntp")), (Some("tin"), Some("10.0.0.1")));
        assert_eq!((found.value("gateway"), found.value("syslog")), (Some("10.0.0.8"), None));
        assert_eq!(found.values("address").len(), 2);
        assert_eq!(found.faults.len(), 1);
        assert_eq!(found.faults[0].source.to_string(), "kernel command line");
        assert_eq!(Source::Medium(3).to_string(), "BLOOMERY.TXT, line 3");
        assert_eq!(check(b"hostname = a\nx = 1\n")[0].source.to_string(), "kept settings, line 2");
    }

    fn settings(text: &str) -> Vec<(usize, &'static str, String)> {
        let Settings { settings, faults } = parse(text.as_bytes());
        assert_eq!(faults, [], "{text}");
        settings.into_iter().map(|setting| (setting.source.line(), setting.key, setting.values.join("|"))).collect()
    }

    fn fault(text: &str) -> String {
        let mut faults = parse(text.as_bytes()).faults;
        assert_eq!(faults.len(), 1, "{text}: {faults:?}");
        faults.remove(0).message
    }

    #[test]
    fn a_whole_file() {
        let text = "\u{feff}# the machine in the cellar\r\n\r\nHostname = kms1\r\naddress = 192.168.1.5/24, fd00::5/64\r\n\
            gateway=192.168.1.1   # the router\r\naddress = 10.0.0.1/8\r\nsyslog = \"udp://192.168.1.9\"\r\n\
            ntp = ntp.example.org 192.168.1.1:1123\r\narguments = --tcp 7,77 --udp none\r\n\0\0\0";
        let expected = [
            (3, "hostname", "kms1"),
            (4, "address", "192.168.1.5/24|fd00::5/64|10.0.0.1/8"),
            (5, "gateway", "192.168.1.1"),
            (7, "syslog", "udp://192.168.1.9"),
            (8, "ntp", "ntp.example.org|192.168.1.1:1123"),
            (9, "arguments", "--tcp 7,77 --udp none"),
        ];
        assert_eq!(settings(text), expected.map(|(line, key, value)| (line, key, value.to_owned())));
    }

    #[test]
    fn a_wrong_line_is_named_and_the_others_count() {
        let Settings { settings, faults } = parse(b"hostname = a\nadress = 10.0.0.1/8\ndns = 9.9.9.9\ndns = x\xff\n");
        assert_eq!(settings.len(), 2);
        let lines: Vec<_> = faults.iter().map(|fault| (fault.source.line(), fault.message.as_str())).collect();
        let unknown = "there is no setting 'adress'; did you mean 'address'?";
        assert_eq!(lines, [(2, unknown), (4, "it is not text in UTF-8")]);
    }

    #[test]
    fn faults() {
        for (text, part) in [
            ("hostname", "'hostname' is no setting; hint: NAME = VALUE"),
            ("hostname =", "'hostname' has '', and must be a name"),
            ("hostname = two words", "'two words'"),
            ("hostname = a\nhostname = b", "was set in line 1 already"),
            ("address = 10.0.0.1", "'10.0.0.1', and must be dhcp, or an address with its network"),
            ("address = 10.0.0.1/33", "10.0.0.1/33"),
            ("address =", "'address' has no value; hint: dhcp, or"),
            ("gateway = 10.0.0.1/8", "must be an address like"),
            ("interface = a/b", "'a/b'"),
            ("interface = eth0eth0eth0eth0", "eth0eth0"),
            ("search = a b/c", "'b/c'"),
            ("syslog = http://x", "'http://x'"),
            ("syslog = tcp://[fd00::9]601", "fd00::9"),
            ("syslog = 10.0.0.1:0", "10.0.0.1:0"),
            ("ntp = 10.0.0.1:x", "10.0.0.1:x"),
            ("colour = red", "the settings are hostname, interface, address"),
            ("hostname = a\x1b[2J", "control characters"),
        ] {
            let message = fault(text);
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn servers_of_the_log() {
        for text in ["10.0.0.1", "udp://10.0.0.1:514", "tcp://log.example.org:601", "tcp://[fd00::9]:601", "fd00::9"] {
            assert!(is_log(text), "{text}");
        }
    }

    #[test]
    fn bounds() {
        let long = format!("hostname = a\n{}", "# x\n".repeat(9999));
        let Settings { settings, faults } = parse(long.as_bytes());
        assert_eq!((settings.len(), faults.len()), (1, 1));
        assert!(faults[0].message.contains("16384 bytes"), "{faults:?}");
        assert_eq!(parse("x\n".repeat(999).as_bytes()).faults.len(), MOST_FAULTS);
    }
}
