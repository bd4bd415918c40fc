//! The file systems that every system has, by one table. The boot calls [`mount_dev`] and then [`mount_rest`].

use rustix::mount::MountFlags as Flags;

use super::fstab;
use super::mountinfo;
use crate::log::{debug, error, warn};
use crate::sys::{Errno, files, system};

/// Whether the system is much use without a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Its failure is said.
    Required,
    /// Its failure is said unless the kernel simply does not have it.
    BestEffort,
    /// It is mounted where the kernel lists it; its failure is only for who looks for a fault.
    Optional,
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
    pub data: &'static str,
    /// What its failure means.
    pub need: Need,
}

const NOSUID_NOEXEC: Flags = Flags::NOSUID.union(Flags::NOEXEC);
const NOSUID_NODEV: Flags = Flags::NOSUID.union(Flags::NODEV);
const NOTHING: Flags = NOSUID_NOEXEC.union(Flags::NODEV);

/// The table. Group 5 is `tty` (docs of devpts; everyone's /etc/group agrees); ptmxmode makes /dev/pts/ptmx usable.
/// `nsdelegate` and `memory_recursiveprot` are what the kernel's cgroup-v2.rst recommends and systemd uses.
#[rustfmt::skip]
pub const MOUNTS: &[Mount] = &[
    Mount { kind: "devtmpfs",   target: "/dev",                      flags: Flags::NOSUID, data: "mode=0755",                       need: Need::Required },
    Mount { kind: "proc",       target: "/proc",                     flags: NOTHING,       data: "",                                need: Need::Required },
    Mount { kind: "sysfs",      target: "/sys",                      flags: NOTHING,       data: "",                                need: Need::Required },
    Mount { kind: "devpts",     target: "/dev/pts",                  flags: NOSUID_NOEXEC, data: "gid=5,mode=0620,ptmxmode=0666",   need: Need::BestEffort },
    Mount { kind: "tmpfs",      target: "/dev/shm",                  flags: NOSUID_NODEV,  data: "mode=1777",                       need: Need::BestEffort },
    Mount { kind: "tmpfs",      target: "/run",                      flags: NOSUID_NODEV,  data: "mode=0755",                       need: Need::Required },
    Mount { kind: "tmpfs",      target: "/tmp",                      flags: NOSUID_NODEV,  data: "mode=1777",                       need: Need::BestEffort },
    Mount { kind: "cgroup2",    target: "/sys/fs/cgroup",            flags: NOTHING,       data: "nsdelegate,memory_recursiveprot", need: Need::BestEffort },
    Mount { kind: "securityfs", target: "/sys/kernel/security",      flags: NOTHING,       data: "",                                need: Need::Optional },
    Mount { kind: "debugfs",    target: "/sys/kernel/debug",         flags: NOTHING,       data: "mode=0700",                       need: Need::Optional },
    Mount { kind: "tracefs",    target: "/sys/kernel/tracing",       flags: NOTHING,       data: "mode=0700",                       need: Need::Optional },
    Mount { kind: "configfs",   target: "/sys/kernel/config",        flags: NOTHING,       data: "",                                need: Need::Optional },
    Mount { kind: "bpf",        target: "/sys/fs/bpf",               flags: NOTHING,       data: "mode=0700",                       need: Need::Optional },
    Mount { kind: "pstore",     target: "/sys/fs/pstore",            flags: NOTHING,       data: "",                                need: Need::Optional },
    Mount { kind: "fusectl",    target: "/sys/fs/fuse/connections",  flags: NOTHING,       data: "",                                need: Need::Optional },
    Mount { kind: "efivarfs",   target: "/sys/firmware/efi/efivars", flags: NOTHING,       data: "",                                need: Need::Optional },
    Mount { kind: "mqueue",     target: "/dev/mqueue",               flags: NOTHING,       data: "",                                need: Need::Optional },
];

/// The cgroup controllers that services may be limited with.
const CONTROLLERS: &[&str] = &["cpuset", "cpu", "io", "memory", "pids"];
const CGROUP: &str = "/sys/fs/cgroup";

