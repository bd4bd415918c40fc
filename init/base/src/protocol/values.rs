//! What requests and replies are about.

use core::time::Duration;

use crate::sys::process::Pid;

/// What can be done to one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start it, and what it needs.
    Start,
    /// Stop it, and what needs it.
    Stop,
    /// Stop it and start it again.
    Restart,
    /// Tell it to read its configuration again.
    Reload,
}

/// Why a request is not done: one word for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The request is no request.
    Usage,
    /// There is no such service.
    Unknown,
    /// Only root may do that.
    Denied,
    /// It was tried and did not work.
    Failed,
    /// It takes longer than the request waits. It goes on.
    Timeout,
    /// Too many connections.
    Busy,
    /// The system goes down, or another request stands in the way.
    Conflict,
}

/// Why a request is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people: what is wrong and what to do.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: Code, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into() }
    }

    /// There is no service `name`.
    pub fn unknown(name: &str) -> Refusal {
        Refusal::new(Code::Unknown, format!("there is no service '{name}'"))
    }
}

/// How a service is, in a word for programs; [`Summary::state`] is the word for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// As it should be: running and ready, or a one-time task that is done.
    Up,
    /// Starting, stopping, or waiting for a restart.
    Changing,
    /// Not running because nobody wants it to.
    Down,
    /// Not running, or not ready, though it should be.
    Failed,
}

/// A service in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its name.
    pub name: String,
    /// Its state in a word: `ready`, `starting`, `backoff`, ...
    pub state: &'static str,
    /// What the state means.
    pub health: Health,
    /// Its main process.
    pub pid: Option<Pid>,
    /// For how long it has been in its state.
    pub age: Duration,
    /// How often it was started again after it ended by itself.
    pub restarts: u32,
    /// Its own words (`STATUS=` of sd_notify), or why it failed.
    pub text: String,
}

/// A part of the boot or of a service's life, for `analyze`. Times are those since the kernel's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// What it is a part of.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// When it began: for a service, when its first process was started.
    pub start: Duration,
    /// When it was as others may rely on: the phase's end, the service's readiness. Nothing while it is not.
    pub ready: Option<Duration>,
    /// When the service's first process ended, if it did.
    pub end: Option<Duration>,
    /// The services that it waited for.
    pub after: Vec<String>,
}

/// What a [`Span`] is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The kernel, from its start to that of PID 1.
    Kernel,
    /// PID 1's own work.
    Phase,
    /// A service, or an entry of inittab.
    Service,
    /// A moment: the first process, the end of the boot.
    Mark,
}
