//! The description of a root file system: what lies where, with which mode and owner, and which stage it came from.
//!
//! `image/build.rs` and `sysroot/build.rs` fill it; the other modules write it. It leaves nothing on disk itself.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use build_support::digest;
use build_support::xattr::Attributes;
use fs_err as fs;
use sha2::{Digest as _, Sha256};

/// The longest name of one file in ext4 and in Linux itself (`NAME_MAX`, include/uapi/linux/limits.h).
const NAME_MAX: usize = 255;
/// One byte less than Linux takes for a path with its end (`PATH_MAX`, the same header).
const PATH_MAX: usize = 4095;

/// A root file system in memory, sorted by path.
///
/// Paths are relative to the root and have no leading slash (one that is given is dropped). A directory always
/// comes before what it holds, because its path is the beginning of theirs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree {
    pub(crate) entries: BTreeMap<String, Entry>,
}

/// One name of a file, directory, link, device, pipe or socket.
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
    /// Extended attributes by their full names, such as `user.origin`, as Linux hands them to programs.
    pub attributes: Attributes,
    /// The names of one file share this word (hard links). `None`: it has one name.
    pub same_file: Option<String>,
    /// The stage that it came from.
    pub stage: String,
}

impl Default for Entry {
    /// A directory of root's that everybody may read.
    fn default() -> Entry {
        Entry {
            kind: Kind::Dir,
            mode: 0o755,
            uid: 0,
            gid: 0,
            attributes: Attributes::new(),
            same_file: None,
            stage: String::new(),
        }
    }
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
    /// A device node (Documentation/admin-guide/devices.txt in the kernel has the numbers).
    Device {
        /// Of which kind.
        class: Class,
        /// The driver's number.
        major: u32,
        /// The device's number.
        minor: u32,
    },
    /// A named pipe.
    Pipe,
    /// A socket.
    Socket,
}

/// The kinds of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Character devices.
    Char,
    /// Block devices.
    Block,
}

