//! The program between a PID 1 and servers of this test: what was logged before a server was there, a server that goes away and
//! comes back, and more than is kept.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longer than any wait here takes, also on a busy host: back-off is up to some seconds.
const LIMIT: Duration = Duration::from_secs(90);

/// A PID 1 with the service `web`, whose lines all come to each follower from the first on.
#[derive(Clone, Default)]
struct Init(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lines: Vec<String>,
    followers: Vec<UnixStream>,
}

impl Init {
    fn listen(path: &std::path::Path) -> Init {
        let (init, listener) = (Init::default(), UnixListener::bind(path).unwrap());
        let server = init.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                server.answer(stream);
            }
        });
        init
    }

    fn answer(&self, mut stream: UnixStream) {
        let mut request = String::new();
        if BufReader::new(stream.try_clone().unwrap()).read_line(&mut request).is_err() {
            return;
        }
        if request == "list\n" {
            let row = "web\trunning\tup\t9\t65000\t2\t\n";
            let _ = stream.write_all(format!("ok\ndata {}\n{row}end\n", row.len()).as_bytes());
            return;
        }
        assert_eq!(request, "log web 1000000 follow\n");
        let mut state = self.0.lock().unwrap();
        let text: String = state.lines.iter().map(|line| format!("{line}\n")).collect();
        let _ = stream.write_all(format!("ok\ndata {}\n{text}", text.len()).as_bytes());
        state.followers.push(stream);
    }

    /// The service says something; the number makes its time.
    fn says(&self, number: usize, words: &str) {
        let mut state = self.0.lock().unwrap();
        let line =
            format!("2026-11-21T06:{:02}:{:02}.{:03}Z {words}", number / 60_000, number / 1000 % 60, number % 1000);
        let block = format!("data {}\n{line}\n", line.len() + 1);
        state.lines.push(line);
        state.followers.retain_mut(|follower| follower.write_all(block.as_bytes()).is_ok());
    }

    /// Ends all connections, as a new program of PID 1 does.
    fn forgets_followers(&self) {
        self.0.lock().unwrap().followers.clear();
    }
}

/// The program, ended with the test.
struct Program(Child);

