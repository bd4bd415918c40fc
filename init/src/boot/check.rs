//! Whether file systems are in order before they are written to: looked at, and checked and repaired where there is a program
//! for that. The boot calls [`root`] before it makes the root writable, and [`device`] before it mounts a disk of fstab.

use core::time::Duration;

use crate::devices::superblock::{self, Fault};
use crate::log::{debug, error, info, warn};
use crate::platform::fstab::PATH;
use crate::supervisor::Supervisor;
use crate::sys::process::{self, Exit};
use crate::sys::{files, nodes};

/// The longest time that one check may take: all of a large disk that is damaged is read.
const LIMIT: Duration = Duration::from_secs(3600);
/// The longest time that a look at a superblock may take. A child does it, since a disk may never answer.
const LOOK_LIMIT: Duration = Duration::from_secs(10);
/// Where programs that check may be.
const DIRS: &[&str] = &["/sbin", "/usr/sbin", "/bin", "/usr/bin"];

/// The kinds of file system that are looked at, in the order of the child's answers.
const KINDS: &[&str] = &["ext2", "ext3", "ext4", "vfat", "exfat", "xfs", "btrfs", "ntfs"];
const FAULTS: &[Option<Fault>] = &[None, Some(Fault::Errors), Some(Fault::NotUnmounted)];

/// How a file system was found, and left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// In order, or of a kind that cannot be looked at.
    Good,
    /// Not in order.
    Faulty,
    /// The root was repaired under the kernel, which still remembers what it read before: the machine has to start anew.
    Reboot,
}

/// Looks at the root, which is still mounted read-only, and checks it where it is not in order or fstab `asks` for it.
pub fn root(supervisor: &mut Supervisor, asks: bool) -> Condition {
    let Some(node) = files::device("/").ok().and_then(node_of) else {
        return Condition::Good;
    };
    if files::is_read_only("/").unwrap_or(false) {
        return device(supervisor, &node, "the root", asks);
    }
    // The kernel was told `rw`: too late for a check.
    match look(supervisor, &node) {
        Some((_, Some(fault))) => {
            warn!(
                "the root ({node}) is not in order: {fault}; hint: without `rw` on the kernel command line it is checked"
            );
            Condition::Faulty
        }
        _ => Condition::Good,
    }
}

/// Looks at the file system on `node`, and checks it where it is not in order or fstab `asks` for it. `place` names it for
/// people.
pub fn device(supervisor: &mut Supervisor, node: &str, place: &str, asks: bool) -> Condition {
    let Some((kind, fault)) = look(supervisor, node) else {
        return Condition::Good;
    };
    if fault.is_none() && !asks {
        return Condition::Good;
    }
    if let Some(fault) = fault {
        warn!("{place} ({node}) is not in order: {fault}");
    }
    let Some(program) = program(kind) else {
        match fault {
            Some(_) => warn!("nothing checks {place}: there is no fsck.{kind}"),
            None => warn!(
                "{PATH} wants a check of {place}, and there is no fsck.{kind}; hint: a 0 in the sixth field asks for none"
            ),
        }
        return if fault.is_some() { Condition::Faulty } else { Condition::Good };
    };
    info!("{program} checks {place}");
    // As fsck(8) calls it at a boot: repairs what needs no person to decide.
    conclude(supervisor.run_program(&format!("{program} -a {node}"), LIMIT), &program, place, node)
}

/// What the end of a check means (fsck(8), "EXIT STATUS": a sum of 1, 2, 4 and others).
fn conclude(exit: Option<Exit>, program: &str, place: &str, node: &str) -> Condition {
    match exit {
        Some(Exit::Code(0)) => {
            debug!("{place} is in order");
            Condition::Good
        }
        Some(Exit::Code(1)) => {
            warn!("{program} repaired {place}");
            Condition::Good
        }
        Some(Exit::Code(2 | 3)) => {
            warn!("{program} repaired {place}, and wants the machine to start anew");
            Condition::Reboot
        }
        exit => {
            let reason = exit.map_or_else(|| "it does not end".into(), |exit| exit.to_string());
            error!("{program} did not repair {place}: {reason}; hint: run `{program} {node}` by hand");
            Condition::Faulty
        }
    }
}

fn program(kind: &str) -> Option<String> {
    DIRS.iter().map(|dir| format!("{dir}/fsck.{kind}")).find(|path| files::is_executable(path))
}

/// The node of a block device by its numbers; nothing for a file system without a device.
fn node_of((major, minor): (u32, u32)) -> Option<String> {
    let event = files::read_file(&format!("/sys/dev/block/{major}:{minor}/uevent")).ok()?;
    let event = String::from_utf8_lossy(&event);
    event.lines().find_map(|line| line.strip_prefix("DEVNAME=")).map(|name| format!("/dev/{name}"))
}

/// The kind of file system on a device and what its superblock records; nothing for an unknown kind.
fn look(supervisor: &mut Supervisor, node: &str) -> Option<(&'static str, Option<Fault>)> {
    let pid = process::fork(|| read(node).unwrap_or(0)).ok()?;
    match supervisor.wait_for_process(pid, LOOK_LIMIT) {
        Some(Exit::Code(code)) => found(code),
        _ => {
            warn!("{node} does not answer");
            None
        }
    }
}

/// The child's answer: 0 for nothing known, else the number of a pair of kind and fault.
fn read(node: &str) -> Option<i32> {
    let device = nodes::open_block(node).ok()?;
    let read = |offset, length| nodes::read_at(&device, offset, length).unwrap_or_default();
    let head = read(0, superblock::HEAD);
    let system = superblock::identify(&head, &read)?;
    let kind = KINDS.iter().position(|kind| *kind == system.kind)?;
    let fault = FAULTS.iter().position(|fault| *fault == superblock::fault(&head))?;
    i32::try_from(1 + kind * FAULTS.len() + fault).ok()
}

fn found(code: i32) -> Option<(&'static str, Option<Fault>)> {
    let number = usize::try_from(code).ok()?.checked_sub(1)?;
    Some((KINDS.get(number / FAULTS.len())?, *FAULTS.get(number % FAULTS.len())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_childs_answer_fits_an_exit_code() {
        assert_eq!(found(0), None);
        assert_eq!(found(1), Some(("ext2", None)));
        assert_eq!(found(8), Some(("ext4", Some(Fault::Errors))));
        let last = KINDS.len() * FAULTS.len();
        assert_eq!(found(i32::try_from(last).unwrap()), Some(("ntfs", Some(Fault::NotUnmounted))));
        assert_eq!(found(i32::try_from(last).unwrap() + 1), None);
        assert!(last < 120, "{last} collides with what a shell or a signal ends with");
    }

    #[test]
    fn the_end_of_a_check() {
        let conclude = |exit| conclude(exit, "/sbin/fsck.ext4", "the root", "/dev/vda2");
        assert_eq!(conclude(Some(Exit::Code(0))), Condition::Good);
        assert_eq!(conclude(Some(Exit::Code(1))), Condition::Good);
        assert_eq!(conclude(Some(Exit::Code(3))), Condition::Reboot);
        for exit in [Some(Exit::Code(4)), Some(Exit::Code(5)), Some(Exit::Code(127)), Some(Exit::Signal(9)), None] {
            assert_eq!(conclude(exit), Condition::Faulty, "{exit:?}");
        }
    }
}
