//! What the administrator says about modules: `modprobe.d` (modprobe.d(5)) and the kernel's command line. `install` and `remove`
//! lines, which run commands in a module's place, have no meaning here.

use std::fs::read_to_string;

use init_base::dropins;

use crate::pattern;
use crate::tables::plain;

/// The kernel's command line, on which `NAME.PARAMETER=VALUE` is for a module and `modprobe.blacklist=NAME,NAME` for us.
const COMMAND_LINE: &str = "/proc/cmdline";

/// What is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Modules whose aliases do not count.
    blacklist: Vec<String>,
    /// Modules and their parameters.
    options: Vec<(String, String)>,
    /// Patterns and the modules that they stand for.
    aliases: Vec<(String, String)>,
}

impl Settings {
    /// Reads all of it. What cannot be read says nothing.
    pub fn read() -> Settings {
        let mut settings = Settings::default();
        for path in dropins::paths("modprobe.d") {
            settings.take_file(&read_to_string(path).unwrap_or_default());
        }
        settings.take_command_line(&read_to_string(COMMAND_LINE).unwrap_or_default());
        settings
    }

    fn take_file(&mut self, text: &str) {
        for line in text.replace("\\\n", " ").lines() {
            let (word, rest) = line.trim().split_once(char::is_whitespace).unwrap_or_default();
            let (name, rest) = rest.trim_start().split_once(char::is_whitespace).unwrap_or((rest.trim_start(), ""));
            match word {
                "blacklist" => self.blacklist.push(plain(name)),
                "options" => self.options.push((plain(name), rest.trim().into())),
                "alias" => self.aliases.push((name.into(), plain(rest.trim()))),
                _ => {}
            }
        }
    }

    fn take_command_line(&mut self, line: &str) {
        for word in words(line) {
            let Some((name, value)) = word.split_once('=') else { continue };
            match name.split_once('.') {
                Some(("modprobe", "blacklist")) => self.blacklist.extend(value.split(',').map(plain)),
                Some((module, parameter)) => self.options.push((plain(module), format!("{parameter}={value}"))),
                None => {}
            }
        }
    }

    /// Whether a module is not to be loaded for devices.
    pub fn blacklists(&self, name: &str) -> bool {
        self.blacklist.iter().any(|known| known == name)
    }

    /// The module that the administrator gives an alias to.
    pub fn alias(&self, alias: &str) -> Option<&str> {
        self.aliases.iter().find(|(pattern, _)| pattern::fits(pattern, alias)).map(|(_, name)| &**name)
    }

    /// The parameters of a module, those of the command line last, so that they win.
    pub fn parameters<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.options.iter().filter(move |(known, _)| known == name).map(|(_, words)| &**words)
    }
}

/// Words of the command line up to `--`, with their quotes: the kernel reads parameters of modules by the same rules.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let apart = move |char: char| {
        quoted ^= char == '"';
        char.is_ascii_whitespace() && !quoted
    };
    line.split(apart).filter(|word| !word.is_empty()).take_while(|word| *word != "--")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_command_line_add_up() {
        let mut settings = Settings::default();
        settings.take_file(
            "# c\nblacklist snd-pcsp\noptions loop max_loop=8 \\\n part=1\nalias eth* e1000e\ninstall x /bin/true\n",
        );
        settings.take_command_line("quiet loop.max_loop=9 x.a=\"b c\" modprobe.blacklist=a-b,c -- loop.z=1\n");
        assert!(settings.blacklists("snd_pcsp") && settings.blacklists("a_b") && !settings.blacklists("loop"));
        assert_eq!(settings.parameters("loop").collect::<Vec<_>>(), ["max_loop=8   part=1", "max_loop=9"]);
        assert_eq!(settings.parameters("x").collect::<Vec<_>>(), ["a=\"b c\""]);
        assert_eq!((settings.alias("eth0"), settings.alias("wlan0")), (Some("e1000e"), None));
    }
}
