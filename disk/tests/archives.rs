//! Archives, checked and unpacked with GNU tar, zstd and cpio.

mod common;

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use build_support::{Cmd, digest, xattr};
use common::{pattern, run, scratch, text, tree};
use disk::{Compression, Output, Tree, cpio, tar};
use fs_err as fs;

const COMPRESSIONS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Zstd { level: 19 }, Compression::Lz4, Compression::Xz];

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
    let extract =
        ["--zstd", "-xpf", text(&archive), "-C", text(&out), "--no-same-owner", "--xattrs", "--xattrs-include=*"];
    run("tar", &[&extract[..], &["--exclude=dev/console", "--exclude=dev/vda"]].concat());
    if let Ok(found) = xattr::of_content(&out.join("bin/ping")) {
        // Only root may give the capability.
        let want = tree.get("bin/ping").unwrap().attributes.clone();
        assert!(!rustix::process::geteuid().is_root() || found == want, "{found:?}");
    }
    for (name, mode) in
        [("tmp", 0o1777), ("root", 0o700), ("etc/shadow", 0o600), ("usr/lib/big", 0o644), ("bin/busybox", 0o4755)]
    {
        assert_eq!(fs::metadata(out.join(name)).unwrap().mode() & 0o7777, mode, "{name}");
    }
    assert_eq!(common::plain(&out), common::laid_out(&tree, &dir.join("want")));
    let list = run("tar", &["--zstd", "-tvf", text(&archive)]);
    assert_eq!(list.lines().count(), tree.len());
    for line in [
        "-rwsr-xr-x root/root ",
        "crw------- root/root ",
        "brw-rw---- root/root ",
        "prw--w--w- root/root ",
        "drwxr-xr-x 1000/1001 ",
        "bin/busybox link to a first name",
    ] {
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
        let fitting = tree.fit(Output::Cpio).0;
        let mut archives = vec![fs::read(write(&tree, &dir)).unwrap()];
        for compression in COMPRESSIONS {
            let out = dir.join(format!("cpio{}", compression.suffix()));
            cpio::write(&fitting, &out, compression).unwrap();
            archives.push(fs::read(out).unwrap());
        }
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 4 + COMPRESSIONS.len(), "files on the way were left");
        archives
    });
    assert!(builds[0] == builds[1], "two builds of one tree differ");
}

#[test]
fn gnu_cpio_lists_and_unpacks_the_archive() {
    let (_keep, dir) = scratch();
    let (mut tree, losses) = tree(&dir.join("host")).fit(Output::Cpio);
    assert_eq!(losses.len(), 304, "three attributes, and one of a file with 301 names");
    let archive = dir.join("cpio");
    cpio::write(&tree, &archive, Compression::None).unwrap();
    let list = Cmd::new("cpio").args(["-itv", "--quiet", "--numeric-uid-gid"]).input(&archive).read("list").unwrap();
    assert_eq!(list.lines().count(), tree.len());
    for part in ["-rwsr-xr-x   3", "5,   1", "brw-rw----", "prw--w--w-", "1000     1001", "bin/sh -> busybox"] {
        assert!(list.contains(part), "`{part}` is not in:\n{list}");
    }
    // Only root can make a device.
    common::DEVICES.iter().for_each(|device| tree.remove(device).unwrap());
    cpio::write(&tree, &archive, Compression::None).unwrap();
    let out = dir.join("out");
    fs::create_dir(&out).unwrap();
    Cmd::new("cpio").args(["-idm", "--quiet", "--no-preserve-owner"]).dir(&out).input(&archive).run("unpack").unwrap();
    assert_eq!(common::plain(&out), common::laid_out(&tree, &dir.join("want")));
}

#[test]
fn holes_and_hard_links_cost_nothing_in_an_archive() {
    let (_keep, dir) = scratch();
    let host = dir.join("host");
    fs::create_dir(&host).unwrap();
    let mut tree = Tree::new();
    // More parts than a header and one block behind it have room for, a hole at each end, and one that is nothing else.
    for (name, size, parts) in [
        ("many", 80_u64 << 20, (1..30).map(|i| i * (2 << 20) + 5).collect()),
        ("hole", 1 << 30, Vec::new()),
        ("one", 9 << 20, vec![0]),
    ] {
        let file = fs::File::create(host.join(name)).unwrap();
        file.set_len(size).unwrap();
        parts
            .iter()
            .for_each(|at| std::os::unix::fs::FileExt::write_all_at(file.file(), name.as_bytes(), *at).unwrap());
        if parts.is_empty() {
            continue;
        }
        // The same bytes without holes make the same archive.
        fs::write(dir.join(name), fs::read(host.join(name)).unwrap()).unwrap();
    }
    fs::write(host.join("linked"), pattern(3_000_000)).unwrap();
    for i in 0..80 {
        fs::hard_link(host.join("linked"), host.join(format!("link {i}"))).unwrap();
    }
    tree.merge(&host, "", "one").unwrap();
    let archive = dir.join("tar");
    let mut bytes = Vec::new();
    tar::append(&tree, &mut bytes, true).unwrap();
    fs::write(&archive, &bytes).unwrap();
    assert!(bytes.len() < 8_000_000, "{} bytes", bytes.len());
    for name in ["many", "one"] {
        fs::rename(dir.join(name), host.join(name)).unwrap();
    }
    let mut again = Vec::new();
    tar::append(&tree, &mut again, true).unwrap();
    assert!(bytes == again, "the archive depends on the holes of the host's file system");

    let want = digest::tree(&host).unwrap();
    let gnu = dir.join("gnu");
    let python = dir.join("python");
    fs::create_dir(&gnu).unwrap();
    run("tar", &["-xpf", text(&archive), "-C", text(&gnu)]);
    assert_eq!(digest::tree(&gnu).unwrap(), want);
    assert!(fs::metadata(gnu.join("hole")).unwrap().blocks() == 0);
    fs::remove_file(gnu.join("hole")).unwrap(); // Python writes its gigabyte.
    let script = "import sys, tarfile\nt = tarfile.open(sys.argv[1])\nm = [x for x in t if x.name != 'hole']\nt.extractall(sys.argv[2], m)";
    run("python3", &["-c", script, text(&archive), text(&python)]);
    assert_eq!(digest::tree(&python).unwrap(), digest::tree(&gnu).unwrap());
    // And as a directory.
    let laid = dir.join("laid");
    tree.write_to_dir(&laid).unwrap();
    assert_eq!(digest::tree(&laid).unwrap(), want);
    assert!(fs::metadata(laid.join("hole")).unwrap().blocks() == 0, "the hole was filled");
}
