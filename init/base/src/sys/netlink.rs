//! Netlink sockets: the kernel's news about network interfaces and devices, and requests to the former.
//!
//! Nothing here waits: a request to the kernel is carried out inside the call, and a receive without news returns at
//! once. `net` and `devices` wait for news through the reactor.

use core::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

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
    /// Opens a socket that gets the news of the `groups`.
    ///
    /// # Errors
    /// `EAFNOSUPPORT` or `EPROTONOSUPPORT` when the kernel has no networking.
    pub fn open(protocol: Protocol, groups: &[u32]) -> Result<Socket> {
        let number = match protocol {
            Protocol::Route => libc::NETLINK_ROUTE,
            Protocol::Uevent => libc::NETLINK_KOBJECT_UEVENT,
        };
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: socket(2) takes no pointers.
        let raw = check(unsafe { libc::socket(libc::AF_NETLINK, kind, number) })?;
        // SAFETY: the call returned a new descriptor that nothing else owns.
        let socket = Socket { fd: unsafe { OwnedFd::from_raw_fd(raw) } };
        let address = kernel_address();
        // SAFETY: the address is a whole `sockaddr_nl`. Its port 0 lets the kernel choose one.
        check(unsafe { libc::bind(raw, (&raw const address).cast(), ADDRESS_SIZE) })?;
        for &group in groups {
            socket.set_option(libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, group)?;
        }
        Ok(socket)
    }

    /// Asks the kernel to explain its refusals in words (Linux 4.12). Without it there is the error number.
    pub fn explain_errors(&self) -> Result<()> {
        self.set_option(libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1)
    }

    /// Lets `bytes` of news wait in the socket; more than the system's limit needs privilege, which PID 1 has.
    pub fn set_capacity(&self, bytes: u32) -> Result<()> {
        self.set_option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)
    }

    fn set_option(&self, level: libc::c_int, name: libc::c_int, value: u32) -> Result<()> {
        let size = size_of::<u32>() as libc::socklen_t;
        // SAFETY: all these options take an int of four bytes, which `value` is.
        check(unsafe { libc::setsockopt(self.fd.as_raw_fd(), level, name, (&raw const value).cast(), size) }).map(drop)
    }

    /// Sends a request to the kernel, which answers before this returns; the answer is then there to be received.
    pub fn send(&self, message: &[u8]) -> Result<()> {
        let address = kernel_address();
        retry(|| {
            // SAFETY: both pointers come with their sizes and outlive the call.
            let sent = unsafe {
                libc::sendto(
                    self.fd.as_raw_fd(),
                    message.as_ptr().cast(),
                    message.len(),
                    libc::MSG_DONTWAIT,
                    (&raw const address).cast(),
                    ADDRESS_SIZE,
                )
            };
            if sent < 0 { Err(super::last_error()) } else { Ok(()) }
        })
    }

    /// Takes the next datagram into `buffer`; nothing when there is none.
    ///
    /// # Errors
    /// `ENOBUFS` once after news were lost because too many waited.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Option<Received>> {
        let mut sender = kernel_address();
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: `msghdr` is plain data for which all bits zero is a value.
        let mut header: libc::msghdr = unsafe { core::mem::zeroed() };
        header.msg_name = (&raw mut sender).cast();
        header.msg_namelen = ADDRESS_SIZE;
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        let received = retry(|| {
            // SAFETY: the header points to one buffer and one address with their sizes, which outlive the call.
            let count = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
            usize::try_from(count).map_err(|_| super::last_error())
        });
        match received {
            Ok(length) => Ok(Some(Received {
                length: length.min(buffer.len()),
                from_kernel: header.msg_namelen == ADDRESS_SIZE && sender.nl_pid == 0,
                cut: header.msg_flags & libc::MSG_TRUNC != 0,
            })),
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

const ADDRESS_SIZE: libc::socklen_t = size_of::<libc::sockaddr_nl>() as libc::socklen_t;

/// The kernel's own address: port 0, no group.
fn kernel_address() -> libc::sockaddr_nl {
    // SAFETY: `sockaddr_nl` is plain data for which all bits zero is a value.
    let mut address: libc::sockaddr_nl = unsafe { core::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receive_without_news_returns_at_once() {
        let socket = Socket::open(Protocol::Route, &[]).unwrap();
        assert_eq!(socket.receive(&mut [0; 64]).unwrap(), None);
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
            let received = socket.receive(&mut vec![0; size]).unwrap().unwrap();
            assert!(received.from_kernel);
            assert_eq!(received.cut, size == 8);
            assert!(received.length <= size);
        }
    }

    #[test]
    fn another_process_is_not_the_kernel() {
        let receiver = Socket::open(Protocol::Route, &[]).unwrap();
        let sender = Socket::open(Protocol::Route, &[]).unwrap();
        let mut address = kernel_address();
        let mut size = ADDRESS_SIZE;
        // SAFETY: the address and its size are valid for the kernel to write.
        check(unsafe { libc::getsockname(receiver.fd.as_raw_fd(), (&raw mut address).cast(), &raw mut size) }).unwrap();
        let text = b"forged";
        // SAFETY: as in `send`.
        let sent = unsafe {
            let to = (&raw const address).cast();
            libc::sendto(sender.fd.as_raw_fd(), text.as_ptr().cast(), text.len(), 0, to, ADDRESS_SIZE)
        };
        if sent < 0 {
            // NETLINK_ROUTE takes no datagrams between processes in this kernel: then there is nothing to tell apart.
            eprintln!("skipped: {}", super::super::last_error());
            return;
        }
        assert!(!receiver.receive(&mut [0; 64]).unwrap().unwrap().from_kernel);
    }
}
