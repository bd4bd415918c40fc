//! Lists what is in an initramfs: one cpio archive or several one after the other, each plain or compressed, as the kernel
//! takes them (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use flate2::bufread::GzDecoder;
use fs_err as fs;

use super::TRAILER;
use crate::compress;

/// An entry of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The number of the archive that it is in, from 0.
    pub archive: usize,
    /// Its path, as it stands there.
    pub path: String,
    /// The whole mode, with the kind of file (`st_mode`, inode(7)).
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The number of the file in its archive: names of one file have the same.
    pub inode: u32,
    /// How many names the file has.
    pub names: u32,
    /// Seconds since 1970.
    pub mtime: u32,
    /// Bytes of its content. Of a file with several names one has it.
    pub size: u32,
    /// The numbers of a device.
    pub device: (u32, u32),
    /// Where a symbolic link leads.
    pub target: Option<String>,
}

/// Lists the entries of a file, in their order. `work` is a directory for what is unpacked on the way.
///
/// Archives may be compressed by gzip, zstd, xz or lz4. Behind one that is compressed by zstd, xz or lz4 only others of the
/// same form can be read, because their programs do not say where they stopped.
///
/// # Errors
///
/// When the file cannot be read, is no archive, ends early, or cannot be unpacked.
pub fn list(file: &Path, work: &Path) -> Result<Vec<Member>> {
    fs::create_dir_all(work)?;
    let mut reader = Reader { members: Vec::new(), archives: 0, work };
    reader.segments(&fs::read(file)?, 0).with_context(|| format!("cannot read the archive {}", file.display()))?;
    Ok(reader.members)
}

struct Reader<'a> {
    members: Vec<Member>,
    archives: usize,
    work: &'a Path,
}

/// An initramfs has an archive in a compressed one at most, as some distributions make them.
const MAX_DEPTH: u32 = 4;

impl Reader<'_> {
    /// Reads archives until nothing but zeros is left, which may stand between them.
    fn segments(&mut self, bytes: &[u8], depth: u32) -> Result<()> {
        ensure!(depth < MAX_DEPTH, "it is compressed {MAX_DEPTH} times");
        let mut rest = bytes;
        let mut found = false;
        while let Some(start) = rest.iter().position(|byte| *byte != 0) {
            rest = &rest[start..];
            found = true;
            let read = match rest {
                [b'0', b'7', b'0', b'7', b'0', b'1' | b'2', ..] => self.archive(rest)?,
                [0x1f, 0x8b, ..] => self.gzip(rest, depth)?,
                _ => {
                    self.unpacked(rest, depth)?;
                    rest.len()
                }
            };
            rest = &rest[read..];
        }
        ensure!(found, "it has nothing but zeros");
        Ok(())
    }

    /// The decoder says where it stopped, so that more may follow.
    fn gzip(&mut self, bytes: &[u8], depth: u32) -> Result<usize> {
        let mut decoder = GzDecoder::new(bytes);
        let mut plain = Vec::new();
        decoder.read_to_end(&mut plain).context("cannot unpack the part that is compressed by gzip")?;
        let left = decoder.into_inner().len();
        self.segments(&plain, depth + 1)?;
        Ok(bytes.len() - left)
    }

    fn unpacked(&mut self, bytes: &[u8], depth: u32) -> Result<()> {
        let dir = self.work.join("unpacked");
        fs::create_dir_all(&dir)?;
        let content = unpack(bytes, &dir);
        fs::remove_dir_all(&dir)?;
        self.segments(&content?, depth + 1)
    }

    /// Reads one archive, and returns where it ends.
    fn archive(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut at = 0;
        loop {
            let (member, next) = member(bytes, at).with_context(|| format!("the entry at byte {at} is damaged"))?;
            at = next;
            if member.path == TRAILER {
                self.archives += 1;
                return Ok(at);
            }
            self.members.push(Member { archive: self.archives, ..member });
        }
    }
}

fn unpack(bytes: &[u8], dir: &Path) -> Result<Vec<u8>> {
    let (packed, plain) = (dir.join("packed"), dir.join("plain"));
    fs::write(&packed, bytes)?;
    if !compress::unpack(&packed, bytes, &plain)? {
        bail!(
            "it is no cpio archive of the kind newc, and not compressed by gzip, zstd, xz or lz4\n\
             hint: name an initramfs"
        );
    }
    Ok(fs::read(plain)?)
}

