//! The description of a machine: QEMU's arguments with their reasons and with places for what the host and the user
//! decide. `Machine::command` fills the places in, and `script` writes them down as variables of a shell.

use std::borrow::Cow;

use ::disk::gpt::Sector;
use anyhow::{Context as _, Result};
use build_support::Arch;

use super::GDB_PORT;
use super::board::{Board, KVM};
use crate::outputs::{self, DiskFormat, Medium};
use crate::profile::{Boot, Profile, RootKind};

/// A piece of an argument.
pub(super) enum Piece {
    /// As it is.
    Text(Cow<'static, str>),
    /// The path of an output that is given from the outputs' directory.
    File(String),
    /// The size of the memory.
    Memory,
    /// The number of processors.
    Processors,
    /// `,hostfwd=...` for each forwarded port.
    Ports,
    /// The firmware's code.
    Firmware,
    /// The machine's copy of the firmware's variables.
    Variables,
    /// The directory that firmware sees as an EFI system partition.
    Esp,
    /// What the kernel gets as its command line.
    CommandLine,
    /// The name of the tap device.
    Tap,
    /// The directory of an output, and its name there.
    Directory(String),
    Name(String),
}

/// When arguments are there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Always,
    Kvm,
    Tcg,
    Append,
    Snapshot,
    Gdb,
    /// The network is QEMU's own.
    User,
    /// It is that of a tap device.
    Tap,
}

/// Arguments that belong together.
pub(super) struct Part {
    /// When they are there.
    pub(super) when: When,
    /// Why they are there.
    pub(super) why: &'static str,
    /// The arguments, each of some pieces.
    pub(super) args: Vec<Vec<Piece>>,
}

/// The arguments of a boot, in order.
pub(super) fn parts(arch: Arch, profile: &Profile, boot: Boot) -> Result<Vec<Part>> {
    let mut parts = common(arch, boot);
    match medium(profile, boot) {
        Some(Medium::Disk { file, format, sector }) => parts.extend(disk(file, format, sector)),
        Some(Medium::Cd(file)) => parts.extend(cd(file)),
        Some(Medium::Hybrid(file)) => parts.extend(match boot {
            Boot::BiosCd | Boot::UefiCd => cd(file),
            Boot::BiosUsb | Boot::UefiUsb => usb_stick(file),
            _ => disk(file, DiskFormat::Raw, Sector::Small),
        }),
        Some(Medium::Efi(_)) if boot == Boot::Uefi => parts.extend(esp()),
        _ => {}
    }
    parts.extend(network(boot, loaded(profile, boot)));
    parts.extend(devices(boot));
    parts.extend(accelerators(arch));
    match boot {
        Boot::Kernel => parts.extend(kernel(profile, kernel_file(profile)?)),
        Boot::Microvm => parts.extend(kernel(profile, elf_file(profile)?)),
        Boot::Uefi | Boot::UefiCd | Boot::UefiUsb => parts.extend(firmware()),
        Boot::Pxe4 | Boot::Pxe6 | Boot::Http4 | Boot::Http6 => {
            parts.extend(firmware());
            parts.extend(protocols(boot));
        }
        // The board has a BIOS of its own.
        Boot::Ipxe | Boot::Bios | Boot::BiosCd | Boot::BiosUsb => {}
    }
    parts.extend(wishes(writable(profile, boot).is_some()));
    Ok(parts)
}

/// The files of a boot, from the outputs' directory.
pub(super) fn files(profile: &Profile, boot: Boot) -> Result<Vec<String>> {
    let mut files: Vec<String> = medium(profile, boot).into_iter().map(file_of).collect();
    match boot {
        Boot::Kernel => files.push(kernel_file(profile)?),
        Boot::Microvm => files.push(elf_file(profile)?),
        _ => {}
    }
    if boot.takes_words() {
        files.extend(initramfs(profile));
    }
    Ok(files)
}

