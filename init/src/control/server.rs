//! PID 1's end of the control socket: who may connect, and how many. Everything is bounded: connections, the length of a
//! request, the output that waits, the time without a word.

use core::time::Duration;
use std::os::fd::{AsFd, OwnedFd};

use super::client::Client;
use super::protocol;
use super::{Code, Operations, Refusal, SOCKET};
use crate::event::reactor::{Event, EventKind, Interest, Source, Token};
use crate::log::error;
use crate::sys::system;
use crate::sys::{Errno, socket};

/// Connections at once.
const CLIENTS: usize = 32;
/// Of these, how many may be another user's than root's, so that root always finds a place.
const OTHERS: usize = 16;
/// Connections accepted in a turn.
const ACCEPTS: usize = 8;
/// When accepting or opening failed, it is tried again after this time.
const PAUSE: Duration = Duration::from_secs(2);

/// The control socket and its connections.
#[derive(Default)]
pub struct Server {
    path: String,
    socket: Option<OwnedFd>,
    polled: Option<Token>,
    clients: Vec<Client>,
    next: u32,
    /// When the socket is tried again after a failure.
    again: Option<Duration>,
    /// The failure was said.
    said: bool,
}

impl Server {
    /// Opens the socket at [`SOCKET`]. Where that fails it is said, and tried again later.
    pub fn start(operations: &mut impl Operations) -> Server {
        Server::start_at(SOCKET, operations)
    }

    fn start_at(path: &str, operations: &mut impl Operations) -> Server {
        let mut server = Server { path: path.into(), ..Server::default() };
        server.open(operations);
        server
    }

    /// Opens the socket again where it is gone from its path, for example by a file system that was mounted over it. For a reload.
    pub fn reopen(&mut self, operations: &mut impl Operations) {
        if self.socket.is_none() || !socket::exists(&self.path) {
            self.said = false;
            self.open(operations);
        }
    }

    fn open(&mut self, operations: &mut impl Operations) {
        if let Some(token) = self.polled.take() {
            operations.reactor().forget(token);
        }
        self.socket = None;
        match socket::listen(&self.path) {
            Ok(socket) => {
                self.socket = Some(socket);
                self.said = false;
                self.listen(operations);
            }
            Err(error) => self.failed("open the control socket", error),
        }
    }

    /// Waits for the next connection.
    fn listen(&mut self, operations: &mut impl Operations) {
        self.again = None;
        let Some(socket) = &self.socket else {
            return;
        };
        match operations.reactor().poll(socket.as_fd(), Interest::Read, Source::Control) {
            Ok(token) => self.polled = Some(token),
            Err(error) => self.failed("wait for the control socket", error),
        }
    }

    fn failed(&mut self, what: &str, error: Errno) {
        if !core::mem::replace(&mut self.said, true) {
            error!("cannot {what} {}: {error}; trying again every {} s", self.path, PAUSE.as_secs());
        }
        self.again = Some(system::uptime().saturating_add(PAUSE));
    }

    /// Takes an event of [`Source::Control`] or [`Source::Client`].
    pub fn event(&mut self, event: &Event, operations: &mut impl Operations) {
        match event.source {
            Source::Control if self.polled == Some(event.token) => {
                self.polled = None;
                match &event.kind {
                    EventKind::Error(error) => self.failed("wait for the control socket", *error),
                    _ => self.accept(operations),
                }
            }
            Source::Client(id) => {
                if let Some(client) = self.clients.iter_mut().find(|client| client.id() == id) {
                    client.ready(event.token, system::uptime());
                }
            }
            _ => {}
        }
    }

    fn accept(&mut self, operations: &mut impl Operations) {
        for _ in 0..ACCEPTS {
            let Some(socket) = &self.socket else {
                return;
            };
            match socket::accept(socket) {
                Ok(fd) => self.add(fd),
                Err(Errno::AGAIN | Errno::CONNABORTED) => break,
                // No descriptors or no memory: the connection stays in the queue, and asking at once would only spin.
                Err(error) => return self.failed("accept a connection on", error),
            }
        }
        self.said = false;
        self.listen(operations);
    }

    fn add(&mut self, fd: OwnedFd) {
        let root = socket::peer_user(&fd) == Ok(0);
        let others = self.clients.iter().filter(|client| !client.is_root()).count();
        if self.clients.len() >= CLIENTS || (!root && others >= OTHERS) {
            let refusal = Refusal::new(Code::Busy, "too many connections; try again");
            // It is closed whether it takes the reason or not.
            let _ = socket::send(&fd, protocol::error(&refusal).as_bytes());
            return;
        }
        self.next = self.next.wrapping_add(1);
        self.clients.push(Client::new(self.next, fd, system::uptime()));
    }

