//! TCP and UDP sockets of the companion `echod`. None of these calls waits.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

use super::pktinfo::{self, RECEIVED, Source};
use super::{Result, last_error, retry};

/// Bytes of the longest address, `sockaddr_in6`.
pub(super) const NAME: usize = size_of::<libc::sockaddr_in6>();

/// Makes a listening TCP socket, on which `backlog` connections may wait to be accepted. The unspecified IPv6 address
/// takes IPv4 too.
pub fn listen(address: SocketAddr, backlog: i32) -> Result<OwnedFd> {
    let fd = open(address, SocketType::STREAM)?;
    // A restart need not wait for the last connections' TIME_WAIT.
    sockopt::set_socket_reuseaddr(&fd, true)?;
    // Accepted sockets inherit it.
    sockopt::set_tcp_nodelay(&fd, true)?;
    net::bind(&fd, &address)?;
    net::listen(&fd, backlog)?;
    Ok(fd)
}

/// Makes a UDP socket. The unspecified IPv6 address takes IPv4 too.
pub fn bind(address: SocketAddr) -> Result<OwnedFd> {
    let fd = open(address, SocketType::DGRAM)?;
    pktinfo::ask(&fd, address.is_ipv6())?;
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

/// A datagram that came.
pub struct Received {
    /// Its bytes, cut to the buffer.
    pub count: usize,
    /// The address to answer from; nothing when it was sent to many.
    pub source: Option<Source>,
    name: [u8; NAME],
    name_length: usize,
}

impl Received {
    /// The sender, a `sockaddr_in` or `sockaddr_in6`.
    pub fn sender(&self) -> &[u8] {
        self.name.get(..self.name_length).unwrap_or_default()
    }
}

/// Reads the next datagram; `EAGAIN` when there is none.
pub fn receive_from(fd: impl AsFd, buffer: &mut [u8]) -> Result<Received> {
    let mut control = [0; RECEIVED];
    let mut name = [0; NAME];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: a `msghdr` is plain data for which all bits zero is a value.
    let mut header: libc::msghdr = unsafe { core::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    let count = retry(|| {
        header.msg_name = name.as_mut_ptr().cast();
        header.msg_namelen = NAME as libc::socklen_t;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = RECEIVED as _;
        // SAFETY: the header names buffers with their lengths; the kernel writes no more.
        let count = unsafe { libc::recvmsg(fd.as_fd().as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
        usize::try_from(count).map_err(|_| last_error())
    })?;
    let source = Source::of(control.get(..header.msg_controllen as usize).unwrap_or_default());
    Ok(Received { count, source, name, name_length: header.msg_namelen as usize })
}

/// Sends a datagram from an address to another, a `sockaddr_in` or `sockaddr_in6`; `EAGAIN` when it does not fit into the
/// queue.
pub fn send_to(fd: impl AsFd, bytes: &[u8], from: &Source, to: &[u8]) -> Result<()> {
    let part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let header = outgoing(&part, from, to);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    retry(|| {
        // SAFETY: the header names buffers with their lengths; the kernel only reads.
        let count = unsafe { libc::sendmsg(fd.as_fd().as_raw_fd(), &raw const header, flags) };
        if count < 0 { Err(last_error()) } else { Ok(()) }
    })
}

/// The header of a datagram that goes. It points to all of its arguments.
pub(super) fn outgoing(part: &libc::iovec, from: &Source, to: &[u8]) -> libc::msghdr {
    let control = from.bytes();
    // SAFETY: a `msghdr` is plain data for which all bits zero is a value.
    let mut header: libc::msghdr = unsafe { core::mem::zeroed() };
    header.msg_name = to.as_ptr().cast_mut().cast();
    header.msg_namelen = to.len() as libc::socklen_t;
    header.msg_iov = core::ptr::from_ref(part).cast_mut();
    header.msg_iovlen = 1;
    header.msg_control = control.as_ptr().cast_mut().cast();
    header.msg_controllen = control.len() as _;
    header
}
