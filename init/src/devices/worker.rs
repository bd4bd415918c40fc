//! The work that may wait for slow hardware, in a short-lived child: reading superblocks, making and removing the links of
//! disks, loading drivers. `devices` forks it; nothing here runs in PID 1 itself.

use std::ffi::{CStr, CString};

use super::names::{self, Facts, Sysfs};
use super::{partition, superblock, uevent};
use crate::log::{debug, error, info, warn};
use crate::spawn::NOT_RUN;
use crate::sys::process::{self, Exit};
use crate::sys::{Errno, files, nodes, signal};

const SYS: &str = "/sys";
/// Where the links are.
const LINKS: &str = "/dev/disk";
/// The directory in it of names that a second device has as well.
const EQUAL: &str = "equal";
/// Block devices by name.
pub const CLASS: &str = "/sys/class/block";
/// How deep the tree of devices is at most, and for how many drivers the devices of the start can ask.
const DEEPEST: usize = 24;
const MOST_ALIASES: usize = 2048;
/// Where modprobe may be, and the environment that it gets.
const MODPROBE: &[&CStr] = &[c"/sbin/modprobe", c"/usr/sbin/modprobe", c"/bin/modprobe"];
const PATH: &CStr = c"PATH=/sbin:/usr/sbin:/bin:/usr/bin";

/// What a child does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    /// Make the links of every block device.
    All,
    /// Make the links of this one, and remove those that are wrong by now.
    Look(String),
    /// Remove the links of this one, which is gone.
    Remove(String),
}

/// Does the jobs; the result is the child's exit code.
pub fn run(jobs: &[Job]) -> i32 {
    let mut freed = jobs.contains(&Job::All);
    for job in jobs {
        freed |= match job {
            Job::All => false,
            Job::Look(name) => look(name),
            Job::Remove(name) => remove_links(name, &[]),
        };
    }
    if freed {
        // Another disk may have the same label, and its turn has come.
        for name in files::list_dir(CLASS).unwrap_or_default() {
            look(&node_of(&name));
        }
    }
    0
}

/// The node of a name in sysfs, where a slash is written as an exclamation mark.
pub fn node_of(name: &str) -> String {
    name.replace('!', "/")
}

/// Makes the links of a block device. Whether it lost one that it had.
fn look(name: &str) -> bool {
    // A disk in the kernel's own memory has nothing that lasts; a drive for floppies would start its motor.
    let skipped = ["ram", "zram", "fd"]
        .iter()
        .any(|kind| name.strip_prefix(kind).is_some_and(|rest| rest.starts_with(|char: char| char.is_ascii_digit())));
    if skipped || !uevent::is_node_name(name) {
        return false;
    }
    let links = facts(name).map(|facts| names::links(&facts)).unwrap_or_default();
    let lost = remove_links(name, &links);
    for link in links {
        make_link(name, &link);
    }
    lost
}

