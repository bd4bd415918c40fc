//! The tree that the tests write, and readers for what was written.
#![allow(dead_code, reason = "each test program uses its part")]

use std::path::{Path, PathBuf};

use build_support::Cmd;
use build_support::xattr::CAPABILITY;
use disk::{Tree, Uuid};
use fs_err as fs;

pub const ID: Uuid = Uuid::from_u128(0x0123_4567_89ab_4def_8123_4567_89ab_cdef);

/// Names that quoting, option parsing or a path can break.
pub const HARD_NAMES: &[&str] = &[
    "a name with spaces",
    "a \"quoted\" name",
    "<12>",
    "-x",
    "#comment",
    "back\\slash",
    "percent%s",
    "$HOME",
    "naïve-ü",
    "a;b|c&d",
    "'",
];

/// A tree with every kind of entry, and content that is not all in memory.
pub fn tree(host: &Path) -> Tree {
    fs::create_dir_all(host.join("lib/deep")).unwrap();
    fs::write(host.join("lib/big"), pattern(3_000_000)).unwrap();
    // Blocks of zeros inside a file that has no holes on the host.
    let mut gaps = pattern(500_000);
    gaps[100_000..400_000].fill(0);
    fs::write(host.join("lib/gaps"), gaps).unwrap();
    fs::write(host.join("lib/zeros"), vec![0; 100_000]).unwrap();
    fs::write(host.join("lib/empty"), "").unwrap();
    fs::write(host.join("lib/deep/text"), "text\n").unwrap();
    let mut tree = Tree::new();
    tree.merge(host, "usr", "merged").unwrap();
    tree.dir("tmp", 0o1777, "skeleton").unwrap();
    tree.dir("root", 0o700, "skeleton").unwrap();
    tree.bytes("bin/busybox", pattern(10_000), 0o4755, "busybox").unwrap();
    tree.link("bin/sh", "busybox", "busybox").unwrap();
    tree.link("long-link", &"../x".repeat(50), "skeleton").unwrap();
    tree.bytes("etc/shadow", "root::::::::\n", 0o600, "skeleton").unwrap();
    tree.bytes("home/user/file", "mine\n", 0o640, "skeleton").unwrap();
    tree.chown("home/user", 1000, 1001).unwrap();
    tree.chown("home/user/file", 1000, 1001).unwrap();
    tree.device("dev/console", 5, 1, 0o600, "skeleton").unwrap();
    tree.bytes(&format!("deep/{}/file", ["directory"; 12].join("/")), "below\n", 0o644, "skeleton").unwrap();
    tree.bytes(&format!("long/{}", "n".repeat(255)), "long\n", 0o644, "skeleton").unwrap();
    for (i, name) in HARD_NAMES.iter().enumerate() {
        tree.bytes(&format!("hard/{name}"), format!("{i}\n"), 0o644, "skeleton").unwrap();
        tree.bytes(&format!("hard dir/{name}/in"), format!("{i}\n"), 0o644, "skeleton").unwrap();
        tree.link(&format!("hard links/{name}"), name, "skeleton").unwrap();
    }
    tree.pipe("run/pipe", 0o622, "skeleton").unwrap();
    tree.block_device("dev/vda", 254, 0, 0o660, "skeleton").unwrap();
    tree.chmod("etc/shadow", 0o600).unwrap();
    // Hard links, in one directory and across, before and behind the file in the tree's order.
    tree.hard_link("bin/second name", "bin/busybox", "skeleton").unwrap();
    tree.hard_link("a first name", "bin/busybox", "skeleton").unwrap();
    for i in 0..300 {
        tree.hard_link(&format!("many links/another-name-of-some-length-{i:04}"), "etc/shadow", "skeleton").unwrap();
    }
    // Attributes that fit into an inode of ext4, and some that need a block.
    tree.bytes("bin/ping", pattern(5_000), 0o755, "skeleton").unwrap();
    tree.set_attribute("bin/ping", CAPABILITY, &ping()).unwrap();
    tree.set_attribute("bin/ping", "user.note", b"plain = text\n").unwrap();
    tree.set_attribute("home/user", "user.dir", b"\0\x01\xff").unwrap();
    tree.set_attribute("etc/shadow", "user.long", &pattern(1000)).unwrap();
    // More names than one block of a directory holds.
    for i in 0..500 {
        tree.bytes(&format!("many/a-name-of-some-length-{i:04}"), format!("{i}\n"), 0o644, "skeleton").unwrap();
    }
    tree
}

/// The devices of the tree, which only root can make outside an image.
pub const DEVICES: &[&str] = &["dev/console", "dev/vda"];

/// What lets ping open its sockets.
pub fn ping() -> Vec<u8> {
    disk::Capabilities::parse("cap_net_raw=ep").unwrap().to_bytes()
}

/// Makes an unpacked tree that has more than a directory of ours: set-id bits and capabilities.
pub fn plain(dir: &Path) -> String {
    for entry in walkdir::WalkDir::new(dir) {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        if meta.is_file() {
            let mode = std::os::unix::fs::MetadataExt::mode(&meta) & 0o777;
            fs::set_permissions(entry.path(), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            let _ = rustix::fs::removexattr(entry.path(), CAPABILITY); // Most files have none.
        }
    }
    build_support::digest::tree(dir).unwrap()
}

/// Bytes that do not compress and are the same each time (Marsaglia, "Xorshift RNGs", 2003).
pub fn pattern(length: usize) -> Vec<u8> {
    let mut state: u32 = 2_463_534_242;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..length).map(next).collect()
}

/// What a plain directory must be after any round trip: paths, kinds, contents.
pub fn laid_out(tree: &Tree, at: &Path) -> String {
    tree.write_to_dir(at).unwrap();
    build_support::digest::tree(at).unwrap()
}

/// Runs a checker or a reader; one that is missing fails the test, because an unchecked image is not a checked one.
pub fn run(program: &str, args: &[&str]) -> String {
    Cmd::new(program).args(args).read("check an image").unwrap()
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A directory for a test, removed at its end.
pub fn scratch() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_path_buf();
    (dir, path)
}
