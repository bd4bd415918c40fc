//! `dhcpc`: a DHCP client for one interface, for systems without busybox's. PID 1 runs it as a service for each interface that has a
//! cable. It is linked into init's program, which runs it by this name.
//!
//! [`message`] reads and writes the protocol, [`client`] decides, [`apply`] changes the interface, and this file waits. One thread,
//! one socket, no raw frames.

mod apply;
mod arguments;
mod client;
mod message;
mod socket;

use core::net::Ipv4Addr;
use core::time::Duration;
use std::os::fd::OwnedFd;

use init_base::host_name;
use init_base::sys::files::{self, to_stderr};
use init_base::sys::signal::{self, Signal};
use init_base::sys::{Errno, random, retry, system};
use rustix::event::{PollFd, PollFlags, Timespec};

use apply::Interface;
use arguments::{Arguments, Asked, USAGE};
use client::{Action, Client};
use message::Identity;
use socket::Socket;

const SIGNALS: [Signal; 3] = [Signal::TERM, Signal::INT, Signal::USR1];
/// What is said when the socket cannot be opened.
const NO_PORT: &str = "cannot open the port of DHCP clients";
/// Bytes of the longest datagram that Ethernet carries.
const BUFFER: usize = 1500;

/// Runs it with the arguments after the name until a signal stops it; returns the exit code.
pub fn run(arguments: &[&str]) -> i32 {
    let arguments = match arguments::parse(arguments) {
        Ok(Asked::Run(arguments)) => arguments,
        Ok(Asked::Help) => {
            let _ = files::write_all(rustix::stdio::stdout(), USAGE.as_bytes());
            return 0;
        }
        Err(message) => {
            to_stderr(format_args!("dhcpc: {message}\nhint: dhcpc --help\n"));
            return 2;
        }
    };
    match Work::open(&arguments).and_then(Work::run) {
        Ok(()) => 0,
        Err(message) => {
            to_stderr(format_args!("dhcpc: {}: {message}\n", arguments.interface));
            1
        }
    }
}

/// A client at work.
struct Work {
    name: String,
    identity: Identity,
    interface: Interface,
    /// Nothing while no answer is waited for, so that the port is closed for strangers.
    socket: Option<Socket>,
    signals: OwnedFd,
    client: Client,
}

impl Work {
    fn open(arguments: &Arguments) -> Result<Work, String> {
        let name = &arguments.interface;
        let identity = Identity { mac: mac(name)?, host_name: arguments.host_name.clone() };
        let index = number(name)?;
        let interface = Interface::new(name, index, arguments.metric, arguments.mtu);
        let signals = signal::block(&SIGNALS).and_then(|()| signal::descriptor(&SIGNALS));
        Ok(Work {
            interface: interface.map_err(|error| format!("cannot change it: {error}"))?,
            // Opened again for later questions, which only say what fails.
            socket: Some(Socket::open(name).map_err(|error| format!("{NO_PORT}: {error}"))?),
            signals: signals.map_err(|error| format!("cannot take signals: {error}"))?,
            client: Client::new(seed(identity.mac), system::uptime()),
            name: name.clone(),
            identity,
        })
    }

    /// Works until a signal stops it.
    fn run(mut self) -> Result<(), String> {
        loop {
            let now = system::uptime();
            let actions = self.client.tick(now);
            self.carry_out(actions);
            if !self.client.is_asking() {
                self.socket = None;
            }
            let pause = self.client.due().saturating_sub(now);
            let (answer, asked) = self.wait(pause).map_err(|error| format!("cannot wait: {error}"))?;
            if asked {
                match self.signal() {
                    Some(Signal::USR1) => {
                        let actions = self.client.check(system::uptime());
                        self.carry_out(actions);
                    }
                    Some(_) => return Ok(()),
                    None => {}
                }
            }
            if answer {
                self.receive();
            }
        }
    }

