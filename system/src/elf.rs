//! What is read of ELF files: sections of modules, and the initramfs inside a kernel.

use anyhow::{Context as _, Result};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use slots::state::BUILD_ID;
use slots::update;

/// The bytes of a section, or `None` for a file that lacks it.
///
/// # Errors
/// A file that is no ELF file.
pub fn section<'a>(file: &'a [u8], name: &str) -> Result<Option<&'a [u8]>> {
    let file = object::File::parse(file).context("it is no ELF file")?;
    Ok(file.section_by_name(name).map(|section| section.data()).transpose()?)
}

/// The build identifier of a kernel, which it tells in /sys/kernel/notes when it runs.
///
/// # Errors
/// A file that is no ELF file or has none.
pub fn build_id(vmlinux: &[u8]) -> Result<[u8; BUILD_ID]> {
    // All notes together, or those of the linker alone (include/asm-generic/vmlinux.lds.h, `NOTES`).
    let notes = section(vmlinux, ".notes")?.context("it has no section .notes")?;
    update::build_id(notes).context("its notes have no build identifier")
}

/// The initramfs inside a kernel, which is at `__initramfs_start`; `__initramfs_size` has its size
/// (usr/initramfs_data.S, include/asm-generic/vmlinux.lds.h of Linux).
///
/// # Errors
/// A file that is no ELF file or has no such symbols, as a stripped kernel.
pub fn initramfs(vmlinux: &[u8]) -> Result<&[u8]> {
    let file = object::File::parse(vmlinux).context("it is no ELF file")?;
    let address = |name: &str| {
        let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name));
        symbol.map(|symbol| symbol.address()).with_context(|| {
            format!(
                "it has no symbol {name}\nhint: name the unstripped `vmlinux` of a kernel with CONFIG_BLK_DEV_INITRD"
            )
        })
    };
    let size = bytes_at(&file, address("__initramfs_size")?, size_of::<u64>() as u64)?;
    let size = u64::from_le_bytes(size.try_into()?);
    bytes_at(&file, address("__initramfs_start")?, size)
}

/// The bytes that are loaded at an address.
fn bytes_at<'a>(file: &object::File<'a>, address: u64, size: u64) -> Result<&'a [u8]> {
    let mut found = file.sections().filter_map(|section| section.data_range(address, size).ok().flatten());
    found.next().with_context(|| format!("it has no {size} bytes at {address:#x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: u64 = 0x1000;

    /// A header, a string table, symbols and one section of data, in the order of the ELF specification's chapters.
    fn sample(data: &[u8], symbols: &[(&str, u64)]) -> Vec<u8> {
        let mut strings = b"\0.init.data\0.symtab\0.strtab\0".to_vec();
        let mut table = vec![0; 24];
        for (name, address) in symbols {
            table.extend((strings.len() as u32).to_le_bytes()); // st_name
            table.extend([0x10, 0, 1, 0]); // A global symbol of section 1.
            table.extend(address.to_le_bytes());
            table.extend(0_u64.to_le_bytes());
            strings.extend(name.bytes().chain([0]));
        }
        let mut file = [&b"\x7fELF\x02\x01\x01"[..], &[0; 9]].concat();
        let (at_data, at_table) = (64, 64 + data.len());
        let at_strings = at_table + table.len();
        let at_headers = at_strings + strings.len();
        for half in [2_u16, 62] {
            file.extend(half.to_le_bytes()); // A program for x86_64.
        }
        file.extend(1_u32.to_le_bytes());
        for word in [0, 0, at_headers as u64] {
            file.extend(word.to_le_bytes());
        }
        file.extend(0_u32.to_le_bytes());
        for half in [64_u16, 0, 0, 64, 4, 3] {
            file.extend(half.to_le_bytes());
        }
        for part in [data, &table, &strings] {
            file.extend(part);
        }
        let header =
            |name: u32, kind: u32, address: u64, at: usize, size: usize, (link, info): (u32, u32), one: u64| {
                let mut bytes = [name.to_le_bytes(), kind.to_le_bytes()].concat();
                bytes.extend([0, address, at as u64, size as u64].map(u64::to_le_bytes).concat());
                bytes.extend([link.to_le_bytes(), info.to_le_bytes()].concat());
                bytes.extend([1, one].map(u64::to_le_bytes).concat());
                bytes
            };
        file.extend([0; 64]);
        file.extend(header(1, 1, DATA, at_data, data.len(), (0, 0), 0)); // SHT_PROGBITS
        file.extend(header(12, 2, 0, at_table, table.len(), (3, 1), 24)); // SHT_SYMTAB
        file.extend(header(20, 3, 0, at_strings, strings.len(), (0, 0), 0)); // SHT_STRTAB
        file
    }

    #[test]
    fn a_kernels_initramfs_is_found_by_its_symbols() {
        let data = [b"before07archive".as_slice(), &9_u64.to_le_bytes()].concat();
        let file = sample(&data, &[("__initramfs_start", DATA + 6), ("__initramfs_size", DATA + 15)]);
        assert_eq!(initramfs(&file).unwrap(), b"07archive");
        assert_eq!(section(&file, ".init.data").unwrap(), Some(&data[..]));
        assert_eq!(section(&file, ".modinfo").unwrap(), None);
    }

    #[test]
    fn what_has_no_initramfs_is_refused() {
        let data = [7; 8];
        let stripped = sample(&data, &[]);
        let far = sample(&data, &[("__initramfs_start", DATA), ("__initramfs_size", DATA)]);
        for (file, part) in
            [(&stripped[..], "no symbol __initramfs_size"), (&far, "bytes at"), (b"text", "no ELF file")]
        {
            let error = format!("{:#}", initramfs(file).unwrap_err());
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
    }
}
