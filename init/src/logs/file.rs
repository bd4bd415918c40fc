//! The file of a service's log: written from memory, rotated by size. Where it cannot be written the log stays in
//! memory, and the file is tried again later.

use core::time::Duration;
use std::os::fd::OwnedFd;

use super::copy;
use super::retry::Retry;
use super::ring::Ring;
use crate::log::{info, say};
use crate::sys::{Errno, Result, append, files};

/// Bytes that one turn writes at most.
const TURN: usize = 64 << 10;
/// The kernel's messages of a service are for root's eyes, and for a group that its directory may be given to.
const MODE: u32 = 0o640;

/// Where a file is and how large it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The path; rotated files are `PATH.1` (the newest), `PATH.2`, ...
    pub path: String,
    /// Bytes after which a new file is begun.
    pub size: u64,
    /// How many rotated files are kept.
    pub keep: u32,
}

/// A service's log file.
#[derive(Debug)]
pub struct LogFile {
    place: Place,
    fd: Option<OwnedFd>,
    /// The number of the next line to write.
    next: u64,
    /// The last write ended inside a line.
    torn: bool,
    retry: Retry,
}

impl LogFile {
    /// A file that has the lines from number `next` on. It is opened with the first line.
    pub fn new(place: Place, next: u64) -> LogFile {
        LogFile { place, fd: None, next, torn: false, retry: Retry::default() }
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// When it has to be looked at again without new lines.
    pub fn deadline(&self, ring: &Ring) -> Option<Duration> {
        // After a turn that did not write all there is no failure, and the rest is due at once.
        (self.next < ring.end()).then(|| self.retry.deadline().unwrap_or(Duration::ZERO))
    }

    /// Writes the lines that are not in the file yet, at most [`TURN`] bytes. `buffer` is scratch memory.
    pub fn flush(&mut self, ring: &Ring, now: Duration, buffer: &mut Vec<u8>) {
        if self.next >= ring.end() || !self.retry.is_due(now) {
            return;
        }
        match self.write(ring, buffer) {
            Ok(()) => {
                if self.retry.succeeded() {
                    info!("{} is written again", self.place.path);
                }
            }
            Err(error) => {
                self.fd = None;
                if self.retry.failed(now) {
                    say!("cannot write {}: {error}; the log stays in memory for now", self.place.path);
                }
            }
        }
    }

    fn write(&mut self, ring: &Ring, buffer: &mut Vec<u8>) -> Result<()> {
        let notes = self.fill(ring, buffer);
        let fd = self.ready_for(buffer.len() as u64)?;
        let result = append::write(fd, buffer);
        let written = buffer.get(..*result.as_ref().unwrap_or(&0)).unwrap_or_default();
        // Lines have no line end inside, so line ends count lines.
        let ends = written.iter().filter(|&&byte| byte == b'\n').count();
        self.next = self.next.max(ring.oldest()) + ends.saturating_sub(notes) as u64;
        if let Some(&last) = written.last() {
            self.torn = last != b'\n';
        }
        match result {
            Ok(count) if count == buffer.len() => Ok(()),
            Ok(_) => Err(Errno::NOSPC),
            Err(errno) => Err(errno),
        }
    }

    /// Puts what is to be written next into `buffer`. Returns how many of its line ends belong to no line of the ring.
    fn fill(&self, ring: &Ring, buffer: &mut Vec<u8>) -> usize {
        buffer.clear();
        if self.torn {
            buffer.push(b'\n');
        }
        let (notes, _) = copy(ring, self.next, TURN, buffer);
        notes + usize::from(self.torn)
    }

    /// The file, open and with room for `more` bytes.
    fn ready_for(&mut self, more: u64) -> Result<&OwnedFd> {
        let size = match &self.fd {
            // Nothing: the file was removed under our hands.
            Some(fd) => append::size(fd)?,
            None => None,
        };
        let size = match size {
            Some(size) => size,
            None => append::size(self.fd.insert(open(&self.place.path)?))?.unwrap_or(0),
        };
        if size > 0 && size.saturating_add(more) > self.place.size {
            self.rotate()?;
            self.torn = false;
        }
        self.fd.as_ref().ok_or(Errno::BADF)
    }

    /// Begins a new file.
    fn rotate(&mut self) -> Result<()> {
        let Place { path, keep, .. } = &self.place;
        let name = |number: u32| if number == 0 { path.clone() } else { format!("{path}.{number}") };
        for number in (1..=*keep).rev() {
            match append::rename(&name(number - 1), &name(number)) {
                Ok(()) | Err(Errno::NOENT) => {}
                // The file has to end at its size all the same.
                Err(_) => break,
            }
        }
        self.fd = None;
        let fd = self.fd.insert(open(path)?);
        // It is the old one when it was not renamed.
        append::truncate(fd)
    }
}

fn open(path: &str) -> Result<OwnedFd> {
    match append::open(path, MODE) {
        Err(Errno::NOENT) => {
            make_parents(path);
            append::open(path, MODE)
        }
        result => result,
    }
}

fn make_parents(path: &str) {
    for (end, _) in path.match_indices('/').filter(|&(end, _)| end > 0) {
        // What cannot be made shows when the file is opened.
        let _ = files::make_dir(&path[..end], 0o755);
    }
}

#[cfg(test)]
mod tests {
    use super::super::stamp::Stamp;
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    struct Case {
        dir: PathBuf,
        ring: Ring,
        file: LogFile,
        buffer: Vec<u8>,
    }