impl Kind {
    /// The word for it in manifests and messages.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Dir => "dir",
            Kind::File(_) => "file",
            Kind::Link(_) => "link",
            Kind::Device { class: Class::Char, .. } => "char",
            Kind::Device { class: Class::Block, .. } => "block",
            Kind::Pipe => "pipe",
            Kind::Socket => "socket",
        }
    }

    /// The type bits of `st_mode` (inode(7)), as cpio and ext4 store them.
    pub(crate) fn type_bits(&self) -> u32 {
        match self {
            Kind::Dir => 0o040000,
            Kind::File(_) => 0o100000,
            Kind::Link(_) => 0o120000,
            Kind::Device { class: Class::Char, .. } => 0o020000,
            Kind::Device { class: Class::Block, .. } => 0o060000,
            Kind::Pipe => 0o010000,
            Kind::Socket => 0o140000,
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
    ///
    /// # Errors
    ///
    /// When the file cannot be asked.
    pub fn size(&self) -> Result<u64> {
        match self {
            Content::Host(path) => Ok(fs::metadata(path)?.len()),
            Content::Bytes(bytes) => Ok(bytes.len() as u64),
        }
    }

    /// The bytes as text.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or is no UTF-8.
    pub fn text(&self) -> Result<String> {
        match self {
            Content::Host(path) => Ok(fs::read_to_string(path)?),
            Content::Bytes(bytes) => Ok(String::from_utf8(bytes.clone())?),
        }
    }

    /// SHA-256 as lower-case hex.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
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
    ///
    /// # Errors
    ///
    /// Here and in the functions below: when the path has empty parts, `.`, `..`, a control character or too long a name,
    /// when it leads through something that is no directory, when it would replace a directory by something else or the
    /// other way round, or when the mode has more than permission bits.
    pub fn dir(&mut self, path: &str, mode: u32, stage: &str) -> Result<()> {
        self.add(path, Kind::Dir, mode, stage)
    }

    /// Adds a file whose bytes are those of a file on this machine.
    ///
    /// # Errors
    ///
    /// As [`Tree::dir`], and when the file is not there or is no regular file.
    pub fn file(&mut self, path: &str, host: &Path, mode: u32, stage: &str) -> Result<()> {
        let path = &normal(path)?;
        let meta =
            fs::metadata(host).with_context(|| format!("cannot take /{path} of stage {stage} from this machine"))?;
        ensure!(meta.is_file(), "{} is to become /{path}, and is no regular file", host.display());
        self.add(path, Kind::File(Content::Host(host.to_path_buf())), mode, stage)
    }

    /// Adds a file from bytes.
    ///
    /// # Errors
    ///
    /// As [`Tree::dir`].
    pub fn bytes(&mut self, path: &str, bytes: impl Into<Vec<u8>>, mode: u32, stage: &str) -> Result<()> {
        self.add(path, Kind::File(Content::Bytes(bytes.into())), mode, stage)
    }

    /// Adds another name of a regular file that is in the tree.
    ///
    /// # Errors
    ///
    /// As [`Tree::dir`], and when `file` is no regular file of the tree.
    pub fn hard_link(&mut self, path: &str, file: &str, stage: &str) -> Result<()> {
        let file = &normal(file)?;
        let entry = self.entries.get(file).filter(|entry| matches!(entry.kind, Kind::File(_)));
        let mut entry =
            entry.with_context(|| format!("/{path} is to be another name of /{file}, which is no file"))?.clone();
        let word = entry.same_file.take().unwrap_or_else(|| self.free_word(file));
        entry.same_file = Some(word.clone());
        self.get_mut(file)?.same_file = Some(word);
        self.add(path, entry.kind.clone(), entry.mode, stage)?;
        let there = self.get_mut(path)?;
        let mode = there.mode;
        *there = Entry { stage: stage.into(), ..entry };
        self.chmod(path, mode)
    }

    /// A word for [`Entry::same_file`] that no entry has.
    fn free_word(&self, path: &str) -> String {
        let used = |word: &String| self.entries.values().any(|entry| entry.same_file.as_ref() == Some(word));
        let mut word = format!("/{path}");
        while used(&word) {
            word.push('+');
        }
        word
    }

    /// Adds a symbolic link. Links have no permissions of their own; Linux shows them as 0777.
    ///
    /// # Errors
    ///
    /// As [`Tree::dir`], and when the target is empty, too long or has a control character.
    pub fn link(&mut self, path: &str, target: &str, stage: &str) -> Result<()> {
        let path = &normal(path)?;
        ensure!(!target.is_empty() && target.len() <= PATH_MAX, "the target of the link /{path} is empty or too long");
        ensure!(
            !target.contains(char::is_control),
            "the target of the link /{path} has a control character: {target:?}"
        );
        self.add(path, Kind::Link(target.to_string()), 0o777, stage)
    }

    /// Adds a character device.
    ///
    /// # Errors
    ///
    /// As [`Tree::dir`].
    pub fn device(&mut self, path: &str, major: u32, minor: u32, mode: u32, stage: &str) -> Result<()> {
        self.add(path, Kind::Device { class: Class::Char, major, minor }, mode, stage)
    }

    /// Adds a block device.
    ///
    /// # Errors
    ///
    /// As [`Tree::dir`].
    pub fn block_device(&mut self, path: &str, major: u32, minor: u32, mode: u32, stage: &str) -> Result<()> {
        self.add(path, Kind::Device { class: Class::Block, major, minor }, mode, stage)
    }

    /// Adds a named pipe.
    ///
    /// # Errors
    ///
    /// As [`Tree::dir`].
    pub fn pipe(&mut self, path: &str, mode: u32, stage: &str) -> Result<()> {
        self.add(path, Kind::Pipe, mode, stage)
    }

    /// Adds a socket.
    ///
    /// # Errors
    ///
    /// As [`Tree::dir`].
    pub fn socket(&mut self, path: &str, mode: u32, stage: &str) -> Result<()> {
        self.add(path, Kind::Socket, mode, stage)
    }

    /// Sets the mode of an entry, and of every other name of the same file.
    ///
    /// # Errors
    ///
    /// When the path is not in the tree, or the mode has more than permission bits.
    pub fn chmod(&mut self, path: &str, mode: u32) -> Result<()> {
        let mode = checked_mode(path, mode)?;
        self.change(path, |entry| entry.mode = mode)
    }

    /// Sets the owner and the group of an entry, and of every other name of the same file.
    ///
    /// # Errors
    ///
    /// When the path is not in the tree.
    pub fn chown(&mut self, path: &str, uid: u32, gid: u32) -> Result<()> {
        self.change(path, |entry| (entry.uid, entry.gid) = (uid, gid))
    }

    /// Sets an extended attribute of an entry, and of every other name of the same file.
    ///
    /// # Errors
    ///
    /// When the path is not in the tree.
    pub fn set_attribute(&mut self, path: &str, name: &str, value: &[u8]) -> Result<()> {
        self.change(path, |entry| {
            entry.attributes.insert(name.into(), value.into());
        })
    }

    /// Removes an entry and all below it. Other names of a file stay.
    ///
    /// # Errors
    ///
    /// When the path is not in the tree.
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

    /// What must be laid over `base` to get this tree: the entries that `base` does not have in the same form.
    /// A layer can only add and replace, so everything in `base` must be in this tree too.
    ///
    /// # Errors
    ///
    /// When something of `base` is not in this tree.
    pub fn minus(&self, base: &Tree) -> Result<Tree> {
        if let Some(path) = base.entries.keys().find(|path| !self.entries.contains_key(*path)) {
            bail!("/{path} is in the lower layer and not in the whole tree, and a layer cannot remove it");
        }
        let differs = |(path, entry): &(&String, &Entry)| base.entries.get(*path) != Some(*entry);
        let entries = self.entries.iter().filter(differs).map(|(path, entry)| (path.clone(), entry.clone())).collect();
        Ok(Tree { entries })
    }

    /// The files that have several names in this tree.
    pub(crate) fn names(&self) -> Names<'_> {
        let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (path, entry) in self.entries() {
            if let Some(word) = &entry.same_file {
                names.entry(word).or_default().push(path);
            }
        }
        Names(names)
    }

    pub(crate) fn get_mut(&mut self, path: &str) -> Result<&mut Entry> {
        let path = normal(path)?;
        self.entries.get_mut(&path).with_context(|| format!("/{path} is to be changed, and is not there"))
    }

    /// Changes an entry and all other names of the same file, which have permissions, owner and attributes together.
    fn change(&mut self, path: &str, change: impl Fn(&mut Entry)) -> Result<()> {
        let entry = self.get_mut(path)?;
        match entry.same_file.clone() {
            None => change(entry),
            word => self.entries.values_mut().filter(|entry| entry.same_file == word).for_each(change),
        }
        Ok(())
    }

    pub(crate) fn add(&mut self, path: &str, kind: Kind, mode: u32, stage: &str) -> Result<()> {
        let path = normal(path)?;
        ensure!(!path.is_empty(), "the root itself cannot be replaced (stage {stage})");
        self.add_parents(&path, stage)?;
        if let Some(there) = self.entries.get(&path)
            && (there.kind == Kind::Dir) != (kind == Kind::Dir)
        {
            let (old, new) = (there.kind.name(), kind.name());
            bail!("/{path} is a {old} of stage {}, and stage {stage} wants a {new} there", there.stage);
        }
        let mut entry = Entry { kind, mode: checked_mode(&path, mode)?, stage: stage.to_string(), ..Entry::default() };
        match self.entries.remove(&path) {
            Some(old) if old.kind == Kind::Dir => {
                (entry.uid, entry.gid, entry.attributes) = (old.uid, old.gid, old.attributes);
            }
            Some(Entry { kind: Kind::File(_), mode, stage: other, .. })
                if other != stage && matches!(entry.kind, Kind::File(_)) =>
            {
                entry.mode = stricter(mode, entry.mode);
            }
            _ => {}
        }
        self.entries.insert(path, entry);
        Ok(())
    }

    fn add_parents(&mut self, path: &str, stage: &str) -> Result<()> {
        for (end, _) in path.match_indices('/') {
            let parent = &path[..end];
            match self.entries.get(parent) {
                None => {
                    self.entries.insert(parent.to_string(), Entry { stage: stage.to_string(), ..Entry::default() });
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

/// The names of each file that can have several, in the order of the tree.
pub(crate) struct Names<'a>(BTreeMap<&'a str, Vec<&'a str>>);

impl<'a> Names<'a> {
    /// The names of an entry's file: one at least.
    pub fn of(&self, path: &'a str, entry: &Entry) -> Vec<&'a str> {
        let names = entry.same_file.as_ref().and_then(|word| self.0.get(word.as_str()));
        names.cloned().unwrap_or_else(|| vec![path])
    }

    /// The name under which the file was written before, when this is another one.
    pub fn earlier(&self, path: &'a str, entry: &Entry) -> Option<&'a str> {
        self.of(path, entry).first().copied().filter(|first| *first != path)
    }

    /// How many names follow the first ones of their files.
    pub fn repeated(&self) -> usize {
        self.0.values().map(|names| names.len() - 1).sum()
    }
}

/// The permissions of a file that takes the place of another one. Group and others get no right to read or write that
/// they did not have: a file that was private stays so. The owner's rights, set-id bits and the right to execute are the
/// new file's, except that a program which some could not run stays closed to them.
fn stricter(old: u32, new: u32) -> u32 {
    let was_program = old & 0o111 != 0;
    let had = |shift: u32| {
        let rights = old >> shift & 0o7;
        // A text that becomes a program can be run by those who could read it.
        if rights & 0o4 != 0 && !was_program { rights | 0o1 } else { rights }
    };
    new & (0o7700 | had(3) << 3 | had(0))
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
    fn a_private_file_stays_private_when_another_origin_replaces_it() {
        // Old, new, result.
        for (old, new, result) in [
            (0o600, 0o644, 0o600),
            (0o644, 0o600, 0o600),
            (0o640, 0o644, 0o640),
            (0o644, 0o755, 0o755),
            (0o755, 0o644, 0o644),
            (0o600, 0o755, 0o700),
            (0o750, 0o755, 0o750),
            (0o755, 0o4755, 0o4755),
            (0o400, 0o644, 0o600),
        ] {
            let mut tree = Tree::new();
            tree.bytes("etc/x", "old", old, "skeleton").unwrap();
            tree.bytes("etc/x", "new", new, "profile").unwrap();
            assert_eq!(tree.get("etc/x").unwrap().mode, result, "{new:o} over {old:o}");
            tree.chmod("etc/x", new).unwrap();
            assert_eq!(tree.get("etc/x").unwrap().mode, new);
            tree.bytes("etc/x", "again", 0o666, "profile").unwrap();
            assert_eq!(tree.get("etc/x").unwrap().mode, 0o666, "an origin may replace its own file");
        }
    }

    #[test]
    fn names_of_one_file_change_together() {
        let mut tree = Tree::new();
        tree.bytes("a", "text", 0o644, "one").unwrap();
        tree.hard_link("c", "a", "two").unwrap();
        tree.hard_link("b", "c", "two").unwrap();
        tree.chmod("b", 0o4711).unwrap();
        tree.chown("c", 5, 6).unwrap();
        tree.set_attribute("a", "user.x", b"1").unwrap();
        for name in ["a", "b", "c"] {
            let entry = tree.get(name).unwrap();
            assert_eq!((entry.mode, entry.uid, entry.gid, entry.attributes.len()), (0o4711, 5, 6, 1), "{name}");
            assert_eq!(tree.names().of(name, entry), ["a", "b", "c"]);
        }
        tree.remove("a").unwrap();
        tree.bytes("c", "other", 0o644, "three").unwrap();
        assert_eq!(tree.names().of("b", tree.get("b").unwrap()), ["b"]);
        assert!(tree.hard_link("d", "nowhere", "one").is_err());
        tree.dir("dir", 0o755, "one").unwrap();
        assert!(tree.hard_link("d", "dir", "one").is_err());
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
