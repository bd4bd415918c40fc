//! How this program came to be PID 1: its arguments tell. The boot calls [`start`] before anything else, and [`take_state`]
//! when another program was PID 1 before.

use std::os::fd::RawFd;

use super::faults::{self, FAULT, Fault, Rest};
use super::replace::{self, STATE};
use super::rescue;
use super::state::{self, Record};
use crate::sys::{descriptors, files, system};

/// How this program came to be PID 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start<'a> {
    /// The kernel started it.
    Boot,
    /// The one before it had a fault.
    AfterFault(Rest),
    /// It takes over from the one before it, with what that knew: the descriptor for [`take_state`].
    TakeOver(&'a str),
}

/// Finds out how this program was started; the arguments without this module's.
pub fn start<'a>(arguments: &[&'a str]) -> (Vec<&'a str>, Start<'a>) {
    let own = |argument: &&&str| !argument.starts_with(STATE) && !argument.starts_with(FAULT);
    let plain: Vec<&str> = arguments.iter().filter(own).copied().collect();
    replace::keep_arguments(&plain);
    let value = |name: &str| arguments.iter().find_map(|argument| argument.strip_prefix(name));
    let start = if let Some(text) = value(FAULT) {
        descriptors::close_others(None);
        Start::AfterFault(after_fault(text))
    } else if let Some(number) = value(STATE) {
        Start::TakeOver(number)
    } else {
        Start::Boot
    };
    (plain, start)
}

/// Returns the work left after the fault that `text` describes; does not return when only the last resort is left.
fn after_fault(text: &str) -> Rest {
    let (before, at) = faults::parse(text);
    faults::remember(Fault { time: system::uptime(), at });
    if faults::is_last_now(before, at) {
        if let Some(power) = at.power() {
            // It was to go down, and nobody may be there to use a shell.
            system::sync();
            let _ = system::set_power(power);
        }
        rescue::last_resort("a second fault in init within a minute");
    }
    faults::rest(before, at)
}

/// Takes what the program before this one knew, or says why that cannot be read. It has to be the first to open anything. It
/// takes memory as that has lines of logs, so [`super::guard::arm`] comes before.
pub fn take_state(number: &str) -> Result<Vec<Record>, String> {
    read(number).inspect_err(|_| descriptors::close_others(None))
}

fn read(number: &str) -> Result<Vec<Record>, String> {
    let number: RawFd = number.parse().map_err(|_| format!("{STATE} has no number"))?;
    let fd = descriptors::adopt(number).map_err(|error| format!("it is not open: {error}"))?;
    let mut content = Vec::new();
    let mut block = [0; 4096];
    while content.len() <= state::MAX {
        match files::read(&fd, &mut block).map_err(|error| format!("it cannot be read: {error}"))? {
            0 => break,
            count => content.extend_from_slice(block.get(..count).unwrap_or_default()),
        }
    }
    let text = String::from_utf8(content).map_err(|_| state::Fault::Cut.to_string())?;
    let mut records = state::parse(&text).map_err(|fault| fault.to_string())?;
    state::claim(&mut records, number);
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_arguments_are_taken_out() {
        let (plain, start) = start(&["single", "x"]);
        assert_eq!(plain, ["single", "x"]);
        assert!(matches!(start, Start::Boot));
    }

    #[test]
    fn a_state_that_is_not_there_is_an_error() {
        for number in ["x", "-1", "0", "99999"] {
            assert!(read(number).is_err());
        }
    }

    #[test]
    fn a_state_goes_through_memory() {
        let mut writer = state::Writer::default();
        writer.record("paused").field("x", "y".repeat(10_000));
        let memory = replace::write_state(&writer.finish().0).unwrap();
        let records = read(&std::os::fd::IntoRawFd::into_raw_fd(memory).to_string()).unwrap();
        assert_eq!(records[0].get("x").map(str::len), Some(10_000));
    }
}
