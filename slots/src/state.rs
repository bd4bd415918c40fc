//! Which of the two kernels starts. An update goes into the slot that is not good, and is tried: the loader takes one try away before it
//! starts it, and only the running system says that it is good. So a kernel that never comes so far is started once, and then the
//! old one.
//!
//! ```text
//! content, byte 0  the good slot, 1 or 2
//!               1  the slot on trial, or 0
//!               2  tries that it has left
//!               3  0
//!               4  bytes of the kernels in slot 1 and in slot 2, four bytes each
//!              12  the serial numbers of their updates, eight bytes each; 0 of the kernel that the image was written with
//!              28  their build identifiers, 20 bytes each
//! ```

/// Bytes of the content.
pub const SIZE: usize = 68;
/// Bytes of the build identifier that the linker makes, a SHA-1 (`--build-id=sha1`), by which a running kernel is known
/// (/sys/kernel/notes).
pub const BUILD_ID: usize = 20;

/// A kernel in a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Bytes.
    pub length: u32,
    /// The serial number of its update.
    pub serial: u64,
    /// Its build identifier.
    pub build_id: [u8; BUILD_ID],
}

/// The state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The slot that starts, 1 or 2.
    pub good: u8,
    /// The slot that is tried, or 0.
    pub trial: u8,
    /// How often it may still be started.
    pub tries: u8,
    /// The kernels of slot 1 and slot 2.
    pub kernels: [Kernel; 2],
}

/// Which kernel runs, and what follows from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Running {
    /// The good one, with no update on trial.
    Good,
    /// The update: it waits for the word that all is well.
    Trial,
    /// The good one, since the update did not come so far.
    Returned,
    /// The good one, before the update was started.
    Before,
    /// None of the two: the machine was started from another medium.
    Neither,
}

impl State {
    /// The state of a disk that was just written: a kernel in slot 1.
    pub fn new(kernel: Kernel) -> State {
        State { good: 1, trial: 0, tries: 0, kernels: [kernel, Kernel::default()] }
    }

    /// The content of a record.
    pub fn to_bytes(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[..3].copy_from_slice(&[self.good, self.trial, self.tries]);
        for (number, kernel) in self.kernels.iter().enumerate() {
            bytes[4 + 4 * number..][..4].copy_from_slice(&kernel.length.to_le_bytes());
            bytes[12 + 8 * number..][..8].copy_from_slice(&kernel.serial.to_le_bytes());
            bytes[28 + BUILD_ID * number..][..BUILD_ID].copy_from_slice(&kernel.build_id);
        }
        bytes
    }

    /// Reads the content of a record; none for one that is no state.
    pub fn read(content: &[u8]) -> Option<State> {
        let content: &[u8; SIZE] = content.try_into().ok()?;
        let kernel = |number: usize| {
            Some(Kernel {
                length: u32::from_le_bytes(*content[4 + 4 * number..].first_chunk()?),
                serial: u64::from_le_bytes(*content[12 + 8 * number..].first_chunk()?),
                build_id: *content[28 + BUILD_ID * number..].first_chunk()?,
            })
        };
        let state = State { good: content[0], trial: content[1], tries: content[2], kernels: [kernel(0)?, kernel(1)?] };
        (matches!(state.good, 1 | 2) && state.trial <= 2).then_some(state)
    }

    /// The kernel of slot 1 or 2.
    pub fn kernel(&self, slot: u8) -> &Kernel {
        &self.kernels[usize::from(slot == 2)]
    }

    /// The slot that an update may be written to.
    pub fn spare(&self) -> u8 {
        3 - self.good
    }

    /// Which kernel runs, by its build identifier.
    pub fn running(&self, build_id: &[u8]) -> Running {
        let is = |slot| self.kernel(slot).length > 0 && self.kernel(slot).build_id == build_id;
        match self.trial {
            0 if is(self.good) => Running::Good,
            // Both may be the same kernel. Then the one on trial was started, unless it has its try still.
            trial if trial != 0 && self.tries == 0 && is(trial) => Running::Trial,
            trial if trial != 0 && is(self.good) && self.tries == 0 => Running::Returned,
            _ if is(self.good) => Running::Before,
            _ => Running::Neither,
        }
    }

    /// The state before an update is written: nothing is on trial, and the spare slot holds nothing.
    pub fn without_spare(mut self) -> State {
        (self.trial, self.tries) = (0, 0);
        self.kernels[usize::from(self.spare() == 2)] = Kernel::default();
        self
    }

    /// The state once an update is in the spare slot: the next start tries it.
    pub fn with_update(mut self, kernel: Kernel) -> State {
        (self.trial, self.tries) = (self.spare(), 1);
        self.kernels[usize::from(self.trial == 2)] = kernel;
        self
    }

    /// The state once the update has come so far as it must.
    pub fn kept(mut self) -> State {
        if self.trial != 0 {
            self.good = self.trial;
        }
        self.without_trial()
    }

    /// The state without the update that did not come so far. Its slot may be written again.
    pub fn without_trial(mut self) -> State {
        (self.trial, self.tries) = (0, 0);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(number: u8) -> Kernel {
        Kernel { length: 1000 + u32::from(number), serial: number.into(), build_id: [number; BUILD_ID] }
    }

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let state = State::new(kernel(1)).with_update(kernel(2));
        let bytes = state.to_bytes();
        assert_eq!(bytes[..12], [1, 2, 1, 0, 0xe9, 3, 0, 0, 0xea, 3, 0, 0]);
        assert_eq!((bytes[12], bytes[20], bytes[28], bytes[47], bytes[48], bytes[67]), (1, 2, 1, 1, 2, 2));
        assert_eq!(State::read(&bytes), Some(state));
        for (at, byte) in [(0, 0), (0, 3), (1, 3)] {
            let mut wrong = bytes;
            wrong[at] = byte;
            assert_eq!(State::read(&wrong), None);
        }
        assert_eq!(State::read(&bytes[1..]), None);
    }

    #[test]
    fn an_update_that_comes_up_is_kept() {
        let state = State::new(kernel(1));
        assert_eq!(
            (state.spare(), state.running(&[1; 20]), state.running(&[2; 20])),
            (2, Running::Good, Running::Neither)
        );
        let written = state.with_update(kernel(2));
        assert_eq!((written.trial, written.running(&[1; 20])), (2, Running::Before));
        let tried = State { tries: 0, ..written };
        assert_eq!(tried.running(&[2; 20]), Running::Trial);
        let kept = tried.kept();
        assert_eq!((kept.good, kept.trial, kept.spare(), kept.running(&[2; 20])), (2, 0, 1, Running::Good));
    }

    #[test]
    fn an_update_that_does_not_is_left() {
        let tried = State { tries: 0, ..State::new(kernel(1)).with_update(kernel(2)) };
        assert_eq!(tried.running(&[1; 20]), Running::Returned);
        let left = tried.without_trial();
        assert_eq!((left.good, left.trial, left.spare()), (1, 0, 2));
        assert_eq!(left.without_spare().kernel(2).length, 0);
        assert_eq!(left.without_spare().running(&[0; 20]), Running::Neither);
    }
}
