//! The root file system: `mke2fs` makes an empty one, and one script for `debugfs` fills it in the tree's order.
//!
//! `mke2fs -d` would be one step, and takes owners, times and the order of directories from the host (e2fsprogs 1.47.0,
//! misc/create_inode.c). `debugfs` takes bytes only: new inodes belong to root and bear the time that
//! `E2FSPROGS_FAKE_TIME` gives. 2,244 files with 142 MiB take 0.8 s.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use build_support::{Cmd, EPOCH, sparse, whole};
use fs_err as fs;
use uuid::Uuid;

use crate::MIB;
use crate::losses::Output;
use crate::tools::{self, Tool};
use crate::tree::{Class, Content, Entry, Kind, Names, Tree};

const BLOCK: u64 = 4096;
/// Bytes of disk for each inode, mke2fs's own default for disks of this size.
const BYTES_PER_INODE: u64 = 16384;
/// The longest line that debugfs reads from a script: its buffer has glibc's BUFSIZ (8,192) bytes, with the end.
const LINE_MAX: usize = 8190;
/// A link whose target is shorter needs no block (Documentation/filesystems/ext4/dynamic.rst, "Symbolic links").
const FAST_LINK: usize = 60;

/// What the file system can do. Given in full, because mke2fs's defaults come from the host's /etc/mke2fs.conf, and
/// change from release to release. Kernel and e2fsprogs know all of it since 2014.
const FEATURES: &str = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,\
    huge_file,dir_nlink,extra_isize,metadata_csum";

/// The programs whose versions change the bytes of a file system.
pub const TOOLS: &[Tool] = &[tools::MKE2FS, tools::DEBUGFS];

/// An ext4 file system to write.
pub struct Ext4<'a> {
    /// Its identifier, also the seed of its directory hashes.
    pub uuid: Uuid,
    /// Its label, at most 16 bytes.
    pub label: &'a str,
    /// Its size in bytes, a multiple of 4,096.
    pub size: u64,
}

/// The tree does not fit.
#[derive(Debug)]
pub struct TooSmall {
    /// Bytes that would do.
    pub needs: u64,
    /// Bytes that were given.
    pub has: u64,
}

impl std::fmt::Display for TooSmall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the root file system needs {} MiB, and has {} MiB", self.needs.div_ceil(MIB), self.has / MIB)
    }
}

impl std::error::Error for TooSmall {}

impl Ext4<'_> {
    /// Writes the file system as a sparse file. `work` is a directory for files on the way.
    ///
    /// # Errors
    ///
    /// [`TooSmall`] when the tree does not fit; when the tree has a socket, which debugfs cannot make ([`Tree::fit`]); when
    /// size, label or identifier are not possible; when a file of the tree cannot be read; when a tool of e2fsprogs is
    /// missing or fails.
    pub fn write(&self, tree: &Tree, out: &Path, work: &Path) -> Result<()> {
        ensure!(self.size.is_multiple_of(BLOCK), "the root file system's size {} is no multiple of {BLOCK}", self.size);
        ensure!(
            !self.uuid.is_nil(),
            "the root file system's UUID is all zeros, in place of which mke2fs takes a random one"
        );
        ensure!(self.label.len() <= 16, "the label `{}` is longer than 16 bytes", self.label);
        tree.require(Output::Ext4)?;
        fs::create_dir_all(work)?;
        whole::file(out, |image| {
            self.make_empty(image)?;
            let free = Free::of(image)?;
            self.check_room(tree, &free)?;
            Script::new(tree, work)?.run(image)?;
            check(tree, &free, image)
        })
    }

    fn make_empty(&self, image: &Path) -> Result<()> {
        ensure!(self.size >= 8 * MIB, TooSmall { needs: 8 * MIB, has: self.size });
        fs::File::create(image)?.set_len(self.size)?;
        tool("mke2fs")
            // The host's configuration must not count. Without one there are no types to name by `-t`: features make it ext4.
            .env("MKE2FS_CONFIG", "/dev/null")
            .arg("-q")
            .args(["-b", &BLOCK.to_string()]) // Small disks would get blocks of 1 KiB, which are slower.
            .args(["-I", "256"]) // Room for nanoseconds and times after 2038.
            .args(["-i", &BYTES_PER_INODE.to_string()])
            .args(["-m", "1"]) // 5 % for root alone is much on a disk where root is the main user.
            .args(["-O", FEATURES])
            .args(["-U", &self.uuid.to_string()])
            .args(["-L", self.label])
            // The file reads as zeros: the kernel need not clear inode tables behind the first boot, nor mke2fs the journal.
            .args(["-E", &format!("hash_seed={},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=1", self.uuid)])
            .arg(image)
            .arg((self.size / BLOCK).to_string())
            .run("make the root file system")
    }

    /// Compares before anything is written: debugfs would stop in the middle, and not say how much is missing.
    fn check_room(&self, tree: &Tree, free: &Free) -> Result<()> {
        let (blocks, inodes) = needs(tree)?;
        let more_blocks = blocks.saturating_sub(free.blocks) * BLOCK;
        let more_inodes = inodes.saturating_sub(free.inodes) * BYTES_PER_INODE;
        if more_blocks + more_inodes > 0 {
            // More room means more tables, below a fiftieth of it.
            let more = more_blocks.max(more_inodes);
            bail!(TooSmall { needs: (self.size + more + more / 50 + MIB).next_multiple_of(MIB), has: self.size });
        }
        Ok(())
    }
}

