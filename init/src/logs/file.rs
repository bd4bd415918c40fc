//! The file of a service's log: written from memory, rotated by size. Where it cannot be written the log stays in
//! memory, and the file is tried again later.
//!
//! A disk may take long, or for ever. So everything that is done to the file is a [`Job`], one at a time, that somebody else
//! carries out; meanwhile lines stay in memory. The file is open for as long as lines are written and no longer: a child of PID 1
//! has a copy of what is open when it is made, and closing that can wait for the disk too (FUSE, NFS). Where a file system does not
//! answer any more, all that waits is an open, which has no descriptor yet.

use core::time::Duration;
use std::ffi::CString;
use std::os::fd::OwnedFd;

use super::retry::Retry;
use super::ring::Ring;
use super::{Scratch, copy};
use crate::log::{error, info, warn};
use crate::sys::append::{Completion, Job, Status};
use crate::sys::{Errno, Result, files};

/// Bytes of one write at most.
const MOST: usize = 64 << 10;
/// A file that was written is not opened again for so long, unless memory is short: one batch of many lines costs as much as one
/// of a single line.
const PAUSE: Duration = Duration::from_millis(50);
/// A job that takes longer is said, and memory waits for it no more.
const TIMEOUT: Duration = Duration::from_secs(2);

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

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    /// It is opened; the directories above were made, or not.
    Open {
        made: bool,
    },
    /// The directory whose name is so many bytes of the path is made.
    MakeDir(usize),
    /// It is asked about.
    Look,
    /// The file with this number gets the next one.
    Rename(u32),
    /// Lines from number `first` on are written, and `notes` that are no lines of the ring.
    Write {
        first: u64,
        lines: u64,
        notes: usize,
    },
    /// It is closed, with all written.
    Close,
}

/// A service's log file.
#[derive(Debug)]
pub struct LogFile {
    id: u32,
    place: Place,
    /// Its size in bytes.
    size: u64,
    /// The number of the next line to write.
    next: u64,
    /// The last write ended inside a line.
    torn: bool,
    /// When the last batch was written, and the wait until the next.
    written: Option<Duration>,
    pause: Duration,
    retry: Retry,
    step: Step,
    /// The job of this step, until somebody takes it.
    job: Option<Job>,
    /// When this step began.
    since: Duration,
    /// That it takes long was said.
    slow: bool,
}

