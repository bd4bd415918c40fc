//! The kernel's halt, power-off and reboot. The end of a shutdown calls [`set`].

use crate::sys::Errno;
use crate::sys::process::{self, Exit};
use crate::sys::system::{self, Power};

/// Asks the kernel to halt, power off or reboot.
///
/// A child does it: where the kernel cannot power off, the call ends its caller, and the end of PID 1 is a panic.
///
/// # Errors
/// Why it failed. `Ok` means that the kernel took the request and is still there.
pub fn set(power: Power) -> Result<(), String> {
    let asked = process::fork(|| system::set_power(power).map_or_else(Errno::raw_os_error, |()| 0));
    let pid = match asked {
        Ok(pid) => pid,
        // No memory for a child: better the risk than to stay.
        Err(_) => {
            return system::set_power(power).map_err(|error| format!("the kernel refused to stop: {error}"));
        }
    };
    match process::wait_for(pid) {
        Ok(Exit::Code(0)) => Ok(()),
        Ok(Exit::Code(code)) => {
            let error = Errno::from_raw_os_error(code);
            Err(format!("the kernel refused to stop: {error}"))
        }
        Ok(exit) => Err(format!("the request to stop ended with {exit}")),
        Err(error) => Err(format!("cannot wait for the request to stop: {error}")),
    }
}
