//! What services say: cut into lines, time-stamped, kept in bounded memory, and written to a rotated file or to the
//! kernel log. The supervisor hands over what it reads; the control socket reads it back.
//!
//! Memory comes first: file and kernel log are readers of it, as a person with `initctl log -f` is. A full disk so loses no
//! line that memory still has, and no reader makes anything wait, but for one case: while memory is full of lines that the file
//! is about to get, the service waits, for as long as a disk usually takes.

mod budget;
mod file;
mod handover;
mod kernel;
pub mod lines;
mod merged;
mod retry;
mod ring;
mod stamp;

use core::fmt;
use core::time::Duration;
use std::io::Write;
use std::os::fd::OwnedFd;

pub use file::Place;
pub use handover::KIND;
pub use merged::Cursor;
pub use stamp::{Now, Stamp};

use crate::sys::Errno;
use crate::sys::append::{Completion, Job};

use budget::Budget;
use file::LogFile;
use kernel::KernelLog;
use lines::Splitter;
use ring::{Line, Ring};

/// Memory of all services' lines together, in bytes. Services share it evenly when there are many.
const TOTAL: usize = 1 << 20;
/// The directory of the files, unless a service's settings name another.
const DIRECTORY: &str = "/run/log";
/// Bytes of a read that are cut into lines at once. An empty line takes more memory than its one byte, and the file must
/// get the lines before they leave memory.
const PIECE: usize = 256;

/// In the place of a file's number: closes files. No file has it.
const CLOSER: u32 = 0;

/// The settings of one service's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of memory, cut to a fair share of the total.
    pub memory: usize,
    /// The file, if there is to be one.
    pub file: Option<Place>,
    /// Whether lines go to the kernel log too.
    pub kernel: bool,
    /// Bytes a second that are logged, each line counting 32 more; 0 is no limit.
    pub rate: u64,
    /// Bytes that may come at once before the rate counts.
    pub burst: u64,
}

impl Settings {
    /// The usual settings for the service `name`: 32 KiB of memory, two files of 256 KiB in /run/log, 256 KiB a second.
    pub fn new(name: &str) -> Settings {
        Settings {
            memory: 32 << 10,
            file: Some(Place { path: format!("{DIRECTORY}/{name}.log"), size: 256 << 10, keep: 1 }),
            kernel: false,
            rate: 256 << 10,
            burst: 1 << 20,
        }
    }
}

/// What the streams share.
#[derive(Debug, Default)]
pub struct Scratch {
    /// A buffer for writes; kept, so that a turn allocates nothing.
    buffer: Vec<u8>,
    /// Files that are to be closed.
    closing: Vec<OwnedFd>,
}

impl Scratch {
    /// Takes what became of a job that nobody waits for any more.
    fn discard(&mut self, done: Completion) {
        match done {
            Completion::Opened(Ok(fd)) | Completion::Looked(fd, _) | Completion::Wrote(fd, ..) => self.closing.push(fd),
            Completion::Opened(Err(_)) | Completion::Renamed(_) | Completion::Made(_) | Completion::Closed => {}
        }
    }
}

struct Stream {
    number: u32,
    name: String,
    memory: usize,
    splitter: Splitter,
    ring: Ring,
    budget: Budget,
    file: Option<LogFile>,
    kernel: Option<KernelLog>,
    /// Bytes of memory that lines take which the file has not yet.
    unwritten: usize,
    /// Output for which memory has no room before the file has had its lines.
    waiting: Vec<u8>,
    /// The service closed its output, and the last line comes from what waits.
    ending: bool,
    /// So many lines of the program before this one are not in the file.
    unsent: u64,
}

impl Stream {
    fn set(&mut self, settings: Settings, file: u32, scratch: &mut Scratch) {
        self.memory = settings.memory;
        self.budget.set(settings.rate, settings.burst);
        let next = self.ring.end();
        let unsent = core::mem::take(&mut self.unsent);
        self.file = match (self.file.take(), settings.file) {
            (Some(file), Some(place)) if *file.place() == place => Some(file),
            (old, place) => {
                // The new file gets what the old one has not yet.
                let from = old.as_ref().map_or(next.saturating_sub(unsent), LogFile::unsent);
                if let Some(old) = old {
                    old.close(scratch);
                }
                place.map(|place| LogFile::new(file, place, from))
            }
        };
        self.kernel = match (self.kernel.take(), settings.kernel) {
            (Some(kernel), true) => Some(kernel),
            (_, wanted) => wanted.then(|| KernelLog::new(next)),
        };
    }