impl LogFile {
    /// A file that has the lines from number `next` on, by its number `id`.
    pub fn new(id: u32, place: Place, next: u64) -> LogFile {
        LogFile {
            id,
            place,
            size: 0,
            next,
            torn: false,
            written: None,
            pause: PAUSE,
            retry: Retry::default(),
            step: Step::Nothing,
            job: None,
            since: Duration::ZERO,
            slow: false,
        }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What is to be done now. [`LogFile::done`] takes what became of it.
    pub fn take_job(&mut self) -> Option<Job> {
        self.job.take()
    }

    /// The number of the first line that no write has yet.
    pub fn unsent(&self) -> u64 {
        match self.step {
            Step::Write { first, lines, .. } => first + lines,
            _ => self.next,
        }
    }

    /// Whether there are lines that wait for a job, and not longer than is usual.
    pub fn is_behind(&self, ring: &Ring, now: Duration) -> bool {
        let usual = !self.slow && now < self.since.saturating_add(TIMEOUT);
        self.step != Step::Nothing && usual && self.unsent() < ring.end()
    }

    /// Whether there is a job, or one to come without another line.
    pub fn is_at_work(&self, ring: &Ring) -> bool {
        self.step != Step::Nothing || (self.next < ring.end() && self.retry.deadline().is_none())
    }

    /// When it has to be looked at again without new lines.
    pub fn deadline(&self, ring: &Ring) -> Option<Duration> {
        match self.step {
            Step::Nothing => (self.next < ring.end()).then(|| self.retry.deadline().unwrap_or(self.rest())),
            _ => (!self.slow).then(|| self.since.saturating_add(TIMEOUT)),
        }
    }

    /// Says that a job takes long, once.
    pub fn complain(&mut self, now: Duration) {
        let long = self.step != Step::Nothing && now >= self.since.saturating_add(TIMEOUT);
        if long && !core::mem::replace(&mut self.slow, true) {
            let wait = TIMEOUT.as_secs();
            warn!("{} was not written for {wait} s; the log stays in memory until its disk answers", self.place.path);
        }
    }

    /// Begins to write the lines that are not in the file yet, unless it is at work, or was a moment ago and this is not `urgent`.
    pub fn flush(&mut self, ring: &Ring, urgent: bool, now: Duration) {
        let due = self.retry.is_due(now) && (urgent || now >= self.rest());
        if self.step == Step::Nothing && self.next < ring.end() && due {
            self.open(false, false, now);
        }
    }

    /// From now on a batch follows the one before at once.
    pub fn hurry(&mut self) {
        self.pause = Duration::ZERO;
    }

    /// When the next batch may be written.
    fn rest(&self) -> Duration {
        self.written.map_or(Duration::ZERO, |time| time.saturating_add(self.pause))
    }

    fn begin(&mut self, step: Step, job: Job, now: Duration) {
        (self.step, self.job, self.since) = (step, Some(job), now);
    }

    fn open(&mut self, made: bool, empty: bool, now: Duration) {
        self.begin(Step::Open { made }, Job::Open { path: path(&self.place.path), empty }, now);
    }

    /// Takes what became of the job.
    pub fn done(&mut self, done: Completion, ring: &Ring, now: Duration, scratch: &mut Scratch) {
        match (done, core::mem::replace(&mut self.step, Step::Nothing)) {
            (Completion::Opened(Ok(fd)), _) => self.begin(Step::Look, Job::look(fd), now),
            (Completion::Opened(Err(Errno::NOENT)), Step::Open { made: false }) => self.make_parent(0, now),
            (Completion::Opened(Err(error)), _) => self.failed(error, now),
            (Completion::Made(result), Step::MakeDir(end)) => {
                if result == Err(Errno::INVAL) {
                    // Linux before 5.15. What cannot be made shows when the file is opened.
                    let _ = files::make_dir(&self.place.path[..end], 0o755);
                }
                self.make_parent(end, now);
            }
            (Completion::Looked(fd, result), Step::Look) => match usable(&fd, result) {
                Ok(status) => {
                    self.size = status.size;
                    self.write(fd, ring, now, scratch);
                }
                Err(error) => {
                    scratch.closing.push(fd);
                    self.failed(error, now);
                }
            },
            (Completion::Renamed(Ok(()) | Err(Errno::NOENT)), Step::Rename(number)) => self.rename(number, now),
            // The file has to end at its size all the same.
            (Completion::Renamed(Err(_)), _) => self.rename(0, now),
            (Completion::Wrote(fd, buffer, result), Step::Write { first, notes, .. }) => {
                self.wrote(&buffer, result, first, notes);
                match result {
                    Ok(count) if count == buffer.len() => self.begin(Step::Close, Job::Close(fd), now),
                    result => {
                        scratch.closing.push(fd);
                        self.failed(result.err().unwrap_or(Errno::NOSPC), now);
                    }
                }
                scratch.buffer = buffer;
            }
            (Completion::Closed, Step::Close) => {
                self.written = Some(now);
                if self.retry.succeeded() || core::mem::take(&mut self.slow) {
                    info!("{} is written again", self.place.path);
                }
            }
            (done, _) => scratch.discard(done),
        }
    }

    /// The job did not come to its end.
    pub fn failed(&mut self, error: Errno, now: Duration) {
        (self.step, self.job) = (Step::Nothing, None);
        if self.retry.failed(now) {
            error!("cannot write {}: {error}; the log stays in memory for now", self.place.path);
        }
    }

    /// Makes the next of the directories above, whose name is longer than `end` bytes, or opens the file in them.
    fn make_parent(&mut self, end: usize, now: Duration) {
        let path_of = &self.place.path;
        match path_of.match_indices('/').map(|(index, _)| index).find(|&index| index > end) {
            Some(end) => {
                let job = Job::MakeDir(path(&path_of[..end]));
                self.begin(Step::MakeDir(end), job, now);
            }
            None => self.open(true, false, now),
        }
    }

    /// Gives the rotated files below `number` their next names, and begins a new file.
    fn rename(&mut self, number: u32, now: Duration) {
        // It is the old file when it was not renamed.
        let Some(before) = number.checked_sub(1) else {
            self.torn = false;
            return self.open(true, true, now);
        };
        let name = |number: u32| match number {
            0 => path(&self.place.path),
            _ => path(&format!("{}.{number}", self.place.path)),
        };
        self.begin(Step::Rename(before), Job::Rename(name(before), name(number)), now);
    }

    /// Writes what the file has not yet, or begins a new one where it has no room for that.
    fn write(&mut self, fd: OwnedFd, ring: &Ring, now: Duration, scratch: &mut Scratch) {
        let mut buffer = core::mem::take(&mut scratch.buffer);
        let (notes, lines) = self.fill(ring, &mut buffer);
        if self.size > 0 && self.size.saturating_add(buffer.len() as u64) > self.place.size {
            scratch.buffer = buffer;
            scratch.closing.push(fd);
            return self.rename(self.place.keep, now);
        }
        let step = Step::Write { first: self.next.max(ring.oldest()), lines, notes };
        self.begin(step, Job::Write(fd, buffer), now);
    }

    /// Puts what is to be written next into `buffer`. Returns how many of its line ends belong to no line of the ring, and how
    /// many lines of the ring there are.
    fn fill(&self, ring: &Ring, buffer: &mut Vec<u8>) -> (usize, u64) {
        buffer.clear();
        if self.torn {
            buffer.push(b'\n');
        }
        let (notes, lines) = copy(ring, self.next, MOST, buffer);
        (notes + usize::from(self.torn), lines)
    }

    /// Counts what was written of `buffer`.
    fn wrote(&mut self, buffer: &[u8], result: Result<usize>, first: u64, notes: usize) {
        let written = buffer.get(..result.unwrap_or(0)).unwrap_or_default();
        // Lines have no line end inside, so line ends count lines.
        let ends = written.iter().filter(|&&byte| byte == b'\n').count();
        self.next = first + ends.saturating_sub(notes) as u64;
        self.size = self.size.saturating_add(written.len() as u64);
        if let Some(&last) = written.last() {
            self.torn = last != b'\n';
        }
    }

    /// Gives up the file; a job that is under way ends without it.
    pub fn close(self, scratch: &mut Scratch) {
        if let Some(Job::Look(fd, _) | Job::Write(fd, _) | Job::Close(fd)) = self.job {
            scratch.closing.push(fd);
        }
    }
}

/// What is known about a file that may be written to. It is made to wait, which io_uring does for us: in non-blocking mode it would
/// fail instead.
fn usable(fd: &OwnedFd, result: Result<Status>) -> Result<Status> {
    match result? {
        Status { regular: false, .. } => Err(Errno::INVAL),
        status => files::set_blocking(fd).map(|()| status),
    }
}

/// A path for the kernel; an empty one, which no file has, where it holds a zero byte.
fn path(path: &str) -> CString {
    CString::new(path).unwrap_or_default()
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
        scratch: Scratch,
    }

