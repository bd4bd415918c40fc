//! The disk of a profile: GPT, an EFI system partition with the kernel, and the root file system.
//!
//! `image/build.rs` calls it. The disk boots by firmware without a boot loader, because the kernel is an EFI program
//! that finds its root by PARTUUID; the same disk serves a kernel that QEMU loads itself.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use build_support::{Arch, sparse, whole};
use fs_err as fs;
use uuid::Uuid;

use crate::MIB;
use crate::ext4::{Ext4, TooSmall};
use crate::fat::Esp;
use crate::gpt::{self, ALIGNMENT, Partition};
use crate::tree::Tree;

/// Bytes of the EFI system partition: FAT32's least and room for several kernels. Most of it is a hole in the file.
pub const ESP_SIZE: u64 = 64 * MIB;
/// The label of the root file system.
pub const ROOT_LABEL: &str = "bloomery";

/// The identifiers of a disk. They must not change from build to build: the kernel's command line names the root.
#[derive(Clone, Debug, PartialEq)]
pub struct Guids {
    /// The disk.
    pub disk: Uuid,
    /// The partition of the EFI system.
    pub esp: Uuid,
    /// The partition of the root file system, which is the kernel's `root=PARTUUID=`.
    pub root: Uuid,
    /// The root file system itself.
    pub root_fs: Uuid,
    /// The serial number of the EFI system's volume.
    pub volume_id: u32,
}

impl Guids {
    /// Identifiers made from a name, such as `full x86_64`: version 8 UUIDs from its SHA-256 (RFC 9562, section 5.8).
    pub fn of(name: &str) -> Guids {
        let uuid = |part: &str| Uuid::new_v8(leading_bytes(&format!("bloomery {name} {part}")));
        Guids {
            disk: uuid("disk"),
            esp: uuid("esp"),
            root: uuid("root"),
            root_fs: uuid("root file system"),
            volume_id: u32::from_be_bytes(leading_bytes(&format!("bloomery {name} volume"))),
        }
    }
}

fn leading_bytes<const N: usize>(text: &str) -> [u8; N] {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(text);
    std::array::from_fn(|i| hash[i])
}

/// A disk to write.
pub struct Disk<'a> {
    /// For which architecture it is.
    pub arch: Arch,
    /// The kernel, built as an EFI program.
    pub kernel: &'a Path,
    /// The root file system.
    pub root: &'a Tree,
    /// Bytes of the disk; what a MiB leaves over is not used.
    pub size: u64,
    /// Its identifiers.
    pub guids: Guids,
}

impl Disk<'_> {
    /// Writes the disk as a sparse file. `work` is a directory for the partitions on the way.
    pub fn write(&self, out: &Path, work: &Path) -> Result<()> {
        fs::create_dir_all(work)?;
        let (esp, root) = (work.join("esp.fat"), work.join("root.ext4"));
        let [esp_partition, root_partition] = self.partitions()?;
        Esp { arch: self.arch, kernel: self.kernel, size: esp_partition.size, volume_id: self.guids.volume_id }
            .write(&esp)?;
        let ext4 = Ext4 { uuid: self.guids.root_fs, label: ROOT_LABEL, size: root_partition.size };
        ext4.write(self.root, &root, work).map_err(|error| self.explain(error))?;
        whole::file(out, |path| {
            let file = fs::File::options().create_new(true).read(true).write(true).open(path)?;
            file.set_len(self.size / MIB * MIB)?;
            sparse::copy_into(&esp, &file, esp_partition.start)?;
            sparse::copy_into(&root, &file, root_partition.start)?;
            gpt::write(&file, self.guids.disk, &[esp_partition, root_partition])
        })?;
        fs::remove_file(&esp)?;
        Ok(fs::remove_file(&root)?)
    }

    /// The EFI system first, and the root last, where it can grow.
    fn partitions(&self) -> Result<[Partition; 2]> {
        let start = ALIGNMENT + ESP_SIZE;
        // The last MiB holds the table's second copy.
        let end = (self.size / ALIGNMENT * ALIGNMENT).saturating_sub(ALIGNMENT);
        if end <= start {
            let least = (start + 2 * ALIGNMENT) / MIB;
            bail!(
                "a disk of {} MiB has no room for a root file system\nhint: raise the profile's disk size above {least} MiB",
                self.size / MIB
            );
        }
        let kind = self.arch.root_partition_type();
        let kind = Uuid::parse_str(kind).with_context(|| format!("the partition type {kind} is no UUID"))?;
        Ok([
            Partition { name: "esp", kind: gpt::ESP_TYPE, guid: self.guids.esp, start: ALIGNMENT, size: ESP_SIZE },
            Partition { name: "root", kind, guid: self.guids.root, start, size: end - start },
        ])
    }

    /// Says how large the profile's disk must be when the root file system is too small.
    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let Some(TooSmall { needs, has }) = error.downcast_ref() else {
            return error;
        };
        let (needs, has, disk) = (needs.div_ceil(MIB), has / MIB, self.size / MIB);
        let wanted = needs + disk - has;
        anyhow::anyhow!(
            "the root file system needs {needs} MiB, and the profile's disk of {disk} MiB leaves {has} MiB for it\n\
             hint: raise the profile's disk size to {wanted} MiB or more"
        )
    }
}
