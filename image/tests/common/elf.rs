//! As much of ELF as tells a static program from others (System V ABI, chapters 4 and 5).

use std::path::Path;

use anyhow::{Result, ensure};
use build_support::fs;

const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const ET_REL: u16 = 1;

/// What is known about an ELF file.
#[derive(Debug, PartialEq)]
pub struct Elf {
    /// `e_machine`.
    pub machine: u16,
    /// Whether it is to be linked yet (an object file has no program headers).
    pub relocatable: bool,
    /// Whether it asks for a program interpreter or for shared libraries.
    pub dynamic: bool,
}

/// Reads a file; `None` when it is no ELF file.
pub fn read(path: &Path) -> Result<Option<Elf>> {
    let bytes = fs::read(path)?;
    if !bytes.starts_with(b"\x7fELF") {
        return Ok(None);
    }
    ensure!(bytes.len() >= 64 && bytes[4] == 2 && bytes[5] == 1, "{} is no 64-bit little-endian ELF", path.display());
    let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let offset = u64::from_le_bytes(bytes[32..40].try_into()?) as usize;
    let (size, count) = (usize::from(half(54)), usize::from(half(56)));
    ensure!(offset + size * count <= bytes.len(), "{} ends within its program headers", path.display());
    let types = (0..count).map(|i| &bytes[offset + i * size..][..4]);
    let dynamic = types
        .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        .any(|kind| kind == PT_DYNAMIC || kind == PT_INTERP);
    Ok(Some(Elf { machine: half(18), relocatable: half(16) == ET_REL, dynamic }))
}
