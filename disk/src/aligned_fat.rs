//! FAT12 and FAT16 file systems that firmware reads from media of every sector size: allocation tables, directories and
//! clusters lie on borders of 4 KiB, and each file is in one piece.
//!
//! [`crate::fat`] writes the others. The crate below it chooses the places itself, for sectors of 512 bytes.

use std::collections::BTreeMap;
use std::io::Read as _;

use anyhow::{Context as _, Result, ensure};

use crate::fat::{check_files, label};
use crate::tree::Content;

/// Every part begins at a multiple of this: the largest sector of a disk.
pub const ALIGNMENT: u64 = 4096;
/// Bytes of a sector as the file system counts them. EDK2's FAT driver reads such a volume also from a CD.
const SECTOR: usize = 512;
/// The least clusters of FAT16 and the least of FAT32 (Microsoft FAT specification 1.03, section 3.5).
const FAT16: usize = 4085;
const FAT32: usize = 65525;
/// The specification's advice: no count this near to a limit, where other programs count otherwise.
const UNSURE: usize = 16;
/// Bytes of a directory's entry.
const ENTRY: usize = 32;
/// Entries of the root directory: 4 KiB.
const ROOT_ENTRIES: usize = ALIGNMENT as usize / ENTRY;
/// 2026-01-01 as a directory's entry has it ([`build_support::EPOCH`]).
const DATE: u16 = (2026 - 1980) << 9 | 1 << 5 | 1;
/// Attributes of entries: a directory, a file to be kept, the volume's label.
const DIRECTORY: u8 = 0x10;
const ARCHIVE: u8 = 0x20;
const LABEL: u8 = 0x08;

/// A file system to write.
pub struct AlignedFat<'a> {
    /// The volume's serial number.
    pub volume_id: u32,
    /// The volume's label, at most 11 characters.
    pub label: &'a str,
    /// Bytes of the disk before the volume.
    pub before: u64,
    /// Its files, such as `EFI/BOOT/BOOTX64.EFI`, in the order in which they lie there. Directories are made. Names have
    /// eight characters and an extension of three at most.
    pub files: Vec<(String, Content)>,
    /// The least bytes that are left free.
    pub free: u64,
}

/// A file system in memory.
#[derive(Debug)]
pub struct Volume {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Where each file's content begins in it, in bytes, and its length.
    pub places: BTreeMap<String, (u64, u64)>,
}

