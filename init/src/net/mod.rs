//! The network: interfaces are configured when they come, and cleaned up when they go. The supervisor waits for the news,
//! hands them to [`Network::ready`], and carries the [`Order`]s about DHCP clients out; all else is done here.
//!
//! One rtnetlink socket, no process of its own: [`rtnetlink`] reads and writes its messages, [`reconcile`] decides.

use core::time::Duration;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};

use crate::log::{debug, error, info, warn};
use crate::sys::netlink::{Protocol, Socket};
use crate::sys::signal::Signal;
use crate::sys::{Errno, Result, files, system};

pub mod cmdline;
pub mod config;
pub(crate) mod config_files;
pub(crate) mod host_name;
pub mod reconcile;
pub(crate) mod resolver;

use config_files::Source;
use init_base::rtnetlink::{self, Link, Message};
use reconcile::{Action, Reconciler};

/// Bytes of the buffer for messages: the kernel fills up to 8 KiB of a list into one, and one interface with many
/// virtual functions can need more.
const BUFFER: usize = 32 << 10;
/// Messages taken at a time; the rest waits for the next turn, so that a flood of news starves nobody.
const MOST_AT_ONCE: usize = 64;
/// Bytes of news that may wait in the socket: a storm of a thousand interfaces. Memory is taken only as news come.
const CAPACITY: usize = 1 << 20;
/// Requests whose answer has not been read yet.
const MOST_REQUESTS: usize = 1024;
/// Only the interface of this number is `lo`, in every network namespace (`LOOPBACK_IFINDEX` of linux/net/flow.h).
const LOOPBACK: u32 = 1;

/// What the supervisor is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Run this as a service. One of that name that runs with the same arguments is left as it is.
    Start(Client),
    /// End the service's program and start it again at once.
    Restart(String),
    /// Stop the service of this name, and forget it.
    Stop(String),
    /// Send a signal to the service's program.
    Signal(String, Signal),
    /// The machine has its first address.
    Online,
}

/// A DHCP client as a service: it runs for as long as its interface is there, and starts again when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The service's name, `dhcp@eth0`.
    pub service: String,
    /// The program and its arguments.
    pub arguments: Vec<String>,
    /// Variables as `NAME=value`, besides the usual ones.
    pub environment: Vec<String>,
}

/// The purpose of a request, named in the message when it fails.
struct Pending {
    sequence: u32,
    what: String,
    /// These errors mean that there is nothing left to do.
    fine: &'static [Errno],
}

/// What a list that was asked for is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    Links,
    Addresses,
}

/// The result of a reload, in numbers of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Rules that are new.
    pub new: usize,
    /// Rules that are gone.
    pub gone: usize,
    /// Rules that say something else.
    pub changed: usize,
    /// What is wrong in their files.
    pub faults: Vec<String>,
}

fn rules(sources: &[Source]) -> Vec<config::Rule> {
    sources.iter().filter_map(|source| source.rule.clone()).collect()
}

/// The network at work.
pub struct Network {
    socket: Option<Socket>,
    reconciler: Reconciler,
    /// What the rules were made of.
    sources: Vec<Source>,
    command_line: String,
    sequence: u32,
    pending: VecDeque<Pending>,
    /// Lists that are being read or to be asked for; the kernel gives one at a time.
    lists: VecDeque<(List, u32)>,
    buffer: Vec<u8>,
}

