//! The end of a shutdown, when all processes are gone: data to the disks, swap off, file systems away. The shutdown calls
//! [`run`].
//!
//! A child does it, because an unmount may wait for ever (a server that is gone, a broken disk). PID 1 waits a bounded time,
//! feeds the watchdog meanwhile, and then goes on to the reboot whatever is left.

use core::time::Duration;

use rustix::mount::MountFlags;

use crate::log::{debug, say};
use crate::supervisor::Supervisor;
use crate::sys::{Errno, files, process, system};
use crate::{clock, mounts, seed, unmount};

/// The longest time that it may take. A slow disk with gigabytes to write needs most of it.
const LIMIT: Duration = Duration::from_secs(90);

/// Brings the file systems to rest, at most for [`LIMIT`].
pub fn run(supervisor: &mut Supervisor) {
    let child = || {
        bring_to_rest();
        0
    };
    match process::fork(child) {
        Ok(pid) => {
            if supervisor.wait_for_process(pid, LIMIT).is_none() {
                say!("the file systems do not come to rest within {} s; going on without", LIMIT.as_secs());
            }
        }
        // No memory for a child.
        Err(_) => bring_to_rest(),
    }
}

/// The steps, in order.
fn bring_to_rest() {
    seed::save();
    clock::save();
    // First, so that most is safe even when a later step hangs.
    system::sync();
    // Before the file systems, because a swap file keeps its own from being unmounted.
    stop_swapping();
    for (target, error) in unmount_all() {
        keep_read_only(&target, error);
    }
    make_root_read_only();
    system::sync();
}

fn stop_swapping() {
    let Ok(table) = mounts::read_proc(unmount::SWAP_TABLE) else {
        // A kernel without swap.
        return;
    };
    for area in unmount::swaps(&table) {
        if let Err(error) = system::swap_off(&area) {
            say!("cannot stop swapping to {area}: {error}");
        }
    }
}

/// What cannot be unmounted, and why.
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
    let content = match mounts::read_proc(unmount::MOUNT_TABLE) {
        Ok(content) => content,
        Err(error) => {
            say!("cannot read {}: {error}; only the root is made safe", unmount::MOUNT_TABLE);
            return Busy::new();
        }
    };
    let mut busy = Busy::new();
    for target in unmount::order(&unmount::parse(&content)) {
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
            // What is still held is told by the mount that cannot be unmounted.
            let _ = system::detach_loop(&format!("/dev/{name}"));
        }
    }
}

/// Saves what can be saved of a mount that cannot be unmounted.
fn keep_read_only(target: &str, error: Errno) {
    match system::remount(target, MountFlags::RDONLY, "") {
        Ok(()) => say!("{target} cannot be unmounted ({error}) and was made read-only"),
        Err(second) => say!("{target} cannot be unmounted ({error}) or made read-only ({second})"),
    }
}

fn make_root_read_only() {
    let Err(error) = system::remount("/", MountFlags::RDONLY, "") else {
        return debug!("the root is read-only");
    };
    say!("the root cannot be made read-only: {error}");
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
