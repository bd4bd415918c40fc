//! Partitions of a disk image, as sgdisk sees them.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::outputs::check_with;

/// Bytes of a sector of the images.
const SECTOR: u64 = 512;

/// A partition.
#[derive(Debug)]
pub struct Partition {
    /// Its first byte.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// Its type, in capitals.
    pub kind: String,
    /// Its own GUID, in capitals.
    pub guid: String,
}

/// Reads one partition, counted from 1.
pub fn partition(image: &Path, number: u32) -> Result<Partition> {
    let text = check_with("sgdisk", &[&format!("--info={number}"), &image.to_string_lossy()])?;
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
        value.with_context(|| format!("sgdisk does not say `{name}` of partition {number}:\n{text}"))
    };
    let first: u64 = field("First sector: ")?.parse()?;
    let last: u64 = field("Last sector: ")?.parse()?;
    Ok(Partition {
        offset: first * SECTOR,
        length: (last + 1 - first) * SECTOR,
        kind: field("Partition GUID code: ")?.into(),
        guid: field("Partition unique GUID: ")?.into(),
    })
}

/// The root file system, the second partition, as e2fsprogs names a part of a file.
pub fn root_file_system(image: &Path) -> Result<String> {
    Ok(format!("{}?offset={}", image.display(), partition(image, 2)?.offset))
}