impl Network {
    /// Reads the configuration and asks for the list of interfaces. `command_line` is the kernel's. What is wrong is said;
    /// a kernel without networking has nothing to configure.
    pub fn start(command_line: &str) -> Network {
        let request = cmdline::parse(command_line);
        for fault in &request.faults {
            warn!("kernel command line: {fault}");
        }
        if let Some(name) = &request.host_name
            && let Err(error) = init_base::host_name::give(name)
        {
            error!("cannot set the host name '{name}': {error}");
        }
        let sources = config_files::read_all(command_line).unwrap_or_else(|reason| {
            error!("{reason}");
            Vec::new()
        });
        // A file put there by mistake has thousands of faults.
        for fault in sources.iter().flat_map(|source| source.faults.iter().take(5)) {
            warn!("{fault}");
        }
        let mut network = Network {
            socket: None,
            reconciler: Reconciler::new(request.with_files(rules(&sources))),
            sources,
            command_line: command_line.into(),
            sequence: 0,
            pending: VecDeque::new(),
            lists: VecDeque::new(),
            buffer: Vec::new(),
        };
        match open() {
            Ok(socket) => {
                network.socket = Some(socket);
                network.buffer = Vec::with_capacity(BUFFER);
                network.list_all();
            }
            Err(error @ (Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT)) => debug!("no network: {error}"),
            Err(error) => error!("cannot configure the network: {error}"),
        }
        network
    }

    /// The descriptor to wait at for news; nothing without a network.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// When [`Network::tick`] has something to do, in time since the machine's start.
    pub fn deadline(&self) -> Option<Duration> {
        self.reconciler.deadline()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Duration) -> Vec<Order> {
        let actions = self.reconciler.tick(now);
        self.carry_out(actions)
    }

    /// Reads the files again and changes what they changed. One with a fault stays as it was.
    pub fn reload(&mut self, now: Duration) -> (Vec<Order>, Reloaded) {
        let new = match config_files::read_all(&self.command_line) {
            Ok(new) => config_files::keep_faulty(new, &self.sources),
            Err(reason) => return (Vec::new(), Reloaded { faults: vec![reason], ..Reloaded::default() }),
        };
        let (added, gone, changed) = config_files::changes(&new, &self.sources);
        let faults = new.iter().flat_map(|source| source.faults.iter().cloned()).collect();
        let config = cmdline::parse(&self.command_line).with_files(rules(&new));
        self.sources = new;
        let actions = self.reconciler.reload(config, is_wired, now);
        (self.carry_out(actions), Reloaded { new: added, gone, changed, faults })
    }

    /// Takes the news that wait.
    pub fn ready(&mut self, now: Duration) -> Vec<Order> {
        let mut orders = Vec::new();
        for _ in 0..MOST_AT_ONCE {
            let Some(socket) = &self.socket else {
                break;
            };
            let received = match socket.receive(&mut self.buffer) {
                Ok(Some(received)) => received,
                Ok(None) => break,
                Err(Errno::NOBUFS) => {
                    debug!("news of the network were lost; reading the list of interfaces again");
                    self.list_all();
                    continue;
                }
                Err(error) => {
                    error!("cannot listen to the network: {error}; interfaces that come now are not configured");
                    self.socket = None;
                    break;
                }
            };
            if !received.from_kernel {
                continue;
            }
            let notices = rtnetlink::decode(self.buffer.get(..received.length).unwrap_or_default());
            for notice in notices {
                let actions = self.take(notice, now);
                orders.extend(self.carry_out(actions));
            }
        }
        orders
    }

    fn take(&mut self, notice: Message, now: Duration) -> Vec<Action> {
        match notice {
            Message::Link(link) => {
                let wired = is_wired(&link);
                self.reconciler.link(link, wired, now)
            }
            Message::LinkGone(index) => self.reconciler.gone(index),
            Message::Address { index, prefix, global, usable } => {
                if let Some(name) = self.reconciler.name(index).filter(|_| usable && global) {
                    debug!("{name}: {}/{}", prefix.address, prefix.length);
                }
                self.reconciler.address(index, prefix, global, usable)
            }
            Message::NameServers { index, servers, lifetime } => {
                self.reconciler.servers(index, &servers, lifetime, now)
            }
            Message::Answer { sequence, error } => {
                self.answered(sequence, error);
                Vec::new()
            }
            Message::Done { sequence } => self.list_done(sequence),
        }
    }

