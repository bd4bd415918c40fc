//! The program `/sbin/init`: the kernel starts it as PID 1. The programs of [`PROGRAMS`] are in the same file, each under its own
//! name: they share most of their code, and one static file is smaller than several.
//!
//! It has a C `main` of its own because Rust's start-up code opens /dev/null for closed standard
//! descriptors and aborts when that fails, which kills a PID 1 started in a root without device nodes
//! before its first line. Nothing but the arguments is taken from that start-up code.
#![no_main]

use std::ffi::{c_char, c_int};

use init::sys::heap::Heap;
use init::sys::{files, process};

/// All programs here have a single thread.
#[global_allocator]
static HEAP: Heap = Heap::new();

/// A program: takes the arguments after its name and returns its exit code.
type Program = fn(&[&str]) -> i32;

/// Names by which the file is another program, each with the feature of the package that links it in; nothing where that is
/// off.
const PROGRAMS: &[(&str, Option<Program>)] = &[
    ("shutdown", Some(init::shutdown)),
    #[cfg(feature = "initctl")]
    ("initctl", Some(control)),
    #[cfg(not(feature = "initctl"))]
    ("initctl", None),
    #[cfg(feature = "echod")]
    ("echod", Some(echod::run)),
    #[cfg(not(feature = "echod"))]
    ("echod", None),
    #[cfg(feature = "dhcpc")]
    ("dhcpc", Some(dhcpc::run)),
    #[cfg(not(feature = "dhcpc"))]
    ("dhcpc", None),
    #[cfg(feature = "modprobe")]
    ("modprobe", Some(modprobe::run)),
    #[cfg(not(feature = "modprobe"))]
    ("modprobe", None),
    #[cfg(feature = "ntpc")]
    ("ntpc", Some(ntpc::run)),
    #[cfg(not(feature = "ntpc"))]
    ("ntpc", None),
    #[cfg(feature = "status")]
    ("status", Some(status::run)),
    #[cfg(not(feature = "status"))]
    ("status", None),
    #[cfg(feature = "syslogc")]
    ("syslogc", Some(syslogc::run)),
    #[cfg(not(feature = "syslogc"))]
    ("syslogc", None),
    #[cfg(feature = "updater")]
    ("updater", Some(updater::run)),
    #[cfg(not(feature = "updater"))]
    ("updater", None),
    #[cfg(feature = "growfs")]
    ("growfs", Some(growfs::run)),
    #[cfg(not(feature = "growfs"))]
    ("growfs", None),
];

/// `initctl`. Its command `check` reads the tables as PID 1 does, by PID 1's own code.
#[cfg(feature = "initctl")]
fn control(args: &[&str]) -> i32 {
    match args {
        ["check", rest @ ..] => init::check::run(rest),
        _ => initctl::run(args),
    }
}

/// The exit code of a name whose program is not linked in: the shells' code for a program that is not there.
const NOT_FOUND: i32 = 127;

/// The C entry point.
///
/// # Safety
/// libc calls it, once, with the argument vector it got from the kernel.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: the vector stays valid and unchanged for the life of the process.
    let (path, args) = unsafe { process::arguments(argc, argv) };
    let name = path.rsplit('/').next().unwrap_or_default();
    match PROGRAMS.iter().find(|(known, _)| *known == name) {
        Some((_, Some(program))) => program(&args),
        // Taken for init, `echod -q` would make PID 1 read its tables. But PID 1 is init by any name: the kernel panics when it
        // ends.
        Some((_, None)) if process::id() != 1 => {
            files::to_stderr(format_args!(
                "{name}: this program was built without it\nhint: build init with the feature {name}\n"
            ));
            NOT_FOUND
        }
        _ => init::run(&args),
    }
}
