//! The power button: ACPI and virtual machines send it as a key of an input device. The supervisor calls [`watch`] for
//! those that are there, and [`watch_one`] for devices that come later.

use crate::event::reactor::{Reactor, Source};
use crate::log::{debug, error};
use crate::sys::{Result, files, input};

const DIR: &str = "/dev/input";
/// `KEY_POWER` of linux/input-event-codes.h.
const KEY_POWER: u16 = 116;

/// Watches every input device that has a power key; whether there is one. A system without one is not told about it.
pub fn watch(reactor: &mut Reactor) -> bool {
    let names = files::list_dir(DIR).unwrap_or_default();
    let devices = names.iter().filter(|name| name.starts_with("event"));
    devices.fold(false, |found, name| watch_one(reactor, &format!("input/{name}")) | found)
}

/// Watches the input device `name`, a path below /dev, if it has a power key; whether it has.
pub fn watch_one(reactor: &mut Reactor, name: &str) -> bool {
    let path = format!("/dev/{name}");
    let watched = watch_device(reactor, &path);
    match watched {
        Ok(true) => debug!("{path} has a power key"),
        Ok(false) => {}
        Err(error) => error!("cannot watch {path} for the power button: {error}"),
    }
    watched == Ok(true)
}

fn watch_device(reactor: &mut Reactor, path: &str) -> Result<bool> {
    let fd = files::open_readable(path)?;
    if !input::has_key(&fd, KEY_POWER)? {
        return Ok(false);
    }
    if let Err(error) = input::only_key(&fd, KEY_POWER) {
        // Kernels before 4.4: it works, and every key wakes PID 1.
        debug!("{path} cannot be asked for the power key alone: {error}");
    }
    reactor.watch(fd, Source::PowerKey)?;
    Ok(true)
}

/// Whether the power key was pressed among the events read.
pub fn pressed(bytes: &[u8]) -> bool {
    input::keys(bytes).any(|key| key == (KEY_POWER, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, code: u8, value: u8) -> [u8; 24] {
        let mut record = [0; 24];
        record[16] = kind;
        record[18] = code;
        record[20] = value;
        record
    }

    #[test]
    fn only_a_press_of_the_power_key_counts() {
        assert!(pressed(&[record(0, 0, 0), record(1, 116, 1)].concat()));
        assert!(!pressed(&record(1, 116, 0)));
        assert!(!pressed(&record(1, 30, 1)));
        assert!(!pressed(&record(4, 116, 1)));
        assert!(!pressed(&[]));
    }
}
