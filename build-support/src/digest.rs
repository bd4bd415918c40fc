//! SHA-256 of texts, files and trees.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::Metadata;
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use fs_err as fs;
use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

use crate::xattr;

/// SHA-256 of a text, as lower-case hex.
pub fn text(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

/// SHA-256 of a file's content, as lower-case hex.
///
/// # Errors
///
/// When the file cannot be read.
pub fn file(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let mut file = fs::File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// The permissions of a file or directory as a build sees them. A umask of 002, which several distributions give to users,
/// makes 0664 and 0775 of every new file; these count as 0644 and 0755, so that the same sources are the same tree for
/// everybody. All others were chosen.
pub fn permissions(mode: u32) -> u32 {
    match mode & 0o7777 {
        0o664 => 0o644,
        0o775 => 0o755,
        other => other,
    }
}

/// SHA-256 of a tree: names, kinds, permissions, link targets, contents, hard links within the tree, capabilities and the
/// user's own extended attributes; no times and no owners. Two builds that leave the same bytes have the same digest, so
/// that what stands on them is not built again.
///
/// # Errors
///
/// When an entry cannot be read; the error has the tree's path.
pub fn tree(root: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let mut linked = BTreeMap::new();
    for entry in WalkDir::new(root).sort_by_file_name().min_depth(1) {
        let entry = entry.with_context(|| format!("cannot read the tree {}", root.display()))?;
        let name = entry.path().strip_prefix(root)?.as_os_str().as_encoded_bytes();
        let meta = entry.metadata()?;
        // A zero byte cannot stand in a name, so no two trees give the same text.
        let mut add = |kind: &str, value: &[u8]| {
            for part in [kind.as_bytes(), name, value] {
                hash.update(part);
                hash.update([0]);
            }
        };
        let (kind, content) = content(entry.path(), &meta)?;
        add(kind, content.as_bytes());
        if meta.is_symlink() {
            continue;
        }
        // Only what is not ordinary adds a line, so that trees without it keep the digests that they had before.
        let mode = permissions(meta.mode());
        let ordinary = if meta.is_dir() || kind == "exec" { 0o755 } else { 0o644 };
        if mode != ordinary {
            add("mode", format!("{mode:o}").as_bytes());
        }
        for (attribute, value) in xattr::of_content(entry.path())? {
            add(&attribute, hex::encode(value).as_bytes());
        }
        if meta.is_file() && meta.nlink() > 1 {
            match linked.entry((meta.dev(), meta.ino())) {
                Entry::Vacant(place) => drop(place.insert(name.to_vec())),
                Entry::Occupied(first) => add("same file", first.get()),
            }
        }
    }
    Ok(hex::encode(hash.finalize()))
}

/// The kind of an entry, and a text that stands for its content.
fn content(path: &Path, meta: &Metadata) -> Result<(&'static str, String)> {
    let kind = meta.file_type();
    Ok(if kind.is_dir() {
        ("dir", String::new())
    } else if kind.is_symlink() {
        ("link", fs::read_link(path)?.to_string_lossy().into_owned())
    } else if kind.is_file() {
        (if meta.mode() & 0o111 != 0 { "exec" } else { "file" }, file(path)?)
    } else if kind.is_fifo() {
        ("pipe", String::new()) // Reading it would wait for a writer.
    } else if kind.is_socket() {
        ("socket", String::new())
    } else {
        (if kind.is_block_device() { "block" } else { "char" }, meta.rdev().to_string())
    })
}

/// A recipe's source reduced to what it does: without comments, blank lines and indentation, so that a better
/// comment does not rebuild LLVM. Line comments that follow code stay: telling them from text such as a URL
/// needs a parser.
pub fn recipe(source: &str) -> String {
    let lines = source.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    text(&lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_known_digest() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(text("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn comments_do_not_change_a_recipe() {
        assert_eq!(recipe("//! Doc.\nfn a() {\n    b();\n}\n"), recipe("fn a() {\n  // why\n  b();\n}"));
        assert_ne!(recipe("b();"), recipe("c();"));
    }

    #[test]
    fn a_tree_is_its_names_kinds_and_contents() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a"), "1").unwrap();
        let first = tree(dir.path()).unwrap();
        fs::write(at("a"), "2").unwrap();
        let second = tree(dir.path()).unwrap();
        fs::rename(at("a"), at("b")).unwrap();
        let third = tree(dir.path()).unwrap();
        fs::set_permissions(at("b"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let fourth = tree(dir.path()).unwrap();
        let mut all = vec![first, second, third, fourth];
        all.dedup();
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn modes_and_hard_links_count_where_they_are_not_ordinary() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let set = |name: &str, mode| fs::set_permissions(at(name), std::fs::Permissions::from_mode(mode)).unwrap();
        fs::create_dir(at("d")).unwrap();
        fs::write(at("d/a"), "1").unwrap();
        fs::write(at("d/b"), "1").unwrap();
        let digests = |settings: &[(&str, u32)]| {
            let all = settings.iter().map(|(name, mode)| {
                set(name, *mode);
                tree(dir.path()).unwrap()
            });
            all.collect::<Vec<_>>()
        };
        // As it was before modes counted.
        let mut plain = Sha256::new();
        let hash = text("1");
        for part in ["dir", "d", "", "file", "d/a", &hash, "file", "d/b", &hash] {
            plain.update(part);
            plain.update([0]);
        }
        let plain = hex::encode(plain.finalize());
        set("d/b", 0o644);
        assert_eq!(digests(&[("d", 0o755), ("d", 0o775), ("d/a", 0o644), ("d/a", 0o664)])[2..], [plain.clone(), plain]);
        let mut seen = digests(&[("d/a", 0o600), ("d/a", 0o755), ("d/a", 0o4755), ("d", 0o700), ("d", 0o1777)]);
        fs::remove_file(at("d/b")).unwrap();
        fs::hard_link(at("d/a"), at("d/b")).unwrap();
        seen.push(tree(dir.path()).unwrap());
        fs::remove_file(at("d/b")).unwrap();
        fs::copy(at("d/a"), at("d/b")).unwrap();
        seen.push(tree(dir.path()).unwrap());
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 7);
    }
}
