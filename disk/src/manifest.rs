//! The list of everything in a tree. `image/build.rs` writes it beside the image as `manifest.tsv`.

use std::fmt::Write as _;

use anyhow::Result;

use crate::tree::{Entry, Kind, Tree};

impl Tree {
    /// A line for each entry: path, kind, mode, size, SHA-256 and stage, separated by tabs, below a line of titles.
    /// A link has its target in place of a hash; all else has `-`. A tree with owners other than root, extended attributes or hard links has a seventh column,
    /// `attributes`, that says them as `owner=1000:1000`, `user.x=` with hex, and `link=/the/first/name`.
    ///
    /// # Errors
    ///
    /// When a file of the tree cannot be read.
    pub fn manifest_tsv(&self) -> Result<String> {
        let names = self.names();
        let attributes: Vec<String> =
            self.entries().map(|(path, entry)| attributes(entry, names.earlier(path, entry))).collect();
        let has_attributes = attributes.iter().any(|text| !text.is_empty());
        let mut text = String::from("path\tkind\tmode\tsize\tsha256\tstage");
        text += if has_attributes { "\tattributes\n" } else { "\n" };
        for ((path, entry), attributes) in self.entries().zip(attributes) {
            let (size, hash) = match &entry.kind {
                Kind::File(content) => (content.size()?, content.sha256()?),
                Kind::Link(target) => (target.len() as u64, format!("-> {target}")),
                Kind::Dir | Kind::Device { .. } | Kind::Pipe | Kind::Socket => (0, "-".into()),
            };
            write!(text, "/{path}\t{}\t{:04o}\t{size}\t{hash}\t{}", entry.kind.name(), entry.mode, entry.stage)?;
            text += &if has_attributes { format!("\t{attributes}\n") } else { "\n".into() };
        }
        Ok(text)
    }
}

fn attributes(entry: &Entry, earlier: Option<&str>) -> String {
    let mut words = Vec::new();
    if (entry.uid, entry.gid) != (0, 0) {
        words.push(format!("owner={}:{}", entry.uid, entry.gid));
    }
    words.extend(entry.attributes.iter().map(|(name, value)| format!("{name}={}", hex::encode(value))));
    words.extend(earlier.map(|first| format!("link=/{first}")));
    words.join(" ")
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
    #[test]
    fn what_is_not_ordinary_has_a_column() {
        let mut tree = Tree::new();
        tree.bytes("a", "", 0o644, "one").unwrap();
        tree.hard_link("b", "a", "one").unwrap();
        tree.set_attribute("a", "user.x", b"\x01z").unwrap();
        tree.pipe("p", 0o600, "one").unwrap();
        tree.chown("p", 5, 6).unwrap();
        // SHA-256 of nothing (FIPS 180-2).
        let hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let want = format!(
            "path\tkind\tmode\tsize\tsha256\tstage\tattributes\n/a\tfile\t0644\t0\t{hash}\tone\tuser.x=017a\n\
             /b\tfile\t0644\t0\t{hash}\tone\tuser.x=017a link=/a\n/p\tpipe\t0600\t0\t-\tone\towner=5:6\n"
        );
        assert_eq!(tree.manifest_tsv().unwrap(), want);
    }
}
