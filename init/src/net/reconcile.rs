//! Which step each piece of news about the network asks for: a state machine without any system call. `net` feeds it
//! and carries its actions out.

use core::net::Ipv6Addr;
use core::time::Duration;
use std::collections::BTreeMap;

use super::config::{Config, Pattern, Settings};
use crate::config::glob;
use init_base::rtnetlink::{Link, Prefix, Route};

mod desired;

use desired::{lines, metric, routes};

/// How long a DHCP client outlives the carrier: a cable that is back sooner finds its address still there.
const TIMEOUT: Duration = Duration::from_secs(10);
/// More interfaces than this are left alone (a router with thousands of tunnels has its own program for them).
const MOST_LINKS: usize = 1024;
/// Name servers of routers that are kept for each interface; resolvers use three.
const MOST_SERVERS: usize = 8;
/// Addresses that are remembered for each interface.
const MOST_ADDRESSES: usize = 64;

/// Something to do. Errors are said by whoever does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Set the interface up.
    Up(u32),
    /// Set its largest packet.
    Mtu(u32, u32),
    /// Write a setting of IPv6 on the interface: its name below `/proc/sys/net/ipv6/conf/NAME`, and the value; without one
    /// what new interfaces get.
    Ipv6(String, &'static str, Option<&'static str>),
    /// Take all IPv6 addresses and routes away and begin with IPv6 anew: what came from routers is gone.
    FlushIpv6(String),
    /// Add (or take away) an address.
    Address(u32, Prefix, bool),
    /// Add (or remove) a route.
    Route(u32, Route, bool),
    /// Start the DHCP client of an interface.
    StartClient {
        /// The interface's name.
        name: String,
        /// The metric of the routes that come with the lease.
        metric: u32,
        /// Whether the server may say the largest packet.
        mtu: bool,
    },
    /// The carrier is back: the client asks whether its address still holds.
    Renew(String),
    /// End the client's program; another one takes its place.
    RestartClient(String),
    /// Stop the client.
    StopClient(String),
    /// The resolver's lines of one origin on one interface; an empty text removes them.
    Resolver(Origin, String, String),
    /// The client is gone: the address that its script gave goes too, and the lines that it wrote.
    ForgetLease(u32, String),
    /// The first address that reaches beyond a link is there.
    Online(String, Prefix),
}

/// Who tells name servers. The names are parts of file names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The configuration.
    Static,
    /// Routers.
    Ra,
}

/// An interface, and what was done to it.
#[derive(Clone, Debug)]
struct Managed {
    link: Link,
    /// See [`Reconciler::link`].
    wired: bool,
    settings: Option<Settings>,
    /// The largest packet that it had before its settings changed that.
    mtu: Option<u32>,
    /// Addresses and routes were added since it was last set up.
    applied: bool,
    /// The name servers of its settings are in the resolver's lines.
    told: bool,
    client: bool,
    /// When the carrier was lost while the client ran.
    lost: Option<Duration>,
    addresses: Vec<Prefix>,
    /// Name servers from routers and when they end, also while the settings are in their place.
    servers: Vec<(Ipv6Addr, Option<Duration>)>,
    /// It was in the list that is being read.
    listed: bool,
}

/// The state of all interfaces.
pub struct Reconciler {
    config: Config,
    links: BTreeMap<u32, Managed>,
    /// Which interface each rule for the first wired card found.
    first: Option<u32>,
    online: bool,
}

impl Reconciler {
    /// A reconciler that knows no interface yet.
    pub fn new(config: Config) -> Reconciler {
        Reconciler { config, links: BTreeMap::new(), first: None, online: false }
    }

    /// The name of an interface.
    pub fn name(&self, index: u32) -> Option<&str> {
        self.links.get(&index).map(|managed| managed.link.name.as_str())
    }

    /// An interface appeared or changed. `wired` tells whether it is a card that the default rule is for.
    pub fn link(&mut self, link: Link, wired: bool, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.links.get(&link.index).is_some_and(|known| known.link.name != link.name) {
            // Services and settings are by name: under another name it is another one.
            actions = self.gone(link.index);
        }
        if !self.links.contains_key(&link.index) {
            if self.links.len() >= MOST_LINKS {
                return actions;
            }
            self.appear(&link, wired, &mut actions);
        }
        if let Some(managed) = self.links.get_mut(&link.index) {
            managed.listed = true;
            if (managed.wired, managed.link.enslaved) != (wired, link.enslaved) {
                // It became a port of a bridge, or left one.
                managed.wired = wired;
                self.first = self.first.filter(|&first| wired || first != link.index);
                let settings = settings_for(&self.config, &link, wired, &mut self.first);
                managed.adopt(settings, &link, &mut actions);
            }
            managed.change(link, now, &mut actions);
        }
        actions
    }

