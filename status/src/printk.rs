//! The kernel's messages, which would tear the screen: fewer of them are shown while the program runs.

use init_base::sys::files;

/// The levels of messages on consoles, the first of which is in force (proc_sys_kernel(5)).
const PATH: &str = "/proc/sys/kernel/printk";
/// Only messages of level 0, that the system cannot be used any more. A panic raises the level by itself.
const EMERGENCIES: &str = "1";

/// Holds messages back, and returns the level of before where that was another one.
pub fn hold() -> Option<String> {
    let content = files::read_file(PATH).ok()?;
    let level = String::from_utf8_lossy(&content).split_ascii_whitespace().next()?.to_owned();
    if level == EMERGENCIES || level == "0" {
        return None;
    }
    files::write_file(PATH, EMERGENCIES.as_bytes()).ok()?;
    Some(level)
}

/// Lets messages of this level through again.
pub fn release(level: &str) {
    // A kernel that takes no level shows fewer messages, and the log has them all.
    let _ = files::write_file(PATH, level.as_bytes());
}
