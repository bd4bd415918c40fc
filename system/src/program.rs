//! What kind of file a program is, and whether a system can run it that has no shared libraries.

use anyhow::{Result, bail, ensure};
use build_support::Arch;
use object::elf;
use object::read::elf::{Dyn as _, ElfFile64, FileHeader as _, ProgramHeader as _};
use object::{Endianness, Object as _};

/// Checks that a file is a static program of the architecture.
///
/// # Errors
/// Says what the file is instead, and what would be right.
pub fn check(bytes: &[u8], arch: Arch) -> Result<()> {
    let Ok(file) = ElfFile64::<Endianness>::parse(bytes) else {
        bail!("it is {}\nhint: {STATIC}", other_kind(bytes));
    };
    let (endian, header) = (file.endian(), file.elf_header());
    let (machine, kind) = (header.e_machine(endian), header.e_type(endian));
    ensure!(
        machine == number(arch),
        "it is a program for {}, and not for {arch}\nhint: compile it for the target {}",
        machine_name(machine),
        arch.short_triple()
    );
    ensure!(
        matches!(kind, elf::ET_EXEC | elf::ET_DYN),
        "it is {}, and no program\nhint: link it, as the compiler does without `-c`",
        if kind == elf::ET_REL { "an object file" } else { "an ELF file of another kind" }
    );
    let needed = needed(&file);
    let interpreter = interpreter(&file);
    ensure!(
        interpreter.is_none() && needed.is_empty(),
        "it is linked dynamically: it needs {}\nhint: {STATIC}",
        interpreter.into_iter().chain(needed).collect::<Vec<_>>().join(", ")
    );
    ensure!(file.entry() != 0, "it is a library, and no program\nhint: link it without `-shared`");
    Ok(())
}

const STATIC: &str = "link it statically: `-static` in C and C++, a musl target in Rust, CGO_ENABLED=0 in Go";

fn number(arch: Arch) -> elf::Machine {
    match arch {
        Arch::X86_64 => elf::EM_X86_64,
        Arch::Arm64 => elf::EM_AARCH64,
    }
}

fn machine_name(number: elf::Machine) -> String {
    match number {
        elf::EM_X86_64 => "x86_64".into(),
        elf::EM_AARCH64 => "arm64".into(),
        elf::EM_RISCV => "RISC-V".into(),
        other => format!("another machine (number {} of the ELF specification)", other.0),
    }
}

/// The program that loads it (`PT_INTERP`).
fn interpreter(file: &ElfFile64<Endianness>) -> Option<String> {
    let (endian, data) = (file.endian(), file.data());
    let found = file.elf_program_headers().iter().find_map(|header| header.interpreter(endian, data).ok().flatten());
    found.map(|path| String::from_utf8_lossy(path).into_owned())
}

/// The libraries that it is loaded with (`DT_NEEDED`).
fn needed(file: &ElfFile64<Endianness>) -> Vec<String> {
    let (endian, data) = (file.endian(), file.data());
    let sections = file.elf_section_table();
    let Ok(Some((entries, link))) = sections.dynamic(endian, data) else { return Vec::new() };
    let strings = sections.strings(endian, data, link).unwrap_or_default();
    let needed = entries.iter().filter(|entry| entry.d_tag(endian) == elf::DT_NEEDED);
    let names = needed.filter_map(|entry| entry.string(endian, strings).ok());
    names.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

/// A file that is no ELF file of 64 bits, by its first bytes.
fn other_kind(bytes: &[u8]) -> &'static str {
    match bytes {
        [] => "an empty file",
        [0x7f, b'E', b'L', b'F', 1, ..] => "a program of 32 bits",
        [0x7f, b'E', b'L', b'F', ..] => "a damaged ELF file",
        [b'#', b'!', ..] => "a script, and this system has no such interpreter",
        [b'M', b'Z', ..] => "a program for Windows or for EFI",
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] | [0xca, 0xfe, 0xba, 0xbe, ..] => "a program for macOS",
        [0x1f, 0x8b, ..] => "a gzip archive",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "a zstd archive",
        [b'P', b'K', ..] => "a zip archive",
        _ => "no program that Linux knows",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    const HOST: Arch = Arch::X86_64;
    #[cfg(target_arch = "aarch64")]
    const HOST: Arch = Arch::Arm64;

    /// An ELF header with one program header, of the type and with the content of `segment`.
    fn elf(
        kind: elf::FileType,
        machine: elf::Machine,
        entry: u64,
        segment: Option<(elf::ProgramType, &[u8])>,
    ) -> Vec<u8> {
        let mut file = [&b"\x7fELF\x02\x01\x01"[..], &[0; 9]].concat();
        for half in [kind.0, machine.0] {
            file.extend(half.to_le_bytes());
        }
        file.extend(1_u32.to_le_bytes());
        for word in [entry, 64, 0] {
            file.extend(word.to_le_bytes());
        }
        file.extend(0_u32.to_le_bytes());
        for half in [64_u16, 56, u16::from(segment.is_some()), 64, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        if let Some((kind, content)) = segment {
            file.extend([kind.0.to_le_bytes(), 4_u32.to_le_bytes()].concat());
            let size = content.len() as u64;
            file.extend([64 + 56, 0, 0, size, size, 1].map(u64::to_le_bytes).concat());
            file.extend(content);
        }
        file
    }

    #[test]
    fn a_static_program_is_right() {
        for kind in [elf::ET_EXEC, elf::ET_DYN] {
            check(&elf(kind, elf::EM_X86_64, 0x1000, None), Arch::X86_64).unwrap();
        }
        let own = std::fs::read("/proc/self/exe").unwrap();
        let error = check(&own, HOST).unwrap_err().to_string();
        assert!(error.contains("it is linked dynamically: it needs /lib"), "{error}");
        assert!(error.contains("libc.so"), "{error}");
    }

    #[test]
    fn another_file_is_named() {
        let loaded = elf(elf::ET_EXEC, elf::EM_X86_64, 1, Some((elf::PT_INTERP, b"/lib/ld.so\0")));
        for (bytes, part) in [
            (loaded.as_slice(), "it needs /lib/ld.so\nhint: link it statically"),
            (
                &elf(elf::ET_EXEC, elf::EM_AARCH64, 1, None),
                "for arm64, and not for x86_64\nhint: compile it for the target x86_64",
            ),
            (&elf(elf::ET_EXEC, elf::EM_MIPS, 1, None), "number 8"),
            (&elf(elf::ET_REL, elf::EM_X86_64, 0, None), "an object file"),
            (&elf(elf::ET_DYN, elf::EM_X86_64, 0, None), "a library"),
            (b"\x7fELF\x01", "of 32 bits"),
            (b"\x7fELF\x02\x01", "damaged"),
            (b"#!/bin/sh\n", "a script"),
            (b"MZ", "for Windows"),
            (b"", "an empty file"),
            (b"hello", "no program that Linux knows"),
        ] {
            let error = check(bytes, Arch::X86_64).unwrap_err().to_string();
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
    }
}
