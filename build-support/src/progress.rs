//! The live status: which step of how many runs, for how long, how far it is and how long it will still take.
//!
//! Cargo keeps what build scripts print to itself until they fail. Their parent is cargo, so the status goes to
//! cargo's own standard error: as one line that is rewritten each second when that is a terminal, as plain lines
//! when it is a file or a pipe.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, OFlags};
use rustix::process::{PidfdFlags, PidfdGetfdFlags};
use rustix::termios;

/// How often a plain log gets a line while a step runs, so that nobody takes it for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Where the status goes.
enum Screen {
    Terminal(File),
    Plain(File),
    None,
}

/// A running step, as the status line shows it.
pub struct Progress {
    label: String,
    log: String,
    started: Instant,
    /// Seconds that this step took the last time on this machine.
    expected: Option<f64>,
    /// Done and all, as ninja counts.
    counted: Option<(u64, u64)>,
    /// When counting began: configuration before it says nothing about the speed.
    counting_since: Option<Instant>,
    last_plain: Instant,
    finished: bool,
}

/// A step's entry in the status; the line goes when it is dropped.
pub struct Status(Arc<Mutex<Progress>>);

impl Status {
    /// Starts to show a step. `label` names it (`[3/9] llvm x86_64`), `log` is the file to follow.
    pub fn start(label: String, log: String, expected: Option<f64>) -> Status {
        let now = Instant::now();
        let eta = expected.map_or(String::new(), |seconds| format!(", about {}", duration(seconds)));
        line(&format!("{label}{eta}; log: {log}"));
        let shared = Arc::new(Mutex::new(Progress {
            label,
            log,
            started: now,
            expected,
            counted: None,
            counting_since: None,
            last_plain: now,
            finished: false,
        }));
        let shown = Arc::clone(&shared);
        std::thread::spawn(move || {
            while show(&shown) {
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        Status(shared)
    }

    /// Takes one line of a tool's output; ninja's `[done/all]` moves the status.
    pub fn observe(&self, text: &str) {
        if let Some(counted) = ninja_count(text) {
            let mut progress = lock(&self.0);
            progress.counted = Some(counted);
            progress.counting_since.get_or_insert_with(Instant::now);
        }
    }
}

impl Drop for Status {
    fn drop(&mut self) {
        lock(&self.0).finished = true;
        if let Screen::Terminal(mut file) = screen() {
            let _ = write!(file, "\r\x1b[2K"); // A terminal that is gone needs no cleaning.
        }
    }
}

/// Prints one line for the person who watches: above the status on a terminal, else into the plain log.
pub fn line(text: &str) {
    match screen() {
        // A status that cannot be shown must not stop a build.
        Screen::Terminal(mut file) => drop(write!(file, "\r\x1b[2K{:>12} {text}\r\n", "Bloomery")),
        Screen::Plain(mut file) => drop(writeln!(file, "bloomery: {text}")),
        Screen::None => {}
    }
    if in_build_script() {
        println!("{text}"); // Cargo keeps it, and shows it with -vv.
    }
}

/// Seconds as a person reads them.
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!("{}:{:02}:{:02} h", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Draws the status once; says whether to go on.
fn show(progress: &Mutex<Progress>) -> bool {
    let mut progress = lock(progress);
    if progress.finished {
        return false;
    }
    match screen() {
        Screen::Terminal(mut file) => {
            let width = termios::tcgetwinsize(&file).map_or(80, |size| usize::from(size.ws_col));
            let text: String = progress.text(true).chars().take(width.saturating_sub(1)).collect();
            let _ = write!(file, "\r\x1b[2K{text}");
            let _ = file.flush();
        }
        Screen::Plain(mut file) if progress.last_plain.elapsed() >= KEEP_ALIVE => {
            progress.last_plain = Instant::now();
            let _ = writeln!(file, "bloomery: {}", progress.text(false));
        }
        Screen::Plain(_) | Screen::None => {}
    }
    true
}

impl Progress {
    fn text(&self, with_log: bool) -> String {
        let elapsed = self.started.elapsed().as_secs_f64();
        let mut text = format!("{} {}", self.label, duration(elapsed));
        if let Some((done, all)) = self.counted {
            text += &format!(", {done}/{all}");
        }
        text += &self.rest(elapsed);
        if with_log {
            text += &format!("  {}", self.log);
        }
        text
    }

    /// The time left: from the speed of this run once a tenth is done, else from the last run. A step that takes longer than
    /// the last time says so.
    fn rest(&self, elapsed: f64) -> String {
        let counting = self.counting_since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        let by_speed = self.counted.and_then(|(done, all)| left_by_speed(done, all, counting));
        let knows_speed = self.counted.is_some_and(|(done, all)| done * 10 >= all);
        match (by_speed, self.expected) {
            (Some(left), _) if knows_speed => format!(", {} left", duration(left)),
            (_, Some(expected)) if elapsed > expected => {
                format!(", longer than the {} of last time", duration(expected))
            }
            (_, Some(expected)) => format!(", {} left", duration(expected - elapsed)),
            (Some(left), None) => format!(", {} left", duration(left)),
            (None, None) => String::new(),
        }
    }
}

fn left_by_speed(done: u64, all: u64, elapsed: f64) -> Option<f64> {
    (done > 0 && elapsed > 5.0).then(|| elapsed / done as f64 * all.saturating_sub(done) as f64)
}

/// `[12/3428] Building ...` gives (12, 3428).
fn ninja_count(line: &str) -> Option<(u64, u64)> {
    let (count, _) = line.strip_prefix('[')?.split_once(']')?;
    let (done, all) = count.split_once('/')?;
    Some((done.trim().parse().ok()?, all.trim().parse().ok()?))
}

fn in_build_script() -> bool {
    std::env::var_os("OUT_DIR").is_some()
}

fn screen() -> Screen {
    static PATH: OnceLock<Option<String>> = OnceLock::new();
    let path = PATH.get_or_init(|| {
        let of_cargo = format!("/proc/{}/fd/2", rustix::process::getppid()?.as_raw_nonzero());
        Some(if in_build_script() { of_cargo } else { "/proc/self/fd/2".into() })
    });
    static APPENDS: OnceLock<()> = OnceLock::new();
    APPENDS.get_or_init(|| {
        let _ = let_append(); // Where it is refused, lines may overlap.
    });
    // Append: a file that cargo's output goes to is opened anew here, at offset zero.
    let opened = path.as_ref().and_then(|path| OpenOptions::new().append(true).open(path).ok());
    match opened {
        Some(file) if termios::isatty(&file) => Screen::Terminal(file),
        Some(file) => Screen::Plain(file),
        None => Screen::None,
    }
}

/// Lets cargo's own standard error append too, where it goes to a file: cargo would write its next line over ours, at the place
/// where it was. It is the same open file only through pidfd_getfd(2), which a system may refuse.
fn let_append() -> rustix::io::Result<()> {
    let stderr = match rustix::process::getppid().filter(|_| in_build_script()) {
        Some(cargo) => {
            let cargo = rustix::process::pidfd_open(cargo, PidfdFlags::empty())?;
            rustix::process::pidfd_getfd(&cargo, 2, PidfdGetfdFlags::empty())?
        }
        None => rustix::io::dup(rustix::stdio::stderr())?,
    };
    append_to(&stderr)
}

fn append_to(file: &OwnedFd) -> rustix::io::Result<()> {
    let is_file = FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode) == FileType::RegularFile;
    let flags = rustix::fs::fcntl_getfl(file)?;
    if is_file { rustix::fs::fcntl_setfl(file, flags | OFlags::APPEND) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_writers_of_one_log_do_not_meet() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut cargo = File::create(&path).unwrap();
        let shared = cargo.try_clone().unwrap().into();
        append_to(&shared).unwrap();
        writeln!(cargo, "of cargo").unwrap();
        writeln!(OpenOptions::new().append(true).open(&path).unwrap(), "of the build").unwrap();
        writeln!(cargo, "of cargo").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "of cargo\nof the build\nof cargo\n");
    }

    #[test]
    fn a_step_that_takes_longer_says_so() {
        let now = Instant::now();
        let mut progress = Progress {
            label: "x".into(),
            log: "y".into(),
            started: now,
            expected: Some(90.0),
            counted: None,
            counting_since: None,
            last_plain: now,
            finished: false,
        };
        assert_eq!(progress.rest(30.0), ", 1:00 min left");
        assert_eq!(progress.rest(91.0), ", longer than the 1:30 min of last time");
        progress.expected = None;
        assert_eq!(progress.rest(91.0), "");
    }

    #[test]
    fn ninja_is_understood() {
        assert_eq!(ninja_count("[12/3428] Building CXX object a.o"), Some((12, 3428)));
        assert_eq!(ninja_count("[ 12/3428] x"), Some((12, 3428)));
        assert_eq!(ninja_count("warning: [1] no count"), None);
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(duration(7.4), "7 s");
        assert_eq!(duration(125.0), "2:05 min");
        assert_eq!(duration(3725.0), "1:02:05 h");
    }

    #[test]
    fn time_left_follows_the_speed() {
        assert_eq!(left_by_speed(100, 300, 50.0), Some(100.0));
        assert_eq!(left_by_speed(0, 300, 50.0), None);
    }
}
