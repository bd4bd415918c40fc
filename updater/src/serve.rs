//! Waits for updates from the network and from sticks, and for an update on trial to come up.

use core::time::Duration;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;

use init_base::connection;
use init_base::sys::files::to_stderr;
use init_base::sys::netlink::{Protocol, Socket};
use init_base::sys::system;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use slots::state::BUILD_ID;

use crate::arguments::Arguments;
use crate::config::Config;
use crate::disk::{self, Disk};
use crate::health;
use crate::receive::{Taken, Taker};
use crate::trial::{self, Step};

/// The pause between two looks at an update on trial, and for the disk.
const LOOK: Duration = Duration::from_secs(1);
/// Whoever sends an update and is silent for longer is left.
const SILENCE: Duration = Duration::from_secs(20);
/// Bytes of a refused update that are read before the connection ends.
const MOST_UNHEARD: u64 = 64 << 20;
/// The kernel's group for its own news of devices (lib/kobject_uevent.c).
const KERNEL: u32 = 1;

struct Service<'a> {
    arguments: &'a Arguments,
    config: &'a Config,
    running: [u8; BUILD_ID],
    /// The machine's uptime when this began: an update has its time from here on, however long the boot before took.
    since: Duration,
    /// What was said last: a fault that stays is said once.
    said: String,
}

/// Serves for as long as the process lives.
///
/// # Errors
/// When it cannot listen, or the kernel does not tell what it is.
pub fn serve(arguments: &Arguments, config: &Config) -> Result<(), String> {
    let (running, since) = (disk::running_kernel()?, system::uptime());
    let mut service = Service { arguments, config, running, since, said: String::new() };
    // The sticks that are there have no news later.
    let news = Socket::open(Protocol::Uevent, &[KERNEL]).map_err(|error| format!("cannot hear of disks: {error}"))?;
    let listener = arguments.port.map(listen).transpose()?;
    notify("READY=1");
    let mut waits = service.look();
    disk::disks().iter().for_each(|name| service.take_from_disk(name));
    loop {
        let mut sources = vec![PollFd::new(&news, PollFlags::IN)];
        sources.extend(listener.as_ref().map(|listener| PollFd::new(listener, PollFlags::IN)));
        let pause = waits.then(|| Timespec { tv_sec: LOOK.as_secs() as i64, tv_nsec: 0 });
        let _ = poll(&mut sources, pause.as_ref());
        let is_ready: Vec<bool> = sources.iter().map(|source| !source.revents().is_empty()).collect();
        drop(sources);
        waits = service.look();
        if is_ready.first() == Some(&true) {
            new_disks(&news).iter().for_each(|name| service.take_from_disk(name));
        }
        if let (Some(true), Some(listener)) = (is_ready.get(1), &listener)
            && let Ok((connection, _)) = listener.accept()
        {
            service.take_from_network(connection);
        }
    }
}

fn listen(port: u16) -> Result<TcpListener, String> {
    // Of both versions of IP, where there are both.
    let listener =
        TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)));
    listener.map_err(|error| format!("cannot listen at TCP port {port}: {error}"))
}

/// The disks that the kernel's news say have come. Losing some for want of room is no fault: a stick can be put in again.
fn new_disks(news: &Socket) -> Vec<String> {
    let (mut names, mut buffer) = (Vec::new(), Vec::with_capacity(8 << 10));
    while let Ok(Some(received)) = news.receive(&mut buffer) {
        let bytes = buffer.get(..received.length).unwrap_or_default();
        if received.from_kernel {
            names.extend(new_disk(bytes));
        }
    }
    names
}

/// The disk that an event is about: words with zero bytes between them (Documentation/core-api/kobject.rst).
fn new_disk(event: &[u8]) -> Option<String> {
    let words: Vec<&str> = event.split(|byte| *byte == 0).filter_map(|word| core::str::from_utf8(word).ok()).collect();
    let value = |name: &str| words.iter().find_map(|word| word.strip_prefix(name));
    // A reader of cards has the disk before it has the card: that event is a change.
    let is_new = matches!(value("ACTION="), Some("add" | "change"));
    (is_new && value("DEVTYPE=") == Some("disk")).then(|| value("DEVNAME=").map(String::from)).flatten()
}

