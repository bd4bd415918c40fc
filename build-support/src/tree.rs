//! Copies of trees, and files that are whole or absent.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use rustix::fs::{AtFlags, CWD, FileType, Mode, RenameFlags, Timespec, Timestamps, mknodat, renameat_with, utimensat};
use rustix::io::Errno;
use walkdir::WalkDir;

use crate::{sparse, whole, xattr};

/// Writes a file under a temporary name and renames it, so that a reader sees the old one or the new one. Its directory
/// is made when missing.
///
/// # Errors
///
/// When the file cannot be written.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    whole::replace(path, |temporary| Ok(fs::write(temporary, content)?))
}

/// Waits until what was written to a directory's file system is on its disk: a rename after it can otherwise be there
/// after a power cut, and what was renamed is not.
///
/// # Errors
///
/// When the directory cannot be opened or its file system cannot be synced.
pub fn sync(dir: &Path) -> Result<()> {
    match rustix::fs::syncfs(fs::File::open(dir)?.file()) {
        // A sandbox may know sync(2) alone.
        Err(rustix::io::Errno::NOSYS) => {
            rustix::fs::sync();
            Ok(())
        }
        result => result.with_context(|| format!("cannot sync {}", dir.display())),
    }
}

/// Copies a tree, or a file, into another: directories are merged, files replaced; permissions, times, holes, links, hard
/// links within the tree, capabilities and the user's own extended attributes are kept.
///
/// # Errors
///
/// When an entry cannot be read or written; the error has its path.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut copied: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    let mut dirs = Vec::new();
    for entry in WalkDir::new(from) {
        let entry = entry.with_context(|| format!("cannot read {}", from.display()))?;
        let target = match entry.depth() {
            0 => to.to_path_buf(), // `from` may be a file, and joining nothing would add a slash.
            _ => to.join(entry.path().strip_prefix(from)?),
        };
        let meta = entry.metadata()?;
        if meta.is_dir() {
            if !target.is_dir() {
                fs::create_dir_all(&target)?;
                dirs.push((entry.path().to_path_buf(), target));
            }
            continue;
        }
        if meta.is_file() && meta.nlink() > 1 {
            if let Some(first) = copied.get(&(meta.dev(), meta.ino())) {
                whole::replace(&target, |temporary| Ok(fs::hard_link(first, temporary)?))?;
                continue;
            }
            copied.insert((meta.dev(), meta.ino()), target.clone());
        }
        copy_file(entry.path(), &target)?;
    }
    // The deepest first: one that its owner cannot write to has its content by now.
    for (from, to) in dirs.into_iter().rev() {
        xattr::set(&to, &xattr::of_content(&from)?)?;
        fs::set_permissions(&to, fs::metadata(&from)?.permissions())?;
    }
    Ok(())
}

/// Copies one file, link, pipe or socket with its permissions, time, holes and attributes, in place of what was there.
///
/// # Errors
///
/// When the file cannot be read or written; the error has its path.
pub fn copy_file(from: &Path, to: &Path) -> Result<()> {
    if to.symlink_metadata().is_ok() {
        fs::remove_file(to)?;
    }
    let meta = fs::symlink_metadata(from)?;
    if meta.is_symlink() {
        fs::os::unix::fs::symlink(fs::read_link(from)?, to)?;
        return Ok(());
    }
    if !meta.is_file() {
        let (kind, mode) = (FileType::from_raw_mode(meta.mode()), Mode::from_raw_mode(meta.mode()));
        return mknodat(CWD, to, kind, mode, meta.rdev()).with_context(|| format!("cannot make {}", to.display()));
    }
    if meta.blocks() * 512 < meta.len() {
        let file = fs::File::create_new(to)?;
        file.set_len(meta.len())?;
        sparse::copy_into(from, &file, 0)?;
        fs::set_permissions(to, meta.permissions())?;
    } else {
        copy_content(from, to)?;
    }
    xattr::set(to, &xattr::of_content(from)?)?;
    // By name: a copy of a read-only file cannot be opened for writing.
    let modified = Timespec { tv_sec: meta.mtime(), tv_nsec: meta.mtime_nsec() };
    let times = Timestamps { last_access: modified, last_modification: modified };
    utimensat(CWD, to, &times, AtFlags::empty()).with_context(|| format!("cannot set the time of {}", to.display()))
}

