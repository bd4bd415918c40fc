//! Devices: their nodes get modes and groups, disks get lasting names below `/dev/disk`, and drivers are loaded. The
//! supervisor waits for the kernel's events, hands them to [`Devices::ready`], and tells which children ended.
//!
//! Work that may wait for hardware is done by short-lived children ([`worker`]); PID 1 only reads events and sets modes.

use core::time::Duration;
use std::os::fd::{AsFd, BorrowedFd};

use crate::log::{debug, error};
use crate::sys::netlink::{Protocol, Socket};
use crate::sys::process::Pid;
use crate::sys::{Errno, files, nodes, system};

pub mod access;
pub(crate) mod children;
pub mod names;
pub mod partition;
pub mod superblock;
pub mod uevent;
pub(crate) mod worker;

use access::Groups;
use children::Children;
use uevent::Happened;

/// Group 1 has the kernel's own events; others have those of device managers.
const KERNEL: u32 = 1;
/// Bytes of an event: the kernel's environment for it has 2048 (`UEVENT_BUFFER_SIZE`), before it comes its path.
const BUFFER: usize = 8 << 10;
/// Events that may wait in the socket, in bytes. Memory is taken only as they come.
const CAPACITY: usize = 4 << 20;
/// Events taken at a time, so that a storm of them starves nobody.
const MOST_AT_ONCE: usize = 64;
const GROUPS: &str = "/etc/group";

/// A device that came, and whose node is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name below /dev.
    pub name: String,
    /// What kind of device it is.
    pub subsystem: String,
}

/// The devices at work.
pub struct Devices {
    socket: Option<Socket>,
    buffer: Vec<u8>,
    children: Children,
}

impl Devices {
    /// Listens to events, sets modes and groups of the nodes that are there, and starts a child that makes the links of the
    /// disks that are there. What is wrong is said.
    pub fn start(now: Duration) -> Devices {
        // Before the devices are looked at, so that one that comes meanwhile is in one of the two.
        let socket = match Socket::open(Protocol::Uevent, &[KERNEL]) {
            Ok(socket) => Some(socket),
            Err(error @ (Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT)) => {
                debug!("no events of devices: {error}");
                None
            }
            Err(error) => {
                error!("cannot listen to devices: {error}; those that come now are not configured");
                None
            }
        };
        if let Some(socket) = &socket {
            // Without it some events more may be lost, which is noticed.
            let _ = socket.set_capacity(CAPACITY);
        }
        set_all_accesses(&read_groups());
        // The indexes of kmod's depmod and of busybox's.
        let index = format!("/lib/modules/{}/modules.dep", system::kernel_release());
        let modules = files::status(&index).is_ok() || files::status(&format!("{index}.bb")).is_ok();
        let mut children = Children::new(modules);
        children.start(now);
        let buffer = if socket.is_some() { Vec::with_capacity(BUFFER) } else { Vec::new() };
        Devices { socket, buffer, children }
    }

    /// The descriptor to wait at for events.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// Whether the links of the disks that were there at the start are still being made.
    pub fn busy(&self) -> bool {
        self.children.is_starting()
    }

    /// When [`Devices::tick`] has something to do, in time since the machine's start.
    pub fn deadline(&self) -> Option<Duration> {
        self.children.deadline()
    }

    /// Ends children that take too long, and starts those that could not be.
    pub fn tick(&mut self, now: Duration) {
        self.children.tick(now);
    }

    /// A child of PID 1 ended. Whether it was one of these.
    pub fn ended(&mut self, pid: Pid, now: Duration) -> bool {
        let mine = self.children.ended(pid);
        if mine {
            self.children.start(now);
        }
        mine
    }

    /// Takes the events that wait, and tells which nodes came.
    pub fn ready(&mut self, now: Duration) -> Vec<Node> {
        let mut came = Vec::new();
        let mut groups = None;
        for _ in 0..MOST_AT_ONCE {
            let Some(socket) = &self.socket else {
                break;
            };
            let received = match socket.receive(&mut self.buffer) {
                Ok(Some(received)) => received,
                Ok(None) => break,
                Err(Errno::NOBUFS) => {
                    debug!("events of devices were lost; looking at all of them again");
                    set_all_accesses(groups.get_or_insert_with(read_groups));
                    self.children.look_at_all();
                    continue;
                }
                Err(error) => {
                    error!("cannot listen to devices: {error}; those that come now are not configured");
                    self.socket = None;
                    break;
                }
            };
            if received.from_kernel && !received.cut {
                let datagram = self.buffer.get(..received.length).unwrap_or_default();
                came.extend(take(datagram, &mut self.children, &mut groups));
            }
        }
        self.children.start(now);
        came
    }
}

/// Does what an event asks for; the result is the node that came with it.
fn take(datagram: &[u8], children: &mut Children, groups: &mut Option<Groups>) -> Option<Node> {
    let event = uevent::parse(datagram)?;
    if let (Some(alias), Happened::Add) = (event.alias, event.happened) {
        children.load_driver(alias);
    }
    let name = event.node?;
    let block = event.subsystem == "block";
    if block {
        children.look_at(name, event.happened == Happened::Remove);
    }
    if event.happened != Happened::Add {
        return None;
    }
    set_access(name, block, groups.get_or_insert_with(read_groups));
    Some(Node { name: name.into(), subsystem: event.subsystem.into() })
}

fn read_groups() -> Groups {
    Groups::parse(&String::from_utf8_lossy(&files::read_file(GROUPS).unwrap_or_default()))
}

/// Sets modes and groups of all nodes that are there.
fn set_all_accesses(groups: &Groups) {
    for dir in access::DIRS {
        let path = if dir.is_empty() { "/dev".into() } else { format!("/dev/{dir}") };
        for file in files::list_dir(&path).unwrap_or_default() {
            let name = if dir.is_empty() { file } else { format!("{dir}/{file}") };
            set_access(&name, false, groups);
        }
    }
    for name in files::list_dir(worker::CLASS).unwrap_or_default() {
        set_access(&worker::node_of(&name), true, groups);
    }
}

/// Sets mode and group of a node, if they are to be others. The group goes first, so that the old one never gets the new
/// mode's rights.
fn set_access(name: &str, block: bool, groups: &Groups) {
    let Some(wanted) = access::wanted(name, block, groups) else {
        return;
    };
    let path = format!("/dev/{name}");
    let Ok(is) = nodes::access(&path) else {
        return;
    };
    if !is.device || (is.mode, is.group) == (wanted.mode, wanted.group) {
        return;
    }
    let group = if is.group == wanted.group { Ok(()) } else { nodes::set_group(&path, wanted.group) };
    if let Err(error) = group.and_then(|()| nodes::set_mode(&path, wanted.mode)) {
        // A /dev that is not ours, in a container.
        debug!("cannot set the mode of {path}: {error}");
    }
}
