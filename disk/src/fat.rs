//! FAT file systems: the EFI system partition, and other volumes that firmware reads.

use std::collections::BTreeSet;
use std::io::{Cursor, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use build_support::{sparse, whole};
use fatfs::{Date, DateTime, Dir, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider};
use fs_err as fs;

use crate::MIB;
use crate::gpt::Sector;
use crate::tree::Content;

/// A FAT32 file system with sectors of 512 bytes cannot be smaller: it has at least 65,525 clusters (Microsoft FAT
/// specification 1.03, section "FAT type determination"). FAT12 and FAT16 need only be read on removable media (UEFI
/// 2.10, section 13.3), so the system partition of a disk is FAT32.
pub const MIN_FAT32_SIZE: u64 = 34 * MIB;
/// The same with sectors of 4,096 bytes. A system partition below is FAT16, which UEFI firmware reads as well.
const MIN_LARGE_FAT32_SIZE: u64 = 264 * MIB;
/// A FAT16 file system with clusters of 4,096 bytes cannot be smaller: it has at least 4,085 of them.
const MIN_LARGE_FAT16_SIZE: u64 = 17 * MIB;
/// Up to this size clusters have one sector, and eight above: the specification's own table for FAT32, which saves memory
/// on small volumes and a large table on others.
const SMALL: u64 = 260 * MIB;

/// A FAT file system to write.
pub struct Fat<'a> {
    /// Bytes, whole sectors. From [`MIN_FAT32_SIZE`] on it is FAT32, below it FAT16 or FAT12; with sectors of 4,096 bytes from
    /// 264 MiB on.
    pub size: u64,
    /// The sectors of the disks that it is for.
    pub sector: Sector,
    /// The volume's serial number.
    pub volume_id: u32,
    /// The volume's label, at most 11 characters; empty: none.
    pub label: &'a str,
    /// Its files, such as `EFI/BOOT/BOOTX64.EFI`, with what they hold. Directories are made. Names have eight characters
    /// and an extension of three at most, and case does not count.
    pub files: Vec<(String, Content)>,
}

type Volume<'a> = FileSystem<&'a mut Cursor<Vec<u8>>>;
type Directory<'a, 'b> = Dir<'a, &'b mut Cursor<Vec<u8>>>;

impl Fat<'_> {
    /// Writes the file system as a sparse file.
    ///
    /// # Errors
    ///
    /// When size, label or a name are not possible, when two files have one name, when a file cannot be read, when the files
    /// do not fit, or when the output cannot be written.
    pub fn write(&self, out: &Path) -> Result<()> {
        let least = 64 << 10; // Room for a boot sector, tables and a root directory.
        let sector = self.sector.bytes();
        ensure!(
            self.size >= least && self.size.is_multiple_of(sector),
            "a FAT file system has at least {least} bytes and whole sectors of {sector}, and this one has {} bytes",
            self.size
        );
        check_files(&self.files)?;
        let bytes = self.fill()?;
        whole::file(out, |path| {
            let file = fs::File::create(path)?;
            file.set_len(self.size)?;
            sparse::write_into(&bytes, &file, 0)
        })
    }

    /// In memory: the crate writes many small pieces, and most of the volume stays untouched zero pages.
    fn fill(&self) -> Result<Vec<u8>> {
        let mut disk = Cursor::new(vec![0; usize::try_from(self.size)?]);
        let mut options = FormatVolumeOptions::new().volume_id(self.volume_id);
        if !self.label.is_empty() {
            options = options.volume_label(label(self.label)?); // An empty one would be an entry without a name.
        }
        if let Some((kind, cluster)) = self.clusters() {
            options = options.fat_type(kind).bytes_per_cluster(cluster);
        }
        if self.sector == Sector::Large {
            options = options.bytes_per_sector(4096);
        }
        fatfs::format_volume(&mut disk, options).context("cannot format it")?;
        disk.set_position(0);
        let volume: Volume =
            FileSystem::new(&mut disk, FsOptions::new().time_provider(&BuildTime)).context("cannot open it")?;
        for (path, content) in &self.files {
            add(volume.root_dir(), path, content).map_err(|error| self.explain(error, path))?;
        }
        volume.stats().context("cannot count its free clusters")?; // Only a count that was asked for is written.
        volume.unmount()?;
        let mut disk = disk.into_inner();
        if self.clusters().is_some_and(|(kind, _)| kind == FatType::Fat32) {
            mend_parents(&mut disk)?;
        }
        Ok(disk)
    }

    /// The kind of file system and the bytes of its clusters; `None`: the crate chooses, by the volume's size alone.
    fn clusters(&self) -> Option<(FatType, u32)> {
        match self.sector {
            Sector::Small if self.size >= MIN_FAT32_SIZE => {
                Some((FatType::Fat32, if self.size <= SMALL { 512 } else { 4096 }))
            }
            Sector::Large if self.size >= MIN_LARGE_FAT32_SIZE => Some((FatType::Fat32, 4096)),
            Sector::Large if self.size >= MIN_LARGE_FAT16_SIZE => Some((FatType::Fat16, 4096)),
            _ => None,
        }
    }

    fn explain(&self, error: anyhow::Error, path: &str) -> anyhow::Error {
        let sizes: u64 = self.files.iter().filter_map(|(_, content)| content.size().ok()).sum();
        let (needs, has) = (sizes / MIB + 1, self.size / MIB);
        error.context(format!("cannot put {path} on a FAT file system of {has} MiB, whose files have {needs} MiB"))
    }
}

