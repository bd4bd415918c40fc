//! The description of a root file system: what lies where, with which mode and owner, and which stage it came from.
//!
//! `image/build.rs` and `sysroot/build.rs` fill it; the other modules write it. It leaves nothing on disk itself.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use build_support::digest;
use fs_err as fs;
use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

/// The longest name of one file in ext4 and in Linux itself (`NAME_MAX`, include/uapi/linux/limits.h).
const NAME_MAX: usize = 255;
/// One byte less than Linux takes for a path with its end (`PATH_MAX`, the same header).
const PATH_MAX: usize = 4095;

/// How many links Linux follows in one path (`MAXSYMLINKS`, include/linux/namei.h).
const LINKS_MAX: usize = 40;

/// A root file system in memory, sorted by path.
///
/// Paths are relative to the root and have no leading slash (one that is given is dropped). A directory always
/// comes before what it holds, because its path is the beginning of theirs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
}

/// One file, directory, link or device.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Permissions, with set-id and sticky bits (`07777`).
    pub mode: u32,
    /// The owner inside the image.
    pub uid: u32,
    /// The group inside the image.
    pub gid: u32,
    /// The stage that it came from.
    pub stage: String,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A regular file.
    File(Content),
    /// A symbolic link and its target.
    Link(String),
    /// A character device.
    Device {
        /// The driver's number.
        major: u32,
        /// The device's number.
        minor: u32,
    },
}

impl Kind {
    /// The word for it in manifests and messages.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Dir => "dir",
            Kind::File(_) => "file",
            Kind::Link(_) => "link",
            Kind::Device { .. } => "char",
        }
    }

    /// The type bits of `st_mode` (inode(7)), as cpio and ext4 store them.
    pub(crate) fn type_bits(&self) -> u32 {
        match self {
            Kind::Dir => 0o040000,
            Kind::File(_) => 0o100000,
            Kind::Link(_) => 0o120000,
            Kind::Device { .. } => 0o020000,
        }
    }
}

/// Where the bytes of a regular file come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A file on the machine that builds. It must not change until everything is written.
    Host(PathBuf),
    /// Bytes in memory.
    Bytes(Vec<u8>),
}

impl Content {
    /// How many bytes there are.
    pub fn size(&self) -> Result<u64> {
        match self {
            Content::Host(path) => Ok(fs::metadata(path)?.len()),
            Content::Bytes(bytes) => Ok(bytes.len() as u64),
        }
    }

    /// SHA-256 as lower-case hex.
    pub fn sha256(&self) -> Result<String> {
        match self {
            Content::Host(path) => digest::file(path),
            Content::Bytes(bytes) => Ok(hex::encode(Sha256::digest(bytes))),
        }
    }

    /// Opens it, and says how many bytes will be read.
    pub(crate) fn open(&self) -> Result<(u64, Exact<'_>)> {
        let (size, inner): (u64, Box<dyn Read + '_>) = match self {
            Content::Host(path) => {
                let file = fs::File::open(path)?;
                (file.metadata()?.len(), Box::new(file))
            }
            Content::Bytes(bytes) => (bytes.len() as u64, Box::new(bytes.as_slice())),
        };
        Ok((size, Exact { inner, left: size }))
    }
}

/// A reader that fails when a file has become shorter or longer than it said. Archives write the size first, and a
/// wrong one would shift everything behind it.
pub(crate) struct Exact<'a> {
    inner: Box<dyn Read + 'a>,
    left: u64,
}

impl Read for Exact<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        if (n == 0 && self.left > 0 && !buffer.is_empty()) || n as u64 > self.left {
            return Err(io::Error::other("a file changed while it was read; build again"));
        }
        self.left -= n as u64;
        Ok(n)
    }
}

impl Tree {
    /// A tree with nothing but the root.
    pub fn new() -> Tree {
        Tree::default()
    }

    /// Adds a directory, or sets the mode of one that is there.
    pub fn dir(&mut self, path: &str, mode: u32, stage: &str) -> Result<()> {
        self.add(path, Kind::Dir, mode, stage)
    }

