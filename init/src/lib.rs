//! PID 1, as a library so that its decisions can be tested on the build host. `main.rs` calls [`run`].
//!
//! The life of a system, and who does what in it:
//!
//! 1. The kernel starts the program. `boot` goes through its phases: `platform` mounts, sets the clock and the kernel's settings,
//!    `devices` and `net` set up what is there, [`config`] says what the administrator wants.
//! 2. `supervisor` runs the table: `spawn` starts its programs, `service` the services, and `logs` keeps what they write. It
//!    waits in one place, `event`, and answers at the `control` socket.
//! 3. `handover` lets another program go on in this process: on request, or after a fault.
//! 4. `shutdown` stops everything in order, unmounts, and calls reboot(2).
//!
//! Decisions are pure functions with tests beside them. Everything that enters the kernel goes through [`sys`], which has all
//! unsafe code. A module uses only those in layers below its own; `tests/imports.rs` has the table. Only what tests and fuzz
//! targets call is public.
#![forbid(unsafe_code)]

mod boot;
pub mod check;
pub mod config;
pub mod control;
pub mod devices;
mod event;
mod habits;
pub mod handover;
mod log;
pub mod logs;
pub mod net;
pub mod platform;
pub mod service;
mod shutdown;
pub mod spawn;
mod supervisor;

pub use habits::shutdown;
pub use init_base::sys;

/// Runs init with the arguments after its name: PID 1, or, in another process, a small tool that sends signals to it.
///
/// As PID 1 this does not return; otherwise the result is the exit code.
pub fn run(args: &[&str]) -> i32 {
    if sys::process::id() == 1 { boot::run(args) } else { answer(args) }
}

/// Runs init outside of PID 1; returns the exit code.
fn answer(args: &[&str]) -> i32 {
    if let Some(code) = handover::replace::answer(args) {
        return code;
    }
    habits::init(args)
}
