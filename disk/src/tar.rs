//! Trees as tar archives: GNU format, root:root, fixed times, in the tree's order.
//!
//! `image/build.rs` writes `rootfs.tar.zst` from layers. Each layer is a zstd frame of its own, and only the last one
//! has the end of the archive, so the files of the layers one behind the other are one valid archive (RFC 8878,
//! section 3: frames may follow one another). The compiler's layer is compressed once and kept in the store.

use std::io::{self, Write};
use std::path::Path;

use ::tar::{Builder, EntryType, Header};
use anyhow::{Context as _, Result};
use build_support::{EPOCH, whole};
use fs_err as fs;

use crate::compress::Compression;
use crate::tools::{self, Tool};
use crate::tree::{Entry, Kind, Tree};

/// The programs whose versions change the bytes of a `.tar.zst`.
pub const TOOLS: &[Tool] = &[tools::ZSTD];

/// Writes a tree as one layer of a `.tar.zst`. Only the `last` layer ends the archive. Levels go from 1 to 19.
///
/// # Errors
///
/// When a file of the tree cannot be read, zstd fails, or the layer cannot be written.
pub fn layer_zst(tree: &Tree, out: &Path, level: u32, last: bool) -> Result<()> {
    Compression::Zstd { level }.write(out, |file| append(tree, file, last))
}

/// Joins layers to one archive, the lowest first.
pub fn concat(layers: &[&Path], out: &Path) -> Result<()> {
    whole::file(out, |path| {
        let mut file = fs::File::create(path)?;
        for layer in layers {
            io::copy(&mut fs::File::open(layer)?, &mut file)?;
        }
        Ok(())
    })
}

/// Writes a tree as tar entries, and the end of the archive if this is the `last` layer.
pub fn append(tree: &Tree, out: &mut impl Write, last: bool) -> Result<()> {
    let mut builder = Builder::new(out);
    for (path, entry) in tree.entries() {
        append_entry(&mut builder, path, entry).with_context(|| format!("cannot archive /{path}"))?;
    }
    if last {
        builder.finish()?;
    } else {
        // Its drop would write the end of the archive. It owns nothing but the borrowed writer.
        std::mem::forget(builder);
    }
    Ok(())
}

fn append_entry(builder: &mut Builder<impl Write>, path: &str, entry: &Entry) -> Result<()> {
    let mut header = header(entry)?;
    match &entry.kind {
        Kind::Dir => builder.append_data(&mut header, format!("{path}/"), io::empty())?,
        Kind::Link(target) => builder.append_link(&mut header, path, target)?,
        Kind::File(content) => {
            let (size, reader) = content.open()?;
            header.set_size(size);
            builder.append_data(&mut header, path, reader)?;
        }
        Kind::Device { major, minor } => {
            header.set_device_major(*major)?;
            header.set_device_minor(*minor)?;
            builder.append_data(&mut header, path, io::empty())?;
        }
    }
    Ok(())
}

fn header(entry: &Entry) -> Result<Header> {
    let mut header = Header::new_gnu();
    header.set_entry_type(match entry.kind {
        Kind::Dir => EntryType::Directory,
        Kind::File(_) => EntryType::Regular,
        Kind::Link(_) => EntryType::Symlink,
        Kind::Device { .. } => EntryType::Char,
    });
    header.set_mode(entry.mode);
    header.set_mtime(EPOCH);
    header.set_size(0);
    header.set_uid(entry.uid.into());
    header.set_gid(entry.gid.into());
    // Other owners have no name here: their names stand in the tree's own /etc/passwd, and the numbers are right.
    if entry.uid == 0 {
        header.set_username("root")?;
    }
    if entry.gid == 0 {
        header.set_groupname("root")?;
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_threads_does_not_change_the_bytes() {
        let mut tree = Tree::new();
        // Several of zstd's jobs at this level, with content that compresses and does not repeat.
        let text: String = (0..1_500_000u32).map(|i| format!("{} ", i.wrapping_mul(2_654_435_761))).collect();
        tree.bytes("big", text, 0o644, "one").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let bytes = |jobs| {
            let out = dir.path().join("layer");
            Compression::Zstd { level: 1 }.write_with_jobs(&out, jobs, |file| append(&tree, file, true)).unwrap();
            fs::read(out).unwrap()
        };
        assert!(bytes(1) == bytes(3), "one thread and three threads differ");
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let mut tree = Tree::new();
        tree.bytes("file", "text", 0o644, "one").unwrap();
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let error = format!("{:#}", append(&tree, &mut &full, true).unwrap_err());
        assert!(error.contains("No space left") && error.contains("/dev/full"), "{error}");
    }
}
