//! The one place where PID 1 waits: reads from watched descriptors, readiness of others, jobs on files, and a timeout.
//!
//! The supervisor and the shutdown wait here. Behind it is one io_uring ring, or epoll where the kernel refuses a ring.
//! A turn is a [`Reactor::wait`] and then [`Reactor::next_event`] until there is none. Signals come first in a turn, and
//! a descriptor that always has data gets one read a turn, so a flood starves nothing.

use core::time::Duration;
use std::collections::VecDeque;
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::log::{debug, warn};
use crate::sys::append::Job;
use crate::sys::epoll::Epoll;
use crate::sys::ring::Ring;
use crate::sys::{Errno, Result, files};

pub use crate::sys::wait::{EventKind, Interest, Token};

/// The default capacity of a pipe in bytes (pipe(7)).
const PIPE: usize = 64 << 10;

/// What a descriptor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The signal descriptor.
    Signals,
    /// An input device with a power key.
    PowerKey,
    /// The output of a service; the number is its stream in the logs.
    Output(u32),
    /// The socket on which a service tells its state (the sd_notify protocol); the number is that of its stream.
    Notify(u32),
    /// A service's main process that it did not get from PID 1; the number is that of its stream.
    MainProcess(u32),
    /// A log file; the number is its own.
    LogFile(u32),
    /// The listening socket of the control tool.
    Control,
    /// A connection of the control tool.
    Client(u32),
    /// The kernel's device events.
    Uevents,
    /// The kernel's network events.
    Links,
    /// The socket of syslog(3).
    Syslog,
}

impl Source {
    /// Bytes that one read may return.
    fn read_size(self) -> usize {
        match self {
            // Four records of 128 bytes (signalfd(2)).
            Source::Signals => 512,
            // Ten records of 24 bytes.
            Source::PowerKey => 240,
            // The kernel sends no longer event (UEVENT_BUFFER_SIZE in linux/kobject.h is 2048), and its header.
            Source::Uevents => 4096,
            // A datagram of a dump fills what the reader offers, at most 32 KiB (af_netlink.c).
            Source::Links => 32 << 10,
            _ => 4096,
        }
    }
}

/// Something that happened to a descriptor.
#[derive(Debug)]
pub struct Event {
    /// What the descriptor is for.
    pub source: Source,
    /// Which watch or poll.
    pub token: Token,
    /// What happened.
    pub kind: EventKind,
}

enum Backend {
    Ring(Box<Ring<Source>>),
    Epoll(Epoll<Source>),
}

/// Calls the same function of either backend.
macro_rules! backend {
    ($reactor:expr, $backend:ident => $call:expr) => {
        match &mut $reactor.backend {
            Backend::Ring($backend) => $call,
            Backend::Epoll($backend) => $call,
        }
    };
}

/// Descriptors and the means to wait for them.
pub struct Reactor {
    backend: Backend,
    /// What happened and was not taken yet.
    events: VecDeque<Event>,
}

impl Reactor {
    /// A reactor on io_uring, or on epoll when `ring` is false or the kernel refuses a ring, which is said once.
    ///
    /// # Errors
    /// When the kernel refuses epoll as well.
    pub fn new(ring: bool) -> Result<Reactor> {
        let backend = match ring.then(Ring::new) {
            Some(Ok(ring)) => Backend::Ring(Box::new(ring)),
            Some(Err(error)) => {
                warn!("io_uring is not available ({error}); waiting with epoll");
                Backend::Epoll(Epoll::new()?)
            }
            None => {
                warn!("waiting with epoll, as init.epoll asks");
                Backend::Epoll(Epoll::new()?)
            }
        };
        Ok(Reactor { backend, events: VecDeque::with_capacity(64) })
    }

    /// Reads from `fd` again and again, until its end or an error: each read is a [`EventKind::Data`] of `source`.
    ///
    /// # Errors
    /// Only from epoll: no memory, or a descriptor that it cannot wait for (`EPERM`: a regular file).
    pub fn watch(&mut self, fd: OwnedFd, source: Source) -> Result<Token> {
        let size = source.read_size();
        match &mut self.backend {
            Backend::Ring(ring) => Ok(ring.watch(fd, size, source)),
            Backend::Epoll(epoll) => epoll.watch(fd, size, source),
        }
    }