    fn appear(&mut self, link: &Link, wired: bool, actions: &mut Vec<Action>) {
        let settings = settings_for(&self.config, link, wired, &mut self.first);
        if link.loopback && !link.up {
            actions.push(Action::Up(link.index));
        }
        let mut managed = Managed {
            wired,
            settings,
            mtu: None,
            applied: false,
            told: false,
            client: false,
            lost: None,
            addresses: Vec::new(),
            servers: Vec::new(),
            listed: true,
            // Compared with an empty state, so that an interface that is already up is configured too.
            link: Link { up: false, carrier: false, ..link.clone() },
        };
        managed.prepare(link, actions);
        self.links.insert(link.index, managed);
    }

    /// An interface is gone, and its addresses and routes with it.
    pub fn gone(&mut self, index: u32) -> Vec<Action> {
        let Some(mut managed) = self.links.remove(&index) else {
            return Vec::new();
        };
        if self.first == Some(index) {
            self.first = None;
        }
        let mut actions = Vec::new();
        managed.stop_client(&mut actions);
        managed.clear_told(&mut actions);
        let before = managed.resolver_lines();
        managed.servers.clear();
        actions.extend(managed.resolver_change(&before));
        actions
    }

    /// The list of all interfaces begins.
    pub fn list_begins(&mut self) {
        for managed in self.links.values_mut() {
            managed.listed = false;
        }
    }

    /// The list is complete: what was not in it is gone.
    pub fn list_ends(&mut self) -> Vec<Action> {
        let gone: Vec<u32> =
            self.links.iter().filter(|(_, managed)| !managed.listed).map(|(&index, _)| index).collect();
        gone.into_iter().flat_map(|index| self.gone(index)).collect()
    }

    /// An interface has an address (`usable`), or has it no longer.
    pub fn address(&mut self, index: u32, prefix: Prefix, global: bool, usable: bool) -> Vec<Action> {
        let Some(managed) = self.links.get_mut(&index) else {
            return Vec::new();
        };
        managed.addresses.retain(|known| *known != prefix);
        if !usable || !global || managed.link.loopback || managed.addresses.len() >= MOST_ADDRESSES {
            return Vec::new();
        }
        managed.addresses.push(prefix);
        if core::mem::replace(&mut self.online, true) {
            return Vec::new();
        }
        vec![Action::Online(managed.link.name.clone(), prefix)]
    }

    /// A router told name servers for `lifetime` seconds; `u32::MAX` is for ever, 0 takes them back (RFC 8106).
    pub fn servers(&mut self, index: u32, servers: &[Ipv6Addr], lifetime: u32, now: Duration) -> Vec<Action> {
        let Some(managed) = self.links.get_mut(&index) else {
            return Vec::new();
        };
        let before = managed.resolver_lines();
        let end = (lifetime != u32::MAX).then(|| now.saturating_add(Duration::from_secs(lifetime.into())));
        for server in servers {
            managed.servers.retain(|(known, _)| known != server);
            if lifetime != 0 && managed.servers.len() < MOST_SERVERS {
                managed.servers.push((*server, end));
            }
        }
        managed.servers.sort_unstable();
        managed.resolver_change(&before)
    }

    /// When [`Reconciler::tick`] has something to do, in time since the machine's start.
    pub fn deadline(&self) -> Option<Duration> {
        self.links.values().filter_map(Managed::deadline).min()
    }

    /// Does what is due at `now`.
    pub fn tick(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        for managed in self.links.values_mut() {
            if managed.lost.is_some_and(|lost| lost.saturating_add(TIMEOUT) <= now) {
                managed.stop_client(&mut actions);
            }
            let before = managed.resolver_lines();
            managed.servers.retain(|(_, end)| end.is_none_or(|end| end > now));
            actions.extend(managed.resolver_change(&before));
        }
        actions
    }

