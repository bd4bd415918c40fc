//! The root file system, checked and read with e2fsprogs.

mod common;

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use common::{ID, run, scratch, text, tree};
use disk::ext4::Ext4;
use disk::{Class, Kind, MIB, Tree};
use fs_err as fs;

const EPOCH: &str = "0x6955b900"; // 1767225600

fn write(tree: &Tree, size: u64, dir: &Path) -> anyhow::Result<std::path::PathBuf> {
    let image = dir.join("root.ext4");
    Ext4 { uuid: ID, label: "bloomery", size }.write(tree, &image, &dir.join("work")).map(|()| image)
}

#[test]
fn e2fsck_finds_nothing_and_everything_is_inside() {
    let (_keep, dir) = scratch();
    let tree = tree(&dir.join("host"));
    let image = write(&tree, 64 * MIB, &dir).unwrap();
    run("e2fsck", &["-fn", text(&image)]);
    let dump = dir.join("dump");
    fs::create_dir(&dump).unwrap();
    run("debugfs", &["-R", &format!("rdump / {}", text(&dump)), text(&image)]);
    fs::remove_dir(dump.join("lost+found")).unwrap();
    // What only root can make on the host is looked at in `owners_modes_and_times`.
    for device in common::DEVICES {
        let _ = fs::remove_file(dump.join(device));
    }
    // It copies each name of a file, and no pipes, attributes and sticky bits.
    let mut plain = Tree::new();
    for (path, entry) in tree.entries() {
        match &entry.kind {
            Kind::Dir => plain.dir(path, entry.mode & 0o777, "").unwrap(),
            Kind::Link(target) => plain.link(path, target, "").unwrap(),
            Kind::File(disk::Content::Host(host)) => plain.file(path, host, entry.mode, "").unwrap(),
            Kind::File(disk::Content::Bytes(bytes)) => plain.bytes(path, bytes.clone(), entry.mode, "").unwrap(),
            Kind::Device { .. } | Kind::Pipe | Kind::Socket => {}
        }
    }
    let _ = fs::remove_file(dump.join("run/pipe"));
    let (found, want) = (common::plain(&dump), common::laid_out(&plain, &dir.join("want")));
    assert_eq!(found, want);
    assert!(fs::metadata(&image).unwrap().blocks() * 512 < 16 * MIB, "the image has no holes");
    assert_eq!(fs::read_dir(dir.join("work")).unwrap().count(), 0, "files on the way were left");
}

/// The lines that `debugfs stat` prints for each path, in one run.
fn stat(image: &Path, paths: &[String], dir: &Path) -> Vec<String> {
    let script = dir.join("stat");
    let lines: Vec<String> = paths.iter().map(|path| format!("stat \"/{}\"", path.replace('"', "\"\""))).collect();
    fs::write(&script, lines.join("\n")).unwrap();
    let output = run("debugfs", &["-f", text(&script), text(image)]);
    output.split("debugfs: stat ").skip(1).map(String::from).collect()
}

#[test]
fn owners_modes_and_times_are_the_trees() {
    let (_keep, dir) = scratch();
    let tree = tree(&dir.join("host"));
    let image = write(&tree, 64 * MIB, &dir).unwrap();
    let paths: Vec<String> = tree.entries().map(|(path, _)| path.to_string()).collect();
    let stats = stat(&image, &paths, &dir);
    assert_eq!(stats.len(), tree.len());
    for ((path, entry), stat) in tree.entries().zip(stats) {
        let words = stat.split_whitespace().collect::<Vec<_>>().join(" ");
        let kind = match entry.kind {
            Kind::Dir => "directory",
            Kind::File(_) => "regular",
            Kind::Link(_) => "symlink",
            Kind::Device { class: Class::Char, .. } => "character special",
            Kind::Device { class: Class::Block, .. } => "block special",
            Kind::Pipe => "FIFO",
            Kind::Socket => "socket",
        };
        let mut wanted = vec![
            format!("Type: {kind} Mode: 0{:03o}", entry.mode),
            format!("User: {} Group: {} ", entry.uid, entry.gid),
        ];
        wanted.extend(["ctime", "atime", "mtime", "crtime"].map(|time| format!(" {time}: {EPOCH}:00000000 ")));
        if entry.kind == Kind::Dir || matches!(&entry.kind, Kind::File(content) if content.size().unwrap() > 0) {
            wanted.push(" EXTENTS:".into());
        }
        if entry.same_file.is_some() {
            wanted.push(format!("Links: {} ", if path.contains("bin/") || path.starts_with("a ") { 3 } else { 301 }));
        }
        for (name, value) in &entry.attributes {
            wanted.push(format!("{name} ({})", value.len()));
        }
        if let Kind::Device { major, minor, .. } = entry.kind {
            wanted.push(format!("{major:02}:{minor:02}"));
        }
        for part in wanted {
            assert!(words.contains(&part), "/{path}: `{part}` is not in: {words}");
        }
    }
    let root = &stat(&image, &[String::new()], &dir)[0];
    assert!(root.contains("Mode:  0755") && root.contains("User:     0") && root.contains(EPOCH), "{root}");
}

#[test]
fn attributes_are_inside_to_the_byte() {
    let (_keep, dir) = scratch();
    let tree = tree(&dir.join("host"));
    let image = write(&tree, 64 * MIB, &dir).unwrap();
    let mut found = 0;
    for (path, entry) in tree.entries().filter(|(path, _)| !path.starts_with("many links/")) {
        for (name, value) in &entry.attributes {
            let out = dir.join("value");
            run("debugfs", &["-R", &format!("ea_get -f {} \"/{path}\" {name}", text(&out)), text(&image)]);
            assert!(fs::read(&out).unwrap() == *value, "/{path} {name}");
            found += 1;
        }
    }
    assert_eq!(found, 4);
}

