//! Network interfaces, as far as the loopback interface needs them.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::{Result, check};

/// Sets the interface `lo` up; the kernel then gives it 127.0.0.1/8 and ::1/128 itself.
pub fn loopback_up() -> Result<()> {
    // A netlink socket exists in every kernel with networking; an AF_INET one would ask for IPv4.
    // SAFETY: socket(2) takes no pointers.
    let raw =
        check(unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE) })?;
    // SAFETY: the call above returned a new descriptor that nothing else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };

    // SAFETY: `ifreq` is plain data for which all bits zero is a value.
    let mut request: libc::ifreq = unsafe { core::mem::zeroed() };
    request.ifr_name[0] = b'l' as _;
    request.ifr_name[1] = b'o' as _;
    // SAFETY: both requests take a `struct ifreq` with a terminated name, which `request` is.
    unsafe {
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &mut request))?;
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request))?;
    }
    Ok(())
}
