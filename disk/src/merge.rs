//! Trees of this machine in a tree of an image: packages, the files of a profile, results of stages.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use build_support::{digest, xattr};
use fs_err as fs;
use walkdir::{DirEntry, WalkDir};

use crate::tree::{Class, Content, Kind, Tree};

/// How many links Linux follows in one path (`MAXSYMLINKS`, include/linux/namei.h).
const LINKS_MAX: usize = 40;

/// What of the host's permissions and attributes counts.
#[derive(Clone, Copy, PartialEq)]
enum Keep {
    /// All that was chosen.
    All,
    /// Whether anybody may execute a file.
    Execution,
}

/// Where a tree goes.
struct Merge<'a> {
    from: &'a Path,
    into: &'a str,
    stage: &'a str,
    keep: Keep,
}

impl Tree {
    /// Adds everything below a directory of this machine at `into` (`""` is the root): files, directories, links, hard
    /// links, devices, pipes and sockets, with permissions, set-id and sticky bits, capabilities and `user.*`
    /// attributes. Owners do not count, since nobody but root could choose them. [`digest::permissions`] says which
    /// permissions count as chosen.
    ///
    /// A directory that is in the tree keeps its permissions, and a file that takes another stage's place is as private as
    /// that one was. Where a directory meets a link of the tree that leads to a directory in it, what it holds goes there:
    /// packages install into `/sbin` and `/lib`, which are links.
    ///
    /// # Errors
    ///
    /// As [`Tree::dir`]; when `from` is no directory; when a name is not UTF-8; when a file has an access control list,
    /// which no output keeps.
    pub fn merge(&mut self, from: &Path, into: &str, stage: &str) -> Result<()> {
        self.merge_all(&Merge { from, into, stage, keep: Keep::All })
    }

    /// As [`Tree::merge`], for trees whose permissions say nothing, such as sources that came by git, which keeps the right
    /// to execute alone: directories and files that anybody may execute become 0755, other files 0644, and extended
    /// attributes are left out.
    ///
    /// # Errors
    ///
    /// As [`Tree::merge`].
    pub fn merge_plain(&mut self, from: &Path, into: &str, stage: &str) -> Result<()> {
        self.merge_all(&Merge { from, into, stage, keep: Keep::Execution })
    }

    fn merge_all(&mut self, merge: &Merge) -> Result<()> {
        let from = merge.from.display();
        let meta = fs::metadata(merge.from)?;
        ensure!(meta.is_dir(), "{from} is no directory\nhint: name the directory that holds it");
        let mut several = BTreeMap::new();
        for entry in WalkDir::new(merge.from).min_depth(1).sort_by_file_name() {
            let entry = entry.with_context(|| format!("cannot read {from}"))?;
            let below = entry.path().strip_prefix(merge.from)?;
            let below =
                below.to_str().with_context(|| format!("{} has a name that is not UTF-8", entry.path().display()))?;
            let path = if merge.into.is_empty() { below.to_string() } else { format!("{}/{below}", merge.into) };
            let path = self.behind_links(&path, entry.file_type().is_dir());
            if path.is_empty() {
                continue;
            }
            self.merge_one(&entry, &path, merge)?;
            if let Some(word) = self.get(&path).and_then(|entry| entry.same_file.clone()) {
                several.entry(word).or_insert_with(Vec::new).push(path);
            }
        }
        // The names of one file have one mode. Where one name took another file's place, all are as private as that was.
        for names in several.values() {
            let modes = names.iter().filter_map(|name| Some(self.get(name)?.mode));
            let mode = modes.reduce(|a, b| a & b).unwrap_or_default();
            self.chmod(&names[0], mode)?;
        }
        Ok(())
    }

    fn merge_one(&mut self, entry: &DirEntry, path: &str, merge: &Merge) -> Result<()> {
        let (host, stage) = (entry.path(), merge.stage);
        let meta = entry.metadata()?;
        if meta.is_symlink() {
            let target = fs::read_link(host)?;
            let target = target
                .to_str()
                .with_context(|| format!("the link {} leads to a name that is not UTF-8", host.display()))?;
            return self.link(path, target, stage);
        }
        if meta.is_dir() && self.get(path).is_some_and(|known| known.kind == Kind::Dir) {
            return Ok(()); // It keeps its mode: /root and /tmp differ from 0755 on purpose.
        }
        let mode = match merge.keep {
            Keep::All => digest::permissions(meta.mode()),
            Keep::Execution if meta.is_dir() || meta.mode() & 0o111 != 0 => 0o755,
            Keep::Execution => 0o644,
        };
        self.add(path, kind(host, &meta), mode, stage)?;
        if meta.is_file() && meta.nlink() > 1 {
            // The same word for the same file in another tree that takes it from here: layers are compared.
            let word = format!("{stage}:{}:{}:{}", merge.into, meta.dev(), meta.ino());
            self.get_mut(path)?.same_file = Some(word);
        }
        if merge.keep == Keep::All {
            refuse_acl(host)?;
            self.get_mut(path)?.attributes = xattr::of_content(host)?;
        }
        Ok(())
    }

