//! Trees as tar archives: GNU format, root:root, fixed times, in the tree's order.
//!
//! `image/build.rs` writes `rootfs.tar.zst` from layers. Each layer is a zstd frame of its own, and only the last one
//! has the end of the archive, so the files of the layers one behind the other are one valid archive (RFC 8878,
//! section 3: frames may follow one another). The compiler's layer is compressed once and kept in the store.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use ::tar::{Builder, EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};
use anyhow::{Context as _, Result, bail};
use build_support::{EPOCH, sparse, whole};
use fs_err as fs;

use crate::compress::Compression;
use crate::losses::Output;
use crate::tools::{self, Tool};
use crate::tree::{Class, Content, Entry, Kind, Tree};

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
///
/// # Errors
///
/// When a layer cannot be read or the archive cannot be written.
pub fn concat(layers: &[&Path], out: &Path) -> Result<()> {
    whole::file(out, |path| {
        let mut file = fs::File::create(path)?;
        for layer in layers {
            io::copy(&mut fs::File::open(layer)?, &mut file)?;
        }
        Ok(())
    })
}

/// Writes a tree as tar entries, and the end of the archive if this is the `last` layer. Extended attributes are PAX
/// records (`SCHILY.xattr.`), which GNU tar, bsdtar and container engines read. Holes ([`sparse::MIN_HOLE`]) are those of GNU
/// tar's own format, and later names of a file are hard links.
///
/// # Errors
///
/// When the tree has a socket, which the format cannot hold ([`Tree::fit`]), when a file cannot be read, or when `out`
/// cannot be written.
pub fn append(tree: &Tree, out: &mut impl Write, last: bool) -> Result<()> {
    tree.require(Output::Tar)?;
    let names = tree.names();
    let mut builder = Builder::new(out);
    for (path, entry) in tree.entries() {
        let appended = match names.earlier(path, entry) {
            Some(first) => append_name(&mut builder, path, first, entry),
            None => append_entry(&mut builder, path, entry),
        };
        appended.with_context(|| format!("cannot archive /{path}"))?;
    }
    if last {
        builder.finish()?;
    } else {
        // Its drop would write the end of the archive. It owns nothing but the borrowed writer.
        std::mem::forget(builder);
    }
    Ok(())
}

fn append_name(builder: &mut Builder<impl Write>, path: &str, first: &str, entry: &Entry) -> Result<()> {
    let mut header = header(entry)?;
    header.set_entry_type(EntryType::Link);
    Ok(builder.append_link(&mut header, path, first)?)
}

fn append_entry(builder: &mut Builder<impl Write>, path: &str, entry: &Entry) -> Result<()> {
    let mut header = header(entry)?;
    append_attributes(builder, entry)?;
    match &entry.kind {
        Kind::Dir => builder.append_data(&mut header, format!("{path}/"), io::empty())?,
        Kind::Link(target) => builder.append_link(&mut header, path, target)?,
        Kind::File(content) => append_file(builder, header, path, content)?,
        Kind::Device { major, minor, .. } => {
            header.set_device_major(*major)?;
            header.set_device_minor(*minor)?;
            builder.append_data(&mut header, path, io::empty())?;
        }
        Kind::Pipe => builder.append_data(&mut header, path, io::empty())?,
        Kind::Socket => bail!("a tar archive holds no sockets"),
    }
    Ok(())
}

/// Writes the attributes as an extended header (POSIX.1-2024, pax, "pax Extended Header").
fn append_attributes(builder: &mut Builder<impl Write>, entry: &Entry) -> Result<()> {
    let keys: Vec<(String, &[u8])> =
        entry.attributes.iter().map(|(name, value)| (format!("SCHILY.xattr.{name}"), value.as_slice())).collect();
    Ok(builder.append_pax_extensions(keys.iter().map(|(key, value)| (key.as_str(), *value)))?)
}

fn append_file(builder: &mut Builder<impl Write>, mut header: Header, path: &str, content: &Content) -> Result<()> {
    if let Content::Host(host) = content {
        let file = fs::File::open(host)?;
        if let Some(parts) = sparse::data(&file)? {
            return append_sparse(builder, header, path, file, parts);
        }
    }
    let (size, reader) = content.open()?;
    header.set_size(size);
    Ok(builder.append_data(&mut header, path, reader)?)
}

/// Writes a file with holes: a map of its data in the header and in blocks behind it, then the data (GNU tar's manual,
/// "Basic Tar Format", `struct oldgnu_header` and `struct sparse_header`).
fn append_sparse(
    builder: &mut Builder<impl Write>,
    mut header: Header,
    path: &str,
    file: fs::File,
    mut parts: Vec<(u64, u64)>,
) -> Result<()> {
    let size = file.metadata()?.len();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_size(parts.iter().map(|(_, length)| length).sum());
    let data = parts.clone();
    if parts.last().is_none_or(|(start, length)| start + length < size) {
        parts.push((size, 0)); // The file ends with a hole.
    }
    let gnu = header.as_gnu_mut().context("the header is GNU's")?;
    gnu.set_real_size(size);
    let (first, more) = parts.split_at(parts.len().min(gnu.sparse.len()));
    set_parts(&mut gnu.sparse, first);
    gnu.set_is_extended(!more.is_empty());
    let mut blocks = Vec::new();
    let mut more = more.chunks(GnuExtSparseHeader::new().sparse().len()).peekable();
    while let Some(parts) = more.next() {
        let mut block = GnuExtSparseHeader::new();
        set_parts(block.sparse_mut(), parts);
        block.set_is_extended(more.peek().is_some());
        blocks.extend_from_slice(block.as_bytes());
    }
    Ok(builder.append_data(&mut header, path, io::Cursor::new(blocks).chain(Parts { file, left: data.into() }))?)
}

fn set_parts(fields: &mut [GnuSparseHeader], parts: &[(u64, u64)]) {
    for (field, (start, length)) in fields.iter_mut().zip(parts) {
        field.set_offset(*start);
        field.set_length(*length);
    }
}

/// Reads parts of a file one behind the other.
struct Parts {
    file: fs::File,
    /// Offset and length.
    left: VecDeque<(u64, u64)>,
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((start, length)) = self.left.front_mut() else { return Ok(0) };
        let most = usize::try_from(*length).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.file.file().read_at(&mut buffer[..most], *start)?;
        if n == 0 && most > 0 {
            return Err(io::Error::other("a file changed while it was read; build again"));
        }
        (*start, *length) = (*start + n as u64, *length - n as u64);
        if *length == 0 {
            self.left.pop_front();
        }
        Ok(n)
    }
}

fn header(entry: &Entry) -> Result<Header> {
    let mut header = Header::new_gnu();
    header.set_entry_type(match entry.kind {
        Kind::Dir => EntryType::Directory,
        Kind::File(_) | Kind::Socket => EntryType::Regular,
        Kind::Link(_) => EntryType::Symlink,
        Kind::Device { class: Class::Char, .. } => EntryType::Char,
        Kind::Device { class: Class::Block, .. } => EntryType::Block,
        Kind::Pipe => EntryType::Fifo,
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
