//! The client's UDP socket. The kernel delivers broadcasts to it also where the interface has no address yet, so no raw frames are
//! needed.

use core::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use init_base::sys::{Result, check, retry};
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

/// The ports of servers and of clients (RFC 2131, section 4.1).
const SERVER: u16 = 67;
const CLIENT: u16 = 68;

/// A socket of one interface.
pub struct Socket(OwnedFd);

impl Socket {
    /// Opens it for the interface of this name.
    pub fn open(interface: &str) -> Result<Socket> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
        // Each interface has a client, and all of them have the same port.
        sockopt::set_socket_reuseaddr(&fd, true)?;
        sockopt::set_socket_broadcast(&fd, true)?;
        bind_to(&fd, interface)?;
        net::bind(&fd, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT))?;
        Ok(Socket(fd))
    }

    /// Sends a message to a server; nothing is everyone.
    pub fn send(&self, bytes: &[u8], server: Option<Ipv4Addr>) -> Result<()> {
        let to = SocketAddrV4::new(server.unwrap_or(Ipv4Addr::BROADCAST), SERVER);
        retry(|| net::sendto(&self.0, bytes, SendFlags::NOSIGNAL, &to)).map(drop)
    }

    /// Takes the next datagram; `EAGAIN` when there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<usize> {
        retry(|| net::recv(&self.0, &mut *buffer, RecvFlags::DONTWAIT)).map(|(_, count)| count)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// `SO_BINDTODEVICE`, for which rustix has no function. Needs no privilege since Linux 5.7.
fn bind_to(fd: &OwnedFd, interface: &str) -> Result<()> {
    let (name, length) = (interface.as_ptr().cast(), interface.len() as libc::socklen_t);
    // SAFETY: the option reads as many bytes of the name as it is told, and needs no terminator.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_BINDTODEVICE, name, length) }).map(drop)
}
