//! The partition table of a disk: GPT with its protective MBR (UEFI 2.10, chapter 5).

use std::collections::BTreeMap;

use ::gpt::mbr::ProtectiveMBR;
use ::gpt::partition::Partition as GptPartition;
use ::gpt::partition_types::{OperatingSystem, Type};
use ::gpt::{GptConfig, disk::LogicalBlockSize};
use anyhow::{Context as _, Result};
use fs_err as fs;
use uuid::Uuid;

use crate::MIB;

/// Partitions start and end at multiples of this: every disk, flash and RAID block divides it.
pub const ALIGNMENT: u64 = MIB;

/// Bytes of a logical sector of a disk, by which its table and its FAT file systems count (NVM Express, Serial ATA: 512, or
/// 4,096 of disks that are called 4Kn).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sector {
    /// 512 bytes, as nearly every disk has.
    #[default]
    Small,
    /// 4,096 bytes.
    Large,
}

impl Sector {
    /// Its bytes.
    pub fn bytes(self) -> u64 {
        match self {
            Sector::Small => 512,
            Sector::Large => 4096,
        }
    }
}

/// The type of an EFI system partition (UEFI 2.10, table 5.7).
pub const ESP_TYPE: Uuid = Uuid::from_u128(0xC12A7328_F81F_11D2_BA4B_00A0C93EC93B);

/// The most partitions of a table: the size that UEFI 2.10, section 5.3.2, asks for at least and every tool writes.
pub const MAX_PARTITIONS: usize = 128;
/// The most UTF-16 units of a partition's name (UEFI 2.10, table 5.6).
pub const MAX_NAME: usize = 36;

/// One entry of the table.
pub struct Entry<'a> {
    /// Its name in the table.
    pub name: &'a str,
    /// What it is for.
    pub kind: Uuid,
    /// Its own identifier, the kernel's `PARTUUID`.
    pub guid: Uuid,
    /// Where it starts, in bytes.
    pub start: u64,
    /// How long it is, in bytes.
    pub size: u64,
}

/// Writes the tables at both ends of a disk file that has its full length already.
///
/// # Errors
///
/// When the file cannot be written, or the entries do not fit.
pub fn write(file: &fs::File, disk: Uuid, sector: Sector, entries: &[Entry]) -> Result<()> {
    let path = file.path().display().to_string();
    write_tables(file, disk, sector, entries).with_context(|| format!("cannot write the partition table of {path}"))
}

fn write_tables(file: &fs::File, disk: Uuid, sector: Sector, entries: &[Entry]) -> Result<()> {
    let mut device = file.file();
    let sectors = file.metadata()?.len() / sector.bytes();
    // The field has 32 bits, and larger disks have all of them set (UEFI 2.10, table 5.4).
    let protected = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    ProtectiveMBR::with_lb_size(protected).overwrite_lba0(&mut device).context("cannot write the protective MBR")?;
    let block = match sector {
        Sector::Small => LogicalBlockSize::Lb512,
        Sector::Large => LogicalBlockSize::Lb4096,
    };
    let config = GptConfig::new().writable(true).logical_block_size(block);
    let mut table = config.create_from_device(device, Some(disk))?;
    let entries: BTreeMap<u32, GptPartition> =
        (1..).zip(entries.iter().map(|entry| partition(entry, sector.bytes()))).collect();
    table.update_partitions(entries)?;
    table.write()?;
    Ok(())
}

fn partition(entry: &Entry, sector: u64) -> GptPartition {
    let first = entry.start / sector;
    GptPartition {
        part_type_guid: Type { guid: entry.kind, os: OperatingSystem::None },
        part_guid: entry.guid,
        first_lba: first,
        last_lba: first + entry.size / sector - 1,
        flags: 0,
        name: entry.name.into(),
    }
}
