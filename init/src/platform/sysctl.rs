//! Kernel settings from files, written below /proc/sys. The boot calls [`apply`].
//!
//! The grammar is that of sysctl.conf(5) and sysctl.d(5): `key = value`, comments with `#` or `;`, a `-` in front where
//! failing does not matter. A key's separators are dots or slashes; the first one decides which. `*` and `?` in a part of a key
//! stand for what is there; a key written out beats such a pattern, and `-key` alone takes a key out of patterns.

use std::collections::BTreeMap;

use crate::config::dropins;
use crate::config::glob::fits;
use crate::log::{debug, error, warn};
use crate::sys::{Errno, files};

const ROOT: &str = "/proc/sys";
const DROPINS: &str = "sysctl.d";
/// Read last, so that it wins, as procps' `sysctl --system` does.
const FILE: &str = "/etc/sysctl.conf";
/// More matches of one pattern than any machine has; a bound on what a wrong pattern can make.
const MATCHES: usize = 4096;

/// What to write to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Value {
    /// Nothing excludes the key from patterns.
    text: Option<String>,
    /// Failing does not matter.
    lenient: bool,
}

/// Settings by their path below /proc/sys, in the order in which their keys first came.
#[derive(Default)]
pub struct Settings {
    order: Vec<String>,
    values: BTreeMap<String, Value>,
}

impl Settings {
    fn set(&mut self, key: String, value: Value) {
        if self.values.insert(key.clone(), value).is_none() {
            self.order.push(key);
        }
    }

    /// Reads a file's text; returns the faulty lines' numbers, from 1.
    pub fn read(&mut self, content: &str) -> Vec<usize> {
        let mut faults = Vec::new();
        for (index, line) in content.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            match parse(line) {
                Some((key, value)) => self.set(key, value),
                None => faults.push(index + 1),
            }
        }
        faults
    }
}

/// The key as a path below /proc/sys, and the value.
fn parse(line: &str) -> Option<(String, Value)> {
    let (lenient, rest) = match line.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let (key, text) = match rest.split_once('=') {
        Some((key, text)) => (key, Some(text.trim().to_owned())),
        None if lenient => (rest, None),
        None => return None,
    };
    let key = path_of(key.trim())?;
    Some((key, Value { text, lenient }))
}

/// `net.ipv4.conf.eth0/1.x` and `net/ipv4/conf/eth0.1/x` are the same (sysctl.d(5)).
fn path_of(key: &str) -> Option<String> {
    let path: String = match key.find(['.', '/']) {
        Some(at) if key.as_bytes().get(at) == Some(&b'.') => key.chars().map(swap_separator).collect(),
        _ => key.into(),
    };
    let bad = |part: &str| part.is_empty() || part == "." || part == "..";
    let sound = !path.contains(|c: char| c.is_whitespace() || c == '\0') && !path.split('/').any(bad);
    sound.then_some(path)
}