    fn append(&mut self, bytes: &[u8], now: Now, scratch: &mut Scratch) {
        let waiting = core::mem::take(&mut self.waiting);
        if !waiting.is_empty() {
            self.cut(&waiting, now, scratch);
        }
        self.cut(bytes, now, scratch);
    }

    /// Cuts into lines, until memory is so full of lines for the file that the rest has to wait.
    fn cut(&mut self, bytes: &[u8], now: Now, scratch: &mut Scratch) {
        self.say_dropped(now);
        let quarter = self.ring.limit() / 4;
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.unwritten >= quarter {
                // The next pieces may push these lines out of a small memory.
                self.flush(true, now.uptime, scratch);
                if !self.waiting.is_empty() || self.file.as_ref().is_some_and(|f| f.is_behind(&self.ring, now.uptime)) {
                    self.waiting.extend_from_slice(rest);
                    return;
                }
                self.unwritten = 0;
            }
            let (piece, more) = rest.split_at(rest.len().min(PIECE));
            let Stream { splitter, ring, budget, unwritten, .. } = self;
            splitter.split(piece, |line| {
                if budget.take(line.len()) {
                    *unwritten += ring.push(Stamp::of(now), line);
                }
            });
            rest = more;
        }
        self.flush(false, now.uptime, scratch);
    }

    /// Goes on with what waits, after a job on the file.
    fn go_on(&mut self, now: Now, scratch: &mut Scratch) {
        self.flush(false, now.uptime, scratch);
        self.append(&[], now, scratch);
        if self.ending && self.waiting.is_empty() {
            self.end(now, scratch);
        }
    }

    /// Ends the last line.
    fn end(&mut self, now: Now, scratch: &mut Scratch) {
        self.ending = !self.waiting.is_empty();
        if self.ending {
            return;
        }
        let Stream { splitter, ring, budget, .. } = self;
        splitter.finish(|line| {
            if budget.take(line.len()) {
                ring.push(Stamp::of(now), line);
            }
        });
        self.flush(false, now.uptime, scratch);
    }

    /// Whether its file gets something yet.
    fn is_at_work(&self) -> bool {
        !self.waiting.is_empty() || self.file.as_ref().is_some_and(|file| file.is_at_work(&self.ring))
    }

    fn say_dropped(&mut self, now: Now) {
        if let Some(count) = self.budget.refill(now.uptime) {
            self.ring.push(Stamp::of(now), format!("init: {count} lines dropped, too many at once").as_bytes());
        }
    }

    fn flush(&mut self, urgent: bool, now: Duration, scratch: &mut Scratch) {
        if let Some(file) = &mut self.file {
            file.flush(&self.ring, urgent, now);
        }
        if let Some(kernel) = &mut self.kernel {
            kernel.flush(&self.name, &self.ring, now, &mut scratch.buffer);
        }
        if self.file.as_ref().is_none_or(|file| file.unsent() >= self.ring.end()) {
            self.unwritten = 0;
        }
    }

    /// Does what is due without new output.
    fn tick(&mut self, now: Now, scratch: &mut Scratch) {
        if self.deadline().is_some_and(|deadline| deadline <= now.uptime) {
            self.say_dropped(now);
            if let Some(file) = &mut self.file {
                file.complain(now.uptime);
            }
            self.go_on(now, scratch);
        }
    }

    fn deadline(&self) -> Option<Duration> {
        let file = self.file.as_ref().and_then(|file| file.deadline(&self.ring));
        let kernel = self.kernel.as_ref().and_then(|kernel| kernel.deadline(&self.ring));
        [self.budget.deadline(), file, kernel].into_iter().flatten().min()
    }
}

/// Streams by number and not by place: a number is never used again. They are sorted in one piece of memory, because the code
/// of a `BTreeMap` is 5 KiB of the program.
#[derive(Default)]
struct Streams(Vec<Stream>);