/// Refuses files whose names a FAT file system of this project cannot have.
pub(crate) fn check_files(files: &[(String, Content)]) -> Result<()> {
    files.iter().try_for_each(|(path, _)| check_names(path))?;
    let names: BTreeSet<String> = files.iter().map(|(path, _)| path.to_ascii_uppercase()).collect();
    ensure!(names.len() == files.len(), "two files of a FAT file system have one name: case does not count there");
    Ok(())
}

/// Refuses what would get a long name: none is written here.
fn check_names(path: &str) -> Result<()> {
    // Microsoft FAT specification 1.03, "Directory Structure".
    let plain =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"$%'-_@~`!(){}^#&".contains(&byte));
    for name in path.trim_start_matches('/').split('/') {
        let (base, extension) = name.split_once('.').unwrap_or((name, ""));
        let fits = (1..=8).contains(&base.len()) && extension.len() <= 3 && !name.ends_with('.');
        ensure!(
            fits && plain(base) && plain(extension),
            "`{name}` in {path} cannot be a name on a FAT file system here\n\
             hint: use eight letters or digits at most, a point and three more"
        );
    }
    Ok(())
}

/// A volume's label as an entry of a directory has it.
pub(crate) fn label(text: &str) -> Result<[u8; 11]> {
    ensure!(
        text.len() <= 11
            && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_alphanumeric() || b"-_".contains(&byte)),
        "`{text}` cannot be the label of a FAT file system: at most 11 letters, digits, spaces, - and _"
    );
    let mut label = [b' '; 11];
    label[..text.len()].copy_from_slice(text.to_ascii_uppercase().as_bytes());
    Ok(label)
}

fn add(root: Directory, path: &str, content: &Content) -> Result<()> {
    let (dirs, name) = path.trim_start_matches('/').rsplit_once('/').unwrap_or(("", path));
    let mut dir = root;
    for name in dirs.split('/').filter(|name| !name.is_empty()) {
        dir = dir.create_dir(name)?; // Opens one that is there.
    }
    let (size, mut reader) = content.open()?;
    ensure!(size <= u64::from(u32::MAX), "a file of a FAT file system cannot be larger than 4 GiB");
    let mut file = dir.create_file(name)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            n => file.write_all(&buffer[..n])?,
        }
    }
    Ok(file.flush()?)
}

/// Corrects the `..` of the directories in the root. The number of its parent's cluster must be 0 when that is the root
/// (Microsoft FAT specification 1.03, section 6.5), and fatfs 0.3 writes the root's own number. Drop this when fsck.fat no
/// longer minds the crate's directories.
fn mend_parents(disk: &mut [u8]) -> Result<()> {
    let layout = Layout::of(disk);
    let mut cluster = layout.root;
    while (2..0x0fff_fff8).contains(&cluster) {
        let start = layout.offset(cluster)?;
        for slot in (start..start + layout.cluster).step_by(32) {
            let entry: [u8; 32] = disk.get(slot..slot + 32).context("the root directory ends early")?.try_into()?;
            let is_dir = entry[11] & 0x10 != 0 && entry[11] & 0x08 == 0; // ATTR_DIRECTORY without ATTR_VOLUME_ID
            if entry[0] != 0 && entry[0] != 0xe5 && is_dir {
                let first = u32::from(word(&entry, 20)) << 16 | u32::from(word(&entry, 26)); // DIR_FstClusHI, DIR_FstClusLO
                mend_parent(disk, layout.offset(first)? + 32)?;
            }
        }
        let next = layout.table + cluster as usize * 4;
        let next = disk.get(next..next + 4).context("a chain of clusters leaves the table")?;
        cluster = u32::from_le_bytes(next.try_into()?) & 0x0fff_ffff;
    }
    Ok(())
}

fn mend_parent(disk: &mut [u8], slot: usize) -> Result<()> {
    let entry = disk.get_mut(slot..slot + 32).context("the volume ends before one of its directories")?;
    if &entry[..11] != b"..         " {
        bail!("a directory of the volume does not begin with its parent");
    }
    for at in [20, 21, 26, 27] {
        entry[at] = 0;
    }
    Ok(())
}

/// Where a FAT32 volume keeps what (Microsoft FAT specification 1.03, "Boot Sector and BPB Structure"), in bytes.
struct Layout {
    table: usize,
    data: usize,
    cluster: usize,
    root: u32,
}

impl Layout {
    fn of(disk: &[u8]) -> Layout {
        let sector = usize::from(word(disk, 11)); // BPB_BytsPerSec
        let long = |at: usize| u32::from(word(disk, at)) | u32::from(word(disk, at + 2)) << 16;
        let table = usize::from(word(disk, 14)) * sector; // BPB_RsvdSecCnt
        let tables = usize::from(disk[16]) * long(36) as usize * sector; // BPB_NumFATs, BPB_FATSz32
        Layout {
            table,
            data: table + tables,
            cluster: usize::from(disk[13]) * sector, // BPB_SecPerClus
            root: long(44),                          // BPB_RootClus
        }
    }

    /// The first cluster of data has number 2.
    fn offset(&self, cluster: u32) -> Result<usize> {
        let index = cluster.checked_sub(2).context("a cluster has no data")?;
        Ok(self.data + index as usize * self.cluster)
    }
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// [`build_support::EPOCH`] in fields.
const DATE: Date = Date { year: 2026, month: 1, day: 1 };

/// A clock that stands at the build's fixed time.
#[derive(Debug)]
struct BuildTime;

impl TimeProvider for BuildTime {
    fn get_current_date(&self) -> Date {
        DATE
    }

    fn get_current_date_time(&self) -> DateTime {
        DateTime { date: DATE, time: Time { hour: 0, min: 0, sec: 0, millis: 0 } }
    }
}
