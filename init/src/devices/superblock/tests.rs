use super::*;
use std::process::Command;

const UUID: [u8; 16] = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0, 1, 2, 3, 4, 5, 6, 7];
const UUID_TEXT: &str = "01234567-89ab-cdef-0001-020304050607";

/// A device of zeros with some bytes in it.
fn device(parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut device = vec![0; HEAD];
    for (offset, bytes) in parts {
        device[*offset..*offset + bytes.len()].copy_from_slice(bytes);
    }
    device
}

fn reader(device: &[u8]) -> impl Fn(u64, usize) -> Vec<u8> + '_ {
    |offset, length| {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(device.len());
        device[start..start.saturating_add(length).min(device.len())].to_vec()
    }
}

fn look(device: &[u8]) -> Option<FileSystem> {
    identify(&device[..device.len().min(HEAD)], &reader(device))
}

fn is(device: &[u8], kind: &str, uuid: Option<&str>, label: Option<&str>) {
    let found = look(device).unwrap();
    assert_eq!((found.kind, found.uuid.as_deref(), found.label.as_deref()), (kind, uuid, label));
}

#[test]
fn ext2_to_ext4() {
    let parts: &[(usize, &[u8])] = &[(1024 + 0x38, &[0x53, 0xef]), (1024 + 0x68, &UUID), (1024 + 0x78, b"root")];
    let mut disk = device(parts);
    is(&disk, "ext2", Some(UUID_TEXT), Some("root"));
    disk[1024 + 0x5c] = 4;
    is(&disk, "ext3", Some(UUID_TEXT), Some("root"));
    disk[1024 + 0x60] = 0x40;
    is(&disk, "ext4", Some(UUID_TEXT), Some("root"));
    disk[1024 + 0x60] = 0x8;
    is(&disk, "jbd", Some(UUID_TEXT), Some("root"));
}

#[test]
fn what_a_file_system_records_of_itself() {
    let ext = |state: u8, compatible: u8, errors: u8| {
        let parts: &[(usize, &[u8])] =
            &[(1024 + 0x38, &[0x53, 0xef, state]), (1024 + 0x5c, &[compatible]), (1024 + 0x194, &[errors])];
        fault(&device(parts))
    };
    for (state, compatible, errors, expected) in [
        (1, 4, 0, None),
        (0, 4, 0, None), // Mounted when the power went; the journal has the rest.
        (3, 4, 0, Some(Fault::Errors)),
        (1, 4, 7, Some(Fault::Errors)),
        (1, 0, 0, None),
        (0, 0, 0, Some(Fault::NotUnmounted)),
    ] {
        assert_eq!(ext(state, compatible, errors), expected, "{state} {compatible} {errors}");
    }
    let fat = |mark: usize, name: &[u8], at: usize, state: u8| {
        fault(&device(&[(510, &[0x55, 0xaa]), (mark, name), (at, &[state])]))
    };
    assert_eq!((fat(82, b"FAT32   ", 65, 1), fat(82, b"FAT32   ", 65, 0)), (Some(Fault::NotUnmounted), None));
    assert_eq!((fat(54, b"FAT16   ", 37, 1), fat(54, b"FAT16   ", 37, 0)), (Some(Fault::NotUnmounted), None));
    assert_eq!((fault(&[]), fault(&[0xff; 600]), fault(&[0xff; HEAD])), (None, None, None));
}

#[test]
fn the_others() {
    is(&device(&[(0, b"XFSB"), (32, &UUID), (108, b"data12345678x")]), "xfs", Some(UUID_TEXT), Some("data12345678"));
    let parts: &[(usize, &[u8])] = &[(0x1_0040, b"_BHRfS_M"), (0x1_0020, &UUID), (0x1_0000 + 299, b"big disk\0x")];
    is(&device(parts), "btrfs", Some(UUID_TEXT), Some("big disk"));
    let parts: &[(usize, &[u8])] = &[(1024, &[0xe2, 0xe1, 0xf5, 0xe0]), (1072, &UUID), (1088, b"image")];
    is(&device(parts), "erofs", Some(UUID_TEXT), Some("image"));
    is(&device(&[(0, b"hsqs")]), "squashfs", None, None);
    for page in [4096, 16384, 65536] {
        let parts: &[(usize, &[u8])] = &[(page - 10, b"SWAPSPACE2"), (1036, &UUID), (1052, b"swap0")];
        is(&device(parts), "swap", Some(UUID_TEXT), Some("swap0"));
    }
    let parts: &[(usize, &[u8])] = &[
        (0x8000, b"\x01CD001\x01"),
        (0x8000 + 40, b"INSTALL MEDIUM                  "),
        (0x8000 + 813, b"2024010203040506"),
        (0x8000 + 830, b"0000000000000000"),
    ];
    let mut disk = device(parts);
    is(&disk, "iso9660", Some("2024-01-02-03-04-05-06"), Some("INSTALL MEDIUM"));
    disk[0x8000 + 830..0x8000 + 846].copy_from_slice(b"2025111213141516");
    is(&disk, "iso9660", Some("2025-11-12-13-14-15-16"), Some("INSTALL MEDIUM"));
    is(&device(&[(3, b"EXFAT   "), (100, &[1, 2, 3, 4])]), "exfat", Some("0403-0201"), None);
    is(&device(&[(3, b"NTFS    "), (72, &[1, 2, 3, 4, 5, 6, 7, 0xa8])]), "ntfs", Some("A807060504030201"), None);
    let parts: &[(usize, &[u8])] = &[(0, b"LUKS\xba\xbe\0\x02"), (168, UUID_TEXT.as_bytes())];
    is(&device(parts), "crypto_LUKS", Some(UUID_TEXT), None);
}

