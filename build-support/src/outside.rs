//! What a package takes from outside its directory: by links, and by absolute paths in its script. Such files decide about
//! the result as well, so their contents belong to the key, and cargo watches them.

use std::collections::BTreeSet;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use walkdir::WalkDir;

use crate::{digest, tree};

/// Directories of the system. A link to a directory there is made for the target's root, and reading all of it takes minutes; a
/// link to a file there counts.
const SYSTEM: &[&str] = &["/bin", "/boot", "/etc", "/lib", "/lib64", "/opt", "/sbin", "/usr", "/var"];
/// Directories below these that hold a person's own work.
const OWN: &[&str] = &["/usr/local", "/usr/src", "/var/tmp"];
/// File systems of the kernel and of running programs: nothing there is an input.
const KERNEL: &[&str] = &["/dev", "/proc", "/run", "/sys"];
/// Links in links.
const DEPTH: usize = 40;

/// The files and directories that a package reaches outside its directory `dir`, by links in it (and in what these lead
/// to), and by words of `script` that are absolute paths. Paths are without links, and none lies in another one.
///
/// # Errors
/// A directory that cannot be read, and a link to a directory around the package, which holds everything.
pub fn of(dir: &Path, script: &str) -> Result<BTreeSet<PathBuf>> {
    let own = fs::canonicalize(dir)?;
    let mut found = BTreeSet::new();
    let mut next: Vec<PathBuf> = absolute_paths(script).into_iter().filter(|path| !own.starts_with(path)).collect();
    next.extend(links(&own)?);
    while let Some(path) = next.pop() {
        ensure!(
            !own.starts_with(&path),
            "the package {} has a link to {}, which is around it\nhint: link to the directory that is needed, beside the package",
            dir.display(),
            path.display()
        );
        if path.starts_with(&own) || !counts(&path) || found.iter().any(|known| path.starts_with(known)) {
            continue;
        }
        if path.is_dir() {
            next.extend(links(&path)?);
        }
        found.retain(|known: &PathBuf| !known.starts_with(&path));
        found.insert(path);
    }
    Ok(found)
}

/// SHA-256 of their contents, in the order of their names.
///
/// # Errors
/// A file that cannot be read.
pub fn digest(paths: &BTreeSet<PathBuf>) -> Result<String> {
    let contents = paths.iter().map(|path| {
        let content = if path.is_dir() { digest::tree(path)? } else { digest::file(path)? };
        Ok(format!("{}\n", content))
    });
    Ok(digest::text(&contents.collect::<Result<String>>()?))
}

/// As [`tree::copy`], and a relative link that leads out of `from` becomes a copy of what it leads to: in another place it
/// would lead elsewhere.
///
/// # Errors
/// As [`tree::copy`], and links that lead to each other without an end.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    copy_to_depth(from, to, DEPTH)
}

fn copy_to_depth(from: &Path, to: &Path, depth: usize) -> Result<()> {
    ensure!(depth > 0, "{} is reached by links without an end\nhint: remove one of them", from.display());
    tree::copy(from, to)?;
    let own = fs::canonicalize(from)?;
    for entry in WalkDir::new(&own).min_depth(1) {
        let entry = entry.with_context(|| format!("cannot read {}", from.display()))?;
        if !entry.path_is_symlink() || fs::read_link(entry.path())?.is_absolute() {
            continue;
        }
        if let Ok(target) = fs::canonicalize(entry.path())
            && !target.starts_with(&own)
        {
            let place = to.join(entry.path().strip_prefix(&own)?);
            fs::remove_file(&place)?;
            copy_to_depth(&target, &place, depth - 1)?;
        }
    }
    Ok(())
}

/// Where the links of a directory lead; those that lead nowhere are made for another root.
fn links(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut targets = Vec::new();
    for entry in WalkDir::new(dir) {
        let entry = entry.with_context(|| format!("cannot read {}", dir.display()))?;
        if entry.path_is_symlink() {
            targets.extend(fs::canonicalize(entry.path()).ok());
        }
    }
    Ok(targets)
}

/// Whether what lies there can be an input of a package.
fn counts(path: &Path) -> bool {
    let below = |dirs: &[&str]| dirs.iter().any(|dir| path.starts_with(dir));
    let Ok(meta) = path.metadata() else { return false };
    let kind = meta.file_type();
    if below(KERNEL) || kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device() {
        return false;
    }
    // Two names at least: /home, /tmp and the like hold everything.
    let names = path.components().filter(|part| matches!(part, Component::Normal(_))).count();
    kind.is_file() || (names > 1 && (!below(SYSTEM) || below(OWN)) && std::env::home_dir().as_deref() != Some(path))
}

