use super::*;
use std::collections::BTreeMap;

/// A sysfs of a few files.
struct Files(BTreeMap<String, Vec<u8>>);

impl Sysfs for Files {
    fn text(&self, path: &str) -> Option<String> {
        self.bytes(path).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        self.0.get(path).cloned()
    }

    fn list(&self, path: &str) -> Vec<String> {
        let below = self.0.keys().filter_map(|name| name.strip_prefix(path)?.strip_prefix('/'));
        below.filter_map(|name| name.split('/').next()).map(String::from).collect()
    }
}

fn files(files: &[(&str, &[u8])]) -> Files {
    Files(files.iter().map(|(name, content)| (name.to_string(), content.to_vec())).collect())
}

#[test]
fn links_of_a_partition() {
    let facts = Facts {
        partition: Some(2),
        ids: vec!["virtio-disk 7".into()],
        paths: vec!["pci-0000:00:04.0".into()],
        uuid: Some("01234567-89ab".into()),
        label: Some("my/root ü".into()),
        partition_uuid: Some("aa".into()),
        partition_label: Some("EFI system".into()),
    };
    let expected = [
        "by-id/virtio-disk_7-part2",
        "by-label/my\\x2froot\\x20ü",
        "by-partlabel/EFI\\x20system",
        "by-partuuid/aa",
        "by-path/pci-0000:00:04.0-part2",
        "by-uuid/01234567-89ab",
    ];
    assert_eq!(links(&facts), expected);
    assert_eq!(links(&Facts::default()), [] as [&str; 0]);
}

#[test]
fn a_label_cannot_leave_its_directory() {
    for label in ["..", ".", "", "../../etc/passwd", "a\0b", "\n"] {
        let facts = Facts { label: Some(label.into()), ..Facts::default() };
        for link in links(&facts) {
            assert_eq!(link.matches('/').count(), 1, "{link}");
            assert!(!link.ends_with("/..") && !link.contains(['\0', '\n']), "{link}");
        }
    }
    let facts = Facts { label: Some("x".repeat(256)), ..Facts::default() };
    assert_eq!(links(&facts), [] as [&str; 0]);
}

#[test]
fn a_virtio_disk() {
    let path = "devices/pci0000:00/0000:00:04.0/virtio1/block/vda";
    let sysfs = files(&[("devices/pci0000:00/0000:00:04.0/virtio1/block/vda/serial", b"S1 2")]);
    assert_eq!(ids(path, &sysfs), ["virtio-S1 2"]);
    assert_eq!(paths(path, &sysfs), ["pci-0000:00:04.0"]);
    let bridged = "devices/pci0000:00/0000:00:1e.0/0000:01:02.0/virtio1/block/vda";
    assert_eq!(paths(bridged, &sysfs), ["pci-0000:01:02.0"]);
    let board = "devices/platform/a003e00.virtio_mmio/virtio1/block/vda";
    assert_eq!(paths(board, &sysfs), ["platform-a003e00.virtio_mmio"]);
    assert_eq!(paths("devices/virtual/block/loop0", &sysfs), [] as [&str; 0]);
}

/// Page 0x83 with designators of (code set, type, bytes).
fn page(designators: &[(u8, u8, &[u8])]) -> Vec<u8> {
    let mut page = vec![0, 0x83, 0, 0];
    for (code, kind, bytes) in designators {
        page.extend_from_slice(&[*code, *kind, 0, bytes.len() as u8]);
        page.extend_from_slice(bytes);
    }
    page
}

#[test]
fn an_ata_disk() {
    let path = "devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda";
    let name = b"ATA     QEMU HARDDISK                           QM00001             ";
    let wwn = [0x50, 0x01, 0x43, 0x80, 0, 0, 0, 1];
    // A name of a port (association 1) is not the disk's.
    let page = page(&[(2, 0, b"QM00001 "), (2, 1, name), (1, 3, &wwn), (1, 0x13, &wwn)]);
    let dir = format!("{path}/device");
    let sysfs = files(&[
        (&format!("{dir}/vendor"), b"ATA     "),
        (&format!("{dir}/model"), b"QEMU HARDDISK   "),
        (&format!("{dir}/vpd_pg83"), &page),
        ("devices/pci0000:00/0000:00:1f.2/ata1/ata_port/ata1/port_no", b"1"),
    ]);
    assert_eq!(ids(path, &sysfs), ["ata-QEMU_HARDDISK_QM00001", "wwn-0x5001438000000001"]);
    assert_eq!(paths(path, &sysfs), ["pci-0000:00:1f.2-ata-1.0", "pci-0000:00:1f.2-ata-1"]);
}

