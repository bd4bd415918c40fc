//! How far the boot or the shutdown is. A fault of init leaves nothing but a number in the arguments of the program that it
//! starts (see [`super::guard`]): this one, so that the next program goes on from there.
//!
//! The boot and the supervisor call [`reach`].

use crate::sys::fault;
use crate::sys::system::Power;

/// The first number of those that count entries of the table; the ones below count phases.
const ENTRIES: u32 = 1_000;
/// The boot has ended.
const BOOTED: u32 = 90_000;
/// The first number of those that say how the system goes down.
const DOWN: u32 = 90_001;
/// The ways to go down, in the order of their numbers.
const POWERS: [Power; 3] = [Power::Off, Power::Reboot, Power::Halt];

/// A point of the boot or of the shutdown. A later one is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Checkpoint(u32);

impl Checkpoint {
    /// The boot has ended.
    pub const BOOTED: Checkpoint = Checkpoint(BOOTED);

    /// A phase of the boot has begun; they are counted from 0.
    pub fn begun(phase: usize) -> Checkpoint {
        Checkpoint::below(phase.saturating_mul(2).saturating_add(1), 0, ENTRIES)
    }

    /// A phase has ended.
    pub fn ended(phase: usize) -> Checkpoint {
        Checkpoint::below(phase.saturating_mul(2).saturating_add(2), 0, ENTRIES)
    }

    /// So many of the boot's entries were started.
    pub fn started(entries: usize) -> Checkpoint {
        Checkpoint::below(entries, ENTRIES, BOOTED)
    }

    /// The system goes down.
    pub fn down(power: Power) -> Checkpoint {
        let number = POWERS.iter().position(|&other| other == power).unwrap_or(0);
        Checkpoint::below(number, DOWN, u32::MAX)
    }

    /// The number in a range: from `first`, below `end`.
    fn below(number: usize, first: u32, end: u32) -> Checkpoint {
        Checkpoint(u32::try_from(number).unwrap_or(u32::MAX).saturating_add(first).min(end - 1))
    }

    /// The mark that this number is, as text; a system that boots no more where it is none.
    pub fn parse(text: &str) -> Checkpoint {
        text.parse().map_or(Checkpoint::BOOTED, Checkpoint)
    }

    /// Its number, which [`Checkpoint::parse`] reads.
    pub fn number(self) -> u32 {
        self.0
    }

    /// How many phases have ended.
    pub fn phases(self) -> usize {
        (self.0 / 2) as usize
    }

    /// The phase that has begun and not ended.
    pub fn under_way(self) -> Option<usize> {
        (self.0 < ENTRIES && self.0 % 2 == 1).then(|| self.phases())
    }

    /// How many of the boot's entries were started.
    pub fn entries(self) -> usize {
        self.0.saturating_sub(ENTRIES) as usize
    }

    /// Whether the boot has ended.
    pub fn is_booted(self) -> bool {
        self.0 >= BOOTED
    }

    /// How the system goes down, if it does.
    pub fn power(self) -> Option<Power> {
        POWERS.get(self.0.checked_sub(DOWN)? as usize).copied()
    }
}

/// Keeps `mark` for the program that a fault starts. Checkpoints never move backwards; repeated phases are ignored.
pub fn reach(mark: Checkpoint) {
    if mark > reached() {
        set(mark);
    }
}

/// Keeps `mark`, even when it is earlier: a shutdown that failed.
pub fn set(mark: Checkpoint) {
    fault::mark(mark.0);
}

/// The mark that is kept.
pub fn reached() -> Checkpoint {
    fault::marked().map_or(Checkpoint::BOOTED, Checkpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_tells_what_is_done() {
        assert_eq!((Checkpoint::default().phases(), Checkpoint::default().under_way()), (0, None));
        assert_eq!((Checkpoint::begun(3).phases(), Checkpoint::begun(3).under_way()), (3, Some(3)));
        assert_eq!((Checkpoint::ended(3).phases(), Checkpoint::ended(3).under_way()), (4, None));
        assert_eq!((Checkpoint::started(7).entries(), Checkpoint::started(7).under_way()), (7, None));
        assert_eq!(Checkpoint::ended(3).entries(), 0);
        for power in POWERS {
            assert_eq!(Checkpoint::down(power).power(), Some(power));
            assert!(Checkpoint::down(power).is_booted());
        }
        assert!(Checkpoint::BOOTED.is_booted() && Checkpoint::BOOTED.power().is_none());
    }

    #[test]
    fn later_is_greater_whatever_the_counts_are() {
        let marks = [
            Checkpoint::default(),
            Checkpoint::begun(0),
            Checkpoint::ended(0),
            Checkpoint::begun(1),
            Checkpoint::ended(usize::MAX),
            Checkpoint::started(0),
            Checkpoint::started(usize::MAX),
            Checkpoint::BOOTED,
            Checkpoint::down(Power::Off),
        ];
        assert!(marks.is_sorted());
        assert!(marks.windows(2).all(|pair| pair[0] < pair[1]), "{marks:?}");
    }

    #[test]
    fn what_is_no_number_is_no_boot() {
        assert_eq!(Checkpoint::parse("00007"), Checkpoint::begun(3));
        assert_eq!(Checkpoint::parse(""), Checkpoint::BOOTED);
        assert_eq!(Checkpoint::parse("-1"), Checkpoint::BOOTED);
        assert_eq!(Checkpoint::parse("99999").power(), None);
    }
}
