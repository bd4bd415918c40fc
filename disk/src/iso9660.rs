//! ISO 9660 and El Torito for a CD whose content lies elsewhere on the same disk: descriptors that firmware starts a system by,
//! and a root directory that lists files of another file system.
//!
//! Everything has its fixed place in front of the content (ECMA-119; "El Torito" Bootable CD-ROM Format Specification 1.0).

use anyhow::{Context as _, Result, ensure};

/// Bytes of a sector.
pub const SECTOR: u64 = 2048;
/// The bytes in front of the first descriptor, which ISO 9660 leaves to the system.
pub const SYSTEM_AREA: u64 = 16 * SECTOR;
/// Where the content begins, in bytes: on a border of 4 KiB.
pub const CONTENT: u64 = 24 * SECTOR;

/// The sector of each part.
const PRIMARY: u32 = 16;
const BOOT_RECORD: u32 = 17;
const TERMINATOR: u32 = 18;
const CATALOGUE: u32 = 19;
const PATHS: u32 = 20;
const PATHS_BIG_ENDIAN: u32 = 21;
const ROOT: u32 = 22;

/// The platforms of a boot catalogue (El Torito, figure 2; UEFI 2.10, section 13.3.2.1).
const BIOS: u8 = 0;
const EFI: u8 = 0xef;

/// A CD to describe.
pub struct Iso<'a> {
    /// The volume's name: capitals, digits and `_`, at most 32.
    pub name: &'a str,
    /// The bytes of the whole CD.
    pub size: u64,
    /// What a BIOS loads and starts: its place in bytes, and how many it has.
    pub bios: Option<(u64, u64)>,
    /// The FAT file system with EFI's programs: its place in bytes, and how many it has.
    pub efi: (u64, u64),
    /// Files of the root directory: names of eight capitals and three, places in bytes, lengths.
    pub files: Vec<(String, u64, u64)>,
}

impl Iso<'_> {
    /// Returns what lies between [`SYSTEM_AREA`] and [`CONTENT`].
    ///
    /// # Errors
    ///
    /// When the CD is too large, when a place is not at a sector's beginning, or when there are more files than a sector's.
    pub fn descriptors(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; (CONTENT - SYSTEM_AREA) as usize];
        let parts = [
            (PRIMARY, self.primary()?),
            (BOOT_RECORD, boot_record()),
            (TERMINATOR, b"\xffCD001\x01".to_vec()),
            (CATALOGUE, self.catalogue()?),
            (PATHS, path_table(u32::to_le_bytes, u16::to_le_bytes)),
            (PATHS_BIG_ENDIAN, path_table(u32::to_be_bytes, u16::to_be_bytes)),
            (ROOT, self.root()?),
        ];
        for (sector, part) in parts {
            ensure!(part.len() as u64 <= SECTOR, "the root directory of a CD has too many files");
            let at = ((sector - PRIMARY) as u64 * SECTOR) as usize;
            bytes[at..at + part.len()].copy_from_slice(&part);
        }
        Ok(bytes)
    }

    /// The primary volume descriptor (ECMA-119, section 8.4).
    fn primary(&self) -> Result<Vec<u8>> {
        let mut bytes = b"\x01CD001\x01\0".to_vec();
        bytes.extend(text("LINUX", 32)?);
        bytes.extend(text(self.name, 32)?);
        bytes.extend([0; 8]);
        bytes.extend(both(sector(self.size)?));
        bytes.extend([0; 32]);
        bytes.extend(both_short(1)); // Volumes of the set, and the number of this one.
        bytes.extend(both_short(1));
        bytes.extend(both_short(SECTOR as u16));
        bytes.extend(both(PATH_TABLE_SIZE));
        bytes.extend(PATHS.to_le_bytes());
        bytes.extend([0; 4]); // There is no second table.
        bytes.extend(PATHS_BIG_ENDIAN.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(record(b"\0", ROOT, SECTOR as u32, DIRECTORY));
        bytes.extend([b' '; 4 * 128 + 3 * 37]); // Names of sets, makers and files of texts.
        bytes.extend(TIME); // Made,
        bytes.extend(TIME); // changed,
        bytes.extend(NEVER); // out of date,
        bytes.extend(NEVER); // in force.
        bytes.push(1); // The version of files' structure.
        Ok(bytes)
    }

    /// The boot catalogue (El Torito, figures 2 to 5).
    fn catalogue(&self) -> Result<Vec<u8>> {
        let first = if self.bios.is_some() { BIOS } else { EFI };
        let mut bytes = vec![1, first, 0, 0];
        bytes.extend(b"Bloomery");
        bytes.resize(30, 0);
        bytes.extend([0x55, 0xaa]);
        let sum = bytes.chunks(2).fold(0_u16, |sum, word| sum.wrapping_add(u16::from_le_bytes([word[0], word[1]])));
        bytes[28..30].copy_from_slice(&sum.wrapping_neg().to_le_bytes()); // All words together are 0.
        if let Some(bios) = self.bios {
            bytes.extend(boot_entry(bios)?);
            bytes.extend([0x91, EFI, 1, 0]); // The last section, of one entry.
            bytes.extend([0; 28]);
        }
        bytes.extend(boot_entry(self.efi)?);
        Ok(bytes)
    }

    /// The root directory: itself, its parent, which is itself, and its files by their names.
    fn root(&self) -> Result<Vec<u8>> {
        let mut bytes = record(b"\0", ROOT, SECTOR as u32, DIRECTORY);
        bytes.extend(record(b"\x01", ROOT, SECTOR as u32, DIRECTORY));
        let mut files: Vec<_> = self.files.iter().collect();
        files.sort();
        for (name, at, length) in files {
            let length = u32::try_from(*length).context("a file of a CD cannot be larger than 4 GiB")?;
            bytes.extend(record(format!("{name};1").as_bytes(), sector(*at)?, length, 0));
        }
        Ok(bytes)
    }
}

