//! Files, directories and device nodes.

use core::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::fs::{CWD, FileType, Mode, OFlags, RawDir, ResolveFlags};
use rustix::pipe::PipeFlags;

use super::{Errno, Result, retry};

/// Files that PID 1 reads are small; a larger one is cut here (bytes), so that a wrong file cannot take all memory.
const MAX_FILE: usize = 1 << 20;
/// The room for a read, in bytes: most files that PID 1 reads fit in.
const BLOCK: usize = 2048;

/// The major and minor number of /dev/null, the same on every Linux.
const NULL: (u32, u32) = (1, 3);

/// Reads a whole file, at most 1 MiB of it. /dev/null is an empty one.
///
/// # Errors
/// `EINVAL` for what is neither; a FIFO or a terminal has no end.
pub fn read_file(path: &str) -> Result<Vec<u8>> {
    let flags = OFlags::RDONLY
        | OFlags::NOCTTY
        | OFlags::NONBLOCK // Else a FIFO without a writer stops PID 1.
        | OFlags::CLOEXEC;
    let fd = retry(|| rustix::fs::open(path, flags, Mode::empty()))?;
    let stat = rustix::fs::fstat(&fd)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(Errno::ISDIR),
        _ if (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)) == NULL => return Ok(Vec::new()),
        _ => return Err(Errno::INVAL),
    }
    let mut content = Vec::new();
    while content.len() < MAX_FILE {
        content.reserve(BLOCK);
        if retry(|| rustix::io::read(&fd, spare_capacity(&mut content)))? == 0 {
            break;
        }
    }
    content.truncate(MAX_FILE);
    Ok(content)
}

/// Reads once.
pub fn read(fd: impl AsFd, buffer: &mut [u8]) -> Result<usize> {
    retry(|| rustix::io::read(&fd, &mut *buffer))
}

/// Reads what is in the pipe `fd` at this moment, at most `most` bytes.
pub fn read_waiting(fd: impl AsFd, most: usize) -> Result<Vec<u8>> {
    // As many bytes as are there can be read without waiting: nobody else reads.
    let there = usize::try_from(rustix::io::ioctl_fionread(&fd)?).unwrap_or(most);
    let mut bytes = vec![0; there.min(most)];
    let count = if bytes.is_empty() { 0 } else { read(fd, &mut bytes)? };
    bytes.truncate(count);
    Ok(bytes)
}

/// Writes all of `bytes`, or as much as is taken until the first error.
pub fn write_all(fd: impl AsFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match retry(|| rustix::io::write(&fd, bytes))? {
            0 => return Err(Errno::IO),
            count => bytes = &bytes[count..],
        }
    }
    Ok(())
}

/// Writes text to the standard error: for a child or a command-line tool.
pub fn to_stderr(text: core::fmt::Arguments<'_>) {
    let text = text.to_string();
    // There is nowhere to report a standard error that cannot be written.
    let _ = write_all(rustix::stdio::stderr(), text.as_bytes());
}

/// Writes `bytes` with one call into a file that is there, such as one below /proc/sys.
pub fn write_file(path: &str, bytes: &[u8]) -> Result<()> {
    let fd = retry(|| rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty()))?;
    match retry(|| rustix::io::write(&fd, bytes))? {
        count if count == bytes.len() => Ok(()),
        _ => Err(Errno::IO),
    }
}

/// Makes the file `path` new, with `mode` and `bytes`; a file that is there is replaced only when all was written.
/// `durable` waits for the disk: not for PID 1 itself.
pub fn replace_file(path: &str, mode: u32, bytes: &[u8], durable: bool) -> Result<()> {
    let new = format!("{path}.new");
    // A leftover of an interrupted write.
    let _ = remove(&new);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = retry(|| rustix::fs::open(&*new, flags, Mode::from_raw_mode(mode)))?;
    let written = write_all(&fd, bytes)
        .and_then(|()| if durable { rustix::fs::fsync(&fd) } else { Ok(()) })
        .and_then(|()| rustix::fs::rename(&*new, path));
    if written.is_err() {
        // A full disk: the half file would only take more of it.
        let _ = remove(&new);
    }
    written
}

/// Removes a file.
pub fn remove(path: &str) -> Result<()> {
    rustix::fs::unlink(path)
}

/// Removes an empty directory.
pub fn remove_dir(path: &str) -> Result<()> {
    rustix::fs::rmdir(path)
}

/// Waits until the names in a directory are on the disk. Not for PID 1 itself.
pub fn sync_dir(path: &str) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::fsync(retry(|| rustix::fs::open(path, flags, Mode::empty()))?)
}

/// What is known about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether it is a regular file (a link to one is).
    pub regular: bool,
    /// Permission bits.
    pub mode: u32,
    /// The owner's user id.
    pub owner: u32,
    /// When the content last changed, in seconds since 1970.
    pub modified: i64,
}

/// Stats the file `path`; links are followed.
pub fn status(path: &str) -> Result<Status> {
    rustix::fs::stat(path).map(status_of)
}

/// Stats the file with the absolute path `path` on the root's own mount; links are followed. No other mount is
/// asked: the server of one may be gone, and then nothing ever answers.
///
/// # Errors
/// `EXDEV` when the path leads to another mount; the kernel may also have no openat2(2) (before Linux 5.6), or refuse it in a
/// container.
pub fn status_on_root(path: &str) -> Result<Status> {
    // Absolute paths and links begin at the root and are no change of mount (nd_jump_root in the kernel's fs/namei.c). With a
    // descriptor of the root and a relative path the kernel does not know its mount yet, and refuses absolute links.
    let fd = rustix::fs::openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_XDEV)?;
    rustix::fs::fstat(fd).map(status_of)
}