impl AlignedFat<'_> {
    /// Makes the file system, as large as its files and the free space need.
    ///
    /// # Errors
    ///
    /// When the label or a name is not possible, when two files have one name, when a file cannot be read, or when there is
    /// more than FAT16 can hold.
    pub fn build(&self) -> Result<Volume> {
        check_files(&self.files)?;
        let mut contents = Vec::new();
        for (path, content) in &self.files {
            let mut bytes = Vec::new();
            content.open()?.1.read_to_end(&mut bytes).with_context(|| format!("cannot read {path}"))?;
            contents.push((path.trim_start_matches('/').to_ascii_uppercase(), bytes));
        }
        let layout = self.layout(&contents)?;
        let mut writer = Writer { table: vec![0xfff8, 0xffff], area: Vec::new(), cluster: layout.cluster };
        let mut places = BTreeMap::new();
        let mut entries: Vec<(String, Entry)> = Vec::new();
        for ((path, bytes), (name, _)) in contents.iter().zip(&self.files) {
            places.insert(name.clone(), (layout.data() + writer.area.len() as u64, bytes.len() as u64));
            let first = writer.add(bytes);
            entries.push((path.clone(), Entry { attribute: ARCHIVE, first, size: u32::try_from(bytes.len())? }));
        }
        let root = writer.add_directories(&entries)?;
        ensure!(
            root.len() < ROOT_ENTRIES * ENTRY,
            "the root of a FAT file system has room for {} files",
            ROOT_ENTRIES - 1
        );
        let mut bytes = self.boot_sector(&layout)?;
        bytes.resize(layout.reserved * SECTOR, 0);
        let table = layout.encode(&writer.table);
        for _ in 0..TABLES {
            bytes.extend_from_slice(&table);
        }
        bytes.extend(short_entry(&label(self.label)?, &Entry { attribute: LABEL, first: 0, size: 0 }));
        bytes.extend(root);
        bytes.resize(layout.data() as usize, 0);
        bytes.extend(writer.area);
        bytes.resize(layout.sectors() * SECTOR, 0);
        Ok(Volume { bytes, places })
    }

    /// Chooses the size of a cluster and counts them.
    fn layout(&self, contents: &[(String, Vec<u8>)]) -> Result<Layout> {
        let mut cluster = ALIGNMENT as usize;
        loop {
            let files: usize = contents.iter().map(|(_, bytes)| bytes.len().div_ceil(cluster)).sum();
            let directories = directories(contents.iter().map(|(path, _)| path.as_str())).len();
            let mut clusters = files + directories + usize::try_from(self.free)?.div_ceil(cluster);
            if (FAT16 - UNSURE..FAT16 + UNSURE).contains(&clusters) {
                clusters = FAT16 + UNSURE;
            }
            if clusters < FAT32 - UNSURE {
                return Ok(Layout::new(cluster, clusters));
            }
            cluster *= 2;
            ensure!(
                cluster <= 32 << 10,
                "the files of a FAT16 file system have {} MiB, more than it can hold",
                contents.iter().map(|(_, bytes)| bytes.len() >> 20).sum::<usize>()
            );
        }
    }

    /// Boot sector and BIOS parameter block (Microsoft FAT specification 1.03, sections 3.1 and 3.2).
    fn boot_sector(&self, layout: &Layout) -> Result<Vec<u8>> {
        let sectors = layout.sectors();
        let small = u16::try_from(sectors).unwrap_or(0);
        let mut sector = vec![0xeb, 0x3c, 0x90]; // BS_jmpBoot
        sector.extend(b"BLOOMERY"); // BS_OEMName
        sector.extend((SECTOR as u16).to_le_bytes());
        sector.push(u8::try_from(layout.cluster / SECTOR)?);
        sector.extend(u16::try_from(layout.reserved)?.to_le_bytes());
        sector.push(TABLES);
        sector.extend((ROOT_ENTRIES as u16).to_le_bytes());
        sector.extend(small.to_le_bytes());
        sector.push(0xf8); // BPB_Media: a disk
        sector.extend(u16::try_from(layout.table)?.to_le_bytes());
        sector.extend([63, 0, 255, 0]); // Sectors of a track, and heads, as a BIOS sees a disk of more than 504 MiB.
        sector.extend(u32::try_from(self.before / SECTOR as u64)?.to_le_bytes());
        sector.extend(if small == 0 { u32::try_from(sectors)? } else { 0 }.to_le_bytes());
        sector.extend([0x80, 0, 0x29]); // BS_DrvNum, reserved, BS_BootSig
        sector.extend(self.volume_id.to_le_bytes());
        sector.extend(label(self.label)?);
        sector.extend(if layout.is_fat12() { b"FAT12   " } else { b"FAT16   " });
        sector.resize(SECTOR - 2, 0);
        sector.extend([0x55, 0xaa]);
        Ok(sector)
    }
}

/// Copies of the allocation table.
const TABLES: u8 = 2;

/// Numbers of sectors, but where it is said.
struct Layout {
    /// Bytes of a cluster.
    cluster: usize,
    clusters: usize,
    reserved: usize,
    /// Of one allocation table.
    table: usize,
}

impl Layout {
    fn new(cluster: usize, clusters: usize) -> Layout {
        let numbers = clusters + 2; // Clusters are counted from 2.
        let bytes = if clusters < FAT16 { (3 * numbers).div_ceil(2) } else { 2 * numbers };
        let aligned = ALIGNMENT as usize / SECTOR;
        // Two tables of a multiple of 2 KiB end on a border, and each begins on a CD's sector.
        let table = bytes.div_ceil(SECTOR).next_multiple_of(aligned / usize::from(TABLES));
        Layout { cluster, clusters, reserved: aligned, table }
    }

