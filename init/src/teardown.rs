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
    unmount_all();
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

/// Unmounts all but the root, in rounds, because a mount may hold another.
fn unmount_all() {
    loop {
        let content = match mounts::read_proc(unmount::MOUNT_TABLE) {
            Ok(content) => content,
            Err(error) => {
                say!("cannot read {}: {error}; only the root is made safe", unmount::MOUNT_TABLE);
                return;
            }
        };
        let targets = unmount::order(&unmount::parse(&content));
        let (progress, failed) = unmount_round(&targets);
        if failed.is_empty() {
            return;
        }
        // A loop device holds the file system that its file is on.
        if !detach_loops() && !progress {
            failed.iter().for_each(|(target, error)| keep_read_only(target, *error));
            return;
        }
    }
}

/// Tries each mount once; returns whether one was unmounted, and which were not.
fn unmount_round(targets: &[String]) -> (bool, Vec<(&String, Errno)>) {
    let mut progress = false;
    let mut failed = Vec::new();
    for target in targets {
        match system::unmount(target) {
            Ok(()) => progress = true,
            // A mount that a later one hides; what hid it was unmounted in this round.
            Err(Errno::INVAL | Errno::NOENT) => {}
            Err(error) => failed.push((target, error)),
        }
    }
    (progress, failed)
}

/// Frees the loop devices that still have a file; returns whether one was freed.
fn detach_loops() -> bool {
    let names = files::list_dir("/sys/block").unwrap_or_default();
    let has_file = |name: &&String| {
        name.starts_with("loop") && files::status(&format!("/sys/block/{name}/loop/backing_file")).is_ok()
    };
    names.iter().filter(has_file).filter(|name| system::detach_loop(&format!("/dev/{name}")).is_ok()).count() > 0
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