    /// A new configuration: interfaces whose settings are the same are not touched. `wired` is as in [`Reconciler::link`].
    pub fn reload(&mut self, config: Config, wired: impl Fn(&Link) -> bool, now: Duration) -> Vec<Action> {
        self.config = config;
        self.first = None;
        let mut actions = Vec::new();
        for managed in self.links.values_mut() {
            managed.wired = wired(&managed.link);
            let settings = settings_for(&self.config, &managed.link, managed.wired, &mut self.first);
            let link = managed.link.clone();
            managed.adopt(settings, &link, &mut actions);
            managed.change(link, now, &mut actions);
        }
        actions
    }
}

/// The settings for an interface; nothing when no rule is for it.
fn settings_for(config: &Config, link: &Link, wired: bool, first: &mut Option<u32>) -> Option<Settings> {
    if link.loopback {
        return None;
    }
    let mut fits = |pattern: &Pattern| match pattern {
        Pattern::Name(name) => glob::fits(name, &link.name),
        Pattern::Mac(mac) => link.mac.as_ref() == Some(mac),
        Pattern::Wired => wired,
        Pattern::FirstWired => wired && *first.get_or_insert(link.index) == link.index,
    };
    let rule = config.rules.iter().find(|rule| rule.patterns.iter().any(&mut fits))?;
    (!rule.settings.ignore).then(|| rule.settings.clone())
}

impl Managed {
    /// Takes new settings for the interface, whose state is now `link`. The same settings change nothing.
    fn adopt(&mut self, settings: Option<Settings>, link: &Link, actions: &mut Vec<Action>) {
        if settings == self.settings {
            return;
        }
        self.undo(settings.as_ref(), actions);
        let before = self.resolver_lines();
        let refused = self.refuses_routers();
        self.settings = settings;
        self.applied = false;
        actions.extend(self.resolver_change(&before));
        self.prepare(link, actions);
        if self.refuses_routers() && !refused {
            // The kernel would keep what routers told for as long as they said.
            actions.push(Action::FlushIpv6(link.name.clone()));
        }
    }

    fn refuses_routers(&self) -> bool {
        self.settings.as_ref().is_some_and(|settings| settings.ra == Some(false))
    }

    /// Applies the settings that must precede IFF_UP, then sets it.
    fn prepare(&mut self, link: &Link, actions: &mut Vec<Action>) {
        let Some(settings) = &self.settings else {
            return;
        };
        if let Some(mtu) = settings.mtu.filter(|&mtu| mtu != link.mtu) {
            self.mtu.get_or_insert(link.mtu);
            actions.push(Action::Mtu(link.index, mtu));
        }
        let mut ipv6 = |name, value| actions.push(Action::Ipv6(link.name.clone(), name, Some(value)));
        if let Some(on) = settings.ipv6 {
            ipv6("disable_ipv6", if on { "0" } else { "1" });
        }
        if let Some(on) = settings.ra {
            // 2: on a router as well, because it is asked for.
            ipv6("accept_ra", if on { "2" } else { "0" });
        }
        if !link.up {
            actions.push(Action::Up(link.index));
        }
    }

    /// Takes the interface's new state.
    fn change(&mut self, link: Link, now: Duration, actions: &mut Vec<Action>) {
        let had_carrier = self.link.carrier && self.link.up;
        self.link = link;
        let Some(settings) = self.settings.clone() else {
            return;
        };
        if !self.link.up {
            // Somebody set it down, which took its routes away. It is not for us to set it up again, but when it is up it
            // gets them back.
            self.applied = false;
        } else if !self.applied {
            self.applied = true;
            self.apply(&settings, actions);
        }
        if settings.dhcp {
            self.follow_carrier(had_carrier, &settings, now, actions);
        }
    }

    fn apply(&mut self, settings: &Settings, actions: &mut Vec<Action>) {
        let index = self.link.index;
        actions.extend(settings.addresses.iter().map(|&prefix| Action::Address(index, prefix, true)));
        actions.extend(routes(settings, index).into_iter().map(|route| Action::Route(index, route, true)));
        let lines = lines(&settings.search, &settings.dns);
        if !lines.is_empty() {
            self.told = true;
            actions.push(Action::Resolver(Origin::Static, self.link.name.clone(), lines));
        }
    }

    fn follow_carrier(&mut self, had: bool, settings: &Settings, now: Duration, actions: &mut Vec<Action>) {
        let has = self.link.carrier && self.link.up;
        let name = || self.link.name.clone();
        match (self.client, has) {
            (false, true) => {
                self.client = true;
                self.lost = None;
                let metric = metric(settings, self.link.index);
                actions.push(Action::StartClient { name: name(), metric, mtu: settings.mtu.is_none() });
            }
            (true, true) if !had => {
                self.lost = None;
                self.ask_again(actions);
            }
            (true, false) if self.lost.is_none() => self.lost = Some(now),
            _ => {}
        }
    }