/// Copies content and mode of a regular file. fs_extra keeps the system's error inside its own.
fn copy_content(from: &Path, to: &Path) -> Result<()> {
    let copied = fs_extra::file::copy(from, to, &fs_extra::file::CopyOptions::new().overwrite(true));
    let error = match copied {
        Ok(_) => return Ok(()),
        Err(fs_extra::error::Error { kind: fs_extra::error::ErrorKind::Io(error), .. }) => anyhow::Error::new(error),
        Err(error) => anyhow::Error::new(error),
    };
    Err(error).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

/// Bytes of a file, or of all files, links and directory entries of a tree: their lengths, whatever they take on disk.
///
/// # Errors
/// When a part of it cannot be read.
pub fn bytes(path: &Path) -> Result<u64> {
    fs_extra::dir::get_size(path).with_context(|| format!("cannot measure {}", path.display()))
}

/// Makes a symbolic link, in place of what was there. Of two builds that make the same one, each succeeds.
///
/// # Errors
///
/// When a directory is there, or the link cannot be made.
pub fn link(target: impl AsRef<Path>, at: &Path) -> Result<()> {
    whole::replace(at, |temporary| Ok(fs::os::unix::fs::symlink(target, temporary)?))
}

/// Renames a file to the first free name of `NAME.old`, `NAME.old.1`, `NAME.old.2`, ... and returns that name.
///
/// # Errors
///
/// When the file is not there or cannot be renamed.
pub fn keep(file: &Path) -> Result<PathBuf> {
    let old = file.with_added_extension("old");
    let names = std::iter::once(old.clone()).chain((1..).map(|i: u32| old.with_added_extension(i.to_string())));
    for name in names {
        match renameat_with(CWD, file, CWD, &name, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(name),
            Err(Errno::EXIST) => {}
            // Not every file system can refuse to replace (NFS cannot).
            Err(Errno::INVAL | Errno::NOSYS) if name.symlink_metadata().is_ok() => {}
            Err(Errno::INVAL | Errno::NOSYS) => {
                fs::rename(file, &name)?;
                return Ok(name);
            }
            Err(error) => return Err(error).with_context(|| format!("cannot rename {}", file.display())),
        }
    }
    unreachable!("there are more numbers than files")
}

/// Every file and link below a directory, relative to it, sorted by name.
///
/// # Errors
///
/// When the directory cannot be read.
pub fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in WalkDir::new(root).sort_by_file_name() {
        let entry = entry.with_context(|| format!("cannot read {}", root.display()))?;
        if !entry.file_type().is_dir() {
            files.push(entry.path().strip_prefix(root)?.to_path_buf());
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_kept_overwrites_nothing_that_was_kept_before() {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("full.qcow2");
        for name in ["full.qcow2.old", "full.qcow2.old.1", "full.qcow2.old.2"] {
            fs::write(&disk, name).unwrap();
            assert_eq!(keep(&disk).unwrap(), dir.path().join(name));
        }
        for name in ["full.qcow2.old", "full.qcow2.old.1", "full.qcow2.old.2"] {
            assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), name);
        }
        assert!(!disk.exists() && keep(&disk).is_err());
    }

    #[test]
    fn a_link_replaces_a_link_and_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("link");
        fs::write(&at, "").unwrap();
        for target in ["one", "two"] {
            link(target, &at).unwrap();
            assert_eq!(fs::read_link(&at).unwrap(), Path::new(target));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_copy_that_fails_keeps_the_reason_of_the_system() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "text").unwrap();
        let error = copy_file(&dir.path().join("file"), &dir.path().join("file/below")).unwrap_err();
        assert!(error.to_string().contains("cannot copy"), "{error}");
        assert!(error.chain().any(|cause| cause.is::<std::io::Error>()), "{error:?}");
    }

    #[test]
    fn a_copy_is_the_same_tree() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("sub")).unwrap();
        fs::write(from.join("sub/file"), "text").unwrap();
        fs::set_permissions(from.join("sub/file"), std::fs::Permissions::from_mode(0o444)).unwrap();
        link("file", &from.join("sub/link")).unwrap();
        copy(&from, &to).unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(crate::digest::tree(&from).unwrap(), crate::digest::tree(&to).unwrap());
        assert_eq!(bytes(&from).unwrap(), bytes(&to).unwrap());
        assert_eq!(bytes(&to.join("sub/link")).unwrap(), 4, "a link is as long as its target's name");
        assert_eq!(files(&to).unwrap(), [Path::new("sub/file"), Path::new("sub/link")]);
    }

    #[test]
    fn a_copy_keeps_permissions_hard_links_and_holes() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("locked")).unwrap();
        fs::write(from.join("locked/program"), "x").unwrap();
        fs::hard_link(from.join("locked/program"), from.join("other name")).unwrap();
        fs::set_permissions(from.join("other name"), std::fs::Permissions::from_mode(0o4710)).unwrap();
        fs::File::create(from.join("sparse")).unwrap().set_len(1 << 30).unwrap();
        mknodat(CWD, from.join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        fs::set_permissions(from.join("locked"), std::fs::Permissions::from_mode(0o2550)).unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(crate::digest::tree(&from).unwrap(), crate::digest::tree(&to).unwrap());
        let inode = |name: &str| fs::metadata(to.join(name)).unwrap().ino();
        assert_eq!(inode("locked/program"), inode("other name"));
        assert!(fs::metadata(to.join("sparse")).unwrap().blocks() < 100, "the hole was filled");
        for dir in [from, to] {
            fs::set_permissions(dir.join("locked"), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
}
