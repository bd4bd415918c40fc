//! Takes an update, piece by piece: nothing is written before the header's signature is right, and nothing starts before all of the
//! kernel is on the medium as it was signed.

use std::io::Read;

use ed25519_compact::PublicKey;
use slots::layout::MOST_SETTINGS;
use slots::state::{BUILD_ID, Kernel, Running};
use slots::update::{self, HEADER, Header, Kind};
use slots::{State, record};

use crate::disk::{Disk, PIECE, fill};
use crate::kept;

/// What this system takes.
pub struct Taker<'a> {
    /// The key that updates are signed with.
    pub key: &'a PublicKey,
    /// The product that they must be for.
    pub product: &'a str,
    /// The kernel that runs.
    pub running: &'a [u8; BUILD_ID],
    /// The disk that they go to.
    pub disk: &'a Disk,
}

/// What was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A kernel, now in this slot, which the next start tries.
    Kernel(u8),
    /// Settings.
    Settings,
}

impl Taker<'_> {
    /// Takes an update.
    ///
    /// # Errors
    /// Why it is not taken, for people. The kernel that runs and the settings that are kept are as they were.
    pub fn take(&self, from: &mut impl Read) -> Result<Taken, String> {
        let mut bytes = [0; HEADER];
        match fill(from, &mut bytes) {
            Ok(HEADER) => {}
            Ok(count) => return Err(format!("it ended after {count} bytes")),
            Err(error) => return Err(format!("it cannot be read: {error}")),
        }
        let header = Header::open(&bytes, self.key)?;
        if header.product != self.product {
            return Err(format!("it is for {}, and this is {}", header.product, self.product));
        }
        match header.kind {
            Kind::Kernel => self.take_kernel(&header, from),
            Kind::Settings => self.take_settings(&header, from),
        }
    }

    fn take_kernel(&self, header: &Header, from: &mut impl Read) -> Result<Taken, String> {
        let (_, state) = self.disk.state().ok_or("the disk does not tell which kernel is good")?;
        self.check_kernel(header, &state)?;
        let state = state.without_spare();
        let slot = state.spare();
        self.disk.set_state(&state)?;
        self.copy(header.length, from, |at, piece| self.disk.write(slot, at, piece)).and_then(|digest| {
            is_signed(&digest, header)?;
            match self.disk.digest(slot, header.length)? == header.digest {
                true => Ok(()),
                false => Err(format!("the disk {} did not keep what was written", self.disk.name)),
            }
        })?;
        let Header { length, serial, build_id, .. } = *header;
        self.disk.set_state(&state.with_update(Kernel { length, serial, build_id }))?;
        Ok(Taken::Kernel(slot))
    }

    fn check_kernel(&self, header: &Header, state: &State) -> Result<(), String> {
        if header.build_id == *self.running {
            return Err("it is the kernel that runs already".into());
        }
        let newest = state.kernels.iter().map(|kernel| kernel.serial).max().unwrap_or(0);
        match state.running(self.running) {
            Running::Trial => return Err("the update before it is still on trial".into()),
            Running::Neither => return Err("the kernel that runs is not one of the disk's".into()),
            Running::Good | Running::Before | Running::Returned => {}
        }
        if header.serial <= newest {
            return Err("it is not newer than what was there before; hint: sign it anew to have it all the same".into());
        }
        match u64::from(header.length) {
            length if length > self.disk.slot_size() => {
                Err(format!("it has {length} bytes, and a slot of this disk {}", self.disk.slot_size()))
            }
            0 => Err("it is empty".into()),
            _ => Ok(()),
        }
    }

    fn take_settings(&self, header: &Header, from: &mut impl Read) -> Result<Taken, String> {
        if header.serial <= kept::serial(&self.disk.kept().unwrap_or_default()) {
            return Err("the settings are not newer than those that are kept".into());
        }
        if header.length as usize + record::OVERHEAD > MOST_SETTINGS {
            return Err(format!("the settings have {} bytes, and {MOST_SETTINGS} is the most", header.length));
        }
        let mut content = Vec::new();
        let digest = self.copy(header.length, from, |_, piece| {
            content.extend_from_slice(piece);
            Ok(())
        })?;
        is_signed(&digest, header)?;
        let text = String::from_utf8(content).map_err(|_| "the settings are not text in UTF-8")?;
        kept::check(&text)?;
        self.disk.set_kept(&kept::with_serial(header.serial, &text))?;
        Ok(Taken::Settings)
    }

    /// Hands `length` bytes to `each` in pieces, with how many came before; returns their digest.
    fn copy(
        &self,
        length: u32,
        from: &mut impl Read,
        mut each: impl FnMut(u64, &[u8]) -> Result<(), String>,
    ) -> Result<[u8; 32], String> {
        let (mut digest, mut piece) = (update::Digest::default(), vec![0; PIECE]);
        let mut left = length as usize;
        while left > 0 {
            let wanted = &mut piece[..left.min(PIECE)];
            let count = fill(from, wanted).map_err(|error| format!("it cannot be read: {error}"))?;
            if count < wanted.len() {
                return Err(format!("it ended {} bytes early", left - count));
            }
            digest.add(wanted);
            each(u64::from(length) - left as u64, wanted)?;
            left -= count;
        }
        Ok(digest.finish())
    }
}