fn file_of(medium: Medium) -> String {
    match medium {
        Medium::Disk { file, .. }
        | Medium::Kernel(file)
        | Medium::Elf(file)
        | Medium::Initramfs(file)
        | Medium::Efi(file)
        | Medium::Cd(file)
        | Medium::Hybrid(file) => file,
    }
}

/// A guest writes to the qcow2, and the raw file stays as built.
const ORDER: &[DiskFormat] = &[DiskFormat::Qcow2, DiskFormat::Raw, DiskFormat::Vmdk, DiskFormat::Vhdx, DiskFormat::Vdi];

/// The disk, CD, EFI program or kernel that the machine boots from, or has its root file system on.
pub(super) fn medium(profile: &Profile, boot: Boot) -> Option<Medium> {
    let disk = || ORDER.iter().find_map(|format| outputs::disk_medium(profile, *format));
    let first = |wanted: fn(&Medium) -> bool| outputs::media(profile).into_iter().find(wanted);
    let hybrid = || first(|medium| matches!(medium, Medium::Hybrid(_)));
    match boot {
        Boot::Kernel if profile.root.kind == RootKind::Ext4 => disk(),
        Boot::Kernel | Boot::Microvm => None,
        Boot::Bios => hybrid().or_else(disk),
        Boot::BiosCd | Boot::BiosUsb | Boot::UefiCd | Boot::UefiUsb => hybrid(),
        Boot::Uefi => hybrid()
            .or_else(disk)
            .or_else(|| first(|medium| matches!(medium, Medium::Cd(_))))
            .or_else(|| first(|medium| matches!(medium, Medium::Efi(_)))),
        Boot::Pxe4 | Boot::Pxe6 | Boot::Http4 | Boot::Http6 => first(|medium| matches!(medium, Medium::Efi(_))),
        Boot::Ipxe => first(|medium| matches!(medium, Medium::Kernel(_))),
    }
}

/// The disk that the machine writes to.
pub(super) fn writable(profile: &Profile, boot: Boot) -> Option<String> {
    let is_cd = matches!(boot, Boot::BiosCd | Boot::UefiCd) || boot.is_by_network();
    match medium(profile, boot).filter(|_| !is_cd)? {
        Medium::Disk { file, .. } | Medium::Hybrid(file) => Some(file),
        _ => None,
    }
}

/// The file that comes over the network.
fn loaded(profile: &Profile, boot: Boot) -> Option<String> {
    medium(profile, boot).filter(|_| boot.is_by_network()).map(file_of)
}

/// The kernel that QEMU loads.
pub(super) fn kernel_file(profile: &Profile) -> Result<String> {
    outputs::kernel(profile).context("the profile has no output of kind `kernel`\nhint: add one")
}

/// The kernel as ELF file.
fn elf_file(profile: &Profile) -> Result<String> {
    let elf = outputs::media(profile).into_iter().find(|medium| matches!(medium, Medium::Elf(_)));
    elf.map(file_of)
        .context("the profile has no output of kind `kernel` in the format `elf`\nhint: add it to `formats`")
}

/// The initramfs that a boot loader hands to the kernel. An embedded one is in the kernel.
fn initramfs(profile: &Profile) -> Option<String> {
    let initramfs = outputs::media(profile).into_iter().find(|medium| matches!(medium, Medium::Initramfs(_)))?;
    (profile.root.kind == RootKind::Initramfs && !profile.root.embed).then(|| file_of(initramfs))
}

/// A board of virtio-mmio devices, a clock and a serial port, which has no PCI bus. With ACPI the kernel would look for no
/// timer of a PC, and by emulation there is no other. Without it, QEMU names the devices on the kernel's command line.
const MICROVM: &str = "microvm,acpi=off,rtc=on";

fn common(arch: Arch, boot: Boot) -> Vec<Part> {
    let board = if boot == Boot::Microvm { MICROVM } else { Board::of(arch).machine };
    vec![
        always(
            "Only what is named here: no default devices, and nothing from the user's QEMU configuration.",
            &["-nodefaults", "-no-user-config"],
        ),
        always("The board.", &["-M", board]),
        part(
            When::Always,
            "Memory and processors.",
            vec![word("-m"), vec![Piece::Memory], word("-smp"), vec![Piece::Processors]],
        ),
    ]
}

