//! Disks in the formats of other virtual machines, by `qemu-img`.
//!
//! All but qcow2 have random identifiers in them, by which a hypervisor tells disks apart. They are replaced by others
//! that follow from the content: the same disk has the same bytes, and another disk other identifiers.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use build_support::{Cmd, digest, whole};
use fs_err as fs;
use uuid::Uuid;

use crate::tools::{self, Tool};

/// The programs whose versions change the bytes of a disk.
pub const TOOLS: &[Tool] = &[tools::QEMU_IMG];

/// A format of disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// QEMU and libvirt. Clusters are compressed with zstd, which QEMU reads since 5.1: on a disk with 142 MiB of content
    /// it takes 0.8 s and leaves 40 MB, against 3.2 s and 42 MB with zlib, and 149 MB uncompressed.
    Qcow2,
    /// VMware, as one sparse file. It has its own name inside, so it is made under the name that it is to keep.
    Vmdk,
    /// Hyper-V.
    Vhdx,
    /// VirtualBox.
    Vdi,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 4] = [Format::Qcow2, Format::Vmdk, Format::Vhdx, Format::Vdi];

    /// The name that `qemu-img` knows, which is also the usual suffix of a file's name.
    pub fn name(self) -> &'static str {
        match self {
            Format::Qcow2 => "qcow2",
            Format::Vmdk => "vmdk",
            Format::Vhdx => "vhdx",
            Format::Vdi => "vdi",
        }
    }
}

/// Converts a raw disk.
///
/// # Errors
///
/// When `qemu-img` is missing or fails, when its output is not laid out as the format's specification says, or when the
/// output cannot be written.
pub fn convert(disk: &Path, format: Format, out: &Path) -> Result<()> {
    let name = out.file_name().with_context(|| format!("{} has no file name", out.display()))?;
    whole::file(out, |path| {
        // Under its own name, because a VMDK has it inside.
        let dir = path.with_added_extension("work");
        fs::create_dir(&dir)?;
        let made = make(disk, format, &dir.join(name)).and_then(|()| Ok(fs::rename(dir.join(name), path)?));
        fs::remove_dir_all(&dir)?;
        made
    })
}

fn make(disk: &Path, format: Format, out: &Path) -> Result<()> {
    let mut command = Cmd::new("qemu-img").args(["convert", "-f", "raw", "-O", format.name()]);
    if format == Format::Qcow2 {
        command = command.arg("-c").args(["-o", "compression_type=zstd"]);
    }
    command.arg(disk).arg(out).run(&format!("convert the disk to {}", format.name()))?;
    if format == Format::Qcow2 {
        return Ok(());
    }
    let file = fs::File::options().read(true).write(true).open(out)?;
    let failed = || format!("cannot replace the identifiers of a disk in the format {}", format.name());
    // First zeros, so that the content alone decides.
    set_ids(&file, format, &[[0; 16]; 3]).with_context(failed)?;
    let content = digest::file(out)?;
    set_ids(&file, format, &[id(&content, 0), id(&content, 1), id(&content, 2)]).with_context(failed)
}

/// A version 8 UUID (RFC 9562, section 5.8) from a digest.
fn id(content: &str, number: u32) -> [u8; 16] {
    let hash = digest::text(&format!("{content} {number}"));
    let mut bytes = [0; 16];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hash[2 * i..2 * i + 2], 16).unwrap_or_default();
    }
    *Uuid::new_v8(bytes).as_bytes()
}

fn set_ids(file: &fs::File, format: Format, ids: &[[u8; 16]; 3]) -> Result<()> {
    match format {
        Format::Qcow2 => Ok(()),
        Format::Vdi => set_vdi_ids(file, ids),
        Format::Vmdk => set_vmdk_id(file, ids),
        Format::Vhdx => set_vhdx_ids(file, ids),
    }
}

/// The identifiers of the image and of its last snapshot (QEMU, block/vdi.c, `VdiHeader`).
fn set_vdi_ids(file: &fs::File, ids: &[[u8; 16]; 3]) -> Result<()> {
    let mut signature = [0; 4];
    file.file().read_exact_at(&mut signature, 0x40)?;
    ensure!(signature == 0xbeda_107f_u32.to_le_bytes(), "there is no VDI header");
    write(file, 0x188, &ids[0])?;
    write(file, 0x198, &ids[1])
}