    fn answered(&mut self, sequence: u32, error: Option<(Errno, String)>) {
        if let Some((error, words)) = &error
            && self.lists.front().is_some_and(|(_, asked)| *asked == sequence)
        {
            error!("cannot list the network's interfaces: {error} {words}");
            self.lists.pop_front();
            return self.ask_next_list();
        }
        let Some(place) = self.pending.iter().position(|pending| pending.sequence == sequence) else {
            return;
        };
        let Some(pending) = self.pending.remove(place) else {
            return;
        };
        match error {
            None => debug!("{}", pending.what),
            Some((error, _)) if pending.fine.contains(&error) => {}
            Some((error, words)) if words.is_empty() => error!("cannot do: {}: {error}", pending.what),
            Some((error, words)) => error!("cannot do: {}: {error}: {words}", pending.what),
        }
    }

    /// Asks for all there is: interfaces, then addresses.
    fn list_all(&mut self) {
        let idle = self.lists.is_empty();
        // Lists that wait to be asked for will be new enough; the one being read may lack what was lost.
        self.lists.truncate(1);
        self.lists.extend([(List::Links, 0), (List::Addresses, 0)]);
        if idle {
            self.ask_next_list();
        }
    }

    fn ask_next_list(&mut self) {
        let sequence = self.next_sequence();
        let Some((list, asked)) = self.lists.front_mut() else {
            return;
        };
        *asked = sequence;
        let message = match list {
            List::Links => {
                self.reconciler.list_begins();
                rtnetlink::list_links(sequence)
            }
            List::Addresses => rtnetlink::list_addresses(sequence),
        };
        if let Some(Err(error)) = self.socket.as_ref().map(|socket| socket.send(&message)) {
            error!("cannot list the network's interfaces: {error}");
            self.lists.clear();
        }
    }

    fn list_done(&mut self, sequence: u32) -> Vec<Action> {
        match self.lists.front() {
            Some((list, asked)) if *asked == sequence => {
                let links = *list == List::Links;
                self.lists.pop_front();
                self.ask_next_list();
                if links { self.reconciler.list_ends() } else { Vec::new() }
            }
            _ => Vec::new(),
        }
    }

    fn next_sequence(&mut self) -> u32 {
        // 0 is what the kernel's own news have.
        self.sequence = self.sequence.checked_add(1).unwrap_or(1);
        self.sequence
    }

    fn carry_out(&mut self, actions: Vec<Action>) -> Vec<Order> {
        actions.into_iter().filter_map(|action| self.carry_out_one(action)).collect()
    }