    /// Waits for the socket and for signals; which of them have something.
    fn wait(&self, pause: Duration) -> Result<(bool, bool), Errno> {
        let signals = PollFd::new(&self.signals, PollFlags::IN);
        let socket = self.socket.iter().map(|socket| PollFd::new(socket, PollFlags::IN));
        let mut polled: Vec<PollFd<'_>> = core::iter::once(signals).chain(socket).collect();
        let pause = Timespec::try_from(pause).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
        retry(|| rustix::event::poll(&mut polled, Some(&pause)))?;
        let mut ready = polled.iter().map(|polled| !polled.revents().is_empty());
        let signal = ready.next().unwrap_or_default();
        Ok((ready.next().unwrap_or_default(), signal))
    }

    fn signal(&self) -> Option<Signal> {
        let mut record = [0; 128];
        let count = files::read(&self.signals, &mut record).ok()?;
        signal::received(record.get(..count)?).next()
    }

    /// Takes the answers that wait.
    fn receive(&mut self) {
        let mut buffer = [0; BUFFER];
        loop {
            let Some(socket) = &self.socket else { return };
            let count = match socket.receive(&mut buffer) {
                Ok(count) => count,
                Err(Errno::AGAIN) => return,
                // The interface is down; the next request says it too.
                Err(error) => return self.say(&format!("cannot receive: {error}")),
            };
            let datagram = buffer.get(..count).unwrap_or_default();
            if let Some(reply) = message::decode(datagram, self.client.exchange(), self.identity.mac) {
                let actions = self.client.receive(reply, system::uptime());
                self.carry_out(actions);
            }
        }
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(request, server) => {
                    let bytes = message::encode(&request, &self.identity);
                    if let Err(error) = self.send(&bytes, server) {
                        self.say(&error);
                    }
                }
                Action::Bind(lease) => {
                    for fault in self.interface.bind(&lease) {
                        self.say(&fault);
                    }
                    self.take_name(lease.offer.host_name.as_deref());
                }
                Action::Unbind => self.interface.unbind(),
                Action::Say(words) => self.say(&words),
            }
        }
    }

    /// Sends a message to a server; nothing is everyone.
    fn send(&mut self, bytes: &[u8], server: Option<Ipv4Addr>) -> Result<(), String> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => Socket::open(&self.name).map_err(|error| format!("{NO_PORT}: {error}"))?,
        };
        let sent = socket.send(bytes, server).map_err(|error| format!("cannot send: {error}"));
        self.socket = Some(socket);
        sent
    }

    /// Gives a machine without a name the one that the server has for it.
    fn take_name(&mut self, name: Option<&str>) {
        let Some(name) = name else { return };
        match host_name::give(name) {
            Ok(true) => {
                self.say(&format!("this machine is {name}"));
                // It is told with the next question, as init has it told by a client that starts later.
                self.identity.host_name = Some(name.into());
            }
            Ok(false) => {}
            Err(error) => self.say(&format!("cannot name the machine {name}: {error}")),
        }
    }

    fn say(&self, words: &str) {
        to_stderr(format_args!("dhcpc: {}: {words}\n", self.name));
    }
}

/// A file of an interface in sysfs.
fn attribute(interface: &str, file: &str) -> Result<String, String> {
    let content = files::read_file(&format!("/sys/class/net/{interface}/{file}"));
    let content = content.map_err(|error| format!("there is no such interface: {error}"))?;
    Ok(String::from_utf8_lossy(&content).trim().to_owned())
}

/// The kernel's number of an interface.
fn number(interface: &str) -> Result<u32, String> {
    attribute(interface, "ifindex")?.parse().map_err(|_| "its number cannot be read".into())
}

/// The address of its card.
fn mac(interface: &str) -> Result<[u8; 6], String> {
    let text = attribute(interface, "address")?;
    let bytes: Vec<u8> = text.split(':').filter_map(|part| u8::from_str_radix(part, 16).ok()).collect();
    bytes.try_into().map_err(|_| format!("'{text}' is no address of Ethernet"))
}

/// A random number; where the kernel has gathered none yet, one that differs from card to card and from start to start.
fn seed(mac: [u8; 6]) -> u32 {
    let start = system::uptime().subsec_nanos();
    match random::seed() {
        Ok([a, b, c, d, ..]) => u32::from_ne_bytes([a, b, c, d]),
        Err(_) => mac.iter().fold(start, |seed, byte| seed.rotate_left(5) ^ u32::from(*byte)),
    }
}