    impl Case {
        fn new(name: &str, size: u64, keep: u32) -> Case {
            let dir = std::env::temp_dir().join(format!("init-log-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            let path = dir.join("run/log/web.log").to_str().unwrap().to_owned();
            let file = LogFile::new(Place { path, size, keep }, 0);
            Case { dir, ring: Ring::new(64 << 10), file, buffer: Vec::new() }
        }

        fn push(&mut self, lines: &[&str]) {
            for line in lines {
                self.ring.push(Stamp::Uptime(0), line.as_bytes());
            }
        }

        fn flush(&mut self, seconds: u64) {
            self.file.flush(&self.ring, Duration::from_secs(seconds), &mut self.buffer);
        }

        fn read(&self, suffix: &str) -> String {
            fs::read_to_string(format!("{}{suffix}", self.file.place.path)).unwrap_or_default().replace("+0.000 ", "")
        }
    }

    impl Drop for Case {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }

    #[test]
    fn lines_are_appended_once() {
        let mut case = Case::new("append", 1000, 1);
        case.push(&["a", "b"]);
        case.flush(0);
        case.flush(0);
        case.push(&["c"]);
        assert_eq!(case.file.deadline(&case.ring), Some(Duration::ZERO));
        case.flush(0);
        assert_eq!((case.read(""), case.file.deadline(&case.ring)), ("a\nb\nc\n".into(), None));
    }

    #[test]
    fn a_full_file_is_rotated_and_so_many_are_kept() {
        let mut case = Case::new("rotate", 30, 2);
        for line in ["one", "two", "three", "four", "five", "six", "seven"] {
            case.push(&[line]);
            case.flush(0);
        }
        assert_eq!(case.read(""), "seven\n");
        assert_eq!(
            (case.read(".1"), case.read(".2"), case.read(".3")),
            ("five\nsix\n".into(), "three\nfour\n".into(), "".into())
        );
        let mut case = Case::new("keep-none", 30, 0);
        for line in ["one", "two", "three", "four"] {
            case.push(&[line]);
            case.flush(0);
        }
        assert_eq!((case.read(""), case.read(".1")), ("three\nfour\n".into(), "".into()));
    }

    #[test]
    fn a_file_that_someone_removed_is_made_again() {
        let mut case = Case::new("removed", 1000, 1);
        case.push(&["a"]);
        case.flush(0);
        fs::remove_file(&case.file.place.path).unwrap();
        case.push(&["b"]);
        case.flush(0);
        assert_eq!(case.read(""), "b\n");
    }

    #[test]
    fn what_cannot_be_written_waits_in_memory() {
        let mut case = Case::new("refused", 1000, 1);
        // A directory in the file's place: refused for root too.
        fs::create_dir_all(&case.file.place.path).unwrap();
        case.push(&["a"]);
        case.flush(100);
        assert_eq!(case.file.deadline(&case.ring), Some(Duration::from_secs(105)));
        fs::remove_dir(&case.file.place.path).unwrap();
        case.push(&["b"]);
        case.flush(104);
        assert_eq!(case.read(""), "", "not before its time");
        case.flush(105);
        assert_eq!(case.read(""), "a\nb\n");
    }

    #[test]
    fn lines_that_left_memory_meanwhile_are_counted() {
        let mut case = Case::new("missed", 1 << 20, 1);
        case.push(&["a"]);
        case.flush(0);
        let long = "x".repeat(1000);
        (0..100).for_each(|_| case.push(&[&long]));
        case.flush(0);
        let content = case.read("");
        let kept = case.ring.end() - case.ring.oldest();
        assert!(content.starts_with(&format!("a\ninit: {} lines are missing here\nxxx", 100 - kept)), "{content}");
        assert_eq!(content.lines().count() as u64, kept + 2);
    }

    #[test]
    fn links_fifos_and_devices_are_refused() {
        let mut case = Case::new("link", 1000, 1);
        let path = case.file.place.path.clone();
        make_parents(&path);
        let other = case.dir.join("other");
        fs::write(&other, "").unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert_eq!(open(&path).unwrap_err(), Errno::LOOP);
        assert!(open("/dev/null").is_err());
        case.push(&["a"]);
        case.flush(0);
        assert_eq!(fs::read(&other).unwrap(), b"");
    }

    #[test]
    fn a_torn_line_is_written_again_whole() {
        let mut case = Case::new("torn", 1000, 1);
        case.push(&["a"]);
        case.flush(0);
        case.file.torn = true;
        case.push(&["b"]);
        case.flush(0);
        assert_eq!((case.read(""), case.file.next), ("a\n\nb\n".into(), 2));
    }
}