#[test]
fn holes_and_hard_links_cost_nothing() {
    let (_keep, dir) = scratch();
    let host = dir.join("host");
    fs::create_dir(&host).unwrap();
    let sparse = fs::File::create(host.join("sparse")).unwrap();
    sparse.set_len(1 << 30).unwrap();
    std::os::unix::fs::FileExt::write_all_at(sparse.file(), b"end", (1 << 30) - 3).unwrap();
    fs::write(host.join("linked"), common::pattern(3_000_000)).unwrap();
    for i in 0..80 {
        fs::hard_link(host.join("linked"), host.join(format!("link {i}"))).unwrap();
    }
    let mut tree = Tree::new();
    tree.merge(&host, "", "one").unwrap();
    let image = write(&tree, 16 * MIB, &dir).unwrap();
    run("e2fsck", &["-fn", text(&image)]);
    let stats = stat(&image, &["sparse".into(), "link 7".into()], &dir);
    assert!(stats[0].contains("Size: 1073741824") && stats[0].contains("Blockcount: 8\n"), "{}", stats[0]);
    assert!(stats[1].contains("Links: 81 "), "{}", stats[1]);
}

#[test]
fn the_superblock_depends_on_no_host() {
    let (_keep, dir) = scratch();
    let image = write(&Tree::new(), 32 * MIB, &dir).unwrap();
    let text = run("dumpe2fs", &["-h", text(&image)]);
    for line in [
        "Filesystem volume name:   bloomery",
        "Filesystem UUID:          01234567-89ab-4def-8123-456789abcdef",
        "Directory Hash Seed:      01234567-89ab-4def-8123-456789abcdef",
        "Last mounted on:          <not available>",
        "Filesystem created:       Thu Jan  1 00:00:00 2026",
        "Last write time:          Thu Jan  1 00:00:00 2026",
        "Last checked:             Thu Jan  1 00:00:00 2026",
        "Filesystem flags:         signed_directory_hash",
        "Block size:               4096",
    ] {
        assert!(text.contains(line), "`{line}` is not in:\n{text}");
    }
}

#[test]
fn the_same_tree_gives_the_same_bytes_whatever_the_host_does() {
    let (_keep, dir) = scratch();
    let (one, two) = (dir.join("one"), dir.join("a directory of another length"));
    let first = write(&tree(&one.join("host")), 64 * MIB, &one).unwrap();
    // Other modes, other times, and holes where the first build's host had zeros.
    let second_tree = {
        let host = two.join("host");
        let tree = tree(&host);
        let sparse = fs::File::create(host.join("lib/zeros")).unwrap();
        sparse.set_len(100_000).unwrap();
        let file = fs::File::options().append(true).open(host.join("lib/big")).unwrap();
        file.file().set_modified(std::time::UNIX_EPOCH).unwrap();
        fs::set_permissions(host.join("lib/big"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        tree
    };
    std::thread::sleep(std::time::Duration::from_millis(1100)); // A second later by every clock that tools may ask.
    let second = write(&second_tree, 64 * MIB, &two).unwrap();
    assert!(fs::read(first).unwrap() == fs::read(second).unwrap(), "two builds of one tree differ");
}

#[test]
fn a_tree_that_does_not_fit_says_how_much_it_needs() {
    let (_keep, dir) = scratch();
    let mut tree = Tree::new();
    fs::write(dir.join("big"), common::pattern(30 << 20)).unwrap();
    tree.file("big", &dir.join("big"), 0o644, "one").unwrap();
    let error = write(&tree, 32 * MIB, &dir).unwrap_err();
    let small = error.downcast_ref::<disk::ext4::TooSmall>().unwrap_or_else(|| panic!("{error:#}"));
    assert_eq!(small.has, 32 * MIB);
    assert!(format!("{error:#}").contains("the root file system needs 3"), "{error:#}");
    assert!(!dir.join("root.ext4").exists());
    // What it asks for does, and is not much more than what it takes.
    assert!(small.needs < 48 * MIB, "{} bytes are too many", small.needs);
    write(&tree, small.needs, &dir).unwrap();
}

#[test]
fn a_tree_with_too_many_files_says_how_much_it_needs() {
    let (_keep, dir) = scratch();
    let mut tree = Tree::new();
    for i in 0..3000 {
        tree.bytes(&format!("dir/{i}"), "", 0o644, "one").unwrap();
    }
    let error = write(&tree, 32 * MIB, &dir).unwrap_err();
    let needs = error.downcast_ref::<disk::ext4::TooSmall>().unwrap_or_else(|| panic!("{error:#}")).needs;
    write(&tree, needs, &dir).unwrap();
}

#[test]
fn a_file_that_vanishes_is_an_error() {
    let (_keep, dir) = scratch();
    let mut tree = Tree::new();
    fs::write(dir.join("file"), "text").unwrap();
    tree.file("etc/file", &dir.join("file"), 0o644, "one").unwrap();
    fs::remove_file(dir.join("file")).unwrap();
    let error = format!("{:#}", write(&tree, 32 * MIB, &dir).unwrap_err());
    assert!(error.contains("file") && error.contains("No such file"), "{error}");
    assert!(!dir.join("root.ext4").exists());
}

#[test]
fn an_identifier_of_zeros_is_refused() {
    let (_keep, dir) = scratch();
    let ext4 = Ext4 { uuid: disk::Uuid::nil(), label: "bloomery", size: 32 * MIB };
    let error = ext4.write(&Tree::new(), &dir.join("root.ext4"), &dir.join("work")).unwrap_err().to_string();
    assert!(error.contains("random"), "{error}");
}
