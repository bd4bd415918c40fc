//! The sections of an EFI program (Microsoft's PE format, which UEFI 2.10 takes in section 2.1.1). A kernel is one.

/// Name and bytes in the file of each section. Nothing, when the bytes are no such program.
pub fn sections(bytes: &[u8]) -> Option<Vec<(String, u64)>> {
    let number = |at: usize, size: usize| -> Option<usize> {
        let field = bytes.get(at..at.checked_add(size)?)?;
        Some(field.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    };
    if bytes.get(..2)? != b"MZ" {
        return None;
    }
    let header = number(0x3c, 4)?; // e_lfanew
    if bytes.get(header..header.checked_add(4)?)? != b"PE\0\0" {
        return None;
    }
    let count = number(header + 6, 2)?; // NumberOfSections
    let table = header + 24 + number(header + 20, 2)?; // After the optional header, of SizeOfOptionalHeader bytes.
    let section = |n: usize| {
        let at = table + 40 * n;
        let name = bytes.get(at..at + 8)?;
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        let name = String::from_utf8_lossy(&name[..end]).into_owned();
        Some((name, number(at + 16, 4)? as u64)) // SizeOfRawData
    };
    (0..count).map(section).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with two sections, of 512 and 4096 bytes.
    fn sample() -> Vec<u8> {
        let mut bytes = vec![0; 0x200];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x3c] = 0x80;
        bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
        bytes[0x86] = 2;
        bytes[0x94] = 0x10;
        for (n, (name, size)) in [(b".text\0\0\0", 0x200_u32), (b".verylon", 0x1000)].into_iter().enumerate() {
            let at = 0x80 + 24 + 0x10 + 40 * n;
            bytes[at..at + 8].copy_from_slice(name);
            bytes[at + 16..at + 20].copy_from_slice(&size.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn sections_are_read() {
        let sections = sections(&sample()).unwrap();
        assert_eq!(sections, [(".text".to_string(), 512), (".verylon".to_string(), 4096)]);
    }

    #[test]
    fn other_bytes_are_no_program() {
        for length in [0, 1, 0x3e, 0x82, 0x90, 0xc0] {
            assert!(sections(&sample()[..length]).is_none(), "{length}");
        }
        let mut far = sample();
        far[0x3c..0x40].fill(0xff);
        assert!(sections(&far).is_none() && sections(b"\x7fELF").is_none());
    }
}
