//! The watchdog device: a timer in hardware (or in the kernel) that resets the machine unless it is fed.

use std::os::fd::{AsFd, AsRawFd};

use super::{Result, check, files};

/// `WDIOC_KEEPALIVE`: _IOR('W', 5, int), linux/watchdog.h.
const WDIOC_KEEPALIVE: u32 = 2 << 30 | 4 << 16 | 0x57 << 8 | 5;
/// `WDIOC_SETTIMEOUT`: _IOWR('W', 6, int).
const WDIOC_SETTIMEOUT: u32 = 3 << 30 | 4 << 16 | 0x57 << 8 | 6;
/// `WDIOC_GETTIMEOUT`: _IOR('W', 7, int).
const WDIOC_GETTIMEOUT: u32 = 2 << 30 | 4 << 16 | 0x57 << 8 | 7;

/// Asks for a time-out in seconds; returns the one that the device chose. `EINVAL` when the device cannot wait that long.
pub fn set_timeout(fd: impl AsFd, seconds: i32) -> Result<i32> {
    let mut seconds = seconds;
    // SAFETY: the request reads and writes one int.
    check(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), WDIOC_SETTIMEOUT as _, &mut seconds) })?;
    Ok(seconds)
}

/// The device's time-out in seconds.
pub fn timeout(fd: impl AsFd) -> Result<i32> {
    let mut seconds = 0;
    // SAFETY: the request writes one int.
    check(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), WDIOC_GETTIMEOUT as _, &mut seconds) })?;
    Ok(seconds)
}

/// Starts the device's time anew.
pub fn feed(fd: impl AsFd) -> Result<()> {
    let mut unused = 0;
    // SAFETY: the request takes at most one int.
    check(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), WDIOC_KEEPALIVE as _, &mut unused) }).map(drop)
}

/// Makes the next close stop the device instead of leaving it armed ("magic close").
pub fn allow_close(fd: impl AsFd) -> Result<()> {
    files::write_all(fd, b"V")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ioctl_numbers_are_those_of_the_kernel() {
        // Computed with the C macros of linux/watchdog.h.
        assert_eq!([WDIOC_KEEPALIVE, WDIOC_SETTIMEOUT, WDIOC_GETTIMEOUT], [0x8004_5705, 0xc004_5706, 0x8004_5707]);
    }
}
