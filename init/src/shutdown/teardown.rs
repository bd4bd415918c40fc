//! The end of a shutdown, when all processes are gone: data to the disks, file systems away, the root read-only. The shutdown
//! calls [`run`], and long before it [`save`].
//!
//! A child does it, because an unmount may wait for ever (a server that is gone, a broken disk). PID 1 waits a bounded time,
//! feeds the watchdog meanwhile, and then goes on to the reboot whatever is left.

use core::time::Duration;

use rustix::mount::MountFlags;

use crate::log::{debug, error, warn};
use crate::platform::{clock, mountinfo, mounts, seed};
use crate::supervisor::Supervisor;
use crate::sys::process::{self, Exit};
use crate::sys::{Errno, files, system};

/// The longest time that it may take. A slow disk with gigabytes to write needs most of it.
const LIMIT: Duration = Duration::from_secs(90);
/// The longest time for the root alone, when the rest took too long or failed.
const ROOT_LIMIT: Duration = Duration::from_secs(10);
/// The longest time that seed and clock may take to write.
const SAVE_LIMIT: Duration = Duration::from_secs(5);

/// Keeps seed and clock for the next boot, before anything makes the disks read-only: many a table has an entry
/// `::shutdown:umount -a -r`.
pub fn save(supervisor: &mut Supervisor) {
    in_child(supervisor, "saving seed and clock", SAVE_LIMIT, save_both);
}

/// Brings the file systems to rest, at most for [`LIMIT`].
pub fn run(supervisor: &mut Supervisor) {
    if !in_child(supervisor, "bringing the file systems to rest", LIMIT, bring_to_rest) {
        in_child(supervisor, "making the root read-only", ROOT_LIMIT, rest_root);
    }
}

/// Does `work` in a child; returns whether it was done. What went wrong is said.
fn in_child(supervisor: &mut Supervisor, what: &str, limit: Duration, work: fn()) -> bool {
    let child = || {
        work();
        0
    };
    let Ok(pid) = process::fork(child) else {
        // No memory for a child.
        work();
        return true;
    };
    match supervisor.wait_for_process(pid, limit) {
        Some(Exit::Code(0)) => return true,
        // For example for want of memory.
        Some(exit) => warn!("{what} failed: {exit}"),
        None => warn!("{what} takes longer than {} s; going on without", limit.as_secs()),
    }
    false
}

fn save_both() {
    seed::save();
    clock::save();
}

/// The steps, in order.
fn bring_to_rest() {
    // Again, because the system went on after the first time.
    save_both();
    // Before the rest, so that most is safe even when a later step hangs.
    system::sync();
    // While the kernel's table is there. A kernel without swap has none.
    let areas = mountinfo::swaps(&mounts::read_proc(mountinfo::SWAP_TABLE).unwrap_or_default());
    let mut busy = unmount_all();
    // Only what is in the way of this is worth reading back from a slow disk: a swap file, or swap on a loop device.
    if !areas.is_empty() && (!busy.is_empty() || root_read_only().is_err()) {
        stop_swapping(&areas);
        busy = unmount_all();
    }
    for (target, error) in busy {
        keep_read_only(&target, error);
    }
    rest_root();
}

fn rest_root() {
    match root_read_only() {
        Ok(()) => debug!("the root is read-only"),
        Err(error) => warn!("the root cannot be made read-only: {error}"),
    }
    system::sync();
}

fn root_read_only() -> Result<(), Errno> {
    system::remount("/", MountFlags::RDONLY, "")
}

fn stop_swapping(areas: &[String]) {
    let child = || {
        for area in areas {
            if let Err(error) = system::swap_off(area) {
                error!("cannot stop swapping to {area}: {error}");
            }
        }
        0
    };
    // swapoff(2) makes its caller the OOM killer's first victim, so a child does it.
    match process::fork(child).and_then(process::wait_for) {
        Ok(Exit::Code(0)) => {}
        Ok(exit) => error!("cannot stop swapping: {exit}"),
        Err(error) => error!("cannot stop swapping: {error}"),
    }
}

/// Mounts that cannot be unmounted, with the error of each.
type Busy = Vec<(String, Errno)>;

/// Unmounts all but the root; returns what stays.
fn unmount_all() -> Busy {
    in_rounds(unmount_round, detach_loops)
}

/// Unmounts in rounds, because a mount may hold another, and `free`s what holds one in between, for as long as each round
/// leaves less than the one before. That something was freed is no reason to go on: a loop device in use takes the request,
/// says that all is well, and keeps its file.
fn in_rounds(mut unmount: impl FnMut() -> Busy, mut free: impl FnMut()) -> Busy {
    let mut before = usize::MAX;
    loop {
        let busy = unmount();
        if busy.is_empty() || busy.len() >= before {
            return busy;
        }
        before = busy.len();
        free();
    }
}

/// Tries each mount once.
fn unmount_round() -> Busy {
    let content = match mounts::read_proc(mountinfo::MOUNT_TABLE) {
        Ok(content) => content,
        Err(error) => {
            error!("cannot read {}: {error}; only the root is made safe", mountinfo::MOUNT_TABLE);
            return Busy::new();
        }
    };
    let mut busy = Busy::new();
    for target in mountinfo::order(&mountinfo::parse(&content)) {
        match system::unmount(&target) {
            // A mount that a later one hides; what hid it was unmounted in this round.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(error) => busy.push((target, error)),
        }
    }
    busy
}

/// Frees the loop devices that still have a file: each holds the file system that its file is on.
fn detach_loops() {
    for name in files::list_dir("/sys/block").unwrap_or_default() {
        if name.starts_with("loop") && files::status(&format!("/sys/block/{name}/loop/backing_file")).is_ok() {
            // A device still in use shows up as a mount that cannot be unmounted.
            let _ = system::detach_loop(&format!("/dev/{name}"));
        }
    }
}

/// Saves what can be saved of a mount that cannot be unmounted.
fn keep_read_only(target: &str, error: Errno) {
    match system::remount(target, MountFlags::RDONLY, "") {
        Ok(()) => warn!("{target} cannot be unmounted ({error}) and was made read-only"),
        Err(second) => warn!("{target} cannot be unmounted ({error}) or made read-only ({second})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(names: &[&str]) -> Busy {
        names.iter().map(|name| ((*name).to_owned(), Errno::BUSY)).collect()
    }

    #[test]
    fn what_stays_busy_ends_the_rounds() {
        let mut rounds = 0;
        let left = in_rounds(
            || {
                rounds += 1;
                busy(&["/a", "/b"])
            },
            || {},
        );
        assert_eq!((left, rounds), (busy(&["/a", "/b"]), 2));
    }

    #[test]
    fn loop_devices_on_each_other_are_all_freed() {
        let freed = core::cell::Cell::new(0);
        let chain = ["/disk", "/disk/in", "/disk/in/in"];
        let left = in_rounds(|| busy(&chain[..3 - freed.get()]), || freed.set(freed.get() + 1));
        assert_eq!((left, freed.get()), (Busy::new(), 3));
    }
}
