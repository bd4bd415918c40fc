//! The mount table, and the order in which a shutdown takes it apart.

/// Where the kernel shows the mounts (proc(5)).
pub const MOUNT_TABLE: &str = "/proc/self/mountinfo";
/// Where the kernel shows the swap areas.
pub const SWAP_TABLE: &str = "/proc/swaps";

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its mount point.
    pub target: String,
    /// Its kind of file system.
    pub kind: String,
    /// The major and minor number of the device that its files are on.
    pub device: (u32, u32),
    /// Whether the file system (not only this mount of it) can be written.
    pub writable: bool,
}

/// Reads the kernel's table; lines in an unknown form are left out.
pub fn parse(content: &[u8]) -> Vec<Entry> {
    String::from_utf8_lossy(content).lines().filter_map(parse_line).collect()
}

/// `36 35 98:0 /root /target options optional... - kind source super-options`
fn parse_line(line: &str) -> Option<Entry> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut parts = mount.split(' ').skip(2);
    let (major, minor) = parts.next()?.split_once(':')?;
    let device = (major.parse().ok()?, minor.parse().ok()?);
    let target = unescape(parts.nth(1)?);
    let mut fields = file_system.split(' ');
    let kind = fields.next()?.to_owned();
    let options = fields.nth(1).unwrap_or("rw");
    Some(Entry { target, kind, device, writable: options.split(',').any(|option| option == "rw") })
}

/// Space, tab, line end and backslash come as `\` and three octal digits.
pub fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        match (byte, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// File systems that hold no data of a disk: they stay, because each unmount waits for all processors, and the last steps
/// of a shutdown need some of them.
#[rustfmt::skip]
const KEPT_KINDS: &[&str] = &[
    "proc", "sysfs", "devtmpfs", "rootfs", "tmpfs", "devpts", "cgroup", "cgroup2", "securityfs", "debugfs", "tracefs",
    "configfs", "bpf", "pstore", "fusectl", "efivarfs", "mqueue", "hugetlbfs", "binfmt_misc", "ramfs",
];

/// The mount points to unmount, last mounted first. The root is not among them, nor is what holds no data of a disk.
pub fn order(entries: &[Entry]) -> Vec<String> {
    entries
        .iter()
        .rev()
        .filter(|entry| entry.target != "/" && !KEPT_KINDS.contains(&entry.kind.as_str()))
        .map(|entry| entry.target.clone())
        .collect()
}

/// The devices and files in the kernel's swap table.
pub fn swaps(content: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(content)
        .lines()
        .skip(1)
        .filter_map(|line| line.split_ascii_whitespace().next())
        .map(unescape)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 254:2 / / rw,relatime - ext4 /dev/root rw
23 22 0:6 / /dev rw,nosuid - devtmpfs devtmpfs rw,size=4k
24 22 0:21 / /proc rw - proc proc rw
25 22 254:3 / /mnt/my\\040disk rw shared:1 master:2 - ext4 /dev/vda3 ro,errors=x
26 25 0:30 / /mnt/my\\040disk/in rw - vfat /dev/vdb rw
27 25 0:31 / /run rw - tmpfs tmpfs rw
broken line
";

    #[test]
    fn the_table_is_read() {
        let entries = parse(TABLE.as_bytes());
        assert_eq!(entries.len(), 6);
        assert_eq!(
            entries[3],
            Entry { target: "/mnt/my disk".into(), kind: "ext4".into(), device: (254, 3), writable: false }
        );
        assert!(entries[0].writable);
    }

    #[test]
    fn last_mounted_first_and_the_kernels_own_stay() {
        assert_eq!(order(&parse(TABLE.as_bytes())), ["/mnt/my disk/in", "/mnt/my disk"]);
    }

    #[test]
    fn escapes() {
        assert_eq!(unescape("a\\134b\\011\\012c\\09\\"), "a\\b\t\nc\\09\\");
    }

    #[test]
    fn swap_areas() {
        let table = "Filename\tType\tSize\n/dev/vdb   partition 5 0 -2\n/a\\040b file 1 0 -3\n";
        assert_eq!(swaps(table.as_bytes()), ["/dev/vdb", "/a b"]);
        assert_eq!(swaps(b""), Vec::<String>::new());
    }
}
