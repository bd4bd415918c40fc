//! The root file system on its disk: it is this disk's own, of any size of sectors, in order or not, or does not come at all.

mod common;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use build_support::{Arch, Dirs, fs};
use common::disk::root_file_system;
use common::guest::{Guest, Start, extra};
use common::outputs::{Outputs, check_with};
use common::slots;
use system::machine::{Accelerator, Options};
use system::profile::Boot;

for_each_arch! {
    disks_with_one_identity_are_named, a_root_with_errors_is_said_and_checked, a_root_that_does_not_come_is_named,
    a_disk_has_large_sectors,
}

/// Seconds that a guest may be silent while its kernel waits for the root.
const WAIT: f64 = 60.0;

fn boot(outputs: &Outputs, name: &str, append: &str, qemu: &[&str]) -> Result<Guest> {
    Guest::boot(outputs, &Start { options: options(append, qemu), ..Start::new(name, "base") })
}

fn options(append: &str, qemu: &[&str]) -> Options {
    let extra = extra(&[&["-no-reboot"], qemu].concat());
    Options { accelerator: Accelerator::Tcg, append: append.into(), snapshot: true, extra, ..Options::default() }
}

/// A second disk of the machine.
fn second(file: &Path) -> Vec<String> {
    let drive = format!("if=none,id=second,format=raw,snapshot=on,file={}", file.display());
    ["-drive", &drive, "-device", "virtio-blk-pci,drive=second"].map(String::from).to_vec()
}

fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// A copy has the identity of its original, and init says which one is the root.
fn disks_with_one_identity_are_named(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let _slot = slots::one();
    let second = second(&outputs.file("base.img")?);
    let mut guest = boot(&outputs, "root-equal", "", &words(&second))?;
    let equal = "have the same by-partuuid/";
    ensure!(guest.console.shows(equal) && guest.console.shows("; the root is vd"), guest.failure("nothing is said"));
    guest.run("[ $(ls /dev/disk/equal | grep -c ^by-partuuid:) = 2 ] && dmesg | grep -q 'init: .*have the same'")?;
    // What the kernel says of itself is what it was started with.
    guest.run("zcat /proc/config.gz | grep -qF \"CMDLINE=\\\"$(sed 's/ quiet.*//' /proc/cmdline) quiet\"")?;
    guest.power_off().map(drop)
}

/// A disk whose file system records errors, as the kernel leaves one in which it found some.
fn faulty(outputs: &Outputs, dir: &Path) -> Result<PathBuf> {
    let (from, disk) = (outputs.file("base.img")?, dir.join("faulty.img"));
    check_with("cp", &["--sparse=always", &from.display().to_string(), &disk.display().to_string()])?;
    check_with("debugfs", &["-w", "-R", "set_super_value state 3", &root_file_system(&disk)?])?;
    Ok(disk)
}

/// fsck.ext4 stands in for e2fsck, whose answers are those of fsck(8).
fn a_root_with_errors_is_said_and_checked(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let disk = faulty(&outputs, dir.path())?;
    let _slot = slots::one();
    // The kernel's own disk is left out: the faulty copy has the same root.
    let start = |name: &str, append: &str| -> Result<Guest> {
        let file = format!("drive.disk.file={}", disk.display());
        boot(&outputs, name, append, &["-set", "drive.disk.format=raw", "-set", &file])
    };
    let mut guest = start("root-faulty", "")?;
    ensure!(guest.console.shows("is not in order: its superblock records errors"), guest.failure("nothing is said"));
    guest.run("dmesg | grep -q 'init: the root .* is not in order' && grep -q ' / ext4 rw' /proc/mounts")?;
    guest.power_off()?;
    let mut guest = start("root-read-only", "init.ro-if-faulty")?;
    guest.run("grep -q ' / ext4 ro' /proc/mounts")?;
    guest.power_off()?;
    let place = root_file_system(&disk)?;
    for (status, said, mount) in [("1", "repaired the root", "rw"), ("4", "did not repair the root", "ro")] {
        let script = dir.path().join("fsck");
        fs::write(&script, format!("#!/bin/sh\necho CHECKED \"$@\"\nexit {status}\n"))?;
        let commands = dir.path().join("commands");
        let list = "rm usr/bin/fsck.ext4\nwrite SCRIPT usr/bin/fsck.ext4\nset_inode_field usr/bin/fsck.ext4 mode 0100755\n\
                    set_super_value state 3\n";
        fs::write(&commands, list.replace("SCRIPT", &script.display().to_string()))?;
        check_with("debugfs", &["-w", "-f", &commands.display().to_string(), &place])?;
        let mut guest = start("root-checked", "init.ro-if-faulty")?;
        ensure!(guest.console.shows("CHECKED -a /dev/vda2"), guest.failure("the root was not checked"));
        ensure!(guest.console.shows(said), guest.failure(&format!("`{said}` is not said")));
        guest.run(&format!("grep -q ' / ext4 {mount}' /proc/mounts"))?;
        guest.power_off()?;
    }
    Ok(())
}

/// The kernel says what it waited for and which disks there are, and then panics.
fn a_root_that_does_not_come_is_named(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let _slot = slots::one();
    // Without the level that x86_64 has built in, arm64 hides the list.
    let append = "root=PARTUUID=00000000-1111-2222-3333-444444444444 rootwait=2 loglevel=5 panic=1";
    let start = Start { options: options(append, &[]), ..Start::new("root-missing", "base") };
    let mut guest = Guest::start(&outputs, &start)?;
    // A panic ends every wait with an error, and may come in one piece with what is waited for.
    let panic = "Kernel panic - not syncing: VFS: Unable to mount root fs";
    let waited = guest.until("the panic", WAIT, |console| console.shows(panic));
    if !guest.console.shows("List of all bdev filesystems") {
        waited?;
    }
    for said in ["PARTUUID=00000000-1111-2222-3333-444444444444", "here are the available partitions", "vda2"] {
        ensure!(guest.console.shows(said), guest.failure(&format!("`{said}` is not said")));
    }
    Ok(())
}

/// Firmware finds the table and its file system, and the kernel its root.
fn a_disk_has_large_sectors(arch: Arch) -> Result<()> {
    let path = Dirs::find()?.root.join("image/tests/profiles/large-sectors.toml").display().to_string();
    let Some(outputs) = Outputs::of(arch, &path)? else { return Ok(()) };
    let _slot = slots::one();
    for boot in [Boot::Uefi, Boot::Kernel] {
        let name = format!("root-large-{}", boot.name());
        let start = Start { boot: Some(boot), options: options("", &[]), ..Start::new(&name, &path) };
        let mut guest = Guest::boot(&outputs, &start)?;
        guest.run("[ $(cat /sys/block/vda/queue/logical_block_size) = 4096 ] && grep -q ' / ext4 rw' /proc/mounts")?;
        guest.run("mount -o ro /dev/vda1 /mnt && ls /mnt/EFI/BOOT/BOOT*.EFI && umount /mnt")?;
        guest.power_off()?;
    }
    Ok(())
}
