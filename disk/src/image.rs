//! Disks: a GPT and a list of partitions, each with a file system or a file in it.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use build_support::{sparse, whole};
use fs_err as fs;
use uuid::Uuid;

use crate::MIB;
use crate::bios::{self, BiosLoader, Target};
use crate::ext4::{Ext4, TooSmall};
use crate::fat::Fat;
use crate::gpt::{self, ALIGNMENT, Entry, Sector};
use crate::tree::{Content as FileContent, Tree};

/// A disk to write.
pub struct Disk<'a> {
    /// Bytes of the disk; what a MiB leaves over is not used.
    pub size: u64,
    /// The disk's identifier in the table.
    pub id: Uuid,
    /// The sectors of the disks that it is for.
    pub sector: Sector,
    /// Its partitions, in the order of the table and of the disk.
    pub partitions: Vec<Partition<'a>>,
    /// What a BIOS starts; none: only UEFI firmware starts the disk.
    pub bios: Option<BiosBoot<'a>>,
}

/// A kernel that a BIOS starts from a partition with a FAT file system.
#[derive(Clone, Copy)]
pub struct BiosBoot<'a> {
    /// The loader, which lies in front of the first partition.
    pub loader: &'a BiosLoader,
    /// The number of the partition, from 0.
    pub partition: usize,
    /// The serial number of its file system.
    pub volume_id: u32,
    /// The kernel there.
    pub kernel: &'a str,
}

/// Where the loader's second stage lies, in bytes: behind the table. That has 16,384 bytes behind the second sector, so it ends
/// at byte 17,408, or 24,576.
fn second_stage(sector: Sector) -> u64 {
    match sector {
        Sector::Small => 20_480,
        Sector::Large => 24_576,
    }
}

/// A partition of a disk.
pub struct Partition<'a> {
    /// Its name in the table, at most 36 UTF-16 units.
    pub name: &'a str,
    /// What it is for, such as [`gpt::ESP_TYPE`].
    pub kind: Uuid,
    /// Its own identifier, the kernel's `PARTUUID`.
    pub guid: Uuid,
    /// How large it is.
    pub size: Size,
    /// What is in it.
    pub content: Content<'a>,
}

/// The size of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// So many bytes, rounded up to a MiB.
    Bytes(u64),
    /// What the other partitions leave; one partition of a disk can have it.
    Rest,
}

/// What is in a partition.
pub enum Content<'a> {
    /// A FAT file system.
    Fat {
        /// The volume's label, at most 11 characters.
        label: &'a str,
        /// The volume's serial number.
        volume_id: u32,
        /// Its files, with what they hold; directories are made.
        files: Vec<(String, FileContent)>,
    },
    /// An ext4 file system.
    Ext4 {
        /// The file system's label, at most 16 bytes.
        label: &'a str,
        /// The file system's own identifier.
        uuid: Uuid,
        /// Its files.
        tree: &'a Tree,
    },
    /// The bytes of a file, then zeros.
    File(&'a Path),
    /// Zeros.
    Empty,
}

/// Where a partition lies, in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    start: u64,
    size: u64,
}

impl BiosBoot<'_> {
    /// Writes the loader in front of the partitions. The table stays as it is.
    fn install(&self, disk: &fs::File, sector: Sector, places: &[Place]) -> Result<()> {
        let second_stage = second_stage(sector);
        let place = places.get(self.partition).context("a BIOS cannot start a partition that is not there")?;
        let mut head = vec![0; usize::try_from(second_stage + bios::SECOND_STAGE)?];
        disk.file().read_exact_at(&mut head, 0)?;
        let target = Target { volume: place.start, volume_id: self.volume_id, kernel: self.kernel, settings: false };
        self.loader.install(&mut head, second_stage, &target)?;
        Ok(disk.file().write_all_at(&head, 0)?)
    }
}