/// Reads sysfs and the device itself; nothing when there is no such device, or no file system on it.
fn facts(name: &str) -> Option<Facts> {
    let class = format!("{CLASS}/{}", name.replace('/', "!"));
    let path = files::read_link(&class).ok()?;
    let path = path.rsplit_once("../").map_or(&*path, |(_, path)| path);
    let sysfs = Tree;
    let number = |file: &str| sysfs.text(&format!("{path}/{file}"))?.parse::<u64>().ok();
    // An empty drive, a loop device without a file.
    if number("size") == Some(0) {
        return None;
    }
    let partition = number("partition").and_then(|number| u32::try_from(number).ok());
    let disk = if partition.is_some() { path.rsplit_once('/')?.0 } else { path };
    let mut facts =
        Facts { partition, ids: names::ids(disk, &sysfs), paths: names::paths(disk, &sysfs), ..Facts::default() };

    if let Ok(device) = nodes::open_block(&format!("/dev/{name}")) {
        let read = |offset, length| nodes::read_at(&device, offset, length).unwrap_or_default();
        if let Some(found) = superblock::identify(&read(0, superblock::HEAD), &read) {
            debug!("{name}: {} {:?} {:?}", found.kind, found.uuid, found.label);
            facts.uuid = found.uuid;
            facts.label = found.label;
        }
    }
    if let Some(number) = partition {
        let block = sysfs.text(&format!("{disk}/queue/logical_block_size")).and_then(|size| size.parse().ok());
        let disk_node = disk.rsplit_once('/').map_or(disk, |(_, name)| name);
        if let Ok(device) = nodes::open_block(&format!("/dev/{}", node_of(disk_node))) {
            let read = |offset, length| nodes::read_at(&device, offset, length).unwrap_or_default();
            facts.partition_uuid = partition::uuid(number, block.unwrap_or(512), &read);
        }
        let event = sysfs.text(&format!("{path}/uevent")).unwrap_or_default();
        facts.partition_label = event.lines().find_map(|line| line.strip_prefix("PARTNAME=")).map(String::from);
    }
    Some(facts)
}

/// The real sysfs.
struct Tree;

impl Sysfs for Tree {
    fn text(&self, path: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes(path)?).into_owned();
        Some(text.trim_end_matches('\n').into())
    }

    fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        files::read_file(&format!("{SYS}/{path}")).ok()
    }

    fn list(&self, path: &str) -> Vec<String> {
        files::list_dir(&format!("{SYS}/{path}")).unwrap_or_default()
    }
}

/// From a directory of links to a node.
fn target(name: &str) -> String {
    format!("../../{name}")
}

fn make_link(name: &str, link: &str) {
    let path = format!("{LINKS}/{link}");
    let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
    for dir in [LINKS, dir] {
        match files::make_dir(dir, 0o755) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return error!("cannot make {dir}: {error}"),
        }
    }
    for _ in 0..2 {
        match files::make_link(&target(name), &path) {
            Ok(()) => return,
            Err(Errno::EXIST) => match files::read_link(&path) {
                // The first device keeps the name while it is present.
                Ok(holder) if nodes::access(&format!("{dir}/{holder}")).is_ok() => {
                    return say_equal(name, link, &holder);
                }
                _ => drop(files::remove(&path)),
            },
            Err(error) => return error!("cannot make {path}: {error}"),
        }
    }
}

/// Says once that the device `name` has a name that another one holds, and keeps it as a link in [`EQUAL`].
fn say_equal(name: &str, link: &str, holder: &str) {
    let holder = holder.trim_start_matches("../");
    let path = format!("{LINKS}/{EQUAL}/{}", equal(name, link));
    if holder == name || files::read_link(&path).is_ok() {
        return;
    }
    for dir in [LINKS, &format!("{LINKS}/{EQUAL}")] {
        let _ = files::make_dir(dir, 0o755);
    }
    if let Err(error) = files::make_link(&target(name), &path) {
        debug!("cannot make {path}: {error}");
    }
    let root = files::device("/").ok().and_then(|(major, minor)| device_name(&format!("{major}:{minor}")));
    let root = root.filter(|root| root == name || root == holder);
    let root = root.map_or_else(String::new, |root| format!("; the root is {root}"));
    let message = format!("{name} and {holder} have the same {link}, which stays with {holder}{root}");
    // Labels are often equal. A UUID is meant to tell disks apart, and by a partition's the kernel finds its root.
    if link.starts_with("by-uuid/") || link.starts_with("by-partuuid/") {
        warn!("{message}")
    } else {
        info!("{message}")
    }
}

/// The name of a block device by its numbers.
fn device_name(numbers: &str) -> Option<String> {
    let event = files::read_file(&format!("{SYS}/dev/block/{numbers}/uevent")).ok()?;
    String::from_utf8_lossy(&event).lines().find_map(|line| line.strip_prefix("DEVNAME=")).map(String::from)
}

