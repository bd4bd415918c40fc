//! Where things lie on a disk with two kernels. The second entry of the partition table (type 0xDA, data without a file system)
//! covers both slots, and the places of the settings behind them; those of the state have a fixed place before.

use crate::record::Pair;

/// The type of the partition.
pub const PARTITION: u8 = 0xda;
/// Which entry of the partition table it is, counted from 0.
pub const ENTRY: usize = 1;
/// Bytes of the longest settings: what the loaders hand to a kernel.
pub const MOST_SETTINGS: usize = 16 << 10;
/// What all parts begin on a multiple of: whole sectors of disks (512 or 4,096 bytes) and of CDs (2,048).
pub const BORDER: u64 = 4096;

const SECTOR: u64 = 512;
/// Where the partition table begins in the first sector, and the bytes of an entry.
const TABLE: usize = 446;
const TABLE_ENTRY: usize = 16;
/// Bytes of a place of the settings: the longest and the record around it, in whole pieces that the BIOS loader reads.
const KEPT: u64 = 32 << 10;

/// The parts of a disk, all in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Where the first slot begins.
    pub slots: u64,
    /// Bytes of a slot, a multiple of [`BORDER`].
    pub slot: u64,
}

/// The record that says which kernel starts.
pub const STATE: Pair = Pair { kind: *b"SLOT", places: [8192, 12_288], size: 4096 };

impl Layout {
    /// The layout that a disk's first sector tells; none on a disk of another kind.
    pub fn of(sector: &[u8]) -> Option<Layout> {
        let is_table = sector.get(510..512)? == [0x55, 0xaa];
        let entry = sector.get(TABLE + ENTRY * TABLE_ENTRY..)?.get(..TABLE_ENTRY)?;
        let number = |at: usize| Some(u64::from(u32::from_le_bytes(*entry.get(at..)?.first_chunk()?)) * SECTOR);
        let (slots, bytes) = (number(8)?, number(12)?);
        let slot = bytes.checked_sub(2 * KEPT)? / 2;
        let is_aligned = [slots, slot].into_iter().all(|number| number.is_multiple_of(BORDER) && number > 0);
        (is_table && *entry.get(4)? == PARTITION && is_aligned).then_some(Layout { slots, slot })
    }

    /// The entry of the partition table. Cylinders, heads and sectors are beyond the largest: the numbers of sectors alone count.
    pub fn entry(&self) -> Option<[u8; TABLE_ENTRY]> {
        let mut entry = [0, 0xfe, 0xff, 0xff, PARTITION, 0xfe, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
        entry[8..12].copy_from_slice(&u32::try_from(self.slots / SECTOR).ok()?.to_le_bytes());
        entry[12..].copy_from_slice(&u32::try_from((self.end() - self.slots) / SECTOR).ok()?.to_le_bytes());
        Some(entry)
    }

    /// Where slot 1 or 2 begins.
    pub fn start(&self, slot: u8) -> u64 {
        self.slots + if slot == 2 { self.slot } else { 0 }
    }

    /// The settings that are kept. The content is text, as in BLOOMERY.TXT (settings(5)).
    pub fn kept(&self) -> Pair {
        let first = self.slots + 2 * self.slot;
        Pair { kind: *b"KEPT", places: [first, first + KEPT], size: MOST_SETTINGS + crate::record::OVERHEAD }
    }

    /// Where all ends.
    pub fn end(&self) -> u64 {
        self.slots + 2 * self.slot + 2 * KEPT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(layout: &Layout) -> Vec<u8> {
        let mut sector = vec![0; 512];
        sector[462..478].copy_from_slice(&layout.entry().unwrap());
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        sector
    }

    #[test]
    fn a_disk_tells_its_layout() {
        let layout = Layout { slots: 131_072, slot: 4 << 20 };
        assert_eq!(Layout::of(&sector(&layout)), Some(layout));
        assert_eq!((layout.start(1), layout.start(2)), (131_072, 131_072 + (4 << 20)));
        assert_eq!(layout.kept().places[0], layout.start(2) + (4 << 20));
        assert_eq!(layout.end(), layout.kept().places[1] + (32 << 10));
    }

    #[test]
    fn other_disks_have_none() {
        let right = sector(&Layout { slots: 131_072, slot: 4 << 20 });
        for (at, byte) in [(510, 0), (466, 0x83), (470, 1), (474, 1)] {
            let mut wrong = right.clone();
            wrong[at] ^= byte | 1;
            assert_eq!(Layout::of(&wrong), None, "{at}");
        }
        assert_eq!(Layout::of(&right[..511]), None);
        assert_eq!(Layout::of(&vec![0; 512]), None);
    }
}
