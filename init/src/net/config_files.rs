//! Reads the rules of [`super::config`], and says what is wrong with them: those of the boot configuration, then those of files.

use init_base::bootconfig::{self, Entry};

use super::config::{self, Rule, parse};
use crate::log::{error, warn};
use crate::sys::{Errno, files};

/// Where the rules are.
const DIR: &str = "/etc/network";
/// More rule files than this are not read.
const MOST_FILES: usize = 256;

/// The rules of the boot configuration, then those of all files in the order of their names.
pub fn read_all() -> Vec<Rule> {
    let mut rules = configured(bootconfig::below("network"));
    rules.extend(read_files());
    rules
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
