//! What a fault of PID 1's program does: it starts the program again, because the end of PID 1 is a panic of the kernel.

use std::ffi::CString;

use super::checkpoint::{self, Checkpoint};
use super::faults;
use super::replace;
use super::rescue;
use super::start::Start;
use crate::log::{debug, warn};
use crate::sys::fault;

/// Makes faults of this program start it again. The boot calls it first of all.
pub fn arm(start: Start<'_>) {
    let (Ok((path, arguments)), Ok(last)) = (replace::own_command_line(), CString::new(faults::argument())) else {
        return;
    };
    if let Err(error) = fault::restart_with(path, arguments, last) {
        debug!("a fault in init will end the system: {error}");
    }
    checkpoint::set(match start {
        Start::Boot => Checkpoint::default(),
        Start::AfterFault(rest) => rest.done,
        Start::TakeOver(_) => Checkpoint::BOOTED,
    });
}

/// Handles a panic of this program: starts it again or, when that does not help, keeps a shell on the console.
pub fn after_panic(reason: &str) -> ! {
    if !faults::is_last_now(faults::last(), checkpoint::reached()) {
        warn!("{reason}; init starts again");
        fault::restart();
    }
    rescue::last_resort(reason)
}
