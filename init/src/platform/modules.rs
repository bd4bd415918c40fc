//! Kernel modules that are loaded at every boot. The boot runs the commands that this module makes of the files.
//!
//! `/etc/modules` has one module a line, with parameters after its name; `modules-load.d/*.conf` (modules-load.d(5)) one
//! name a line. modprobe loads them, which knows what they depend on.

use core::time::Duration;

use crate::config::dropins;
use crate::log::warn;
use crate::sys::{files, system};

/// The longest time that one command may take; a driver may wait for firmware for a minute.
pub const LIMIT: Duration = Duration::from_secs(90);
const FILE: &str = "/etc/modules";
const DROPINS: &str = "modules-load.d";

/// The commands to run, in order; none for a kernel without modules on this disk.
pub fn commands() -> Vec<String> {
    // A kernel with all drivers built in has no such directory, and then nothing is read at all.
    if files::status(&format!("/lib/modules/{}", system::kernel_release())).is_err() {
        return Vec::new();
    }
    let mut loads = Vec::new();
    for path in core::iter::once(FILE.to_owned()).chain(dropins::paths(DROPINS)) {
        let (found, faults) = parse(&dropins::read(&path));
        loads.extend(found);
        for line in faults {
            warn!("{path}, line {line}: not a module's name; the line is left out");
        }
    }
    loads.iter().map(program).collect()
}

/// A module's name, and its parameters as they are written.
type Load = (String, String);

/// The modules in a file, and the lines (from 1) that name none.
fn parse(content: &str) -> (Vec<Load>, Vec<usize>) {
    let mut loads = Vec::new();
    let mut faults = Vec::new();
    for (index, line) in content.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let (name, parameters) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        // A name with a dash in front would be an option of modprobe.
        let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if name.bytes().all(good) && !name.starts_with('-') && !parameters.contains('\0') {
            loads.push((name.into(), parameters.trim().into()));
        } else {
            faults.push(index + 1);
        }
    }
    (loads, faults)
}

/// One command for each module: busybox's small modprobe takes every word after the first for a parameter, and has no `-a`.
fn program((name, parameters): &Load) -> String {
    format!("modprobe {name} {parameters}").trim_end().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parameters_and_faults() {
        let (loads, faults) = parse("# c\n; c\n\n  loop  max_loop=8 x=1\nsnd-aloop\n-r\nrm;reboot\n");
        let expected: Vec<Load> = vec![("loop".into(), "max_loop=8 x=1".into()), ("snd-aloop".into(), String::new())];
        assert_eq!(loads, expected);
        assert_eq!(faults, [6, 7]);
    }

    #[test]
    fn each_module_has_a_command_without_options() {
        let (loads, _) = parse("a\nb\nsnd-c x=1 y=2,3\n");
        let commands: Vec<String> = loads.iter().map(program).collect();
        assert_eq!(commands, ["modprobe a", "modprobe b", "modprobe snd-c x=1 y=2,3"]);
    }
}
