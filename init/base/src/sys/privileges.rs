//! What a process may do and use: users, groups, capabilities, limits, priority. Called between fork and exec.

pub use rustix::process::{Resource, Rlimit as Limit};

use rustix::thread::{CapabilitySet, CapabilitySets};

use super::{Errno, Result, check};

/// Capability numbers end below this (64 bits hold a set, capget(2)).
const CAPABILITY_BITS: u32 = 64;

/// Takes exactly these supplementary groups.
pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: the pointer and the count describe `groups`, whose items are gid_t.
    check(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) }).map(drop)
}

/// Changes the real, effective and saved group.
pub fn set_group(group: u32) -> Result<()> {
    // SAFETY: setresgid(2) takes no pointers.
    check(unsafe { libc::setresgid(group, group, group) }).map(drop)
}

/// Changes the real, effective and saved user, and so gives up root's capabilities.
pub fn set_user(user: u32) -> Result<()> {
    // SAFETY: setresuid(2) takes no pointers.
    check(unsafe { libc::setresuid(user, user, user) }).map(drop)
}

/// Takes every capability out of the bounding set whose bit is not in `kept`.
pub fn bound_capabilities(kept: u64) -> Result<()> {
    for number in (0..CAPABILITY_BITS).filter(|number| kept & (1 << number) == 0) {
        // SAFETY: this request takes no pointers.
        match check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) }) {
            Ok(_) => {}
            // Past the kernel's last one.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Lets this process keep its permitted capabilities when it changes from root to another user.
pub fn keep_permitted() -> Result<()> {
    // SAFETY: this request takes no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1 as libc::c_ulong, 0, 0, 0) }).map(drop)
}

/// Takes those of the permitted capabilities whose bits are in `kept`, and no others, for this process and for the programs
/// that it runs, whoever its user is (capabilities(7), "Ambient").
pub fn take_capabilities(kept: u64) -> Result<()> {
    let permitted = rustix::thread::capabilities(None)?.permitted;
    let sets = permitted & CapabilitySet::from_bits_retain(kept);
    rustix::thread::set_capabilities(None, CapabilitySets { effective: sets, permitted: sets, inheritable: sets })?;
    for number in (0..CAPABILITY_BITS).filter(|number| sets.bits() & (1 << number) != 0) {
        let (request, raise) = (libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong);
        // SAFETY: this request takes no pointers.
        check(unsafe { libc::prctl(request, raise, libc::c_ulong::from(number), 0, 0) })?;
    }
    Ok(())
}

/// From now on no program gives this process and its children more than they have.
pub fn no_new_privileges() -> Result<()> {
    // SAFETY: this request takes no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1 as libc::c_ulong, 0, 0, 0) }).map(drop)
}

/// Sets a resource limit.
pub fn set_limit(resource: Resource, limit: Limit) -> Result<()> {
    rustix::process::setrlimit(resource, limit)
}

/// Sets this process's nice value.
pub fn set_nice(nice: i32) -> Result<()> {
    rustix::process::setpriority_process(None, nice)
}

/// Sets the permission bits that new files do not get.
pub fn set_umask(bits: u32) {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(bits));
}
