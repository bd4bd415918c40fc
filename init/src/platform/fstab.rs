//! `/etc/fstab` (fstab(5)): options for the boot's own mounts and for the root, and the commands that mount the rest.

use rustix::mount::MountFlags as Flags;

use super::mountinfo;
use crate::config::dropins;
use crate::devices::names;

/// The file.
pub const PATH: &str = "/etc/fstab";

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// A device, a `LABEL=` and the like, or a name.
    pub source: String,
    /// The mount point; `none` for swap.
    pub target: String,
    /// The kind of file system.
    pub kind: String,
    /// What its options say.
    pub options: Options,
    /// Whether its sixth field asks for a check before it is mounted.
    pub checked: bool,
}

/// The options of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Mount flags that are set.
    pub set: Flags,
    /// Mount flags that are cleared on purpose (`exec`, `dev`, ...).
    pub cleared: Flags,
    /// What the file system itself reads.
    pub data: String,
    /// `noauto`: not mounted at boot.
    pub by_hand: bool,
    /// `nofail`: failing is nothing to worry about.
    pub may_fail: bool,
    /// `_netdev`: needs the network.
    pub network: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            set: Flags::empty(),
            cleared: Flags::empty(),
            data: String::new(),
            by_hand: false,
            may_fail: false,
            network: false,
        }
    }
}

/// Option, flag, whether it sets or clears it.
const FLAGS: &[(&str, Flags, bool)] = &[
    ("ro", Flags::RDONLY, true),
    ("rw", Flags::RDONLY, false),
    ("nosuid", Flags::NOSUID, true),
    ("suid", Flags::NOSUID, false),
    ("nodev", Flags::NODEV, true),
    ("dev", Flags::NODEV, false),
    ("noexec", Flags::NOEXEC, true),
    ("exec", Flags::NOEXEC, false),
    ("sync", Flags::SYNCHRONOUS, true),
    ("async", Flags::SYNCHRONOUS, false),
    ("dirsync", Flags::DIRSYNC, true),
    ("noatime", Flags::NOATIME, true),
    ("atime", Flags::NOATIME, false),
    ("nodiratime", Flags::NODIRATIME, true),
    ("diratime", Flags::NODIRATIME, false),
    ("relatime", Flags::RELATIME, true),
    ("norelatime", Flags::RELATIME, false),
    ("strictatime", Flags::STRICTATIME, true),
    ("lazytime", Flags::LAZYTIME, true),
    ("nolazytime", Flags::LAZYTIME, false),
];

/// What an option list says.
pub fn options(text: &str) -> Options {
    let mut options = Options::default();
    for word in text.split(',').filter(|word| !word.is_empty()) {
        if let Some((_, flag, sets)) = FLAGS.iter().find(|(name, _, _)| *name == word) {
            options.set.set(*flag, *sets);
            options.cleared.set(*flag, !sets);
            continue;
        }
        match word {
            "noauto" => options.by_hand = true,
            "nofail" => options.may_fail = true,
            "_netdev" => options.network = true,
            // Read by mount(8) alone.
            "defaults" | "auto" | "user" | "nouser" | "users" | "owner" | "group" => {}
            _ if word.starts_with("x-") || word.starts_with("comment=") => {}
            _ => {
                if !options.data.is_empty() {
                    options.data.push(',');
                }
                options.data += word;
            }
        }
    }
    options
}

impl Options {
    /// The flags of a mount whose usual ones are `usual`.
    pub fn flags(&self, usual: Flags) -> Flags {
        (usual - self.cleared) | self.set
    }

    /// The data of a mount whose usual ones are `usual`: these win over usual ones with the same name.
    pub fn merged_data(&self, usual: &str) -> String {
        fn name(word: &str) -> &str {
            word.split('=').next().unwrap_or(word)
        }
        let own = self.data.split(',').filter(|word| !word.is_empty());
        let kept = usual
            .split(',')
            .filter(|word| !word.is_empty() && !self.data.split(',').any(|given| name(given) == name(word)));
        kept.chain(own).collect::<Vec<_>>().join(",")
    }
}

