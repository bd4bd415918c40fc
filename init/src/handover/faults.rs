//! Faults of PID 1's program: what one tells the program that it starts, and when starting again stops helping. [`super::start`]
//! and [`super::guard`] call this.

use core::time::Duration;
use std::sync::OnceLock;

use super::checkpoint::Checkpoint;
use crate::sys::system;

/// `SECONDS:MARK:MARK`: when the program that had a fault was started after another fault (since the machine's start), or 0;
/// how far that other program was; how far this one was.
pub(super) const FAULT: &str = "--after-fault=";
/// Two faults within this time: starting again does not help.
const SOON: Duration = Duration::from_secs(60);

/// The fault that this program was started after, if it was.
static AFTER_FAULT: OnceLock<Fault> = OnceLock::new();

/// A fault of the program before this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fault {
    /// When this program started after it, since the machine's start; 0 for none.
    pub time: Duration,
    /// How far the program was.
    pub at: Checkpoint,
}

/// What is left to do after a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// What was done before.
    pub done: Checkpoint,
    /// A phase of the boot that is not done, because it had two faults.
    pub left_out: Option<usize>,
}

/// Remembers the fault that this program was started after.
pub(super) fn remember(fault: Fault) {
    // Once for each program.
    let _ = AFTER_FAULT.set(fault);
}

/// The fault that this program was started after; none is at time 0.
pub(super) fn last() -> Fault {
    AFTER_FAULT.get().copied().unwrap_or_default()
}

/// The beginning of the argument that a fault of this program makes; what follows is how far it is then.
pub(super) fn argument() -> String {
    let before = last();
    let seconds = before.time.as_secs().max(u64::from(before.time > Duration::ZERO));
    format!("{FAULT}{seconds}:{}:", before.at.number())
}

/// Whether a fault of this program, now and at `at`, leaves nothing but the last resort.
pub(super) fn is_last_now(before: Fault, at: Checkpoint) -> bool {
    is_last(before, Fault { time: system::uptime(), at })
}

/// The fault before the last one, and how far the program was at the last one.
pub(super) fn parse(text: &str) -> (Fault, Checkpoint) {
    let mut fields = text.split(':');
    let time = fields.next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
    let mut mark = || Checkpoint::parse(fields.next().unwrap_or_default());
    (Fault { time: Duration::from_secs(time), at: mark() }, mark())
}

/// Whether the second of two faults leaves nothing but the last resort: they came soon after each other, and not in a phase
/// of the boot, which can be left out.
fn is_last(before: Fault, fault: Fault) -> bool {
    let soon = before.time > Duration::ZERO && fault.time.saturating_sub(before.time) < SOON;
    soon && fault.at.under_way().is_none()
}

/// A phase that had a fault is done again, because the fault may have been of something else that came meanwhile, and left out
/// when it has another.
pub(super) fn rest(before: Fault, at: Checkpoint) -> Rest {
    match at.under_way().filter(|_| before.time > Duration::ZERO && before.at == at) {
        Some(phase) => Rest { done: Checkpoint::ended(phase), left_out: Some(phase) },
        None => Rest { done: at, left_out: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::system::Power;

    /// A fault at this second and mark.
    fn fault(second: u64, at: Checkpoint) -> Fault {
        Fault { time: Duration::from_secs(second), at }
    }

    #[test]
    fn faults_in_a_row() {
        let last = |before, second| is_last(before, fault(second, Checkpoint::BOOTED));
        assert!(!last(Fault::default(), 5));
        assert!(last(fault(1, Checkpoint::begun(2)), 60));
        assert!(!last(fault(1, Checkpoint::begun(2)), 61));
        // Not while a phase can be left out.
        assert!(!is_last(fault(1, Checkpoint::begun(2)), fault(2, Checkpoint::begun(2))));
        assert!(is_last(fault(1, Checkpoint::begun(2)), fault(2, Checkpoint::ended(2))));
    }

    #[test]
    fn a_phase_with_two_faults_is_left_out() {
        let [begun, later] = [2, 3].map(Checkpoint::begun);
        assert_eq!(rest(Fault::default(), begun), Rest { done: begun, left_out: None });
        assert_eq!(rest(fault(1, begun), begun), Rest { done: Checkpoint::ended(2), left_out: Some(2) });
        assert_eq!(rest(fault(1, begun), later), Rest { done: later, left_out: None });
        let entries = Checkpoint::started(3);
        assert_eq!(rest(fault(1, entries), entries), Rest { done: entries, left_out: None });
    }

    #[test]
    fn the_argument_tells_of_two_faults() {
        let down = Checkpoint::down(Power::Off);
        assert_eq!(
            parse(&format!("17:{}:{:05}", Checkpoint::begun(4).number(), down.number())),
            (fault(17, Checkpoint::begun(4)), down)
        );
        // Of an init that knew nothing of marks.
        assert_eq!(parse("17"), (fault(17, Checkpoint::BOOTED), Checkpoint::BOOTED));
    }
}
