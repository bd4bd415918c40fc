//! Device nodes: their mode and group, and bounded reads from block devices. `devices` calls these.

use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags};

use super::{Result, files, retry};

/// Who may do what with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// It is a block or a character device.
    pub device: bool,
    /// Permission bits.
    pub mode: u32,
    /// The group's number.
    pub group: u32,
}

/// The access of the node itself; a link is not followed.
pub fn access(path: &str) -> Result<Access> {
    let stat = rustix::fs::lstat(path)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    Ok(Access {
        device: matches!(kind, FileType::BlockDevice | FileType::CharacterDevice),
        mode: Mode::from_raw_mode(stat.st_mode).as_raw_mode(),
        group: stat.st_gid,
    })
}

/// Gives a node to a group; a link is not followed.
pub fn set_group(path: &str, group: u32) -> Result<()> {
    rustix::fs::chownat(CWD, path, None, Some(Gid::from_raw(group)), AtFlags::SYMLINK_NOFOLLOW)
}

/// Sets a node's permission bits.
pub fn set_mode(path: &str, mode: u32) -> Result<()> {
    rustix::fs::chmod(path, Mode::from_raw_mode(mode))
}

/// Opens a block device for reading without waiting for a medium; closed on exec. Reads from it may still wait.
pub fn open_block(path: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    retry(|| rustix::fs::open(path, flags, Mode::empty()))
}

/// Reads up to `length` bytes at `offset`; less at the end of the device.
pub fn read_at(fd: &OwnedFd, offset: u64, length: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let at = offset.saturating_add(bytes.len() as u64);
        if retry(|| rustix::io::pread(fd, spare_capacity(&mut bytes), at))? == 0 {
            break;
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// The names in a directory, and which of them are directories (links to some are not); `.` and `..` left out.
pub fn list_with_dirs(path: &str) -> Result<Vec<(String, bool)>> {
    let mut names = Vec::new();
    files::read_dir(path, &mut |name, kind| names.push((name, kind == FileType::Directory)))?;
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn reads_end_with_the_file() {
        let path = std::env::temp_dir().join(format!("init-nodes-{}", std::process::id()));
        std::fs::File::create(&path).unwrap().write_all(b"0123456789").unwrap();
        let fd = open_block(path.to_str().unwrap()).unwrap();
        assert_eq!(read_at(&fd, 2, 3).unwrap(), b"234");
        assert_eq!(read_at(&fd, 8, 100).unwrap(), b"89");
        assert_eq!(read_at(&fd, 50, 4).unwrap(), b"");
        set_mode(path.to_str().unwrap(), 0o640).unwrap();
        let access = access(path.to_str().unwrap()).unwrap();
        assert_eq!((access.device, access.mode), (false, 0o640));
        std::fs::remove_file(&path).unwrap();
        assert!(super::access("/dev/null").unwrap().device);
    }
}