impl Service<'_> {
    fn age(&self) -> Duration {
        system::uptime().saturating_sub(self.since)
    }

    /// Looks at the state; returns whether to look again soon.
    fn look(&mut self) -> bool {
        let found = Disk::find(&self.running);
        let (disk, state) = match found.and_then(|disk| {
            let (_, state) = disk.state().ok_or("the disk does not tell which kernel is good")?;
            Ok((disk, state))
        }) {
            Ok(found) => found,
            Err(message) => {
                notify(&format!("STATUS={message}"));
                self.say(&message);
                // Disks of some buses come late, and their news may come before their nodes.
                return self.age() < self.arguments.deadline;
            }
        };
        let running = state.running(&self.running);
        let healthy = || health::check(&self.arguments.socket, self.arguments.settle);
        let step = trial::step(&state, running, self.age(), self.arguments.deadline, healthy);
        match step {
            Step::Wait if running == slots::state::Running::Trial => {
                notify(&format!("STATUS=slot {} on {}, on trial", state.trial, disk.name));
                return true;
            }
            Step::Wait => notify(&format!("STATUS=slot {} on {}", state.good, disk.name)),
            Step::Keep(state, words) | Step::Leave(state, words) => match disk.set_state(&state) {
                Ok(()) => {
                    self.say(&words);
                    notify(&format!("STATUS={words}"));
                }
                Err(message) => {
                    self.say(&message);
                    return true;
                }
            },
            Step::Return(words) => {
                self.say(&words);
                self.restart();
            }
        }
        false
    }

    fn take_from_network(&mut self, mut connection: TcpStream) {
        let _ = connection.set_read_timeout(Some(SILENCE));
        let _ = connection.set_write_timeout(Some(SILENCE));
        let from =
            connection.peer_addr().map_or("the network".into(), |address| address.ip().to_canonical().to_string());
        let taken = self.take(&mut connection);
        let _ = writeln!(connection, "{}", answer(&taken));
        if taken.is_err() {
            hear_out(&mut connection);
        }
        self.finish(&from, taken);
    }

    fn take_from_disk(&mut self, name: &str) {
        if let Some(mut file) = disk::open_update(name) {
            let taken = self.take(&mut file);
            self.finish(&format!("the disk {name}"), taken);
        }
    }

    fn take(&self, from: &mut impl io::Read) -> Result<Taken, String> {
        let disk = Disk::find(&self.running)?;
        let Config { key, product } = self.config;
        Taker { key, product, running: &self.running, disk: &disk }.take(from)
    }

    fn finish(&mut self, from: &str, taken: Result<Taken, String>) {
        match taken {
            Ok(taken) => {
                let what = if taken == Taken::Settings { "settings" } else { "an update" };
                self.say(&format!("took {what} from {from}: {}", answer(&Ok(taken))));
                self.restart();
            }
            Err(message) => self.say(&format!("the update from {from} is not taken: {message}")),
        }
    }

    fn restart(&mut self) {
        if let Err(failure) = connection::ask(&self.arguments.socket, "shutdown reboot") {
            self.say(&format!("cannot start the machine anew: {failure:?}"));
        }
    }

    fn say(&mut self, message: &str) {
        if self.said != message {
            to_stderr(format_args!("updater: {message}\n"));
            self.said = message.into();
        }
    }
}

/// Reads what the sender of a refused update still sends: closed before, the connection would be reset, and the answer lost.
fn hear_out(connection: &mut TcpStream) {
    let _ = connection.set_read_timeout(Some(LOOK));
    let _ = connection.shutdown(Shutdown::Write);
    let _ = io::copy(&mut connection.take(MOST_UNHEARD), &mut io::sink());
}

/// The line that whoever sent an update gets.
fn answer(taken: &Result<Taken, String>) -> String {
    match taken {
        Ok(Taken::Kernel(slot)) => format!("ok: in slot {slot}; restarting to try it"),
        Ok(Taken::Settings) => "ok: kept; restarting with them".into(),
        Err(message) => format!("error: {message}"),
    }
}

/// Tells the supervisor, if there is one that listens (sd_notify(3)).
fn notify(words: &str) {
    if let Some(path) = std::env::var_os("NOTIFY_SOCKET") {
        let _ = UnixDatagram::unbound().and_then(|socket| socket.send_to(words.as_bytes(), path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_disks() {
        let event = |words: &[&str]| words.join("\0").into_bytes();
        let add = ["add@/devices/x", "ACTION=add", "DEVNAME=sdb", "DEVTYPE=disk", "SUBSYSTEM=block"];
        assert_eq!(new_disk(&event(&add)).as_deref(), Some("sdb"));
        for wrong in
            [["ACTION=remove", "DEVTYPE=disk", "DEVNAME=sdb"], ["ACTION=add", "DEVTYPE=partition", "DEVNAME=sdb1"]]
        {
            assert_eq!(new_disk(&event(&wrong)), None);
        }
        assert_eq!(new_disk(b"\xff\0ACTION=add"), None);
    }

    #[test]
    fn the_sender_is_told() {
        assert_eq!(answer(&Ok(Taken::Kernel(2))), "ok: in slot 2; restarting to try it");
        assert_eq!(answer(&Err("it is empty".into())), "error: it is empty");
    }
}
