//! Changes of what lies on a disk that is in use.

use std::os::fd::{AsFd, AsRawFd};

use super::{Result, check};

/// `struct blkpg_ioctl_arg` of include/uapi/linux/blkpg.h.
#[repr(C)]
struct Request {
    operation: libc::c_int,
    flags: libc::c_int,
    length: libc::c_int,
    data: *const Partition,
}

/// `struct blkpg_partition`, in bytes.
#[repr(C)]
struct Partition {
    start: i64,
    length: i64,
    number: libc::c_int,
    names: [u8; 128],
}

/// `_IO(0x12, 105)`.
const BLKPG: libc::c_ulong = 0x1269;
const RESIZE: libc::c_int = 3;
/// `_IOW('f', 16, __u64)` of include/uapi/linux/ext4.h.
const EXT4_RESIZE: libc::c_ulong = 0x4008_6610;

/// Tells the kernel the length of a partition of a disk, which may be mounted. Start and length are in bytes.
///
/// # Errors
/// `EINVAL` for a partition that begins elsewhere, `EBUSY` for one that would lie over another.
pub fn resize_partition(disk: impl AsFd, number: i32, start: u64, length: u64) -> Result<()> {
    let partition = Partition { start: start as i64, length: length as i64, number, names: [0; 128] };
    let request = Request {
        operation: RESIZE,
        flags: 0,
        length: size_of::<Partition>() as libc::c_int,
        data: &raw const partition,
    };
    // SAFETY: the kernel reads the request and the partition that it points to, which live until the call returns.
    check(unsafe { libc::ioctl(disk.as_fd().as_raw_fd(), BLKPG as _, &raw const request) }).map(drop)
}

/// Grows a mounted ext4 file system to a number of blocks. It is on the disk when this returns.
///
/// # Errors
/// `ENOTTY` for another file system, `EPERM` for one with faults, `EINVAL` for more blocks than the device has.
pub fn resize_ext4(root: impl AsFd, blocks: u64) -> Result<()> {
    // SAFETY: the kernel reads a number of eight bytes.
    check(unsafe { libc::ioctl(root.as_fd().as_raw_fd(), EXT4_RESIZE as _, &raw const blocks) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Errno;

    #[test]
    fn other_files_are_refused() {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert_eq!(resize_partition(&file, 1, 0, 0).unwrap_err(), Errno::NOTTY);
        assert!(resize_ext4(std::fs::File::open("/proc").unwrap(), 1).is_err());
    }
}
