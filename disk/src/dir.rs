//! Lays a tree out as a plain directory that an ordinary user can make, and that works with chroot as it is.

use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use build_support::{EPOCH, sparse, whole, xattr};
use fs_err as fs;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, mknodat, utimensat};

use crate::tree::{Content, Entry, Kind, Tree};

impl Tree {
    /// Writes the tree as a directory, in place of what was there. Everything belongs to whoever builds. Devices,
    /// set-id bits and capabilities are left out: only root can make a device, and set-id programs and capabilities would
    /// lend rights to every user of this machine. [`Tree::losses`] lists them. Files are copies: users write into this
    /// directory, and must not write into the store.
    ///
    /// # Errors
    ///
    /// When a file of the tree cannot be read, when the directory cannot be written, or when something is mounted below
    /// the one that is to be replaced.
    pub fn write_to_dir(&self, path: &Path) -> Result<()> {
        let names = self.names();
        whole::dir(path, |root| {
            for (name, entry) in self.entries() {
                let at = root.join(name);
                let written = match names.earlier(name, entry) {
                    Some(first) => fs::hard_link(root.join(first), at).map_err(Into::into),
                    None => write(entry, &at),
                };
                written.with_context(|| format!("cannot lay out /{name}"))?;
            }
            // Last, and the deepest first: a file that is made changes the time of its directory, and needs it writable.
            let dirs: Vec<_> = self.entries().filter(|(_, entry)| entry.kind == Kind::Dir).collect();
            for (name, entry) in dirs.into_iter().rev() {
                set_attributes(entry, &root.join(name))?;
                finish_dir(&root.join(name), entry.mode)?;
            }
            finish_dir(root, 0o755)
        })
    }
}

fn write(entry: &Entry, path: &Path) -> Result<()> {
    match &entry.kind {
        Kind::Dir => fs::create_dir(path)?,
        Kind::Link(target) => {
            fs::os::unix::fs::symlink(target, path)?;
            set_time(path)?;
        }
        Kind::File(content) => write_file(content, entry, path)?,
        Kind::Device { .. } => {}
        Kind::Pipe | Kind::Socket => {
            let mode = entry.kind.type_bits() | entry.mode & 0o777;
            mknodat(CWD, path, FileType::from_raw_mode(mode), Mode::from_raw_mode(mode), 0)
                .with_context(|| format!("cannot make {}", path.display()))?;
            // The umask took bits away.
            fs::set_permissions(path, std::fs::Permissions::from_mode(entry.mode & 0o777))?;
            set_time(path)?;
        }
    }
    Ok(())
}

fn write_file(content: &Content, entry: &Entry, path: &Path) -> Result<()> {
    let file = fs::File::create_new(path)?;
    match content {
        Content::Host(host) => {
            copy(host, &file).with_context(|| format!("cannot copy {} to {}", host.display(), path.display()))?
        }
        Content::Bytes(bytes) => io::Write::write_all(&mut &file, bytes)?,
    }
    set_attributes(entry, path)?;
    file.set_permissions(std::fs::Permissions::from_mode(entry.mode & 0o777))?;
    let epoch = SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH);
    let times = std::fs::FileTimes::new().set_modified(epoch).set_accessed(epoch);
    file.file().set_times(times).with_context(|| format!("cannot set the time of {}", path.display()))
}

fn copy(host: &Path, file: &fs::File) -> Result<()> {
    let mut source = fs::File::open(host)?.into_file();
    let meta = source.metadata()?;
    if meta.blocks() * 512 < meta.len() {
        file.set_len(meta.len())?;
        return sparse::copy_into(host, file, 0);
    }
    // Plain files on both sides let the kernel copy (copy_file_range).
    io::copy(&mut source, &mut file.file())?;
    Ok(())
}

/// Sets the attributes that an ordinary user may set.
fn set_attributes(entry: &Entry, path: &Path) -> Result<()> {
    let mut attributes = entry.attributes.clone();
    attributes.remove(xattr::CAPABILITY);
    xattr::set(path, &attributes)
}

fn finish_dir(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o1777))?;
    set_time(path)
}

fn set_time(path: &Path) -> Result<()> {
    let epoch = Timespec { tv_sec: EPOCH as i64, tv_nsec: 0 };
    let times = Timestamps { last_access: epoch, last_modification: epoch };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .with_context(|| format!("cannot set the time of {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(host: &Path) -> Tree {
        let mut tree = Tree::new();
        tree.file("usr/bin/tool", host, 0o4755, "one").unwrap();
        tree.bytes("etc/secret", "hidden", 0o600, "one").unwrap();
        tree.dir("tmp", 0o1777, "one").unwrap();
        tree.dir("locked", 0o500, "one").unwrap();
        tree.bytes("locked/in", "x", 0o400, "one").unwrap();
        tree.link("bin", "usr/bin", "one").unwrap();
        tree.device("dev/console", 5, 1, 0o600, "one").unwrap();
        tree.pipe("run/pipe", 0o622, "one").unwrap();
        tree.socket("run/log", 0o666, "one").unwrap();
        tree.hard_link("usr/bin/other", "usr/bin/tool", "one").unwrap();
        tree
    }

    #[test]
    fn modes_times_and_links_are_laid_out_and_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (host, root) = (dir.path().join("host"), dir.path().join("root"));
        fs::write(&host, "program").unwrap();
        let tree = tree(&host);
        tree.write_to_dir(&root).unwrap();
        fs::write(root.join("usr/bin/tool"), "changed by a user").unwrap();
        fs::write(root.join("stray"), "x").unwrap();
        assert_eq!(fs::read_to_string(&host).unwrap(), "program", "the source was written to");
        tree.write_to_dir(&root).unwrap();
        assert_eq!(fs::read_to_string(root.join("bin/tool")).unwrap(), "program");
        assert!(!root.join("stray").exists() && !root.join("dev/console").exists());
        let modes = [
            ("usr/bin/tool", 0o755),
            ("etc/secret", 0o600),
            ("tmp", 0o1777),
            ("locked", 0o500),
            ("locked/in", 0o400),
            ("run/pipe", 0o622),
            ("run/log", 0o666),
        ];
        for (name, mode) in modes {
            assert_eq!(fs::metadata(root.join(name)).unwrap().mode() & 0o7777, mode, "{name}");
        }
        let inode = |name: &str| fs::metadata(root.join(name)).unwrap().ino();
        assert_eq!(inode("usr/bin/tool"), inode("usr/bin/other"));
        for name in ["", "usr", "usr/bin/tool", "bin", "tmp", "run/pipe"] {
            let meta = fs::symlink_metadata(root.join(name)).unwrap();
            assert_eq!((meta.mtime(), meta.mtime_nsec()), (EPOCH as i64, 0), "/{name}");
        }
        // The temporary directory's own removal knows no such directories.
        Tree::new().write_to_dir(&root).unwrap();
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    }
}
