//! SHA-256 of texts, files and trees.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use fs_err as fs;
use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

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

/// SHA-256 of a tree: names, kinds, the execute bit, link targets and contents; no times and no owners.
/// Two builds that leave the same bytes have the same digest, so that what stands on them is not built again.
///
/// # Errors
///
/// When an entry cannot be read; the error has the tree's path.
pub fn tree(root: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    for entry in WalkDir::new(root).sort_by_file_name().min_depth(1) {
        let entry = entry.with_context(|| format!("cannot read the tree {}", root.display()))?;
        let name = entry.path().strip_prefix(root)?.as_os_str().as_encoded_bytes();
        let meta = entry.metadata()?;
        let (kind, content) = if meta.is_dir() {
            ("dir", String::new())
        } else if meta.is_symlink() {
            ("link", fs::read_link(entry.path())?.to_string_lossy().into_owned())
        } else if meta.permissions().mode() & 0o111 != 0 {
            ("exec", file(entry.path())?)
        } else {
            ("file", file(entry.path())?)
        };
        // A zero byte cannot stand in a name, so no two trees give the same text.
        for part in [kind.as_bytes(), name, content.as_bytes()] {
            hash.update(part);
            hash.update([0]);
        }
    }
    Ok(hex::encode(hash.finalize()))
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
}