/// The lines of the file, and the numbers (from 1) of faulty ones.
pub fn parse(content: &str) -> (Vec<Line>, Vec<usize>) {
    let mut lines = Vec::new();
    let mut faults = Vec::new();
    for (index, text) in content.lines().enumerate() {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        match parse_line(text) {
            Some(line) => lines.push(line),
            None => faults.push(index + 1),
        }
    }
    (lines, faults)
}

fn parse_line(text: &str) -> Option<Line> {
    let mut fields = text.split_ascii_whitespace();
    let (source, target, kind) = (fields.next()?, fields.next()?, fields.next()?);
    let (source, target) = (mountinfo::unescape(source), mountinfo::unescape(target));
    let sound = (target.starts_with('/') || kind == "swap") && !target.contains('\0') && !source.contains('\0');
    let options = options(fields.next().unwrap_or_default());
    let checked = fields.nth(1).is_some_and(|pass| pass.parse::<u32>().is_ok_and(|pass| pass > 0));
    sound.then(|| Line { source, target, kind: kind.into(), options, checked })
}

/// Reads the file. Faulty lines are left out; `tell` gets their numbers.
pub fn load(mut tell: impl FnMut(usize)) -> Vec<Line> {
    let (lines, faults) = parse(&dropins::read(PATH));
    faults.into_iter().for_each(&mut tell);
    lines
}

/// The lines that the boot mounts with mount(8): not the root, nor swap, nor what is mounted already, nor what waits
/// for a person or for the network. When they are gone through `again`, whatever is mounted at a place is what the line asks
/// for: a kind may be `auto` or, for what is bound, `none`.
pub fn to_mount<'a>(lines: &'a [Line], mounted: &[mountinfo::Entry], again: bool) -> Vec<&'a Line> {
    let wanted = |line: &&Line| {
        let Options { by_hand, network, .. } = line.options;
        let there = mounted.iter().any(|entry| entry.target == line.target && (again || entry.kind == line.kind));
        !by_hand && !network && line.target != "/" && !matches!(&*line.kind, "swap" | "ignore") && !there
    };
    lines.iter().filter(wanted).collect()
}

/// The lines that the boot swaps to.
pub fn swaps(lines: &[Line]) -> impl Iterator<Item = &Line> {
    lines.iter().filter(|line| line.kind == "swap" && !line.options.by_hand)
}

/// Where the node of a device will be.
#[derive(Debug, PartialEq, Eq)]
pub struct Node {
    /// The directory, which may come with the node.
    pub directory: String,
    name: String,
    /// A UUID is a number, which people copy in upper or lower case.
    any_case: bool,
}

impl Node {
    /// Whether a file in the directory is it.
    pub fn is(&self, file: &str) -> bool {
        if self.any_case { self.name.eq_ignore_ascii_case(file) } else { self.name == file }
    }
}