    /// Waits once for `fd` to be ready: one [`EventKind::Ready`] of `source`. The caller keeps `fd` open until then, or until it
    /// forgets the poll, and makes its own calls that do not wait.
    ///
    /// # Errors
    /// As for [`Reactor::watch`], and `EMFILE`.
    pub fn poll(&mut self, fd: BorrowedFd<'_>, interest: Interest, source: Source) -> Result<Token> {
        match &mut self.backend {
            Backend::Ring(ring) => Ok(ring.poll(fd, interest, source)),
            Backend::Epoll(epoll) => epoll.poll(fd, interest, source),
        }
    }

    /// Does a job on a file: one [`EventKind::File`] of `source`, or a [`EventKind::Error`] when the ring failed meanwhile. It cannot be
    /// forgotten. epoll has no way to wait for files, so there it is done here and now.
    pub fn file(&mut self, job: Job, source: Source) {
        match &mut self.backend {
            Backend::Ring(ring) => drop(ring.file(job, source)),
            Backend::Epoll(_) => {
                push(&mut self.events, Event { source, token: Token::NONE, kind: EventKind::File(job.run()) });
            }
        }
    }

    /// Ends a watch, whose descriptor is closed, or a poll. No event of it comes out any more. A token whose watch or poll
    /// has ended by itself is fine.
    pub fn forget(&mut self, token: Token) {
        self.events.retain(|event| event.token != token);
        backend!(self, backend => backend.forget(token));
    }

    /// Hands to `each` what was read from a pipe and not taken yet, and what is in it now. The watch stays.
    pub fn drain(&mut self, token: Token, mut each: impl FnMut(&[u8])) {
        self.quiesce();
        while let Some(index) = self.events.iter().position(|event| event.token == token) {
            let Some(event) = self.events.remove(index) else {
                break;
            };
            if let EventKind::Data(bytes) = &event.kind {
                each(bytes);
            }
            self.recycle(event);
        }
        // Nobody waits for the rest of a pipe that cannot be read.
        if let Some(Ok(bytes)) = self.descriptor(token).map(|fd| files::read_waiting(fd, PIPE)) {
            each(&bytes);
        }
    }

    /// Stops to read from a watch, or goes on. One read that was under way may still come out.
    pub fn hold(&mut self, token: Token, hold: bool) {
        backend!(self, backend => backend.hold(token, hold));
    }

    /// The descriptor of a watch, while it lasts.
    pub fn descriptor(&self, token: Token) -> Option<BorrowedFd<'_>> {
        match &self.backend {
            Backend::Ring(ring) => ring.descriptor(token),
            Backend::Epoll(epoll) => epoll.descriptor(token),
        }
    }

    /// Waits for events, at most for `timeout`; not at all while events are there to be taken. It may return early without
    /// an event.
    ///
    /// # Errors
    /// When neither the ring nor epoll can wait.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<()> {
        let timeout = if self.events.is_empty() { timeout } else { Some(Duration::ZERO) };
        let events = &mut self.events;
        let collect = |token, source, kind| push(events, Event { source, token, kind });
        match &mut self.backend {
            Backend::Epoll(epoll) => epoll.wait(timeout, collect),
            Backend::Ring(ring) => match ring.wait(timeout, collect) {
                Ok(()) => Ok(()),
                Err(error) => self.fall_back(error),
            },
        }
    }

    /// The next event of this turn.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Takes the memory of an event for the next ones.
    pub fn recycle(&mut self, event: Event) {
        if let EventKind::Data(buffer) = event.kind {
            backend!(self, backend => backend.recycle(buffer));
        }
    }

    /// Ends all reads that are under way; what they read are events. Jobs on files go on. The next [`Reactor::wait`] starts them again. After
    /// this the program may be replaced without losing what others wrote.
    pub fn quiesce(&mut self) {
        let events = &mut self.events;
        if let Backend::Ring(ring) = &mut self.backend
            && let Err(error) = ring.quiesce(|token, source, kind| push(events, Event { source, token, kind }))
        {
            warn!("io_uring failed ({error}); some output of services may be lost");
        }
    }

    /// After [`Reactor::quiesce`]: waits for a job to be done, at most for `timeout`, and starts no reads.
    pub fn wait_for_files(&mut self, timeout: Duration) {
        let timeout = if self.events.is_empty() { timeout } else { Duration::ZERO };
        let events = &mut self.events;
        if let Backend::Ring(ring) = &mut self.backend
            && let Err(error) =
                ring.wait_parked(timeout, |token, source, kind| push(events, Event { source, token, kind }))
        {
            debug!("cannot wait for files: {error}");
        }
    }

    /// Goes on with epoll after the ring failed with `error`.
    fn fall_back(&mut self, error: Errno) -> Result<()> {
        warn!("io_uring failed ({error}); waiting with epoll from now on");
        let ring = core::mem::replace(&mut self.backend, Backend::Epoll(Epoll::new()?));
        if let (Backend::Ring(ring), Backend::Epoll(epoll)) = (ring, &mut self.backend) {
            let events = &mut self.events;
            epoll.take_over(*ring, |token, source, error| {
                push(events, Event { source, token, kind: EventKind::Error(error) })
            });
        }
        Ok(())
    }
}

