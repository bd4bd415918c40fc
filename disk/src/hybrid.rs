//! One image that is a disk, a CD and a USB stick, for BIOS and UEFI, with one copy of its files.
//!
//! ```text
//! byte      0  master boot record: code, and one partition, which is the FAT file system
//!       4,096  second stage of the BIOS loader
//!       8,192  with slots: the two places of their state, 4 KiB each
//!      32,768  ISO 9660: descriptors, boot catalogue (El Torito), root directory
//!      49,152  FAT file system
//! ```
//!
//! With slots the kernel is not in the FAT file system but behind it, in the first of two places, so that another one can take the
//! other place while the system runs, without a file system that a power cut could break (`slots::layout`).
//!
//! Nothing lies at the end of the image, so it may be written to a larger disk. A GPT would want its second copy there.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use build_support::whole;
use fs_err as fs;
use sha2::{Digest as _, Sha256};
use slots::layout::{BORDER, ENTRY, STATE};
use slots::state::{BUILD_ID, Kernel};
use slots::{Layout, State};

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
/// Where the partition table begins.
const TABLE: usize = 446;

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
    /// Places for two kernels, which are then not in the FAT file system.
    pub slots: Option<Slots>,
}

/// Places for two kernels.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    /// Bytes of each.
    pub size: u64,
    /// By which the kernel in the first is known when it runs.
    pub build_id: [u8; BUILD_ID],
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
        let mut files = self.files.clone();
        let kernel = match self.slots {
            Some(_) => Some(take_kernel(&mut files)?),
            None => None,
        };
        let fat = AlignedFat { volume_id: self.volume_id, label: NAME, before: VOLUME, files, free: self.free };
        let volume = fat.build()?;
        let end = VOLUME + volume.bytes.len() as u64;
        let layout = self.slots.map(|slots| Layout { slots: end.next_multiple_of(BORDER), slot: slots.size });
        let (at, length) = match (&layout, &kernel) {
            (Some(layout), Some(kernel)) => (layout.start(1), kernel.len() as u64),
            _ => {
                let place = volume.places.get(KERNEL).with_context(|| format!("a hybrid image without {KERNEL}"))?;
                (VOLUME + place.0, place.1)
            }
        };
        let iso = Iso {
            name: NAME,
            size: layout.map_or(end, |layout| layout.end()),
            bios: self.bios.as_ref().map(|_| (SECOND_STAGE, LOADED_FROM_CD)),
            efi: (VOLUME, volume.bytes.len() as u64),
            // Of the files that the FAT file system has, the one that no editor moves.
            files: vec![(KERNEL.into(), at, length)],
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
        if let (Some(slots), Some(layout), Some(kernel)) = (&self.slots, &layout, &kernel) {
            slots.add(&mut image, layout, kernel)?;
        }
        Ok(image)
    }
}

/// The kernel in the first slot of an image, which is as it was written; none in an image without slots.
pub fn kernel_in_slot(image: &[u8]) -> Option<(Vec<u8>, Kernel)> {
    let layout = Layout::of(image)?;
    let places = STATE.places.map(|at| image.get(at as usize..)?.get(..STATE.size));
    let state = State::read(&STATE.newest(places.map(Option::unwrap_or_default))?.content)?;
    let kernel = *state.kernel(1);
    let content = image.get(usize::try_from(layout.start(1)).ok()?..)?.get(..kernel.length as usize)?;
    Some((content.into(), kernel))
}

/// Takes the kernel out of the files of the FAT file system.
fn take_kernel(files: &mut Vec<(String, Content)>) -> Result<Vec<u8>> {
    let at = files
        .iter()
        .position(|(name, _)| name == KERNEL)
        .with_context(|| format!("a hybrid image without {KERNEL}"))?;
    match files.remove(at).1 {
        Content::Host(file) => Ok(fs::read(file)?),
        Content::Bytes(bytes) => Ok(bytes),
    }
}

impl Slots {
    /// Adds the partition's entry, the state, and the places with the kernel in the first.
    fn add(&self, image: &mut Vec<u8>, layout: &Layout, kernel: &[u8]) -> Result<()> {
        ensure!(self.size.is_multiple_of(BORDER), "a slot of {} bytes is no multiple of {BORDER}", self.size);
        ensure!(
            kernel.len() as u64 <= self.size,
            "the kernel has {} bytes, and a slot {}\nhint: make `slots` larger, with room for the kernels of updates",
            kernel.len(),
            self.size
        );
        let entry = layout.entry().context("the slots lie beyond what a partition table can say")?;
        let state = State::new(Kernel { length: u32::try_from(kernel.len())?, serial: 0, build_id: self.build_id });
        let record = STATE.pack(1, &state.to_bytes()).context("the state does not fit its place")?;
        let [at, _] = STATE.places.map(|place| place as usize);
        image[TABLE + ENTRY * entry.len()..][..entry.len()].copy_from_slice(&entry);
        image[at..at + record.len()].copy_from_slice(&record);
        image.resize(layout.start(1) as usize, 0);
        image.extend(kernel);
        image.resize(layout.end() as usize, 0);
        Ok(())
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
    fn with_slots_the_kernel_lies_behind_the_file_system() {
        let bytes = |content: &[u8]| Content::Bytes(content.to_vec());
        let files = vec![(KERNEL.into(), bytes(&[7; 5000])), ("A.TXT".into(), bytes(b"a"))];
        let slots = Some(Slots { size: 8192, build_id: [3; BUILD_ID] });
        let hybrid = Hybrid { volume_id: 1, files, free: 0, bios: None, settings: true, slots };
        let image = hybrid.build().unwrap();
        let layout = Layout::of(&image[..512]).unwrap();
        assert_eq!((layout.slot, layout.end()), (8192, image.len() as u64));
        let start = layout.start(1) as usize;
        assert!(image[start..start + 5000] == [7; 5000] && image[start + 5000..].iter().all(|byte| *byte == 0));
        let found = STATE.newest(STATE.places.map(|at| &image[at as usize..][..STATE.size])).unwrap();
        let state = State::read(&found.content).unwrap();
        assert_eq!(
            (state.good, state.trial, *state.kernel(1)),
            (1, 0, Kernel { length: 5000, serial: 0, build_id: [3; 20] })
        );
        assert!(!image[..start].windows(8).any(|part| part == b"KERNEL  "), "it is in the directory of the FAT too");
        assert_eq!(kernel_in_slot(&image), Some((vec![7; 5000], *state.kernel(1))));
        assert_eq!(kernel_in_slot(&[0; 16_384]), None);
        let small = Hybrid { slots: Some(Slots { size: 4096, build_id: [3; BUILD_ID] }), ..hybrid };
        assert!(small.build().unwrap_err().to_string().contains("the kernel has 5000 bytes, and a slot 4096"));
    }

    #[test]
    fn a_kernel_is_needed() {
        let image = Hybrid { volume_id: 1, files: Vec::new(), free: 0, bios: None, settings: false, slots: None };
        assert!(image.build().unwrap_err().to_string().contains("without KERNEL.EFI"));
    }
}