    /// When [`Server::turn`] has work without an event.
    pub fn deadline(&self) -> Option<Duration> {
        self.clients.iter().filter_map(Client::deadline).chain(self.again).min()
    }

    /// Carries on with all connections. To be called once a turn, after its events.
    pub fn turn(&mut self, operations: &mut impl Operations) {
        if self.clients.is_empty() && self.again.is_none() {
            return;
        }
        let now = system::uptime();
        if self.again.is_some_and(|again| again <= now) {
            match self.socket {
                Some(_) => self.accept(operations),
                None => self.open(operations),
            }
        }
        for client in &mut self.clients {
            client.work(operations, now);
            if client.is_done() {
                client.forget(operations.reactor());
            }
        }
        self.clients.retain(|client| !client.is_done());
    }

    /// Closes the socket and all connections, before another program takes the place of this one.
    pub fn close(&mut self, operations: &mut impl Operations) {
        for client in &mut self.clients {
            client.forget(operations.reactor());
        }
        self.clients.clear();
        if let Some(token) = self.polled.take() {
            operations.reactor().forget(token);
        }
        self.socket = None;
        self.again = None;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Action, Health, Progress, Span, Summary};
    use super::*;
    use crate::event::reactor::Reactor;
    use crate::logs::{Logs, Now, Settings};
    use crate::sys::privileges;
    use crate::sys::process::{self, Exit};
    use crate::sys::system::Power;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    /// A supervisor with one service, `web`.
    struct Fake {
        reactor: Reactor,
        logs: Logs,
        web: u32,
        begun: Vec<Action>,
        progress: Result<Progress, Refusal>,
        power: Option<Power>,
        services: usize,
    }

    impl Operations for Fake {
        fn reactor(&mut self) -> &mut Reactor {
            &mut self.reactor
        }
        fn logs(&self) -> &Logs {
            &self.logs
        }
        fn list(&self) -> Vec<Summary> {
            let (summary, _) = self.status("web").unwrap();
            vec![summary; self.services]
        }
        fn status(&self, name: &str) -> Option<(Summary, Vec<(&'static str, String)>)> {
            let summary = Summary {
                name: name.into(),
                state: "ready",
                health: Health::Up,
                pid: Some(7),
                age: Duration::ZERO,
                restarts: 0,
                text: String::new(),
            };
            (name == "web").then(|| (summary, vec![("command", "/bin/web".into())]))
        }
        fn begin(&mut self, action: Action, name: &str) -> Result<Progress, Refusal> {
            if name != "web" {
                return Err(Refusal::unknown(name));
            }
            self.begun.push(action);
            self.progress.clone()
        }
        fn progress(&self, _: Action, _: &str) -> Result<Progress, Refusal> {
            self.progress.clone()
        }
        fn reload_tables(&mut self) -> Result<String, Refusal> {
            Ok("1 new".into())
        }
        fn power(&mut self, power: Power) -> Result<(), Refusal> {
            self.power = Some(power);
            Ok(())
        }
        fn spans(&self) -> Vec<Span> {
            Vec::new()
        }
    }

    struct Case {
        fake: Fake,
        server: Server,
        path: String,
    }

    impl Case {
        fn new(name: &str) -> Case {
            let mut logs = Logs::new();
            let web = logs.add_stream("web", Settings { file: None, ..Settings::new("web") });
            let reactor = Reactor::new(true).unwrap();
            let progress = Ok(Progress::Done);
            let mut fake = Fake { reactor, logs, web, begun: Vec::new(), progress, power: None, services: 1 };
            let path = std::env::temp_dir().join(format!("init-ctl-{name}-{}", std::process::id()));
            let path = path.to_str().unwrap().to_owned();
            let server = Server::start_at(&path, &mut fake);
            assert!(server.socket.is_some());
            Case { fake, server, path }
        }

        fn connect(&self) -> UnixStream {
            let stream = UnixStream::connect(&self.path).unwrap();
            stream.set_nonblocking(true).unwrap();
            stream
        }

        /// A few turns of the loop.
        fn turn(&mut self) {
            for _ in 0..4 {
                self.fake.reactor.wait(Some(Duration::from_millis(5))).unwrap();
                while let Some(event) = self.fake.reactor.next_event() {
                    self.server.event(&event, &mut self.fake);
                }
                self.server.turn(&mut self.fake);
            }
        }

        fn answer(&mut self, stream: &mut UnixStream) -> String {
            self.turn();
            let mut out = Vec::new();
            let mut block = [0; 65536];
            while let Ok(count @ 1..) = stream.read(&mut block) {
                out.extend_from_slice(&block[..count]);
                self.turn();
            }
            String::from_utf8(out).unwrap()
        }

