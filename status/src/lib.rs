//! `status`: shows on a console what the machine is and does, and takes the few keys that a person at it needs. It is linked into
//! init's program, which runs it by this name.
//!
//! Each console has a process of its own, because init already opens every console of the kernel, waits for those that come later
//! and starts again what ends there (`consoles::respawn:` in inittab). A line that takes no bytes, or sends nonsense, so concerns
//! its own process alone. The machine's facts are asked for by each once a second, which costs less than a millisecond.
//!
//! [`machine`], [`network`], [`services`], [`kmsg`] and [`settings`] fill in a [`model`]; [`mod@draw`] makes a [`screen`] of it and of the
//! [`view`]; [`mod@diff`] finds the bytes. Only [`app`] waits, only [`terminal`] writes.
#![forbid(unsafe_code)]

mod app;
mod arguments;
mod control;
pub mod diff;
pub mod draw;
pub mod keys;
mod kmsg;
mod machine;
pub mod model;
mod network;
mod printk;
pub mod screen;
mod services;
mod settings;
mod terminal;
mod text;
pub mod view;

use init_base::sys::files;
use init_base::sys::files::to_stderr;

use arguments::{Asked, USAGE};

/// Runs it with the arguments after the name until a signal, or the end of its terminal, stops it; returns the exit code.
pub fn run(arguments: &[&str]) -> i32 {
    let arguments = match arguments::parse(arguments) {
        Ok(Asked::Run(arguments)) => arguments,
        Ok(Asked::Help) => {
            let _ = files::write_all(rustix::stdio::stdout(), USAGE.as_bytes());
            return 0;
        }
        Err(message) => {
            to_stderr(format_args!("status: {message}\nhint: status --help\n"));
            return 2;
        }
    };
    match app::run(arguments) {
        Ok(()) => 0,
        Err(message) => {
            to_stderr(format_args!("status: {message}\n"));
            1
        }
    }
}
