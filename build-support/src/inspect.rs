//! A look into the store, for people: `cargo bloomery store` and `cargo run -p build-support -- store`.

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use fs_err as fs;

use crate::manifest::Manifest;
use crate::{Arch, Dirs, progress, store};

/// Prints text to standard output. A reader that has gone (`| head`) is no failure.
///
/// # Errors
/// A standard output that takes nothing.
pub fn print(text: &str) -> Result<()> {
    use std::io::Write as _;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("cannot print"),
        _ => Ok(()),
    }
}

/// Every result: size, age, what it took, and whether the last build used it.
///
/// # Errors
/// A store that cannot be made or read.
pub fn list(dirs: &Dirs) -> Result<String> {
    dirs.create()?;
    let garbage: Vec<_> = store::garbage(dirs)?.into_iter().map(|entry| entry.dir).collect();
    let mut text = format!("{:<28} {:<16} {:>9} {:>10} {:>10}  age\n", "stage", "key", "size", "took", "CPU");
    for entry in store::entries(&dirs.store())? {
        let cost = entry.cost();
        let age = SystemTime::now().duration_since(entry.completed).unwrap_or_default().as_secs_f64();
        let used = if garbage.contains(&entry.dir) { ", not used" } else { "" };
        text += &format!(
            "{:<28} {:<16} {:>9} {:>10} {:>10}  {}{used}\n",
            entry.stage,
            entry.key,
            mebibytes(cost.disk_bytes),
            progress::duration(cost.seconds),
            progress::duration(cost.cpu_seconds),
            progress::duration(age),
        );
    }
    Ok(text)
}

/// Compares every result with the digest taken when it was built.
///
/// # Errors
/// The first result that was changed.
pub fn verify(dirs: &Dirs) -> Result<String> {
    let entries = store::entries(&dirs.store())?;
    entries.iter().try_for_each(store::Entry::verify)?;
    Ok(format!("{} results are as they were built\n", entries.len()))
}

/// Removes results that the last build of their stage did not use, the work directories of interrupted builds, and unpacked
/// sources, and prints each with its size. A dry run only prints.
///
/// # Errors
/// What cannot be removed.
pub fn collect(dirs: &Dirs, dry_run: bool) -> Result<()> {
    dirs.create()?;
    let mut bytes = 0;
    for left in store::discarded(&dirs.store())? {
        bytes += remove(&left, dry_run)?;
    }
    for entry in store::garbage(dirs)? {
        let place = if dry_run { entry.dir } else { store::discard(&entry)? };
        bytes += remove(&place, dry_run)?;
    }
    // A running build needs its sources and what it keeps between builds, and only its stage has a lock.
    let running = store::running(dirs)?;
    for parent in [dirs.work(), dirs.sources()] {
        if !running.is_empty() {
            print(&format!("in use by a build of {}: {}\n", running.join(", "), parent.display()))?;
            continue;
        }
        for entry in fs::read_dir(parent)? {
            bytes += remove(&entry?.path(), dry_run)?;
        }
    }
    print(&format!("{} {}\n", mebibytes(bytes), if dry_run { "could be freed" } else { "freed" }))
}

/// The commands of a stage, or of all stages of a kind, as they were run for the results that the last build used: a line a
/// command, and a comment with the name of the result before those of each stage.
///
/// # Errors
/// A stage that was never asked for, or that has no result with its commands.
pub fn commands(dirs: &Dirs, stage: &str, arch: Option<Arch>) -> Result<String> {
    let end = arch.map_or(String::new(), |arch| format!("-{arch}"));
    let names = store::matching_stages(dirs, stage)?;
    let entries = store::entries(&dirs.store())?;
    let mut text = String::new();
    for name in names.iter().filter(|name| name.ends_with(&end)) {
        let key = Manifest::parse(&fs::read_to_string(store::wanted_file(dirs, name))?).key();
        // One instance of a stage may use the result of another.
        let commands = entries.iter().filter(|entry| entry.key == key).map(|entry| entry.dir.join("commands"));
        if let Some(file) = commands.into_iter().find(|file| file.is_file()) {
            text += &format!("# {name}-{key}\n{}", fs::read_to_string(file)?);
        }
    }
    if text.is_empty() {
        bail!(
            "the store has no commands of {stage}{end}\n\
             hint: the last build that wanted {} did not finish, or was one of an older Bloomery; build again",
            names.join(", ")
        );
    }
    Ok(text)
}

/// Removes a directory or a file, and returns how many bytes it had on disk.
fn remove(place: &Path, dry_run: bool) -> Result<u64> {
    let size = store::disk_usage(place)?;
    print(&format!("{:>9} {}\n", mebibytes(size), place.display()))?;
    if !dry_run {
        if place.is_dir() { fs::remove_dir_all(place)? } else { fs::remove_file(place)? }
    }
    Ok(size)
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
