//! What the settings of an interface come to in the kernel's and the resolver's terms.

use core::net::IpAddr;

use crate::net::config::{self, Settings, Way};
use init_base::rtnetlink::{Prefix, Route};

/// The metric of an interface's routes: without one in the configuration the card that came first is the way out, and
/// another one takes over when it is gone. Each has ten, because the script of DHCP clients counts on for further routers.
/// The kernel's own, for routes of routers, is 1024.
pub fn metric(settings: &Settings, index: u32) -> u32 {
    settings.metric.unwrap_or(index.saturating_mul(10).saturating_add(100).min(1000))
}

/// The routes in the kernel's terms: those to networks first, because a gateway may be behind one.
pub fn routes(settings: &Settings, index: u32) -> Vec<Route> {
    let route = |way: &Way| {
        let near = |via: IpAddr| match via {
            IpAddr::V6(address) if address.is_unicast_link_local() => true,
            via => {
                let direct = settings.routes.iter().filter(|way| way.via.is_none()).filter_map(|way| way.to.as_ref());
                settings.addresses.iter().chain(direct).any(|prefix| within(via, prefix))
            }
        };
        Route {
            to: way.to,
            via: way.via,
            metric: way.metric.unwrap_or(metric(settings, index)),
            on_link: way.via.is_some_and(|via| !near(via)),
        }
    };
    let mut ways: Vec<&Way> = settings.routes.iter().collect();
    ways.sort_by_key(|way| (way.via.is_some(), way.to.is_none()));
    ways.into_iter().map(route).collect()
}

/// Whether an address is in a network.
fn within(address: IpAddr, prefix: &Prefix) -> bool {
    let same = address.is_ipv4() == prefix.address.is_ipv4();
    same && config::network(Prefix { address, length: prefix.length }).address == config::network(*prefix).address
}

/// The lines of resolv.conf(5).
pub fn lines(search: &[String], servers: &[IpAddr]) -> String {
    let mut text = String::new();
    if !search.is_empty() {
        text += &format!("search {}\n", search.join(" "));
    }
    for server in servers {
        text += &format!("nameserver {server}\n");
    }
    text
}
