//! As much of ELF as tells a static program from others (System V ABI, chapters 4 and 5).

use std::path::Path;

use anyhow::{Context as _, Result};
use build_support::fs;

const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NEEDED: u64 = 1;
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
    parse(&bytes)
        .with_context(|| format!("{} is no sound ELF file of 64 bits, low byte first", path.display()))
        .map(Some)
}

fn parse(bytes: &[u8]) -> Option<Elf> {
    if bytes.get(4..6)? != [2, 1] {
        return None;
    }
    let (start, size, count) = (word(bytes, 32)?, half(bytes, 54)?, half(bytes, 56)?);
    let mut dynamic = false;
    for i in 0..count {
        let header = bytes.get(usize::try_from(start).ok()? + usize::from(i) * usize::from(size)..)?;
        match u32::from_le_bytes(*header.first_chunk()?) {
            PT_INTERP => dynamic = true,
            // A static program that can lie at any address has a dynamic section too, but names no library in it.
            PT_DYNAMIC => dynamic |= needs_libraries(bytes, word(header, 8)?, word(header, 32)?)?,
            _ => {}
        }
    }
    Some(Elf { machine: half(bytes, 18)?, relocatable: half(bytes, 16)? == ET_REL, dynamic })
}

/// Whether a dynamic section, pairs of a tag and a value, has a tag for a library.
fn needs_libraries(bytes: &[u8], offset: u64, size: u64) -> Option<bool> {
    let offset = usize::try_from(offset).ok()?;
    let section = bytes.get(offset..offset.checked_add(usize::try_from(size).ok()?)?)?;
    Some(section.chunks_exact(16).any(|pair| word(pair, 0) == Some(DT_NEEDED)))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