    /// Adds a file whose bytes are those of a file on this machine.
    pub fn file(&mut self, path: &str, host: &Path, mode: u32, stage: &str) -> Result<()> {
        let path = &normal(path)?;
        let meta =
            fs::metadata(host).with_context(|| format!("cannot take /{path} of stage {stage} from this machine"))?;
        ensure!(meta.is_file(), "{} is to become /{path}, and is no regular file", host.display());
        self.add(path, Kind::File(Content::Host(host.to_path_buf())), mode, stage)
    }

    /// Adds a file from bytes.
    pub fn bytes(&mut self, path: &str, bytes: impl Into<Vec<u8>>, mode: u32, stage: &str) -> Result<()> {
        self.add(path, Kind::File(Content::Bytes(bytes.into())), mode, stage)
    }

    /// Adds a symbolic link. Links have no permissions of their own; Linux shows them as 0777.
    pub fn link(&mut self, path: &str, target: &str, stage: &str) -> Result<()> {
        let path = &normal(path)?;
        ensure!(!target.is_empty() && target.len() <= PATH_MAX, "the target of the link /{path} is empty or too long");
        ensure!(
            !target.contains(char::is_control),
            "the target of the link /{path} has a control character: {target:?}"
        );
        self.add(path, Kind::Link(target.to_string()), 0o777, stage)
    }

    /// Adds a character device (Documentation/admin-guide/devices.txt in the kernel has the numbers).
    pub fn device(&mut self, path: &str, major: u32, minor: u32, mode: u32, stage: &str) -> Result<()> {
        self.add(path, Kind::Device { major, minor }, mode, stage)
    }

    /// Adds everything below a directory of this machine at `into` (`""` is the root). The host's owners and
    /// permissions do not count: directories and files that anybody may execute become 0755, other files 0644.
    ///
    /// Where a directory meets a link of the tree that leads to a directory in it, what it holds goes there: packages
    /// install into `/sbin` and `/lib`, which are links.
    pub fn merge(&mut self, from: &Path, into: &str, stage: &str) -> Result<()> {
        for entry in WalkDir::new(from).min_depth(1).sort_by_file_name() {
            let entry = entry.with_context(|| format!("cannot read {}", from.display()))?;
            let below = entry.path().strip_prefix(from)?;
            let below =
                below.to_str().with_context(|| format!("{} has a name that is not UTF-8", entry.path().display()))?;
            let path = if into.is_empty() { below.to_string() } else { format!("{into}/{below}") };
            let path = self.behind_links(&path, entry.file_type().is_dir());
            if !path.is_empty() {
                self.merge_one(&entry, &path, stage)?;
            }
        }
        Ok(())
    }

    fn merge_one(&mut self, entry: &walkdir::DirEntry, path: &str, stage: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let host = entry.path();
        if entry.file_type().is_dir() {
            // A directory that is there keeps its mode: /root and /tmp differ from 0755 on purpose.
            let there = self.get(path).is_some_and(|known| known.kind == Kind::Dir);
            return if there { Ok(()) } else { self.dir(path, 0o755, stage) };
        }
        if entry.file_type().is_symlink() {
            let target = fs::read_link(host)?;
            let target = target
                .to_str()
                .with_context(|| format!("the link {} leads to a name that is not UTF-8", host.display()))?;
            return self.link(path, target, stage);
        }
        let executes = fs::metadata(host)?.permissions().mode() & 0o111 != 0;
        self.file(path, host, if executes { 0o755 } else { 0o644 }, stage)
    }

    /// A path with its directories' links followed as far as they lead to directories of the tree; the last name of a
    /// path is followed only when it is a directory's too.
    fn behind_links(&self, path: &str, is_dir: bool) -> String {
        let mut real = String::new();
        let last = path.split('/').count() - 1;
        for (i, name) in path.split('/').enumerate() {
            let plain = if real.is_empty() { name.to_string() } else { format!("{real}/{name}") };
            let followed = if i < last || is_dir { self.directory(&plain, LINKS_MAX) } else { None };
            real = followed.unwrap_or(plain);
        }
        real
    }

