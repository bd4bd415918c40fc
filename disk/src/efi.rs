//! The disk that firmware boots without a boot loader: an EFI system partition with the kernel, and the root file system, unless
//! that is inside the kernel.
//!
//! The kernel is an EFI program that finds its root by PARTUUID; the same disk serves a kernel that QEMU loads itself. A BIOS
//! starts the same file by the loader in front of the partitions.

use std::path::Path;

use anyhow::{Context as _, Result};
use build_support::Arch;
use uuid::Uuid;

use crate::MIB;
use crate::bios::BiosLoader;
use crate::gpt::{self, Sector};
use crate::image::{BiosBoot, Content, Disk, Partition, Size};
use crate::tree::{Content as FileContent, Tree};

/// Bytes of the EFI system partition: FAT32's least with sectors of 512 bytes, and room for several kernels. Most of it is a hole in
/// the file.
pub const ESP_SIZE: u64 = 64 * MIB;
/// The label of the root file system.
pub const ROOT_LABEL: &str = "bloomery";
/// The label of the EFI system partition's volume.
pub const ESP_LABEL: &str = "BLOOMERY";

/// The identifiers of a disk. They must not change from build to build: the kernel's command line names the root.
#[derive(Clone, Debug, PartialEq)]
pub struct DiskIds {
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

impl DiskIds {
    /// Identifiers made from a name, such as `full x86_64`: version 8 UUIDs from its SHA-256 (RFC 9562, section 5.8).
    pub fn of(name: &str) -> DiskIds {
        let uuid = |part: &str| Uuid::new_v8(leading_bytes(&format!("bloomery {name} {part}")));
        DiskIds {
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

/// A disk that firmware boots.
pub struct EfiDisk<'a> {
    /// For which architecture it is.
    pub arch: Arch,
    /// The kernel, built as an EFI program.
    pub kernel: &'a Path,
    /// The root file system; `None` for a kernel that has it inside.
    pub root: Option<&'a Tree>,
    /// Bytes of the disk; what a MiB leaves over is not used.
    pub size: u64,
    /// The sectors of the disks that it is for.
    pub sector: Sector,
    /// Its identifiers.
    pub ids: DiskIds,
    /// The loader for a BIOS, on an architecture that has one.
    pub bios: Option<BiosLoader>,
}

impl EfiDisk<'_> {
    /// Writes the disk as a sparse file. `work` is a directory for the partitions on the way.
    ///
    /// # Errors
    ///
    /// Those of [`Disk::write`].
    pub fn write(&self, out: &Path, work: &Path) -> Result<()> {
        let kernel = format!("EFI/BOOT/{}", self.arch.efi_file());
        let volume_id = self.ids.volume_id;
        let mut disk = self.disk(&kernel)?;
        disk.bios = self.bios.as_ref().map(|loader| BiosBoot { loader, partition: 0, volume_id, kernel: &kernel });
        disk.write(out, work)
    }

    /// The EFI system first, and the root last, where it can grow.
    fn disk<'a>(&'a self, kernel: &str) -> Result<Disk<'a>> {
        let kind = self.arch.root_partition_type();
        let kind = Uuid::parse_str(kind).with_context(|| format!("the partition type {kind} is no UUID"))?;
        let files = vec![(kernel.into(), FileContent::Host(self.kernel.into()))];
        let esp = Content::Fat { label: ESP_LABEL, volume_id: self.ids.volume_id, files };
        let size = if self.root.is_some() { Size::Bytes(ESP_SIZE) } else { Size::Rest };
        let mut partitions =
            vec![Partition { name: "esp", kind: gpt::ESP_TYPE, guid: self.ids.esp, size, content: esp }];
        if let Some(tree) = self.root {
            let content = Content::Ext4 { label: ROOT_LABEL, uuid: self.ids.root_fs, tree };
            partitions.push(Partition { name: "root", kind, guid: self.ids.root, size: Size::Rest, content });
        }
        Ok(Disk { size: self.size, id: self.ids.disk, sector: self.sector, partitions, bios: None })
    }
}
