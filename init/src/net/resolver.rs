//! `/run/resolv.conf`, to which `/etc/resolv.conf` is a link: the lines of every origin, put together.
//!
//! Each origin has a file for each interface below `/run/resolv`: `static.eth0` (the configuration), `ra.eth0` (routers) and
//! `dhcp.eth0`, which udhcpc's script writes; the script puts the files together in the same way. An `/etc/resolv.conf`
//! that is a file of its own is the administrator's and never written.

use init_base::lease;
use init_base::resolv::{self, DIR, WHOLE};
use init_base::rtnetlink::Prefix;

use super::config;
use super::reconcile::Origin;

use crate::log::error;
use crate::sys::{Errno, files};

/// The path that programs read.
const CONFIGURED: &str = "/etc/resolv.conf";

/// Writes the lines of one origin; an empty text removes them.
pub fn change(origin: Origin, interface: &str, lines: &str) {
    let origin = match origin {
        Origin::Static => "static",
        Origin::Ra => "ra",
    };
    let result = resolv::replace(&format!("{origin}.{interface}"), lines).and_then(|()| resolv::put_together());
    if let Err(error) = result {
        error!("{interface}: cannot write its name servers below {DIR}: {error}");
    }
    if !lines.is_empty() {
        make_link();
    }
}

/// Removes what a DHCP client that is gone, or its script, wrote: name servers, and what it knows of its lease. The result is the
/// address of the lease.
pub fn forget_lease(interface: &str) -> Option<Prefix> {
    let lease = resolv::part(&format!("lease.{interface}"));
    let result = resolv::replace(&format!("lease.{interface}"), "")
        .and_then(|()| resolv::replace(&format!("dhcp.{interface}"), ""))
        .and_then(|()| resolv::put_together())
        .and_then(|()| lease::remove(interface));
    if let Err(error) = result {
        error!("{interface}: cannot remove its name servers below {DIR}: {error}");
    }
    leased(&lease)
}

/// The address in a lease's file, its first word.
fn leased(lease: &str) -> Option<Prefix> {
    config::prefix(lease.split_ascii_whitespace().next()?)
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
}
