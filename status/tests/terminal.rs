//! The program on a pseudo-terminal, with a PID 1 of this test at the other end of the control socket.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::num::NonZero;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetwinsize, tcsetwinsize};

/// Longer than any wait here takes, also on a busy host.
const LIMIT: Duration = Duration::from_secs(60);
/// The question for the cursor's place.
const QUESTION: &str = "\x1b[6n";

/// A terminal with the program on it, and what the terminal shows.
struct Console {
    child: Child,
    keyboard: File,
    output: Receiver<Vec<u8>>,
    screen: vt100::Parser,
    /// Bytes that came, and questions among them.
    bytes: usize,
    questions: usize,
    /// Requests that PID 1 got.
    requests: Receiver<String>,
    _dir: tempfile::TempDir,
}

impl Console {
    /// Starts it on a terminal of this size; nothing is a serial line.
    fn start(rows: u16, columns: u16) -> Console {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let shell = dir.path().join("shell");
        fs::write(&shell, "#!/bin/sh\necho this is a shell; read line; echo \"it read $line\"; sleep 1\n").unwrap();
        fs::set_permissions(&shell, fs::Permissions::from_mode(0o755)).unwrap();
        let requests = serve(UnixListener::bind(&socket).unwrap());
        let (master, terminal) = pair(rows, columns);
        let mut command = Command::new(env!("CARGO_BIN_EXE_status"));
        command.arg("--socket").arg(&socket).arg("--shell").arg(&shell).env_clear().env("PATH", "/usr/bin:/bin");
        command.stdin(terminal.try_clone().unwrap()).stdout(terminal.try_clone().unwrap());
        let child = command.stderr(terminal).spawn().unwrap();
        let mut reader = File::from(master.try_clone().unwrap());
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut block = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut block) {
                if sender.send(block[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        let (rows, columns) = if rows == 0 { (24, 80) } else { (rows, columns) };
        let screen = parser(rows, columns);
        Console { child, keyboard: master.into(), output, screen, bytes: 0, questions: 0, requests, _dir: dir }
    }

    /// Waits until the terminal shows something that is as it should be.
    fn until(&mut self, what: &str, is_so: impl Fn(&str) -> bool) {
        let begin = Instant::now();
        while !is_so(&self.screen.screen().contents()) {
            assert!(begin.elapsed() < LIMIT, "no {what} in:\n{}", self.screen.screen().contents());
            self.take(Duration::from_millis(100));
        }
    }

    fn shows(&mut self, words: &str) {
        self.until(words, |screen| screen.contains(words));
    }

    /// Takes what comes within a time.
    fn take(&mut self, pause: Duration) {
        match self.output.recv_timeout(pause) {
            Ok(bytes) => {
                self.bytes += bytes.len();
                self.questions += String::from_utf8_lossy(&bytes).matches(QUESTION).count();
                self.screen.process(&bytes);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => panic!("the program ended: {:?}", self.child.try_wait()),
        }
    }

    fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    fn ends(&mut self) {
        let begin = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(begin.elapsed() < LIMIT, "the program does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn terminate(&mut self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parser(rows: u16, columns: u16) -> vt100::Parser {
    vt100::Parser::new(NonZero::new(rows).unwrap(), NonZero::new(columns).unwrap(), 0)
}

fn pair(rows: u16, columns: u16) -> (OwnedFd, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    resize(&master, rows, columns);
    let path = ptsname(&master, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let terminal = rustix::fs::open(path.as_c_str(), flags, Mode::empty()).unwrap();
    (master, terminal)
}

fn resize(terminal: impl AsFd, rows: u16, columns: u16) {
    tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

/// A PID 1 with a service that says bad things.
fn serve(listener: UnixListener) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut writer = stream.try_clone().unwrap();
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let text = match line.split(' ').next() {
                    Some("list") => "web\trunning\tup\t9\t65000\t2\t\n".to_owned(),
                    Some("log") => {
                        "2099-01-01T00:00:00.000Z init: process 7 ended: signal 9\n2099-01-01T00:00:01.000Z \u{1b}[2J\u{1b}]0;x\u{7}evil \u{9b}5n\n".into()
                    }
                    _ => String::new(),
                };
                let block = if text.is_empty() { String::new() } else { format!("data {}\n{text}", text.len()) };
                let _ = sender.send(line);
                if writer.write_all(format!("ok\n{block}end\n").as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    receiver
}

#[test]
fn a_serial_line_is_asked_what_it_can() {
    let mut console = Console::start(0, 0);
    console.shows("web  running");
    // No answer yet: ASCII, 80 by 24.
    console
        .until("bar of keys in row 24", |screen| screen.lines().count() == 24 && screen.contains("-- Services ----"));
    let begin = Instant::now();
    while console.questions < 2 {
        assert!(begin.elapsed() < LIMIT, "it asks nothing");
        console.take(Duration::from_millis(50));
    }
    console.screen = parser(30, 100);
    console.press(b"\x1b[1;3R\x1b[30;100R");
    console.until("30 rows with UTF-8", |screen| screen.lines().count() == 30 && screen.contains("── Services ────"));
    // The kernel knows it too.
    let size = tcgetwinsize(&console.keyboard).unwrap();
    assert_eq!((size.ws_row, size.ws_col), (30, 100));
    // A terminal without UTF-8 takes the place of that one.
    console.press(b"\x1b[1;2R");
    console.until("ASCII", |screen| screen.contains("-- Services ----"));
}

#[test]
fn what_services_say_is_shown_and_not_obeyed() {
    let mut console = Console::start(25, 80);
    console.shows("?[2J?]0;x?evil ?5n");
    console.shows("last end: signal 9");
    console.press(b"l");
    console.shows("log of all services");
    // The kernel has lines too, where this host lets them be read.
    for _ in 0..2 {
        if !console.screen.screen().contents().contains("log of web") {
            console.press(b"\t");
            console.until("the log of a service", |screen| {
                screen.contains("log of web") || screen.contains("log of kernel")
            });
        }
    }
    console.shows("log of web");
    console.shows("process 7 ended");
    console.press(b"\x1b");
    console.shows("Network");
}

#[test]
fn an_idle_screen_costs_few_bytes() {
    let mut console = Console::start(25, 80);
    console.shows("web  running");
    console.take(Duration::from_secs(2));
    let (before, begin) = (console.bytes, Instant::now());
    while begin.elapsed() < Duration::from_secs(5) {
        console.take(Duration::from_millis(100));
    }
    // Clock and uptime, and what else changes on a busy host: memory, load, addresses of other tests.
    let each = (console.bytes - before) / 5;
    assert!((5..400).contains(&each), "{each} bytes a second");
}

#[test]
fn the_machine_goes_down_after_a_question() {
    let mut console = Console::start(25, 80);
    console.shows("web  running");
    console.press(b"p");
    console.shows("Power this machine off?");
    console.press(b"n");
    console.until("no question", |screen| !screen.contains("Power this machine off?"));
    console.press(b"r");
    console.shows("Reboot this machine?");
    console.press(b"y");
    console.shows("This machine reboots.");
    let asked: Vec<String> = console.requests.try_iter().filter(|line| line.starts_with("shutdown")).collect();
    assert_eq!(asked, ["shutdown reboot"]);
}

#[test]
fn a_shell_has_the_terminal_until_it_ends() {
    let mut console = Console::start(25, 80);
    console.shows("x shell");
    console.press(b"x");
    console.shows("this is a shell");
    // Its keys are its own.
    console.press(b"p\n");
    console.shows("it read p");
    console.shows("web  running");
    console.until("no question", |screen| {
        !screen.contains("Power this machine off?") && !screen.contains("this is a shell")
    });
}

#[test]
fn noise_and_new_sizes_do_no_harm() {
    let mut console = Console::start(25, 80);
    console.shows("web  running");
    let mut state = 0x9e37_79b9_u32;
    for _ in 0..200 {
        let noise = (0..100).map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            // Neither a question's y nor the shell.
            match state as u8 {
                b'y' | b'Y' | b'x' => 0xff,
                byte => byte,
            }
        });
        console.press(&noise.collect::<Vec<_>>());
        console.take(Duration::from_millis(1));
    }
    for (rows, columns) in [(1, 1), (12, 40), (50, 160)] {
        resize(&console.keyboard, rows, columns);
        // It leads no session here, so no signal comes from the terminal.
        assert!(
            Command::new("kill").args(["-s", "WINCH", &console.child.id().to_string()]).status().unwrap().success()
        );
        std::thread::sleep(Duration::from_millis(300));
        while let Ok(bytes) = console.output.try_recv() {
            console.screen.process(&bytes);
        }
    }
    console.screen = parser(50, 160);
    console.press(b"\x1b\x1b\x1bqq\r");
    console.until("50 rows", |screen| screen.lines().count() == 50 && screen.contains("p power off"));
    let asked: Vec<String> = console.requests.try_iter().filter(|line| line.starts_with("shutdown")).collect();
    assert!(asked.is_empty(), "{asked:?}");
}

#[test]
fn a_line_that_takes_nothing_does_not_hold_up_its_end() {
    // Nobody reads: the terminal's buffer (some KiB) fills with whole screens.
    let dir = tempfile::tempdir().unwrap();
    let (master, terminal) = pair(100, 300);
    let mut command = Command::new(env!("CARGO_BIN_EXE_status"));
    command.arg("--socket").arg(dir.path().join("none")).env_clear();
    let mut child = command.stdin(terminal.try_clone().unwrap()).stdout(terminal).spawn().unwrap();
    for _ in 0..20 {
        rustix::io::write(&master, b"\r").unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(begin.elapsed() < LIMIT, "the program does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_terminal_is_given_back() {
    let mut console = Console::start(25, 80);
    console.shows("web  running");
    console.terminate();
    console.ends();
    let settings = rustix::termios::tcgetattr(&console.keyboard).unwrap();
    assert!(settings.local_modes.contains(rustix::termios::LocalModes::ECHO | rustix::termios::LocalModes::ICANON));
    while let Ok(bytes) = console.output.recv_timeout(Duration::from_millis(200)) {
        console.screen.process(&bytes);
    }
    assert!(console.screen.screen().contents().trim().is_empty() && !console.screen.screen().hide_cursor());
}