    /// The directory that a path leads to by at most so many links, or `None` when it leads to none in the tree.
    fn directory(&self, path: &str, links: usize) -> Option<String> {
        if path.is_empty() {
            return Some(String::new()); // The root itself.
        }
        match &self.entries.get(path)?.kind {
            Kind::Dir => Some(path.to_string()),
            Kind::Link(target) => {
                let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                let mut at = if target.starts_with('/') { String::new() } else { parent.to_string() };
                for name in target.split('/').filter(|name| !matches!(*name, "" | ".")) {
                    at = match (name, at.rsplit_once('/')) {
                        ("..", up) => up.map_or(String::new(), |(up, _)| up.to_string()),
                        _ if at.is_empty() => name.to_string(),
                        _ => format!("{at}/{name}"),
                    };
                    at = self.directory(&at, links.checked_sub(1)?)?;
                }
                Some(at)
            }
            _ => None,
        }
    }

    /// Sets the mode of an entry.
    pub fn chmod(&mut self, path: &str, mode: u32) -> Result<()> {
        self.get_mut(path)?.mode = checked_mode(path, mode)?;
        Ok(())
    }

    /// Sets the owner and the group of an entry.
    pub fn chown(&mut self, path: &str, uid: u32, gid: u32) -> Result<()> {
        let entry = self.get_mut(path)?;
        (entry.uid, entry.gid) = (uid, gid);
        Ok(())
    }

    /// Removes an entry and all below it.
    pub fn remove(&mut self, path: &str) -> Result<()> {
        let path = normal(path)?;
        ensure!(self.entries.contains_key(&path), "/{path} is to be removed, and is not there");
        let below = format!("{path}/");
        self.entries.retain(|name, _| *name != path && !name.starts_with(&below));
        Ok(())
    }

    /// Every path and entry; a directory comes before what it holds.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// The entry of a path.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(&normal(path).ok()?)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many entries there are, the root not counted.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The bytes of all regular files.
    pub fn file_bytes(&self) -> Result<u64> {
        let mut sum = 0;
        for entry in self.entries.values() {
            if let Kind::File(content) = &entry.kind {
                sum += content.size()?;
            }
        }
        Ok(sum)
    }

    /// What must be laid over `base` to get this tree: the entries that `base` does not have in the same form.
    /// A layer can only add and replace, so everything in `base` must be in this tree too.
    pub fn minus(&self, base: &Tree) -> Result<Tree> {
        if let Some(path) = base.entries.keys().find(|path| !self.entries.contains_key(*path)) {
            bail!("/{path} is in the lower layer and not in the whole tree, and a layer cannot remove it");
        }
        let differs = |(path, entry): &(&String, &Entry)| base.entries.get(*path) != Some(*entry);
        let entries = self.entries.iter().filter(differs).map(|(path, entry)| (path.clone(), entry.clone())).collect();
        Ok(Tree { entries })
    }

    fn get_mut(&mut self, path: &str) -> Result<&mut Entry> {
        let path = normal(path)?;
        self.entries.get_mut(&path).with_context(|| format!("/{path} is to be changed, and is not there"))
    }

    fn add(&mut self, path: &str, kind: Kind, mode: u32, stage: &str) -> Result<()> {
        let path = normal(path)?;
        ensure!(!path.is_empty(), "the root itself cannot be replaced (stage {stage})");
        self.add_parents(&path, stage)?;
        if let Some(there) = self.entries.get(&path)
            && (there.kind == Kind::Dir) != (kind == Kind::Dir)
        {
            let (old, new) = (there.kind.name(), kind.name());
            bail!("/{path} is a {old} of stage {}, and stage {stage} wants a {new} there", there.stage);
        }
        let mode = checked_mode(&path, mode)?;
        self.entries.insert(path, Entry { kind, mode, uid: 0, gid: 0, stage: stage.to_string() });
        Ok(())
    }

