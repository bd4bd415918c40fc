//! The list of everything in a tree. `image/build.rs` writes it beside the image as `manifest.tsv`.

use std::fmt::Write as _;

use anyhow::Result;

use crate::tree::{Kind, Tree};

impl Tree {
    /// A line for each entry: path, kind, mode, size, SHA-256 and stage, separated by tabs, below a line of titles.
    /// A link has its target in place of a hash; directories and devices have `-`.
    pub fn manifest_tsv(&self) -> Result<String> {
        let mut text = String::from("path\tkind\tmode\tsize\tsha256\tstage\n");
        for (path, entry) in self.entries() {
            let (size, hash) = match &entry.kind {
                Kind::File(content) => (content.size()?, content.sha256()?),
                Kind::Link(target) => (target.len() as u64, format!("-> {target}")),
                Kind::Dir | Kind::Device { .. } => (0, "-".into()),
            };
            writeln!(text, "/{path}\t{}\t{:04o}\t{size}\t{hash}\t{}", entry.kind.name(), entry.mode, entry.stage)?;
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_has_its_line() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join("abc"), "abc").unwrap();
        let mut tree = Tree::new();
        tree.file("bin/abc", &dir.path().join("abc"), 0o755, "busybox").unwrap();
        tree.bytes("etc/abc", "abc", 0o644, "skeleton").unwrap();
        tree.link("abc", "bin/abc", "skeleton").unwrap();
        tree.device("dev/null", 1, 3, 0o666, "skeleton").unwrap();
        // FIPS 180-2, appendix B.1.
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let want = format!(
            "path\tkind\tmode\tsize\tsha256\tstage\n/abc\tlink\t0777\t7\t-> bin/abc\tskeleton\n/bin\tdir\t0755\t0\t-\tbusybox\n\
             /bin/abc\tfile\t0755\t3\t{hash}\tbusybox\n/dev\tdir\t0755\t0\t-\tskeleton\n/dev/null\tchar\t0666\t0\t-\tskeleton\n\
             /etc\tdir\t0755\t0\t-\tskeleton\n/etc/abc\tfile\t0644\t3\t{hash}\tskeleton\n"
        );
        assert_eq!(tree.manifest_tsv().unwrap(), want);
    }
}