    fn is_fat12(&self) -> bool {
        self.clusters < FAT16
    }

    /// Where the clusters begin, in bytes.
    fn data(&self) -> u64 {
        ((self.reserved + usize::from(TABLES) * self.table) * SECTOR + ROOT_ENTRIES * ENTRY) as u64
    }

    fn sectors(&self) -> usize {
        self.data() as usize / SECTOR + self.clusters * self.cluster / SECTOR
    }

    /// An allocation table as it lies on the disk.
    fn encode(&self, table: &[u16]) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.is_fat12() {
            for pair in table.chunks(2) {
                let (a, b) = (pair[0] & 0xfff, pair.get(1).map_or(0, |b| b & 0xfff));
                bytes.extend([a as u8, (a >> 8 | (b & 0xf) << 4) as u8, (b >> 4) as u8]);
            }
        } else {
            bytes.extend(table.iter().flat_map(|entry| entry.to_le_bytes()));
        }
        bytes.resize(self.table * SECTOR, 0);
        bytes
    }
}

/// What an entry of a directory says besides its name.
struct Entry {
    attribute: u8,
    first: u16,
    size: u32,
}

/// Fills clusters, one behind the other.
struct Writer {
    table: Vec<u16>,
    area: Vec<u8>,
    cluster: usize,
}

impl Writer {
    /// Adds a file's content, and returns its first cluster: 0 when it has none.
    fn add(&mut self, bytes: &[u8]) -> u16 {
        let (first, count) = (self.table.len() as u16, bytes.len().div_ceil(self.cluster) as u16);
        if count == 0 {
            return 0;
        }
        self.table.extend(first + 1..first + count);
        self.table.push(0xffff);
        self.area.extend_from_slice(bytes);
        self.area.resize(self.area.len().next_multiple_of(self.cluster), 0);
        first
    }

    /// Adds the directories of these files, and returns the entries of the root.
    fn add_directories(&mut self, files: &[(String, Entry)]) -> Result<Vec<u8>> {
        let mut paths: Vec<String> =
            directories(files.iter().map(|(path, _)| path.as_str())).into_iter().map(String::from).collect();
        let first = self.table.len() as u16;
        let numbers: BTreeMap<String, u16> = paths.iter().cloned().zip(first..).collect();
        paths.push(String::new());
        let mut root = Vec::new();
        for path in &paths {
            let mut bytes = Vec::new();
            let number = |path: &str| numbers.get(path).copied().unwrap_or(0); // The root's own number is 0.
            let directory = |first| Entry { attribute: DIRECTORY, first, size: 0 };
            if !path.is_empty() {
                bytes.extend(short_entry(b".          ", &directory(number(path))));
                bytes.extend(short_entry(b"..         ", &directory(number(parent(path)))));
            }
            for (name, first) in numbers.iter().filter(|(name, _)| parent(name) == path) {
                bytes.extend(short_entry(&short_name(name), &directory(*first)));
            }
            for (name, entry) in files.iter().filter(|(name, _)| parent(name) == path) {
                bytes.extend(short_entry(&short_name(name), entry));
            }
            if path.is_empty() {
                root = bytes;
            } else {
                ensure!(bytes.len() <= self.cluster, "the directory {path} of a FAT file system has too many files");
                bytes.resize(self.cluster, 0); // Also one without files has a cluster.
                self.add(&bytes);
            }
        }
        Ok(root)
    }
}

/// The directories of some files, each before those in it.
fn directories<'a>(files: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let parents = |path: &'a str| path.match_indices('/').map(move |(at, _)| &path[..at]);
    let mut all: Vec<&str> = files.flat_map(parents).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The directory of a path; empty: the root.
fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// The last part of a path as an entry has it: eight characters and three, filled with spaces.
pub(crate) fn short_name(path: &str) -> [u8; 11] {
    let name = path.rsplit('/').next().unwrap_or_default();
    let (base, extension) = name.split_once('.').unwrap_or((name, ""));
    let mut short = [b' '; 11];
    short[..base.len()].copy_from_slice(base.as_bytes());
    short[8..8 + extension.len()].copy_from_slice(extension.as_bytes());
    short
}