/// The node that a source will have, when it is a device.
pub fn node(source: &str) -> Option<Node> {
    const TAGS: &[(&str, &str, bool)] = &[
        ("UUID=", "by-uuid", true),
        ("LABEL=", "by-label", false),
        ("PARTUUID=", "by-partuuid", true),
        ("PARTLABEL=", "by-partlabel", false),
    ];
    if source.starts_with("/dev/") {
        let (directory, name) = source.rsplit_once('/')?;
        return Some(Node { directory: directory.into(), name: name.into(), any_case: false });
    }
    TAGS.iter().find_map(|&(tag, directory, any_case)| {
        let name = names::encode(source.strip_prefix(tag)?.trim_matches('"'));
        Some(Node { directory: format!("/dev/disk/{directory}"), name, any_case })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# comment
/dev/vda1  /          ext4   rw,noatime,commit=30 0 1
UUID=ab-cd /data\\040x vfat   defaults,nofail,umask=022 0 2
/dev/vdb   none       swap   pri=5
tmpfs      /tmp       tmpfs  size=1g,exec,suid
host:/x    /net       nfs    _netdev
/dev/sr0   /cd        iso9660 noauto,ro
broken
/dev/vdc   relative   ext4
";

    #[test]
    fn lines_and_faults() {
        let (lines, faults) = parse(FILE);
        assert_eq!(faults, [8, 9]);
        assert_eq!(lines.len(), 6);
        assert_eq!(lines[0].options.set, Flags::NOATIME);
        assert_eq!(lines[0].options.data, "commit=30");
        assert_eq!((lines[1].target.as_str(), lines[1].options.data.as_str()), ("/data x", "umask=022"));
        let checked: Vec<bool> = lines.iter().map(|line| line.checked).collect();
        assert_eq!(checked, [true, true, false, false, false, false]);
        assert!(lines[1].options.may_fail && lines[4].options.network && lines[5].options.by_hand);
    }

    #[test]
    fn the_boot_mounts_what_is_not_there() {
        let (lines, _) = parse(FILE);
        let mounted = |target: &str, kind: &str| mountinfo::Entry {
            target: target.into(),
            kind: kind.into(),
            device: (0, 0),
            writable: true,
        };
        let targets = |mounted: &[mountinfo::Entry]| -> Vec<String> {
            to_mount(&lines, mounted, false).iter().map(|line| line.target.clone()).collect()
        };
        assert_eq!(targets(&[]), ["/data x", "/tmp"]);
        let some = [mounted("/tmp", "tmpfs"), mounted("/data x", "ext4")];
        assert_eq!(targets(&some), ["/data x"]);
        assert_eq!(to_mount(&lines, &some, true), Vec::<&Line>::new());
        assert_eq!(swaps(&lines).map(|line| line.source.as_str()).collect::<Vec<_>>(), ["/dev/vdb"]);
        assert_eq!(swaps(&lines[..2]).count(), 0);
    }

    #[test]
    fn options_change_the_usual_ones() {
        let (lines, _) = parse(FILE);
        let tmp = &lines[3].options;
        let usual = Flags::NOSUID | Flags::NODEV | Flags::NOEXEC;
        assert_eq!(tmp.flags(usual), Flags::NODEV);
        assert_eq!(tmp.merged_data("mode=1777,size=50%"), "mode=1777,size=1g");
        assert_eq!(Options::default().merged_data("mode=1777"), "mode=1777");
        assert_eq!(options("ro,rw").flags(Flags::empty()), Flags::empty());
        assert_eq!(options("rw,ro").flags(Flags::empty()), Flags::RDONLY);
    }

    #[test]
    fn nodes_of_sources() {
        let is = |source: &str, directory: &str, file: &str| {
            node(source).is_some_and(|node| node.directory == directory && node.is(file))
        };
        assert!(is("/dev/vdb", "/dev", "vdb") && is("/dev/mapper/a", "/dev/mapper", "a"));
        assert!(!is("/dev/vdb", "/dev", "VDB"));
        assert!(is("LABEL=\"home\"", "/dev/disk/by-label", "home"));
        assert!(!is("LABEL=home", "/dev/disk/by-label", "Home"));
        // As the links are written.
        let (lines, _) = parse("LABEL=my\\040disk /data ext4\n");
        assert!(is(&lines[0].source, "/dev/disk/by-label", "my\\x20disk"));
        assert!(is("UUID=12ab-cdef", "/dev/disk/by-uuid", "12AB-CDEF"));
        assert!(is("PARTUUID=1A-02", "/dev/disk/by-partuuid", "1a-02"));
        assert_eq!(node("tmpfs"), None);
        assert_eq!(node("/swapfile"), None);
    }
}