fn status_of(stat: rustix::fs::Stat) -> Status {
    Status {
        regular: FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile,
        mode: Mode::from_raw_mode(stat.st_mode).as_raw_mode(),
        owner: stat.st_uid,
        modified: stat.st_mtime,
    }
}

/// The major and minor number of the device that the file `path` is on.
pub fn device(path: &str) -> Result<(u32, u32)> {
    let device = rustix::fs::stat(path)?.st_dev;
    Ok((rustix::fs::major(device), rustix::fs::minor(device)))
}

/// Opens for reading and writing, as a terminal that does not become the controlling one and does not wait for
/// a carrier; closed on exec.
pub fn open_device(path: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    retry(|| rustix::fs::open(path, flags, Mode::empty()))
}

/// Opens a device whose reads may wait, such as an input device; closed on exec.
pub fn open_readable(path: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
    retry(|| rustix::fs::open(path, flags, Mode::empty()))
}

/// Opens for writing without ever waiting; closed on exec.
pub fn open_log(path: &str) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    retry(|| rustix::fs::open(path, flags, Mode::empty()))
}

/// Lets reads and writes on `fd` wait again.
pub fn set_blocking(fd: impl AsFd) -> Result<()> {
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    rustix::fs::fcntl_setfl(&fd, flags - OFlags::NONBLOCK)
}

/// Makes `fd` the standard input, output and error.
pub fn set_stdio(fd: impl AsFd) -> Result<()> {
    rustix::stdio::dup2_stdin(&fd)?;
    rustix::stdio::dup2_stdout(&fd)?;
    rustix::stdio::dup2_stderr(&fd)
}

/// Makes `input` the standard input, and `output` the standard output and error.
pub fn set_input_output(input: impl AsFd, output: impl AsFd) -> Result<()> {
    rustix::stdio::dup2_stdin(input)?;
    rustix::stdio::dup2_stdout(&output)?;
    rustix::stdio::dup2_stderr(output)
}

/// A pipe: the end to read from and the end to write to, both closed on exec.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
}

/// Another descriptor of the standard input; closed on exec.
pub fn duplicate_stdin() -> Result<OwnedFd> {
    // Above the standard ones, which may be closed.
    rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)
}

/// The names in a directory, `.` and `..` left out, sorted.
pub fn list_dir(path: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    read_dir(path, &mut |name, _| names.push(name))?;
    names.sort();
    Ok(names)
}

/// Calls `take` with the name and kind of each file in a directory, `.` and `..` left out.
pub(super) fn read_dir(path: &str, take: &mut dyn FnMut(String, FileType)) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = retry(|| rustix::fs::open(path, flags, Mode::empty()))?;
    // Room for several of the longest names (255 bytes), and none of it is cleared: that takes longer than reading.
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(fd, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Err(Errno::INTR) => continue,
            // The directory was removed meanwhile.
            Err(Errno::NOENT) => break,
            entry => entry?,
        };
        let name = entry.file_name();
        if name != c"." && name != c".." {
            take(name.to_string_lossy().into_owned(), entry.file_type());
        }
    }
    Ok(())
}

/// Makes one directory.
pub fn make_dir(path: &str, mode: u32) -> Result<()> {
    rustix::fs::mkdir(path, Mode::from_raw_mode(mode))
}

/// Makes a symbolic link at `path` that points to `target`.
pub fn make_link(target: &str, path: &str) -> Result<()> {
    rustix::fs::symlink(target, path)
}

/// Makes a character device node.
pub fn make_char_device(path: &str, mode: u32, major: u32, minor: u32) -> Result<()> {
    let device = rustix::fs::makedev(major, minor);
    rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::from_raw_mode(mode), device)
}

/// What a symbolic link points to.
pub fn read_link(path: &str) -> Result<String> {
    let target = rustix::fs::readlink(path, Vec::new())?;
    Ok(target.to_string_lossy().into_owned())
}

/// Whether `path` may be executed.
pub fn is_executable(path: &str) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Whether the file system at `path` is mounted read-only.
pub fn is_read_only(path: &str) -> Result<bool> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_refused_at_once() {
        let path = std::env::temp_dir().join(format!("init-fifo-{}", std::process::id()));
        let path = path.to_str().unwrap();
        rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert_eq!(read_file(path), Err(Errno::INVAL), "without a writer");
        let _both_ends = rustix::fs::open(path, OFlags::RDWR, Mode::empty()).unwrap();
        assert_eq!(read_file(path), Err(Errno::INVAL), "with one");
        remove(path).unwrap();
        assert_eq!(read_file("/dev/zero"), Err(Errno::INVAL));
        assert_eq!(read_file("/dev"), Err(Errno::ISDIR));
        assert_eq!(read_file("/dev/null"), Ok(Vec::new()));
        assert!(read_file("/proc/self/stat").is_ok_and(|content| !content.is_empty()));
    }

    #[test]
    fn only_the_roots_own_mount_is_asked() {
        let root = status_on_root("/");
        if matches!(root, Err(Errno::NOSYS | Errno::PERM)) {
            return testing::skip("this host refuses openat2");
        }
        assert!(root.is_ok_and(|status| !status.regular));
        assert_eq!(status_on_root("/no/such/file"), Err(Errno::NOENT));
        assert_eq!(status_on_root("/proc/no/such/file"), Err(Errno::XDEV));
    }
}