impl Streams {
    fn place(&self, number: u32) -> core::result::Result<usize, usize> {
        self.0.binary_search_by_key(&number, |stream| stream.number)
    }

    fn get(&self, number: u32) -> Option<&Stream> {
        self.0.get(self.place(number).ok()?)
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut Stream> {
        let place = self.place(number).ok()?;
        self.0.get_mut(place)
    }

    fn insert(&mut self, stream: Stream) {
        let (Ok(place) | Err(place)) = self.place(stream.number);
        self.0.insert(place, stream);
    }

    fn remove(&mut self, number: u32) -> Option<Stream> {
        self.place(number).ok().map(|place| self.0.remove(place))
    }
}

/// The logs of all services.
#[derive(Default)]
pub struct Logs {
    streams: Streams,
    next: u32,
    /// Those that were removed, until their files have everything.
    leaving: Vec<Stream>,
    /// The number of the latest file.
    files: u32,
    scratch: Scratch,
    /// Files that are being closed.
    closing: usize,
}

impl Logs {
    /// No logs yet.
    pub fn new() -> Logs {
        Logs::default()
    }

    /// The stream of the service `name` from now on. Where the service has one already it keeps its lines and its number, and takes
    /// the new settings.
    pub fn add_stream(&mut self, name: &str, settings: Settings) -> u32 {
        let stream = self.find(name).unwrap_or_else(|| self.new_stream(name, &settings));
        if let Some(stream) = self.streams.get_mut(stream) {
            self.files = self.files.wrapping_add(1).max(CLOSER + 1);
            stream.set(settings, self.files, &mut self.scratch);
        }
        self.share_memory();
        stream
    }

    fn new_stream(&mut self, name: &str, settings: &Settings) -> u32 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.streams.insert(Stream {
            number,
            name: name.into(),
            memory: 0,
            splitter: Splitter::default(),
            ring: Ring::new(0),
            budget: Budget::new(settings.rate, settings.burst),
            file: None,
            kernel: None,
            unwritten: 0,
            waiting: Vec::new(),
            ending: false,
            unsent: 0,
        });
        number
    }

    /// Forgets a stream; its files stay.
    pub fn remove_stream(&mut self, stream: u32) {
        self.end(stream, Now::read());
        self.leaving.extend(self.streams.remove(stream));
        self.let_go();
        self.share_memory();
    }

    /// Forgets the removed streams whose files have everything, or cannot have it.
    fn let_go(&mut self) {
        for gone in self.leaving.extract_if(.., |stream| !stream.is_at_work()) {
            if let Some(file) = gone.file {
                file.close(&mut self.scratch);
            }
        }
    }

    fn share_memory(&mut self) {
        let share = TOTAL / self.streams.0.len().max(1);
        for stream in self.streams.0.iter_mut() {
            stream.ring.set_limit(stream.memory.min(share));
        }
    }

    /// The stream of the service `name`.
    pub fn find(&self, name: &str) -> Option<u32> {
        self.streams.0.iter().find(|stream| stream.name == name).map(|stream| stream.number)
    }