/// The links that programs expect in /dev and devtmpfs does not make: name and target.
const LINKS: &[(&str, &str)] = &[
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// Mounts the first row, /dev. What is wrong with it is the result, because there is no console to say it on yet.
pub fn mount_dev() -> Result<(), String> {
    mount(&MOUNTS[0], None)
}

/// Mounts the other rows, leaves out what is mounted already, and makes the links in /dev. A row that `fstab` has too gets
/// the options from there.
pub fn mount_rest(fstab: &[fstab::Line]) {
    let mut rows = MOUNTS.iter().skip(1);
    // First of them, because what is mounted is read from there.
    if let Some(proc) = rows.next().filter(|_| files::status(mountinfo::MOUNT_TABLE).is_err()) {
        mount_row(proc, fstab);
    }
    let mounted = mountinfo::parse(&files::read_file(mountinfo::MOUNT_TABLE).unwrap_or_default());
    let kinds = files::read_file("/proc/filesystems").unwrap_or_default();
    let kinds = String::from_utf8_lossy(&kinds);
    for row in rows {
        if !is_there(row, &mounted) && (row.need != Need::Optional || has_kind(&kinds, row.kind)) {
            mount_row(row, fstab);
        }
    }
    make_links();
    enable_controllers();
}

/// Whether the initramfs or an earlier PID 1 mounted it; a tmpfs mounted again would hide the files in the first. A mount of
/// the table that another one hides does not count.
fn is_there(row: &Mount, mounted: &[mountinfo::Entry]) -> bool {
    let mut same = mounted.iter().filter(|entry| entry.target == row.target && entry.kind == row.kind);
    same.any(|entry| files::device(row.target) == Ok(entry.device))
}

fn mount_row(row: &Mount, fstab: &[fstab::Line]) {
    let line = fstab.iter().find(|line| line.target == row.target && line.kind == row.kind);
    match mount(row, line.map(|line| &line.options)) {
        Err(message) if row.need == Need::Optional => debug!("{message}"),
        Err(message) => warn!("{message}"),
        Ok(()) => {}
    }
}

/// Whether the kernel's list (`nodev<TAB>proc` a line) has a kind of file system.
fn has_kind(list: &str, kind: &str) -> bool {
    list.lines().any(|line| line.split_ascii_whitespace().last() == Some(kind))
}

fn make_links() {
    for (name, target) in LINKS {
        match files::make_link(target, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => {
                error!("cannot make the link {name}: {error}");
                // The others are in the same directory.
                return;
            }
        }
    }
}

/// Lets the groups right below the root one have the controllers that the kernel has.
fn enable_controllers() {
    let there = files::read_file(&format!("{CGROUP}/cgroup.controllers")).unwrap_or_default();
    let there = String::from_utf8_lossy(&there);
    let wanted: Vec<_> = there.split_ascii_whitespace().filter(|name| CONTROLLERS.contains(name)).collect();
    let all: Vec<_> = wanted.iter().map(|name| format!("+{name}")).collect();
    if wanted.is_empty()
        || files::write_file(&format!("{CGROUP}/cgroup.subtree_control"), all.join(" ").as_bytes()).is_ok()
    {
        return;
    }
    // The kernel takes all of a write or nothing.
    for controller in wanted {
        let enabled =
            files::write_file(&format!("{CGROUP}/cgroup.subtree_control"), format!("+{controller}").as_bytes());
        if let Err(error) = enabled {
            debug!("services cannot be limited by the cgroup controller {controller}: {error}");
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

/// Mounts a row, with the options that fstab has for it.
fn mount(row: &Mount, given: Option<&fstab::Options>) -> Result<(), String> {
    let flags = given.map_or(row.flags, |given| given.flags(row.flags));
    let mut result = attempt(row, flags, given);
    if let (Err((error, _)), Some(data)) = (&result, given.map(|given| &given.data))
        && !data.is_empty()
        && !matches!(*error, Errno::BUSY | Errno::NODEV | Errno::NOENT)
    {
        warn!("{}: {} does not take '{data}': {error}; the usual options are used", fstab::PATH, row.target);
        result = attempt(row, flags, None);
    }
    match result {
        Ok(()) | Err((Errno::BUSY, _)) => Ok(()),
        Err((Errno::NODEV | Errno::NOENT, _)) if row.need == Need::BestEffort => Ok(()),
        Err((error, made)) => Err(explain(row, error, made)),
    }
}

/// Mounts a row with `flags`, and with the data of `given` beside its own. The error comes with that of making the mount
/// point, where that was tried.
fn attempt(row: &Mount, flags: Flags, given: Option<&fstab::Options>) -> Result<(), (Errno, Option<Errno>)> {
    let mut usual = row.data;
    let mut made = None;
    loop {
        let data = given.map_or(usual.into(), |given| given.merged_data(usual));
        match (system::mount(row.kind, row.target, row.kind, flags, &data), shorter(usual)) {
            // Retry without a default option that this kernel does not know. Never drop an option the user set: it may be
            // a restriction (nosuid, noexec).
            (Err(Errno::INVAL), Some(rest)) => usual = rest,
            (Err(Errno::NOENT), _) if made.is_none() => made = Some(files::make_dir(row.target, 0o755)),
            (result, _) => return result.map_err(|error| (error, made.and_then(Result::err))),
        }
    }
}

/// The options without the last one.
fn shorter(data: &str) -> Option<&str> {
    match data.rsplit_once(',') {
        Some((rest, _)) => Some(rest),
        None => (!data.is_empty()).then_some(""),
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
    fn the_kernels_list_of_file_systems() {
        let list = "nodev\tsysfs\nnodev\ttmpfs\n\text4\n";
        assert!(has_kind(list, "tmpfs") && has_kind(list, "ext4"));
        assert!(!has_kind(list, "ext") && !has_kind(list, "nodev"));
    }

    #[test]
    fn what_is_mounted_is_seen() {
        let mounted = mountinfo::parse(&files::read_file(mountinfo::MOUNT_TABLE).unwrap());
        assert!(is_there(&MOUNTS[1], &mounted), "this test runs with /proc");
        let elsewhere = mountinfo::Entry { device: (99, 99), ..mounted[0].clone() };
        assert!(!is_there(&MOUNTS[1], &[elsewhere]));
    }

    #[test]
    fn options_are_given_up_one_by_one() {
        assert_eq!(shorter("a,b=c"), Some("a"));
        assert_eq!(shorter("a"), Some(""));
        assert_eq!(shorter(""), None);
    }

    #[test]
    fn a_missing_kernel_feature_is_explained() {
        let text = explain(&MOUNTS[1], Errno::NODEV, None);
        assert!(text.contains("proc on /proc") && text.contains("hint: the kernel lacks proc"), "{text}");
        let text = explain(&MOUNTS[1], Errno::NOENT, Some(Errno::ROFS));
        assert!(text.contains("hint: /proc is missing"), "{text}");
    }
}
