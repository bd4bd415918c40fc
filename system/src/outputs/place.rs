//! Puts outputs out of the store to where a user finds them: users write into what lies below `target`.
//!
//! `PROFILE/key` has a line for each output that is in place: its name, its key, and its files. A line goes before its
//! files do, so that a killed build is seen.

use std::cell::RefCell;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use build_support::{Arch, Built, Cmd, Dirs, EPOCH, cargo, fs, mounts, progress, stage, tree};

use super::{MANIFEST, Output, PROFILE_MARK, RUN_SCRIPT, directory, identity};
use crate::machine;
use crate::profile::Profile;

/// The outputs of a profile that are in place.
pub struct Placed<'a> {
    output: PathBuf,
    dir: PathBuf,
    profile: &'a Profile,
    lines: RefCell<Vec<Line>>,
    _lock: fs::File,
}

#[derive(Clone, PartialEq)]
struct Line {
    name: String,
    key: String,
    files: Vec<String>,
}

impl Placed<'_> {
    /// Reads what is in place. What is there of another profile with the same name is not.
    pub fn open<'a>(dirs: &Dirs, arch: Arch, profile: &'a Profile) -> Result<Placed<'a>> {
        let output = dirs.output(arch);
        // A debug and a release build write the same files.
        let lock = stage::lock(dirs, &format!("outputs-{}-{arch}", profile.name))?;
        let dir = output.join(directory(profile));
        fs::create_dir_all(&dir)?;
        let same = fs::read_to_string(dir.join(PROFILE_MARK)).is_ok_and(|text| text == identity(profile));
        let text = if same { fs::read_to_string(dir.join("key")).unwrap_or_default() } else { String::new() };
        let lines = RefCell::new(text.lines().filter_map(parse).collect());
        let placed = Placed { output, dir, profile, lines, _lock: lock };
        placed.save()?;
        tree::write_atomically(&placed.dir.join(PROFILE_MARK), identity(profile).as_bytes())?;
        placed.drop_old()?;
        Ok(placed)
    }

    /// Removes the outputs that the profile has no more.
    fn drop_old(&self) -> Result<()> {
        let kept: Vec<String> = self.profile.outputs.iter().flat_map(Output::files).collect();
        let old: Vec<Line> = self.lines.borrow().clone();
        for line in old.iter().filter(|line| self.profile.outputs.iter().all(|output| output.name != line.name)) {
            self.lines.borrow_mut().retain(|other| other != line);
            self.save()?;
            for file in line.files.iter().filter(|file| !kept.contains(file)) {
                remove(&self.output.join(file))?;
            }
        }
        Ok(())
    }

    /// Puts an output in place, unless the same one is.
    pub fn update(&self, output: &Output, built: &Built, put: impl FnOnce() -> Result<()>) -> Result<()> {
        let line = Line { name: output.name.clone(), key: built.key.clone(), files: output.files() };
        // A kernel for one architecture has no file for firmware: those that are in no result are not missed. A directory
        // may be in no result either, and is the output's only file.
        let wanted = |file: &&String| built.dir.join(file).symlink_metadata().is_ok() || line.files.len() == 1;
        let complete = line.files.iter().filter(wanted).all(|file| self.output.join(file).exists());
        if complete && self.lines.borrow().contains(&line) {
            return Ok(());
        }
        self.lines.borrow_mut().retain(|other| other.name != output.name);
        self.save()?;
        put()?;
        self.lines.borrow_mut().push(line);
        self.save()
    }

    /// Writes what lies beside the outputs, and asks cargo to come back when something of it goes.
    pub fn finish(self, arch: Arch, manifest: &str) -> Result<()> {
        tree::write_atomically(&self.dir.join(MANIFEST), manifest.as_bytes())?;
        let script = self.dir.join(RUN_SCRIPT);
        match machine::script(arch, self.profile)? {
            Some(text) => {
                tree::write_atomically(&script, text.as_bytes())?;
                fs::set_permissions(&script, Permissions::from_mode(0o755))?;
            }
            None => remove(&script)?,
        }
        cargo::rerun_if_removed(&self.dir.join("key"))?;
        cargo::rerun_if_removed(&self.dir.join(PROFILE_MARK))?;
        for output in &self.profile.outputs {
            let files = output.files();
            let first = files.first().map(|file| self.output.join(file)).filter(|file| file.is_file());
            // A guest changes its disk's time; the raw file stays as built.
            first.map_or(Ok(()), |file| cargo::rerun_if_removed(&file))?;
        }
        Ok(())
    }

    fn save(&self) -> Result<()> {
        let lines = self.lines.borrow();
        let text: String =
            lines.iter().map(|Line { name, key, files }| format!("{name}\t{key}\t{}\n", files.join("\t"))).collect();
        tree::write_atomically(&self.dir.join("key"), text.as_bytes())
    }
}

fn parse(line: &str) -> Option<Line> {
    let mut fields = line.split('\t').map(String::from);
    Some(Line { name: fields.next()?, key: fields.next()?, files: fields.collect() })
}

/// Makes the directory of a file.
pub fn make_parent(file: &Path) -> Result<()> {
    Ok(fs::create_dir_all(file.parent().context("an output has a directory")?)?)
}

fn remove(path: &Path) -> Result<()> {
    let Ok(meta) = path.symlink_metadata() else { return Ok(()) };
    if !meta.is_dir() {
        return Ok(fs::remove_file(path)?);
    }
    mounts::refuse(path)?;
    Ok(fs::remove_dir_all(path)?)
}

/// Copies a file or a directory in place of what was there.
pub fn replace(from: &Path, to: &Path) -> Result<()> {
    make_parent(to)?;
    remove(to)?;
    tree::copy(from, to)
}

/// Copies a disk without its holes, or shares its blocks where the file system can.
pub fn copy_sparse(from: &Path, to: &Path) -> Result<()> {
    Cmd::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(from).arg(to).run("copy a disk")
}

/// Puts a disk in place. A copy that is under its name is whole and has the time that tells it from one that a guest wrote
/// to. With `keep`, one that a guest wrote to is kept aside and not thrown away.
pub fn disk(from: &Path, to: &Path, keep: bool) -> Result<()> {
    make_parent(to)?;
    let part = to.with_added_extension("part"); // One that a killed build left is written over.
    copy_sparse(from, &part)?;
    fs::File::options().append(true).open(&part)?.file().set_modified(fresh())?;
    if keep {
        keep_used(to)?;
    }
    Ok(fs::rename(part, to)?)
}

/// The time of a disk that no guest wrote to.
fn fresh() -> std::time::SystemTime {
    std::time::UNIX_EPOCH + std::time::Duration::from_secs(EPOCH)
}

fn keep_used(disk: &Path) -> Result<()> {
    let Ok(meta) = disk.metadata() else { return Ok(()) };
    if meta.modified()? != fresh() {
        let old = tree::keep(disk)?;
        progress::line(&format!("the disk that a guest wrote to is now {}", old.display()));
    }
    Ok(())
}
