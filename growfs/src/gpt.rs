//! The partition table of a disk that became larger (UEFI 2.10, section 5.3), made so that a power cut at any moment leaves one that
//! counts: the old one, or the new one.
//!
//! A header names the place of its entries and has their checksum, so entries cannot be replaced where they lie. The new ones go to
//! another place, and the header, one sector, changes from one to the other.

use slots::record::crc32;

/// Bytes of a header that count (section 5.3.2, table 5.5).
const HEADER: usize = 92;
/// Where the entries of a new table lie, in sectors.
const USUAL: u64 = 2;
/// What a partition's end is a multiple of, in bytes: every disk, flash and RAID block divides it.
const BORDER: u64 = 1 << 20;

/// A table as a disk has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    sector: u64,
    header: [u8; HEADER],
    entries: Vec<u8>,
}

/// What is to be written, in this order, with a flush after each: where, in bytes, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The writes.
    pub writes: Vec<(u64, Vec<u8>)>,
    /// Bytes of the partition when they are done.
    pub length: u64,
}

impl Table {
    /// Reads the first table of a disk. `read` returns bytes from a place, `sector` is the disk's sector size.
    ///
    /// # Errors
    /// Why there is no such table, for people.
    pub fn read(sector: u64, read: &dyn Fn(u64, usize) -> Vec<u8>) -> Result<Table, String> {
        let header: [u8; HEADER] = read(sector, HEADER).try_into().map_err(|_| "the disk cannot be read")?;
        if !header.starts_with(b"EFI PART") {
            return Err("the disk has no GPT".into());
        }
        let table = Table { sector, header, entries: Vec::new() };
        let (count, size) = (table.number(80, 4), table.number(84, 4));
        let is_sane = size.is_power_of_two() && (128..=4096).contains(&size) && (1..=1024).contains(&count);
        if !is_sane || table.sum() != table.number(16, 4) {
            return Err(
                "the disk's GPT has a wrong checksum; hint: repair it from its copy at the end of the disk".into()
            );
        }
        let entries = read(table.number(72, 8) * sector, (count * size) as usize);
        if entries.len() as u64 != count * size || u64::from(crc32(&entries)) != table.number(88, 4) {
            return Err("the entries of the disk's GPT have a wrong checksum".into());
        }
        Ok(Table { entries, ..table })
    }

    /// What makes the partition that begins at a place (in bytes) end where a disk of that many bytes does. Nothing where it does
    /// already.
    ///
    /// # Errors
    /// Why that cannot be, for people.
    pub fn grow(&self, begin: u64, disk: u64) -> Result<Option<Plan>, String> {
        let sector = self.sector;
        let (first, last) = (begin / sector, disk / sector - 1);
        let table = (self.entries.len() as u64).div_ceil(sector);
        let starts = || self.each().map(|entry| number(entry, 32, 8));
        let Some(at) = self.each_with_place().find(|(_, entry)| number(entry, 32, 8) == first).map(|(at, _)| at) else {
            return Err("the disk's GPT does not have the partition".into());
        };
        if starts().any(|start| start > first) {
            return Err("another partition lies behind it".into());
        }
        let usable = last.checked_sub(table + 1).ok_or("the disk is too small")?;
        let end = (usable + 1) * sector / BORDER * BORDER / sector;
        if end <= number(&self.entries[at..], 40, 8) + 1 {
            return Ok(None);
        }
        let front = starts().min().unwrap_or(first);
        let mut grown = self.clone();
        grown.entries[at + 40..at + 48].copy_from_slice(&(end - 1).to_le_bytes());
        // Right before the first partition: a boot loader lies nearer to the beginning.
        let place = if self.number(72, 8) == USUAL { front.saturating_sub(table) } else { USUAL };
        if place < USUAL || (place != USUAL && place < USUAL + 2 * table) {
            return Err(format!(
                "there is no room for a second table before the first partition, at {} bytes",
                front * sector
            ));
        }
        let copy = grown.with(last, 1, usable, front, usable + 1);
        let own = grown.with(1, last, usable, front, place);
        let writes = vec![
            ((usable + 1) * sector, grown.entries.clone()),
            (last * sector, copy),
            (place * sector, grown.entries.clone()),
            (sector, own),
        ];
        Ok(Some(Plan { writes, length: (end - first) * sector }))
    }

