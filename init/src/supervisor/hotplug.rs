//! Devices and network interfaces that come and go: the supervisor waits for their news and carries out what they ask for.

use core::time::Duration;
use std::os::fd::BorrowedFd;

use super::Supervisor;
use crate::config::options;
use crate::devices::{Devices, Node};
use crate::event::reactor::{Interest, Source, Token};
use crate::log::{debug, error, warn};
use crate::net::{Client, Network, Order, Reloaded};
use crate::platform::button;
use crate::service::config::{Command, Config, Kind};
use crate::sys::process::{self, Pid};
use crate::sys::{Result, files, system};

/// How long the boot waits for the links of the disks that are there.
const SETTLE: Duration = Duration::from_secs(2);

/// What listens to the kernel.
#[derive(Default)]
pub(super) struct Hotplug {
    devices: Option<Devices>,
    network: Option<Network>,
    uevents: Option<Token>,
    links: Option<Token>,
    /// When the network was started, until it has its first address.
    since: Option<Duration>,
}

impl Hotplug {
    /// Whether devices that come have their events.
    pub(super) fn listens(&self) -> bool {
        self.uevents.is_some()
    }

    fn deadline(&self) -> Option<Duration> {
        let devices = self.devices.as_ref().and_then(Devices::deadline);
        [devices, self.network.as_ref().and_then(Network::deadline)].into_iter().flatten().min()
    }
}

impl Supervisor {
    /// Listens to devices, and sets those up that are there.
    pub fn start_devices(&mut self) {
        self.hotplug.devices = Some(Devices::start(system::uptime()));
        self.wait_for_uevents();
        // From here on, because what the boot does next may take its time. Keys that come later have their events.
        self.power_key = button::watch(&mut self.reactor);
    }

    /// Whether devices that come are set up.
    pub fn listens_to_devices(&self) -> bool {
        self.hotplug.uevents.is_some()
    }

    /// Configures the network, now and when something changes.
    pub fn start_network(&mut self) {
        if self.options.single {
            return;
        }
        let content = files::read_file(options::COMMAND_LINE).unwrap_or_default();
        self.hotplug.network = Some(Network::start(&String::from_utf8_lossy(&content)));
        self.hotplug.since = Some(system::uptime());
        self.wait_for_links();
    }

    /// Waits until the disks that are there have their links, for a short time: what runs next may ask for them.
    pub fn settle_devices(&mut self) {
        let deadline = system::uptime() + SETTLE;
        while self.hotplug.devices.as_ref().is_some_and(Devices::busy)
            && system::uptime() < deadline
            && !self.is_going_down()
        {
            self.step(Some(deadline));
        }
    }

    fn wait_for_uevents(&mut self) {
        let descriptor = self.hotplug.devices.as_ref().and_then(Devices::descriptor);
        self.hotplug.uevents = wait(&mut self.reactor, descriptor, Source::Uevents);
    }

    fn wait_for_links(&mut self) {
        let descriptor = self.hotplug.network.as_ref().and_then(Network::descriptor);
        self.hotplug.links = wait(&mut self.reactor, descriptor, Source::Links);
    }

    /// Takes the news of devices.
    pub(super) fn take_uevents(&mut self) {
        let now = system::uptime();
        let nodes = self.hotplug.devices.as_mut().map(|devices| devices.ready(now)).unwrap_or_default();
        for node in nodes {
            self.take_node(&node, now);
        }
        self.wait_for_uevents();
    }

    /// A device came: a terminal that an entry waits for, or a power key.
    fn take_node(&mut self, node: &Node, now: Duration) {
        debug!("device {} ({})", node.name, node.subsystem);
        self.services.machine_mut().terminal_came(&node.name, now);
        if node.subsystem == "input" && node.name.starts_with("input/event") {
            self.power_key |= button::watch_one(&mut self.reactor, &node.name);
        }
    }