/// The file in [`EQUAL`] for a name that another device holds.
fn equal(name: &str, link: &str) -> String {
    format!("{}:{}", link.replace('/', ":"), name.replace('/', "!"))
}

/// Forgets names that `name` shared and are not in `kept`.
fn forget_equal(name: &str, kept: &[String]) {
    let kept: Vec<String> = kept.iter().map(|link| equal(name, link)).collect();
    for file in files::list_dir(&format!("{LINKS}/{EQUAL}")).unwrap_or_default() {
        let path = format!("{LINKS}/{EQUAL}/{file}");
        if !kept.contains(&file) && files::read_link(&path).is_ok_and(|found| found == target(name)) {
            let _ = files::remove(&path);
        }
    }
}

/// Removes the links to `name` besides those in `kept`; whether there was one.
fn remove_links(name: &str, kept: &[String]) -> bool {
    forget_equal(name, kept);
    let mut removed = false;
    for dir in names::DIRS {
        for file in files::list_dir(&format!("{LINKS}/{dir}")).unwrap_or_default() {
            let link = format!("{dir}/{file}");
            let path = format!("{LINKS}/{link}");
            if !kept.contains(&link) && files::read_link(&path).is_ok_and(|found| found == target(name)) {
                removed |= files::remove(&path).is_ok();
            }
        }
    }
    removed
}

/// Loads the drivers for these devices with modprobe; the result is the child's exit code.
pub fn load<'a>(aliases: impl Iterator<Item = &'a String>) -> i32 {
    let Some(program) = MODPROBE.iter().copied().find(|path| path.to_str().is_ok_and(files::is_executable)) else {
        return 1;
    };
    // PID 1 keeps back what ends this and modprobe at a shutdown.
    if let Err(error) = signal::block(&[]) {
        debug!("cannot unblock signals: {error}");
    }
    match Kind::of(program) {
        Kind::Busybox => load_with(program, aliases),
        kind => become_modprobe(program, kind, aliases),
    }
}

/// The modprobe of a system, by what its file is a link to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The one in this program's file. It takes several names, and says on the console what could not be loaded.
    Own,
    /// kmod's, which takes several names.
    Kmod,
    /// busybox's small one takes one name, and complains of each without a module in spite of `-q`.
    Busybox,
}

impl Kind {
    fn of(program: &CStr) -> Kind {
        let target = program.to_str().ok().and_then(|path| files::read_link(path).ok()).unwrap_or_default();
        match target.rsplit('/').next() {
            Some("init") => Kind::Own,
            Some("kmod") => Kind::Kmod,
            _ => Kind::Busybox,
        }
    }
}

/// One `program` for each alias, one after the other.
fn load_with<'a>(program: &CStr, aliases: impl Iterator<Item = &'a String>) -> i32 {
    for alias in aliases {
        let child = || become_modprobe(program, Kind::Busybox, core::iter::once(alias));
        match process::fork(child).and_then(process::wait_for) {
            Ok(Exit::Code(NOT_RUN)) => return 1,
            // Most devices have no driver that is a module, which is 1 as well.
            Ok(Exit::Code(_)) => {}
            Ok(exit) => warn!("modprobe {alias}: {exit}"),
            Err(error) => {
                error!("cannot start modprobe for {alias}: {error}");
                return 1;
            }
        }
    }
    0
}

fn become_modprobe<'a>(program: &CStr, kind: Kind, aliases: impl Iterator<Item = &'a String>) -> i32 {
    // What fails in a module the kernel says as well.
    if kind != Kind::Own
        && let Err(error) = files::open_device("/dev/null").and_then(files::set_stdio)
    {
        debug!("modprobe keeps the console: {error}");
    }
    let arguments = modprobe_arguments(kind, aliases);
    if arguments.last().is_some_and(|last| last.as_c_str() == c"--") {
        return 0;
    }
    let error = process::exec(program, &arguments, &[PATH.to_owned()]);
    error!("cannot run {}: {error}", program.to_string_lossy());
    NOT_RUN
}

