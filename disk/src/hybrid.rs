//! One image that is a disk, a CD and a USB stick, for BIOS and UEFI, with one copy of its files.
//!
//! ```text
//! byte      0  master boot record: code, and one partition, which is the FAT file system
//!       4,096  second stage of the BIOS loader
//!       8,192  free: two sectors of 4 KiB for the state of updates may go here
//!      32,768  ISO 9660: descriptors, boot catalogue (El Torito), root directory
//!      49,152  FAT file system
//! ```
//!
//! Nothing lies at the end of the image, so it may be written to a larger disk. A GPT would want its second copy there.

use std::path::Path;

use anyhow::{Context as _, Result};
use build_support::whole;
use fs_err as fs;
use sha2::{Digest as _, Sha256};

use crate::aligned_fat::AlignedFat;
use crate::bios::{BiosLoader, LOADED_FROM_CD, Target};
use crate::iso9660::{self, Iso};
use crate::tree::Content;

/// Where the second stage of the BIOS loader lies, in bytes.
pub const SECOND_STAGE: u64 = 4096;
/// Where the FAT file system begins, in bytes.
pub const VOLUME: u64 = iso9660::CONTENT;
/// The kernel that both loaders start, in the root directory.
pub const KERNEL: &str = "KERNEL.EFI";
/// The settings file that they hand to it.
pub const SETTINGS: &str = "BLOOMERY.TXT";

/// The name of the volumes, of ISO 9660 and of FAT.
const NAME: &str = "BLOOMERY";
/// The type of a partition that UEFI firmware looks for programs on (UEFI 2.10, section 5.2.2).
const EFI_PARTITION: u8 = 0xef;
const SECTOR: u64 = 512;

/// An image to write.
pub struct Hybrid {
    /// The serial number of the FAT file system.
    pub volume_id: u32,
    /// The files of the FAT file system, in the order in which they lie there. One of them is [`KERNEL`].
    pub files: Vec<(String, Content)>,
    /// The least bytes that are left free in it.
    pub free: u64,
    /// The loader for a BIOS, on an architecture that has one.
    pub bios: Option<BiosLoader>,
    /// Whether the BIOS loader hands the settings file to the kernel.
    pub settings: bool,
}

impl Hybrid {
    /// Writes the image.
    ///
    /// # Errors
    ///
    /// Those of [`AlignedFat::build`], and when there is no kernel or the output cannot be written.
    pub fn write(&self, out: &Path) -> Result<()> {
        let bytes = self.build()?;
        whole::file(out, |path| Ok(fs::write(path, &bytes)?))
    }

    fn build(&self) -> Result<Vec<u8>> {
        let files = self.files.clone();
        let fat = AlignedFat { volume_id: self.volume_id, label: NAME, before: VOLUME, files, free: self.free };
        let volume = fat.build()?;
        let (at, length) = volume.places.get(KERNEL).with_context(|| format!("a hybrid image without {KERNEL}"))?;
        let iso = Iso {
            name: NAME,
            size: VOLUME + volume.bytes.len() as u64,
            bios: self.bios.as_ref().map(|_| (SECOND_STAGE, LOADED_FROM_CD)),
            efi: (VOLUME, volume.bytes.len() as u64),
            // Of the files that the FAT file system has, the one that no editor moves.
            files: vec![(KERNEL.into(), VOLUME + at, *length)],
        };
        let mut image = vec![0; iso9660::SYSTEM_AREA as usize];
        image[440..512].copy_from_slice(&partition_table(&volume.bytes)?);
        if let Some(loader) = &self.bios {
            let Hybrid { volume_id, settings, .. } = *self;
            let target = Target { volume: VOLUME, volume_id, kernel: KERNEL, settings };
            loader.install(&mut image, SECOND_STAGE, &target)?;
        }
        image.extend(iso.descriptors()?);
        image.extend(volume.bytes);
        Ok(image)
    }
}

/// The end of the master boot record: signature, one active partition, mark. Many a BIOS starts no disk without an active one.
fn partition_table(volume: &[u8]) -> Result<[u8; 72]> {
    let mut table = [0; 72];
    // By the content, so that two systems on one machine have two signatures.
    table[..4].copy_from_slice(&Sha256::digest(volume)[..4]);
    let sectors = u32::try_from(volume.len() as u64 / SECTOR).context("the file system is too large")?;
    let (begin, count) = (((VOLUME / SECTOR) as u32).to_le_bytes(), sectors.to_le_bytes());
    // Cylinders, heads and sectors beyond the largest: numbers of sectors alone count.
    let entry = [&[0x80, 0xfe, 0xff, 0xff, EFI_PARTITION, 0xfe, 0xff, 0xff][..], &begin, &count].concat();
    table[6..22].copy_from_slice(&entry);
    table[70..].copy_from_slice(&[0x55, 0xaa]);
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_one_active_partition() {
        let table = partition_table(&[0; 8192]).unwrap();
        assert_eq!(table[..4], Sha256::digest([0; 8192])[..4]);
        assert_eq!((table[6], table[10], &table[14..22]), (0x80, 0xef, &[96, 0, 0, 0, 16, 0, 0, 0][..]));
        assert!(table[22..70].iter().all(|byte| *byte == 0) && table[70..] == [0x55, 0xaa]);
    }

    #[test]
    fn a_kernel_is_needed() {
        let image = Hybrid { volume_id: 1, files: Vec::new(), free: 0, bios: None, settings: false };
        assert!(image.build().unwrap_err().to_string().contains("without KERNEL.EFI"));
    }
}
