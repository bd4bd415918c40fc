//! What belongs to a service while it runs, besides its state: its pipes, its socket. The runner owns it.

use core::time::Duration;
use std::os::fd::OwnedFd;

use crate::event::reactor::{Reactor, Token};
use crate::sys::process::{Exit, Pid};

/// Pipes of one service that are read at once. Each start has its own, and processes that stay behind keep old ones open.
const OUTPUTS: usize = 4;
/// A service may write so many bytes in a window; then its pipe fills, and the service waits.
const FLOOD: usize = 512 << 10;
/// The window.
const WINDOW: Duration = Duration::from_millis(100);

/// An open notification socket.
pub struct Notifications {
    /// The socket.
    pub fd: OwnedFd,
    /// Its poll.
    pub token: Token,
    /// Who may speak on it, besides root.
    pub user: u32,
}

/// A main process that a service has named, and that may be another process's child.
pub struct MainProcess {
    /// The process.
    pub pid: Pid,
    /// Its pidfd, open for as long as it is polled.
    pub _pidfd: OwnedFd,
    /// Its poll.
    pub token: Token,
    /// It has ended.
    pub ended: bool,
}

/// A reload command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloading {
    /// It runs as this process.
    Runs(Pid),
    /// It ended.
    Ended(Exit),
}

/// What a service has open.
pub struct Runtime {
    /// The service's stream in the logs, which is its name here.
    pub stream: u32,
    /// The watches of its output, oldest first.
    pub outputs: Vec<Token>,
    /// Those of them that are not read for the time being.
    pub held: Vec<Token>,
    /// Its notification socket.
    pub notify: Option<Notifications>,
    /// Its main process, if it named one.
    pub main: Option<MainProcess>,
    /// Its reload command.
    pub reloading: Option<Reloading>,
    window: Duration,
    bytes: usize,
    /// Held pipes wait for the log's file.
    waits: bool,
}

impl Runtime {
    /// Nothing is open.
    pub fn new(stream: u32) -> Runtime {
        Runtime {
            stream,
            outputs: Vec::new(),
            held: Vec::new(),
            notify: None,
            main: None,
            reloading: None,
            window: Duration::ZERO,
            bytes: 0,
            waits: false,
        }
    }

    /// Takes another pipe; the oldest of many is closed.
    pub fn add_output(&mut self, token: Token, reactor: &mut Reactor) {
        if self.outputs.len() >= OUTPUTS {
            reactor.forget(self.outputs.remove(0));
        }
        self.outputs.push(token);
    }

    /// Counts bytes that were read; true when the service has written too much in this window.
    pub fn floods(&mut self, bytes: usize, now: Duration) -> bool {
        if now.saturating_sub(self.window) >= WINDOW {
            self.window = now;
            self.bytes = 0;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.is_flooding()
    }

    fn is_flooding(&self) -> bool {
        self.bytes > FLOOD
    }

    /// When held pipes are read again; those that wait for the log's file are when that is written.
    pub fn deadline(&self) -> Option<Duration> {
        (!self.held.is_empty() && self.is_flooding() && !self.waits).then(|| self.window + WINDOW)
    }

    /// Reads held pipes again when the window of a flood is over, unless output `waits` for the log's file.
    pub fn release(&mut self, reactor: &mut Reactor, now: Duration, waits: bool) {
        self.waits = waits;
        if !waits && self.deadline().is_none_or(|time| time <= now) {
            for token in self.held.drain(..) {
                reactor.hold(token, false);
            }
        }
    }

    /// Closes everything, after what its processes wrote last went to `each`.
    pub fn end(self, reactor: &mut Reactor, mut each: impl FnMut(&[u8])) {
        for token in self.outputs {
            reactor.drain(token, &mut each);
            reactor.forget(token);
        }
        if let Some(notify) = self.notify {
            reactor.forget(notify.token);
        }
        if let Some(main) = self.main {
            reactor.forget(main.token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_held_until_the_window_ends() {
        let mut runtime = Runtime::new(1);
        let ms = Duration::from_millis;
        assert!(!runtime.floods(FLOOD, ms(1000)));
        assert!(runtime.floods(1, ms(1050)));
        assert!(!runtime.floods(FLOOD, ms(1100)));
        assert!(runtime.floods(1, ms(1100)));
        assert_eq!(runtime.deadline(), None);
        let mut reactor = Reactor::new(false).unwrap();
        let (reader, _writer) = crate::sys::files::pipe().unwrap();
        runtime.held.push(reactor.watch(reader, crate::event::reactor::Source::Output(1)).unwrap());
        assert_eq!(runtime.deadline(), Some(ms(1200)));
        runtime.release(&mut reactor, ms(1199), false);
        assert_eq!(runtime.held.len(), 1);
        runtime.release(&mut reactor, ms(1200), true);
        assert_eq!((runtime.held.len(), runtime.deadline()), (1, None));
        runtime.release(&mut reactor, ms(1200), false);
        assert!(runtime.held.is_empty());
    }

    #[test]
    fn only_so_many_pipes_are_kept() {
        let mut reactor = Reactor::new(false).unwrap();
        let mut runtime = Runtime::new(1);
        for _ in 0..OUTPUTS + 3 {
            let (reader, writer) = crate::sys::files::pipe().unwrap();
            let token = reactor.watch(reader, crate::event::reactor::Source::Output(1)).unwrap();
            drop(writer);
            runtime.add_output(token, &mut reactor);
        }
        assert_eq!(runtime.outputs.len(), OUTPUTS);
        runtime.end(&mut reactor, |_| {});
        reactor.wait(Some(Duration::ZERO)).unwrap();
        assert!(reactor.next_event().is_none());
    }
}