    /// Takes what a service wrote.
    pub fn append(&mut self, stream: u32, bytes: &[u8], now: Now) {
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.append(bytes, now, &mut self.scratch);
        }
    }

    /// Whether a stream has output that waits for its file; more of it should not be read for now.
    pub fn is_waiting(&self, stream: u32) -> bool {
        self.streams.get(stream).is_some_and(|stream| !stream.waiting.is_empty())
    }

    /// Hands what is to be done to files to `each`, with the number that [`Logs::done`] wants. To be called once a turn.
    pub fn hand_out(&mut self, mut each: impl FnMut(u32, Job)) {
        let streams = self.streams.0.iter_mut().chain(&mut self.leaving);
        for file in streams.filter_map(|stream| stream.file.as_mut()) {
            if let Some(job) = file.take_job() {
                each(file.id(), job);
            }
        }
        for fd in self.scratch.closing.drain(..) {
            self.closing += 1;
            each(CLOSER, Job::Close(fd));
        }
    }

    /// Takes what became of a job; an error where nobody knows what became of it.
    pub fn done(&mut self, file: u32, result: core::result::Result<Completion, Errno>, now: Now) {
        if file == CLOSER {
            self.closing = self.closing.saturating_sub(1);
            return;
        }
        let mut streams = self.streams.0.iter_mut().chain(&mut self.leaving);
        let found = streams.find(|stream| stream.file.as_ref().is_some_and(|known| known.id() == file));
        match (found, result) {
            (Some(stream), result) => {
                if let Some(file) = &mut stream.file {
                    match result {
                        Ok(done) => file.done(done, &stream.ring, now.uptime, &mut self.scratch),
                        Err(error) => file.failed(error, now.uptime),
                    }
                }
                stream.go_on(now, &mut self.scratch);
            }
            (None, Ok(done)) => self.scratch.discard(done),
            (None, Err(_)) => {}
        }
        self.let_go();
    }

    /// Whether a file gets something yet, or is being closed.
    pub fn is_at_work(&self) -> bool {
        let mut streams = self.streams.0.iter().chain(&self.leaving);
        self.closing > 0 || !self.scratch.closing.is_empty() || streams.any(Stream::is_at_work)
    }

    /// The service closed its output: a last line without an end is one all the same.
    pub fn end(&mut self, stream: u32, now: Now) {
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.end(now, &mut self.scratch);
        }
    }

    /// From now on somebody waits for the files.
    pub fn hurry(&mut self) {
        let streams = self.streams.0.iter_mut().chain(&mut self.leaving);
        streams.filter_map(|stream| stream.file.as_mut()).for_each(LogFile::hurry);
    }

    /// Ends all streams, for which somebody waits.
    pub fn end_all(&mut self, now: Now) {
        self.hurry();
        self.streams.0.iter_mut().for_each(|stream| stream.end(now, &mut self.scratch));
    }

    /// Closes the files of all streams, which would keep file systems from being unmounted. Lines that come later stay in
    /// memory, until [`Logs::add_stream`] gives a stream its settings again.
    pub fn close(&mut self) {
        for stream in self.streams.0.iter_mut().chain(&mut self.leaving) {
            if let Some(file) = stream.file.take() {
                file.close(&mut self.scratch);
            }
            stream.kernel = None;
            // Nothing more comes in its way.
            stream.waiting.clear();
        }
        self.let_go();
    }

    /// Adds a line of PID 1 itself, such as that the service was started.
    pub fn note(&mut self, stream: u32, text: fmt::Arguments<'_>, now: Now) {
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.ring.push(Stamp::of(now), format!("init: {text}").as_bytes());
            stream.flush(false, now.uptime, &mut self.scratch);
        }
    }

    /// Adds a whole line.
    pub fn say(&mut self, stream: u32, text: &str, now: Now) {
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.ring.push(Stamp::of(now), text.as_bytes());
            stream.flush(false, now.uptime, &mut self.scratch);
        }
    }

    /// When [`Logs::tick`] has work.
    pub fn deadline(&self) -> Option<Duration> {
        self.streams.0.iter().chain(&self.leaving).filter_map(Stream::deadline).min()
    }

    /// Does what is due without new output: says what was dropped, tries files again.
    pub fn tick(&mut self, now: Now) {
        for stream in self.streams.0.iter_mut().chain(&mut self.leaving) {
            stream.tick(now, &mut self.scratch);
        }
        self.let_go();
    }

    /// The number of the first of the last `count` lines, where a reader starts; nothing when there is no such stream.
    pub fn last(&self, stream: u32, count: u64) -> Option<u64> {
        self.streams.get(stream).map(|stream| stream.ring.last(count))
    }

    /// The number that the stream's next line will have, where a reader that wants no new lines stops.
    pub fn next(&self, stream: u32) -> Option<u64> {
        self.streams.get(stream).map(|stream| stream.ring.end())
    }

    /// Appends to `out` the lines from number `next` on, as `TIME TEXT`, until there are about `room` bytes, and moves `next` on.
    /// Returns whether there is such a stream.
    pub fn read(&self, stream: u32, next: &mut u64, room: usize, out: &mut Vec<u8>) -> bool {
        let Some(stream) = self.streams.get(stream) else {
            return false;
        };
        let (_, lines) = copy(&stream.ring, *next, room, out);
        *next = stream.ring.oldest().max(*next) + lines;
        true
    }
}