/// Appends an event; signals go before everything else.
fn push(events: &mut VecDeque<Event>, event: Event) {
    match event.source {
        Source::Signals => events.push_front(event),
        _ => events.push_back(event),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
    use std::os::fd::{AsFd, AsRawFd};

    /// Waits until an event arrives, and fails after some turns without one.
    fn next(reactor: &mut Reactor) -> Event {
        for _ in 0..50 {
            if let Some(event) = reactor.next_event() {
                return event;
            }
            reactor.wait(Some(Duration::from_millis(100))).unwrap();
        }
        panic!("no event");
    }

    /// Waits a little and checks that nothing happens.
    fn quiet(reactor: &mut Reactor) {
        let started = std::time::Instant::now();
        while started.elapsed() < Duration::from_millis(30) {
            reactor.wait(Some(Duration::from_millis(10))).unwrap();
            if let Some(event) = reactor.next_event() {
                panic!("unexpected {event:?}");
            }
        }
    }

    fn is_data(event: &Event, text: &str) -> bool {
        matches!(&event.kind, EventKind::Data(bytes) if bytes == text.as_bytes())
    }

    fn watched(reactor: &mut Reactor, source: Source) -> (Token, PipeWriter) {
        let (reader, writer) = pipe().unwrap();
        (reactor.watch(reader.into(), source).unwrap(), writer)
    }

    /// Runs a test with the ring, with epoll, and with a ring that fails in the middle. Where the build host refuses
    /// io_uring the first tests epoll a second time.
    fn on_each_backend(test: fn(&mut Reactor)) {
        test(&mut Reactor::new(true).unwrap());
        test(&mut Reactor::new(false).unwrap());
    }

    #[test]
    fn reads_until_the_end() {
        on_each_backend(|reactor| {
            let (token, mut writer) = watched(reactor, Source::PowerKey);
            for text in ["one", "two"] {
                writer.write_all(text.as_bytes()).unwrap();
                let event = next(reactor);
                assert_eq!((event.source, event.token), (Source::PowerKey, token));
                assert!(is_data(&event, text), "{event:?}");
                reactor.recycle(event);
            }
            drop(writer);
            assert!(is_data(&next(reactor), ""));
            quiet(reactor);
            assert!(reactor.descriptor(token).is_none(), "the watch is gone");
            reactor.forget(token);
        });
    }

    #[test]
    fn a_descriptor_in_non_blocking_mode_is_read_too() {
        on_each_backend(|reactor| {
            let (reader, mut writer) = pipe().unwrap();
            rustix::io::ioctl_fionbio(&reader, true).unwrap();
            reactor.watch(reader.into(), Source::Output(1)).unwrap();
            quiet(reactor);
            writer.write_all(b"x").unwrap();
            assert!(is_data(&next(reactor), "x"));
            quiet(reactor);
        });
    }

    #[test]
    fn a_forgotten_watch_says_nothing_and_closes() {
        on_each_backend(|reactor| {
            let (token, mut writer) = watched(reactor, Source::Output(1));
            let (other, mut other_writer) = watched(reactor, Source::Output(2));
            reactor.wait(Some(Duration::ZERO)).unwrap();
            // One is read and waits to be taken when it is forgotten.
            writer.write_all(b"late").unwrap();
            for _ in 0..10 {
                reactor.wait(Some(Duration::from_millis(2))).unwrap();
            }
            reactor.forget(token);
            quiet(reactor);
            assert_eq!(writer.write(b"x").unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
            // Its place goes to another watch, and its token does not.
            let (third, mut third_writer) = watched(reactor, Source::Output(3));
            assert_ne!(third, token);
            reactor.forget(token);
            third_writer.write_all(b"3").unwrap();
            assert!(is_data(&next(reactor), "3"));
            other_writer.write_all(b"2").unwrap();
            assert_eq!(next(reactor).token, other);
        });
    }

    #[test]
    fn a_poll_tells_once() {
        on_each_backend(|reactor| {
            let (mut reader, mut writer): (PipeReader, PipeWriter) = pipe().unwrap();
            let token = reactor.poll(reader.as_fd(), Interest::Read, Source::Control).unwrap();
            quiet(reactor);
            writer.write_all(b"x").unwrap();
            let event = next(reactor);
            assert!(event.token == token && matches!(event.kind, EventKind::Ready), "{event:?}");
            quiet(reactor);
            let second = reactor.poll(reader.as_fd(), Interest::Read, Source::Control).unwrap();
            assert_eq!(next(reactor).token, second);
            reader.read_exact(&mut [0]).unwrap();
            let third = reactor.poll(reader.as_fd(), Interest::Read, Source::Control).unwrap();
            reactor.wait(Some(Duration::ZERO)).unwrap();
            reactor.forget(third);
            writer.write_all(b"x").unwrap();
            quiet(reactor);
        });
    }

    #[test]
    fn one_descriptor_can_be_polled_for_both_directions() {
        on_each_backend(|reactor| {
            let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
            let read = reactor.poll(near.as_fd(), Interest::Read, Source::Client(1)).unwrap();
            let write = reactor.poll(near.as_fd(), Interest::Write, Source::Client(1)).unwrap();
            assert_eq!(next(reactor).token, write);
            quiet(reactor);
            drop(far);
            assert_eq!(next(reactor).token, read);
        });
    }

    #[test]
    fn a_flood_does_not_starve_signals() {
        on_each_backend(|reactor| {
            let (_, mut signals) = watched(reactor, Source::Signals);
            // A device that always has data.
            let zero = std::fs::File::open("/dev/zero").unwrap();
            let flood = match reactor.watch(zero.into(), Source::Output(1)) {
                Ok(token) => token,
                // epoll cannot wait for a device without readiness: a pipe that is never empty is the flood.
                Err(_) => {
                    let (token, mut writer) = watched(reactor, Source::Output(1));
                    std::thread::spawn(move || while writer.write_all(&[0; 4096]).is_ok() {});
                    token
                }
            };
            for _ in 0..20 {
                assert_eq!(next(reactor).source, Source::Output(1));
            }
            signals.write_all(b"signal").unwrap();
            let mut turns = 0;
            loop {
                reactor.wait(Some(Duration::from_millis(100))).unwrap();
                let event = reactor.next_event();
                while reactor.next_event().is_some() {}
                if event.is_some_and(|event| event.source == Source::Signals) {
                    break;
                }
                turns += 1;
                assert!(turns < 20, "the signal never came first");
            }
            reactor.forget(flood);
        });
    }

    #[test]
    fn a_held_watch_waits() {
        on_each_backend(|reactor| {
            let (token, mut writer) = watched(reactor, Source::Output(1));
            reactor.hold(token, true);
            writer.write_all(b"x").unwrap();
            quiet(reactor);
            reactor.hold(token, false);
            assert!(is_data(&next(reactor), "x"));
        });
    }

    #[test]
    fn nothing_is_lost_over_a_quiesce() {
        on_each_backend(|reactor| {
            let (token, mut writer) = watched(reactor, Source::Output(1));
            let (reader, _poll_writer) = pipe().unwrap();
            let poll = reactor.poll(reader.as_fd(), Interest::Read, Source::Control).unwrap();
            reactor.wait(Some(Duration::ZERO)).unwrap();
            reactor.quiesce();
            writer.write_all(b"later").unwrap();
            assert!(reactor.next_event().is_none());
            // No read is in flight, so the bytes are where another program would find them.
            let number = reactor.descriptor(token).unwrap().as_raw_fd();
            assert!(number > 2);
            assert_eq!(rustix::io::ioctl_fionread(reactor.descriptor(token).unwrap()).unwrap(), 5);
            assert!(is_data(&next(reactor), "later"));
            drop(_poll_writer);
            assert_eq!(next(reactor).token, poll);
        });
    }

    #[test]
    fn what_is_left_in_a_pipe_is_drained() {
        on_each_backend(|reactor| {
            let (token, mut writer) = watched(reactor, Source::Output(1));
            let mut seen = Vec::new();
            reactor.drain(token, |bytes| seen.extend_from_slice(bytes));
            assert_eq!(seen, b"", "an empty pipe is not waited for");
            reactor.wait(Some(Duration::ZERO)).unwrap();
            for number in 0..1000 {
                writeln!(writer, "a line of some length and number {number}").unwrap();
            }
            reactor.drain(token, |bytes| seen.extend_from_slice(bytes));
            assert!(seen.ends_with(b"number 999\n"));
            assert_eq!(seen.split(|&byte| byte == b'\n').count(), 1001);
            quiet(reactor);
            drop(writer);
            assert!(is_data(&next(reactor), ""), "the watch goes on");
        });
    }

    #[test]
    fn more_watches_than_the_queue_has_entries() {
        on_each_backend(|reactor| {
            let mut writers: Vec<_> = (0..300).map(|number| watched(reactor, Source::Output(number)).1).collect();
            reactor.wait(Some(Duration::ZERO)).unwrap();
            for writer in &mut writers {
                writer.write_all(b"x").unwrap();
            }
            let mut seen: Vec<u32> = Vec::new();
            while seen.len() < 300 {
                if let Source::Output(number) = next(reactor).source {
                    seen.push(number);
                }
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..300).collect::<Vec<_>>());
        });
    }

    #[test]
    fn steady_events_allocate_nothing() {
        let mut reactor = Reactor::new(true).unwrap();
        let (_, mut writer) = watched(&mut reactor, Source::Output(1));
        let mut places = Vec::new();
        for _ in 0..50 {
            writer.write_all(b"line\n").unwrap();
            let event = next(&mut reactor);
            if let EventKind::Data(bytes) = &event.kind {
                places.push(bytes.as_ptr());
            }
            reactor.recycle(event);
        }
        places.sort_unstable();
        places.dedup();
        assert!(places.len() <= 2, "the same buffers are used again, not {}", places.len());
    }

    #[test]
    fn a_failed_ring_hands_everything_to_epoll() {
        let mut reactor = Reactor::new(true).unwrap();
        let (token, mut writer) = watched(&mut reactor, Source::Signals);
        let (gone, _gone_writer) = watched(&mut reactor, Source::Output(1));
        let (reader, poll_writer) = pipe().unwrap();
        let poll = reactor.poll(reader.as_fd(), Interest::Read, Source::Control).unwrap();
        let (held, mut held_writer) = watched(&mut reactor, Source::Output(2));
        reactor.hold(held, true);
        reactor.wait(Some(Duration::ZERO)).unwrap();
        reactor.forget(gone);
        reactor.fall_back(Errno::BADF).unwrap();
        assert!(matches!(reactor.backend, Backend::Epoll(_)));
        held_writer.write_all(b"h").unwrap();
        quiet(&mut reactor);
        writer.write_all(b"x").unwrap();
        let event = next(&mut reactor);
        assert!(event.token == token && is_data(&event, "x"), "{event:?}");
        drop(poll_writer);
        assert_eq!(next(&mut reactor).token, poll);
        reactor.hold(held, false);
        assert_eq!(next(&mut reactor).token, held);
    }
}
