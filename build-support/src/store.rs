//! The content-addressed store: one directory a result, named by stage and key, renamed into place when complete.
//!
//! A result holds `out/` (what the stage made), `manifest` (its inputs), `digest` (of `out/`), `why` (what differed
//! from the result before it), `cost` (time, memory, disk), `sources` (which origin the archives came from) and `commands`
//! (what the recipe ran).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use fs_err as fs;
use walkdir::WalkDir;

use crate::manifest::Manifest;
use crate::{Dirs, digest};

/// What building a result took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Wall-clock seconds.
    pub seconds: f64,
    /// User and system seconds of all processes.
    pub cpu_seconds: f64,
    /// Bytes of the largest single process.
    pub peak_bytes: u64,
    /// Bytes of the result on disk.
    pub disk_bytes: u64,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1}\t{:.1}\t{}\t{}", self.seconds, self.cpu_seconds, self.peak_bytes, self.disk_bytes)
    }
}

impl Cost {
    /// Reads back what `to_string` wrote.
    pub fn parse(text: &str) -> Option<Cost> {
        let mut fields = text.trim().split('\t');
        Some(Cost {
            seconds: fields.next()?.parse().ok()?,
            cpu_seconds: fields.next()?.parse().ok()?,
            peak_bytes: fields.next()?.parse().ok()?,
            disk_bytes: fields.next()?.parse().ok()?,
        })
    }
}

/// A complete result in the store.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The stage with its architecture, such as `musl-x86_64`.
    pub stage: String,
    /// The key of its inputs.
    pub key: String,
    /// Its directory.
    pub dir: PathBuf,
    /// When it was completed.
    pub completed: SystemTime,
}

impl Entry {
    /// Opens a result, or `None` when there is no complete one.
    pub fn open(store: &Path, stage: &str, key: &str) -> Option<Entry> {
        Entry::at(&store.join(format!("{stage}-{key}")))
    }

    fn at(dir: &Path) -> Option<Entry> {
        let (stage, key) = dir.file_name()?.to_str()?.rsplit_once('-')?;
        if key.len() != 16 || stage.starts_with('.') {
            return None;
        }
        // The digest is written last, so a directory without a whole one is no result.
        let file = dir.join("digest");
        let digest = fs::read_to_string(&file).ok()?;
        if digest.trim().len() != 64 || !digest.trim().bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let completed = file.metadata().ok()?.modified().ok()?;
        Some(Entry { stage: stage.into(), key: key.into(), dir: dir.to_path_buf(), completed })
    }

    /// What the stage made.
    pub fn out(&self) -> PathBuf {
        self.dir.join("out")
    }

    /// The digest of what the stage made.
    pub fn digest(&self) -> Result<String> {
        Ok(fs::read_to_string(self.dir.join("digest"))?.trim().to_string())
    }

    /// The inputs.
    pub fn manifest(&self) -> Result<Manifest> {
        Ok(Manifest::parse(&fs::read_to_string(self.dir.join("manifest"))?))
    }

    /// What building it took.
    pub fn cost(&self) -> Cost {
        fs::read_to_string(self.dir.join("cost")).ok().and_then(|text| Cost::parse(&text)).unwrap_or_default()
    }

    /// Computes the digest anew and compares; a difference means that somebody wrote into the store.
    pub fn verify(&self) -> Result<()> {
        if digest::tree(&self.out())? != self.digest()? {
            bail!(
                "the stored result {} was changed after it was built\nhint: remove it (rm -r) and build again",
                self.dir.display()
            );
        }
        Ok(())
    }
}

/// How the name of a result begins that is about to be removed.
const REMOVED: &str = ".removed-";

/// Renames a result, so that it is none even when its removal is interrupted, and returns its new place.
pub fn discard(entry: &Entry) -> Result<PathBuf> {
    let name = entry.dir.file_name().context("a result has a name")?.to_string_lossy().into_owned();
    let place = entry.dir.with_file_name(format!("{REMOVED}{name}"));
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    fs::rename(&entry.dir, &place)?;
    Ok(place)
}

/// What an interrupted removal of results left.
pub fn discarded(store: &Path) -> Result<Vec<PathBuf>> {
    let mut left = Vec::new();
    for entry in fs::read_dir(store)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(REMOVED) {
            left.push(entry.path());
        }
    }
    Ok(left)
}