    impl Case {
        fn new(name: &str, size: u64, keep: u32) -> Case {
            let dir = std::env::temp_dir().join(format!("init-log-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            let path = dir.join("run/log/web.log").to_str().unwrap().to_owned();
            let file = LogFile::new(1, Place { path, size, keep }, 0);
            Case { dir, ring: Ring::new(64 << 10), file, scratch: Scratch::default() }
        }

        fn push(&mut self, lines: &[&str]) {
            for line in lines {
                self.ring.push(Stamp::Uptime(0), line.as_bytes());
            }
        }

        fn flush(&mut self, seconds: u64) {
            let now = Duration::from_secs(seconds);
            self.file.flush(&self.ring, true, now);
            while let Some(job) = self.file.take_job() {
                self.file.done(job.run(), &self.ring, now, &mut self.scratch);
                self.file.flush(&self.ring, true, now);
            }
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
        case.flush(0);
        assert_eq!((case.read(""), case.file.deadline(&case.ring)), ("a\nb\nc\n".into(), None));
    }

    #[test]
    fn a_batch_follows_another_after_a_pause() {
        let mut case = Case::new("pause", 1000, 1);
        case.push(&["a"]);
        assert_eq!(case.file.deadline(&case.ring), Some(Duration::ZERO));
        case.flush(1);
        let (written, next) = (Duration::from_secs(1), Duration::from_secs(1) + PAUSE);
        case.push(&["b"]);
        assert_eq!(case.file.deadline(&case.ring), Some(next));
        let began = |case: &mut Case, urgent, now| {
            case.file.flush(&case.ring, urgent, now);
            case.file.job.is_some()
        };
        assert!(!began(&mut case, false, written) && case.file.is_at_work(&case.ring));
        assert!(began(&mut case, false, next));
        case.flush(2);
        case.push(&["c"]);
        let written = Duration::from_secs(2);
        assert!(!began(&mut case, false, written));
        assert!(began(&mut case, true, written));
        case.flush(2);
        case.push(&["d"]);
        case.file.hurry();
        assert!(began(&mut case, false, written));
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
    fn a_file_is_open_while_it_is_written() {
        let mut case = Case::new("open", 1000, 1);
        let is_open = |case: &Case| {
            let links =
                fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
            links.into_iter().any(|link| link.starts_with(&case.dir))
        };
        case.push(&["a"]);
        case.file.flush(&case.ring, false, Duration::ZERO);
        let mut seen = Vec::new();
        while let Some(job) = case.file.take_job() {
            case.file.done(job.run(), &case.ring, Duration::ZERO, &mut case.scratch);
            seen.push(is_open(&case));
        }
        // Two opens and directories before, and the close at the end.
        assert_eq!(seen.iter().filter(|open| **open).count(), 3, "{seen:?}");
        assert_eq!((seen.last(), case.read("")), (Some(&false), "a\n".into()));
        assert!(case.scratch.closing.is_empty());
        // One that is given up before its job is handed out.
        case.push(&["b"]);
        case.file.flush(&case.ring, true, Duration::ZERO);
        let job = case.file.take_job().unwrap();
        case.file.done(job.run(), &case.ring, Duration::ZERO, &mut case.scratch);
        let file =
            core::mem::replace(&mut case.file, LogFile::new(2, Place { path: String::new(), size: 0, keep: 0 }, 0));
        file.close(&mut case.scratch);
        assert_eq!(case.scratch.closing.len(), 1);
    }

    #[test]
    fn a_file_that_someone_removed_is_made_again() {
        let mut case = Case::new("removed", 1000, 1);
        case.push(&["a"]);
        case.flush(0);
        fs::remove_file(&case.file.place.path).unwrap();
        case.push(&["b"]);
        case.flush(1);
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
        fs::create_dir_all(case.dir.join("run/log")).unwrap();
        let other = case.dir.join("other");
        fs::write(&other, "").unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        case.push(&["a"]);
        case.flush(0);
        assert_eq!(case.file.retry.deadline(), Some(Duration::from_secs(5)));
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        case.flush(5);
        fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let _both_ends = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        case.flush(15);
        assert_eq!((case.file.retry.deadline(), case.file.next), (Some(Duration::from_secs(35)), 0));
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

    #[test]
    fn one_job_at_a_time_and_lines_wait_for_it() {
        let mut case = Case::new("slow", 1000, 1);
        let second = Duration::from_secs(1);
        case.push(&["a"]);
        case.flush(0);
        case.push(&["b"]);
        case.file.flush(&case.ring, false, second / 2);
        let next = |case: &mut Case, at: Duration| {
            let job = case.file.take_job().unwrap();
            case.file.done(job.run(), &case.ring, at, &mut case.scratch);
        };
        next(&mut case, second / 2);
        next(&mut case, second / 2);
        let Some(Job::Write(fd, bytes)) = case.file.take_job() else {
            panic!("no write");
        };
        assert!(!case.file.is_behind(&case.ring, second));
        case.push(&["c"]);
        case.file.flush(&case.ring, false, second);
        assert!(case.file.take_job().is_none() && case.file.is_behind(&case.ring, second));
        assert_eq!(case.file.deadline(&case.ring), Some(second * 5 / 2));
        case.file.complain(second * 3);
        assert!(!case.file.is_behind(&case.ring, second * 3), "long enough");
        assert_eq!(case.file.deadline(&case.ring), None);
        case.file.done(Job::Write(fd, bytes).run(), &case.ring, second * 100, &mut case.scratch);
        next(&mut case, second * 100);
        assert!(case.file.is_at_work(&case.ring) && !case.file.slow);
        case.flush(100);
        assert_eq!(case.read(""), "a\nb\nc\n");
        assert!(!case.file.is_at_work(&case.ring));
    }

    #[test]
    fn a_job_that_is_lost_is_a_failure() {
        let mut case = Case::new("lost", 1000, 1);
        case.push(&["a"]);
        case.file.flush(&case.ring, false, Duration::ZERO);
        drop(case.file.take_job());
        case.file.failed(Errno::IO, Duration::ZERO);
        assert!(!case.file.is_at_work(&case.ring));
        case.flush(5);
        assert_eq!(case.read(""), "a\n");
    }
}
