//! The datagram sockets on which services tell their state, with the sender's identity from the kernel.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::Mode;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::process::Pid;
use super::{Errno, Result, check, retry};

/// Who sent a datagram, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The process; 0 when it is in no namespace of ours.
    pub pid: Pid,
    /// Its user.
    pub user: u32,
}

/// Makes a socket at `path`, in the place of an old one, to which `owner` may write.
pub fn listen(path: &str, owner: u32) -> Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let fd =
        net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    sockopt::set_socket_passcred(&fd, true)?;
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    net::bind(&fd, &address)?;
    rustix::fs::chmod(path, Mode::from_raw_mode(0o600))?;
    rustix::fs::chown(path, Some(rustix::fs::Uid::from_raw(owner)), None)?;
    Ok(fd)
}

/// Room for the one control message that is wanted. Descriptors that a sender adds find none, and the kernel closes them.
#[repr(C)]
union Control {
    header: libc::cmsghdr,
    bytes: [u8; 32],
}

/// Reads the next datagram into `buffer`, which cuts it; nothing when there is none. One without a sender is from nobody.
pub fn receive(fd: impl AsFd, buffer: &mut [u8]) -> Result<Option<(usize, Option<Sender>)>> {
    let mut control = Control { bytes: [0; 32] };
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: `msghdr` is plain data for which all bits zero is a value.
    let mut message: libc::msghdr = unsafe { core::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    let received = retry(|| {
        // SAFETY: the header points to one buffer and one control area with their sizes, which outlive the call.
        let count = unsafe { libc::recvmsg(fd.as_fd().as_raw_fd(), &raw mut message, flags) };
        check(libc::c_int::try_from(count).unwrap_or(libc::c_int::MAX))
    });
    match received {
        // SAFETY: the kernel filled `message` and what it points to.
        Ok(count) => Ok(Some((usize::try_from(count).unwrap_or(0).min(buffer.len()), unsafe { sender(&message) }))),
        Err(Errno::AGAIN) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The sender in the control area of a received message.
///
/// # Safety
/// `message` was filled by recvmsg(2), and what it points to is still there.
unsafe fn sender(message: &libc::msghdr) -> Option<Sender> {
    // SAFETY: the macros stay within the area that the header describes; the data of a message of this type is a `ucred`,
    // which is read without relying on its alignment.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(message);
        if header.is_null() || (*header).cmsg_level != libc::SOL_SOCKET || (*header).cmsg_type != libc::SCM_CREDENTIALS
        {
            return None;
        }
        let ucred: libc::ucred = libc::CMSG_DATA(header).cast::<libc::ucred>().read_unaligned();
        Some(Sender { pid: ucred.pid, user: ucred.uid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn datagrams_come_with_their_sender() {
        let path = std::env::temp_dir().join(format!("init-notify-{}", std::process::id()));
        let path = path.to_str().unwrap();
        let user = rustix::process::getuid().as_raw();
        let fd = listen(path, user).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(receive(&fd, &mut buffer), Ok(None));
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to(b"READY=1", path).unwrap();
        let (count, from) = receive(&fd, &mut buffer).unwrap().unwrap();
        assert_eq!(&buffer[..count], b"READY=1");
        assert_eq!(from, Some(Sender { pid: super::super::process::id(), user }));
        sender.send_to(&[b'x'; 100], path).unwrap();
        assert_eq!(receive(&fd, &mut buffer).unwrap().unwrap().0, 16);
        sender.send_to(b"", path).unwrap();
        assert_eq!(receive(&fd, &mut buffer).unwrap().unwrap().0, 0);
        std::fs::remove_file(path).unwrap();
    }
}
