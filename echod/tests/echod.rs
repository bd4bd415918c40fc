//! `echod` with both of its engines: what comes back, and what it does to readers that are slow, connections that are too
//! many or idle, and bursts for which it has no buffers.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// No answer for so long is a failure; generous, because build hosts are busy.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a client that writes without reading takes as "it takes no more".
const BLOCKED: Duration = Duration::from_millis(500);

/// A server at work.
struct Server {
    child: Child,
    stderr: BufReader<ChildStderr>,
    dir: PathBuf,
    tcp: SocketAddr,
    udp: SocketAddr,
    /// It said that the kernel refuses io_uring.
    refused: bool,
}

impl Server {
    /// Starts one of [`engines`].
    fn start(engine: &str, options: &[&str]) -> Server {
        let server = Server::start_with(engine, options, |_| ());
        assert!(!server.refused, "this host has io_uring, and the server does not use it");
        server
    }

    fn start_with(engine: &str, options: &[&str], with: impl FnOnce(&mut Command)) -> Server {
        // One name for each server: tests run side by side.
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("echod-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_echod"));
        command.args(["--tcp=0", "--udp=0", "--bind=127.0.0.1", "--engine", engine]).args(options);
        command.stderr(Stdio::piped());
        with(&mut command);
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let nowhere = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        let (mut tcp, mut udp, mut refused) = (nowhere, nowhere, false);
        while tcp == nowhere || udp == nowhere {
            let line = line(&mut stderr);
            if let Some(address) = line.strip_prefix("echod: TCP ") {
                tcp = address.parse().unwrap();
            } else if let Some(address) = line.strip_prefix("echod: UDP ") {
                udp = address.parse().unwrap();
            } else {
                refused = line.starts_with("echod: the kernel refuses io_uring");
                assert!(refused, "{line}");
            }
        }
        Server { child, stderr, dir, tcp, udp, refused }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.tcp).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn signal(&self, signal: i32) {
        // SAFETY: kill(2) takes no pointers.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    /// One of the counters.
    fn counter(&mut self, name: &str) -> u64 {
        self.signal(libc::SIGUSR1);
        let line = line(&mut self.stderr);
        let value = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in: {line}"))
    }

    /// Waits for a counter to reach a value.
    fn reaches(&mut self, name: &str, value: u64) {
        let end = Instant::now() + PATIENCE;
        while self.counter(name) < value {
            assert!(Instant::now() < end, "{name} is {} and not {value}", self.counter(name));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Stops it; it must not have ended before, nor end otherwise.
    fn stop(mut self, signal: i32) {
        assert!(self.child.try_wait().unwrap().is_none(), "it ended by itself");
        self.signal(signal);
        let end = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "it does not stop");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    assert!(!line.is_empty(), "it ended");
    line.trim_end().into()
}

/// Engines that this host has.
fn engines() -> &'static [&'static str] {
    if io_uring::IoUring::new(8).is_ok() {
        return &["uring", "epoll"];
    }
    testing::skip("this host's kernel refuses io_uring");
    &["epoll"]
}

/// Bytes that show where they belong.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Writes all of `bytes` and reads as much at the same time.
fn echo(stream: &TcpStream, bytes: &[u8]) -> Vec<u8> {
    let mut back = vec![0; bytes.len()];
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (&*stream).write_all(bytes));
        (&*stream).read_exact(&mut back).unwrap();
        writer.join().unwrap().unwrap();
    });
    back
}