/// A tool of e2fsprogs, at the build's fixed time.
fn tool(name: &str) -> Cmd {
    Cmd::new(name).env("E2FSPROGS_FAKE_TIME", EPOCH.to_string())
}

/// What is left in a file system.
struct Free {
    blocks: u64,
    inodes: u64,
}

impl Free {
    fn of(image: &Path) -> Result<Free> {
        let text =
            tool("debugfs").args(["-R", "show_super_stats -h"]).arg(image).read("read the root file system's size")?;
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
            value.with_context(|| format!("debugfs does not say `{name}`:\n{text}"))
        };
        Ok(Free { blocks: field("Free blocks:")?, inodes: field("Free inodes:")? })
    }
}

/// Blocks and inodes that a tree takes at most.
fn needs(tree: &Tree) -> Result<(u64, u64)> {
    let (mut blocks, names) = (0, tree.names());
    // A directory entry has 8 bytes and the name, padded to 4 (Documentation/filesystems/ext4/directory.rst).
    let mut dirs = BTreeMap::from([("", 0)]);
    for (path, entry) in tree.entries() {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        *dirs.entry(dir).or_default() += 8 + (name.len() as u64).next_multiple_of(4);
        if names.earlier(path, entry).is_some() {
            continue;
        }
        blocks += attribute_blocks(entry);
        blocks += match &entry.kind {
            Kind::File(Content::Host(host)) => file_blocks(sparse::stored(host)?),
            Kind::File(Content::Bytes(bytes)) => file_blocks(bytes.len() as u64),
            Kind::Link(target) => u64::from(target.len() >= FAST_LINK),
            Kind::Dir => {
                dirs.entry(path).or_default();
                0
            }
            Kind::Device { .. } | Kind::Pipe | Kind::Socket => 0,
        };
    }
    // A name that does not fit ends its block early, so a block may hold a name's length less; `.`, `..` and the
    // checksum take 36 bytes.
    let dir_blocks: u64 = dirs.values().map(|bytes| 1 + (bytes + 36) / (BLOCK - 264)).sum();
    let more_blocks: u64 = expansions(tree, &names).into_values().sum();
    Ok((blocks + dir_blocks + more_blocks, inodes(tree)))
}

/// The inodes of a tree: the names of one file share theirs.
fn inodes(tree: &Tree) -> u64 {
    (tree.len() - tree.names().repeated()) as u64
}

/// A block, where the attributes do not fit into the inode: it has 92 bytes for them behind its own fields, and a name and a
/// value take 16 bytes more, each padded to 4 (Documentation/filesystems/ext4/attributes.rst).
fn attribute_blocks(entry: &Entry) -> u64 {
    let sizes = entry
        .attributes
        .iter()
        .map(|(name, value)| 16 + name.len().next_multiple_of(4) + value.len().next_multiple_of(4));
    u64::from(sizes.sum::<usize>() > 92)
}

