use super::*;

/// Bytes of the test program's headers, and of each of its two sections.
const HEADERS: usize = 0x200;
const DATA: usize = 0x100;
/// Where its PE header is.
const PE: usize = 0x40;

/// A program with two sections, the later one first in the table, and some bytes behind them.
fn program(behind: usize) -> Vec<u8> {
    let mut bytes = vec![0; HEADERS];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"MZ");
    put(PE_OFFSET, &(PE as u32).to_le_bytes());
    put(PE, b"PE\0\0");
    put(PE + SECTION_COUNT, &2_u16.to_le_bytes());
    put(PE + OPTIONAL_SIZE, &(DIRECTORIES as u16 + 16 * 8).to_le_bytes());
    let optional = PE + COFF;
    put(optional, &PE32_PLUS.to_le_bytes());
    put(optional + HEADERS_SIZE, &(HEADERS as u32).to_le_bytes());
    put(optional + CHECKSUM, &[0xaa; 4]);
    put(optional + DIRECTORY_COUNT, &16_u32.to_le_bytes());
    let table = optional + DIRECTORIES + 16 * 8;
    for (row, place) in [(0, HEADERS + DATA), (1, HEADERS)] {
        put(table + row * SECTION + RAW_SIZE, &(DATA as u32).to_le_bytes());
        put(table + row * SECTION + RAW_PLACE, &(place as u32).to_le_bytes());
    }
    bytes.extend((0..2 * DATA + behind).map(|number| number as u8));
    bytes
}

/// A sum by the definition's own words, with one carry at the end: 2^16 - 1 divides what the carries take away.
fn plain_sum(bytes: &[u8], checksum: usize) -> u32 {
    let mut bytes = bytes.to_vec();
    bytes[checksum..checksum + 4].fill(0);
    let words = bytes.chunks(2).map(|pair| u64::from(pair[0]) + 256 * u64::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u32 + bytes.len() as u32
}

#[test]
fn the_digest_is_of_all_but_the_signature() {
    let bytes = program(0);
    let digest = Program::parse(&bytes).unwrap().digest();
    let signed = append(&bytes, &[1; 21]).unwrap();
    assert_eq!(Program::parse(&signed).unwrap().digest(), digest, "a certificate changes it");
    let (checksum, directory) = {
        let program = Program::parse(&signed).unwrap();
        (program.checksum, program.directory)
    };
    let certificate = bytes.len()..signed.len();
    for at in 0..signed.len() {
        let mut changed = signed.clone();
        changed[at] ^= 1;
        let Ok(program) = Program::parse(&changed) else { continue }; // A header that is checked.
        let left_out = (checksum..checksum + 4).contains(&at)
            || (directory..directory + DIRECTORY).contains(&at)
            || certificate.contains(&at);
        assert_eq!(program.digest() == digest, left_out, "byte {at}");
    }
}

#[test]
fn certificates_are_aligned_and_found() {
    for length in 1..=20 {
        let bytes = program(0);
        let data = vec![7; length];
        let signed = append(&bytes, &data).unwrap();
        let program = Program::parse(&signed).unwrap();
        let (place, size) = program.certificates;
        assert_eq!((place, size % ALIGNMENT, place + size), (bytes.len(), 0, signed.len()));
        let certificate = &signed[place..];
        assert_eq!(certificate[..4], (8 + length as u32).to_le_bytes(), "the length is without padding");
        assert_eq!(certificate[4..8], [0, 2, 2, 0]);
        assert_eq!(&certificate[8..8 + length], data);
        assert!(certificate[8 + length..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn the_checksum_has_its_carries() {
    for behind in [0, 8, 40] {
        let mut bytes = program(behind);
        bytes[HEADERS..].fill(0xff);
        let signed = append(&bytes, &[0xff; 99]).unwrap();
        let checksum = Program::parse(&signed).unwrap().checksum;
        let stated = u32::from_le_bytes(signed[checksum..checksum + 4].try_into().unwrap());
        assert_eq!(stated, plain_sum(&signed, checksum));
    }
    // An odd last byte is the low half of a word.
    let bytes = program(1);
    let program = Program::parse(&bytes).unwrap();
    assert_eq!(program.sum(), plain_sum(&bytes, program.checksum));
}

#[test]
fn no_other_file_is_taken() {
    let refusal = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = program(0);
        change(&mut bytes);
        Program::parse(&bytes).unwrap_err().to_string()
    };
    let optional = PE + COFF;
    let table = optional + DIRECTORIES + 16 * 8;
    for (change, part) in [
        (&(|bytes: &mut Vec<u8>| bytes[0] = b'X') as &dyn Fn(&mut Vec<u8>), "`MZ`"),
        (&|bytes| bytes[PE] = 0, "no PE header"),
        (&|bytes| bytes.truncate(PE), "cut off"),
        (&|bytes| bytes[PE_OFFSET..PE_OFFSET + 4].fill(0xff), "cut off"),
        (&|bytes| bytes[optional] = 0, "no 64-bit program"),
        (&|bytes| bytes[optional + DIRECTORY_COUNT] = 4, "no place for certificates"),
        (&|bytes| bytes[optional + HEADERS_SIZE + 1] = 1, "begins at byte"),
        (&|bytes| bytes[table + RAW_SIZE] = 1, "longer than the file"),
        (&|bytes| bytes[table + SECTION + RAW_SIZE] = 1, "begins at byte"),
        (&|bytes| bytes.truncate(HEADERS + DATA), "longer than the file"),
        (&|bytes| bytes[optional + DIRECTORIES + 4 * 8] = 8, "not the end of the file"),
    ] {
        let text = refusal(change);
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    for length in 0..HEADERS {
        assert!(Program::parse(&program(0)[..length]).is_err());
    }
}