/// The absolute paths that a script names and that exist, without links.
fn absolute_paths(script: &str) -> BTreeSet<PathBuf> {
    let of_path = |c: char| c.is_alphanumeric() || "/._-+@".contains(c);
    let mut found = BTreeSet::new();
    for (at, _) in script.match_indices('/') {
        let before = &script[..at];
        let begins = before.chars().next_back().is_none_or(|c| c.is_whitespace() || "\"'`=:;,<>(|&".contains(c))
            || ["-I", "-L", "-isystem"].iter().any(|option| before.ends_with(option));
        let word = script[at..].split(|c| !of_path(c)).next().unwrap_or_default();
        if begins && word.len() > 1 {
            found.extend(fs::canonicalize(word).ok().filter(|path| counts(path)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A package `pack` beside `project/main.c` and `shared/version`.
    fn bench() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for (path, text) in [("pack/build.sh", "make"), ("project/main.c", "1"), ("shared/version", "1")] {
            tree::write_atomically(&root.join(path), text.as_bytes()).unwrap();
        }
        (dir, root)
    }

    #[test]
    fn a_package_of_its_own_has_nothing_outside() {
        let (_dir, root) = bench();
        symlink("build.sh", root.join("pack/inside")).unwrap();
        symlink("/nowhere/at/all", root.join("pack/dangling")).unwrap();
        symlink("/proc/self/mounts", root.join("pack/mtab")).unwrap();
        symlink("/usr/lib", root.join("pack/lib")).unwrap();
        assert!(
            of(&root.join("pack"), "install -D x \"$DESTDIR/usr/bin/x\" >/dev/null; ls /tmp / $HOME/x")
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn what_links_lead_to_changes_the_digest() {
        let (_dir, root) = bench();
        let pack = root.join("pack");
        symlink(root.join("project"), pack.join("src")).unwrap();
        symlink("../shared/version", root.join("project/version")).unwrap();
        let found = of(&pack, "").unwrap();
        assert_eq!(found, BTreeSet::from([root.join("project"), root.join("shared/version")]));
        let first = digest(&found).unwrap();
        fs::write(root.join("shared/version"), "2").unwrap();
        let second = digest(&found).unwrap();
        fs::write(root.join("project/main.c"), "2").unwrap();
        let third = digest(&found).unwrap();
        assert!(first != second && second != third);
    }

    #[test]
    fn a_script_names_what_it_reads() {
        let (_dir, root) = bench();
        let here = root.display();
        for script in [
            format!("cp {here}/project/main.c ."),
            format!("cp \"{here}/project/main.c\" ."),
            format!("cc -I{here}/project/main.c x"),
            format!("SRC={here}/project/main.c"),
            format!("(cat <{here}/project/main.c)"),
        ] {
            assert_eq!(
                of(&root.join("pack"), &script).unwrap(),
                BTreeSet::from([root.join("project/main.c")]),
                "{script}"
            );
        }
        assert!(of(&root.join("pack"), &format!("cp $X{here}/project/main.c .; cd {here}")).unwrap().is_empty());
    }

    #[test]
    fn a_link_to_what_is_around_the_package_is_refused() {
        let (_dir, root) = bench();
        symlink("..", root.join("pack/up")).unwrap();
        let error = of(&root.join("pack"), "").unwrap_err().to_string();
        assert!(error.contains("which is around it") && error.contains("hint:"), "{error}");
    }

    #[test]
    fn a_copy_has_what_relative_links_lead_to() {
        let (_dir, root) = bench();
        symlink("../project", root.join("pack/src")).unwrap();
        symlink("../shared/version", root.join("project/version")).unwrap();
        symlink(root.join("shared"), root.join("pack/absolute")).unwrap();
        symlink("build.sh", root.join("pack/inside")).unwrap();
        let to = root.join("elsewhere/deep/copy");
        fs::create_dir_all(&to).unwrap();
        copy(&root.join("pack"), &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("src/version")).unwrap(), "1");
        assert!(!to.join("src").is_symlink() && to.join("absolute").is_symlink() && to.join("inside").is_symlink());
        symlink("../pack", root.join("project/back")).unwrap();
        let error = copy(&root.join("pack"), &root.join("endless")).unwrap_err().to_string();
        assert!(error.contains("without an end"), "{error}");
    }
}
