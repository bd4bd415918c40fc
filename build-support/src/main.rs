//! `cargo run -p build-support -- store ...`: a look into the store.

use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use build_support::{Dirs, Result, bail, fs, progress, report, store};

const HELP: &str = "\
A look into the store of stage results.

Usage: cargo run -p build-support -- store COMMAND

Commands:
  list          every result: size, age, what it took, whether the last build used it
  why STAGE     what changed since the last result of a stage (musl, kernel, ...)
  verify        compares every result with the digest taken when it was built
  gc [--dry-run]
                removes results that the last build of their stage did not use, the work
                directories of interrupted builds, and unpacked sources (archives stay)
  path          where the store is
";

fn main() -> ExitCode {
    report::run(run)
}

fn run() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let dirs = Dirs::find()?;
    match words.as_slice() {
        ["store", "list"] => list(&dirs),
        ["store", "why", stage] => {
            print!("{}", store::why(&dirs, stage)?);
            Ok(())
        }
        ["store", "verify"] => verify(&dirs),
        ["store", "gc"] => collect(&dirs, false),
        ["store", "gc", "--dry-run"] => collect(&dirs, true),
        ["store", "path"] => {
            println!("{}", dirs.home.display());
            Ok(())
        }
        [] | ["--help" | "-h" | "help", ..] | ["store", "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => bail!("`{}` is no command\nhint: cargo run -p build-support -- --help", words.join(" ")),
    }
}

fn list(dirs: &Dirs) -> Result<()> {
    dirs.create()?;
    let garbage: Vec<_> = store::garbage(dirs)?.into_iter().map(|entry| entry.dir).collect();
    println!("{:<28} {:<16} {:>9} {:>10} {:>10}  age", "stage", "key", "size", "took", "CPU");
    for entry in store::entries(&dirs.store())? {
        let cost = entry.cost();
        let age = SystemTime::now().duration_since(entry.completed).unwrap_or_default().as_secs_f64();
        let used = if garbage.contains(&entry.dir) { ", not used" } else { "" };
        println!(
            "{:<28} {:<16} {:>9} {:>10} {:>10}  {}{used}",
            entry.stage,
            entry.key,
            mebibytes(cost.disk_bytes),
            progress::duration(cost.seconds),
            progress::duration(cost.cpu_seconds),
            progress::duration(age),
        );
    }
    Ok(())
}

fn verify(dirs: &Dirs) -> Result<()> {
    let entries = store::entries(&dirs.store())?;
    for entry in &entries {
        entry.verify()?;
    }
    println!("{} results are as they were built", entries.len());
    Ok(())
}

fn collect(dirs: &Dirs, dry_run: bool) -> Result<()> {
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
            println!("in use by a build of {}: {}", running.join(", "), parent.display());
            continue;
        }
        for entry in fs::read_dir(parent)? {
            bytes += remove(&entry?.path(), dry_run)?;
        }
    }
    println!("{} {}", mebibytes(bytes), if dry_run { "could be freed" } else { "freed" });
    Ok(())
}

/// Removes a directory or a file, and returns how many bytes it had on disk.
fn remove(place: &Path, dry_run: bool) -> Result<u64> {
    let size = store::disk_usage(place)?;
    println!("{:>9} {}", mebibytes(size), place.display());
    if !dry_run {
        if place.is_dir() { fs::remove_dir_all(place)? } else { fs::remove_file(place)? }
    }
    Ok(size)
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