/// A FAT16: sectors of 512, 4 to a cluster, 1 reserved, 2 tables of 8, so the root directory is in sector 17.
fn fat16() -> Vec<u8> {
    device(&[
        (11, &[0, 2, 4, 1, 0, 2]),
        (22, &[8, 0]),
        (39, &[0x78, 0x56, 0x34, 0x12]),
        (43, b"OLD        FAT16   "),
        (510, &[0x55, 0xaa]),
    ])
}

#[test]
fn fat_and_its_label_in_the_root_directory() {
    let mut disk = fat16();
    is(&disk, "vfat", Some("1234-5678"), Some("OLD"));
    let root = 17 * 512;
    // A part of a long name, a deleted label, a directory; then the label.
    for (entry, (name, bits)) in
        [(*b"A\0l\0o\0n\0g\0 ", 0x0f), (*b"\xe5ELETED    ", 8), (*b"DIRECTORY  ", 0x10), (*b"NEW NAME   ", 0x28)]
            .into_iter()
            .enumerate()
    {
        disk[root + entry * 32..root + entry * 32 + 11].copy_from_slice(&name);
        disk[root + entry * 32 + 11] = bits;
    }
    is(&disk, "vfat", Some("1234-5678"), Some("NEW NAME"));
    // A boot sector alone is not a file system.
    assert_eq!(look(&device(&[(510, &[0x55, 0xaa])])), None);
    disk[13] = 3;
    assert_eq!(look(&disk), None, "three sectors a cluster");
}

#[test]
fn nothing_and_any_bytes() {
    assert_eq!(look(&[]), None);
    assert_eq!(look(&vec![0; HEAD]), None);
    assert_eq!(look(&vec![0xff; HEAD]), None);
    for disk in [fat16(), device(&[(1024 + 0x38, &[0x53, 0xef])]), device(&[(4086, b"SWAPSPACE2")])] {
        for length in (0..2100).chain([4095, 4096, 32767, 65535, HEAD - 1]) {
            look(&disk[..length]);
        }
        for place in 0..600 {
            let mut bad = disk.clone();
            bad[place] = 0xff;
            look(&bad);
        }
    }
}

/// What the tools that make file systems write is found as they were told.
#[test]
fn real_file_systems() {
    let serial = "CAFE-1234";
    let cases: [(&str, &[&str], &str, &str); 5] = [
        ("mkfs.ext4", &["-q", "-F", "-L", "my root", "-U", UUID_TEXT], "ext4", UUID_TEXT),
        ("mkfs.ext2", &["-q", "-F", "-L", "my root", "-U", UUID_TEXT], "ext2", UUID_TEXT),
        ("mkfs.vfat", &["-F", "32", "-n", "MY ROOT", "-i", "cafe1234"], "vfat", serial),
        ("mkfs.vfat", &["-F", "16", "-n", "MY ROOT", "-i", "cafe1234"], "vfat", serial),
        ("mkswap", &["-q", "-L", "my root", "-U", UUID_TEXT], "swap", UUID_TEXT),
    ];
    let path = std::env::temp_dir().join(format!("init-superblock-{}", std::process::id()));
    for (tool, arguments, kind, uuid) in cases {
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(48 << 20).unwrap();
        match Command::new(tool).args(arguments).arg(&path).output() {
            Ok(output) => assert!(output.status.success(), "{tool}: {output:?}"),
            Err(error) => {
                testing::skip(&format!("this host has no {tool}: {error}"));
                continue;
            }
        }
        let found = look(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!((found.kind, found.uuid.as_deref()), (kind, Some(uuid)), "{tool}");
        assert_eq!(found.label.map(|label| label.to_lowercase()).as_deref(), Some("my root"), "{tool}");
    }
    std::fs::remove_file(&path).unwrap();
}
