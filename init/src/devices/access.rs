//! Who may use which device node: a table, and the groups of `/etc/group`.
//!
//! The kernel makes the nodes (devtmpfs), most of them for root alone. The table has the groups and modes that people know
//! from Linux distributions. A row whose group this system does not have changes nothing.

use crate::config::glob::fits;

/// A row: the nodes by name below /dev (`*` and `?` as in a shell, `*` for slashes as well), the mode, the group.
type Row = (&'static str, u32, &'static str);

/// Character devices; the first row that fits counts. An empty group is root's.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    // For everyone: without them programs of other users do not even start.
    ("null",            0o666, ""),
    ("zero",            0o666, ""),
    ("full",            0o666, ""),
    ("random",          0o666, ""),
    ("urandom",         0o666, ""),
    ("tty",             0o666, ""),
    ("ptmx",            0o666, ""),
    // The kernel checks each use of these, so everyone may open them.
    ("fuse",            0o666, ""),
    ("net/tun",         0o666, ""),
    ("vsock",           0o666, ""),
    ("kvm",             0o666, ""),
    ("vfio/vfio",       0o666, ""),
    ("dri/renderD*",    0o666, "render"),
    ("rfkill",          0o664, ""),
    ("bus/usb/*",       0o664, ""),
    // Lines to modems and boards.
    ("ttyS*",           0o660, "dialout"),
    ("ttyAMA*",         0o660, "dialout"),
    ("ttyUSB*",         0o660, "dialout"),
    ("ttyACM*",         0o660, "dialout"),
    ("input/*",         0o660, "input"),
    ("snd/*",           0o660, "audio"),
    ("dri/card*",       0o660, "video"),
    ("fb*",             0o660, "video"),
    ("video*",          0o660, "video"),
    ("media*",          0o660, "video"),
    ("lp*",             0o660, "lp"),
    ("usb/lp*",         0o660, "lp"),
    ("sg*",             0o660, "disk"),
    ("st*",             0o660, "tape"),
    ("nst*",            0o660, "tape"),
    ("loop-control",    0o660, "disk"),
    ("btrfs-control",   0o660, "disk"),
    ("vhost-net",       0o660, "kvm"),
    ("vhost-vsock",     0o660, "kvm"),
    ("mem",             0o640, "kmem"),
    ("kmem",            0o640, "kmem"),
    ("port",            0o640, "kmem"),
];

/// Block devices.
const BLOCK_TABLE: &[Row] = &[("sr*", 0o660, "cdrom"), ("*", 0o660, "disk")];

/// The directories below /dev that rows are about.
pub const DIRS: &[&str] = &["", "input", "net", "snd", "dri", "vfio", "usb"];

/// What a node gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Permission bits.
    pub mode: u32,
    /// The group's number.
    pub group: u32,
}

/// The groups that the table names and this system has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups(Vec<(&'static str, u32)>);

impl Groups {
    /// Reads them out of the text of /etc/group (group(5): `name:password:number:members`).
    pub fn parse(text: &str) -> Groups {
        let mut groups = Vec::new();
        for line in text.lines() {
            let mut fields = line.split(':');
            let (Some(name), Some(_), Some(number)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let row = TABLE.iter().chain(BLOCK_TABLE).find(|(_, _, group)| *group == name && !name.is_empty());
            if let (Some((_, _, group)), Ok(number)) = (row, number.parse()) {
                groups.push((*group, number));
            }
        }
        Groups(groups)
    }

    fn number(&self, name: &str) -> Option<u32> {
        if name.is_empty() {
            Some(0)
        } else {
            self.0.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
        }
    }
}

/// The mode and group of the node `name`; nothing when it stays as the kernel made it.
pub fn wanted(name: &str, block: bool, groups: &Groups) -> Option<Wanted> {
    let table = if block { BLOCK_TABLE } else { TABLE };
    let first = name.bytes().next()?;
    // The first character decides about most rows, and a machine has a hundred nodes.
    let may_fit = |pattern: &str| pattern.bytes().next().is_some_and(|known| known == first || b"*?".contains(&known));
    let (_, mode, group) = table.iter().find(|(pattern, _, _)| may_fit(pattern) && fits(pattern, name))?;
    Some(Wanted { mode: *mode, group: groups.number(group)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups() -> Groups {
        Groups::parse("root:x:0:\ntty:x:5:\ndisk:x:6:root\ninput:x:104:\nbad\nvideo:x:many:\ncdrom::24\n")
    }

    #[test]
    fn nodes_for_everyone_and_for_groups() {
        let groups = groups();
        let found = |name, block| wanted(name, block, &groups).map(|wanted| (wanted.mode, wanted.group));
        assert_eq!(found("null", false), Some((0o666, 0)));
        assert_eq!(found("input/event7", false), Some((0o660, 104)));
        assert_eq!(found("vda1", true), Some((0o660, 6)));
        assert_eq!(found("sr0", true), Some((0o660, 24)));
        assert_eq!(found("loop-control", false), Some((0o660, 6)));
        assert_eq!(found("bus/usb/001/002", false), Some((0o664, 0)));
    }

    #[test]
    fn what_the_system_has_no_group_for_stays_roots() {
        let groups = groups();
        for (name, block) in [("snd/seq", false), ("fb0", false), ("console", false), ("tty1", false), ("hpet", false)]
        {
            assert_eq!(wanted(name, block, &groups), None, "{name}");
        }
        assert_eq!(wanted("vda", true, &Groups::default()), None);
    }

    #[test]
    fn every_directory_of_the_table_is_looked_at() {
        for (pattern, _, _) in TABLE {
            let dir = pattern.rsplit_once('/').map_or("", |(dir, _)| dir);
            // The files of USB devices are in directories of numbers; only events tell about them.
            assert!(DIRS.contains(&dir) || dir == "bus/usb", "{pattern}");
        }
    }
}