/// Writes until nothing goes any more; returns how much went.
fn fill(stream: &TcpStream, bytes: &[u8]) -> usize {
    stream.set_write_timeout(Some(BLOCKED)).unwrap();
    let mut sent = 0;
    while sent < bytes.len() {
        match (&*stream).write(&bytes[sent..]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if passes(&error) => return sent,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("{sent} bytes were taken without one being read");
}

/// Whether an error says that there was nothing to do in the time that a socket has.
fn passes(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Makes a call again that the kernel interrupts; one with a time limit can be, without any handler (signal(7)).
fn whole<T>(mut call: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Whether the other side closed, and not only sent nothing.
fn is_closed(mut stream: &TcpStream) -> bool {
    match whole(|| stream.read(&mut [0; 16])) {
        Ok(count) => count == 0,
        Err(error) => is_end(&error),
    }
}

#[test]
fn what_is_sent_comes_back() {
    for engine in engines() {
        for options in [&[][..], &["--buffers=8", "--buffer-size=64"]] {
            let server = Server::start(engine, options);
            let stream = server.connect();
            for length in [1, 128, 16_384, 16_385, 300_000, 8_000_000] {
                let bytes = pattern(length);
                assert!(echo(&stream, &bytes) == bytes, "{engine} {options:?}: {length} bytes differ");
            }
            server.stop(libc::SIGTERM);
        }
    }
}

#[test]
fn many_messages_may_be_on_their_way() {
    for engine in engines() {
        let server = Server::start(engine, &[]);
        let mut stream = server.connect();
        let bytes = pattern(100_000);
        for message in bytes.chunks(50) {
            stream.write_all(message).unwrap();
        }
        let mut back = vec![0; bytes.len()];
        stream.read_exact(&mut back).unwrap();
        assert!(back == bytes, "{engine}");
        server.stop(libc::SIGINT);
    }
}

#[test]
fn the_end_comes_after_the_last_byte() {
    for engine in engines() {
        let mut server = Server::start(engine, &[]);
        for length in [0, 10, 3_000_000] {
            let bytes = pattern(length);
            let stream = server.connect();
            let mut back = Vec::new();
            std::thread::scope(|scope| {
                let writer = scope.spawn(|| {
                    (&stream).write_all(&bytes).unwrap();
                    stream.shutdown(std::net::Shutdown::Write).unwrap();
                });
                (&stream).read_to_end(&mut back).unwrap_or_else(|error| panic!("{engine}: {length}: {error}"));
                writer.join().unwrap();
            });
            assert!(back == bytes, "{engine}: {} of {length} bytes", back.len());
        }
        assert_eq!(server.counter("bytes"), 3_000_010);
        server.stop(libc::SIGTERM);
    }
}

#[test]
fn a_slow_reader_is_waited_for_and_disturbs_nobody() {
    for engine in engines() {
        // A buffer of each, 320 KiB, and up to 32 of each that began with messages.
        let mut server = Server::start(engine, &["--max-pending=4194304", "--buffers=64"]);
        let before = server.resident_kib();
        let bytes = pattern(200_000_000);
        let slow: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
        for stream in &slow[..4] {
            assert_eq!(echo(stream, b"a message"), b"a message");
        }
        let sent: Vec<usize> = std::thread::scope(|scope| {
            let threads: Vec<_> = slow.iter().map(|stream| scope.spawn(|| fill(stream, &bytes))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let other = server.connect();
        assert_eq!(echo(&other, b"still there?"), b"still there?");
        let grown = server.resident_kib().saturating_sub(before);
        assert!(grown < 12 << 10, "{engine}: {grown} KiB for what is not read");
        for (stream, sent) in slow.iter().zip(sent) {
            let mut back = vec![0; sent];
            (&*stream).read_exact(&mut back).unwrap();
            assert!(back == bytes[..sent], "{engine}: what came late differs");
            assert_eq!(echo(stream, b"again"), b"again");
        }
        assert_eq!(server.counter("overrun"), 0);
        server.stop(libc::SIGTERM);
    }
}

#[test]
fn without_memory_for_it_a_slow_reader_is_closed() {
    for engine in engines() {
        let mut server = Server::start(engine, &["--max-pending=0"]);
        let slow = server.connect();
        let bytes = pattern(1 << 20);
        let mut closed = false;
        // Far more than the socket buffers of both sides.
        for _ in 0..200 {
            closed = closed || (&slow).write_all(&bytes).is_err_and(|error| is_end(&error));
        }
        assert!(closed, "{engine}");
        server.reaches("overrun", 1);
        assert_eq!(echo(&server.connect(), b"next"), b"next");
        server.stop(libc::SIGTERM);
    }
}

#[test]
fn more_connections_than_allowed_are_closed() {
    for engine in engines() {
        let mut server = Server::start(engine, &["--max-connections=3"]);
        let mut open: Vec<TcpStream> = (0..3).map(|_| server.connect()).collect();
        for stream in &open {
            assert_eq!(echo(stream, b"in"), b"in");
        }
        assert!(is_closed(&server.connect()), "{engine}");
        assert_eq!((server.counter("accepted"), server.counter("refused")), (3, 1));
        drop(open.pop());
        // The place is free when the server has seen the end.
        let end = Instant::now() + PATIENCE;
        while is_refused(&server.connect()) {
            assert!(Instant::now() < end, "{engine}: the place stays taken");
        }
        server.stop(libc::SIGTERM);
    }
}

fn is_refused(mut stream: &TcpStream) -> bool {
    match stream.write_all(b"x").and_then(|()| stream.read_exact(&mut [0])) {
        Ok(()) => false,
        Err(error) => is_end(&error),
    }
}

/// An error of a closed connection; any other is a failure.
fn is_end(error: &std::io::Error) -> bool {
    let ends = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::UnexpectedEof];
    assert!(ends.contains(&error.kind()), "{error}");
    true
}

#[test]
fn idle_connections_are_closed_and_others_not() {
    for engine in engines() {
        let mut server = Server::start(engine, &["--idle-timeout=1"]);
        let (idle, busy) = (server.connect(), server.connect());
        let began = Instant::now();
        idle.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        loop {
            assert_eq!(echo(&busy, b"busy"), b"busy");
            match (&idle).read(&mut [0]) {
                Ok(count) => break assert_eq!(count, 0),
                Err(error) => assert!(passes(&error), "{error}"),
            }
            assert!(began.elapsed() < PATIENCE, "{engine}: it stays");
        }
        assert!(began.elapsed() >= Duration::from_millis(900), "{engine}: {:?}", began.elapsed());
        assert_eq!(server.counter("idle"), 1);
        server.stop(libc::SIGTERM);
    }
}

#[test]
fn datagrams_come_back_whole() {
    for engine in engines() {
        let mut server = Server::start(engine, &[]);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(server.udp).unwrap();
        let mut buffer = vec![0; 65_536];
        // More of them than there are buffers, and the longest.
        for length in (0..200).chain([1_400, 20_000, 65_507]) {
            let bytes = pattern(length);
            socket.send(&bytes).unwrap();
            let count = whole(|| socket.recv(&mut buffer)).unwrap();
            assert!(buffer[..count] == bytes, "{engine}: {length} bytes");
        }
        assert_eq!(server.counter("datagrams"), 203);
        server.stop(libc::SIGTERM);
    }
}

#[test]
fn an_answer_comes_from_the_address_that_was_asked_and_a_broadcast_has_none() {
    for engine in engines() {
        // IPv4 alone, IPv4 on an IPv6 socket, and IPv6.
        for (bind, to) in [("0.0.0.0", "127.0.0.2"), ("::", "127.0.0.2"), ("::", "::1")] {
            let ip: IpAddr = to.parse().unwrap();
            if bind == "::" && UdpSocket::bind("[::1]:0").is_err() {
                testing::skip("this host has no IPv6");
                continue;
            }
            let mut server = Server::start(engine, &["--bind", bind]);
            let local = if ip.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
            let socket = UdpSocket::bind(local).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            if ip.is_ipv4() {
                socket.set_broadcast(true).unwrap();
                socket.send_to(b"to all", ("127.255.255.255", server.udp.port())).unwrap();
                server.reaches("dropped", 1);
            }
            socket.send_to(b"to one", (ip, server.udp.port())).unwrap();
            let mut buffer = [0; 16];
            let (count, from) = whole(|| socket.recv_from(&mut buffer)).unwrap();
            assert_eq!(
                (&buffer[..count], from),
                (&b"to one"[..], (ip, server.udp.port()).into()),
                "{engine} on {bind}"
            );
            assert_eq!(server.counter("datagrams"), 1);
            server.stop(libc::SIGTERM);
        }
    }
}

#[test]
fn a_burst_without_buffers_is_answered() {
    for engine in engines() {
        let server = Server::start(engine, &["--buffers=8"]);
        let mut streams: Vec<TcpStream> = (0..200).map(|_| server.connect()).collect();
        let bytes = pattern(5_000);
        for _ in 0..5 {
            for stream in &mut streams {
                stream.write_all(&bytes).unwrap();
            }
            for stream in &mut streams {
                let mut back = vec![0; bytes.len()];
                stream.read_exact(&mut back).unwrap();
                assert!(back == bytes, "{engine}");
            }
        }
        server.stop(libc::SIGTERM);
    }
}

#[test]
fn ten_thousand_connections_are_served() {
    const CONNECTIONS: usize = 10_000;
    let limit = getrlimit(Resource::Nofile);
    let wanted = CONNECTIONS as u64 + 200;
    if limit.maximum.is_some_and(|maximum| maximum < wanted) {
        return testing::skip(&format!("the hard limit of open files is {:?}", limit.maximum));
    }
    let raised = limit.current.map(|current| current.max(wanted));
    setrlimit(Resource::Nofile, Rlimit { current: raised, maximum: limit.maximum }).unwrap();
    for engine in engines() {
        let mut server = Server::start(engine, &[]);
        let mut streams: Vec<TcpStream> = (0..CONNECTIONS).map(|_| server.connect()).collect();
        for round in 0..3u8 {
            for (stream, number) in streams.iter_mut().zip(0u32..) {
                stream.write_all(&[number.to_le_bytes().as_slice(), &[round]].concat()).unwrap();
            }
            for (stream, number) in streams.iter_mut().zip(0u32..) {
                let mut back = [0; 5];
                stream.read_exact(&mut back).unwrap();
                let sender = u32::from_le_bytes([back[0], back[1], back[2], back[3]]);
                assert_eq!((sender, back[4]), (number, round), "{engine}");
            }
        }
        assert_eq!(server.counter("accepted"), CONNECTIONS as u64);
        drop(streams);
        assert_eq!(echo(&server.connect(), b"after"), b"after");
        server.stop(libc::SIGTERM);
    }
}

#[test]
fn a_supervisor_is_told_when_it_serves() {
    for engine in engines() {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("notify-{engine}-{}", std::process::id()));
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let server = Server::start_with(engine, &[], |command| {
            command.env("NOTIFY_SOCKET", &path);
        });
        let mut buffer = [0; 64];
        let count = whole(|| socket.recv(&mut buffer)).unwrap();
        assert_eq!(&buffer[..count], b"READY=1");
        fs::remove_file(&path).unwrap();
        server.stop(libc::SIGTERM);
    }
}

#[test]
fn without_io_uring_it_serves_all_the_same() {
    let server = Server::start_with("uring", &[], |command| {
        // SAFETY: the closure makes system calls only.
        unsafe { std::os::unix::process::CommandExt::pre_exec(command, forbid_io_uring) };
    });
    assert!(server.refused);
    assert_eq!(echo(&server.connect(), b"epoll"), b"epoll");
    server.stop(libc::SIGTERM);
}

/// Lets io_uring_setup(2) fail with EPERM in this process from now on, as a container's seccomp filter does.
fn forbid_io_uring() -> std::io::Result<()> {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut program = [
        // The number of the call is the first word of `struct seccomp_data`.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter {
            jf: 1,
            ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_io_uring_setup as u32)
        },
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the program is valid and lives until the calls have returned.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &filter) == 0
    };
    if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