#[test]
fn a_scsi_disk_counts_the_hosts_of_its_card() {
    let path = "devices/pci0000:00/0000:00:05.0/virtio2/host2/target2:0:3/2:0:3:1/block/sda";
    let dir = format!("{path}/device");
    let naa = [0x60, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    let page = page(&[(2, 0, b"drive-scsi0"), (1, 3, &naa)]);
    let sysfs = files(&[
        (&format!("{dir}/vendor"), b"QEMU    "),
        (&format!("{dir}/model"), b"QEMU HARDDISK   "),
        (&format!("{dir}/vpd_pg83"), &page),
        ("devices/pci0000:00/0000:00:05.0/virtio2/host2/x", b""),
    ]);
    let number = "600102030405060708090a0b0c0d0e0f";
    let expected =
        ["scsi-0QEMU_QEMU_HARDDISK_drive-scsi0".to_owned(), format!("wwn-0x{number}"), format!("scsi-3{number}")];
    assert_eq!(ids(path, &sysfs), expected);
    assert_eq!(paths(path, &sysfs), ["pci-0000:00:05.0-scsi-0:0:3:1"]);
}

#[test]
fn a_stick_behind_hubs() {
    let usb = "devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2.3";
    let path = format!("{usb}/1-2.3:1.0/host6/target6:0:0/6:0:0:0/block/sdb");
    let sysfs = files(&[
        (&format!("{usb}/idVendor"), b"0951"),
        (&format!("{usb}/serial"), b"001A 4D"),
        (&format!("{path}/device/vendor"), b"Kingston"),
        (&format!("{path}/device/model"), b"DT 101 G2       "),
        (&format!("{usb}/1-2.3:1.0/host6/x"), b""),
    ]);
    assert_eq!(ids(&path, &sysfs), ["usb-Kingston_DT_101_G2_001A_4D-0:0"]);
    assert_eq!(paths(&path, &sysfs), ["pci-0000:00:14.0-usb-0:2.3:1.0-scsi-0:0:0:0"]);
}

#[test]
fn an_nvme_disk_and_a_card() {
    let path = "devices/pci0000:00/0000:00:06.0/nvme/nvme0/nvme0n1";
    let sysfs = files(&[
        (&format!("{path}/device/model"), b"QEMU NVMe Ctrl       "),
        (&format!("{path}/device/serial"), b"abc "),
        (&format!("{path}/nsid"), b"1"),
        (&format!("{path}/wwid"), b"nvme.1b36-6162"),
    ]);
    let expected = ["nvme-QEMU_NVMe_Ctrl_abc_1", "nvme-QEMU_NVMe_Ctrl_abc", "nvme-nvme.1b36-6162"];
    assert_eq!(ids(path, &sysfs), expected);
    assert_eq!(paths(path, &sysfs), ["pci-0000:00:06.0-nvme-1"]);
    let path = "devices/platform/soc/mmc0/mmc0:aaaa/block/mmcblk0";
    let sysfs = files(&[(&format!("{path}/device/name"), b"SU08G"), (&format!("{path}/device/serial"), b"0x1234")]);
    assert_eq!(ids(path, &sysfs), ["mmc-SU08G_0x1234"]);
}

#[test]
fn broken_pages_are_survived() {
    let good = page(&[(2, 1, b"text"), (1, 3, &[1; 8])]);
    for length in 0..good.len() {
        designators(&good[..length]);
    }
    let mut bad = good;
    bad[7] = 0xff;
    assert_eq!(designators(&bad).len(), 0);
}