/// Reads an entry, and returns where the next one begins.
fn member(bytes: &[u8], at: usize) -> Result<(Member, usize)> {
    let part = |from: usize, length: usize| bytes.get(from..from + length).context("it ends early");
    let header = part(at, super::HEADER)?;
    ensure!(matches!(&header[..6], b"070701" | b"070702"), "it does not begin with 070701");
    let mut fields = [0; 13];
    for (field, digits) in fields.iter_mut().zip(header[6..].chunks(8)) {
        let digits = std::str::from_utf8(digits)?;
        *field = u32::from_str_radix(digits, 16).with_context(|| format!("`{digits}` is no hexadecimal number"))?;
    }
    let [inode, mode, uid, gid, names, mtime, size, _, _, major, minor, name_size, _] = fields;
    let name_end = at + super::HEADER + name_size as usize;
    let name = part(at + super::HEADER, name_size as usize)?;
    let path = String::from_utf8_lossy(name.strip_suffix(b"\0").context("its name does not end")?).into_owned();
    let start = name_end.next_multiple_of(4);
    let content = part(start, size as usize)?;
    let is_link = mode & 0o170000 == 0o120000;
    // gen_init_cpio ends a target with a zero byte, others do not.
    let target = is_link.then(|| String::from_utf8_lossy(content).trim_end_matches('\0').to_string());
    let member = Member { archive: 0, path, mode, uid, gid, inode, names, mtime, size, device: (major, minor), target };
    Ok((member, (start + size as usize).next_multiple_of(4).min(bytes.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Compression, Tree, cpio};

    fn tree(name: &str) -> Tree {
        let mut tree = Tree::new();
        tree.bytes(&format!("dir/{name}"), "text", 0o4755, "one").unwrap();
        tree.hard_link("other", &format!("dir/{name}"), "one").unwrap();
        tree.link("link", "dir", "one").unwrap();
        tree.device("null", 1, 3, 0o666, "one").unwrap();
        tree.pipe("pipe", 0o600, "one").unwrap();
        tree.chown("pipe", 7, 8).unwrap();
        tree
    }

    #[test]
    fn archives_in_every_form_one_after_the_other_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        let mut all = Vec::new();
        let forms = [Compression::None, Compression::Gzip, Compression::None, Compression::Gzip];
        let last = [Compression::Zstd { level: 3 }, Compression::Xz, Compression::Lz4, Compression::None];
        for last in last {
            all.clear();
            for (i, form) in forms.into_iter().chain([last, last]).enumerate() {
                let file = dir.path().join("part");
                cpio::write(&tree(&i.to_string()), &file, form).unwrap();
                all.extend(fs::read(&file).unwrap());
                if i % 2 == 0 && i < forms.len() {
                    all.extend([0; 100]); // Padding, as between a processor's microcode and the rest.
                }
            }
            let file = dir.path().join("all");
            fs::write(&file, &all).unwrap();
            let members = list(&file, &dir.path().join("work")).unwrap();
            assert_eq!(members.len(), 6 * 6, "{last:?}");
            assert_eq!(fs::read_dir(dir.path().join("work")).unwrap().count(), 0, "files were left");
            for (i, members) in members.chunks(6).enumerate() {
                let paths: Vec<&str> = members.iter().map(|member| member.path.as_str()).collect();
                assert_eq!(paths, ["dir", &format!("dir/{i}"), "link", "null", "other", "pipe"]);
                assert!(members.iter().all(|member| member.archive == i));
                assert_eq!((members[1].mode, members[1].size, members[1].names), (0o104755, 0, 2));
                assert_eq!((members[4].inode, members[4].size), (members[1].inode, 4));
                assert_eq!(members[2].target.as_deref(), Some("dir"));
                assert_eq!((members[3].device, members[5].uid, members[5].gid), ((1, 3), 7, 8));
            }
        }
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        cpio::write(&tree("x"), &file, Compression::None).unwrap();
        let whole = fs::read(&file).unwrap();
        for (bytes, part) in [
            (whole[..300].to_vec(), "ends early"),
            (b"text".to_vec(), "no cpio archive"),
            (vec![0; 512], "nothing but zeros"),
            ([&whole[..6], b"xxxxxxxx", &whole[14..]].concat(), "no hexadecimal number"),
            ([&[0x28, 0xb5, 0x2f, 0xfd][..], &[7; 50]].concat(), "zstd"),
        ] {
            fs::write(&file, bytes).unwrap();
            let error = format!("{:#}", list(&file, dir.path()).unwrap_err());
            assert!(error.contains(part) && error.contains("cannot read the archive"), "`{part}` is not in: {error}");
        }
    }
}
