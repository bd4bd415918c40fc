//! A record that survives power cuts: it has two places, and is written to the one that does not hold the newest. A write that was
//! cut short has a wrong checksum, and then the older one counts.
//!
//! ```text
//! byte  0  "BLMY", and four letters for the kind
//!       8  sequence number: of two whole records the one ahead is newer
//!      12  bytes of the content
//!      16  the content
//!   after  CRC-32 of all before it
//! ```
//!
//! Numbers are little-endian and have four bytes. The loaders read and write the same (image/loader/second.s, image/loader/slots.h).

/// Bytes before the content.
pub const HEADER: usize = 16;
/// Bytes that a record has beside its content.
pub const OVERHEAD: usize = HEADER + 4;

/// A kind of record and its two places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The second half of its magic number.
    pub kind: [u8; 4],
    /// Where its places begin, in bytes.
    pub places: [u64; 2],
    /// Bytes of each.
    pub size: usize,
}

/// A record that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// In which of the two places it is.
    pub place: usize,
    /// Its number.
    pub sequence: u32,
    /// What it says.
    pub content: Vec<u8>,
}

impl Pair {
    /// The newest whole record of what the two places hold.
    pub fn newest(&self, places: [&[u8]; 2]) -> Option<Found> {
        let [first, second] = places.map(|bytes| self.unpack(bytes));
        let found = |place, (sequence, content): (u32, &[u8])| Found { place, sequence, content: content.into() };
        match (first, second) {
            // The number may have begun anew at 0.
            (Some(first), Some(second)) if (second.0.wrapping_sub(first.0) as i32) < 0 => Some(found(0, first)),
            (_, Some(second)) => Some(found(1, second)),
            (Some(first), None) => Some(found(0, first)),
            (None, None) => None,
        }
    }

    /// Where the next record goes, which is not where the newest is, and its bytes. Nothing for a content that is too long.
    pub fn next(&self, newest: Option<&Found>, content: &[u8]) -> Option<(u64, Vec<u8>)> {
        let (place, sequence) = newest.map_or((0, 1), |found| (1 - found.place, found.sequence.wrapping_add(1)));
        let bytes = self.pack(sequence, content)?;
        Some((*self.places.get(place)?, bytes))
    }

    /// A record. Nothing for a content that is too long.
    pub fn pack(&self, sequence: u32, content: &[u8]) -> Option<Vec<u8>> {
        if content.len() + OVERHEAD > self.size {
            return None;
        }
        let mut bytes = [b"BLMY", &self.kind[..], &sequence.to_le_bytes()].concat();
        bytes.extend(u32::try_from(content.len()).ok()?.to_le_bytes());
        bytes.extend(content);
        bytes.extend(crc32(&bytes).to_le_bytes());
        Some(bytes)
    }

    fn unpack<'a>(&self, bytes: &'a [u8]) -> Option<(u32, &'a [u8])> {
        let rest = bytes.strip_prefix(b"BLMY")?.strip_prefix(&self.kind)?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (length, _) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let end = HEADER.checked_add(length).filter(|end| *end + 4 <= self.size)?;
        let (counted, rest) = bytes.split_at_checked(end)?;
        let (sum, _) = rest.split_first_chunk()?;
        let is_whole = crc32(counted) == u32::from_le_bytes(*sum);
        is_whole.then(|| (u32::from_le_bytes(*sequence), counted.get(HEADER..).unwrap_or_default()))
    }
}

/// The checksum of Ethernet and zip (IEEE 802.3, polynomial 0x04C11DB7 with its bits reversed). A few kilobytes are counted, so it
/// needs no table: the BIOS loader has no room for one.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: Pair = Pair { kind: *b"TEST", places: [4096, 8192], size: 512 };

    /// Writes a record as the kernel might before a power cut: its first bytes.
    fn write(disk: &mut [u8], content: &[u8], bytes: usize) {
        let newest = newest(disk);
        let (at, record) = PAIR.next(newest.as_ref(), content).unwrap();
        let bytes = bytes.min(record.len());
        disk[at as usize..][..bytes].copy_from_slice(&record[..bytes]);
    }

    fn newest(disk: &[u8]) -> Option<Found> {
        PAIR.newest(PAIR.places.map(|at| &disk[at as usize..][..PAIR.size]))
    }

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!((crc32(b"123456789"), crc32(b"")), (0xcbf4_3926, 0));
    }

    #[test]
    fn a_write_cut_at_any_byte_leaves_the_old_or_the_new() {
        let (old, new) = ([1; 40], [2; 60]);
        for bytes in 0..=new.len() + OVERHEAD {
            let mut disk = vec![0xaa; 16_384];
            assert_eq!(newest(&disk), None);
            write(&mut disk, &[7; 200], usize::MAX);
            write(&mut disk, &old, usize::MAX);
            write(&mut disk, &new, bytes);
            let found = newest(&disk).unwrap();
            let expected = if bytes == new.len() + OVERHEAD { &new[..] } else { &old };
            assert_eq!(found.content, expected, "after {bytes} bytes");
            write(&mut disk, &[9; 10], usize::MAX);
            assert_eq!(newest(&disk).unwrap().content, [9; 10], "after {bytes} bytes");
        }
    }

    #[test]
    fn a_flipped_bit_is_no_record() {
        let record = PAIR.pack(5, b"content").unwrap();
        for bit in 0..record.len() * 8 {
            let mut broken = record.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(PAIR.newest([&broken, &[]]), None, "bit {bit}");
        }
    }

    #[test]
    fn numbers_begin_anew() {
        let old = PAIR.pack(u32::MAX, b"old").unwrap();
        let new = PAIR.pack(0, b"new").unwrap();
        assert_eq!(PAIR.newest([&old, &new]).unwrap().content, b"new");
        assert_eq!(PAIR.newest([&new, &old]).unwrap().content, b"new");
        let (at, next) = PAIR.next(PAIR.newest([&old, &[]]).as_ref(), b"x").unwrap();
        assert_eq!((at, &next[8..12]), (8192, &[0; 4][..]));
    }

    #[test]
    fn a_long_content_is_refused() {
        assert!(PAIR.pack(1, &[0; 492]).is_some());
        assert!(PAIR.pack(1, &[0; 493]).is_none());
        // A length that was made up.
        let mut record = PAIR.pack(1, &[0; 10]).unwrap();
        record[12..16].fill(0xff);
        assert_eq!(PAIR.newest([&record, &record]), None);
    }
}
