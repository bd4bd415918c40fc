//! A line of `/etc/hosts` makes the machine's own name resolve without a server.

use init_base::host_name::current;

use crate::log::{debug, warn};
use crate::sys::{Errno, Result, files};

/// hosts(5).
const HOSTS: &str = "/etc/hosts";
/// The content of a file that is not there.
const LOCALHOST: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost\n";
/// The address for the machine's name, as Debian has it: that of `localhost` would make `localhost` its canonical name.
const ADDRESS: &str = "127.0.1.1";

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
