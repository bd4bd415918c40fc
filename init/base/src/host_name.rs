//! The machine's name as the kernel has it. It comes from `/etc/hostname`, the boot configuration or the command line; a machine
//! without one takes that of a DHCP server.

use crate::sys::{Result, files, system};

/// Where the kernel shows it.
const PATH: &str = "/proc/sys/kernel/hostname";
/// Bytes of the longest one (uname(2)).
const LONGEST: usize = 64;

/// The name that the kernel has; nothing where nobody gave it one, or one that is no name of a host.
pub fn current() -> Option<String> {
    let name = files::read_file(PATH).ok()?;
    let name = core::str::from_utf8(name.trim_ascii()).ok()?;
    (!is_unset(name) && is_valid(name)).then(|| name.to_owned())
}

/// Letters, digits, `-` and `.` (RFC 1123, section 2.1), and the `_` that many have.
pub fn is_valid(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= LONGEST
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// Gives a machine that has no name this one; whether it had none.
///
/// # Errors
/// Those of sethostname(2).
pub fn give(name: &str) -> Result<bool> {
    let current = files::read_file(PATH).unwrap_or_default();
    if !is_unset(&String::from_utf8_lossy(current.trim_ascii())) {
        return Ok(false);
    }
    system::set_host_name(name).map(|()| true)
}

fn is_unset(name: &str) -> bool {
    matches!(name, "" | "(none)" | "localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_hosts_are_told() {
        for name in ["iron", "iron-2", "iron.example.org", "2", "my_host"] {
            assert!(is_valid(name), "{name}");
        }
        for name in ["", "-x", ".", "my host", "a\nb", "a:b", "a=b", "\u{e9}", "$(x)", &"x".repeat(65)] {
            assert!(!is_valid(name), "{name}");
        }
        assert!(is_unset("(none)") && is_unset("") && is_unset("localhost") && !is_unset("iron"));
    }
}