        fn ask(&mut self, stream: &mut UnixStream, request: &str) -> String {
            stream.write_all(request.as_bytes()).unwrap();
            self.answer(stream)
        }

        fn say(&mut self, text: &str) {
            self.fake.logs.append(self.fake.web, text.as_bytes(), Now { uptime: Duration::ZERO, wall: 0 });
        }
    }

    impl Drop for Case {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// What root alone may do is tested as root; elsewhere the refusal is.
    fn is_root(case: &Case) -> bool {
        let stream = case.connect();
        socket::peer_user(&stream) == Ok(0)
    }

    #[test]
    fn asks_in_one_connection_are_answered_in_order() {
        let mut case = Case::new("ask");
        let mut stream = case.connect();
        let row = "web\tready\tup\t7\t0\t0\t\n";
        let list = format!("ok\ndata {}\n{row}end\n", row.len());
        assert_eq!(case.ask(&mut stream, "list\n"), list);
        let status = case.ask(&mut stream, "status web\nstatus nix\nnonsense\nlist");
        let (first, rest) = status.split_once("end\n").unwrap();
        assert!(first.ends_with(&format!("{row}command\t/bin/web\n")), "{first}");
        let mut lines = rest.lines();
        assert_eq!(lines.next(), Some("error unknown there is no service 'nix'"));
        assert!(lines.next().unwrap().starts_with("error usage "));
        assert_eq!(lines.next(), None);
        assert_eq!(case.ask(&mut stream, "\n"), list, "the request was cut");
    }

    #[test]
    fn a_start_is_answered_when_the_service_is_there() {
        let mut case = Case::new("start");
        let mut stream = case.connect();
        if !is_root(&case) {
            assert_eq!(case.ask(&mut stream, "start web\n"), "error denied only root may do that\n");
            assert!(case.fake.begun.is_empty());
            return;
        }
        case.fake.progress = Ok(Progress::Pending);
        assert_eq!(case.ask(&mut stream, "start web\n"), "");
        assert!(case.server.deadline().is_some());
        case.fake.progress = Ok(Progress::Done);
        assert_eq!(case.answer(&mut stream), "ok\nend\n");
        case.fake.progress = Ok(Progress::Pending);
        assert_eq!(case.ask(&mut stream, "stop web 0\n"), "ok\nend\n", "this one does not wait");
        assert_eq!(case.ask(&mut stream, "restart web 1\n"), "");
        std::thread::sleep(Duration::from_millis(1100));
        assert!(case.answer(&mut stream).starts_with("error timeout 'web' needs longer"));
        assert_eq!(case.ask(&mut stream, "reload web\n"), "");
        case.fake.progress = Err(Refusal::new(Code::Failed, "exit code 1"));
        assert_eq!(case.answer(&mut stream), "error failed exit code 1\n");
        assert_eq!(case.fake.begun, [Action::Start, Action::Stop, Action::Restart, Action::Reload]);
        assert_eq!(case.ask(&mut stream, "shutdown reboot\n"), "ok\nend\n");
        assert_eq!(case.fake.power, Some(Power::Reboot));
    }

