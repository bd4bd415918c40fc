//! Whole disks, checked and read with sgdisk, fsck.fat, e2fsck and qemu-img.

mod common;

use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use build_support::{Arch, Cmd};
use common::{pattern, run, scratch, text, tree};
use disk::efi::ESP_SIZE;
use disk::ext4::Ext4;
use disk::fat::Fat;
use disk::gpt::Sector;
use disk::image::{Content, Disk, Partition, Size};
use disk::oci::{Image, Layer};
use disk::{Compression, DiskIds, EfiDisk, Format, MIB, Tree, Uuid};
use fs_err as fs;

const SIZE: u64 = 160 * MIB;

fn write(tree: &Tree, size: u64, arch: Arch, dir: &Path) -> anyhow::Result<PathBuf> {
    let kernel = dir.join("kernel");
    fs::create_dir_all(dir)?;
    fs::write(&kernel, pattern(3_300_000))?;
    let out = dir.join("out/full.img");
    EfiDisk {
        arch,
        kernel: &kernel,
        root: Some(tree),
        size,
        sector: Sector::Small,
        ids: DiskIds::of("test"),
        bios: None,
    }
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
    let guids = DiskIds::of("test");
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
fn a_kernel_with_its_root_inside_has_the_disk_for_itself() {
    let (_keep, dir) = scratch();
    let kernel = dir.join("kernel");
    fs::write(&kernel, pattern(3_300_000)).unwrap();
    let disk = EfiDisk {
        arch: Arch::Arm64,
        kernel: &kernel,
        root: None,
        size: 40 * MIB,
        sector: Sector::Small,
        ids: DiskIds::of("test"),
        bios: None,
    };
    let image = dir.join("disk.img");
    disk.write(&image, &dir.join("work")).unwrap();
    let verdict = run("sgdisk", &["-v", text(&image)]);
    assert!(verdict.contains("No problems found"), "{verdict}");
    let esp = dir.join("esp");
    assert!(partition(&image, 1, &esp).to_lowercase().contains("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"));
    assert_eq!(fs::metadata(&esp).unwrap().len(), 38 * MIB, "the tables of GPT take a MiB at each end");
    run("fsck.fat", &["-n", text(&esp)]);
    assert!(
        run("sgdisk", &["-p", text(&image)]).lines().last().unwrap().trim().starts_with("1 "),
        "it has a second one"
    );
}

/// sgdisk knows 512 bytes alone for a file; the numbers are at the places of UEFI 2.10, table 5.5 and 5.6.
#[test]
fn a_disk_with_large_sectors_counts_by_them() {
    let (_keep, dir) = scratch();
    let kernel = dir.join("kernel");
    fs::write(&kernel, pattern(3_300_000)).unwrap();
    let (tree, image) = (tree(&dir.join("host")), dir.join("disk.img"));
    let ids = DiskIds::of("test");
    let (arch, root, sector) = (Arch::X86_64, Some(&tree), Sector::Large);
    for size in [SIZE, 600 * MIB] {
        let esp_size = if size == SIZE { ESP_SIZE } else { 300 * MIB };
        let disk = EfiDisk { arch, kernel: &kernel, root, size, sector, ids: ids.clone(), bios: None };
        disk.write(&image, &dir.join("work")).unwrap();
        let bytes = fs::read(&image).unwrap();
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        assert_eq!((&bytes[4096..4104], &bytes[512..520]), (&b"EFI PART"[..], &[0; 8][..]));
        assert_eq!((number(4096 + 24), number(4096 + 32), number(4096 + 72)), (1, size / 4096 - 1, 2));
        assert_eq!(&bytes[bytes.len() - 4096..][..8], b"EFI PART");
        let parts: Vec<_> = [8192, 8192 + 128].iter().map(|at| (number(at + 32), number(at + 40))).collect();
        assert_eq!(parts[0], (256, 256 + ESP_SIZE / 4096 - 1));
        assert_eq!(parts[1].0, 256 + ESP_SIZE / 4096);
        let (esp, root) = (dir.join("esp"), dir.join("root"));
        let of = |(first, last): (u64, u64)| &bytes[first as usize * 4096..(last as usize + 1) * 4096];
        fs::write(&esp, of(parts[0])).unwrap();
        fs::write(&root, of(parts[1])).unwrap();
        assert_eq!(&fs::read(&esp).unwrap()[11..13], &4096u16.to_le_bytes());
        run("fsck.fat", &["-n", text(&esp)]);
        run("e2fsck", &["-fn", text(&root)]);
        fs::remove_file(&image).unwrap();
        // From 264 MiB on it is FAT32, whose directories are mended.
        let files = vec![("EFI/BOOT/BOOTX64.EFI".to_string(), disk::Content::Host(kernel.clone()))];
        let fat = Fat { size: esp_size, sector, volume_id: 1, label: "LARGE", files };
        fat.write(&esp).unwrap();
        run("fsck.fat", &["-n", text(&esp)]);
        fs::remove_file(&esp).unwrap();
    }
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

/// A BIOS finds its loader around the tables of GPT, which stay as they are.
#[test]
fn a_bios_loader_lies_in_front_of_the_partitions() {
    let (_keep, dir) = scratch();
    let kernel = dir.join("kernel");
    fs::write(&kernel, pattern(3_300_000)).unwrap();
    fs::write(dir.join("mbr.bin"), [0x90; 100]).unwrap();
    let mut second = vec![0x90; 4000];
    second[8..12].copy_from_slice(b"BLMY");
    fs::write(dir.join("second.bin"), second).unwrap();
    let bios = Some(disk::BiosLoader::read(&dir).unwrap());
    let ids = DiskIds::of("test");
    let volume_id = ids.volume_id;
    let disk =
        EfiDisk { arch: Arch::X86_64, kernel: &kernel, root: None, size: 40 * MIB, sector: Sector::Small, ids, bios };
    let image = dir.join("disk.img");
    disk.write(&image, &dir.join("work")).unwrap();
    assert!(run("sgdisk", &["-v", text(&image)]).contains("No problems found"));
    let bytes = fs::read(&image).unwrap();
    assert_eq!((bytes[0], bytes[100], &bytes[432..436]), (0x90, 0, &[40, 0, 0, 0][..]));
    assert_eq!((bytes[450], &bytes[510..520]), (0xee, &b"\x55\xaaEFI PART"[..]));
    let second = &bytes[20_480..];
    assert_eq!(second[8..20], *b"BLMY\x28\0\0\0\0\x08\0\0");
    assert_eq!(second[20..28], [volume_id.to_le_bytes(), [0; 4]].concat());
    assert_eq!(second[28..62], *b"EFI        BOOT       BOOTX64 EFI\0");
    // The serial number of FAT32, by which the loader knows the file system.
    assert_eq!(bytes[(1 << 20) + 67..][..4], volume_id.to_le_bytes());
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
fn two_builds_give_the_same_disk_in_every_format() {
    let (_keep, dir) = scratch();
    let (one, two) = (dir.join("one"), dir.join("a second, longer name"));
    let build = |dir: &Path| {
        let image = write(&tree(&dir.join("host")), SIZE, Arch::X86_64, dir).unwrap();
        let converted = Format::ALL.map(|format| {
            let out = dir.join("out/full").with_extension(format.name());
            disk::convert(&image, format, &out).unwrap();
            out
        });
        (image, converted)
    };
    let first = build(&one);
    std::thread::sleep(std::time::Duration::from_millis(2100)); // FAT counts in steps of two seconds.
    let second = build(&two);
    assert!(fs::read(&first.0).unwrap() == fs::read(&second.0).unwrap(), "two disks differ");
    for (first, second) in first.1.iter().zip(&second.1) {
        let name = first.display();
        assert!(fs::read(first).unwrap() == fs::read(second).unwrap(), "{name} differs from its second build");
    }
}

#[test]
fn every_format_holds_the_disk() {
    let (_keep, dir) = scratch();
    let image = write(&tree(&dir.join("host")), SIZE, Arch::X86_64, &dir).unwrap();
    // Another disk, in which one byte differs.
    let other = dir.join("other");
    fs::copy(&image, &other).unwrap();
    fs::File::options().write(true).open(&other).unwrap().file().write_all_at(b"x", SIZE / 2).unwrap();
    for format in Format::ALL {
        let (file, second) = (dir.join(format!("full.{}", format.name())), dir.join("second"));
        disk::convert(&image, format, &file).unwrap();
        let before = fs::read(&file).unwrap();
        if format != Format::Vmdk {
            let verdict = run("qemu-img", &["check", "-f", format.name(), text(&file)]);
            assert!(verdict.contains("No errors were found"), "{verdict}");
        }
        let compare = ["compare", "-f", "raw", "-F", format.name(), text(&image), text(&file)];
        assert_eq!(run("qemu-img", &compare).trim(), "Images are identical.");
        assert!(
            Cmd::new("qemu-img")
                .args(compare.map(|arg| if arg == text(&image) { text(&other) } else { arg }))
                .run("compare")
                .is_err()
        );
        assert!(fs::read(&file).unwrap() == before, "a reader changed it");
        assert!(fs::metadata(&file).unwrap().blocks() * 512 < 32 * MIB, "{} has no holes", file.display());
        disk::convert(&other, format, &second).unwrap();
        let ids = [&file, &second].map(|file| identifiers(format, &fs::read(file).unwrap()));
        assert!(ids[0].is_empty() || ids[0] != ids[1], "two disks have the same identifiers");
    }
}

/// The bytes by which a hypervisor tells disks apart.
fn identifiers(format: Format, bytes: &[u8]) -> Vec<u8> {
    match format {
        Format::Qcow2 => Vec::new(),
        Format::Vdi => bytes[0x188..0x1a8].to_vec(),
        Format::Vhdx => bytes[(64 << 10) + 16..(64 << 10) + 48].to_vec(),
        Format::Vmdk => {
            let text = String::from_utf8_lossy(&bytes[..65536]).into_owned();
            text.lines().find_map(|line| line.strip_prefix("CID=")).unwrap().as_bytes().to_vec()
        }
    }
}

/// A product of its own: a boot partition with several files, a raw one, two file systems, and one that is empty.
#[test]
fn a_disk_of_other_partitions_passes_every_checker() {
    let (_keep, dir) = scratch();
    let tree = tree(&dir.join("host"));
    let raw = dir.join("raw");
    fs::write(&raw, pattern(1_500_000)).unwrap();
    fs::write(dir.join("loader"), pattern(700_000)).unwrap();
    let id = |number: u128| Uuid::from_u128(0x0123_4567_89ab_4def_8123_0000_0000_0000 + number);
    let kind = Uuid::from_u128(0x0FC6_3DAF_8483_4772_8E79_3D69_D847_7DE4);
    let files = vec![
        ("EFI/BOOT/BOOTX64.EFI".to_string(), disk::Content::Host(dir.join("loader"))),
        ("EFI/Linux/second.efi".into(), disk::Content::Host(raw.clone())),
        ("loader/menu.txt".into(), disk::Content::Bytes(b"timeout 3\n".to_vec())),
        ("readme.txt".into(), disk::Content::Bytes(Vec::new())),
    ];
    let empty = Tree::new();
    let part = |number, name, size, content| Partition { name, kind, guid: id(number), size, content };
    let partitions = vec![
        part(1, "raw", Size::Bytes(2 * MIB), Content::File(&raw)),
        part(2, "boot", Size::Bytes(300 * MIB), Content::Fat { label: "BOOT", volume_id: 7, files: files.clone() }),
        part(3, "root", Size::Rest, Content::Ext4 { label: "root", uuid: id(30), tree: &tree }),
        part(4, "small", Size::Bytes(4 * MIB), Content::Fat { label: "", volume_id: 8, files: files[2..].to_vec() }),
        part(5, "state", Size::Bytes(16 * MIB), Content::Ext4 { label: "state", uuid: id(50), tree: &empty }),
        part(6, "swap", Size::Bytes(8 * MIB), Content::Empty),
    ];
    let image = dir.join("disk.img");
    Disk { size: 400 * MIB, id: id(0), sector: Sector::Small, partitions, bios: None }
        .write(&image, &dir.join("work"))
        .unwrap();
    assert!(run("sgdisk", &["-v", text(&image)]).contains("No problems found"));
    assert_eq!(fs::read_dir(dir.join("work")).unwrap().count(), 0, "files on the way were left");
    let parts: Vec<PathBuf> = (1..=6).map(|number| dir.join(format!("part-{number}"))).collect();
    for (number, part) in (1..).zip(&parts) {
        let info = partition(&image, number, part);
        assert!(info.to_lowercase().contains(&id(number.into()).to_string()), "{info}");
    }
    let bytes = fs::read(&parts[0]).unwrap();
    assert!(bytes[..1_500_000] == pattern(1_500_000) && bytes[1_500_000..].iter().all(|byte| *byte == 0));
    for (number, kind) in [(1, fatfs::FatType::Fat32), (3, fatfs::FatType::Fat12)] {
        run("fsck.fat", &["-n", text(&parts[number])]);
        let volume = fatfs::FileSystem::new(fs::File::open(&parts[number]).unwrap(), fatfs::FsOptions::new()).unwrap();
        assert_eq!(volume.fat_type(), kind);
        for (path, content) in if number == 1 { &files[..] } else { &files[2..] } {
            let mut bytes = Vec::new();
            let file = volume.root_dir().open_file(path);
            file.unwrap_or_else(|error| panic!("{path} of partition {}: {error}", number + 1))
                .read_to_end(&mut bytes)
                .unwrap();
            let want = match content {
                disk::Content::Host(host) => fs::read(host).unwrap(),
                disk::Content::Bytes(bytes) => bytes.clone(),
            };
            assert!(bytes == want, "{path} differs");
        }
    }
    for part in [&parts[2], &parts[4]] {
        run("e2fsck", &["-fn", text(part)]);
    }
}

/// fatfs writes a wrong `..` into every directory of the root, wherever it is in the chain of the root's clusters.
#[test]
fn many_directories_in_a_root_are_right() {
    let (_keep, dir) = scratch();
    let files = (0..100).map(|i| (format!("dir{i}/sub/file"), disk::Content::Bytes(b"x".to_vec()))).collect();
    let out = dir.join("fat");
    Fat { size: 36 * MIB, sector: Sector::Small, volume_id: 1, label: "many", files }.write(&out).unwrap();
    run("fsck.fat", &["-n", text(&out)]);
}

#[test]
fn a_disk_that_is_too_small_names_the_size_that_will_do() {
    let (_keep, dir) = scratch();
    let mut tree = Tree::new();
    fs::write(dir.join("big"), pattern(30 << 20)).unwrap();
    tree.file("big", &dir.join("big"), 0o644, "one").unwrap();
    let error = format!("{:#}", write(&tree, 90 * MIB, Arch::X86_64, &dir).unwrap_err());
    assert!(error.contains("the disk of 90 MiB leaves 24 MiB") && error.contains("hint: raise"), "{error}");
    let wanted: u64 = error.split("disk size to ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    write(&tree, wanted * MIB, Arch::X86_64, &dir).unwrap();
    let error = format!("{:#}", write(&tree, 40 * MIB, Arch::X86_64, &dir).unwrap_err());
    assert!(error.contains("no room for the partition `root`") && error.contains("to 67 MiB"), "{error}");
}

#[test]
fn files_that_a_fat_file_system_cannot_hold_are_refused() {
    let (_keep, dir) = scratch();
    let kernel = dir.join("kernel");
    fs::write(&kernel, pattern(40 << 20)).unwrap();
    let host = |path: &str| (path.to_string(), disk::Content::Host(kernel.clone()));
    let fat =
        |size, label, files| Fat { size, sector: Sector::Small, volume_id: 1, label, files }.write(&dir.join("fat"));
    for (result, part) in [
        (
            fat(36 * MIB, "A", vec![host("EFI/x")]),
            "cannot put EFI/x on a FAT file system of 36 MiB, whose files have 41 MiB",
        ),
        (fat(64 * MIB, "A", vec![host("a/B"), host("A/b")]), "two files of a FAT file system have one name"),
        (fat(64 * MIB, "twelve chars", Vec::new()), "cannot be the label"),
        (fat(64 * MIB, "A", vec![host("a?b")]), "`a?b` in a?b cannot be a name"),
        (fat(64 * MIB, "A", vec![host("loader/loader.conf")]), "`loader.conf` in loader/loader.conf"),
        (fat(64 * MIB, "A", vec![host("initramfs")]), "hint: use eight letters"),
        (fat(100, "A", Vec::new()), "at least 65536 bytes"),
    ] {
        let error = format!("{:#}", result.unwrap_err());
        assert!(error.contains(part), "`{part}` is not in: {error}");
        assert!(!dir.join("fat").exists());
    }
}

#[test]
fn identifiers_follow_from_the_name() {
    let guids = DiskIds::of("full x86_64");
    assert_eq!(guids, DiskIds::of("full x86_64"));
    assert_ne!(guids.root, DiskIds::of("base x86_64").root);
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
    let container = Image {
        arch: Arch::X86_64,
        name: "x",
        tag: "y",
        version: "1",
        licences: "MIT",
        layers: &layers,
        stop_signal: None,
    };
    let kernel = roomy.join("big");
    let disk = EfiDisk {
        arch: Arch::X86_64,
        kernel: &kernel,
        root: Some(&tree),
        size: SIZE,
        sector: Sector::Small,
        ids: DiskIds::of("test"),
        bios: None,
    };
    let ext4 = Ext4 { uuid: DiskIds::of("test").root_fs, label: "small", size: 64 * MIB };
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
