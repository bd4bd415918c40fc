//! The file systems that every system has, by one table. The boot calls [`mount_dev`] and then [`mount_rest`].

use std::ffi::CStr;

use rustix::mount::MountFlags as Flags;

use crate::log::say;
use crate::sys::{Errno, files, system};
use crate::unmount;

/// Whether the system is much use without a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Its failure is said.
    Required,
    /// Its failure is said unless the kernel simply does not have it.
    BestEffort,
}

/// One row.
pub struct Mount {
    /// The kind of file system.
    pub kind: &'static str,
    /// Where it goes; made when it is missing.
    pub target: &'static str,
    /// Mount flags.
    pub flags: Flags,
    /// Options of the file system.
    pub data: &'static CStr,
    /// What its failure means.
    pub need: Need,
}

const NOSUID_NOEXEC: Flags = Flags::NOSUID.union(Flags::NOEXEC);
const NOSUID_NODEV: Flags = Flags::NOSUID.union(Flags::NODEV);
const NOTHING: Flags = NOSUID_NOEXEC.union(Flags::NODEV);

/// The table. Group 5 is `tty` (docs of devpts; everyone's /etc/group agrees); ptmxmode makes /dev/pts/ptmx usable.
#[rustfmt::skip]
pub const MOUNTS: &[Mount] = &[
    Mount { kind: "devtmpfs", target: "/dev",           flags: Flags::NOSUID, data: c"mode=0755",                          need: Need::Required },
    Mount { kind: "proc",     target: "/proc",          flags: NOTHING,       data: c"",                                   need: Need::Required },
    Mount { kind: "sysfs",    target: "/sys",           flags: NOTHING,       data: c"",                                   need: Need::Required },
    Mount { kind: "devpts",   target: "/dev/pts",       flags: NOSUID_NOEXEC, data: c"gid=5,mode=0620,ptmxmode=0666",      need: Need::BestEffort },
    Mount { kind: "tmpfs",    target: "/dev/shm",       flags: NOSUID_NODEV,  data: c"mode=1777",                          need: Need::BestEffort },
    Mount { kind: "tmpfs",    target: "/run",           flags: NOSUID_NODEV,  data: c"mode=0755",                          need: Need::Required },
    Mount { kind: "tmpfs",    target: "/tmp",           flags: NOSUID_NODEV,  data: c"mode=1777",                          need: Need::BestEffort },
    Mount { kind: "cgroup2",  target: "/sys/fs/cgroup", flags: NOTHING,       data: c"nsdelegate",                         need: Need::BestEffort },
];

/// The links that programs expect in /dev and devtmpfs does not make: name and target.
const LINKS: &[(&str, &str)] = &[
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// Mounts the first row, /dev. What is wrong with it is the result, because there is no console to say it on yet.
pub fn mount_dev() -> Result<(), String> {
    mount(&MOUNTS[0])
}

/// Mounts the other rows, leaves out what is mounted already, and makes the links in /dev.
pub fn mount_rest() {
    for row in &MOUNTS[1..] {
        if is_mounted(row.target, row.kind) {
            continue;
        }
        if let Err(message) = mount(row) {
            say!("{message}");
        }
    }
    for (name, target) in LINKS {
        match files::make_link(target, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => {
                say!("cannot make the link {name}: {error}");
                // The others are in the same directory.
                return;
            }
        }
    }
}

/// Reads a file below /proc. A `shutdown` entry with `umount -a` takes /proc away: then it is mounted again.
pub fn read_proc(path: &str) -> Result<Vec<u8>, Errno> {
    files::read_file(path).or_else(|error| {
        let proc = MOUNTS.iter().find(|row| row.kind == "proc").ok_or(error)?;
        match system::mount(proc.kind, proc.target, proc.kind, proc.flags, proc.data) {
            // It is there, and the kernel does not have the file.
            Err(Errno::BUSY) => Err(error),
            result => result.and_then(|()| files::read_file(path)),
        }
    })
}

/// Whether the initramfs or an earlier PID 1 mounted it; a tmpfs mounted again would hide the files in the first.
fn is_mounted(target: &str, kind: &str) -> bool {
    let Ok(content) = files::read_file(unmount::MOUNT_TABLE) else {
        return false;
    };
    unmount::parse(&content).iter().any(|entry| entry.target == target && entry.kind == kind)
}

fn mount(row: &Mount) -> Result<(), String> {
    // A failure shows in the mount itself: the directory may be there although it cannot be made (read-only root).
    let made = files::make_dir(row.target, 0o755);
    let result = match system::mount(row.kind, row.target, row.kind, row.flags, row.data) {
        // An option that this kernel does not know is no reason to go without the file system.
        Err(Errno::INVAL) => system::mount(row.kind, row.target, row.kind, row.flags, c""),
        result => result,
    };
    let Err(error) = result else {
        return Ok(());
    };
    match error {
        Errno::BUSY => Ok(()),
        Errno::NODEV | Errno::NOENT if row.need == Need::BestEffort => Ok(()),
        _ => Err(explain(row, error, made.err())),
    }
}

fn explain(row: &Mount, error: Errno, made: Option<Errno>) -> String {
    let Mount { kind, target, .. } = row;
    let hint = match (error, made) {
        (Errno::NODEV, _) => format!("hint: the kernel lacks {kind}; enable it in its configuration"),
        (Errno::NOENT, Some(made)) => {
            format!("hint: {target} is missing and cannot be made ({made}); put it into the root")
        }
        _ => "hint: the system goes on without it".into(),
    };
    format!("cannot mount {kind} on {target}: {error}; {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dev_is_first_and_parents_come_before_children() {
        assert_eq!(MOUNTS[0].target, "/dev");
        for (index, row) in MOUNTS.iter().enumerate() {
            for later in &MOUNTS[index + 1..] {
                assert_ne!(row.target, later.target);
                assert!(!row.target.starts_with(&format!("{}/", later.target)), "{}", row.target);
            }
        }
    }

    #[test]
    fn no_row_lets_a_file_change_its_user() {
        assert!(MOUNTS.iter().all(|row| row.flags.contains(Flags::NOSUID)));
    }

    #[test]
    fn a_missing_kernel_feature_is_explained() {
        let text = explain(&MOUNTS[1], Errno::NODEV, None);
        assert!(text.contains("proc on /proc") && text.contains("hint: the kernel lacks proc"), "{text}");
        let text = explain(&MOUNTS[1], Errno::NOENT, Some(Errno::ROFS));
        assert!(text.contains("hint: /proc is missing"), "{text}");
    }
}