impl Disk<'_> {
    /// Writes the disk as a sparse file. `work` is a directory for the partitions on the way.
    ///
    /// # Errors
    ///
    /// When the partitions do not fit on the disk or a content does not fit in its partition, with the size that would do;
    /// when names or identifiers are not possible; and the errors of [`Fat::write`] and [`Ext4::write`].
    pub fn write(&self, out: &Path, work: &Path) -> Result<()> {
        self.check()?;
        let places = self.places()?;
        fs::create_dir_all(work)?;
        let mut files = Vec::new();
        for (number, (partition, place)) in self.partitions.iter().zip(&places).enumerate() {
            let file = work.join(format!("partition-{}", number + 1));
            let filled = partition
                .fill(place.size, self.sector, &file, work)
                .map_err(|error| self.explain(partition, place, error))?;
            files.push(filled);
        }
        whole::file(out, |path| {
            let file = fs::File::options().create_new(true).read(true).write(true).open(path)?;
            file.set_len(self.size / MIB * MIB)?;
            for (from, place) in files.iter().zip(&places) {
                if let Some(from) = from {
                    sparse::copy_into(from, &file, place.start)?;
                }
            }
            gpt::write(&file, self.id, self.sector, &self.entries(&places))?;
            self.bios.map_or(Ok(()), |boot| boot.install(&file, self.sector, &places))
        })?;
        for (file, partition) in files.iter().zip(&self.partitions) {
            if let Some(file) = file.as_ref().filter(|_| !matches!(partition.content, Content::File(_))) {
                fs::remove_file(file)?;
            }
        }
        Ok(())
    }

    fn entries(&self, places: &[Place]) -> Vec<Entry<'_>> {
        let rows = self.partitions.iter().zip(places);
        rows.map(|(partition, place)| {
            let Partition { name, kind, guid, .. } = *partition;
            Entry { name, kind, guid, start: place.start, size: place.size }
        })
        .collect()
    }

    fn check(&self) -> Result<()> {
        ensure!(
            !self.partitions.is_empty() && self.partitions.len() <= gpt::MAX_PARTITIONS,
            "a disk has 1 to {} partitions, and this one {}",
            gpt::MAX_PARTITIONS,
            self.partitions.len()
        );
        let mut guids = BTreeSet::from([self.id]);
        for Partition { name, guid, kind, .. } in &self.partitions {
            ensure!(
                name.encode_utf16().count() <= gpt::MAX_NAME,
                "the partition name `{name}` is longer than {} characters",
                gpt::MAX_NAME
            );
            ensure!(!guid.is_nil() && !kind.is_nil(), "the partition `{name}` has an identifier of zeros");
            ensure!(guids.insert(*guid), "the identifier {guid} of the partition `{name}` is another one's too");
        }
        Ok(())
    }

    /// One partition after the other, from the first MiB; the last MiB holds the table's second copy.
    fn places(&self) -> Result<Vec<Place>> {
        let end = (self.size / ALIGNMENT * ALIGNMENT).saturating_sub(ALIGNMENT);
        let rounded = |bytes: u64| bytes.checked_next_multiple_of(ALIGNMENT).context("a partition's size is too large");
        let mut fixed: u64 = 0;
        let mut rests = self.partitions.iter().filter(|partition| partition.size == Size::Rest);
        for partition in &self.partitions {
            if let Size::Bytes(bytes) = partition.size {
                ensure!(bytes > 0, "the partition `{}` has no size", partition.name);
                fixed = fixed.checked_add(rounded(bytes)?).context("the partitions' sizes are too large")?;
            }
        }
        let (rest, second) = (rests.next(), rests.next());
        if let (Some(rest), Some(second)) = (rest, second) {
            bail!(
                "the partitions `{}` and `{}` both take the rest of the disk\nhint: give one a size",
                rest.name,
                second.name
            );
        }
        let needs = ALIGNMENT + fixed + if rest.is_some() { ALIGNMENT } else { 0 };
        if needs > end {
            let what = rest.map_or("its partitions".into(), |partition| format!("the partition `{}`", partition.name));
            bail!(
                "a disk of {} MiB has no room for {what}\nhint: raise the disk size to {} MiB or more",
                self.size / MIB,
                (needs + ALIGNMENT) / MIB
            );
        }
        let left = end - ALIGNMENT - fixed;
        let mut start = ALIGNMENT;
        let mut places = Vec::new();
        for partition in &self.partitions {
            let size = match partition.size {
                Size::Bytes(bytes) => rounded(bytes)?,
                Size::Rest => left,
            };
            places.push(Place { start, size });
            start += size;
        }
        Ok(places)
    }

    /// Says which size would do when a content is too large for its partition.
    fn explain(&self, partition: &Partition, place: &Place, error: anyhow::Error) -> anyhow::Error {
        let Some(TooSmall { needs, .. }) = error.downcast_ref() else {
            return error.context(format!("cannot fill the partition `{}`", partition.name));
        };
        let (needs, has, disk) = (needs.div_ceil(MIB), place.size / MIB, self.size / MIB);
        let name = partition.name;
        match partition.size {
            Size::Rest => anyhow!(
                "the partition `{name}` needs {needs} MiB, and the disk of {disk} MiB leaves {has} MiB for it\n\
                 hint: raise the disk size to {} MiB or more",
                needs + disk - has
            ),
            Size::Bytes(_) => anyhow!(
                "the partition `{name}` needs {needs} MiB, and has {has} MiB\nhint: raise its size to {needs} MiB or more"
            ),
        }
    }
}