/// The boot record (El Torito, figure 7).
fn boot_record() -> Vec<u8> {
    let mut bytes = b"\0CD001\x01EL TORITO SPECIFICATION".to_vec();
    bytes.resize(71, 0);
    bytes.extend(CATALOGUE.to_le_bytes());
    bytes
}

/// An entry of the catalogue: bootable, without emulation of another medium, at the BIOS's usual address.
fn boot_entry((at, length): (u64, u64)) -> Result<Vec<u8>> {
    // Sectors of 512 bytes. Firmware takes the length of EFI's from the file system when it is more than the field holds.
    let count = u16::try_from(length.div_ceil(512)).unwrap_or(u16::MAX);
    let mut bytes = vec![0x88, 0, 0, 0, 0, 0];
    bytes.extend(count.to_le_bytes());
    bytes.extend(sector(at)?.to_le_bytes());
    bytes.resize(32, 0);
    Ok(bytes)
}

/// Bytes of the path table, which has the root alone.
const PATH_TABLE_SIZE: u32 = 10;

/// The table of directories (ECMA-119, section 9.4), which is there in both orders of bytes.
fn path_table(long: fn(u32) -> [u8; 4], short: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let mut bytes = vec![1, 0];
    bytes.extend(long(ROOT));
    bytes.extend(short(1)); // Its parent is itself.
    bytes.extend([0, 0]);
    bytes
}

/// The flag of a directory.
const DIRECTORY: u8 = 2;

/// A record of a directory (ECMA-119, section 9.1).
fn record(name: &[u8], sector: u32, length: u32, flags: u8) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend(both(sector));
    bytes.extend(both(length));
    bytes.extend([126, 1, 1, 0, 0, 0, 0]); // 2026-01-01, years counted from 1900 ([`build_support::EPOCH`]).
    bytes.extend([flags, 0, 0]);
    bytes.extend(both_short(1));
    bytes.push(name.len() as u8);
    bytes.extend(name);
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    bytes[0] = bytes.len() as u8;
    bytes
}

/// [`build_support::EPOCH`] in digits, and a time that is not stated (ECMA-119, section 8.4.26.1).
const TIME: [u8; 17] = *b"2026010100000000\0";
const NEVER: [u8; 17] = *b"0000000000000000\0";

/// A text with spaces behind it.
fn text(text: &str, length: usize) -> Result<Vec<u8>> {
    let known = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    ensure!(
        text.len() <= length && text.bytes().all(known),
        "`{text}` cannot be the name of a CD: at most {length} capitals, digits and _"
    );
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(length, b' ');
    Ok(bytes)
}

