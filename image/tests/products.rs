//! Kinds of product that no profile of the project is yet, from the profiles below `tests/profiles`: a kernel with its root
//! inside, as EFI program and as CD, and a kernel with its root beside it. For the host's architecture.

mod common;

use anyhow::{Context as _, Result, ensure};
use build_support::{Arch, Dirs, fs};
use common::guest::{Guest, Start};
use common::outputs::{Outputs, check_with};
use common::{elf, slots};
use system::Profile;

/// Builds a profile and boots it in each of its ways. Nothing for tests of another architecture.
fn boot_in_every_way(name: &str) -> Result<Option<Outputs>> {
    let (arch, dirs) = (Arch::host()?, Dirs::find()?);
    let path = dirs.root.join(format!("image/tests/profiles/{name}.toml")).display().to_string();
    let Some(outputs) = Outputs::of(arch, &path)? else { return Ok(None) };
    let profile = Profile::read(&dirs, &path)?;
    ensure!(!profile.boots(arch).is_empty(), "{name} does not boot");
    // The tests of network boot are in netboot.rs.
    for boot in profile.boots(arch).into_iter().filter(|boot| !boot.is_by_network()) {
        let _slot = slots::one();
        let log = format!("{name}-{}", boot.name());
        let mut guest = Guest::boot(&outputs, &Start { boot: Some(boot), ..Start::new(&log, &path) })?;
        let root = guest.run("awk '$2 == \"/\" { print $3 }' /proc/mounts")?;
        ensure!(["rootfs", "tmpfs"].contains(&root.as_str()), guest.failure(&format!("the root is of type {root}")));
        guest.run("touch /root/written && [ -c /dev/console ] && ! grep -q root= /proc/cmdline")?;
        guest.power_off()?;
    }
    Ok(Some(outputs))
}

#[test]
fn one_efi_program_is_a_whole_system() -> Result<()> {
    let Some(outputs) = boot_in_every_way("one-file")? else { return Ok(()) };
    let program = fs::read(outputs.file("one-file.efi")?)?;
    ensure!(program.starts_with(b"MZ"), "one-file.efi is no EFI program");
    // Nothing that the profile did not ask for lies beside it.
    for name in ["one-file.img", "one-file/rootfs.tar.zst", "one-file/oci", "one-file/debug"] {
        ensure!(!outputs.dir.join(name).exists(), "the build left {name}");
    }
    Ok(())
}

#[test]
fn a_cd_is_a_whole_system() -> Result<()> {
    let Some(outputs) = boot_in_every_way("cd")? else { return Ok(()) };
    let cd = outputs.file("cd.iso")?.display().to_string();
    let report = check_with("xorriso", &["-indev", &cd, "-report_el_torito", "plain"])?;
    ensure!(report.lines().any(|line| line.contains("UEFI")), "the CD has no boot image for UEFI:\n{report}");
    Ok(())
}

#[test]
fn a_kernel_takes_the_root_that_lies_beside_it() -> Result<()> {
    let Some(outputs) = boot_in_every_way("beside")? else { return Ok(()) };
    check_with("zstd", &["-q", "-t", &outputs.file("beside/initramfs.cpio.zst")?.display().to_string()])?;
    // The entry by which Firecracker and QEMU's microvm start an ELF file (XEN_ELFNOTE_PHYS32_ENTRY, 18).
    let path = outputs.file("beside/kernel.elf")?;
    let kernel = fs::read(&path)?;
    let note = [4u32.to_le_bytes(), 8u32.to_le_bytes(), 18u32.to_le_bytes(), *b"Xen\0"].concat();
    let header = elf::read(&path)?.context("kernel.elf is no ELF file")?;
    ensure!(header.machine == outputs.arch.elf_machine(), "{header:?}");
    ensure!(!kernel.windows(8).any(|window| window == b".symtab\0"), "kernel.elf is not stripped");
    ensure!(kernel.windows(note.len()).any(|window| window == note), "kernel.elf has no PVH entry");
    Ok(())
}
