//! `/run/settings`: what this machine was told and by whom, for programs that show it to a person.
//!
//! Its lines have parts with tabs between them: `setting`, name, value, source; or `fault`, source, line (0 for none), message.

use init_base::bootconfig::{self, Entry};
use init_base::settings::{Settings, Source};

use crate::config::options::COMMAND_LINE;
use crate::log::debug;
use crate::sys::files;

const PATH: &str = "/run/settings";

/// Writes the file. Nobody's boot depends on it.
pub fn write(settings: &Settings) {
    let command_line = files::read_file(COMMAND_LINE).unwrap_or_default();
    let text = text(settings, &bootconfig::all(), &String::from_utf8_lossy(&command_line));
    if let Err(error) = files::replace_file(PATH, 0o644, text.as_bytes(), false) {
        debug!("cannot write {PATH}: {error}");
    }
}

fn text(settings: &Settings, configured: &[Entry], command_line: &str) -> String {
    let mut text = String::new();
    let mut row = |parts: [&str; 4]| {
        // A blank for each character that a row or a terminal would take for its own.
        let clean = parts.map(|part| part.replace(char::is_control, " "));
        text.push_str(&clean.join("\t"));
        text.push('\n');
    };
    for setting in &settings.settings {
        row(["setting", setting.key, &setting.values.join(" "), &setting.source.to_string()]);
    }
    for entry in configured.iter().filter(|entry| is_told(&entry.key)) {
        row(["setting", &entry.key, &entry.values.join(" "), Source::BootConfiguration.name()]);
    }
    for word in command_line.split_ascii_whitespace().take_while(|word| *word != "--") {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        if is_told(name) || name == "ip" {
            row(["setting", name, value, Source::CommandLine.name()]);
        }
    }
    for fault in &settings.faults {
        row(["fault", fault.source.name(), &fault.source.line().to_string(), &fault.message]);
    }
    text
}

/// Whether a key is one of init or of a program beside it. The kernel's own, and those that are settings already, are left out.
fn is_told(key: &str) -> bool {
    ["init.", "network.", "echod."].iter().any(|name| key.starts_with(name))
}

#[cfg(test)]
mod tests {
    use init_base::settings::{Fault, Setting};

    use super::*;

    #[test]
    fn rows() {
        let settings = Settings {
            settings: vec![Setting {
                source: Source::Medium(2),
                key: "dns",
                values: vec!["9.9.9.9".into(), "10.0.0.1".into()],
            }],
            faults: vec![Fault { source: Source::Medium(3), message: "x\ty".into() }],
        };
        let entry = |key: &str| Entry { key: key.into(), values: vec!["1".into()] };
        let configured = [entry("init.grace"), entry("kernel.panic"), entry("settings.dns")];
        assert_eq!(
            text(&settings, &configured, "quiet ip=dhcp init.ro settings.dns=x -- init.x"),
            "setting\tdns\t9.9.9.9 10.0.0.1\tBLOOMERY.TXT, line 2\n\
             setting\tinit.grace\t1\tboot configuration\n\
             setting\tip\tdhcp\tkernel command line\n\
             setting\tinit.ro\t\tkernel command line\n\
             fault\tBLOOMERY.TXT\t3\tx y\n"
        );
    }
}