    /// A path with its directories' links followed as far as they lead to directories of the tree; the last name of a
    /// path is followed only when it is a directory's too.
    pub(crate) fn behind_links(&self, path: &str, is_dir: bool) -> String {
        let mut real = String::new();
        let last = path.split('/').count() - 1;
        for (i, name) in path.split('/').enumerate() {
            let plain = if real.is_empty() { name.to_string() } else { format!("{real}/{name}") };
            let followed = if i < last || is_dir { self.directory(&plain, LINKS_MAX) } else { None };
            real = followed.unwrap_or(plain);
        }
        real
    }

    /// The directory that a path leads to by at most so many links, or `None` when it leads to none in the tree.
    fn directory(&self, path: &str, links: usize) -> Option<String> {
        if path.is_empty() {
            return Some(String::new()); // The root itself.
        }
        match &self.entries.get(path)?.kind {
            Kind::Dir => Some(path.to_string()),
            Kind::Link(target) => {
                let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                let mut at = if target.starts_with('/') { String::new() } else { parent.to_string() };
                for name in target.split('/').filter(|name| !matches!(*name, "" | ".")) {
                    at = match (name, at.rsplit_once('/')) {
                        ("..", up) => up.map_or(String::new(), |(up, _)| up.to_string()),
                        _ if at.is_empty() => name.to_string(),
                        _ => format!("{at}/{name}"),
                    };
                    at = self.directory(&at, links.checked_sub(1)?)?;
                }
                Some(at)
            }
            _ => None,
        }
    }
}

fn kind(host: &Path, meta: &std::fs::Metadata) -> Kind {
    let device = |class| {
        let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
        Kind::Device { class, major, minor }
    };
    match meta.file_type() {
        kind if kind.is_dir() => Kind::Dir,
        kind if kind.is_fifo() => Kind::Pipe,
        kind if kind.is_socket() => Kind::Socket,
        kind if kind.is_char_device() => device(Class::Char),
        kind if kind.is_block_device() => device(Class::Block),
        _ => Kind::File(Content::Host(host.to_path_buf())),
    }
}

