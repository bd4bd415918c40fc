//! The disk that this system's kernels lie on.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{Advice, fadvise};
use slots::layout::{Layout, STATE};
use slots::record::Found;
use slots::state::{BUILD_ID, Running};
use slots::{Pair, State, update};

const NOTES: &str = "/sys/kernel/notes";
const DISKS: &str = "/sys/class/block";
/// Bytes that are written and read back at once.
pub const PIECE: usize = 64 << 10;

/// A disk with slots.
pub struct Disk {
    /// The kernel's name for it.
    pub name: String,
    file: File,
    layout: Layout,
}

/// The build identifier of the kernel that runs.
///
/// # Errors
/// When the kernel does not tell it.
pub fn running_kernel() -> Result<[u8; BUILD_ID], String> {
    let notes = fs::read(NOTES).map_err(|error| format!("cannot read {NOTES}: {error}"))?;
    update::build_id(&notes).ok_or_else(|| format!("{NOTES} has no build identifier"))
}

/// The names of the machine's disks that can be written, without partitions.
pub fn disks() -> Vec<String> {
    let read = |name: &str, file: &str| fs::read_to_string(format!("{DISKS}/{name}/{file}")).unwrap_or_default();
    let is_disk = |name: &String| {
        let is_part = fs::exists(format!("{DISKS}/{name}/partition")).unwrap_or(false);
        !is_part && read(name, "ro").trim() == "0" && !["", "0"].contains(&read(name, "size").trim())
    };
    let entries = fs::read_dir(DISKS).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(is_disk).collect();
    names.sort();
    names
}

impl Disk {
    /// The one disk on which the kernel that runs is in a slot.
    ///
    /// # Errors
    /// When there is none, or more than one: a stick and an internal disk written from one image cannot be told apart.
    pub fn find(build_id: &[u8; BUILD_ID]) -> Result<Disk, String> {
        let holds = |name: &String| {
            let disk = Disk::open(name, false).ok()??;
            let (_, state) = disk.state()?;
            (state.running(build_id) != Running::Neither).then_some(())
        };
        let found: Vec<String> = disks().into_iter().filter(|name| holds(name).is_some()).collect();
        match found.as_slice() {
            [] => Err("no disk of this machine has the running kernel in a slot".into()),
            [name] => match Disk::open(name, true) {
                Ok(Some(disk)) => Ok(disk),
                Ok(None) => Err(format!("the disk {name} has changed")),
                Err(error) => Err(format!("cannot open the disk {name}: {error}")),
            },
            names => {
                Err(format!("the disks {} hold the same kernel; hint: remove all but one of them", names.join(" and ")))
            }
        }
    }

    /// Opens a disk; none without slots.
    fn open(name: &str, write: bool) -> io::Result<Option<Disk>> {
        let file = OpenOptions::new().read(true).write(write).open(format!("/dev/{name}"))?;
        Disk::of(name, file)
    }

    fn of(name: &str, file: File) -> io::Result<Option<Disk>> {
        let mut sector = [0; 512];
        file.read_exact_at(&mut sector, 0)?;
        Ok(Layout::of(&sector).map(|layout| Disk { name: name.into(), file, layout }))
    }

    /// The state in force; none where neither place has one.
    pub fn state(&self) -> Option<(Found, State)> {
        let found = self.newest(&STATE)?;
        let state = State::read(&found.content)?;
        Some((found, state))
    }

    /// Changes the state. It is on the medium when this returns.
    ///
    /// # Errors
    /// When the disk cannot be written; then the old one counts.
    pub fn set_state(&self, state: &State) -> Result<(), String> {
        self.put(&STATE, &state.to_bytes())
    }

    /// The settings that are kept; none where nobody set any.
    pub fn kept(&self) -> Option<String> {
        String::from_utf8(self.newest(&self.layout.kept())?.content).ok()
    }

    /// Changes the settings that are kept, as [`Disk::set_state`] does.
    ///
    /// # Errors
    /// Those of the disk, and when the text is too long.
    pub fn set_kept(&self, text: &str) -> Result<(), String> {
        self.put(&self.layout.kept(), text.as_bytes())
    }

    /// Bytes of a slot.
    pub fn slot_size(&self) -> u64 {
        self.layout.slot
    }