    fn add_parents(&mut self, path: &str, stage: &str) -> Result<()> {
        for (end, _) in path.match_indices('/') {
            let parent = &path[..end];
            match self.entries.get(parent) {
                None => {
                    let dir = Entry { kind: Kind::Dir, mode: 0o755, uid: 0, gid: 0, stage: stage.to_string() };
                    self.entries.insert(parent.to_string(), dir);
                }
                Some(there) if there.kind != Kind::Dir => bail!(
                    "/{parent} is a {} of stage {}, and stage {stage} wants to put /{path} below it",
                    there.kind.name(),
                    there.stage
                ),
                Some(_) => {}
            }
        }
        Ok(())
    }
}

fn checked_mode(path: &str, mode: u32) -> Result<u32> {
    ensure!(mode & !0o7777 == 0, "the mode {mode:o} of /{path} has more than permission bits");
    Ok(mode)
}

/// A path as the tree keeps it. Control characters are refused: they would break the manifest's lines and the
/// script that fills the file system, and no package needs them.
fn normal(path: &str) -> Result<String> {
    let path = path.trim_matches('/');
    ensure!(path.len() < PATH_MAX, "a path is longer than {PATH_MAX} bytes: {path}");
    ensure!(!path.contains(char::is_control), "a path has a control character: {path:?}");
    for name in path.split('/').filter(|_| !path.is_empty()) {
        ensure!(!matches!(name, "" | "." | ".."), "the path `{path}` has an empty part, `.` or `..`");
        ensure!(name.len() <= NAME_MAX, "a name is longer than {NAME_MAX} bytes: {name}");
    }
    Ok(path.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(tree: &Tree) -> Vec<&str> {
        tree.entries().map(|(path, _)| path).collect()
    }

    #[test]
    fn parents_are_made_and_come_first() {
        let mut tree = Tree::new();
        tree.bytes("/a/b/c", "text", 0o644, "one").unwrap();
        tree.bytes("a-b", "text", 0o644, "one").unwrap();
        assert_eq!(paths(&tree), ["a", "a-b", "a/b", "a/b/c"]);
        assert_eq!(tree.get("a/b").unwrap().kind, Kind::Dir);
    }

    #[test]
    fn a_later_entry_replaces_an_earlier_one() {
        let mut tree = Tree::new();
        tree.bytes("bin/sh", "old", 0o755, "one").unwrap();
        tree.link("bin/sh", "busybox", "two").unwrap();
        assert_eq!(tree.get("/bin/sh").unwrap().kind, Kind::Link("busybox".into()));
        assert_eq!(tree.get("/bin/sh").unwrap().stage, "two");
        tree.dir("bin", 0o700, "two").unwrap();
        assert_eq!(tree.get("bin").unwrap().mode, 0o700);
    }

    #[test]
    fn a_file_over_a_directory_is_refused_with_both_stages() {
        let mut tree = Tree::new();
        tree.bytes("lib/x", "", 0o644, "musl").unwrap();
        let over = tree.link("lib", "usr/lib", "skeleton").unwrap_err().to_string();
        assert!(over.contains("/lib is a dir of stage musl") && over.contains("skeleton"), "{over}");
        let below = tree.bytes("lib/x/y", "", 0o644, "other").unwrap_err().to_string();
        assert!(below.contains("/lib/x is a file of stage musl"), "{below}");
        assert!(tree.dir("lib/x", 0o755, "other").is_err());
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        let long = "x".repeat(256);
        for path in ["a/../b", "./a", "a//b", "", "/", "a\nb", "a\tb", long.as_str()] {
            assert!(Tree::new().bytes(path, "", 0o644, "one").is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_merge_keeps_links_and_the_execute_bit_and_no_owner() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        for (name, mode) in [("sub/tool", 0o700), ("sub/text", 0o600)] {
            fs::write(dir.path().join(name), name).unwrap();
            fs::set_permissions(dir.path().join(name), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        std::os::unix::fs::symlink("tool", dir.path().join("sub/link")).unwrap();
        let mut tree = Tree::new();
        tree.dir("usr/sub", 0o1777, "first").unwrap();
        tree.merge(dir.path(), "usr", "second").unwrap();
        assert_eq!(paths(&tree), ["usr", "usr/sub", "usr/sub/link", "usr/sub/text", "usr/sub/tool"]);
        let modes: Vec<u32> = tree.entries().map(|(_, entry)| entry.mode).collect();
        assert_eq!(modes, [0o755, 0o1777, 0o777, 0o644, 0o755]);
        assert_eq!(tree.get("usr/sub").unwrap().stage, "first");
        assert_eq!(tree.file_bytes().unwrap(), 16);
    }

    #[test]
    fn a_merge_goes_on_behind_links_to_directories() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["sbin/a", "usr/sbin/b", "lib/c/d", "var/run/e", "up/f", "usr/bin/sbin/g"] {
            build_support::tree::write_atomically(&dir.path().join(name), b"text").unwrap();
        }
        let mut tree = Tree::new();
        for path in ["usr/bin", "usr/lib", "run"] {
            tree.dir(path, 0o755, "skeleton").unwrap();
        }
        let links =
            [("sbin", "usr/sbin"), ("usr/sbin", "bin"), ("lib", "/usr/lib/"), ("var/run", "../run"), ("up", "/")];
        for (path, target) in links {
            tree.link(path, target, "skeleton").unwrap();
        }
        tree.merge(dir.path(), "", "package").unwrap();
        let files = tree.entries().filter(|(_, entry)| matches!(entry.kind, Kind::File(_))).map(|(path, _)| path);
        assert_eq!(
            files.collect::<Vec<_>>(),
            ["f", "run/e", "usr/bin/a", "usr/bin/b", "usr/bin/sbin/g", "usr/lib/c/d"]
        );
        assert_eq!(tree.get("sbin").unwrap().kind, Kind::Link("usr/sbin".into()));
    }

    #[test]
    fn a_link_that_leads_to_no_directory_is_refused_as_before() {
        let dir = tempfile::tempdir().unwrap();
        build_support::tree::write_atomically(&dir.path().join("lib/x"), b"text").unwrap();
        for target in ["nowhere", "lib", "/lib/lib", "file", "../file/.."] {
            let mut tree = Tree::new();
            tree.bytes("file", "", 0o644, "one").unwrap();
            tree.link("lib", target, "one").unwrap();
            let error = tree.merge(dir.path(), "", "two").unwrap_err().to_string();
            assert!(error.contains("/lib is a link of stage one"), "{target}: {error}");
        }
    }

    #[test]
    fn the_difference_of_two_trees_is_a_layer() {
        let mut base = Tree::new();
        base.bytes("usr/bin/cc", "compiler", 0o755, "llvm").unwrap();
        let mut whole = base.clone();
        whole.bytes("etc/passwd", "root", 0o644, "skeleton").unwrap();
        assert_eq!(paths(&whole.minus(&base).unwrap()), ["etc", "etc/passwd"]);
        let error = base.minus(&whole).unwrap_err().to_string();
        assert!(error.contains("/etc"), "{error}");
    }

    #[test]
    fn removing_takes_what_is_below() {
        let mut tree = Tree::new();
        tree.bytes("a/b/c", "", 0o644, "one").unwrap();
        tree.bytes("a/bc", "", 0o644, "one").unwrap();
        tree.remove("a/b").unwrap();
        assert_eq!(paths(&tree), ["a", "a/bc"]);
        assert!(tree.remove("a/b").is_err());
    }

    #[test]
    fn a_file_that_shrinks_while_it_is_read_is_an_error() {
        let mut reader = Exact { inner: Box::new(&b"123"[..]), left: 4 };
        assert!(reader.read_to_end(&mut Vec::new()).is_err());
        let mut reader = Exact { inner: Box::new(&b"12345"[..]), left: 4 };
        assert!(reader.read_to_end(&mut Vec::new()).is_err());
    }
}
