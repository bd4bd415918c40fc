//! `syslogc`: sends the logs of services and of the kernel to a syslog server. It is linked into init's program, which runs it by
//! this name.
//!
//! [`follow`] gets lines from PID 1, [`message`] makes messages of them, [`queue`] keeps those that wait, [`link`] sends them, and
//! [`relay`] waits. One thread.
#![forbid(unsafe_code)]

mod arguments;
mod follow;
mod link;
mod message;
mod queue;
mod relay;
mod server;

use init_base::sys::files::{self, to_stderr};

use arguments::{Asked, USAGE};

/// Runs it with the arguments after the name until a signal ends it; returns the exit code.
pub fn run(arguments: &[&str]) -> i32 {
    match arguments::parse(arguments) {
        Ok(Asked::Run(arguments)) => match relay::run(arguments) {
            Ok(never) => match never {},
            Err(message) => {
                to_stderr(format_args!("syslogc: {message}\n"));
                1
            }
        },
        Ok(Asked::Help) => {
            let _ = files::write_all(rustix::stdio::stdout(), USAGE.as_bytes());
            0
        }
        Err(message) => {
            to_stderr(format_args!("syslogc: {message}\nhint: syslogc --help\n"));
            2
        }
    }
}