impl Partition<'_> {
    /// Makes what is in the partition as a file of at most its size. `None`: nothing.
    fn fill(&self, size: u64, sector: Sector, file: &Path, work: &Path) -> Result<Option<PathBuf>> {
        match &self.content {
            Content::Fat { label, volume_id, files } => {
                Fat { size, sector, volume_id: *volume_id, label, files: files.clone() }.write(file)?;
            }
            Content::Ext4 { label, uuid, tree } => Ext4 { uuid: *uuid, label, size }.write(tree, file, work)?,
            Content::File(path) => {
                let needs = fs::metadata(path)?.len();
                ensure!(needs <= size, TooSmall { needs, has: size });
                return Ok(Some(path.to_path_buf()));
            }
            Content::Empty => return Ok(None),
        }
        Ok(Some(file.to_path_buf()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(name: &str, number: u128, size: Size) -> Partition<'_> {
        let guid = Uuid::from_u128(number);
        Partition { name, kind: gpt::ESP_TYPE, guid, size, content: Content::Empty }
    }

    fn disk(size: u64, partitions: Vec<Partition<'_>>) -> Disk<'_> {
        Disk { size: size * MIB, id: Uuid::from_u128(100), sector: Sector::Small, partitions, bios: None }
    }

    #[test]
    fn partitions_lie_one_after_the_other_and_one_takes_the_rest() {
        let parts = vec![
            partition("boot", 1, Size::Bytes(1)),
            partition("data", 2, Size::Rest),
            partition("state", 3, Size::Bytes(3 * MIB + 1)),
        ];
        let places = disk(20, parts).places().unwrap();
        let starts: Vec<u64> = places.iter().map(|place| place.start / MIB).collect();
        let sizes: Vec<u64> = places.iter().map(|place| place.size / MIB).collect();
        assert_eq!((starts, sizes), (vec![1, 2, 15], vec![1, 13, 4]));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let work = tempfile::tempdir().unwrap();
        let long = "n".repeat(37);
        for (disk, part) in [
            (disk(20, Vec::new()), "1 to 128 partitions"),
            (disk(20, vec![partition("a", 1, Size::Rest), partition("b", 2, Size::Rest)]), "both take the rest"),
            (disk(20, vec![partition("a", 1, Size::Rest), partition("b", 1, Size::Bytes(1))]), "another one's too"),
            (disk(20, vec![partition("a", 0, Size::Rest)]), "zeros"),
            (disk(20, vec![partition(&long, 1, Size::Rest)]), "longer than 36"),
            (disk(20, vec![partition("a", 1, Size::Bytes(0))]), "no size"),
            (disk(20, vec![partition("a", 1, Size::Bytes(19 * MIB))]), "raise the disk size to 21 MiB"),
            (disk(3, vec![partition("a", 1, Size::Bytes(MIB)), partition("b", 2, Size::Rest)]), "the partition `b`"),
            (disk(20, vec![partition("a", 1, Size::Bytes(u64::MAX))]), "too large"),
        ] {
            let error = format!("{:#}", disk.write(&work.path().join("out"), work.path()).unwrap_err());
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
    }

    #[test]
    fn a_file_that_is_too_large_names_the_size_that_will_do() {
        let work = tempfile::tempdir().unwrap();
        let big = work.path().join("big");
        fs::File::create(&big).unwrap().set_len(5 * MIB).unwrap();
        let part = Partition { content: Content::File(&big), ..partition("state", 1, Size::Bytes(4 * MIB)) };
        let error = format!("{:#}", disk(20, vec![part]).write(&work.path().join("out"), work.path()).unwrap_err());
        assert!(
            error.contains("`state` needs 5 MiB, and has 4 MiB") && error.contains("hint: raise its size"),
            "{error}"
        );
    }
}