fn is_signed(digest: &[u8; 32], header: &Header) -> Result<(), String> {
    if *digest == header.digest { Ok(()) } else { Err("its content is not what was signed".into()) }
}

#[cfg(test)]
mod tests {
    use ed25519_compact::{KeyPair, Seed};

    use super::*;
    use crate::disk::tests::{disk, kernel};

    fn pair() -> KeyPair {
        KeyPair::from_seed(Seed::new([3; 32]))
    }

    fn update(kind: Kind, serial: u64, content: &[u8], product: &str) -> Vec<u8> {
        let header = Header::new(kind, serial, content, [serial as u8; BUILD_ID], product).unwrap();
        [&header.sign(&pair()), content].concat()
    }

    fn take(disk: &Disk, bytes: &[u8]) -> Result<Taken, String> {
        let taker = Taker { key: &pair().pk, product: "mine x86_64", running: &[1; BUILD_ID], disk };
        taker.take(&mut &bytes[..])
    }

    fn content(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|at| (at * 7 + at / 251) as u8).collect()
    }

    #[test]
    fn a_kernel_goes_into_the_spare_slot_and_is_tried() {
        let disk = disk(&State::new(kernel(1)));
        let content = content(200_001);
        assert_eq!(take(&disk, &update(Kind::Kernel, 9, &content, "mine x86_64")), Ok(Taken::Kernel(2)));
        let (_, state) = disk.state().unwrap();
        assert_eq!((state.good, state.trial, state.tries, state.kernel(2).length), (1, 2, 1, 200_001));
        assert_eq!(
            disk.digest(2, 200_001).unwrap(),
            Header::new(Kind::Kernel, 1, &content, [0; 20], "x").unwrap().digest
        );
    }

    #[test]
    fn what_is_not_taken_changes_nothing_that_starts() {
        let disk = disk(&State::new(kernel(5)));
        let disk_1 = State { kernels: [kernel(1), kernel(5)], ..State::new(kernel(1)) };
        disk.set_state(&disk_1).unwrap();
        let right = update(Kind::Kernel, 9, &content(5000), "mine x86_64");
        let with = |at: usize, bytes: &[u8]| {
            let mut wrong = right.clone();
            wrong[at] ^= 1;
            wrong.truncate(bytes.len());
            wrong
        };
        for (bytes, part) in [
            (right[..100].to_vec(), "ended after 100 bytes"),
            (with(40, &right), "not signed by the key"),
            (update(Kind::Kernel, 9, &content(10), "other x86_64"), "it is for other x86_64, and this is mine x86_64"),
            (update(Kind::Kernel, 5, &content(10), "mine x86_64"), "not newer"),
            (update(Kind::Kernel, 257, &content(10), "mine x86_64"), "runs already"),
            (update(Kind::Kernel, 9, &content((1 << 20) + 1), "mine x86_64"), "a slot of this disk 1048576"),
            (update(Kind::Kernel, 9, &[], "mine x86_64"), "empty"),
        ] {
            assert!(take(&disk, &bytes).unwrap_err().contains(part), "{part}: {:?}", take(&disk, &bytes));
            assert_eq!(disk.state().unwrap().1, disk_1, "{part}");
        }
        // From here on the spare slot is lost, and no other.
        for (bytes, part) in
            [(with(600, &right), "not what was signed"), (right[..right.len() - 1].to_vec(), "ended 1 bytes early")]
        {
            assert!(take(&disk, &bytes).unwrap_err().contains(part), "{part}");
            let (_, state) = disk.state().unwrap();
            assert_eq!((state.good, state.trial, state.kernel(2).length), (1, 0, 0));
        }
        assert_eq!(take(&disk, &right), Ok(Taken::Kernel(2)));
    }

    #[test]
    fn an_update_on_trial_is_not_overwritten() {
        let disk = disk(&State { tries: 0, ..State::new(kernel(5)).with_update(kernel(1)) });
        let error = take(&disk, &update(Kind::Kernel, 9, &content(10), "mine x86_64")).unwrap_err();
        assert!(error.contains("still on trial"), "{error}");
    }

    #[test]
    fn settings_are_kept_when_they_are_newer_and_right() {
        let disk = disk(&State::new(kernel(1)));
        let settings = |serial, text: &str| update(Kind::Settings, serial, text.as_bytes(), "mine x86_64");
        assert_eq!(take(&disk, &settings(5, "hostname = a\n")), Ok(Taken::Settings));
        assert_eq!(disk.kept().unwrap(), "# serial 5\nhostname = a\n");
        assert!(take(&disk, &settings(5, "hostname = b\n")).unwrap_err().contains("not newer"));
        assert!(take(&disk, &settings(6, "hostnam = b\n")).unwrap_err().contains("line 1: there is no setting"));
        assert!(take(&disk, &settings(6, &"#\n".repeat(9000))).unwrap_err().contains("18000 bytes"));
        assert_eq!(disk.kept().unwrap(), "# serial 5\nhostname = a\n");
    }
}
