//! Whole disks, checked and read with sgdisk, fsck.fat, e2fsck and qemu-img.

mod common;

use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use build_support::{Arch, Cmd};
use common::{pattern, run, scratch, text, tree};
use disk::ext4::Ext4;
use disk::image::ESP_SIZE;
use disk::oci::{Image, Layer};
use disk::{Compression, Disk, Guids, MIB, Tree};
use fs_err as fs;

const SIZE: u64 = 160 * MIB;

fn write(tree: &Tree, size: u64, arch: Arch, dir: &Path) -> anyhow::Result<PathBuf> {
    let kernel = dir.join("kernel");
    fs::create_dir_all(dir)?;
    fs::write(&kernel, pattern(3_300_000))?;
    let out = dir.join("out/full.img");
    Disk { arch, kernel: &kernel, root: tree, size, guids: Guids::of("test") }
        .write(&out, &dir.join("work"))
        .map(|()| out)
}

/// Takes a partition out, by the numbers that sgdisk reads from the table.
fn partition(image: &Path, number: u32, out: &Path) -> String {
    let info = run("sgdisk", &["-i", &number.to_string(), text(image)]);
    let sector = |name: &str| -> u64 {
        let line = info.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{info}"));
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let (first, last) = (sector("First sector: "), sector("Last sector: "));
    assert_eq!(first * 512 % MIB, 0, "{info}");
    assert_eq!((last + 1) * 512 % MIB, 0, "{info}");
    let mut file = fs::File::open(image).unwrap();
    file.seek(SeekFrom::Start(first * 512)).unwrap();
    let mut bytes = vec![0; ((last - first + 1) * 512) as usize];
    file.read_exact(&mut bytes).unwrap();
    fs::write(out, bytes).unwrap();
    info
}

#[test]
fn every_checker_accepts_the_disk() {
    let (_keep, dir) = scratch();
    let image = write(&tree(&dir.join("host")), SIZE, Arch::X86_64, &dir).unwrap();
    let verdict = run("sgdisk", &["-v", text(&image)]);
    assert!(verdict.contains("No problems found"), "{verdict}");
    let guids = Guids::of("test");
    let table = run("sgdisk", &["-p", text(&image)]);
    assert!(table.to_lowercase().contains(&format!("disk identifier (guid): {}", guids.disk)), "{table}");

    let (esp, root) = (dir.join("esp"), dir.join("root"));
    let info = partition(&image, 1, &esp).to_lowercase();
    assert!(info.contains("c12a7328-f81f-11d2-ba4b-00a0c93ec93b") && info.contains(&guids.esp.to_string()), "{info}");
    assert_eq!(fs::metadata(&esp).unwrap().len(), ESP_SIZE);
    run("fsck.fat", &["-n", text(&esp)]);

    let info = partition(&image, 2, &root).to_lowercase();
    let kind = Arch::X86_64.root_partition_type().to_lowercase();
    assert!(info.contains(&kind) && info.contains(&guids.root.to_string()), "{info}");
    run("e2fsck", &["-fn", text(&root)]);
    assert!(run("dumpe2fs", &["-h", text(&root)]).contains(&guids.root_fs.to_string()));

    assert!(fs::metadata(&image).unwrap().blocks() * 512 < 32 * MIB, "the disk has no holes");
    assert_eq!(fs::metadata(&image).unwrap().len(), SIZE);
    assert_eq!(fs::read_dir(dir.join("work")).unwrap().count(), 0, "files on the way were left");
}

#[test]
fn a_protective_mbr_covers_the_disk() {
    let (_keep, dir) = scratch();
    let image = write(&Tree::new(), SIZE, Arch::X86_64, &dir).unwrap();
    let mut sector = [0; 512];
    fs::File::open(&image).unwrap().read_exact(&mut sector).unwrap();
    // UEFI 2.10, table 5.4: type 0xEE from sector 1 to the end, signature 55 AA.
    assert_eq!((sector[450], &sector[454..458], &sector[510..]), (0xee, &[1u8, 0, 0, 0][..], &[0x55, 0xaa][..]));
    assert_eq!(u64::from(u32::from_le_bytes(sector[458..462].try_into().unwrap())), SIZE / 512 - 1);
    assert!(sector[..446].iter().all(|byte| *byte == 0), "there is boot code");
}

#[test]
fn firmware_finds_the_kernel_by_its_name() {
    for arch in Arch::ALL {
        let (_keep, dir) = scratch();
        let image = write(&Tree::new(), SIZE, arch, &dir).unwrap();
        let esp = dir.join("esp");
        partition(&image, 1, &esp);
        let volume = fatfs::FileSystem::new(fs::File::open(&esp).unwrap(), fatfs::FsOptions::new()).unwrap();
        assert_eq!(volume.fat_type(), fatfs::FatType::Fat32);
        let mut bytes = Vec::new();
        let path = format!("EFI/BOOT/{}", arch.efi_file());
        volume.root_dir().open_file(&path).unwrap().read_to_end(&mut bytes).unwrap();
        assert!(bytes == pattern(3_300_000), "{path} is not the kernel");
    }
}

#[test]
fn two_builds_give_the_same_disk_and_the_same_qcow2() {
    let (_keep, dir) = scratch();
    let (one, two) = (dir.join("one"), dir.join("a second, longer name"));
    let build = |dir: &Path| {
        let image = write(&tree(&dir.join("host")), SIZE, Arch::X86_64, dir).unwrap();
        let qcow2 = dir.join("out/full.qcow2");
        disk::qcow2::convert(&image, &qcow2).unwrap();
        (image, qcow2)
    };
    let first = build(&one);
    std::thread::sleep(std::time::Duration::from_millis(2100)); // FAT counts in steps of two seconds.
    let second = build(&two);
    assert!(fs::read(&first.0).unwrap() == fs::read(&second.0).unwrap(), "two disks differ");
    assert!(fs::read(&first.1).unwrap() == fs::read(&second.1).unwrap(), "two qcow2 files differ");
}

#[test]
fn the_qcow2_file_holds_the_disk() {
    let (_keep, dir) = scratch();
    let image = write(&tree(&dir.join("host")), SIZE, Arch::X86_64, &dir).unwrap();
    let qcow2 = dir.join("full.qcow2");
    disk::qcow2::convert(&image, &qcow2).unwrap();
    run("qemu-img", &["check", text(&qcow2)]);
    let verdict = run("qemu-img", &["compare", text(&image), text(&qcow2)]);
    assert_eq!(verdict.trim(), "Images are identical.");
    // A flipped byte in the disk is a difference.
    use std::os::unix::fs::FileExt as _;
    let file = fs::File::options().write(true).open(&image).unwrap();
    file.file().write_all_at(b"x", SIZE / 2).unwrap();
    assert!(Cmd::new("qemu-img").arg("compare").arg(&image).arg(&qcow2).run("compare").is_err());
}

#[test]
fn a_disk_that_is_too_small_names_the_size_that_will_do() {
    let (_keep, dir) = scratch();
    let mut tree = Tree::new();
    fs::write(dir.join("big"), pattern(30 << 20)).unwrap();
    tree.file("big", &dir.join("big"), 0o644, "one").unwrap();
    let error = format!("{:#}", write(&tree, 90 * MIB, Arch::X86_64, &dir).unwrap_err());
    assert!(error.contains("the profile's disk of 90 MiB leaves 24 MiB") && error.contains("hint: raise"), "{error}");
    let wanted: u64 = error.split("disk size to ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    write(&tree, wanted * MIB, Arch::X86_64, &dir).unwrap();
    let error = format!("{:#}", write(&tree, 40 * MIB, Arch::X86_64, &dir).unwrap_err());
    assert!(error.contains("no room for a root file system") && error.contains("above 67 MiB"), "{error}");
}

#[test]
fn a_kernel_that_is_too_large_for_its_partition_says_so() {
    let (_keep, dir) = scratch();
    let kernel = dir.join("kernel");
    fs::write(&kernel, pattern(40 << 20)).unwrap();
    let esp = disk::fat::Esp { arch: Arch::X86_64, kernel: &kernel, size: 36 * MIB, volume_id: 1 };
    let error = format!("{:#}", esp.write(&dir.join("esp")).unwrap_err());
    assert!(error.contains("cannot put the kernel of 41 MiB on an EFI system partition of 36 MiB"), "{error}");
    assert!(!dir.join("esp").exists());
}

#[test]
fn identifiers_follow_from_the_name() {
    let guids = Guids::of("full x86_64");
    assert_eq!(guids, Guids::of("full x86_64"));
    assert_ne!(guids.root, Guids::of("base x86_64").root);
    assert_ne!(guids.root, guids.esp);
    assert_eq!(guids.root.get_version_num(), 8);
}

/// Runs `on_a_small_disk` on a file system of 6 MiB, in a mount namespace of its own.
#[test]
fn a_full_disk_is_an_error_with_a_path_and_a_hint() {
    let (_keep, dir) = scratch();
    let script =
        "mount -t tmpfs -o size=6m none \"$SMALL\" && exec \"$TEST\" --exact on_a_small_disk --ignored --nocapture";
    let small = |script: &str| {
        let me = std::env::current_exe().unwrap();
        Cmd::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", script])
            .env("SMALL", &dir)
            .env("TEST", me)
            .read("test")
    };
    if small("mount -t tmpfs none \"$SMALL\"").is_err() {
        eprintln!("SKIPPED: this machine gives an ordinary user no mount namespace");
        return;
    }
    let output = small(script).unwrap();
    assert!(output.contains("1 passed"), "{output}");
}

#[test]
#[ignore = "a_full_disk_is_an_error_with_a_path_and_a_hint runs it"]
fn on_a_small_disk() {
    let dir = PathBuf::from(std::env::var_os("SMALL").unwrap());
    let mut tree = Tree::new();
    let (_keep, roomy) = scratch();
    fs::write(roomy.join("big"), pattern(10 << 20)).unwrap();
    tree.file("etc/big", &roomy.join("big"), 0o644, "one").unwrap();
    let layers = [Layer::write(&tree, &roomy.join("layer"), 1).unwrap()];
    let container = Image { arch: Arch::X86_64, name: "x", tag: "y", version: "1", licences: "MIT", layers: &layers };
    let kernel = roomy.join("big");
    let disk = Disk { arch: Arch::X86_64, kernel: &kernel, root: &tree, size: SIZE, guids: Guids::of("test") };
    let ext4 = Ext4 { uuid: Guids::of("test").root_fs, label: "small", size: 64 * MIB };
    let out = |name: &str| dir.join(name);
    for (name, result) in [
        ("root", tree.write_to_dir(&out("root"))),
        ("root.tar.zst", disk::tar::layer_zst(&tree, &out("root.tar.zst"), 1, true)),
        ("cpio", disk::cpio::write(&tree, &out("cpio"), Compression::None)),
        ("oci", container.write(&out("oci"))),
        ("root.ext4", ext4.write(&tree, &out("root.ext4"), &roomy)),
        ("full.img", disk.write(&out("full.img"), &roomy)),
    ] {
        let error = format!("{:#}", result.unwrap_err());
        for part in ["No space left on device", "hint: the disk is full", text(&out(name))] {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
        let left: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?} were left");
    }
}
