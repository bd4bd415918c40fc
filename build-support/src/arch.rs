//! The architectures that Bloomery builds for, and every name that the outside world gives them.

use anyhow::{Result, bail};

/// A target architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arch {
    /// 64-bit x86 with the baseline instruction set.
    X86_64,
    /// 64-bit ARM.
    Arm64,
}

impl Arch {
    /// Every architecture, in the order in which they are built.
    pub const ALL: [Arch; 2] = [Arch::X86_64, Arch::Arm64];

    /// The architecture of the machine that builds.
    pub fn host() -> Result<Arch> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Arch::X86_64),
            "aarch64" => Ok(Arch::Arm64),
            other => {
                bail!("this machine's architecture {other} cannot build Bloomery\nhint: build on x86_64 or arm64 Linux")
            }
        }
    }

    /// Reads a name as a user writes it.
    pub fn parse(name: &str) -> Result<Arch> {
        match name {
            "x86_64" | "amd64" => Ok(Arch::X86_64),
            "arm64" | "aarch64" => Ok(Arch::Arm64),
            _ => bail!("unknown architecture `{name}`\nhint: use x86_64 or arm64"),
        }
    }

    /// Bloomery's own name, used in paths and variables.
    pub fn name(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Arm64 => "arm64",
        }
    }

    /// The first part of the triple, also what `uname -m` says.
    pub fn machine(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Arm64 => "aarch64",
        }
    }

    /// The triple as clang writes it after normalisation; config files and runtime directories carry this name.
    pub fn triple(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64-unknown-linux-musl",
            Arch::Arm64 => "aarch64-unknown-linux-musl",
        }
    }

    /// The triple as a person types it.
    pub fn short_triple(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64-linux-musl",
            Arch::Arm64 => "aarch64-linux-musl",
        }
    }

    /// `ARCH=` of the Linux build.
    pub fn linux(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Arm64 => "arm64",
        }
    }

    /// The name in an OCI image (`GOARCH`).
    pub fn oci(self) -> &'static str {
        match self {
            Arch::X86_64 => "amd64",
            Arch::Arm64 => "arm64",
        }
    }

    /// The file that UEFI firmware starts from removable media (UEFI 2.10, section 3.5.1.1).
    pub fn efi_file(self) -> &'static str {
        match self {
            Arch::X86_64 => "BOOTX64.EFI",
            Arch::Arm64 => "BOOTAA64.EFI",
        }
    }

    /// The GPT type of a root partition (Discoverable Partitions Specification).
    pub fn root_partition_type(self) -> &'static str {
        match self {
            Arch::X86_64 => "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
            Arch::Arm64 => "B921B045-1DF0-41C3-AF44-4C6F280D3FAE",
        }
    }

    /// The serial console's device name below /dev.
    pub fn serial_console(self) -> &'static str {
        match self {
            Arch::X86_64 => "ttyS0",
            Arch::Arm64 => "ttyAMA0",
        }
    }

    /// The file that the kernel's build leaves for a boot loader or QEMU's `-kernel`, below its output directory.
    pub fn kernel_image(self) -> &'static str {
        match self {
            Arch::X86_64 => "arch/x86/boot/bzImage",
            Arch::Arm64 => "arch/arm64/boot/Image",
        }
    }

    /// The file that the kernel's build leaves for UEFI firmware: on x86_64 the same one, on arm64 one that unpacks
    /// itself, which QEMU's `-kernel` does not take before version 8.
    pub fn efi_image(self) -> &'static str {
        match self {
            Arch::X86_64 => "arch/x86/boot/bzImage",
            Arch::Arm64 => "arch/arm64/boot/vmlinuz.efi",
        }
    }

    /// QEMU's program for this architecture.
    pub fn qemu(self) -> &'static str {
        match self {
            Arch::X86_64 => "qemu-system-x86_64",
            Arch::Arm64 => "qemu-system-aarch64",
        }
    }

    /// ELF's `e_machine` (System V ABI).
    pub fn elf_machine(self) -> u16 {
        match self {
            Arch::X86_64 => 62,
            Arch::Arm64 => 183,
        }
    }
}

impl std::fmt::Display for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for arch in Arch::ALL {
            assert_eq!(Arch::parse(arch.name()).unwrap(), arch);
            assert_eq!(Arch::parse(arch.machine()).unwrap(), arch);
        }
    }

    #[test]
    fn an_unknown_name_says_what_is_known() {
        let error = Arch::parse("riscv64").unwrap_err().to_string();
        assert!(error.contains("riscv64") && error.contains("arm64"), "{error}");
    }
}
