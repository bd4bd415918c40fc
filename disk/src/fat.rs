//! The EFI system partition: a FAT file system that holds the kernel where UEFI firmware looks for it.

use std::io::{Cursor, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use build_support::{Arch, sparse, whole};
use fatfs::{DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, TimeProvider};
use fs_err as fs;

use crate::MIB;
use crate::date::Date;

/// A FAT32 file system with sectors of 512 bytes cannot be smaller: it has at least 65,525 clusters (Microsoft FAT
/// specification 1.03, section "FAT type determination"). FAT12 and FAT16 need only be read on removable media (UEFI
/// 2.10, section 13.3), so the system partition of a disk is FAT32.
pub const MIN_SIZE: u64 = 34 * MIB;
const SECTOR: u64 = 512;

/// An EFI system partition to write.
pub struct Esp<'a> {
    /// Decides the name under which firmware looks for the kernel.
    pub arch: Arch,
    /// The kernel, built as an EFI program.
    pub kernel: &'a Path,
    /// Bytes of the partition.
    pub size: u64,
    /// The volume's serial number.
    pub volume_id: u32,
}

impl Esp<'_> {
    /// Writes the file system as a sparse file.
    pub fn write(&self, out: &Path) -> Result<()> {
        ensure!(
            self.size >= MIN_SIZE && self.size.is_multiple_of(SECTOR),
            "an EFI system partition has at least {} MiB and whole sectors, and this one has {} bytes",
            MIN_SIZE / MIB,
            self.size
        );
        let kernel = fs::read(self.kernel)?;
        let bytes = self.fill(&kernel).with_context(|| {
            let (needs, has) = (kernel.len() as u64 / MIB + 1, self.size / MIB);
            format!("cannot put the kernel of {needs} MiB on an EFI system partition of {has} MiB")
        })?;
        whole::file(out, |path| {
            let file = fs::File::create(path)?;
            file.set_len(self.size)?;
            sparse::write_into(&bytes, &file, 0)
        })
    }

    /// In memory: the crate writes many small pieces, and most of the volume stays untouched zero pages.
    fn fill(&self, kernel: &[u8]) -> Result<Vec<u8>> {
        let mut disk = Cursor::new(vec![0; usize::try_from(self.size)?]);
        let options = FormatVolumeOptions::new()
            .fat_type(FatType::Fat32)
            .bytes_per_cluster(SECTOR as u32)
            .volume_id(self.volume_id)
            .volume_label(*b"BLOOMERY   ");
        fatfs::format_volume(&mut disk, options).context("cannot format it")?;
        disk.set_position(0);
        let volume =
            FileSystem::new(&mut disk, FsOptions::new().time_provider(&BuildTime)).context("cannot open it")?;
        let dir = volume.root_dir().create_dir("EFI")?.create_dir("BOOT")?;
        let mut file = dir.create_file(self.arch.efi_file())?;
        file.write_all(kernel)?;
        file.flush()?;
        drop((file, dir));
        volume.stats().context("cannot count its free clusters")?; // Only a count that was asked for is written.
        volume.unmount()?;
        let mut disk = disk.into_inner();
        mend_parent(&mut disk)?;
        Ok(disk)
    }
}

/// Corrects the `..` of `/EFI`. The number of its parent's cluster must be 0 when that is the root (Microsoft FAT
/// specification 1.03, section 6.5), and fatfs 0.3 writes the root's own number. Drop this when fsck.fat no longer
/// minds the crate's directories.
fn mend_parent(disk: &mut [u8]) -> Result<()> {
    let (sectors, fats) = (u16::from_le_bytes([disk[14], disk[15]]), disk[16]); // BPB_RsvdSecCnt, BPB_NumFATs
    let fat_sectors = u32::from_le_bytes([disk[36], disk[37], disk[38], disk[39]]); // BPB_FATSz32
    let data = (u64::from(sectors) + u64::from(fats) * u64::from(fat_sectors)) * SECTOR;
    // The first cluster of data has number 2 and is the root; /EFI was made next. Its second slot is `..`.
    let slot = usize::try_from(data + SECTOR + 32)?;
    let slot = disk.get_mut(slot..slot + 32).context("the volume ends before its first directory")?;
    ensure!(&slot[..11] == b"..         ", "the first directory of the volume is not where it was expected");
    for at in [20, 21, 26, 27] {
        slot[at] = 0; // DIR_FstClusHI and DIR_FstClusLO
    }
    Ok(())
}

/// A clock that stands at the build's fixed time.
#[derive(Debug)]
struct BuildTime;

impl TimeProvider for BuildTime {
    fn get_current_date(&self) -> fatfs::Date {
        let Date { year, month, day, .. } = Date::of_build();
        fatfs::Date { year, month, day }
    }

    fn get_current_date_time(&self) -> DateTime {
        let Date { hour, minute, second, .. } = Date::of_build();
        DateTime { date: self.get_current_date(), time: fatfs::Time { hour, min: minute, sec: second, millis: 0 } }
    }
}