/// Appends the lines from number `next` on until there are about `room` bytes more, and before them how many of them memory
/// has no more. Returns how many lines of PID 1 and how many of the log these are.
fn copy(ring: &Ring, next: u64, room: usize, out: &mut Vec<u8>) -> (usize, u64) {
    let full = out.len().saturating_add(room);
    let missed = ring.oldest().saturating_sub(next);
    let (mut notes, mut lines) = (0, 0);
    for line in ring.lines(next) {
        if out.len() >= full {
            break;
        }
        if missed > 0 && notes == 0 {
            note(out, line.stamp, format_args!("{missed} lines are missing here"));
            notes = 1;
        }
        format(out, &line);
        lines += 1;
    }
    (notes, lines)
}

/// Appends a line as files and readers get it.
fn format(out: &mut Vec<u8>, line: &Line<'_>) {
    line.stamp.write(out);
    out.push(b' ');
    out.extend_from_slice(line.parts.0);
    out.extend_from_slice(line.parts.1);
    out.push(b'\n');
}

/// Appends a line of PID 1.
fn note(out: &mut Vec<u8>, stamp: Stamp, text: fmt::Arguments<'_>) {
    stamp.write(out);
    out.extend_from_slice(b" init: ");
    // Memory has no errors to report.
    let _ = writeln!(out, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLY: Now = Now { uptime: Duration::ZERO, wall: 0 };

    fn at(seconds: u64) -> Now {
        Now { uptime: Duration::from_secs(seconds), wall: 0 }
    }

    /// In memory alone.
    fn settings(memory: usize) -> Settings {
        Settings { memory, file: None, ..Settings::new("x") }
    }

    /// Does what there is to do to files, and lets the time pass that they wait.
    fn settle(logs: &mut Logs, mut now: Now) {
        while logs.is_at_work() {
            let mut jobs = Vec::new();
            logs.hand_out(|file, job| jobs.push((file, job)));
            if jobs.is_empty() {
                let uptime = logs.deadline().filter(|time| *time > now.uptime).expect("at work without work");
                now = Now { uptime, ..now };
                logs.tick(now);
            }
            jobs.into_iter().for_each(|(file, job)| logs.done(file, Ok(job.run()), now));
        }
    }

    fn text(logs: &Logs, stream: u32, next: &mut u64, room: usize) -> String {
        let mut out = Vec::new();
        assert!(logs.read(stream, next, room, &mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn readers_go_on_where_they_were() {
        let mut logs = Logs::new();
        let web = logs.add_stream("web", settings(4096));
        logs.append(web, b"one\ntwo\nthr", EARLY);
        let mut next = logs.last(web, 1).unwrap();
        assert_eq!(text(&logs, web, &mut next, 1000), "+0.000 two\n");
        logs.append(web, b"ee\n", at(2));
        logs.note(web, format_args!("started as process {}", 7), at(3));
        assert_eq!(text(&logs, web, &mut next, 1), "+2.000 three\n");
        assert_eq!(text(&logs, web, &mut next, 1000), "+3.000 init: started as process 7\n");
        assert_eq!(text(&logs, web, &mut next, 1000), "");
        logs.append(web, b"no end", at(4));
        logs.end(web, at(4));
        assert_eq!(text(&logs, web, &mut next, 1000), "+4.000 no end\n");
    }

    #[test]
    fn a_slow_reader_learns_what_it_missed() {
        let mut logs = Logs::new();
        let web = logs.add_stream("web", Settings { rate: 0, ..settings(4096) });
        for number in 0..1000 {
            logs.append(web, format!("line {number}\n").as_bytes(), EARLY);
        }
        let mut next = 10;
        let oldest = logs.last(web, u64::MAX).unwrap();
        let seen = text(&logs, web, &mut next, usize::MAX);
        assert!(
            seen.starts_with(&format!("+0.000 init: {} lines are missing here\n+0.000 line {oldest}\n", oldest - 10))
        );
        assert!(seen.ends_with("line 999\n"));
        assert_eq!(next, 1000);
    }

    #[test]
    fn a_stream_keeps_its_lines_over_a_restart_and_ids_are_not_reused() {
        let mut logs = Logs::new();
        let web = logs.add_stream("web", settings(4096));
        logs.append(web, b"one\n", EARLY);
        assert_eq!(logs.add_stream("web", settings(8192)), web);
        assert_eq!(text(&logs, web, &mut 0, 100), "+0.000 one\n");
        logs.remove_stream(web);
        assert_eq!((logs.find("web"), logs.last(web, 1)), (None, None));
        assert!(!logs.read(web, &mut 0, 100, &mut Vec::new()));
        assert_ne!(logs.add_stream("web", settings(4096)), web);
    }

    #[test]
    fn all_services_together_stay_below_the_total() {
        let mut logs = Logs::new();
        let flood = "x".repeat(100) + "\n";
        let free = Settings { rate: 0, ..settings(256 << 10) };
        let streams: Vec<u32> = (0..40).map(|number| logs.add_stream(&format!("s{number}"), free.clone())).collect();
        for _ in 0..2000 {
            streams.iter().for_each(|&stream| logs.append(stream, flood.as_bytes(), EARLY));
        }
        let used: usize = logs.streams.0.iter().map(|stream| stream.ring.used()).sum();
        assert!((TOTAL * 9 / 10..=TOTAL).contains(&used), "{used}");
    }

    #[test]
    fn a_flood_is_cut_counted_and_said() {
        let mut logs = Logs::new();
        let web = logs.add_stream("web", Settings { rate: 1000, burst: 2000, ..settings(32 << 10) });
        logs.append(web, "y\n".repeat(500).as_bytes(), EARLY);
        let mut next = 0;
        let kept = text(&logs, web, &mut next, usize::MAX).lines().count() as u64;
        assert_eq!(kept, 2000 / 33);
        assert!(logs.deadline().is_some(), "said even when the service falls silent");
        logs.tick(at(5));
        let said = format!("+5.000 init: {} lines dropped, too many at once\n", 500 - kept);
        assert_eq!(text(&logs, web, &mut next, usize::MAX), said);
        assert_eq!(logs.deadline(), None);
    }

    #[test]
    fn a_file_gets_every_line_though_memory_is_small() {
        let path = std::env::temp_dir().join(format!("init-logs-all-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let place = Place { path: path.to_str().unwrap().into(), size: 1 << 20, keep: 0 };
        let mut logs = Logs::new();
        let web = logs.add_stream("web", Settings { file: Some(place), ..settings(8192) });
        logs.append(web, "\n".repeat(4096).as_bytes(), EARLY);
        assert!(logs.is_waiting(web));
        settle(&mut logs, EARLY);
        assert!(!logs.is_waiting(web));
        let content = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((content.lines().count(), content.contains("missing")), (4096, false));
    }

    #[test]
    fn at_the_end_everything_is_written_and_closed() {
        let path = std::env::temp_dir().join(format!("init-logs-end-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let place = Place { path: path.to_str().unwrap().into(), size: 1 << 20, keep: 0 };
        let mut logs = Logs::new();
        let settings = Settings { file: Some(place), ..settings(8192) };
        let web = logs.add_stream("web", settings.clone());
        logs.append(web, b"one\nno end", EARLY);
        logs.end_all(EARLY);
        settle(&mut logs, EARLY);
        logs.close();
        settle(&mut logs, EARLY);
        logs.append(web, b"late\n", EARLY);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "+0.000 one\n+0.000 no end\n");
        assert_eq!(text(&logs, web, &mut 2, 100), "+0.000 late\n");
        logs.add_stream("web", settings);
        logs.append(web, b"again\n", EARLY);
        settle(&mut logs, EARLY);
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("no end\n+0.000 again\n"));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn output_of_a_stream_that_is_gone_is_nothing() {
        let mut logs = Logs::new();
        logs.append(3, b"x\n", EARLY);
        logs.end(3, EARLY);
        logs.remove_stream(3);
        assert_eq!(logs.deadline(), None);
    }
}
