//! What differs between the architectures' machines.

use std::ffi::OsString;
use std::path::Path;

use build_support::Arch;

use super::{commas, listening};

/// A board that QEMU emulates.
pub(super) struct Board {
    /// QEMU's `-M`.
    pub(super) machine: &'static str,
    /// The emulated processor.
    pub(super) tcg_cpu: &'static str,
    /// Pairs of firmware code and variables where distributions keep them, the preferred pair first.
    pub(super) firmware: &'static [(&'static str, &'static str)],
    /// What makes a machine without disk end by itself, once KVM has set it up.
    pub(super) probe: &'static [&'static str],
    /// The kernel's name of a second serial port.
    pub(super) second_port: &'static str,
    /// Debian's package with QEMU.
    pub(super) package: &'static str,
    /// Debian's package with the firmware.
    pub(super) firmware_package: &'static str,
}

const X86_64: Board = Board {
    // Without its AHCI controller, on whose six empty ports the kernel would wait for 0.3 s.
    machine: "q35,sata=off",
    // Every feature that QEMU emulates, so that programs built for newer processors run. It costs nothing: to init
    // the same kernel takes 0.90 CPU-seconds, and 0.97 with `qemu64`.
    tcg_cpu: "max",
    // Code and variables must be of one size, so they are chosen as pairs.
    firmware: &[
        ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"), // Debian, Ubuntu
        ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),       // their releases before 2022
        ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"), // Fedora
        ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"), // Arch
        ("/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"), // openSUSE
        ("/usr/share/qemu/edk2-x86_64-code.fd", "/usr/share/qemu/edk2-i386-vars.fd"), // QEMU's own build
    ],
    // SeaBIOS finds nothing to boot and resets after 1 ms, which ends QEMU: the firmware ran through. A /dev/kvm
    // that emulates real mode, as nested ones do, takes many seconds for that and is slower than emulation.
    probe: &["-boot", "reboot-timeout=1", "-no-reboot"],
    second_port: "ttyS1",
    package: "qemu-system-x86",
    firmware_package: "ovmf",
};

const ARM64: Board = Board {
    // The newest interrupt controller that QEMU or the host's KVM has: GICv3 by emulation.
    machine: "virt,gic-version=max",
    // As on x86_64. Pointer authentication in QEMU's own way: the architected algorithm takes half of the time.
    tcg_cpu: "max,pauth-impdef=on",
    firmware: &[
        ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"), // Debian, Ubuntu
        ("/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw", "/usr/share/edk2/aarch64/vars-template-pflash.raw"), // Fedora
        ("/usr/share/edk2/aarch64/QEMU_CODE.fd", "/usr/share/edk2/aarch64/QEMU_VARS.fd"), // Arch
        ("/usr/share/qemu/edk2-aarch64-code.fd", "/usr/share/qemu/edk2-arm-vars.fd"), // QEMU's own build
    ],
    // This board has no firmware of its own: it is set up, stays before its first instruction, and reads `quit`.
    probe: &["-S", "-monitor", "stdio"],
    second_port: "ttyS0", // The first one is a PL011, `ttyAMA0`.
    package: "qemu-system-arm",
    firmware_package: "qemu-efi-aarch64",
};

impl Board {
    /// The board of an architecture.
    pub(super) fn of(arch: Arch) -> &'static Board {
        match arch {
            Arch::X86_64 => &X86_64,
            Arch::Arm64 => &ARM64,
        }
    }

    /// The arguments of a QEMU that ends with status 0 at once when KVM works, and is told `quit` on standard input.
    pub(super) fn kvm_probe(&self) -> Vec<&'static str> {
        let mut args = vec!["-nodefaults", "-no-user-config", "-M", self.machine, "-m", "64M", "-display", "none"];
        args.extend(KVM);
        args.extend(self.probe);
        args
    }
}

/// A second serial port that ends at a Unix socket. A PC has four; on the board `virt` it is a card on the PCI bus.
pub(super) fn second_port(arch: Arch, socket: &Path) -> Vec<OsString> {
    match arch {
        Arch::X86_64 => vec!["-serial".into(), listening(socket)],
        Arch::Arm64 => {
            let mut backend = OsString::from("socket,id=second,server=on,wait=off,path=");
            backend.push(commas(socket.as_os_str()));
            vec!["-chardev".into(), backend, "-device".into(), "pci-serial,chardev=second".into()]
        }
    }
}

/// Runs a guest on the host's processor.
pub(super) const KVM: &[&str] = &["-accel", "kvm", "-cpu", "host"];
