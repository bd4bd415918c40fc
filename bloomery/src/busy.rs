//! What another program holds that a machine needs: ports of this host, and the disk. QEMU's own messages name neither the option nor
//! a way out.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use build_support::{Result, bail, ensure, fs};
use system::machine::{Forward, GDB_PORT};

use crate::usage::wrong;

/// Checks the ports of `--port` and `--gdb`.
///
/// # Errors
/// A port that is named twice or is not free.
pub fn check_ports(ports: &[Forward], gdb: bool) -> Result<()> {
    for (at, port) in ports.iter().enumerate() {
        let (host, other) = (port.host, Forward { host: port.host.saturating_add(1), ..*port });
        if ports[..at].iter().any(|port| port.host == host) {
            return Err(wrong(
                &format!("--port names port {host} of this machine twice"),
                &format!("choose another for one of them, such as --port {other}"),
            ));
        }
        check_port(host, &format!("choose another, such as --port {other}"))?;
    }
    if gdb {
        check_port(GDB_PORT, "another machine waits for its debugger there; end it first")?;
    }
    Ok(())
}

fn check_port(port: u16, hint: &str) -> Result<()> {
    match TcpListener::bind(("127.0.0.1", port)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            bail!("port {port} of this machine is taken by another program\nhint: {hint}")
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            bail!("port {port} of this machine is root's\nhint: choose one from 1024 on")
        }
        // QEMU says the rest.
        Err(_) => Ok(()),
    }
}

/// Where QEMU locks bytes of an image: those of what it does from 100 on, those of what others may not from 200 on
/// (`RAW_LOCK_PERM_BASE` and `RAW_LOCK_SHARED_BASE` of its block/file-posix.c).
const LOCKS: (i64, i64) = (100, 200);

/// Checks that no machine has a disk.
///
/// # Errors
/// A disk that one has.
pub fn check_disk(path: &Path) -> Result<()> {
    let Ok(file) = fs::File::options().read(true).write(true).open(path) else {
        return Ok(()); // Not there, or somebody else's: QEMU says which.
    };
    let (start, length) = LOCKS;
    // SAFETY: all fields are integers.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as _;
    lock.l_whence = libc::SEEK_SET as _;
    (lock.l_start, lock.l_len) = (start, length);
    // SAFETY: the call reads and writes one `struct flock`.
    let asked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &mut lock) };
    ensure!(
        asked != 0 || lock.l_type == libc::F_UNLCK as libc::c_short,
        "another machine runs from {}\nhint: end it, or boot with --snapshot, which keeps nothing that the guest writes",
        path.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = check_ports(&[Forward::new(port, 80)], false).unwrap_err().to_string();
        assert!(
            error.contains(&format!("port {port} of this machine is taken")) && error.contains("hint: "),
            "{error}"
        );
        drop(taken);
        check_ports(&[Forward::new(port, 80)], false).unwrap();
        let error = check_ports(&[Forward::new(port, 80), Forward::new(port, 81)], false).unwrap_err().to_string();
        assert!(error.contains("twice") && error.contains(":81"), "{error}");
    }

    #[test]
    fn a_disk_that_a_machine_has_is_named() {
        let disk = tempfile::NamedTempFile::new().unwrap();
        check_disk(disk.path()).unwrap();
        // SAFETY: all fields are integers.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        (lock.l_type, lock.l_start, lock.l_len) = (libc::F_RDLCK as _, 101, 1);
        // SAFETY: the call reads one `struct flock`.
        assert_eq!(unsafe { libc::fcntl(disk.as_raw_fd(), libc::F_OFD_SETLK, &lock) }, 0);
        let error = check_disk(disk.path()).unwrap_err().to_string();
        assert!(error.contains("another machine runs from") && error.contains("--snapshot"), "{error}");
        check_disk(Path::new("/no/such")).unwrap();
    }
}
