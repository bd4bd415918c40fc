//! Which file system is on a device: its kind, UUID and label, from a few bounded reads. Pure, for any content.
//!
//! Offsets are those of the kernel's headers, named at each function; how a UUID is written where it is not a usual one
//! follows util-linux's blkid, because people compare with its output.

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Its kind, by blkid's name.
    pub kind: &'static str,
    /// Its UUID as text, if it has one.
    pub uuid: Option<String>,
    /// Its label, if it has one.
    pub label: Option<String>,
}

/// What is wrong with a file system by its own record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The kernel found errors in it, which nobody has repaired.
    Errors,
    /// It was not unmounted, and has no journal that would make up for that.
    NotUnmounted,
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Fault::Errors => "its superblock records errors",
            Fault::NotUnmounted => "it was not unmounted",
        })
    }
}

/// Bytes at the beginning of a device that hold all superblocks: btrfs's is the last, 4 KiB at 64 KiB.
pub const HEAD: usize = 0x1_1000;

/// The file system whose device begins with `head` ([`HEAD`] bytes, less for a smaller device). `read` returns up to that
/// many bytes at an offset, for what lies further behind.
pub fn identify(head: &[u8], read: &dyn Fn(u64, usize) -> Vec<u8>) -> Option<FileSystem> {
    let probes = [luks, xfs, squashfs, ext, btrfs, erofs, swap, iso9660, exfat, ntfs];
    probes.iter().find_map(|probe| probe(head)).or_else(|| vfat(head, read))
}

/// What the file system whose device begins with `head` records of itself.
pub fn fault(head: &[u8]) -> Option<Fault> {
    ext_fault(head).or_else(|| vfat_fault(head))
}

/// `s_state` with `EXT4_VALID_FS` (1) and `EXT4_ERROR_FS` (2), and `s_error_count`, of the same superblock as [`ext`]'s. With
/// a journal (compatible feature 4) the kernel sets the first back at a mount alone, and replays the journal.
fn ext_fault(head: &[u8]) -> Option<Fault> {
    let block = part(head, 1024, 1024)?;
    has(block, 0x38, &[0x53, 0xef])?;
    let state = le16(block, 0x3a)?;
    if state & 2 != 0 || le32(block, 0x194)? != 0 {
        return Some(Fault::Errors);
    }
    (state & 1 == 0 && le32(block, 0x5c)? & 4 == 0).then_some(Fault::NotUnmounted)
}

/// `FAT_STATE_DIRTY` (1) in the field `state` of the same boot sector as [`vfat`]'s, which Linux sets while it is mounted.
fn vfat_fault(head: &[u8]) -> Option<Fault> {
    has(head, 510, &[0x55, 0xaa])?;
    let state = match (part(head, 82, 5)?, part(head, 54, 3)?) {
        (b"FAT32", _) => head.get(65)?,
        (_, b"FAT") => head.get(37)?,
        _ => return None,
    };
    (state & 1 != 0).then_some(Fault::NotUnmounted)
}

/// cryptsetup's header, the same place in both versions: UUID as text at 168, 40 bytes ("LUKS1 On-Disk Format
/// Specification", "LUKS2 On-Disk Format Specification").
fn luks(head: &[u8]) -> Option<FileSystem> {
    has(head, 0, b"LUKS\xba\xbe")?;
    found("crypto_LUKS", text(part(head, 168, 40)?), None)
}

/// `struct xfs_dsb` of fs/xfs/libxfs/xfs_format.h.
fn xfs(head: &[u8]) -> Option<FileSystem> {
    has(head, 0, b"XFSB")?;
    found("xfs", uuid(part(head, 32, 16)?), text(part(head, 108, 12)?))
}

/// `struct squashfs_super_block` of fs/squashfs/squashfs_fs.h: neither UUID nor label.
fn squashfs(head: &[u8]) -> Option<FileSystem> {
    has(head, 0, b"hsqs")?;
    found("squashfs", None, None)
}

/// `struct ext4_super_block` of fs/ext4/ext4.h, at 1024. A journal of its own device (feature 8) is no file system.
fn ext(head: &[u8]) -> Option<FileSystem> {
    let block = part(head, 1024, 1024)?;
    has(block, 0x38, &[0x53, 0xef])?;
    let (compatible, incompatible) = (le32(block, 0x5c)?, le32(block, 0x60)?);
    let kind = match () {
        () if incompatible & 0x8 != 0 => "jbd",
        // Extents, 64 bits, flexible groups and later features: only ext4 has them.
        () if incompatible & !0x16 != 0 || le32(block, 0x64)? & !0x7 != 0 => "ext4",
        () if compatible & 0x4 != 0 => "ext3",
        () => "ext2",
    };
    found(kind, uuid(part(block, 0x68, 16)?), text(part(block, 0x78, 16)?))
}

/// `struct btrfs_super_block` of include/uapi/linux/btrfs_tree.h, at 64 KiB (`BTRFS_SUPER_INFO_OFFSET`).
fn btrfs(head: &[u8]) -> Option<FileSystem> {
    let block = part(head, 0x1_0000, 0x1000)?;
    has(block, 64, b"_BHRfS_M")?;
    found("btrfs", uuid(part(block, 32, 16)?), text(part(block, 299, 256)?))
}

/// `struct erofs_super_block` of fs/erofs/erofs_fs.h, at 1024.
fn erofs(head: &[u8]) -> Option<FileSystem> {
    let block = part(head, 1024, 128)?;
    has(block, 0, &0xe0f5_e1e2u32.to_le_bytes())?;
    found("erofs", uuid(part(block, 48, 16)?), text(part(block, 64, 16)?))
}