fn refuse_acl(host: &Path) -> Result<()> {
    if xattr::names(host)?.iter().any(|name| name.starts_with("system.posix_acl_")) {
        let host = host.display();
        bail!(
            "{host} has an access control list, which no output keeps\n\
             hint: setfacl --remove-all --remove-default {host}, and let permissions, owner and group say the same"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(tree: &Tree) -> Vec<&str> {
        tree.entries().map(|(path, _)| path).collect()
    }

    fn set_mode(path: &Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_merge_keeps_permissions_links_and_no_owner() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("sub/closed")).unwrap();
        let files = [
            ("sub/a program", 0o4755),
            ("sub/host key", 0o600),
            ("sub/for a group", 0o2750),
            ("sub/umask 002", 0o664),
            ("sub/umask 002 too", 0o775),
        ];
        for (name, mode) in files {
            fs::write(at(name), name).unwrap();
            set_mode(&at(name), mode);
        }
        set_mode(&at("sub/closed"), 0o700);
        fs::hard_link(at("sub/host key"), at("sub/second name")).unwrap();
        std::os::unix::fs::symlink("tool", at("sub/link")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("sub/pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("sub/socket")).unwrap();
        set_mode(&at("sub/socket"), 0o666);
        let (mut kept, mut plain) = (Tree::new(), Tree::new());
        for tree in [&mut kept, &mut plain] {
            tree.dir("usr/sub", 0o1777, "first").unwrap();
        }
        kept.merge(dir.path(), "usr", "second").unwrap();
        plain.merge_plain(dir.path(), "usr", "second").unwrap();
        // Path, mode as kept, mode of a plain merge.
        let want = [
            ("usr", 0o755, 0o755),
            ("usr/sub", 0o1777, 0o1777),
            ("usr/sub/a program", 0o4755, 0o755),
            ("usr/sub/closed", 0o700, 0o755),
            ("usr/sub/for a group", 0o2750, 0o755),
            ("usr/sub/host key", 0o600, 0o644),
            ("usr/sub/link", 0o777, 0o777),
            ("usr/sub/pipe", 0o600, 0o644),
            ("usr/sub/second name", 0o600, 0o644),
            ("usr/sub/socket", 0o666, 0o644),
            ("usr/sub/umask 002", 0o644, 0o644),
            ("usr/sub/umask 002 too", 0o755, 0o755),
        ];
        for (tree, modes) in [(&kept, want.map(|(_, kept, _)| kept)), (&plain, want.map(|(_, _, plain)| plain))] {
            assert_eq!(paths(tree), want.map(|(path, ..)| path));
            assert_eq!(tree.entries().map(|(_, entry)| entry.mode).collect::<Vec<_>>(), modes);
            let entry = tree.get("usr/sub/host key").unwrap();
            assert_eq!(tree.names().of("usr/sub/host key", entry).len(), 2);
            assert_eq!(tree.get("usr/sub/pipe").unwrap().kind, Kind::Pipe);
            assert_eq!(tree.get("usr/sub/socket").unwrap().kind, Kind::Socket);
        }
        assert_eq!(kept.get("usr/sub").unwrap().stage, "first");
    }

    #[test]
    fn a_merge_keeps_attributes_and_a_plain_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ping");
        fs::write(&file, "program").unwrap();
        let capability = crate::Capabilities::parse("cap_net_raw=ep").unwrap().to_bytes();
        let mut attributes = xattr::Attributes::from([("user.note".to_string(), b"x".to_vec())]);
        if xattr::set(&file, &attributes).is_err() {
            eprintln!("skipped: the temporary directory's file system keeps no attributes");
            return;
        }
        let privileged = xattr::Attributes::from([(xattr::CAPABILITY.to_string(), capability)]);
        if xattr::set(&file, &privileged).is_ok() {
            attributes.extend(privileged); // Only root may set it.
        }
        let (mut kept, mut plain) = (Tree::new(), Tree::new());
        kept.merge(dir.path(), "", "one").unwrap();
        plain.merge_plain(dir.path(), "", "one").unwrap();
        assert_eq!(kept.get("ping").unwrap().attributes, attributes);
        assert!(plain.get("ping").unwrap().attributes.is_empty());
        // Version 2, owner, group and others may read and write, and user 1000 may read (linux/posix_acl_xattr.h).
        let entries: [(u16, u16, u32); 5] =
            [(1, 6, u32::MAX), (2, 4, 1000), (4, 6, u32::MAX), (0x10, 6, u32::MAX), (0x20, 6, u32::MAX)];
        let mut list = 2_u32.to_le_bytes().to_vec();
        for (tag, rights, id) in entries {
            list.extend([tag.to_le_bytes(), rights.to_le_bytes()].concat());
            list.extend(id.to_le_bytes());
        }
        let list = xattr::Attributes::from([("system.posix_acl_access".to_string(), list)]);
        if xattr::set(&file, &list).is_ok() {
            let error = Tree::new().merge(dir.path(), "", "one").unwrap_err().to_string();
            assert!(error.contains("access control list") && error.contains("hint: setfacl"), "{error}");
            Tree::new().merge_plain(dir.path(), "", "one").unwrap();
        }
    }

    #[test]
    fn a_file_in_place_of_a_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("motd");
        fs::write(&file, "hello").unwrap();
        let error = Tree::new().merge(&file, "", "one").unwrap_err().to_string();
        assert!(error.contains("is no directory") && error.contains("hint:"), "{error}");
        assert!(Tree::new().merge(&dir.path().join("nothing"), "", "one").is_err());
    }

    #[test]
    fn a_name_that_takes_a_private_files_place_makes_the_file_private() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("b"), "text").unwrap();
        fs::hard_link(dir.path().join("b"), dir.path().join("a")).unwrap();
        let mut tree = Tree::new();
        tree.bytes("b", "secret", 0o600, "skeleton").unwrap();
        tree.merge(dir.path(), "", "profile").unwrap();
        assert_eq!((tree.get("a").unwrap().mode, tree.get("b").unwrap().mode), (0o600, 0o600));
    }

    #[test]
    fn a_merge_goes_on_behind_links_to_directories() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["sbin/a", "usr/sbin/b", "lib/c/d", "var/run/e", "up/f", "usr/bin/sbin/g"] {
            build_support::tree::write_atomically(&dir.path().join(name), b"text").unwrap();
        }
        let mut tree = Tree::new();
        for path in ["usr/bin", "usr/lib", "run"] {
            tree.dir(path, 0o755, "skeleton").unwrap();
        }
        let links =
            [("sbin", "usr/sbin"), ("usr/sbin", "bin"), ("lib", "/usr/lib/"), ("var/run", "../run"), ("up", "/")];
        for (path, target) in links {
            tree.link(path, target, "skeleton").unwrap();
        }
        tree.merge(dir.path(), "", "package").unwrap();
        let files = tree.entries().filter(|(_, entry)| matches!(entry.kind, Kind::File(_))).map(|(path, _)| path);
        assert_eq!(
            files.collect::<Vec<_>>(),
            ["f", "run/e", "usr/bin/a", "usr/bin/b", "usr/bin/sbin/g", "usr/lib/c/d"]
        );
        assert_eq!(tree.get("sbin").unwrap().kind, Kind::Link("usr/sbin".into()));
    }

    #[test]
    fn a_link_that_leads_to_no_directory_is_refused_as_before() {
        let dir = tempfile::tempdir().unwrap();
        build_support::tree::write_atomically(&dir.path().join("lib/x"), b"text").unwrap();
        for target in ["nowhere", "lib", "/lib/lib", "file", "../file/.."] {
            let mut tree = Tree::new();
            tree.bytes("file", "", 0o644, "one").unwrap();
            tree.link("lib", target, "one").unwrap();
            let error = tree.merge(dir.path(), "", "two").unwrap_err().to_string();
            assert!(error.contains("/lib is a link of stage one"), "{target}: {error}");
        }
    }
}
