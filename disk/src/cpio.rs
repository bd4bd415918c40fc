//! Trees as cpio archives of the `newc` kind, the only one that the kernel unpacks as an initramfs
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context as _, Result};
use build_support::EPOCH;

use crate::compress::Compression;
use crate::losses::Output;
use crate::tree::{Entry, Kind, Tree};

mod read;

pub use read::{Member, list};

/// Bytes of an entry's header.
const HEADER: usize = 110;
/// The name of the entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// Writes a tree as a file.
///
/// # Errors
///
/// When the tree has extended attributes, which the format cannot hold ([`Tree::fit`]); when a file cannot be read or is
/// larger than 4 GiB; when the archive cannot be written or compressed.
pub fn write(tree: &Tree, out: &Path, compression: Compression) -> Result<()> {
    compression.write(out, |file| append(tree, file))
}

/// Writes a tree and the end of the archive.
///
/// # Errors
///
/// As [`write()`].
pub fn append(tree: &Tree, out: &mut impl Write) -> Result<()> {
    tree.require(Output::Cpio)?;
    let names = tree.names();
    let mut inodes = BTreeMap::new();
    for (path, entry) in tree.entries() {
        // Numbers of our own: those of the host's files would differ from build to build.
        let all = names.of(path, entry);
        let next = u32::try_from(inodes.len() + 1)?;
        let inode = *inodes.entry(all[0]).or_insert(next);
        // The content comes with the last name (usr/gen_init_cpio.c, and GNU cpio's own archives).
        let links = Links { count: u32::try_from(all.len())?, has_content: all.last() == Some(&path) };
        append_entry(out, inode, path, entry, &links).with_context(|| format!("cannot archive /{path}"))?;
    }
    header(out, &Fields { nlink: 1, ..Fields::default() }, TRAILER)
}

/// The names of an entry's file.
struct Links {
    count: u32,
    has_content: bool,
}

fn append_entry(out: &mut impl Write, inode: u32, path: &str, entry: &Entry, links: &Links) -> Result<()> {
    let mut fields = Fields {
        inode,
        mode: entry.kind.type_bits() | entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        nlink: if entry.kind == Kind::Dir { 2 } else { links.count },
        mtime: u32::try_from(EPOCH)?,
        ..Fields::default()
    };
    match &entry.kind {
        Kind::File(content) if links.has_content => {
            let (size, mut reader) = content.open()?;
            fields.size = u32::try_from(size).context("a file in a cpio archive cannot be larger than 4 GiB")?;
            header(out, &fields, path)?;
            io::copy(&mut reader, out)?;
            pad(out, size)?;
        }
        Kind::Link(target) => {
            fields.size = u32::try_from(target.len())?;
            header(out, &fields, path)?;
            out.write_all(target.as_bytes())?;
            pad(out, target.len() as u64)?;
        }
        Kind::Device { major, minor, .. } => {
            fields.device = (*major, *minor);
            header(out, &fields, path)?;
        }
        Kind::File(_) | Kind::Dir | Kind::Pipe | Kind::Socket => header(out, &fields, path)?,
    }
    Ok(())
}

#[derive(Default)]
struct Fields {
    inode: u32,
    mode: u32,
    uid: u32,
    gid: u32,
    nlink: u32,
    mtime: u32,
    size: u32,
    device: (u32, u32),
}

fn header(out: &mut impl Write, fields: &Fields, name: &str) -> Result<()> {
    let Fields { inode, mode, uid, gid, nlink, mtime, size, device: (major, minor) } = *fields;
    let name_size = u32::try_from(name.len() + 1)?; // With the zero byte that ends it.
    let text = [inode, mode, uid, gid, nlink, mtime, size, 0, 0, major, minor, name_size, 0]
        .map(|field| format!("{field:08x}"))
        .concat();
    write!(out, "070701{text}{name}\0")?;
    pad(out, HEADER as u64 + u64::from(name_size))
}

/// Names and contents end at a multiple of four bytes.
fn pad(out: &mut impl Write, length: u64) -> Result<()> {
    let padding = (length.next_multiple_of(4) - length) as usize;
    Ok(out.write_all(&[0; 3][..padding])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_small_archive() {
        let mut tree = Tree::new();
        tree.device("dev/console", 5, 1, 0o600, "one").unwrap();
        tree.bytes("init", "hello", 0o755, "one").unwrap();
        tree.link("sh", "init", "one").unwrap();
        let mut got = Vec::new();
        append(&tree, &mut got).unwrap();
        let entry = |inode: u32, mode: u32, nlink: u32, mtime: u32, size: u32, rdev: (u32, u32), name: &str| {
            format!(
                "070701{inode:08x}{mode:08x}0000000000000000{nlink:08x}{mtime:08x}{size:08x}0000000000000000{:08x}{:08x}{:08x}00000000{name}\0",
                rdev.0,
                rdev.1,
                name.len() + 1
            )
        };
        let time = 1_767_225_600;
        let want = [
            entry(1, 0o040755, 2, time, 0, (0, 0), "dev") + "\0\0",
            entry(2, 0o020600, 1, time, 0, (5, 1), "dev/console") + "\0\0",
            entry(3, 0o100755, 1, time, 5, (0, 0), "init") + "\0" + "hello\0\0\0",
            entry(4, 0o120777, 1, time, 4, (0, 0), "sh") + "\0\0\0" + "init",
            entry(0, 0, 1, 0, 0, (0, 0), TRAILER) + "\0\0\0",
        ]
        .concat();
        assert_eq!(String::from_utf8(got).unwrap(), want);
    }
}