    /// Writes a piece of a kernel into a slot.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn write(&self, slot: u8, at: u64, piece: &[u8]) -> Result<(), String> {
        self.file.write_all_at(piece, self.layout.start(slot) + at).map_err(|error| self.fault("write", &error))
    }

    /// Waits until all that was written is on the medium, and reads a kernel from there.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn digest(&self, slot: u8, length: u32) -> Result<[u8; 32], String> {
        self.sync()?;
        let (mut digest, mut piece) = (update::Digest::default(), vec![0; PIECE]);
        let (mut at, end) = (self.layout.start(slot), self.layout.start(slot) + u64::from(length));
        while at < end {
            let size = usize::try_from(end - at).map_or(PIECE, |left| left.min(PIECE));
            let piece = &mut piece[..size];
            self.file.read_exact_at(piece, at).map_err(|error| self.fault("read", &error))?;
            digest.add(piece);
            at += size as u64;
        }
        Ok(digest.finish())
    }

    fn newest(&self, pair: &Pair) -> Option<Found> {
        let read = |at: u64| {
            let mut bytes = vec![0; pair.size];
            self.file.read_exact_at(&mut bytes, at).map(|()| bytes).unwrap_or_default()
        };
        let [first, second] = pair.places.map(read);
        pair.newest([&first, &second])
    }

    fn put(&self, pair: &Pair, content: &[u8]) -> Result<(), String> {
        let newest = self.newest(pair);
        let (at, bytes) = pair.next(newest.as_ref(), content).ok_or("there is no room for that many bytes")?;
        self.file.write_all_at(&bytes, at).map_err(|error| self.fault("write", &error))?;
        self.sync()?;
        // What the next reader gets comes from the medium.
        match self.newest(pair) {
            Some(found) if found.content == content => Ok(()),
            _ => Err(format!("the disk {} did not keep what was written", self.name)),
        }
    }

    fn sync(&self) -> Result<(), String> {
        self.file.sync_data().map_err(|error| self.fault("write", &error))?;
        // Without it reading would find the kernel's copy in memory.
        fadvise(&self.file, 0, None, Advice::DontNeed).map_err(|error| self.fault("read", &error.into()))
    }

    fn fault(&self, what: &str, error: &io::Error) -> String {
        format!("cannot {what} the disk {}: {error}", self.name)
    }
}

/// A disk that begins with an update, to be read from its first byte on; none for another disk.
pub fn open_update(name: &str) -> Option<File> {
    let file = File::open(format!("/dev/{name}")).ok()?;
    let mut magic = [0; 8];
    file.read_exact_at(&mut magic, 0).ok()?;
    (magic == *update::MAGIC).then_some(file)
}

/// Reads as much as fills a piece, or less at the end.
///
/// # Errors
/// Those of the source.
pub fn fill(from: &mut impl io::Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match from.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
pub mod tests {
    use slots::state::Kernel;

    use super::*;

    /// A disk in a file, with a state.
    pub fn disk(state: &State) -> Disk {
        let layout = Layout { slots: 65_536, slot: 1 << 20 };
        let file = tempfile::tempfile().unwrap();
        file.set_len(layout.end()).unwrap();
        file.write_all_at(&layout.entry().unwrap(), 462).unwrap();
        file.write_all_at(&[0x55, 0xaa], 510).unwrap();
        let disk = Disk::of("test", file).unwrap().unwrap();
        disk.set_state(state).unwrap();
        disk
    }

    /// A kernel of a number.
    pub fn kernel(number: u8) -> Kernel {
        Kernel { length: 1000, serial: number.into(), build_id: [number; BUILD_ID] }
    }

    #[test]
    fn state_and_settings_are_kept() {
        let disk = disk(&State::new(kernel(1)));
        for number in 2..6 {
            let state = State::new(kernel(number));
            disk.set_state(&state).unwrap();
            assert_eq!(disk.state().unwrap().1, state);
            assert_eq!(disk.kept().is_some(), number > 2);
            let text = format!("hostname = n{number}\n");
            disk.set_kept(&text).unwrap();
            assert_eq!(disk.kept().unwrap(), text);
        }
        assert!(disk.set_kept(&"x".repeat(16_385)).unwrap_err().contains("no room"));
        assert_eq!(disk.kept().unwrap(), "hostname = n5\n");
    }

    #[test]
    fn a_disk_of_another_kind_is_none() {
        let file = tempfile::tempfile().unwrap();
        assert!(Disk::of("x", file.try_clone().unwrap()).is_err());
        file.set_len(4096).unwrap();
        assert!(Disk::of("x", file).unwrap().is_none());
    }
}
