//! The UUID of a partition, which the kernel (6.12) does not tell: from the disk's partition table.

/// Reads up to a number of bytes at an offset of the disk.
pub type Read<'a> = &'a dyn Fn(u64, usize) -> Vec<u8>;

/// The UUID of partition `number` of a disk with logical blocks of `block` bytes, as the kernel's `root=PARTUUID=` takes it.
///
/// A GPT gives each partition one. A disk with an MBR has a signature of four bytes, and the number is put behind it.
pub fn uuid(number: u32, block: u64, read: Read<'_>) -> Option<String> {
    guid(number, block, read).or_else(|| from_mbr(number, &read(0, 512)))
}

/// UEFI specification, section 5.3: the header is in block 1, with the place of the entries at 72, their count at 80 and
/// their size at 84; an entry's own GUID is at 16.
fn guid(number: u32, block: u64, read: Read<'_>) -> Option<String> {
    let header = read(block, 92);
    if header.get(..8)? != b"EFI PART" {
        return None;
    }
    let place = u64::from_le_bytes(header.get(72..80)?.try_into().ok()?);
    let count = u32::from_le_bytes(header.get(80..84)?.try_into().ok()?);
    let size = u32::from_le_bytes(header.get(84..88)?.try_into().ok()?);
    let index = number.checked_sub(1).filter(|&index| index < count && size >= 128)?;
    let offset = place.checked_mul(block)?.checked_add(u64::from(index) * u64::from(size))?;
    let entry = read(offset, 32);
    let bytes: [u8; 16] = entry.get(16..32)?.try_into().ok()?;
    if bytes == [0; 16] {
        return None;
    }
    // The first three fields are little-endian (appendix A).
    let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
    let (first, second, third) =
        (u32::from_le_bytes([a, b, c, d]), u16::from_le_bytes([e, f]), u16::from_le_bytes([g, h]));
    let tail: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    let (clock, node) = tail.split_at_checked(4)?;
    Some(format!("{first:08x}-{second:04x}-{third:04x}-{clock}-{node}"))
}

/// The disk's signature is at 440 (UEFI specification, section 5.2.1).
fn from_mbr(number: u32, sector: &[u8]) -> Option<String> {
    if sector.get(510..512)? != [0x55, 0xaa] {
        return None;
    }
    let signature = u32::from_le_bytes(sector.get(440..444)?.try_into().ok()?);
    (signature != 0).then(|| format!("{signature:08x}-{number:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(disk: &[u8]) -> impl Fn(u64, usize) -> Vec<u8> + '_ {
        |offset, length| {
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(disk.len());
            disk[start..(start + length).min(disk.len())].to_vec()
        }
    }

    fn gpt(block: usize) -> Vec<u8> {
        let mut disk = vec![0; block * 4];
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        disk[block..block + 8].copy_from_slice(b"EFI PART");
        disk[block + 72] = 2;
        disk[block + 80] = 128;
        disk[block + 84] = 128;
        let guid: Vec<u8> = (1..=16).collect();
        disk[block * 2 + 128 + 16..block * 2 + 128 + 32].copy_from_slice(&guid);
        disk
    }

    #[test]
    fn the_guid_of_an_entry() {
        for block in [512, 4096] {
            let disk = gpt(block);
            let text = "04030201-0605-0807-090a-0b0c0d0e0f10";
            assert_eq!(uuid(2, block as u64, &reader(&disk)).as_deref(), Some(text));
            assert_eq!(uuid(1, block as u64, &reader(&disk)), None, "an empty entry");
            assert_eq!(uuid(129, block as u64, &reader(&disk)), None);
            assert_eq!(uuid(0, block as u64, &reader(&disk)), None);
        }
    }

    #[test]
    fn the_signature_of_an_mbr() {
        let mut disk = vec![0; 512];
        disk[440..444].copy_from_slice(&[0x78, 0x56, 0x34, 0x12]);
        assert_eq!(uuid(5, 512, &reader(&disk)), None, "no mark of an MBR");
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(uuid(5, 512, &reader(&disk)).as_deref(), Some("12345678-05"));
    }

    #[test]
    fn numbers_that_point_anywhere_are_survived() {
        let mut disk = gpt(512);
        disk[512 + 72..512 + 88].fill(0xff);
        assert_eq!(uuid(2, 512, &reader(&disk)), None);
        assert_eq!(uuid(u32::MAX, u64::MAX, &reader(&disk)), None);
        for length in 0..600 {
            uuid(1, 512, &reader(&disk[..length]));
        }
    }
}