    #[test]
    fn another_user_may_ask_and_nothing_else() {
        let mut case = Case::new("other");
        if !is_root(&case) {
            // Then `a_start_is_answered_when_the_service_is_there` is this test.
            return;
        }
        let path = case.path.clone();
        // Other threads run tests meanwhile, so the child must not panic.
        let ask = || -> std::io::Result<String> {
            let mut stream = UnixStream::connect(&path)?;
            stream.write_all(b"stop web\nlog web\nreload\nshutdown halt\nlist\n")?;
            stream.shutdown(std::net::Shutdown::Write)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let child = process::fork(|| {
            let answer = privileges::set_user(65534).ok().and_then(|()| ask().ok()).unwrap_or_default();
            let denied = answer.matches("error denied only root may do that\n").count();
            if denied == 4 && answer.contains("\nok\n") { 0 } else { 1 }
        });
        let (started, mut came) = (system::uptime(), false);
        while !(came && case.server.clients.is_empty()) && system::uptime() - started < Duration::from_secs(20) {
            case.turn();
            came |= case.server.next > 0;
        }
        // A child that comes later, on a machine that is that busy, is refused and does not wait for ever.
        case.server.close(&mut case.fake);
        assert_eq!(process::wait_for(child.unwrap()), Ok(Exit::Code(0)));
        assert_eq!((case.fake.power, case.fake.begun.len()), (None, 0));
    }

    #[test]
    fn a_follower_gets_old_and_new_lines_and_the_end() {
        let mut case = Case::new("follow");
        if !is_root(&case) {
            return;
        }
        case.say("one\ntwo\n");
        let mut stream = case.connect();
        assert_eq!(case.ask(&mut stream, "log web 1\n"), "ok\ndata 11\n+0.000 two\nend\n");
        assert_eq!(case.ask(&mut stream, "log web 0\n"), "ok\nend\n");
        assert_eq!(case.ask(&mut stream, "log web 1 follow\n"), "ok\ndata 11\n+0.000 two\n");
        assert_eq!(case.server.deadline(), None, "it may wait for ever");
        case.say("three\n");
        assert_eq!(case.answer(&mut stream), "data 13\n+0.000 three\n");
        case.fake.logs.remove_stream(case.fake.web);
        assert_eq!(case.answer(&mut stream), "end\n");
    }

    #[test]
    fn a_follower_that_went_away_is_closed() {
        let mut case = Case::new("gone");
        if !is_root(&case) {
            return;
        }
        let mut stream = case.connect();
        assert_eq!(case.ask(&mut stream, "log web 1 follow\n"), "ok\n");
        drop(stream);
        case.turn();
        assert!(case.server.clients.is_empty());
    }

    #[test]
    fn a_follower_that_takes_nothing_costs_bounded_memory() {
        let mut case = Case::new("slow");
        if !is_root(&case) {
            return;
        }
        let mut stream = case.connect();
        case.ask(&mut stream, "log web 0 follow\n");
        for _ in 0..200 {
            case.say(&("x".repeat(999) + "\n").repeat(4));
            case.server.turn(&mut case.fake);
        }
        let client = &case.server.clients[0];
        assert!(case.server.deadline().is_some(), "its patience runs out");
        assert!(client.deadline().is_some());
        let seen = case.answer(&mut stream);
        assert!(seen.contains("lines are missing here"), "{}", seen.len());
    }

    #[test]
    fn one_that_is_done_asking_still_gets_its_answer() {
        let mut case = Case::new("half");
        let mut stream = case.connect();
        stream.write_all(b"list\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(case.answer(&mut stream).ends_with("end\n"));
        assert!(case.server.clients.is_empty());
    }

    #[test]
    fn many_requests_ahead_are_answered_over_several_turns() {
        let mut case = Case::new("ahead");
        let mut stream = case.connect();
        stream.write_all(&b"list\n".repeat(40)).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        case.turn();
        let mut turns = 0;
        while !case.server.clients.is_empty() {
            assert!(turns < 10);
            case.turn();
            turns += 1;
        }
        let mut answer = String::new();
        stream.set_nonblocking(false).unwrap();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!((answer.matches("end\n").count(), turns > 0), (40, true));
    }

    #[test]
    fn a_large_answer_comes_in_as_many_turns_as_it_takes() {
        let mut case = Case::new("large");
        case.fake.services = 40_000;
        let mut stream = case.connect();
        let answer = case.ask(&mut stream, "list\n");
        assert!(answer.ends_with("end\n"));
        assert_eq!(answer.lines().count(), 40_003);
    }

    #[test]
    fn endless_and_early_requests_are_refused() {
        let mut case = Case::new("long");
        let mut stream = case.connect();
        let answer = case.ask(&mut stream, &"x".repeat(protocol::LONGEST));
        assert_eq!(answer, "error usage the request is too long\n");
        assert!(case.server.clients.is_empty());
    }

    #[test]
    fn connections_have_a_bound() {
        let mut case = Case::new("many");
        let root = is_root(&case);
        case.turn();
        let streams: Vec<_> = (0..CLIENTS + 8)
            .map(|_| {
                let stream = case.connect();
                case.turn();
                stream
            })
            .collect();
        assert_eq!(case.server.clients.len(), if root { CLIENTS } else { OTHERS });
        let mut last = streams.into_iter().last().unwrap();
        assert_eq!(case.answer(&mut last), "error busy too many connections; try again\n");
        case.turn();
        assert!(case.server.clients.is_empty());
    }

    #[test]
    fn a_socket_that_is_gone_is_made_again() {
        let mut case = Case::new("reopen");
        std::fs::remove_file(&case.path).unwrap();
        case.server.reopen(&mut case.fake);
        let mut stream = case.connect();
        assert!(case.ask(&mut stream, "list\n").starts_with("ok\n"));
        let place = "/proc/no/such/socket";
        let mut server = Server::start_at(place, &mut case.fake);
        assert!(server.deadline().is_some());
        server.close(&mut case.fake);
        assert_eq!(server.deadline(), None);
    }
}
