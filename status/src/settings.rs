//! The settings in force, which PID 1 writes into a file: a line each, fields separated by tabs.
//!
//! ```text
//! setting KEY VALUE SOURCE
//! fault SOURCE LINE MESSAGE
//! ```

use crate::model::{Fault, Setting};
use crate::text::plain;

/// The file. It may be missing.
pub const PATH: &str = "/run/settings";
/// Lines of each kind that count.
const MOST: usize = 500;
/// Characters of a field.
const LONGEST: usize = 400;

/// Reads the text; other lines are passed over.
pub fn parse(text: &str) -> (Vec<Setting>, Vec<Fault>) {
    let (mut settings, mut faults) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let fields: Vec<String> = line.split('\t').map(|field| plain(field, LONGEST)).collect();
        match fields.as_slice() {
            [kind, key, value, source, ..] if kind == "setting" && settings.len() < MOST => {
                settings.push(Setting { key: key.clone(), value: value.clone(), source: source.clone() });
            }
            [kind, source, line, message, ..] if kind == "fault" && faults.len() < MOST => {
                faults.push(Fault { source: source.clone(), line: line.clone(), message: message.clone() });
            }
            _ => {}
        }
    }
    (settings, faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_and_faults() {
        let text = "setting\tnetwork.eth0.dns\t9.9.9.9\tBLOOMERY.TXT\nfault\tBLOOMERY.TXT\t3\tno \u{7}such key\n\
                    setting\thostname\t\tcommand line\nother\ta\tb\tc\nsetting\tshort\n\nfault\tDHCP\t-\tno name\n";
        let (settings, faults) = parse(text);
        assert_eq!(settings.len(), 2);
        assert_eq!((settings[1].key.as_str(), settings[1].value.as_str()), ("hostname", ""));
        assert_eq!(faults[0].sentence(), "BLOOMERY.TXT line 3: no ?such key");
        assert_eq!(faults[1].sentence(), "DHCP: no name");
        assert_eq!(parse(&text.repeat(1000)).0.len(), MOST);
    }
}
