//! `/run/resolv.conf`, put together of the files below `/run/resolv`: one for each origin and interface. The script of busybox's
//! DHCP client puts them together in the same way.

use crate::sys::{Errno, Result, files};

/// Where the parts are.
pub const DIR: &str = "/run/resolv";
/// The whole.
pub const WHOLE: &str = "/run/resolv.conf";
/// The lines of the configuration first, because resolvers read only the first few servers.
const ORDER: &[&str] = &["static.", "dhcp.", "ra."];

/// The text of a part; one that is not there is empty.
pub fn part(name: &str) -> String {
    let content = files::read_file(&format!("{DIR}/{name}")).unwrap_or_default();
    String::from_utf8_lossy(&content).into_owned()
}

/// Replaces a part; an empty text removes it.
pub fn replace(name: &str, lines: &str) -> Result<()> {
    let path = format!("{DIR}/{name}");
    if lines.is_empty() {
        return match files::remove(&path) {
            Err(Errno::NOENT) => Ok(()),
            result => result,
        };
    }
    match files::make_dir(DIR, 0o755) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    files::replace_file(&path, 0o644, lines.as_bytes(), false)
}

/// Writes the whole.
pub fn put_together() -> Result<()> {
    let names = match files::list_dir(DIR) {
        Err(Errno::NOENT) => Vec::new(),
        result => result?,
    };
    let mut text = Vec::new();
    for name in in_order(&names) {
        // The script may have replaced it since.
        text.extend(files::read_file(&format!("{DIR}/{name}")).unwrap_or_default());
    }
    files::replace_file(WHOLE, 0o644, &text, false)
}

/// The parts that count, in the order of their origins and interfaces.
fn in_order(names: &[String]) -> impl Iterator<Item = &String> {
    let of =
        |origin: &'static str| names.iter().filter(move |name| name.starts_with(origin) && !name.ends_with(".new"));
    ORDER.iter().flat_map(move |origin| of(origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_comes_first_and_half_written_parts_do_not_count() {
        let names: Vec<String> =
            ["dhcp.eth0", "dhcp.eth0.new", "other", "ra.eth0", "static.eth1"].map(String::from).into();
        assert_eq!(in_order(&names).collect::<Vec<_>>(), ["static.eth1", "dhcp.eth0", "ra.eth0"]);
    }
}
