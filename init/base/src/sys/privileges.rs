//! What a process may do and use: users, groups, capabilities, limits, priority. Called between fork and exec.

pub use rustix::process::{Resource, Rlimit as Limit};

use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::{Errno, Result};

/// Capability numbers end below this (64 bits hold a set, capget(2)).
const CAPABILITY_BITS: u32 = 64;

/// The set of the capability with this number alone.
fn capability(number: u32) -> CapabilitySet {
    CapabilitySet::from_bits_retain(1 << number)
}

/// Takes exactly these supplementary groups.
pub fn set_groups(groups: &[u32]) -> Result<()> {
    let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
    rustix::thread::set_thread_groups(&groups)
}

/// Changes the real, effective and saved group.
pub fn set_group(group: u32) -> Result<()> {
    let group = Gid::from_raw(group);
    rustix::thread::set_thread_res_gid(group, group, group)
}

/// Changes the real, effective and saved user, and so gives up root's capabilities.
pub fn set_user(user: u32) -> Result<()> {
    let user = Uid::from_raw(user);
    rustix::thread::set_thread_res_uid(user, user, user)
}

/// Takes every capability out of the bounding set whose bit is not in `kept`.
pub fn bound_capabilities(kept: u64) -> Result<()> {
    for number in (0..CAPABILITY_BITS).filter(|number| kept & (1 << number) == 0) {
        match rustix::thread::remove_capability_from_bounding_set(capability(number)) {
            Ok(()) => {}
            // Past the kernel's last one.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Lets this process keep its permitted capabilities when it changes from root to another user.
pub fn keep_permitted() -> Result<()> {
    rustix::thread::set_keep_capabilities(true)
}

/// Takes those of the permitted capabilities whose bits are in `kept`, and no others, for this process and for the programs
/// that it runs, whoever its user is (capabilities(7), "Ambient").
pub fn take_capabilities(kept: u64) -> Result<()> {
    let permitted = rustix::thread::capabilities(None)?.permitted;
    let sets = permitted & CapabilitySet::from_bits_retain(kept);
    rustix::thread::set_capabilities(None, CapabilitySets { effective: sets, permitted: sets, inheritable: sets })?;
    for number in (0..CAPABILITY_BITS).filter(|number| sets.bits() & (1 << number) != 0) {
        rustix::thread::configure_capability_in_ambient_set(capability(number), true)?;
    }
    Ok(())
}

/// From now on no program gives this process and its children more than they have.
pub fn no_new_privileges() -> Result<()> {
    rustix::thread::set_no_new_privs(true)
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