/// How many blocks each directory gets for hard links before the first of them: `ln` of debugfs does not make a full
/// directory larger (e2fsprogs 1.47.0, debugfs/debugfs.c, `make_link`), all other commands do.
fn expansions<'a>(tree: &'a Tree, names: &Names<'a>) -> BTreeMap<&'a str, u64> {
    let mut bytes: BTreeMap<&str, u64> = BTreeMap::new();
    for (path, _) in tree.entries().filter(|(path, entry)| names.earlier(path, entry).is_some()) {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        *bytes.entry(dir).or_default() += 8 + (name.len() as u64).next_multiple_of(4);
    }
    bytes.into_iter().map(|(dir, bytes)| (dir, 1 + bytes / (BLOCK - 264))).collect()
}

/// The blocks of a file, with one block of extents for each 256: a file of many pieces has up to one for each 340.
fn file_blocks(size: u64) -> u64 {
    let blocks = size.div_ceil(BLOCK);
    if blocks > 4 { blocks + 1 + blocks / 256 } else { blocks }
}

/// What debugfs shall do.
struct Script {
    path: PathBuf,
    lines: Vec<String>,
    work: PathBuf,
}

impl Script {
    /// Writes the script, and the files that are only in memory, because debugfs reads files.
    fn new(tree: &Tree, work: &Path) -> Result<Script> {
        let mut script = Script { path: work.join("debugfs.script"), lines: Vec::new(), work: work.to_path_buf() };
        // mke2fs notes here whether the host's `char` is signed, which differs between x86_64 and arm64 (ext2_fs.h,
        // EXT2_FLAGS_SIGNED_HASH).
        script.line("set_super_value flags 1".into())?;
        let names = tree.names();
        let mut expansions = expansions(tree, &names);
        let mut dir = "";
        for (number, (path, entry)) in tree.entries().enumerate() {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            if parent != dir {
                // `write` takes a name, not a path.
                script.line(format!("cd {}", quoted(&format!("/{parent}"))))?;
                dir = parent;
            }
            let put = match names.earlier(path, entry) {
                Some(first) => script.hard_link(first, name, expansions.remove(parent).unwrap_or_default()),
                None => script.entry(number, name, entry, names.of(path, entry).len()),
            };
            put.with_context(|| format!("cannot put /{path} into the root file system"))?;
        }
        fs::write(&script.path, script.lines.join("\n") + "\n")?;
        Ok(script)
    }

    fn entry(&mut self, number: usize, name: &str, entry: &Entry, links: usize) -> Result<()> {
        match &entry.kind {
            Kind::Dir => self.line(format!("mkdir {}", quoted(name)))?,
            Kind::Link(target) => self.line(format!("symlink {} {}", quoted(name), quoted(target)))?,
            Kind::Device { class, major, minor } => {
                let class = if *class == Class::Char { 'c' } else { 'b' };
                self.line(format!("mknod {} {class} {major} {minor}", quoted(name)))?;
            }
            Kind::Pipe => self.line(format!("mknod {} p", quoted(name)))?,
            Kind::Socket => bail!("debugfs makes no sockets"),
            Kind::File(content) => {
                let host = match content {
                    Content::Host(path) => path.clone(),
                    Content::Bytes(bytes) => self.work_file(&format!("bytes-{number}"), bytes)?,
                };
                self.line(format!("write {} {}", quoted(&usable(&host)?), quoted(name)))?;
            }
        }
        self.owner_and_mode(name, entry)?;
        if links > 1 {
            // `ln` does not count.
            self.line(format!("set_inode_field {} links_count {links}", quoted(&format!("./{name}"))))?;
        }
        for (i, (attribute, value)) in entry.attributes.iter().enumerate() {
            let value = self.work_file(&format!("attribute-{number}-{i}"), value)?;
            let (value, file) = (quoted(&usable(&value)?), quoted(&format!("./{name}")));
            self.line(format!("ea_set -f {value} {file} {}", quoted(attribute)))?;
        }
        Ok(())
    }

    /// Adds another name of a file. The directory gets some blocks before.
    fn hard_link(&mut self, first: &str, name: &str, blocks: u64) -> Result<()> {
        for _ in 0..blocks {
            self.line("expand_dir .".into())?;
        }
        self.line(format!("ln {} {}", quoted(&format!("/{first}")), quoted(name)))
    }

