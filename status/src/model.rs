//! What is known about the machine. The other modules fill it in and draw it; nothing here asks anybody.

use core::net::IpAddr;
use core::time::Duration;

use init_base::lease::Lease;
use init_base::protocol::Health;

/// What is known about the machine at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// Its name; empty where nobody gave it one.
    pub host: String,
    /// The system's name and version (`PRETTY_NAME` of os-release(5)).
    pub product: String,
    /// What the system is for, in a sentence (`VARIANT` of os-release(5)).
    pub description: String,
    /// The kernel's release and the machine's architecture.
    pub kernel: String,
    /// Time since the machine's start.
    pub uptime: Duration,
    /// Seconds since 1970 UTC; nothing while nobody has set the clock.
    pub clock: Option<i64>,
    /// Memory in KiB, where the kernel tells.
    pub memory: Option<Memory>,
    /// The three load averages of /proc/loadavg.
    pub load: String,
    /// Why PID 1 tells nothing.
    pub silence: Option<String>,
    /// Its services by their names.
    pub services: Vec<Service>,
    /// Lines of their logs, the oldest first.
    pub log: Vec<LogLine>,
    /// Network interfaces, without `lo`.
    pub interfaces: Vec<Interface>,
    /// Ways to other networks.
    pub routes: Vec<Route>,
    /// Name servers, and where each was learnt.
    pub name_servers: Vec<(String, Origin)>,
    /// Settings in force.
    pub settings: Vec<Setting>,
    /// Lines of settings that do not count.
    pub faults: Vec<Fault>,
    /// The machine goes down: the words for it.
    pub end: Option<String>,
}

/// Memory in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All that the kernel has.
    pub total: u64,
    /// What programs can still get.
    pub available: u64,
}

/// A service of PID 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// PID 1's word for its state.
    pub state: String,
    /// What the state means.
    pub health: Health,
    /// For how long it has been in it.
    pub age: Duration,
    /// How often it was started again.
    pub restarts: String,
    /// Its own words, or why it failed.
    pub text: String,
    /// How its last process ended.
    pub last_exit: Option<String>,
}

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// The service.
    pub service: String,
    /// When: `2026-11-21T06:45:50.123Z`, or `+12.345` seconds after the machine's start.
    pub stamp: String,
    /// The line, without what a terminal would obey.
    pub text: String,
    /// Nothing that a person should see without asking.
    pub minor: bool,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// The card's address; empty for an interface without one.
    pub mac: String,
    /// It was set up.
    pub up: bool,
    /// It has a cable and a partner at the other end.
    pub carrier: bool,
    /// The largest packet in bytes.
    pub mtu: u32,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// What a DHCP server gave.
    pub lease: Option<Lease>,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub address: IpAddr,
    /// Bits of its network's prefix.
    pub length: u8,
    /// How it was got.
    pub origin: Origin,
    /// When it was got, since the machine's start.
    pub since: Duration,
    /// Seconds for which it is valid; nothing is for ever.
    pub valid: Option<u32>,
    /// The kernel still asks whether it is another host's, or has found that it is.
    pub state: AddressState,
}

/// Whether an address can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressState {
    /// It can.
    Usable,
    /// The kernel still asks whether another host has it.
    Tentative,
    /// Another host has it.
    Duplicate,
}

/// How something was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From a DHCP server.
    Dhcp,
    /// From a router's advertisement.
    Router,
    /// From the configuration.
    Static,
    /// By the kernel itself, for this link alone.
    LinkLocal,
    /// By the kernel itself, of an address.
    Kernel,
}

impl Origin {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Origin::Dhcp => "DHCP",
            Origin::Router => "router advertisement",
            Origin::Static => "static",
            Origin::LinkLocal => "link-local",
            Origin::Kernel => "kernel",
        }
    }
}

/// A way to a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to: `default`, or a prefix.
    pub to: String,
    /// Through whom; empty for the network at the interface itself.
    pub via: String,
    /// The interface.
    pub interface: String,
    /// The lowest of several ways is taken.
    pub metric: u32,
    /// How it was learnt.
    pub origin: Origin,
}

/// A setting in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub key: String,
    /// What it is set to.
    pub value: String,
    /// Who said so.
    pub source: String,
}

/// A line of settings that does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where the line is.
    pub source: String,
    /// Its number; `-` or empty where it has none.
    pub line: String,
    /// What is wrong.
    pub message: String,
}

impl Fault {
    /// The fault in one sentence.
    pub fn sentence(&self) -> String {
        match self.line.as_str() {
            "" | "-" | "0" => format!("{}: {}", self.source, self.message),
            line => format!("{} line {line}: {}", self.source, self.message),
        }
    }
}