    /// Takes the news of the network.
    pub(super) fn take_links(&mut self) {
        let now = system::uptime();
        let orders = self.hotplug.network.as_mut().map(|network| network.ready(now)).unwrap_or_default();
        self.carry_out(orders);
        self.wait_for_links();
    }

    /// Does what is due, and returns when there is more.
    pub(super) fn hotplug_work(&mut self) -> Option<Duration> {
        let now = system::uptime();
        if self.hotplug.deadline().is_some_and(|time| time <= now) {
            if let Some(devices) = &mut self.hotplug.devices {
                devices.tick(now);
            }
            let orders = self.hotplug.network.as_mut().map(|network| network.tick(now)).unwrap_or_default();
            self.carry_out(orders);
        }
        self.hotplug.deadline()
    }

    /// A process ended. Returns whether it was one of the devices' helpers.
    pub(super) fn hotplug_ended(&mut self, pid: Pid) -> bool {
        self.hotplug.devices.as_mut().is_some_and(|devices| devices.ended(pid, system::uptime()))
    }

    /// Reads the network's files again; nothing where there is no network yet.
    pub(super) fn reload_network(&mut self) -> Option<Reloaded> {
        let now = system::uptime();
        let (orders, reloaded) = self.hotplug.network.as_mut().map(|network| network.reload(now))?;
        self.carry_out(orders);
        Some(reloaded)
    }

    fn carry_out(&mut self, orders: Vec<Order>) {
        for order in orders {
            let now = system::uptime();
            let (services, mut cx) = self.services();
            match order {
                Order::Start(client) => services.add(service(client), &mut cx),
                Order::Stop(name) => services.machine_mut().remove(&name, now),
                Order::Restart(name) => {
                    let machine = services.machine_mut();
                    if let Some(Err(reason)) = machine.find(&name).map(|index| machine.restart(index, now)) {
                        warn!("{name}: {reason}");
                    }
                }
                Order::Signal(name, signal) => {
                    let machine = services.machine();
                    let pid = machine.find(&name).and_then(|index| machine.units().get(index)?.pid);
                    if let Some(Err(error)) = pid.map(|pid| process::kill(pid, signal)) {
                        debug!("{name}: cannot signal it: {error}");
                    }
                }
                Order::Online => {
                    services.network_is_online(now);
                    if let Some(since) = self.hotplug.since.take() {
                        self.timeline.add("network address", since, now);
                    }
                }
            }
        }
    }
}

/// Polls a descriptor; nothing where there is none, or where waiting fails, which is said.
fn wait(
    reactor: &mut crate::event::reactor::Reactor,
    descriptor: Option<BorrowedFd<'_>>,
    source: Source,
) -> Option<Token> {
    let polled: Option<Result<Token>> = descriptor.map(|descriptor| reactor.poll(descriptor, Interest::Read, source));
    match polled? {
        Ok(token) => Some(token),
        Err(error) => {
            error!("cannot wait for news of devices or the network any more: {error}");
            None
        }
    }
}

/// The service that a DHCP client is. It has no start limit: a network can come back after years.
fn service(client: Client) -> Config {
    let mut config = Config::new(&client.service, Kind::Simple, Command::Words(client.arguments));
    config.restart.limit = 0;
    let variables = client.environment.iter().filter_map(|variable| variable.split_once('='));
    config.execution.environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dhcp_client_is_a_service() {
        let client = Client {
            service: "dhcp@eth0".into(),
            arguments: vec!["udhcpc".into(), "-f".into()],
            environment: vec!["IF_METRIC=5".into(), "broken".into()],
        };
        let config = service(client);
        assert_eq!((config.name.as_str(), config.restart.limit), ("dhcp@eth0", 0));
        assert_eq!(config.execution.command, Command::Words(vec!["udhcpc".into(), "-f".into()]));
        assert_eq!(config.execution.environment, [("IF_METRIC".into(), "5".into())]);
    }
}
