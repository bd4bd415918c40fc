//! The machine's own name: DHCP servers are told it, and a line of `/etc/hosts` makes it resolve without a server.

use crate::log::{debug, error, warn};
use crate::sys::{Errno, Result, files, system};

/// hosts(5).
const HOSTS: &str = "/etc/hosts";
/// The content of a file that is not there.
const LOCALHOST: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost\n";
/// The address for the machine's name, as Debian has it: that of `localhost` would make `localhost` its canonical name.
const ADDRESS: &str = "127.0.1.1";

/// The name that the kernel has; nothing where nobody gave it one, or one that is no name of a host.
pub(super) fn current() -> Option<String> {
    let name = files::read_file("/proc/sys/kernel/hostname").ok()?;
    let name = core::str::from_utf8(name.trim_ascii()).ok()?;
    (!is_unset(name) && is_host_name(name)).then(|| name.to_owned())
}

fn is_unset(name: &str) -> bool {
    matches!(name, "" | "(none)" | "localhost")
}

/// Letters, digits, `-` and `.` (RFC 1123, section 2.1), and the `_` that many have.
fn is_host_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// Gives a machine that has no name the one of the kernel command line.
pub(super) fn set(name: &str) {
    let current = files::read_file("/proc/sys/kernel/hostname").unwrap_or_default();
    if is_unset(&String::from_utf8_lossy(current.trim_ascii()))
        && let Err(error) = system::set_host_name(name)
    {
        error!("cannot set the host name '{name}': {error}");
    }
}

/// Adds the machine's name to `/etc/hosts` when no line has it. What is in the file stays.
pub(crate) fn add_to_hosts() {
    let Some(name) = current() else {
        return;
    };
    match add(&name) {
        Ok(()) => {}
        Err(Errno::ROFS | Errno::NOENT) => debug!("{HOSTS} cannot be written and does not have the name '{name}'"),
        Err(error) => warn!("cannot add the name '{name}' to {HOSTS}: {error}"),
    }
}

fn add(name: &str) -> Result<()> {
    let (content, is_there) = match files::read_file(HOSTS) {
        Err(Errno::NOENT) => (LOCALHOST.into(), false),
        content => (content?, true),
    };
    match with_name(&content, name) {
        None => Ok(()),
        // Its beginning is written as it is, so that nothing is lost with a power failure, nor a link or a mode.
        Some(text) if is_there => files::write_file(HOSTS, &text),
        Some(text) => files::replace_file(HOSTS, 0o644, &text, false),
    }
}

/// The file with a line for the name; nothing when it has one. The short name follows a full one.
fn with_name(content: &[u8], name: &str) -> Option<Vec<u8>> {
    for line in String::from_utf8_lossy(content).lines() {
        let line = line.split_once('#').map_or(line, |(before, _)| before);
        if line.split_ascii_whitespace().skip(1).any(|known| known.eq_ignore_ascii_case(name)) {
            return None;
        }
    }
    let mut new = content.to_vec();
    if !matches!(new.last(), None | Some(b'\n')) {
        new.push(b'\n');
    }
    let short = name.split_once('.').map_or("", |(short, _)| short);
    let blank = if short.is_empty() { "" } else { " " };
    new.extend_from_slice(format!("{ADDRESS}\t{name}{blank}{short}\n").as_bytes());
    Some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_hosts_are_told() {
        for name in ["iron", "iron-2", "iron.example.org", "2", "my_host"] {
            assert!(is_host_name(name), "{name}");
        }
        for name in ["", "-x", ".", "my host", "a\nb", "a:b", "a=b", "\u{e9}", "$(x)"] {
            assert!(!is_host_name(name), "{name}");
        }
        assert!(is_unset("(none)") && is_unset("") && is_unset("localhost") && !is_unset("iron"));
    }

    #[test]
    fn a_name_gets_a_line_when_it_has_none() {
        let with =
            |content: &str, name: &str| with_name(content.as_bytes(), name).map(|new| String::from_utf8(new).unwrap());
        let line = "127.0.1.1\tiron\n";
        for content in ["", "127.0.0.1\tlocalhost\n", "# 10.0.0.1 iron\n", "10.0.0.1 irons # iron\n", "iron\n"] {
            assert_eq!(with(content, "iron"), Some(content.to_owned() + line), "{content}");
        }
        assert_eq!(with("127.0.0.1 localhost", "iron"), Some("127.0.0.1 localhost\n".to_owned() + line));
        for content in ["127.0.1.1 iron\n", "10.0.0.1\tx Iron # y\n", "::1 localhost iron"] {
            assert_eq!(with(content, "iron"), None, "{content}");
        }
        assert_eq!(with("", "iron.example.org"), Some("127.0.1.1\tiron.example.org iron\n".into()));
        assert_eq!(with_name(b"\xff x\n", "iron"), Some(b"\xff x\n127.0.1.1\tiron\n".to_vec()));
    }
}