    fn stop_client(&mut self, actions: &mut Vec<Action>) {
        self.lost = None;
        if core::mem::take(&mut self.client) {
            actions.push(Action::StopClient(self.link.name.clone()));
            actions.push(Action::ForgetLease(self.link.index, self.link.name.clone()));
        }
    }

    /// The client asks the server at once, and its script does what is to be done with the answer.
    fn ask_again(&self, actions: &mut Vec<Action>) {
        let name = self.link.name.clone();
        if self.addresses.iter().any(|prefix| prefix.address.is_ipv4()) {
            actions.push(Action::Renew(name));
        } else {
            // It may be in the pause between two attempts: a new one asks at once.
            actions.push(Action::RestartClient(name));
        }
    }

    fn clear_told(&mut self, actions: &mut Vec<Action>) {
        if core::mem::take(&mut self.told) {
            actions.push(Action::Resolver(Origin::Static, self.link.name.clone(), String::new()));
        }
    }

    /// Takes back what the old settings gave and the `new` ones do not.
    fn undo(&mut self, new: Option<&Settings>, actions: &mut Vec<Action>) {
        let index = self.link.index;
        let old = self.settings.clone().unwrap_or_default();
        let stays = |client: bool| client && new.is_some_and(|new| new.dhcp);
        let asked = |settings: &Settings| (metric(settings, index), settings.mtu.is_none());
        if !stays(self.client) || new.is_some_and(|new| asked(new) != asked(&old)) {
            self.stop_client(actions);
        }
        if self.applied {
            let kept = new.map(|new| routes(new, index)).unwrap_or_default();
            let gone = routes(&old, index).into_iter().filter(|route| !kept.contains(route));
            actions.extend(gone.map(|route| Action::Route(index, route, false)));
            let gone = old.addresses.iter().filter(|prefix| new.is_none_or(|new| !new.addresses.contains(prefix)));
            actions.extend(gone.map(|&prefix| Action::Address(index, prefix, false)));
        }
        self.clear_told(actions);
        // The lines of the client's script depend on these.
        let tells = |settings: &Settings| (settings.dns.is_empty(), settings.search.is_empty());
        if self.client && new.is_some_and(|new| tells(new) != tells(&old)) {
            self.ask_again(actions);
        }
        self.undo_kernel_settings(&old, new, actions);
    }

    /// Gives the kernel its own settings back where the `old` ones said something and the `new` ones do not.
    fn undo_kernel_settings(&mut self, old: &Settings, new: Option<&Settings>, actions: &mut Vec<Action>) {
        let name = || self.link.name.clone();
        if new.is_none_or(|new| new.mtu.is_none())
            && let Some(mtu) = self.mtu.take()
        {
            actions.push(Action::Mtu(self.link.index, mtu));
        }
        if old.ipv6.is_some() && new.is_none_or(|new| new.ipv6.is_none()) {
            actions.push(Action::Ipv6(name(), "disable_ipv6", None));
        }
        if old.ra.is_some() && new.is_none_or(|new| new.ra.is_none()) {
            actions.push(Action::Ipv6(name(), "accept_ra", None));
        }
    }

    fn deadline(&self) -> Option<Duration> {
        let lost = self.lost.map(|lost| lost.saturating_add(TIMEOUT));
        self.servers.iter().filter_map(|(_, end)| *end).chain(lost).min()
    }

    /// The resolver's lines of routers: none where the settings are in their place.
    fn resolver_lines(&self) -> String {
        let hears =
            |settings: &Settings| settings.ra != Some(false) && settings.ipv6 != Some(false) && settings.dns.is_empty();
        if !self.settings.as_ref().is_some_and(hears) {
            return String::new();
        }
        let line = |(server, _): &(Ipv6Addr, _)| match server.is_unicast_link_local() {
            // It is reached through this interface only.
            true => format!("nameserver {server}%{}\n", self.link.name),
            false => format!("nameserver {server}\n"),
        };
        self.servers.iter().map(line).collect()
    }

    fn resolver_change(&self, before: &str) -> Vec<Action> {
        let lines = self.resolver_lines();
        if lines == before {
            return Vec::new();
        }
        vec![Action::Resolver(Origin::Ra, self.link.name.clone(), lines)]
    }
}

#[cfg(test)]
mod tests;
