//! Archives, checked and unpacked with GNU tar, zstd and cpio.

mod common;

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use build_support::{Cmd, digest};
use common::{run, scratch, text, tree};
use disk::{Compression, Tree, cpio, tar};
use fs_err as fs;

/// Writes a tree as two layers.
fn write(tree: &Tree, dir: &Path) -> std::path::PathBuf {
    let mut base = Tree::new();
    base.merge(&dir.join("host"), "usr", "merged").unwrap();
    let rest = tree.minus(&base).unwrap();
    let (low, high, whole) = (dir.join("low.zst"), dir.join("high.zst"), dir.join("rootfs.tar.zst"));
    tar::layer_zst(&base, &low, 3, false).unwrap();
    tar::layer_zst(&rest, &high, 1, true).unwrap();
    tar::concat(&[&low, &high], &whole).unwrap();
    whole
}

#[test]
fn gnu_tar_unpacks_layers_as_one_archive() {
    let (_keep, dir) = scratch();
    let tree = tree(&dir.join("host"));
    let archive = write(&tree, &dir);
    run("zstd", &["-t", text(&archive)]);
    let out = dir.join("out");
    fs::create_dir(&out).unwrap();
    run("tar", &["--zstd", "-xpf", text(&archive), "-C", text(&out), "--no-same-owner", "--exclude=dev/console"]);
    assert_eq!(digest::tree(&out).unwrap(), common::laid_out(&tree, &dir.join("want")));
    for (name, mode) in [("tmp", 0o1777), ("root", 0o700), ("etc/shadow", 0o600), ("usr/lib/big", 0o644)] {
        assert_eq!(fs::metadata(out.join(name)).unwrap().mode() & 0o7777, mode, "{name}");
    }
    let list = run("tar", &["--zstd", "-tvf", text(&archive)]);
    assert_eq!(list.lines().count(), tree.len());
    for line in ["-rwsr-xr-x root/root ", "crw------- root/root ", "drwxr-xr-x 1000/1001 "] {
        assert!(list.contains(line), "`{line}` is not in the list");
    }
    assert!(list.lines().all(|line| line.contains(" 2026-01-01 00:00 ")), "an entry has another time");
}

#[test]
fn a_layer_below_the_last_is_no_whole_archive() {
    let (_keep, dir) = scratch();
    let mut tree = Tree::new();
    tree.bytes("file", "text", 0o644, "one").unwrap();
    let sizes = [false, true].map(|last| {
        let mut bytes = Vec::new();
        tar::append(&tree, &mut bytes, last).unwrap();
        bytes.len()
    });
    assert_eq!(sizes, [1024, 2048]); // Header and content; two blocks of zeros more at the end.
    drop(dir);
}

#[test]
fn a_flipped_byte_is_found_when_the_archive_is_unpacked() {
    let (_keep, dir) = scratch();
    let archive = write(&tree(&dir.join("host")), &dir);
    let mut bytes = fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&archive, bytes).unwrap();
    assert!(Cmd::new("zstd").args(["-t", text(&archive)]).run("test").is_err());
}

#[test]
fn two_builds_give_the_same_archives() {
    let (_keep, dir) = scratch();
    let builds = ["one", "two, longer"].map(|name| {
        let dir = dir.join(name);
        let tree = tree(&dir.join("host"));
        cpio::write(&tree, &dir.join("cpio"), Compression::None).unwrap();
        (fs::read(write(&tree, &dir)).unwrap(), fs::read(dir.join("cpio")).unwrap())
    });
    assert!(builds[0] == builds[1], "two builds of one tree differ");
}

#[test]
fn gnu_cpio_lists_and_unpacks_the_archive() {
    let (_keep, dir) = scratch();
    let mut tree = tree(&dir.join("host"));
    let archive = dir.join("cpio");
    cpio::write(&tree, &archive, Compression::None).unwrap();
    let list = Cmd::new("cpio").args(["-itv", "--quiet", "--numeric-uid-gid"]).input(&archive).read("list").unwrap();
    assert_eq!(list.lines().count(), tree.len());
    for part in ["-rwsr-xr-x", "5,   1", "1000     1001", "bin/sh -> busybox"] {
        assert!(list.contains(part), "`{part}` is not in:\n{list}");
    }
    // Only root can make a device.
    tree.remove("dev/console").unwrap();
    cpio::write(&tree, &archive, Compression::None).unwrap();
    let out = dir.join("out");
    fs::create_dir(&out).unwrap();
    Cmd::new("cpio").args(["-idm", "--quiet", "--no-preserve-owner"]).dir(&out).input(&archive).run("unpack").unwrap();
    assert_eq!(digest::tree(&out).unwrap(), common::laid_out(&tree, &dir.join("want")));
}
