//! The program `/sbin/init`: the kernel starts it as PID 1. By other names it is its companions, see [`init::run`].
//!
//! It has a C `main` of its own because Rust's start-up code opens /dev/null for closed standard
//! descriptors and aborts when that fails, which kills a PID 1 started in a root without device nodes
//! before its first line. Nothing but the arguments is taken from that start-up code.
#![no_main]

use std::ffi::{c_char, c_int};

/// The C entry point.
///
/// # Safety
/// libc calls it, once, with the argument vector it got from the kernel.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: the vector stays valid and unchanged for the life of the process.
    let (name, args) = unsafe { init::sys::process::arguments(argc, argv) };
    init::run(name, &args)
}
