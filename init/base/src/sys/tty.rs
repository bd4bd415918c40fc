//! Terminals.

use std::os::fd::{AsFd, AsRawFd};

pub use rustix::termios::Termios;
use rustix::termios::{OptionalActions, Winsize};

use super::{Result, check, retry};

/// `TIOCGDEV`, _IOR('T', 0x32, unsigned int): the device behind a terminal, which for /dev/console is the real one.
const TIOCGDEV: u32 = 0x8004_5432;

/// The terminal's settings; an error for what is not a terminal, `EIO` for a port without hardware.
pub fn settings(fd: impl AsFd) -> Result<Termios> {
    retry(|| rustix::termios::tcgetattr(&fd))
}

/// Changes the terminal's settings at once.
pub fn set_settings(fd: impl AsFd, settings: &Termios) -> Result<()> {
    retry(|| rustix::termios::tcsetattr(&fd, OptionalActions::Now, settings))
}

/// Rows and columns of the terminal; 0 where nobody has said them, as on a serial line.
pub fn size(fd: impl AsFd) -> Result<(u16, u16)> {
    let size = retry(|| rustix::termios::tcgetwinsize(&fd))?;
    Ok((size.ws_row, size.ws_col))
}

/// Says rows and columns of the terminal.
pub fn set_size(fd: impl AsFd, (rows, columns): (u16, u16)) -> Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    retry(|| rustix::termios::tcsetwinsize(&fd, size))
}

/// Makes the terminal the controlling one of this session; `EPERM` when it is another session's.
pub fn set_controlling(fd: impl AsFd) -> Result<()> {
    rustix::process::ioctl_tiocsctty(fd)
}

/// Major and minor number of the device behind the terminal `fd`.
pub fn real_device(fd: impl AsFd) -> Result<(u32, u32)> {
    let mut device: u32 = 0;
    // SAFETY: the request writes one unsigned int.
    check(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), TIOCGDEV as _, &mut device) })?;
    let device = u64::from(device);
    Ok((rustix::fs::major(device), rustix::fs::minor(device)))
}
