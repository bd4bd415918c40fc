//! Files of a user's own over an unpacked source. The merged tree lies beside the source's, made of hard links to it: upstream's files stay
//! as they are.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use build_support::{Cmd, Dirs, digest, tree};
use fs_err as fs;

/// What a file ends in that is added to the end of another one.
const APPEND: &str = ".append";

thread_local! {
    static OVERLAYS: RefCell<BTreeMap<String, Overlay>> = const { RefCell::new(BTreeMap::new()) };
}

/// A directory whose files are laid over a source.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Overlay {
    dir: PathBuf,
    /// The digest of its files.
    pub(crate) digest: String,
}

/// Does some work for which [`crate::source`] of a name has the files of a directory laid over it, in this thread.
///
/// A file takes the place of the source's, or is added to it. One whose name ends in `.append` is added to the end of the source's file.
///
/// # Errors
///
/// A directory that cannot be read, and what the work meets.
pub fn with_overlay<T>(name: &str, dir: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let overlay = Overlay { dir: dir.into(), digest: digest::tree(dir)? };
    let before = OVERLAYS.with_borrow_mut(|all| all.insert(name.into(), overlay));
    let result = work();
    OVERLAYS.with_borrow_mut(|all| match before {
        Some(before) => all.insert(name.into(), before),
        None => all.remove(name),
    });
    result
}

/// The overlay of a source in this thread.
pub(crate) fn of(name: &str) -> Option<Overlay> {
    OVERLAYS.with_borrow(|all| all.get(name).cloned())
}

impl Overlay {
    /// The source with the overlay, made when it is not there. The caller holds the source's lock.
    pub(crate) fn merged(&self, source: &Path) -> Result<PathBuf> {
        let name = source.file_name().unwrap_or_default().to_string_lossy();
        let merged = source.with_file_name(format!("{name}-{}", &self.digest[..12]));
        if merged.is_dir() {
            return Ok(merged);
        }
        let temporary = source.with_file_name(format!(".{name}-{}.tmp", &self.digest[..12]));
        if temporary.exists() {
            fs::remove_dir_all(&temporary)?;
        }
        Cmd::new("cp").args(["--archive", "--link"]).arg(source).arg(&temporary).run("link the source's files")?;
        tree::files(&self.dir)?.iter().try_for_each(|path| self.lay(path, &temporary))?;
        fs::rename(&temporary, &merged)?;
        Ok(merged)
    }

    fn lay(&self, path: &Path, over: &Path) -> Result<()> {
        let text = path.to_string_lossy();
        let own = self.dir.join(path);
        let Some(appended) = text.strip_suffix(APPEND) else {
            let target = over.join(path);
            take_away(&target)?;
            return tree::copy(&own, &target);
        };
        let target = over.join(appended);
        ensure!(
            target.is_file(),
            "{} is added to the end of {appended}, which the source does not have\nhint: without `{APPEND}` it is a file of its own",
            own.display()
        );
        let old = fs::read(&target)?;
        take_away(&target)?;
        let mut file = fs::File::create(&target)?;
        file.write_all(&old)?;
        Ok(file.write_all(&fs::read(&own)?)?)
    }
}

/// Removes a link to a file of the source: to write into it would change that file.
fn take_away(target: &Path) -> Result<()> {
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    if target.symlink_metadata().is_ok() {
        fs::remove_file(target)?;
    }
    Ok(())
}

impl crate::Source {
    /// The unpacked tree with the overlay of this source.
    pub(crate) fn with_own_files(&self, dirs: &Dirs, source: PathBuf) -> Result<PathBuf> {
        let Some(overlay) = self.overlay() else { return Ok(source) };
        let _lock = self.lock(dirs)?;
        overlay.merged(&source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_replaces_adds_and_appends() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (path, text) in [("s/a", "old\n"), ("s/b/Makefile", "one\n"), ("s/c", "c\n")] {
            write(path, text);
        }
        for (path, text) in [("o/a", "new\n"), ("o/b/Makefile.append", "two\n"), ("o/d/e", "e\n")] {
            write(path, text);
        }
        let (source, own) = (dir.path().join("s"), dir.path().join("o"));
        let merged = with_overlay("x", &own, || of("x").unwrap().merged(&source)).unwrap();
        assert_eq!(of("x"), None);
        let read = |dir: &Path, path: &str| fs::read_to_string(dir.join(path)).unwrap();
        let texts = ["a", "b/Makefile", "c", "d/e"].map(|path| read(&merged, path));
        assert_eq!(texts, ["new\n", "one\ntwo\n", "c\n", "e\n"]);
        assert_eq!(["a", "b/Makefile"].map(|path| read(&source, path)), ["old\n", "one\n"]);
        write("o/none.append", "x");
        let error = with_overlay("x", &own, || of("x").unwrap().merged(&source)).unwrap_err().to_string();
        assert!(error.contains("none") && error.contains("hint:"), "{error}");
    }
}