/// Every complete result, newest last.
pub fn entries(store: &Path) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for dir in fs::read_dir(store)? {
        entries.extend(Entry::at(&dir?.path()));
    }
    entries.sort_by_key(|entry| entry.completed);
    Ok(entries)
}

/// The newest result of a stage.
pub fn newest(store: &Path, stage: &str) -> Result<Option<Entry>> {
    Ok(entries(store)?.into_iter().rfind(|entry| entry.stage == stage))
}

/// The result of a stage that the last build used: its own, or that of another instance with the same inputs.
///
/// # Errors
/// A store that cannot be read.
pub fn last(dirs: &Dirs, stage: &str) -> Result<Option<Entry>> {
    let file = wanted_file(dirs, stage);
    if !file.is_file() {
        return Ok(None);
    }
    let key = Manifest::parse(&fs::read_to_string(file)?).key();
    let kind = |stage: &str| stage.split('-').next().map(String::from);
    Ok(entries(&dirs.store())?.into_iter().find(|entry| entry.key == key && kind(&entry.stage) == kind(stage)))
}

/// How the name of a file begins that keeps wanted inputs.
const WANTED: &str = ".wanted-";

/// The file that keeps the inputs that were asked for last.
pub fn wanted_file(dirs: &Dirs, stage: &str) -> PathBuf {
    dirs.store().join(format!("{WANTED}{stage}"))
}

/// Says why a stage was built, or will be built again.
pub fn why(dirs: &Dirs, stage: &str) -> Result<String> {
    let names = matching_stages(dirs, stage)?;
    let mut text = String::new();
    for name in names {
        text += &why_one(dirs, &name)?;
    }
    Ok(text)
}

fn why_one(dirs: &Dirs, stage: &str) -> Result<String> {
    let wanted = Manifest::parse(&fs::read_to_string(wanted_file(dirs, stage))?);
    if let Some(entry) = Entry::open(&dirs.store(), stage, &wanted.key()) {
        let why = fs::read_to_string(entry.dir.join("why"))?;
        return Ok(format!("{stage}-{}: in the store; it was built because of:\n{why}", entry.key));
    }
    match newest(&dirs.store(), stage)? {
        None => Ok(format!("{stage}: not built yet\n")),
        Some(last) => {
            let changes = wanted.changes_since(&last.manifest()?).join("\n  ");
            Ok(format!("{stage}: will be built; since {} changed:\n  {changes}\n", last.key))
        }
    }
}

/// The stages that were asked for, of one name or of one kind.
pub(crate) fn matching_stages(dirs: &Dirs, stage: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for file in fs::read_dir(dirs.store())? {
        let name = file?.file_name().to_string_lossy().into_owned();
        if let Some(known) = name.strip_prefix(WANTED) {
            names.push(known.to_string());
        }
    }
    names.sort();
    let found: Vec<String> =
        names.iter().filter(|name| *name == stage || name.starts_with(&format!("{stage}-"))).cloned().collect();
    if found.is_empty() {
        bail!("no stage `{stage}` was ever asked for\nhint: known are {}", names.join(", "));
    }
    Ok(found)
}

/// The results that no checkout's last build asked for: those whose inputs are not the wanted ones of any stage. (One
/// instance of a stage may use the result of another.)
///
/// # Errors
/// A store that cannot be read.
pub fn garbage(dirs: &Dirs) -> Result<Vec<Entry>> {
    let mut wanted = BTreeSet::new();
    for file in fs::read_dir(dirs.store())? {
        let path = file?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(WANTED)) {
            wanted.insert(Manifest::parse(&fs::read_to_string(path)?).key());
        }
    }
    Ok(entries(&dirs.store())?.into_iter().filter(|entry| !wanted.contains(&entry.key)).collect())
}

/// The stages and downloads that a process works on now: whose locks are held.
pub fn running(dirs: &Dirs) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dirs.locks())? {
        let path = entry?.path();
        if fs::File::open(&path)?.file().try_lock().is_err() {
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    Ok(names)
}

/// Bytes of a tree on disk.
pub fn disk_usage(root: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    for entry in WalkDir::new(root) {
        let entry = entry.with_context(|| format!("cannot read {}", root.display()))?;
        bytes += entry.metadata()?.blocks() * 512;
    }
    Ok(bytes)
}
