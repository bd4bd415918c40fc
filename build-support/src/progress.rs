//! The live status: which step of how many runs, for how long, how far it is and how long it will still take.
//!
//! Cargo keeps what build scripts print to itself until they fail. Their parent is cargo, so the status goes to
//! cargo's own standard error: as one line that is rewritten each second when that is a terminal, as plain lines
//! when it is a file or a pipe.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

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
        if let Some(left) = self.left(elapsed) {
            text += &format!(", {} left", duration(left));
        }
        if with_log {
            text += &format!("  {}", self.log);
        }
        text
    }

    /// The time left in seconds: from the speed of this run once a tenth is done, else from the last run.
    fn left(&self, elapsed: f64) -> Option<f64> {
        let counting = self.counting_since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        let by_speed = self.counted.and_then(|(done, all)| left_by_speed(done, all, counting));
        let by_past = self.expected.map(|expected| (expected - elapsed).max(0.0));
        match self.counted {
            Some((done, all)) if done * 10 >= all => by_speed.or(by_past),
            _ => by_past.or(by_speed),
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
    // Append: a file that cargo's output goes to is opened anew here, at offset zero.
    let opened = path.as_ref().and_then(|path| OpenOptions::new().append(true).open(path).ok());
    match opened {
        Some(file) if termios::isatty(&file) => Screen::Terminal(file),
        Some(file) => Screen::Plain(file),
        None => Screen::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