fn disk(file: String, format: DiskFormat, sector: Sector) -> Vec<Part> {
    let drive = format!("if=none,id=disk,format={},discard=unmap,file=", format.name());
    vec![
        part(
            When::Always,
            "The disk. It keeps what the guest writes.",
            vec![word("-drive"), vec![Piece::Text(drive.into()), Piece::File(file)]],
        ),
        in_boot_order(match sector {
            Sector::Small => "virtio-blk-pci,drive=disk,bootindex=1",
            Sector::Large => "virtio-blk-pci,drive=disk,bootindex=1,logical_block_size=4096,physical_block_size=4096",
        }),
    ]
}

fn cd(file: String) -> Vec<Part> {
    vec![
        part(
            When::Always,
            "The CD.",
            vec![
                word("-drive"),
                vec![text("if=none,id=disk,media=cdrom,format=raw,readonly=on,file="), Piece::File(file)],
            ],
        ),
        always("A controller that both boards and both firmwares know.", &["-device", "virtio-scsi-pci"]),
        in_boot_order("scsi-cd,drive=disk,bootindex=1"),
    ]
}

fn usb_stick(file: String) -> Vec<Part> {
    vec![
        part(
            When::Always,
            "The USB stick. It keeps what the guest writes.",
            vec![word("-drive"), vec![text("if=none,id=disk,format=raw,file="), Piece::File(file)]],
        ),
        always("Its controller, which both boards and all firmware know.", &["-device", "qemu-xhci"]),
        in_boot_order("usb-storage,drive=disk,bootindex=1"),
    ]
}

fn esp() -> Vec<Part> {
    vec![
        part(
            When::Always,
            "A directory as a disk with one FAT file system, which the guest does not write to.",
            vec![word("-drive"), vec![text("if=none,id=disk,format=vvfat,readonly=on,dir="), Piece::Esp]],
        ),
        in_boot_order("virtio-blk-pci,drive=disk,bootindex=1"),
    ]
}

fn in_boot_order(device: &'static str) -> Part {
    always(
        "In the boot order, else firmware tries the network for a minute. Place 0 belongs to -kernel.",
        &["-device", device],
    )
}

/// The network and the card, and the file that is loaded from it.
fn network(boot: Boot, loaded: Option<String>) -> Vec<Part> {
    let mut user = vec![text("user,id=net"), Piece::Ports];
    if let Some(file) = loaded {
        user.extend([text(",tftp="), Piece::Directory(file.clone()), text(",bootfile="), Piece::Name(file)]);
    }
    let mut parts = Vec::new();
    if !boot.needs_tap() {
        let why = "A network behind this machine's own, with servers for DHCP and, for network boot, TFTP.";
        parts.push(part(When::User, why, vec![word("-netdev"), user]));
    }
    let tap = vec![text("tap,id=net,script=no,downscript=no,ifname="), Piece::Tap];
    parts.push(part(When::Tap, "The network of a tap device, with its servers.", vec![word("-netdev"), tap]));
    parts.push(card(boot));
    parts
}

fn card(boot: Boot) -> Part {
    match boot {
        Boot::Microvm => always("A card on virtio-mmio.", &["-device", "virtio-net-device,netdev=net"]),
        Boot::Ipxe => always("Its option ROM is iPXE.", &["-device", "virtio-net-pci,netdev=net,bootindex=1"]),
        boot if boot.is_by_network() => always(
            "Without its option ROM, an iPXE that would load the system in the firmware's place.",
            &["-device", "virtio-net-pci,netdev=net,romfile=,bootindex=1"],
        ),
        _ => always(
            "Without its option ROM, which only network boot needs and which costs start-up time.",
            &["-device", "virtio-net-pci,netdev=net,romfile="],
        ),
    }
}

