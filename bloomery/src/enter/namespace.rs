//! Namespaces, and the first process of one.

use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus};

use build_support::{Context as _, Result, fs};
use rustix::io::Errno;
use rustix::thread::UnshareFlags;

/// Leaves the namespaces of mounts and, for children, of processes; with `user` also that of users, in which this user is
/// root.
///
/// # Errors
/// A host that does not allow it.
pub fn unshare(user: bool) -> Result<()> {
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    let mut flags = UnshareFlags::NEWNS | UnshareFlags::NEWPID;
    flags.set(UnshareFlags::NEWUSER, user);
    // SAFETY: this process has one thread, and no memory or descriptors that it shares.
    unsafe { rustix::thread::unshare_unsafe(flags) }.with_context(|| {
        let hint = if user {
            "user namespaces are off here: sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0 \
             and user.max_user_namespaces may be what forbids them; or run this as root"
        } else {
            "this root may not make namespaces, as in some containers; start the container with CAP_SYS_ADMIN"
        };
        format!("cannot leave the host's namespaces\nhint: {hint}")
    })?;
    if user {
        // A user who is not root maps groups only without setgroups(2), user_namespaces(7).
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("0 {} 1\n", uid.as_raw()))?;
        fs::write("/proc/self/gid_map", format!("0 {} 1\n", gid.as_raw()))?;
    }
    Ok(())
}

/// Signals of a terminal's keys.
const KEYS: [libc::c_int; 2] = [libc::SIGINT, libc::SIGQUIT];

/// Lets a terminal's keys go past this process.
pub fn ignore_keys() {
    for signal in KEYS {
        // SAFETY: SIG_IGN runs no code.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Starts a command with keys that work; to ignore them is inherited.
pub fn with_keys(command: &mut Command) {
    let restore = || {
        for signal in KEYS {
            // SAFETY: SIG_DFL runs no code.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls only.
    unsafe { command.pre_exec(restore) };
}

/// Waits for a child, and for all that become children of this first process of the namespace.
///
/// # Errors
/// A child that is not there.
pub fn collect(child: u32) -> Result<ExitStatus> {
    loop {
        match rustix::process::wait(rustix::process::WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get().cast_unsigned() == child => {
                return Ok(ExitStatus::from_raw(status.as_raw()));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for the command"),
        }
    }
}