impl Program {
    fn start(socket: &std::path::Path, server: &str) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_syslogc"));
        command.args(["--no-kernel", "--socket"]).arg(socket).arg(server).stdin(Stdio::null());
        Program(command.spawn().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that nobody listens at.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Binds a port that was free a moment ago, as the server that comes back.
fn listen(port: u16) -> TcpListener {
    let begin = Instant::now();
    loop {
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(listener) => return listener,
            Err(error) => assert!(begin.elapsed() < LIMIT, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn accept(listener: &TcpListener) -> BufReader<TcpStream> {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    BufReader::new(stream)
}

/// The next message of a stream: its length, a blank, and so many bytes.
fn message(stream: &mut BufReader<TcpStream>) -> String {
    let mut length = Vec::new();
    stream.read_until(b' ', &mut length).unwrap();
    let length: usize = String::from_utf8(length).unwrap().trim().parse().unwrap();
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// The words of a message: what follows the header, which must be as RFC 5424 has it.
fn words(message: &str) -> String {
    let parts: Vec<&str> = message.splitn(8, ' ').collect();
    let [priority, time, _host, app, "-", "-", "-", words] = parts[..] else { panic!("{message}") };
    assert!(priority == "<30>1" && app == "web" || priority == "<44>1" && app == "syslogc", "{message}");
    assert!(time.ends_with('Z'), "{message}");
    words.into()
}

#[test]
fn a_stream_has_all_lines_whatever_happens_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, port) = (dir.path().join("init"), free_port());
    let init = Init::listen(&socket);
    (0..50).for_each(|number| init.says(number, &format!("line {number}")));
    let _program = Program::start(&socket, &format!("tcp://127.0.0.1:{port}"));
    std::thread::sleep(Duration::from_millis(1500));

    // What was said before there was a server, then what is said with it.
    let listener = listen(port);
    let mut stream = accept(&listener);
    init.says(50, "line 50");
    let mut next = 0;
    while next <= 50 {
        assert_eq!(words(&message(&mut stream)), format!("line {next}"));
        next += 1;
    }
    // PID 1 closes its connections, and shows the same lines again to the next ones.
    init.forgets_followers();
    init.says(51, "line 51");
    assert_eq!(words(&message(&mut stream)), "line 51");

    // The server goes away; lines that it had may come again, and none is missing.
    drop((stream, listener));
    std::thread::sleep(Duration::from_millis(300));
    (52..80).for_each(|number| init.says(number, &format!("line {number}")));
    std::thread::sleep(Duration::from_secs(2));
    let listener = listen(port);
    let mut stream = accept(&listener);
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last: &String| last != "line 79") {
        seen.push(words(&message(&mut stream)));
    }
    let first = seen.iter().position(|line| line == "line 52").unwrap();
    let expected: Vec<String> = (52..80).map(|number| format!("line {number}")).collect();
    assert_eq!(seen[first..], expected);
    assert!(first <= 1, "{seen:?}");
}

#[test]
fn what_is_too_much_is_counted() {
    const LINES: usize = 3000;
    let dir = tempfile::tempdir().unwrap();
    let (socket, port) = (dir.path().join("init"), free_port());
    let init = Init::listen(&socket);
    (0..LINES).for_each(|number| init.says(number, &format!("{number} {}", "x".repeat(200))));
    let _program = Program::start(&socket, &format!("tcp://127.0.0.1:{port}"));
    std::thread::sleep(Duration::from_millis(2500));
    let listener = listen(port);
    let mut stream = accept(&listener);
    let first = words(&message(&mut stream));
    let lost: usize = first.strip_suffix(" messages were lost while the server was away").unwrap().parse().unwrap();
    let number = words(&message(&mut stream)).split(' ').next().unwrap().parse::<usize>().unwrap();
    // 256 KiB of messages of some 250 bytes are left.
    assert!(lost == number && (900..1200).contains(&(LINES - lost)), "{lost} lost, then line {number}");
}

#[test]
fn datagrams_wait_for_their_server() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("init");
    let port = UdpSocket::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let init = Init::listen(&socket);
    (0..20).for_each(|number| init.says(number, &format!("line {number}")));
    let _program = Program::start(&socket, &format!("udp://127.0.0.1:{port}"));
    // The kernel tells that nobody listens there.
    std::thread::sleep(Duration::from_millis(500));
    let server = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    server.set_read_timeout(Some(LIMIT)).unwrap();
    let mut bytes = [0; 4096];
    for number in 0..20 {
        let count = server.recv(&mut bytes).unwrap();
        assert_eq!(words(&String::from_utf8_lossy(&bytes[..count])), format!("line {number}"));
    }
}

/// rsyslogd, which takes a message apart: its fields with `|` between them, a line each. It is killed when this is dropped.
struct Rsyslogd(Child);

impl Rsyslogd {
    /// None where it is not installed.
    fn start(dir: &std::path::Path, input: &str, port: u16) -> Option<Rsyslogd> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Debian keeps it where an ordinary user's PATH does not look.
        let mut dirs = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
        let Some(program) = dirs.find(|dir| dir.join("rsyslogd").is_file()) else {
            testing::skip("rsyslogd is not installed; ./setup.sh --servers installs it");
            return None;
        };
        let (config, pid) = (dir.join("rsyslogd.conf"), dir.join("rsyslogd.pid"));
        let fields = "%pri%|%protocol-version%|%timestamp:::date-rfc3339%|%hostname%|%app-name%|%procid%|%msgid%|%structured-data%|%msg%\\n";
        let messages = dir.join("messages");
        let text = format!(
            "module(load=\"{input}\")\ntemplate(name=\"fields\" type=\"string\" string=\"{fields}\")\n\
             input(type=\"{input}\" address=\"127.0.0.1\" port=\"{port}\")\n\
             action(type=\"omfile\" file=\"{}\" template=\"fields\")\n",
            messages.display()
        );
        std::fs::write(&config, text).unwrap();
        // It does not start beside the number that one that was killed has left.
        let _ = std::fs::remove_file(&pid);
        let mut command = Command::new(program.join("rsyslogd"));
        command.arg("-n").arg("-f").arg(&config).arg("-i").arg(&pid).stdin(Stdio::null());
        Some(Rsyslogd(command.spawn().unwrap()))
    }

    /// Waits until it has written something that fits, and returns all that it has.
    fn wait(dir: &std::path::Path, is_there: impl Fn(&[Vec<String>]) -> bool) -> Vec<Vec<String>> {
        let begin = Instant::now();
        loop {
            let text = std::fs::read_to_string(dir.join("messages")).unwrap_or_default();
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            let seen: Vec<Vec<String>> =
                whole.lines().map(|line| line.splitn(9, '|').map(String::from).collect()).collect();
            if is_there(&seen) {
                return seen;
            }
            assert!(begin.elapsed() < LIMIT, "rsyslogd has {} messages, last {:?}", seen.len(), seen.last());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Rsyslogd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether the words of a message are there.
fn has(seen: &[Vec<String>], words: &str) -> bool {
    seen.iter().any(|fields| fields.last().is_some_and(|text| text == words))
}

#[test]
fn rsyslog_has_every_line_and_finds_its_fields() {
    for (transport, input) in [("tcp", "imtcp"), ("udp", "imudp")] {
        let dir = tempfile::tempdir().unwrap();
        let (socket, port) = (dir.path().join("init"), free_port());
        let init = Init::listen(&socket);
        (0..20).for_each(|number| init.says(number, &format!("line {number}")));
        let _program = Program::start(&socket, &format!("{transport}://127.0.0.1:{port}"));
        let Some(server) = Rsyslogd::start(dir.path(), input, port) else { return };
        let seen = Rsyslogd::wait(dir.path(), |seen| has(seen, "line 19"));
        let line = seen.iter().find(|fields| fields.last().is_some_and(|text| text == "line 7")).unwrap();
        let [priority, version, time, host, app, process, kind, data, _] = &line[..] else { panic!("{line:?}") };
        assert_eq!((&priority[..], &version[..], &app[..]), ("30", "1", "web"), "{transport}");
        assert_eq!((&process[..], &kind[..], &data[..]), ("-", "-", "-"), "{transport}");
        assert!(time.starts_with("2026-11-21T06:00:00.007") && !host.is_empty() && host != "-", "{line:?}");
        // It is killed, and lines are said that it does not get.
        drop(server);
        (20..40).for_each(|number| init.says(number, &format!("line {number}")));
        std::thread::sleep(Duration::from_secs(1));
        let _server = Rsyslogd::start(dir.path(), input, port);
        let seen = Rsyslogd::wait(dir.path(), |seen| has(seen, "line 39"));
        for number in 0..40 {
            assert!(has(&seen, &format!("line {number}")), "{transport}: line {number} is missing");
        }
    }
}

#[test]
fn rsyslog_is_told_how_many_lines_are_lost() {
    const LINES: usize = 3000;
    let dir = tempfile::tempdir().unwrap();
    let (socket, port) = (dir.path().join("init"), free_port());
    let init = Init::listen(&socket);
    let Some(server) = Rsyslogd::start(dir.path(), "imtcp", port) else { return };
    let _program = Program::start(&socket, &format!("tcp://127.0.0.1:{port}"));
    init.says(0, "first");
    Rsyslogd::wait(dir.path(), |seen| has(seen, "first"));
    drop(server);
    (1..=LINES).for_each(|number| init.says(number, &format!("{number} {}", "x".repeat(200))));
    let last = format!("{LINES} {}", "x".repeat(200));
    std::thread::sleep(Duration::from_secs(1));
    let _server = Rsyslogd::start(dir.path(), "imtcp", port);
    let seen = Rsyslogd::wait(dir.path(), |seen| has(seen, &last));
    let told =
        seen.iter().filter_map(|fields| fields.last()?.strip_suffix(" messages were lost while the server was away"));
    let lost: usize = told.map(|count| count.parse::<usize>().unwrap()).sum();
    let arrived = (1..=LINES).filter(|number| has(&seen, &format!("{number} {}", "x".repeat(200)))).count();
    assert!(lost > 0 && lost + arrived == LINES, "{lost} lost and {arrived} arrived of {LINES}");
}
