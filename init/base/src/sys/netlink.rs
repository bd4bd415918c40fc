//! Netlink sockets: the kernel's news about network interfaces and devices, and requests to the former.
//!
//! Nothing here waits: a request to the kernel is carried out inside the call, and a receive without news returns at
//! once. `net` and `devices` wait for news through the reactor.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use super::{Errno, Result, check, retry};

/// What a socket talks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Interfaces, addresses and routes (rtnetlink(7)).
    Route,
    /// Devices that come and go.
    Uevent,
}

/// A netlink socket.
pub struct Socket {
    fd: OwnedFd,
}

/// One datagram in the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes of the buffer that hold it.
    pub length: usize,
    /// The kernel sent it. Anyone may send datagrams to a netlink socket's address, and PID 1 believes only the kernel.
    pub from_kernel: bool,
    /// It was longer than the buffer, and its end is lost.
    pub cut: bool,
}

impl Socket {
    /// Opens a socket that gets the news of the `groups`, numbers from 1 to 32.
    ///
    /// # Errors
    /// `EAFNOSUPPORT` or `EPROTONOSUPPORT` when the kernel has no networking.
    pub fn open(protocol: Protocol, groups: &[u32]) -> Result<Socket> {
        let protocol = match protocol {
            Protocol::Route => None, // NETLINK_ROUTE is 0.
            Protocol::Uevent => Some(netlink::KOBJECT_UEVENT),
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
        let mask = groups.iter().fold(0, |mask, group| mask | 1 << (group - 1));
        // Port 0 lets the kernel choose one.
        net::bind(&fd, &SocketAddrNetlink::new(0, mask))?;
        Ok(Socket { fd })
    }

    /// Asks the kernel to explain its refusals in words (Linux 4.12). Without it there is the error number.
    pub fn explain_errors(&self) -> Result<()> {
        let on: libc::c_int = 1;
        let (level, name, size) = (libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, size_of::<libc::c_int>());
        // rustix has no function for it.
        // SAFETY: the option takes an int, which `on` is.
        check(unsafe { libc::setsockopt(self.fd.as_raw_fd(), level, name, (&raw const on).cast(), size as _) })
            .map(drop)
    }

    /// Lets `bytes` of news wait in the socket; more than the system's limit needs privilege, which PID 1 has.
    pub fn set_capacity(&self, bytes: usize) -> Result<()> {
        sockopt::set_socket_recv_buffer_size_force(&self.fd, bytes)
    }

    /// Sends a request to the kernel, which answers before this returns; the answer is then there to be received.
    pub fn send(&self, message: &[u8]) -> Result<()> {
        retry(|| net::sendto(&self.fd, message, SendFlags::DONTWAIT, &KERNEL)).map(drop)
    }

    /// Takes the next datagram in place of what is in `buffer`, whose capacity is the room for it; nothing when there is none.
    ///
    /// # Errors
    /// `ENOBUFS` once after news were lost because too many waited.
    pub fn receive(&self, buffer: &mut Vec<u8>) -> Result<Option<Received>> {
        buffer.clear();
        // TRUNC: the length is the datagram's own.
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        match retry(|| net::recvfrom(&self.fd, spare_capacity(buffer), flags)) {
            Ok((_, length, sender)) => {
                let sender = sender.and_then(|address| SocketAddrNetlink::try_from(address).ok());
                Ok(Some(Received {
                    length: buffer.len(),
                    from_kernel: sender.is_some_and(|sender| sender.pid() == KERNEL.pid()),
                    cut: length > buffer.len(),
                }))
            }
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The kernel's own address: port 0, no group.
const KERNEL: SocketAddrNetlink = SocketAddrNetlink::new(0, 0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receive_without_news_returns_at_once() {
        let socket = Socket::open(Protocol::Route, &[]).unwrap();
        assert_eq!(socket.receive(&mut Vec::with_capacity(64)).unwrap(), None);
    }

    #[test]
    fn the_answer_comes_from_the_kernel_and_a_small_buffer_cuts_it() {
        let socket = Socket::open(Protocol::Route, &[1]).unwrap();
        // A request of a kind that does not exist, to be acknowledged: length 16, kind 0xffff, NLM_F_REQUEST | NLM_F_ACK.
        let mut request = [0u8; 16];
        request[..4].copy_from_slice(&16u32.to_ne_bytes());
        request[4..6].copy_from_slice(&0xffffu16.to_ne_bytes());
        request[6..8].copy_from_slice(&5u16.to_ne_bytes());
        for size in [256, 8] {
            socket.send(&request).unwrap();
            let received = socket.receive(&mut Vec::with_capacity(size)).unwrap().unwrap();
            assert!(received.from_kernel);
            assert_eq!(received.cut, size == 8);
            assert!(received.length <= size);
        }
    }

    #[test]
    fn another_process_is_not_the_kernel() {
        let receiver = Socket::open(Protocol::Route, &[]).unwrap();
        let sender = Socket::open(Protocol::Route, &[]).unwrap();
        let address = SocketAddrNetlink::try_from(net::getsockname(&receiver.fd).unwrap()).unwrap();
        if let Err(error) = net::sendto(&sender.fd, b"forged", SendFlags::empty(), &address) {
            // NETLINK_ROUTE takes no datagrams between processes in this kernel: then there is nothing to tell apart.
            return testing::skip(&format!("this kernel has no datagrams between processes on netlink: {error}"));
        }
        assert!(!receiver.receive(&mut Vec::with_capacity(64)).unwrap().unwrap().from_kernel);
    }
}
