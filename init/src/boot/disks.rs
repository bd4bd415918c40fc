//! The disks of `/etc/fstab`: mounted and swapped to by busybox's programs, which know labels, loop files and the network.
//! The boot calls [`mount_and_swap`].

use core::time::Duration;

use super::check::{self, Condition};
use crate::log::{debug, error, info, warn};
use crate::platform::fstab::{self, Line, Node};
use crate::platform::{clock, mountinfo, mounts};
use crate::supervisor::Supervisor;
use crate::sys::process::Exit;
use crate::sys::{files, system};

/// The longest time that one mount may take: replaying a journal on a slow disk.
const MOUNT_LIMIT: Duration = Duration::from_secs(90);
/// How long devices that are not there yet may take to come, all together: disks on USB are found seconds after PID 1 starts.
const DEVICE_LIMIT: Duration = Duration::from_secs(5);
/// How often a missing device is looked for, besides at every event.
const LOOK: Duration = Duration::from_millis(100);

/// Mounts what fstab has besides the root, one after the other as written, and starts swapping.
pub fn mount_and_swap(supervisor: &mut Supervisor, lines: &[Line]) {
    let mounted = mountinfo::parse(&mounts::read_proc(mountinfo::MOUNT_TABLE).unwrap_or_default());
    let devices_by = system::uptime() + DEVICE_LIMIT;
    let again = supervisor.timeline.taken_over.is_some();
    let wanted = fstab::to_mount(lines, &mounted, again);
    for line in &wanted {
        if supervisor.is_going_down() {
            return;
        }
        let node = wait_for_device(supervisor, &line.source, devices_by);
        // One that was repaired is good: nothing has read it yet, so the machine need not start anew.
        let condition = node.map(|node| check::device(supervisor, &node, &line.target, line.checked));
        mount(supervisor, line, condition == Some(Condition::Faulty));
    }
    for line in fstab::swaps(lines).filter(|line| !line.options.network) {
        wait_for_device(supervisor, &line.source, devices_by);
    }
    if fstab::swaps(lines).next().is_some() && !supervisor.is_going_down() {
        match supervisor.run_program("swapon -a", MOUNT_LIMIT) {
            Some(Exit::Code(0)) => {}
            outcome => warn!("not all swap areas of {} are in use: {}", fstab::PATH, text(outcome)),
        }
    }
    if !wanted.is_empty() {
        // The file that tells the last shutdown's time may have come with /var.
        clock::raise();
    }
}

fn mount(supervisor: &mut Supervisor, Line { target, options, .. }: &Line, faulty: bool) {
    // A missing mount point is mount's error to tell.
    let _ = files::make_dir(target, 0o755);
    let option = if faulty && supervisor.options.read_only_if_faulty { "-r " } else { "" };
    if !option.is_empty() {
        warn!("{target} is mounted read-only, as init.ro-if-faulty asks");
    }
    match supervisor.run_program(&format!("mount {option}{}", quoted(target)), MOUNT_LIMIT) {
        Some(Exit::Code(0)) => debug!("{target} is mounted"),
        outcome if options.may_fail => info!("{target} is not mounted: {}", text(outcome)),
        outcome => error!("cannot mount {target}: {}; going on without it", text(outcome)),
    }
}

/// Waits for a device's node, and returns its path when it is there. Its names by label and UUID are only waited for while
/// something makes them.
fn wait_for_device(supervisor: &mut Supervisor, source: &str, until: Duration) -> Option<String> {
    let node = fstab::node(source)?;
    loop {
        let path = path(&node);
        let now = system::uptime();
        let waits = source.starts_with('/') || supervisor.listens_to_devices();
        if path.is_some() || !waits || now >= until || supervisor.is_going_down() {
            return path;
        }
        supervisor.step(Some(until.min(now + LOOK)));
    }
}

/// A link whose device is gone does not count.
fn path(node: &Node) -> Option<String> {
    let files = files::list_dir(&node.directory).unwrap_or_default();
    let named = files.iter().filter(|file| node.is(file)).map(|file| format!("{}/{file}", node.directory));
    named.into_iter().find(|path| files::status(path).is_ok())
}

fn text(outcome: Option<Exit>) -> String {
    outcome.map_or_else(|| "it does not end".into(), |exit| exit.to_string())
}

/// A word as the shell takes it unchanged; a plain one needs no shell at all.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:@%".contains(&byte);
    if word.bytes().all(plain) { word.into() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_mount_unchanged() {
        assert_eq!(quoted("/data/x-1"), "/data/x-1");
        assert_eq!(quoted("/my disk"), "'/my disk'");
        assert_eq!(quoted("/it's"), "'/it'\\''s'");
        assert_eq!(quoted("/a#b"), "'/a#b'");
    }
}
