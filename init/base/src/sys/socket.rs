//! Unix stream sockets: the two ends of the control connection. Calls of PID 1's end never wait. And what a stream to another
//! machine still holds.

use core::time::Duration;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::Mode;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::{Errno, Result, check, retry};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 16;

/// Makes a listening socket at `path`, in the place of an old one, for everyone to connect to.
pub fn listen(path: &str) -> Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    net::bind(&fd, &address)?;
    rustix::fs::chmod(path, Mode::from_raw_mode(0o666))?;
    net::listen(&fd, BACKLOG)?;
    Ok(fd)
}

/// Whether `path` is a socket.
pub fn exists(path: &str) -> bool {
    rustix::fs::lstat(path)
        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Socket)
}

/// The next connection; `EAGAIN` when there is none.
pub fn accept(fd: impl AsFd) -> Result<OwnedFd> {
    retry(|| net::accept_with(&fd, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK))
}

/// The user id that the other end had when it connected.
pub fn peer_user(fd: impl AsFd) -> Result<u32> {
    Ok(sockopt::socket_peercred(fd)?.uid.as_raw())
}

/// Reads what is there; 0 at the end, `EAGAIN` when nothing is there. Descriptors that come with it are closed by the kernel.
pub fn receive(fd: impl AsFd, buffer: &mut [u8]) -> Result<usize> {
    retry(|| net::recv(&fd, &mut *buffer, RecvFlags::DONTWAIT)).map(|(_, count)| count)
}

/// Writes what the other end takes now; `EAGAIN` when that is nothing.
pub fn send(fd: impl AsFd, bytes: &[u8]) -> Result<usize> {
    retry(|| net::send(&fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL))
}

/// Bytes of a TCP stream that were written and that the other end has not acknowledged (SIOCOUTQ, tcp(7)).
pub fn unacknowledged(fd: impl AsFd) -> Result<u64> {
    let mut count: libc::c_int = 0;
    // SAFETY: the request, which is TIOCOUTQ by another name, writes one int.
    check(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TIOCOUTQ as _, &mut count) })?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Connects to `path`, and waits at most for `limit` when the listener's queue is full. Reads of the connection wait at most
/// for `timeout`, for ever without one. After these times the error is `EAGAIN`. For the tool, not PID 1.
pub fn connect(path: &str, limit: Duration, timeout: Option<Duration>) -> Result<OwnedFd> {
    let fd = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // connect(2) takes the time for sending (unix_stream_connect in net/unix/af_unix.c).
    sockopt::set_socket_timeout(&fd, sockopt::Timeout::Send, Some(limit))?;
    retry(|| net::connect(&fd, &SocketAddrUnix::new(path)?))?;
    sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, timeout)?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_is_waited_for_a_bounded_time() {
        let path = std::env::temp_dir().join(format!("init-queue-{}", std::process::id()));
        let path = path.to_str().unwrap();
        let listener = listen(path).unwrap();
        let connect = || connect(path, Duration::from_millis(20), None);
        let queue: Vec<_> = std::iter::from_fn(|| connect().ok()).take(100).collect();
        assert_eq!(queue.len(), BACKLOG as usize + 1);
        assert_eq!(connect().unwrap_err(), Errno::AGAIN);
        accept(&listener).unwrap();
        assert!(connect().is_ok());
        rustix::fs::unlink(path).unwrap();
    }
}
