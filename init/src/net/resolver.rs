//! `/run/resolv.conf`, to which `/etc/resolv.conf` is a link: the lines of every origin, put together.
//!
//! Each origin has a file for each interface below `/run/resolv`: `static.eth0` (the configuration), `ra.eth0` (routers) and
//! `dhcp.eth0`, which udhcpc's script writes; the script puts the files together in the same way. An `/etc/resolv.conf`
//! that is a file of its own is the administrator's and never written.

use super::config;
use super::reconcile::Origin;
use super::rtnetlink::Prefix;
use crate::log::error;
use crate::sys::{Errno, Result, files};

const DIR: &str = "/run/resolv";
const WHOLE: &str = "/run/resolv.conf";
/// The path that programs read.
const CONFIGURED: &str = "/etc/resolv.conf";
/// The lines of the configuration first, because resolvers read only the first few servers.
const ORDER: &[&str] = &["static.", "dhcp.", "ra."];

/// Writes the lines of one origin; an empty text removes them.
pub fn change(origin: Origin, interface: &str, lines: &str) {
    let origin = match origin {
        Origin::Static => "static",
        Origin::Ra => "ra",
    };
    let result = replace_part(&format!("{origin}.{interface}"), lines).and_then(|()| put_together());
    if let Err(error) = result {
        error!("{interface}: cannot write its name servers below {DIR}: {error}");
    }
    if !lines.is_empty() {
        make_link();
    }
}

/// Removes what the script of a DHCP client that is gone wrote: name servers, and what it knows of its lease. The result is the
/// address of the lease.
pub fn forget_lease(interface: &str) -> Option<Prefix> {
    let lease = files::read_file(&format!("{DIR}/lease.{interface}")).unwrap_or_default();
    let result = replace_part(&format!("lease.{interface}"), "")
        .and_then(|()| replace_part(&format!("dhcp.{interface}"), ""))
        .and_then(|()| put_together());
    if let Err(error) = result {
        error!("{interface}: cannot remove its name servers below {DIR}: {error}");
    }
    leased(&String::from_utf8_lossy(&lease))
}

/// The address in a lease's file, its first word.
fn leased(lease: &str) -> Option<Prefix> {
    config::prefix(lease.split_ascii_whitespace().next()?)
}

fn replace_part(name: &str, lines: &str) -> Result<()> {
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

fn put_together() -> Result<()> {
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

/// Links the path that programs read to the whole, if there is nothing at it.
fn make_link() {
    match files::make_link(WHOLE, CONFIGURED) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => error!("cannot link {CONFIGURED} to {WHOLE}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_lease() {
        let prefix = leased("10.0.2.15/24 10.0.2.2 10.8.0.0/16 10.0.2.9\n").unwrap();
        assert_eq!((prefix.address.to_string().as_str(), prefix.length), ("10.0.2.15", 24));
        for text in ["", "x", "10.0.2.15", "10.0.2.15/99 10.0.2.2"] {
            assert_eq!(leased(text), None);
        }
    }

    #[test]
    fn the_configuration_comes_first_and_half_written_parts_do_not_count() {
        let names: Vec<String> =
            ["dhcp.eth0", "dhcp.eth0.new", "other", "ra.eth0", "static.eth1"].map(String::from).into();
        assert_eq!(in_order(&names).collect::<Vec<_>>(), ["static.eth1", "dhcp.eth0", "ra.eth0"]);
    }
}