    fn carry_out_one(&mut self, action: Action) -> Option<Order> {
        let sequence = self.next_sequence();
        let name = |index| self.reconciler.name(index).unwrap_or("an interface").to_owned();
        // An interface can go while a request about it is on its way.
        const GONE: &[Errno] = &[Errno::NODEV];
        const GONE_OR_THERE: &[Errno] = &[Errno::NODEV, Errno::EXIST];
        const GONE_OR_LOST: &[Errno] = &[Errno::NODEV, Errno::ADDRNOTAVAIL, Errno::SRCH];
        match action {
            Action::Up(index) => {
                let what = format!("{}: set up", name(index));
                self.request(sequence, what, GONE, &rtnetlink::set_up(sequence, index));
            }
            Action::Mtu(index, mtu) => {
                let what = format!("{}: mtu {mtu}", name(index));
                self.request(sequence, what, GONE, &rtnetlink::set_mtu(sequence, index, mtu));
            }
            Action::Address(index, prefix, add) => {
                let verb = if add { "add" } else { "remove" };
                let what = format!("{}: {verb} address {}/{}", name(index), prefix.address, prefix.length);
                let fine = if add { GONE } else { GONE_OR_LOST };
                self.request(sequence, what, fine, &rtnetlink::change_address(sequence, index, prefix, add));
            }
            Action::Route(index, route, add) => {
                let what = format!("{}: {} {}", name(index), if add { "add" } else { "remove" }, describe(&route));
                let fine = if add { GONE_OR_THERE } else { GONE_OR_LOST };
                self.request(sequence, what, fine, &rtnetlink::change_route(sequence, index, &route, add));
            }
            Action::Ipv6(name, setting, value) => set_ipv6(&name, setting, value),
            Action::FlushIpv6(name) => flush_ipv6(&name),
            Action::Resolver(origin, name, lines) => resolver::change(origin, &name, &lines),
            Action::ForgetLease(index, name) => {
                if let Some(prefix) = resolver::forget_lease(&name) {
                    let what = format!("{name}: remove address {}/{}", prefix.address, prefix.length);
                    let message = rtnetlink::change_address(sequence, index, prefix, false);
                    self.request(sequence, what, GONE_OR_LOST, &message);
                }
            }
            Action::StartClient { name, metric, mtu } => {
                return Some(Order::Start(client(
                    &name,
                    metric,
                    mtu,
                    init_base::host_name::current().as_deref(),
                    files::is_executable(OWN_CLIENT),
                )));
            }
            Action::RestartClient(name) => return Some(Order::Restart(service(&name))),
            Action::Renew(name) => return Some(Order::Signal(service(&name), Signal::USR1)),
            Action::StopClient(name) => return Some(Order::Stop(service(&name))),
            Action::Online(name, prefix) => {
                info!("{name}: {}/{} at {} ms", prefix.address, prefix.length, system::uptime().as_millis());
                return Some(Order::Online);
            }
        }
        None
    }

    fn request(&mut self, sequence: u32, what: String, fine: &'static [Errno], message: &[u8]) {
        match self.socket.as_ref().map(|socket| socket.send(message)) {
            Some(Ok(())) => {
                if self.pending.len() >= MOST_REQUESTS {
                    self.pending.pop_front();
                }
                self.pending.push_back(Pending { sequence, what, fine });
            }
            Some(Err(error)) => error!("cannot do: {what}: {error}"),
            None => {}
        }
    }
}

fn open() -> Result<Socket> {
    let socket = Socket::open(Protocol::Route, rtnetlink::GROUPS)?;
    // Without these there are shorter messages, and lost news a little earlier.
    let _ = socket.explain_errors();
    let _ = socket.set_capacity(CAPACITY);
    Ok(socket)
}

/// Sets the interface `lo` up; the kernel then gives it 127.0.0.1/8 and ::1/128 itself. The boot calls this.
pub fn loopback_up() -> Result<()> {
    let socket = Socket::open(Protocol::Route, &[])?;
    socket.send(&rtnetlink::set_up(1, LOOPBACK))?;
    let mut buffer = Vec::with_capacity(512);
    // The kernel has answered by now.
    let received = socket.receive(&mut buffer)?;
    let answer = received.and_then(|received| buffer.get(..received.length)).unwrap_or_default();
    match rtnetlink::decode(answer).into_iter().next() {
        Some(Message::Answer { error: Some((error, _)), .. }) => Err(error),
        Some(Message::Answer { error: None, .. }) => Ok(()),
        _ => Err(Errno::BADMSG),
    }
}

/// A card with a cable: it carries Ethernet, belongs to a device, and is no part of a bridge, no virtual interface and no
/// radio.
fn is_wired(link: &Link) -> bool {
    let has = |file: &str| files::status(&format!("/sys/class/net/{}/{file}", link.name)).is_ok();
    link.ethernet
        && !link.loopback
        && !link.enslaved
        && link.kind.is_empty()
        && (link.device || has("device"))
        && !has("phy80211")
        && !has("wireless")
}

/// The client's name as a service. Interfaces can have characters in their names that services cannot.
fn service(name: &str) -> String {
    let plain = |char: char| if char.is_ascii_alphanumeric() || "-_.".contains(char) { char } else { '_' };
    format!("dhcp@{}", name.chars().map(plain).collect::<String>())
}