/// Firmware tries PXE before HTTP and IPv4 before IPv6; it passes over what these settings of EDK2 leave out
/// (OvmfPkg/RUNTIME_CONFIG.md in edk2.git).
fn protocols(boot: Boot) -> Option<Part> {
    const NO_PXE4: [&str; 2] = ["-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n"];
    const NO_PXE6: [&str; 2] = ["-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n"];
    match boot {
        Boot::Pxe6 => Some(always("PXE over IPv6 comes first.", &NO_PXE4)),
        Boot::Http4 | Boot::Http6 => Some(always("HTTP comes first.", &[NO_PXE4, NO_PXE6].concat())),
        _ => None,
    }
}

fn devices(boot: Boot) -> Vec<Part> {
    let random = if boot == Boot::Microvm { "virtio-rng-device" } else { "virtio-rng-pci" };
    let socket = always(
        "A socket for a card that is plugged in while the machine runs (device_add ..., bus=socket).",
        &["-device", "pcie-root-port,id=socket,chassis=9"],
    );
    let mut devices = vec![
        always("Seeds the guest's random numbers, so that nothing waits for entropy.", &["-device", random]),
        always(
            "The serial console on the terminal, with the monitor behind Ctrl-A C.",
            &["-display", "none", "-serial", "mon:stdio"],
        ),
    ];
    devices.extend((boot != Boot::Microvm).then_some(socket));
    devices
}

fn accelerators(arch: Arch) -> Vec<Part> {
    vec![
        part(When::Kvm, "On the host's processor.", KVM.iter().map(|arg| word(arg)).collect()),
        part(When::Tcg, "By emulation.", ["-accel", "tcg", "-cpu", Board::of(arch).tcg_cpu].map(word).into()),
    ]
}

fn kernel(profile: &Profile, kernel: String) -> Vec<Part> {
    let file = |option: &'static str, file: String| vec![word(option), vec![Piece::File(file)]];
    let why = "The kernel, which has its command line built in.";
    let mut parts = vec![part(When::Always, why, file("-kernel", kernel))];
    let initramfs = initramfs(profile);
    parts.extend(initramfs.map(|path| part(When::Always, "The root file system, in memory.", file("-initrd", path))));
    parts.push(part(
        When::Append,
        "Words for the kernel's command line.",
        vec![word("-append"), vec![Piece::CommandLine]],
    ));
    parts
}

fn firmware() -> Vec<Part> {
    let flash = |options: &'static str, piece: Piece| vec![word("-drive"), vec![text(options), piece]];
    vec![
        part(
            When::Always,
            "The firmware's code.",
            flash("if=pflash,unit=0,format=raw,readonly=on,file=", Piece::Firmware),
        ),
        part(
            When::Always,
            "Its variables, which it writes to.",
            flash("if=pflash,unit=1,format=raw,file=", Piece::Variables),
        ),
    ]
}

fn wishes(disk: bool) -> Vec<Part> {
    let gdb = format!("tcp:127.0.0.1:{GDB_PORT}");
    // Nothing is written to it, so another machine may have it.
    let unlocked: &[&str] = if disk { &["-set", "drive.disk.file.locking=off"] } else { &[] };
    let snapshot = ["-snapshot"].iter().chain(unlocked).map(|arg| word(arg)).collect();
    vec![
        part(When::Snapshot, "Nothing that the guest writes is kept.", snapshot),
        part(
            When::Gdb,
            "On the loopback address alone: whoever reaches the port owns the guest.",
            vec![word("-gdb"), vec![Piece::Text(gdb.into())], word("-S")],
        ),
    ]
}

fn part(when: When, why: &'static str, args: Vec<Vec<Piece>>) -> Part {
    Part { when, why, args }
}

fn always(why: &'static str, args: &[&'static str]) -> Part {
    part(When::Always, why, args.iter().map(|arg| word(arg)).collect())
}

fn word(text: &'static str) -> Vec<Piece> {
    vec![Piece::Text(text.into())]
}

fn text(text: &'static str) -> Piece {
    Piece::Text(text.into())
}
