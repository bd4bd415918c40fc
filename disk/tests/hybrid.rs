//! Hybrid images, checked and read with xorriso, fsck.fat and mtools.

mod common;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use common::{pattern, run, scratch, text};
use disk::hybrid::{KERNEL, SETTINGS, VOLUME};
use disk::{BiosLoader, Content, Hybrid};
use fs_err as fs;

/// More than the root of a FAT file system and a piece of a loader have.
const KERNEL_SIZE: usize = 3_300_001;

fn loader(dir: &Path) -> BiosLoader {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("mbr.bin"), [0x90; 200]).unwrap();
    let mut second = vec![0x90; 3000];
    second[8..12].copy_from_slice(b"BLMY");
    fs::write(dir.join("second.bin"), second).unwrap();
    BiosLoader::read(dir).unwrap()
}

fn hybrid(bios: Option<BiosLoader>) -> Hybrid {
    let file = |name: &str, bytes: Vec<u8>| (name.to_string(), Content::Bytes(bytes));
    let files = vec![
        file(KERNEL, pattern(KERNEL_SIZE)),
        file("EFI/BOOT/BOOTX64.EFI", pattern(5000)),
        file(SETTINGS, b"hostname = box\n".to_vec()),
    ];
    Hybrid { volume_id: 0x1234_5678, files, free: 64 << 10, bios, settings: true, slots: None }
}

/// The image, and its file system alone.
fn write(dir: &Path, bios: bool) -> (PathBuf, PathBuf) {
    let (image, volume) = (dir.join("image.iso"), dir.join("volume"));
    hybrid(bios.then(|| loader(&dir.join("loader")))).write(&image).unwrap();
    fs::write(&volume, &fs::read(&image).unwrap()[VOLUME as usize..]).unwrap();
    (image, volume)
}

#[test]
fn xorriso_reads_both_ways_to_boot() {
    let (_keep, dir) = scratch();
    let (image, _) = write(&dir, true);
    let report = run("sh", &["-c", &report(&image)]);
    let lines: Vec<&str> = report.lines().collect();
    let has =
        |part: &str| lines.iter().any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").contains(part));
    assert!(has("El Torito boot img : 1 BIOS y none 0x0000 0x00 4 2"), "{report}");
    assert!(has("El Torito boot img : 2 UEFI y none 0x0000 0x00"), "{report}");
    assert!(has("MBR partition : 1 0x80 0xef 96"), "{report}");
    assert!(has("'/KERNEL.EFI'") && !report.contains("SORRY") && !report.contains("FAILURE"), "{report}");

    let (image, _) = write(&dir, false);
    let report = run("sh", &["-c", &self::report(&image)]);
    assert!(report.contains("UEFI") && !report.contains(" BIOS "), "{report}");
}

/// xorriso says what it found on both streams.
fn report(image: &Path) -> String {
    format!(
        "xorriso -indev '{}' -report_el_torito plain -report_system_area plain -find / -exec report_lba -- 2>&1",
        image.display()
    )
}

/// The kernel is the same bytes for who reads ISO 9660.
#[test]
fn the_cd_lists_the_kernel() {
    let (_keep, dir) = scratch();
    let (image, _) = write(&dir, true);
    let out = dir.join("kernel");
    run("xorriso", &["-osirrox", "on", "-indev", text(&image), "-extract", "/KERNEL.EFI", text(&out)]);
    assert!(fs::read(out).unwrap() == pattern(KERNEL_SIZE));
}

#[test]
fn the_file_system_passes_its_checker_and_holds_its_files() {
    let (_keep, dir) = scratch();
    let (_, volume) = write(&dir, true);
    run("fsck.fat", &["-n", text(&volume)]);
    let opened = fatfs::FileSystem::new(fs::File::open(&volume).unwrap(), fatfs::FsOptions::new()).unwrap();
    assert_eq!(opened.fat_type(), fatfs::FatType::Fat12);
    assert_eq!(opened.volume_label_as_bytes(), b"BLOOMERY");
    assert!(opened.stats().unwrap().free_clusters() * opened.stats().unwrap().cluster_size() >= 64 << 10);
    for (path, size) in [(KERNEL, KERNEL_SIZE), ("EFI/BOOT/BOOTX64.EFI", 5000)] {
        let mut bytes = Vec::new();
        opened.root_dir().open_file(path).unwrap().read_to_end(&mut bytes).unwrap();
        assert!(bytes == pattern(size), "{path} differs");
    }
}

/// An editor writes a new file before it removes the old one.
#[test]
fn an_editor_has_room_for_a_second_copy() {
    let (_keep, dir) = scratch();
    let (_, volume) = write(&dir, true);
    let edited = dir.join("edited");
    fs::write(&edited, vec![b'#'; 16 << 10]).unwrap();
    for name in ["::/BLOOMERY.NEW", "::/BLOOMERY.TXT"] {
        run("mcopy", &["-o", "-i", text(&volume), text(&edited), name]);
    }
    run("fsck.fat", &["-n", text(&volume)]);
    let read = run("mtype", &["-i", text(&volume), "::/BLOOMERY.TXT"]);
    assert_eq!(read.trim_end().len(), 16 << 10);
}

#[test]
fn the_same_files_give_the_same_bytes() {
    let (_keep, dir) = scratch();
    let first = fs::read(write(&dir.join("a"), true).0).unwrap();
    assert!(first == fs::read(write(&dir.join("b"), true).0).unwrap());
    assert!(first.len() < KERNEL_SIZE + (192 << 10), "{} bytes around the kernel", first.len() - KERNEL_SIZE);
}

/// Sizes of FAT12 and FAT16, and clusters of more than 4 KiB.
#[test]
fn large_images_pass_the_checker() {
    let (_keep, dir) = scratch();
    for (size, kind) in [(17 << 20, fatfs::FatType::Fat16), (300 << 20, fatfs::FatType::Fat16)] {
        let mut image = hybrid(None);
        let kernel = dir.join("kernel");
        fs::File::create(&kernel).unwrap().set_len(size).unwrap();
        image.files[0].1 = Content::Host(kernel);
        let (out, volume) = (dir.join("large"), dir.join("volume"));
        image.write(&out).unwrap();
        run(
            "dd",
            &["status=none", "bs=4096", "skip=12", &format!("if={}", text(&out)), &format!("of={}", text(&volume))],
        );
        run("fsck.fat", &["-n", text(&volume)]);
        let opened = fatfs::FileSystem::new(fs::File::open(&volume).unwrap(), fatfs::FsOptions::new()).unwrap();
        assert_eq!(opened.fat_type(), kind);
    }
}