fn swap_separator(character: char) -> char {
    match character {
        '.' => '/',
        '/' => '.',
        other => other,
    }
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// The paths below `root` that fit a pattern's parts.
fn expand(root: &str, pattern: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    for part in pattern.split('/') {
        let mut next = Vec::new();
        for path in &found {
            if !is_pattern(part) {
                next.push(format!("{path}/{part}"));
                continue;
            }
            let names = files::list_dir(&format!("{root}{path}")).unwrap_or_default();
            let fitting = names.iter().filter(|name| fits(part, name));
            next.extend(fitting.map(|name| format!("{path}/{name}")));
        }
        next.truncate(MATCHES);
        found = next;
    }
    let there = |path: &String| files::status(&format!("{root}{path}")).is_ok_and(|status| status.regular);
    found.into_iter().filter(there).filter_map(|path| path.strip_prefix('/').map(String::from)).collect()
}

/// Lists the files to write and their values, with patterns expanded by `expand`.
fn resolve(settings: &Settings, expand: impl Fn(&str) -> Vec<String>) -> Vec<(String, String, bool)> {
    let mut writes: Vec<(String, String, bool)> = Vec::new();
    for key in &settings.order {
        let Some(Value { text: Some(text), lenient }) = settings.values.get(key) else {
            continue;
        };
        if is_pattern(key) {
            let free = expand(key).into_iter().filter(|path| !settings.values.contains_key(path));
            // A kernel without any match is as good as one whose matches have the value.
            writes.extend(free.map(|path| (path, text.clone(), true)));
        } else {
            writes.push((key.clone(), text.clone(), *lenient));
        }
    }
    writes
}

/// Applies all files' settings, and says what failed.
pub fn apply() {
    let mut settings = Settings::default();
    for path in dropins::paths(DROPINS).into_iter().chain([FILE.to_owned()]) {
        for line in settings.read(&dropins::read(&path)) {
            warn!("{path}, line {line}: not 'key = value'; the line is left out");
        }
    }
    for (path, value, lenient) in resolve(&settings, |pattern| expand(ROOT, pattern)) {
        match write(&path, &value) {
            Ok(()) => debug!("{ROOT}/{path} = {value}"),
            Err(error) if lenient => debug!("cannot set {ROOT}/{path}: {error}"),
            Err(Errno::NOENT) => error!("cannot set {ROOT}/{path}: this kernel has no such setting"),
            Err(error) => error!("cannot set {ROOT}/{path} to '{value}': {error}"),
        }
    }
}

fn write(path: &str, value: &str) -> Result<(), Errno> {
    files::write_file(&format!("{ROOT}/{path}"), format!("{value}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writes(text: &str, there: &[&str]) -> Vec<(String, String, bool)> {
        let mut settings = Settings::default();
        assert_eq!(settings.read(text), Vec::<usize>::new());
        resolve(&settings, |pattern| there.iter().filter(|path| fits(pattern, path)).map(|&path| path.into()).collect())
    }

    fn write(path: &str, value: &str, lenient: bool) -> (String, String, bool) {
        (path.into(), value.into(), lenient)
    }

    #[test]
    fn both_separators() {
        assert_eq!(path_of("kernel.domainname").as_deref(), Some("kernel/domainname"));
        assert_eq!(path_of("net/ipv4/conf/eth0.1/x").as_deref(), Some("net/ipv4/conf/eth0.1/x"));
        assert_eq!(path_of("net.ipv4.conf.eth0/1.x").as_deref(), Some("net/ipv4/conf/eth0.1/x"));
        for bad in ["", "a..b", "../x", "a/../b", "a b", "/a", "a\0"] {
            assert_eq!(path_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_last_value_of_a_key_counts_and_a_dash_forgives() {
        let text = "# c\n; c\n a.b = 1 2\t3 \n-c.d=x = y\na/b=4\n";
        assert_eq!(writes(text, &[]), [write("a/b", "4", false), write("c/d", "x = y", true)]);
    }

    #[test]
    fn faulty_lines_are_numbered() {
        let mut settings = Settings::default();
        assert_eq!(settings.read("a.b\n = 1\nc.d=1\n../x=1"), [1, 2, 4]);
        assert_eq!(settings.order, ["c/d"]);
    }

    #[test]
    fn a_key_written_out_beats_a_pattern_and_can_be_excluded_from_it() {
        let text = "net.conf.lo.x = 0\nnet.conf.*.x = 1\n-net.conf.eth1.x\n";
        let there = ["net/conf/lo/x", "net/conf/eth0/x", "net/conf/eth1/x"];
        assert_eq!(writes(text, &there), [write("net/conf/lo/x", "0", false), write("net/conf/eth0/x", "1", true)]);
    }

    #[test]
    fn patterns_are_looked_up_part_by_part() {
        let dir = tempdir();
        for (name, sub) in [("eth0", "x"), ("eth1", "x"), ("lo", "y")] {
            std::fs::create_dir_all(format!("{dir}/conf/{name}")).unwrap();
            std::fs::write(format!("{dir}/conf/{name}/{sub}"), "").unwrap();
        }
        assert_eq!(expand(&dir, "conf/*/x"), ["conf/eth0/x", "conf/eth1/x"]);
        assert_eq!(expand(&dir, "conf/eth?/y"), Vec::<String>::new());
        std::fs::remove_dir_all(dir).unwrap();
    }

    fn tempdir() -> String {
        let dir = std::env::temp_dir().join(format!("init-sysctl-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir.to_str().unwrap().to_owned()
    }
}