/// The number of the sector that begins at a byte.
fn sector(at: u64) -> Result<u32> {
    ensure!(at.is_multiple_of(SECTOR), "byte {at} is not the beginning of a CD's sector");
    u32::try_from(at / SECTOR).context("the CD is too large")
}

/// A number in both orders of bytes (ECMA-119, section 7.3.3).
fn both(number: u32) -> Vec<u8> {
    [number.to_le_bytes(), number.to_be_bytes()].concat()
}

fn both_short(number: u16) -> Vec<u8> {
    [number.to_le_bytes(), number.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iso(bios: Option<(u64, u64)>) -> Vec<u8> {
        let files = vec![("KERNEL.EFI".into(), 61_440, 3_000_001), ("A.TXT".into(), 4_063_232, 5)];
        Iso { name: "TEST_1", size: 4 << 20, bios, efi: (CONTENT, 4_000_000), files }.descriptors().unwrap()
    }

    fn part(bytes: &[u8], sector: u32) -> &[u8] {
        &bytes[(sector - PRIMARY) as usize * 2048..][..2048]
    }

    #[test]
    fn the_descriptors_have_the_places_of_the_standard() {
        let bytes = iso(None);
        assert_eq!(bytes.len() as u64, CONTENT - SYSTEM_AREA);
        let primary = part(&bytes, PRIMARY);
        assert_eq!((&primary[..8], &primary[40..47]), (&b"\x01CD001\x01\0"[..], &b"TEST_1 "[..]));
        assert_eq!(primary[80..88], [0, 8, 0, 0, 0, 0, 8, 0]); // 2048 sectors
        assert_eq!(primary[128..132], [0, 8, 8, 0]);
        assert_eq!((primary[156], primary[158], primary[881]), (34, 22, 1));
        assert_eq!(part(&bytes, TERMINATOR)[..7], *b"\xffCD001\x01");
        assert_eq!(part(&bytes, BOOT_RECORD)[71..75], [19, 0, 0, 0]);
    }

    #[test]
    fn the_catalogue_names_what_firmware_starts() {
        let sum = |entry: &[u8]| {
            entry.chunks(2).fold(0_u16, |sum, word| sum.wrapping_add(u16::from_le_bytes([word[0], word[1]])))
        };
        let both = iso(Some((4096, 2048)));
        let catalogue = part(&both, CATALOGUE);
        assert_eq!((catalogue[1], sum(&catalogue[..32]), &catalogue[30..32]), (0, 0, &[0x55, 0xaa][..]));
        assert_eq!(catalogue[32..44], [0x88, 0, 0, 0, 0, 0, 4, 0, 2, 0, 0, 0]);
        assert_eq!(catalogue[64..68], [0x91, 0xef, 1, 0]);
        assert_eq!(catalogue[96..108], [0x88, 0, 0, 0, 0, 0, 0x85, 0x1e, 24, 0, 0, 0]);
        let efi = iso(None);
        let catalogue = part(&efi, CATALOGUE);
        assert_eq!((catalogue[1], sum(&catalogue[..32])), (0xef, 0));
        assert_eq!((&catalogue[32..34], &catalogue[40..44]), (&[0x88, 0][..], &[24, 0, 0, 0][..]));
        assert!(catalogue[64..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn the_root_lists_files_by_name() {
        let bytes = iso(None);
        let root = part(&bytes, ROOT);
        assert_eq!((root[0], root[34]), (34, 34));
        let first = &root[68..];
        assert_eq!((&first[33..40], first[2..6].to_vec()), (&b"A.TXT;1"[..], 1984_u32.to_le_bytes().to_vec()));
        let second = &first[first[0] as usize..];
        assert_eq!((&second[33..45], second[2]), (&b"KERNEL.EFI;1"[..], 30));
        assert_eq!(second[10..14], 3_000_001_u32.to_le_bytes());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let iso = |name, efi, count: u64| {
            let files = (0..count).map(|i| (format!("F{i}"), 0, 0)).collect();
            format!("{:#}", Iso { name, size: 0, bios: None, efi, files }.descriptors().unwrap_err())
        };
        assert!(iso("small", (0, 0), 0).contains("`small` cannot be the name of a CD"));
        assert!(iso("A", (512, 0), 0).contains("byte 512 is not the beginning"));
        assert!(iso("A", (0, 0), 60).contains("too many files"));
    }
}