/// Where the client is that is in this program's file. A system without it has busybox's.
const OWN_CLIENT: &str = "/sbin/dhcpc";

/// The client as a service. It tells the machine's name (option 12 of RFC 2132), by which routers answer for it, and takes the
/// size of packets from the server (`mtu`) where the configuration does not say it.
fn client(name: &str, metric: u32, mtu: bool, host: Option<&str>, own: bool) -> Client {
    let words = if own { own_client(name, metric, mtu, host) } else { busybox_client(name, mtu, host) };
    let environment = if own { Vec::new() } else { vec![format!("IF_METRIC={metric}")] };
    Client { service: service(name), arguments: words, environment }
}

fn own_client(name: &str, metric: u32, mtu: bool, host: Option<&str>) -> Vec<String> {
    let mut words = vec![OWN_CLIENT.to_owned(), format!("--metric={metric}")];
    words.extend(mtu.then(|| "--mtu".to_owned()));
    words.extend(host.map(|host| format!("--host-name={host}")));
    words.push(name.into());
    words
}

/// busybox's: a request a second until there is an answer, five in a row and then a pause of ten seconds. It asks for what
/// its script uses besides the usual options: search list and routes.
fn busybox_client(name: &str, mtu: bool, host: Option<&str>) -> Vec<String> {
    let arguments =
        ["udhcpc", "-f", "-i", name, "-t", "5", "-T", "1", "-A", "10", "-O", "search", "-O", "staticroutes"];
    let mtu = if mtu { ["-O", "mtu"].as_slice() } else { &[] };
    let host = host.map(|host| format!("hostname:{host}"));
    let host = host.as_deref().map(|host| ["-x", host]);
    let more = mtu.iter().chain(host.as_slice().as_flattened());
    arguments.iter().chain(more).copied().map(String::from).collect()
}

fn describe(route: &rtnetlink::Route) -> String {
    let mut text = match route.to {
        Some(prefix) => format!("route to {}/{}", prefix.address, prefix.length),
        None => "default route".into(),
    };
    if let Some(via) = route.via {
        text += &format!(" via {via}");
    }
    text
}

fn ipv6_path(name: &str, setting: &str) -> String {
    format!("/proc/sys/net/ipv6/conf/{name}/{setting}")
}

/// Writes a setting of an interface; without a value the one that new interfaces get.
fn set_ipv6(name: &str, setting: &str, value: Option<&str>) {
    let result = match value {
        Some(value) => files::write_file(&ipv6_path(name, setting), value.as_bytes()),
        None => files::read_file(&ipv6_path("default", setting))
            .and_then(|value| files::write_file(&ipv6_path(name, setting), &value)),
    };
    match result {
        Ok(()) => debug!("{name}: {setting} = {}", value.unwrap_or("default")),
        // A kernel without IPv6 has none of its settings.
        Err(Errno::NOENT) => debug!("{name}: there is no {setting}"),
        Err(error) => error!("{name}: cannot set {setting}: {error}"),
    }
}

/// Lets the kernel end IPv6 on an interface and begin anew, which forgets addresses and routes that came from routers.
fn flush_ipv6(name: &str) {
    let path = ipv6_path(name, "disable_ipv6");
    if files::read_file(&path).is_ok_and(|value| value.trim_ascii() == b"0") {
        set_ipv6(name, "disable_ipv6", Some("1"));
        set_ipv6(name, "disable_ipv6", Some("0"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dhcp_client_tells_the_machines_name() {
        let last = |host| client("eth0", 100, true, host, false).arguments.join(" ");
        assert!(last(Some("iron")).ends_with(" -O mtu -x hostname:iron"), "{}", last(Some("iron")));
        assert!(!last(None).contains("hostname"));
        let own = client("eth0", 100, true, Some("iron"), true);
        assert_eq!(own.arguments.join(" "), "/sbin/dhcpc --metric=100 --mtu --host-name=iron eth0");
        assert!(own.environment.is_empty());
    }
}