/// An entry of a directory (Microsoft FAT specification 1.03, section 6).
fn short_entry(name: &[u8; 11], entry: &Entry) -> [u8; ENTRY] {
    let mut bytes = [0; ENTRY];
    bytes[..11].copy_from_slice(name);
    bytes[11] = entry.attribute;
    for at in [16, 18, 24] {
        bytes[at..at + 2].copy_from_slice(&DATE.to_le_bytes()); // Made, read, written; the times are midnight.
    }
    bytes[26..28].copy_from_slice(&entry.first.to_le_bytes());
    bytes[28..].copy_from_slice(&entry.size.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(files: &[(&str, usize)], free: u64) -> Volume {
        let content = |(path, size): &(&str, usize)| (path.to_string(), Content::Bytes(vec![0xa5; *size]));
        let files = files.iter().map(content).collect();
        AlignedFat { volume_id: 0x1234_5678, label: "TEST", before: 49_152, files, free }.build().unwrap()
    }

    fn word(bytes: &[u8], at: usize) -> usize {
        usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
    }

    #[test]
    fn every_part_lies_on_a_border() {
        for (size, free) in [(1, 4096), (3_000_000, 65_536), (16 << 20, 65_536), (300 << 20, 0)] {
            let volume = build(&[("KERNEL.EFI", size), ("EFI/BOOT/BOOTX64.EFI", 5000)], free);
            let bytes = &volume.bytes;
            let (reserved, table) = (word(bytes, 14) * 512, word(bytes, 22) * 512);
            assert_eq!((reserved % 4096, table % 2048, (reserved + 2 * table) % 4096), (0, 0, 0));
            assert_eq!(bytes[13] as usize * 512 % 4096, 0);
            assert_eq!(bytes.len() % 4096, 0);
            assert!(volume.places.values().all(|(at, _)| at % 4096 == 0), "{:?}", volume.places);
            let (at, length) = volume.places["KERNEL.EFI"];
            assert_eq!(length, size as u64);
            assert!(bytes[at as usize..][..size].iter().all(|byte| *byte == 0xa5));
        }
    }

    #[test]
    fn the_count_of_clusters_decides_about_the_type() {
        let kind = |volume: &Volume| String::from_utf8_lossy(&volume.bytes[54..59]).into_owned();
        assert_eq!(kind(&build(&[("A", 1 << 20)], 0)), "FAT12");
        assert_eq!(kind(&build(&[("A", 4069 * 4096)], 0)), "FAT16");
        // Of two counts that other programs could take for the other type the sure one is taken.
        let data = |volume: &Volume| (volume.bytes.len() - 4096 * 2 - word(&volume.bytes, 22) * 1024) / 4096;
        assert_eq!(data(&build(&[("A", 4080 * 4096)], 0)), FAT16 + UNSURE);
    }

    #[test]
    fn a_chain_is_in_one_piece() {
        // Three clusters, then one: numbers 2 to 5, of 12 bits each.
        let volume = build(&[("A", 3 * 4096), ("B", 1)], 0);
        assert_eq!(volume.bytes[4096..4096 + 9], [0xf8, 0xff, 0xff, 0x03, 0x40, 0x00, 0xff, 0xff, 0xff]);
        assert_eq!(volume.bytes[4096..6144], volume.bytes[6144..8192]);
    }

    #[test]
    fn an_entry_has_the_places_of_the_specification() {
        let volume = build(&[("DIR/NAME.EX", 5000)], 0);
        let root = &volume.bytes[8192..];
        assert_eq!((&root[..12], &root[32..44]), (&b"TEST       \x08"[..], &b"DIR        \x10"[..]));
        let dir = &volume.bytes[12_288 + (word(root, 58) - 2) * 4096..];
        assert_eq!((&dir[..2], word(dir, 26), word(dir, 58)), (&b". "[..], 4, 0));
        assert_eq!((&dir[64..76], word(dir, 90), word(dir, 92)), (&b"NAME    EX \x20"[..], 2, 5000));
        assert_eq!(word(dir, 88), 0x5c21);
    }
}