    /// A file for debugfs, which reads files alone.
    fn work_file(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.work.join(name);
        fs::write(&path, bytes)?;
        Ok(path)
    }

    fn owner_and_mode(&mut self, name: &str, entry: &Entry) -> Result<()> {
        // `./` keeps a name such as `<5>` from being taken for the number of an inode.
        let name = quoted(&format!("./{name}"));
        // debugfs gives directories 0755, links 0777, and files the mode of the host's file.
        let given = match entry.kind {
            Kind::Dir => Some(0o755),
            Kind::Link(_) => Some(0o777),
            Kind::File(_) | Kind::Device { .. } | Kind::Pipe | Kind::Socket => None,
        };
        if given != Some(entry.mode) {
            self.line(format!("set_inode_field {name} mode 0{:o}", entry.kind.type_bits() | entry.mode))?;
        }
        for (field, id) in [("uid", entry.uid), ("gid", entry.gid)] {
            if id != 0 {
                self.line(format!("set_inode_field {name} {field} {id}"))?;
            }
        }
        Ok(())
    }

    fn line(&mut self, line: String) -> Result<()> {
        ensure!(line.len() <= LINE_MAX, "debugfs takes lines of {LINE_MAX} bytes, and this is longer: {line}");
        self.lines.push(line);
        Ok(())
    }

    fn run(&self, image: &Path) -> Result<()> {
        let output =
            tool("debugfs").arg("-w").arg("-f").arg(&self.path).arg(image).read("fill the root file system")?;
        let troubles = self.troubles(&output);
        if !troubles.is_empty() {
            let full = troubles.contains("No space left on device");
            let hint = if full { "\nhint: the disk is full: free some space and build again" } else { "" };
            bail!("debugfs did not fill {}:\n{troubles}{hint}", image.display());
        }
        for file in fs::read_dir(&self.work)? {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            if name.starts_with("bytes-") || name.starts_with("attribute-") {
                fs::remove_file(file.path())?;
            }
        }
        Ok(fs::remove_file(&self.path)?)
    }

    /// What debugfs said beyond what it says when all is well. It ends with success whatever happens to its commands,
    /// so its output is the only way to know.
    fn troubles(&self, output: &str) -> String {
        let mut said = output.lines().filter(|line| !line.starts_with("debugfs 1.")).peekable();
        let mut troubles = String::new();
        for line in &self.lines {
            let echoed = said.next_if(|said| said.strip_prefix("debugfs: ") == Some(line)).is_some();
            if !echoed {
                let _ = writeln!(troubles, "  it did not get to: {line}");
                break;
            }
            let mut allocated = false;
            while said.next_if(|said| said.starts_with("Allocated inode: ")).is_some() {
                allocated = true;
            }
            if line.starts_with("write ") && !allocated {
                let _ = writeln!(troubles, "  failed: {line}");
                break;
            }
        }
        // Errors come by another channel, and may stand anywhere between.
        let errors =
            said.filter(|line| !line.starts_with("debugfs: ") && !line.starts_with("Allocated inode: ")).take(20);
        errors.for_each(|line| {
            let _ = writeln!(troubles, "  {line}");
        });
        troubles
    }
}

/// Every entry must have got its inode, and e2fsck must find nothing to mend.
fn check(tree: &Tree, before: &Free, image: &Path) -> Result<()> {
    let made = before.inodes - Free::of(image)?.inodes;
    let wanted = inodes(tree);
    ensure!(made == wanted, "debugfs made {made} of {wanted} files and directories in {}", image.display());
    tool("e2fsck").arg("-fn").arg(image).run("check the root file system")
}

/// A path as a script of debugfs can have it.
fn usable(path: &Path) -> Result<String> {
    let path = std::path::absolute(path).with_context(|| format!("{} is no usable path", path.display()))?;
    let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    ensure!(
        !text.contains(char::is_control),
        "the path {text:?} has a control character\nhint: move the project to another directory"
    );
    Ok(text.to_string())
}

/// A word as debugfs's parser takes it: a quote inside quotes is written twice (e2fsprogs, lib/ss/parse.c).
fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('"', "\"\""))
}
