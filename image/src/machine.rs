//! The virtual machine that an image boots in, as QEMU arguments.
//!
//! `image/build.rs` writes [`files`] beside every image, and `run.sh` puts them together; the boot tests start
//! `run.sh`, so a person and a test boot the same machine. Nothing here touches the disk.
//!
//! `run.sh` takes one argument a line, leaves out empty lines and those that begin with `#`, and replaces these words:
//!
//! | word | becomes |
//! |---|---|
//! | `@DIR@` | the directory of the outputs, `target/bloomery/<arch>` |
//! | `@MEMORY@`, `@SMP@` | memory as QEMU's `-m` reads it, and the number of processors |
//! | `@NETDEV_EXTRA@` | `,hostfwd=...` for every forwarded port, or nothing |
//! | `@FIRMWARE@`, `@VARS@` | UEFI firmware of the host, and a writable copy of its variables |

use build_support::Arch;

/// The machine: its program as the first line, then everything that does not depend on accelerator or boot path.
pub const MACHINE: &str = "qemu.args";
/// Added to boot by `-kernel`.
pub const KERNEL: &str = "qemu-kernel.args";
/// Added to boot from the disk by UEFI firmware.
pub const UEFI: &str = "qemu-uefi.args";
/// Where distributions keep that firmware: code and variables, separated by a tab, the preferred pair first.
pub const FIRMWARE: &str = "qemu-firmware.tsv";
/// Added to run on the host's processor.
pub const KVM: &str = "qemu-kvm.args";
/// Added to run by emulation.
pub const TCG: &str = "qemu-tcg.args";
/// A whole command that ends with status 0 at once when KVM works, and is told `quit` on standard input.
pub const KVM_PROBE: &str = "qemu-kvm-probe.args";

/// What differs between the architectures.
struct Machine {
    /// QEMU's `-M`.
    board: &'static str,
    /// The emulated processor.
    tcg_cpu: &'static str,
    /// Pairs of firmware code and variables.
    firmware: &'static [(&'static str, &'static str)],
    /// What makes a machine without disk end by itself, once it was set up by KVM.
    probe: &'static [&'static str],
}

const X86_64: Machine = Machine {
    // Without its AHCI controller, on whose six empty ports the kernel would wait for 0.3 s.
    board: "q35,sata=off",
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
};

const ARM64: Machine = Machine {
    // The newest interrupt controller that QEMU or the host's KVM has: GICv3 by emulation.
    board: "virt,gic-version=max",
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
};

fn machine(arch: Arch) -> &'static Machine {
    match arch {
        Arch::X86_64 => &X86_64,
        Arch::Arm64 => &ARM64,
    }
}

/// Name and content of every argument file of a profile, for its directory `target/bloomery/<arch>/<profile>/`.
pub fn files(arch: Arch, profile: &str) -> Vec<(&'static str, String)> {
    vec![
        (MACHINE, machine_args(arch, profile)),
        (
            KERNEL,
            lines(&["# The kernel has its command line built in.", "-kernel", &format!("@DIR@/{profile}/kernel")]),
        ),
        (UEFI, uefi_args()),
        (FIRMWARE, machine(arch).firmware.iter().map(|(code, vars)| format!("{code}\t{vars}\n")).collect()),
        (KVM, lines(&["-accel", "kvm", "-cpu", "host"])),
        (TCG, lines(&["-accel", "tcg", "-cpu", machine(arch).tcg_cpu])),
        (KVM_PROBE, kvm_probe(arch)),
    ]
}

fn machine_args(arch: Arch, profile: &str) -> String {
    let Machine { board, .. } = machine(arch);
    lines(&[
        arch.qemu(),
        "# Only what is named here: no default devices, and nothing from the user's QEMU configuration.",
        "-nodefaults",
        "-no-user-config",
        "-M",
        board,
        "-m",
        "@MEMORY@",
        "-smp",
        "@SMP@",
        "# The qcow2 is the disk of this machine and keeps what the guest writes; the .img stays as built.",
        "-drive",
        &format!("if=none,id=disk,format=qcow2,discard=unmap,file=@DIR@/{profile}.qcow2"),
        "# In the boot order, else firmware tries the network for a minute. Place 0 belongs to -kernel.",
        "-device",
        "virtio-blk-pci,drive=disk,bootindex=1",
        "-netdev",
        "user,id=net@NETDEV_EXTRA@",
        "# Without its option ROM, which only network boot needs and which costs start-up time.",
        "-device",
        "virtio-net-pci,netdev=net,romfile=",
        "# Seeds the guest's random numbers, so that nothing waits for entropy.",
        "-device",
        "virtio-rng-pci",
        "-display",
        "none",
        "# The serial console on the terminal, with the monitor behind Ctrl-A C.",
        "-serial",
        "mon:stdio",
    ])
}

fn uefi_args() -> String {
    lines(&[
        "-drive",
        "if=pflash,unit=0,format=raw,readonly=on,file=@FIRMWARE@",
        "-drive",
        "if=pflash,unit=1,format=raw,file=@VARS@",
    ])
}

fn kvm_probe(arch: Arch) -> String {
    let Machine { board, probe, .. } = machine(arch);
    let mut args = vec![arch.qemu(), "-nodefaults", "-no-user-config", "-M", board, "-m", "64M", "-display", "none"];
    args.extend(["-accel", "kvm", "-cpu", "host"]);
    args.extend(*probe);
    lines(&args)
}

fn lines(args: &[&str]) -> String {
    args.iter().map(|arg| format!("{arg}\n")).collect()
}