/// The content identifier, eight hexadecimal digits in a text that follows the header (VMware Virtual Disks, Virtual Disk
/// Format 5.0, "The Header").
fn set_vmdk_id(file: &fs::File, ids: &[[u8; 16]; 3]) -> Result<()> {
    let mut head = vec![0; 64 << 10];
    let length = file.file().read_at(&mut head, 0)?;
    head.truncate(length);
    ensure!(head.starts_with(b"KDMV"), "there is no VMDK header");
    let at = head.windows(5).position(|bytes| bytes == b"\nCID=").context("there is no CID")? + 5;
    let number = u32::from_be_bytes([ids[0][0], ids[0][1], ids[0][2], ids[0][3]]);
    // All ones say that there is no parent.
    let number = if number == u32::MAX { 0 } else { number };
    let end = head[at..].iter().position(|byte| *byte == b'\n').context("the CID does not end")?;
    ensure!(end <= 8, "the CID has {end} digits");
    // QEMU writes no leading zeros. The text has room: a line's end is followed by other lines, so these are moved.
    let text_end = head[at..].iter().position(|byte| *byte == 0).context("the text does not end")? + at;
    let mut text = format!("{number:08x}").into_bytes();
    text.extend_from_slice(&head[at + end..text_end]);
    write(file, at as u64, &text)
}

/// Two headers with two identifiers of writes, a sequence number and a checksum each, and the disk's own identifier in the
/// metadata (MS-VHDX 2.2.2, 2.6).
fn set_vhdx_ids(file: &fs::File, ids: &[[u8; 16]; 3]) -> Result<()> {
    for (number, at) in [(1_u64, 64_u64 << 10), (2, 128 << 10)] {
        let mut header = vec![0; 4096];
        file.file().read_exact_at(&mut header, at)?;
        ensure!(header.starts_with(b"head"), "there is no VHDX header");
        header[4..8].fill(0);
        header[8..16].copy_from_slice(&number.to_le_bytes()); // SequenceNumber: the larger one is in force.
        header[16..32].copy_from_slice(&ids[0]); // FileWriteGuid
        header[32..48].copy_from_slice(&ids[1]); // DataWriteGuid
        let sum = crc32c(&header);
        header[4..8].copy_from_slice(&sum.to_le_bytes());
        write(file, at, &header)?;
    }
    clear_vhdx_log(file)?;
    let metadata = vhdx_metadata(file)?;
    let mut table = vec![0; 64 << 10];
    file.file().read_exact_at(&mut table, metadata)?;
    ensure!(table.starts_with(b"metadata"), "there is no VHDX metadata");
    // Virtual Disk ID (2.6.2.5), an entry of 32 bytes: identifier, offset, length.
    let known = guid(0xbeca_12ab_b2e6_4523_93ef_c309_e000_c746);
    let entry = table[32..].chunks(32).find(|entry| entry[..16] == known).context("there is no virtual disk ID")?;
    let offset = u32::from_le_bytes([entry[16], entry[17], entry[18], entry[19]]);
    write(file, metadata + u64::from(offset), &ids[2])
}

/// The log keeps entries of the writes that made the disk, with a random identifier. A header whose LogGuid is zero says
/// that none of them is in force (MS-VHDX 2.2.2, 2.3).
fn clear_vhdx_log(file: &fs::File) -> Result<()> {
    let mut header = [0; 80];
    file.file().read_exact_at(&mut header, 64 << 10)?;
    ensure!(header[48..64] == [0; 16], "the VHDX log is in use");
    let length = u32::from_le_bytes(header[68..72].try_into()?);
    let start = u64::from_le_bytes(header[72..80].try_into()?);
    for at in (start..start + u64::from(length)).step_by(4096) {
        let mut sector = [0; 4096];
        file.file().read_exact_at(&mut sector, at)?;
        if sector != [0; 4096] {
            write(file, at, &[0; 4096])?;
        }
    }
    Ok(())
}

/// Where the metadata is, by the region table (MS-VHDX 2.2.3).
fn vhdx_metadata(file: &fs::File) -> Result<u64> {
    let mut table = vec![0; 64 << 10];
    file.file().read_exact_at(&mut table, 192 << 10)?;
    ensure!(table.starts_with(b"regi"), "there is no VHDX region table");
    let known = guid(0x8b7c_a206_4790_4b9a_b8fe_575f_050f_886e);
    let entry = table[16..].chunks(32).find(|entry| entry[..16] == known).context("there is no metadata region")?;
    Ok(u64::from_le_bytes(entry[16..24].try_into()?))
}

/// A GUID as Microsoft's formats store it: the first three fields are little-endian.
fn guid(value: u128) -> [u8; 16] {
    Uuid::from_u128(value).to_bytes_le()
}

fn write(file: &fs::File, at: u64, bytes: &[u8]) -> Result<()> {
    file.file().write_all_at(bytes, at).with_context(|| format!("cannot write to {}", file.path().display()))
}

/// CRC-32C (RFC 9260, appendix A), bit by bit: it is of 4 KiB.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |mut sum: u32, byte: &u8| {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 };
        }
        sum
    };
    !bytes.iter().fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        // RFC 3720, appendix B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