/// The arguments that each kind accepts. A name that cannot be an argument is left out.
fn modprobe_arguments<'a>(kind: Kind, aliases: impl Iterator<Item = &'a String>) -> Vec<CString> {
    let several = if kind == Kind::Busybox { None } else { Some("-a") };
    let options = ["modprobe", "-b", "-q"].into_iter().chain(several).chain(["--"]);
    options.chain(aliases.map(String::as_str)).filter_map(|word| CString::new(word).ok()).collect()
}

/// The devices that were there before PID 1: what they say a driver for them is for.
pub fn aliases() -> Vec<String> {
    let mut found = std::collections::BTreeSet::new();
    let mut dirs = vec![("/sys/devices".to_owned(), 0)];
    while let Some((dir, depth)) = dirs.pop() {
        for (name, is_dir) in nodes::list_with_dirs(&dir).unwrap_or_default() {
            if is_dir && depth < DEEPEST {
                dirs.push((format!("{dir}/{name}"), depth + 1));
            } else if name == "modalias" && found.len() < MOST_ALIASES {
                let text = files::read_file(&format!("{dir}/{name}")).unwrap_or_default();
                let alias = String::from_utf8_lossy(&text).trim().to_owned();
                if uevent::is_alias(&alias) {
                    found.insert(alias);
                }
            }
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modprobe_runs_once_for_each_alias() {
        let dir = std::env::temp_dir().join(format!("init-modprobe-{}", process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (program, log) = (dir.join("modprobe"), dir.join("log"));
        // As busybox's small one: it takes one name, and most have no module.
        let script =
            format!("[ \"$*\" = \"-b -q -- $4\" ] || exit 2\necho \"$4\" >>{}\necho noise\nexit 1", log.display());
        // Another process writes it: a program that is open for writing in a child of another test cannot be run.
        let write = "printf '#!/bin/sh\n%s\n' \"$2\" >\"$1\" && chmod 755 \"$1\"";
        let mut shell = std::process::Command::new("sh");
        assert!(shell.args(["-c", write, "sh"]).arg(&program).arg(script).status().unwrap().success());
        let program = CString::new(program.to_str().unwrap()).unwrap();
        let aliases = ["pci:v1sv*".to_owned(), "of:N b".to_owned(), "a\0b".to_owned(), "cpu:x".to_owned()];
        assert_eq!(load_with(&program, aliases.iter()), 0);
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "pci:v1sv*\nof:N b\ncpu:x\n");
        assert_eq!(load_with(c"/no/modprobe", aliases.iter()), 1);
        assert_eq!(Kind::of(&program), Kind::Busybox);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_modprobe_that_takes_several_names_runs_once() {
        let dir = std::env::temp_dir().join(format!("init-modprobes-{}", process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let aliases = ["pci:v1sv*".to_owned(), "a\0b".to_owned(), "cpu:x".to_owned()];
        for (target, kind, arguments) in [
            ("init", Kind::Own, "modprobe -b -q -a -- pci:v1sv* cpu:x"),
            ("/bin/kmod", Kind::Kmod, "modprobe -b -q -a -- pci:v1sv* cpu:x"),
            ("busybox", Kind::Busybox, "modprobe -b -q -- pci:v1sv* cpu:x"),
        ] {
            let link = dir.join("modprobe");
            std::os::unix::fs::symlink(target, &link).unwrap();
            assert_eq!(Kind::of(&CString::new(link.to_str().unwrap()).unwrap()), kind);
            let words: Vec<String> =
                modprobe_arguments(kind, aliases.iter()).iter().map(|word| word.to_str().unwrap().to_owned()).collect();
            assert_eq!(words.join(" "), arguments);
            std::fs::remove_file(link).unwrap();
        }
        std::fs::remove_dir_all(dir).unwrap();
    }
}
