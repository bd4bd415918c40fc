//! TCP and UDP sockets of the companion `echod`. None of these calls waits.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketAddrAny, SocketFlags, SocketType, sockopt};

use super::{Errno, Result, retry};

/// Makes a listening TCP socket, on which `backlog` connections may wait to be accepted. The unspecified IPv6 address
/// takes IPv4 too.
pub fn listen(address: SocketAddr, backlog: i32) -> Result<OwnedFd> {
    let fd = open(address, SocketType::STREAM)?;
    // A restart need not wait for the last connections' TIME_WAIT.
    sockopt::set_socket_reuseaddr(&fd, true)?;
    // What is accepted inherits it.
    sockopt::set_tcp_nodelay(&fd, true)?;
    net::bind(&fd, &address)?;
    net::listen(&fd, backlog)?;
    Ok(fd)
}

/// Makes a UDP socket. The unspecified IPv6 address takes IPv4 too.
pub fn bind(address: SocketAddr) -> Result<OwnedFd> {
    let fd = open(address, SocketType::DGRAM)?;
    net::bind(&fd, &address)?;
    Ok(fd)
}

fn open(address: SocketAddr, kind: SocketType) -> Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let fd = net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if let IpAddr::V6(ip) = address.ip() {
        sockopt::set_ipv6_v6only(&fd, !ip.is_unspecified())?;
    }
    Ok(fd)
}

/// The address that a socket is bound to.
pub fn address_of(fd: impl AsFd) -> Result<SocketAddr> {
    SocketAddr::try_from(net::getsockname(fd)?)
}

/// Reads the next datagram, cut to `buffer`, and its sender; `EAGAIN` when there is none.
pub fn receive_from(fd: impl AsFd, buffer: &mut [u8]) -> Result<(usize, SocketAddr)> {
    let (_, count, sender): (_, _, Option<SocketAddrAny>) =
        retry(|| net::recvfrom(&fd, &mut *buffer, RecvFlags::DONTWAIT))?;
    Ok((count, SocketAddr::try_from(sender.ok_or(Errno::DESTADDRREQ)?)?))
}

/// Sends a datagram; `EAGAIN` when it does not fit into the queue.
pub fn send_to(fd: impl AsFd, bytes: &[u8], to: SocketAddr) -> Result<usize> {
    retry(|| net::sendto(&fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &to))
}