/// `union swap_header` of include/linux/swap.h: the mark ends the first page, whose size is the machine's that made it.
fn swap(head: &[u8]) -> Option<FileSystem> {
    let marked = |page: usize| has(head, page - 10, b"SWAPSPACE2").or_else(|| has(head, page - 10, b"SWAP-SPACE"));
    [4096, 8192, 16384, 65536].into_iter().find_map(marked)?;
    found("swap", uuid(part(head, 1036, 16)?), text(part(head, 1052, 16)?))
}

/// `struct iso_primary_descriptor` of include/uapi/linux/iso_fs.h, at 32 KiB. It has no UUID; blkid takes the date of the last
/// change, or of the creation, to a hundredth of a second.
fn iso9660(head: &[u8]) -> Option<FileSystem> {
    let block = part(head, 0x8000, 2048)?;
    has(block, 0, b"\x01CD001")?;
    let date = |offset| {
        let digits = part(block, offset, 16)?;
        (digits.iter().all(u8::is_ascii_digit) && digits.iter().any(|&digit| digit != b'0')).then(|| {
            let digits = String::from_utf8_lossy(digits);
            let cuts = [(0, 4), (4, 6), (6, 8), (8, 10), (10, 12), (12, 14), (14, 16)];
            cuts.iter().filter_map(|&(start, end)| digits.get(start..end)).collect::<Vec<_>>().join("-")
        })
    };
    found("iso9660", date(830).or_else(|| date(813)), text(part(block, 40, 32)?))
}

/// Microsoft's "exFAT file system specification", section 3.1. The label is a file's name there, and left out.
fn exfat(head: &[u8]) -> Option<FileSystem> {
    has(head, 3, b"EXFAT   ")?;
    found("exfat", serial(le32(head, 100)?), None)
}

/// `struct NTFS_BOOT` of fs/ntfs3/ntfs.h: the serial number at 72.
fn ntfs(head: &[u8]) -> Option<FileSystem> {
    has(head, 3, b"NTFS    ")?;
    let number = u64::from_le_bytes(part(head, 72, 8)?.try_into().ok()?);
    found("ntfs", (number != 0).then(|| format!("{number:016X}")), None)
}

/// `struct fat_boot_sector` of include/uapi/linux/msdos_fs.h. The label is in the root directory, whose entries are those of
/// `struct msdos_dir_entry` in the same file; old tools wrote it into the boot sector only.
fn vfat(head: &[u8], read: &dyn Fn(u64, usize) -> Vec<u8>) -> Option<FileSystem> {
    has(head, 510, &[0x55, 0xaa])?;
    let wide = has(head, 82, b"FAT32   ").is_some();
    if !wide && [&b"FAT12   "[..], b"FAT16   ", b"FAT     "].iter().all(|mark| has(head, 54, mark).is_none()) {
        return None;
    }
    let sector = u64::from(le16(head, 11)?);
    let (cluster, fats) = (u64::from(*head.get(13)?), u64::from(*head.get(16)?));
    if !matches!(sector, 512 | 1024 | 2048 | 4096) || !cluster.is_power_of_two() || !matches!(fats, 1 | 2) {
        return None;
    }
    let extended = if wide { 64 } else { 36 };
    let length = if wide { u64::from(le32(head, 36)?) } else { u64::from(le16(head, 22)?) };
    let after_fats = u64::from(le16(head, 14)?).checked_add(fats * length)?;
    let root = match wide {
        false => after_fats,
        true => after_fats.checked_add(u64::from(le32(head, 44)?).checked_sub(2)?.checked_mul(cluster)?)?,
    };
    let label = root.checked_mul(sector).and_then(|offset| root_label(&read(offset, 2048)));
    let old = part(head, extended + 7, 11).and_then(text).filter(|label| label != "NO NAME");
    found("vfat", serial(le32(head, extended + 3)?), label.or(old))
}

/// The name of the entry that is the volume's among the directory's first: attribute 8, no directory (16), and not part of
/// a long name (15).
fn root_label(directory: &[u8]) -> Option<String> {
    let mut entries = directory.chunks_exact(32).take_while(|entry| entry.first() != Some(&0));
    let is_label = |entry: &&[u8]| {
        let bits = entry.get(11).copied().unwrap_or_default();
        entry.first() != Some(&0xe5) && bits & 0x18 == 8 && bits & 0x3f != 0x0f
    };
    text(part(entries.find(is_label)?, 0, 11)?)
}

fn found(kind: &'static str, uuid: Option<String>, label: Option<String>) -> Option<FileSystem> {
    Some(FileSystem { kind, uuid, label })
}

fn part(bytes: &[u8], offset: usize, length: usize) -> Option<&[u8]> {
    bytes.get(offset..offset.checked_add(length)?)
}

fn has(bytes: &[u8], offset: usize, mark: &[u8]) -> Option<()> {
    (part(bytes, offset, mark.len())? == mark).then_some(())
}

fn le16(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(part(bytes, offset, 2)?.try_into().ok()?))
}

fn le32(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(part(bytes, offset, 4)?.try_into().ok()?))
}

/// The serial number of Microsoft's file systems, `1A2B-3C4D`.
fn serial(number: u32) -> Option<String> {
    (number != 0).then(|| format!("{:04X}-{:04X}", number >> 16, number & 0xffff))
}

/// Sixteen bytes as text, in their order; all zero is none.
fn uuid(bytes: &[u8]) -> Option<String> {
    if bytes.iter().all(|&byte| byte == 0) {
        return None;
    }
    let mut text = String::with_capacity(36);
    for (place, byte) in bytes.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text += &format!("{byte:02x}");
    }
    Some(text)
}

/// Text up to its terminator, without blanks at its end; an empty one is none.
fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(bytes.get(..end)?);
    let text = text.trim_end();
    (!text.is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests;