    /// A header, as a whole sector.
    fn with(&self, own: u64, other: u64, usable: u64, front: u64, entries: u64) -> Vec<u8> {
        let mut table = self.clone();
        for (at, value) in [(24, own), (32, other), (40, front), (48, usable), (72, entries)] {
            table.header[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        table.header[88..92].copy_from_slice(&crc32(&self.entries).to_le_bytes());
        let sum = table.sum() as u32;
        table.header[16..20].copy_from_slice(&sum.to_le_bytes());
        let mut sector = table.header.to_vec();
        sector.resize(self.sector as usize, 0);
        sector
    }

    fn number(&self, at: usize, bytes: usize) -> u64 {
        number(&self.header, at, bytes)
    }

    /// The checksum that the header must have.
    fn sum(&self) -> u64 {
        let mut header = self.header;
        header[16..20].fill(0);
        crc32(&header).into()
    }

    fn each_with_place(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let size = self.number(84, 4) as usize;
        // An entry without a type is free.
        let all = self.entries.chunks_exact(size).enumerate().map(move |(number, entry)| (number * size, entry));
        all.filter(|(_, entry)| entry[..16].iter().any(|byte| *byte != 0))
    }

    fn each(&self) -> impl Iterator<Item = &[u8]> {
        self.each_with_place().map(|(_, entry)| entry)
    }
}

fn number(bytes: &[u8], at: usize, count: usize) -> u64 {
    bytes[at..at + count].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A disk with two partitions, from 1 to 2 and from 2 to 8 MiB, and its table.
    fn disk(sector: u64, bytes: u64) -> Vec<u8> {
        let mut entries = vec![0; 128 * 128];
        for (at, first, last) in [(0, MIB, 2 * MIB), (128, 2 * MIB, 8 * MIB)] {
            entries[at] = 1;
            entries[at + 32..at + 40].copy_from_slice(&(first / sector).to_le_bytes());
            entries[at + 40..at + 48].copy_from_slice(&(last / sector - 1).to_le_bytes());
        }
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(b"EFI PART");
        header[80..84].copy_from_slice(&128_u32.to_le_bytes());
        header[84..88].copy_from_slice(&128_u32.to_le_bytes());
        let table = Table { sector, header, entries };
        let mut disk = vec![0; bytes as usize];
        write(&mut disk, sector, &table.with(1, 0, 0, 34, USUAL));
        write(&mut disk, USUAL * sector, &table.entries);
        disk
    }

    fn write(disk: &mut [u8], at: u64, bytes: &[u8]) {
        disk[at as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    fn read(sector: u64, disk: &[u8]) -> Result<Table, String> {
        Table::read(sector, &|at, length| disk[at as usize..][..length].to_vec())
    }

    /// Where the second partition ends, by the table that counts.
    fn end(sector: u64, disk: &[u8]) -> u64 {
        let table = read(sector, disk).unwrap();
        let entry = table.each().find(|entry| number(entry, 32, 8) == 2 * MIB / sector).unwrap();
        (number(entry, 40, 8) + 1) * sector
    }

    #[test]
    fn a_cut_between_any_two_sectors_leaves_a_table() {
        for sector in [512, 4096] {
            let mut old = disk(sector, 16 * MIB);
            for size in [16 * MIB, 20 * MIB, 24 * MIB] {
                old.resize(size as usize, 0);
                let before = end(sector, &old);
                let plan = read(sector, &old).unwrap().grow(2 * MIB, size).unwrap().unwrap();
                assert_eq!(plan.length, size - 3 * MIB);
                let mut now = old.clone();
                for (at, bytes) in &plan.writes {
                    for (number, part) in bytes.chunks(sector as usize).enumerate() {
                        write(&mut now, at + number as u64 * sector, part);
                        let found = end(sector, &now);
                        assert!(found == before || found == size - MIB, "{found}");
                    }
                }
                assert_eq!(end(sector, &now), size - MIB);
                assert_eq!(read(sector, &now).unwrap().grow(2 * MIB, size), Ok(None));
                // The copy at the end is as good.
                let last = (size - sector) as usize;
                let mut copy = now.clone();
                copy.copy_within(last..last + sector as usize, sector as usize);
                assert_eq!(end(sector, &copy), size - MIB);
                old = now;
            }
        }
    }

    #[test]
    fn what_cannot_grow_says_why() {
        let disk = disk(512, 16 * MIB);
        let table = read(512, &disk).unwrap();
        assert_eq!(table.grow(MIB, 32 * MIB), Err("another partition lies behind it".into()));
        assert!(table.grow(3 * MIB, 32 * MIB).unwrap_err().contains("does not have the partition"));
        assert_eq!(table.grow(2 * MIB, 9 * MIB).unwrap(), None);
        for (at, part) in [(512, "has no GPT"), (512 + 48, "wrong checksum"), (1024 + 40, "the entries")] {
            let mut broken = disk.clone();
            broken[at] ^= 1;
            assert!(read(512, &broken).unwrap_err().contains(part), "{part}");
        }
    }
}
