//! The machine: mounts, swap, host name, clock, power.

use core::time::Duration;
use std::ffi::CString;
use std::os::fd::AsRawFd;

use rustix::mount::{MountFlags, UnmountFlags};
use rustix::system::RebootCommand;

use super::{Errno, Result, check};

/// Mounts `kind` on `target`; `flags` are the kernel's `MS_` flags.
pub fn mount(source: &str, target: &str, kind: &str, flags: MountFlags, data: &str) -> Result<()> {
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    rustix::mount::mount(source, target, kind, flags, Some(data.as_c_str()))
}

/// Mounts the file system at `target` again with `flags` and the file system's own options `data`.
pub fn remount(target: &str, flags: MountFlags, data: &str) -> Result<()> {
    rustix::mount::mount_remount(target, flags, data)
}

/// Unmounts what is mounted last on `target`; a symbolic link is not followed.
pub fn unmount(target: &str) -> Result<()> {
    rustix::mount::unmount(target, UnmountFlags::NOFOLLOW)
}

/// Stops swapping to `path`.
pub fn swap_off(path: &str) -> Result<()> {
    let path = CString::new(path).map_err(|_| Errno::INVAL)?;
    // SAFETY: `path` is a terminated string that outlives the call.
    check(unsafe { libc::swapoff(path.as_ptr()) }).map(drop)
}

/// `LOOP_CLR_FD` of linux/loop.h.
const LOOP_CLR_FD: u32 = 0x4c01;

/// Asks a loop device to give up its file. One that is in use does so when nothing has it open any more; that is no error.
pub fn detach_loop(path: &str) -> Result<()> {
    let fd = super::files::open_device(path)?;
    // SAFETY: the request takes no argument.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), LOOP_CLR_FD as _, 0) }).map(drop)
}

/// The kernel's release, which names its directory of modules.
pub fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Sets the host name (at most 64 bytes).
pub fn set_host_name(name: &str) -> Result<()> {
    rustix::system::sethostname(name.as_bytes())
}

/// Writes all file systems' data to their devices.
pub fn sync() {
    rustix::fs::sync();
}

/// The time since the machine started.
pub fn uptime() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Waits. Only for a PID 1 that has lost its event loop.
pub fn sleep(time: Duration) {
    std::thread::sleep(time);
}

/// How the machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Stop the processor and leave the power on.
    Halt,
    /// Switch the power off.
    Off,
    /// Start again.
    Reboot,
}

/// reboot(2). Returns only when the kernel refused, or could not do it.
pub fn set_power(power: Power) -> Result<()> {
    rustix::system::reboot(match power {
        Power::Halt => RebootCommand::Halt,
        Power::Off => RebootCommand::PowerOff,
        Power::Reboot => RebootCommand::Restart,
    })
}

/// Lets ctrl-alt-del reset the machine at once (`true`, as at the kernel's start), or makes the kernel send SIGINT to
/// PID 1 in its place (`false`).
pub fn ctrl_alt_del_resets(resets: bool) -> Result<()> {
    rustix::system::reboot(if resets { RebootCommand::CadOn } else { RebootCommand::CadOff })
}
