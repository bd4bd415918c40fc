//! Builds as a user starts them, for the tests that break them or time them.
//!
//! They take their results from the real store, because an LLVM of their own would cost an hour, and leave nothing in
//! it. They take turns, because cargo lets one build of a checkout wait for the other.
#![allow(dead_code)] // Every test binary compiles this module and uses its own part of it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use build_support::{Arch, Dirs, fs, store, tree, vars};

/// What cargo sets for a running test, and a user's shell does not have.
const OF_A_TEST: &[&str] =
    &["CARGO", "CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_CRATE_NAME", "OUT_DIR", "LD_LIBRARY_PATH"];

/// The command that README.md names.
pub const BUILD: &[&str] = &["build", "-p", "image", "--release"];

/// A build that ended.
pub struct Ended {
    /// Whether it succeeded.
    pub ok: bool,
    /// What cargo printed.
    pub text: String,
    /// How long it took.
    pub seconds: f64,
}

/// The right to build: one test of a binary at a time, since builds wait for each other and are timed.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A command of cargo in a checkout, with the environment of a user's shell.
pub fn cargo(checkout: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(words).current_dir(checkout).stdin(Stdio::null());
    let of_package = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_PKG_"));
    let names = of_package.map(|(name, _)| name).chain(OF_A_TEST.iter().map(|name| name.into()));
    for name in names {
        command.env_remove(name);
    }
    command.env("CARGO_TERM_COLOR", "never");
    command
}

/// Runs a build to its end, whatever that is.
pub fn run(command: &mut Command) -> Result<Ended> {
    let begin = Instant::now();
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    Ok(Ended { ok: output.status.success(), text, seconds: begin.elapsed().as_secs_f64() })
}

/// Runs a build that must succeed.
pub fn succeed(command: &mut Command) -> Result<Ended> {
    let ended = run(command)?;
    ensure!(ended.ok, "{command:?} failed:\n{}", ended.text);
    Ok(ended)
}

/// Where a build writes what its stages cost and whether they came from the store.
pub fn table(target: &Path, arch: Arch) -> PathBuf {
    target.join("bloomery").join(arch.name()).join("log/build-times.tsv")
}

/// The stages in the time table that a build ran, and did not take from the store. A build that failed before its first
/// stage has no table.
pub fn built(target: &Path, arch: Arch) -> Result<Vec<String>> {
    let table = table(target, arch);
    let text = if table.exists() { fs::read_to_string(table)? } else { String::new() };
    let rows = text.lines().skip(1).filter_map(|row| row.split_once('\t'));
    let mut built: Vec<String> =
        rows.filter(|(_, rest)| rest.starts_with("built\t")).map(|(stage, _)| stage.into()).collect();
    built.sort();
    Ok(built)
}

/// The first architecture that is built.
pub fn arch() -> Result<Arch> {
    vars::archs()?.first().copied().context("no architecture is chosen")
}

/// The inputs that each stage was asked for last, by the file's name.
pub fn wanted(dirs: &Dirs) -> Result<BTreeMap<PathBuf, String>> {
    let mut wanted = BTreeMap::new();
    for entry in fs::read_dir(dirs.store())? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".wanted-")) {
            wanted.insert(path.clone(), fs::read_to_string(path)?);
        }
    }
    Ok(wanted)
}

/// A store of its own that has every result of the real one, by links. Neither the real store nor what it knows of the
/// last build is touched. What is built into it goes with it, but for cargo's directories of the stage `init`: Rust's
/// `std` is compiled once a store, and this one is always in the same place, among what the real one keeps between builds.
pub struct Borrowed {
    /// Its directories, with the checkout's own target directory.
    pub dirs: Dirs,
    _lock: fs::File,
}

impl Borrowed {
    /// Waits for the test of another checkout that has it.
    pub fn new(dirs: &Dirs) -> Result<Borrowed> {
        let lock = build_support::stage::lock(dirs, "borrowed")?;
        let own = Dirs { home: dirs.work().join("borrowed"), ..dirs.clone() };
        clear(&own)?; // A test that was killed leaves something.
        own.create()?;
        for (from, to) in [(dirs.archives(), own.archives()), (dirs.sources(), own.sources())] {
            fs::remove_dir(&to)?;
            tree::link(from, &to)?; // What is fetched or unpacked here is of use to the next build too.
        }
        for entry in fs::read_dir(dirs.store())? {
            let entry = entry?;
            tree::link(entry.path(), &own.store().join(entry.file_name()))?;
        }
        Ok(Borrowed { dirs: own, _lock: lock })
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if let Err(error) = clear(&self.dirs) {
            eprintln!("{error:#}");
        }
    }
}

/// Removes all but cargo's directories.
fn clear(dirs: &Dirs) -> Result<()> {
    for parent in [&dirs.home, &dirs.work()] {
        for entry in fs::read_dir(parent).into_iter().flatten() {
            let entry = entry?;
            let path = entry.path();
            if path == dirs.work() || path.extension().is_some_and(|name| name == "target") {
                continue;
            }
            // Links to the real store are not followed.
            if entry.file_type()?.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
    }
    Ok(())
}

/// Whether a build ran a recipe, by its progress lines.
pub fn ran_a_recipe(build: &Ended) -> bool {
    build.text.lines().any(|line| line.starts_with("bloomery: [") && line.contains(" done in "))
}

/// Removes what store and time table have of stages that only a test asked for, such as `image-small`.
pub fn forget(dirs: &Dirs, names: &[&str]) -> Result<()> {
    let arch = arch()?;
    for stage in names.iter().map(|name| format!("{name}-{arch}")) {
        for entry in store::entries(&dirs.store())?.iter().filter(|entry| entry.stage == stage) {
            fs::remove_dir_all(&entry.dir)?;
        }
        let wanted = store::wanted_file(dirs, &stage);
        if wanted.exists() {
            fs::remove_file(wanted)?;
        }
    }
    let table = table(&dirs.target, arch);
    let text = fs::read_to_string(&table)?;
    let rows = text.lines().filter(|row| !names.contains(&row.split('\t').next().unwrap_or_default()));
    let text: String = rows.map(|row| format!("{row}\n")).collect();
    tree::write_atomically(&table, text.as_bytes())
}

/// A directory with links to every program of the search path but these.
pub fn path_without(dir: &Path, programs: &[&str]) -> Result<()> {
    fs::create_dir_all(dir)?;
    for from in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
        let Ok(entries) = fs::read_dir(&from) else { continue }; // A search path may name what is not there.
        for entry in entries {
            let entry = entry?;
            let (name, link) = (entry.file_name(), dir.join(entry.file_name()));
            // Of two programs with one name the first counts.
            if !programs.iter().any(|program| OsStr::new(program) == name) && link.symlink_metadata().is_err() {
                tree::link(entry.path(), &link)?;
            }
        }
    }
    Ok(())
}

/// Copies every file that git knows, or would know, of the checkout. `None` when this is no git checkout.
pub fn clean_clone(root: &Path, to: &Path) -> Result<Option<()>> {
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let Ok(output) = Command::new("git").args(list).current_dir(root).output() else { return Ok(None) };
    if !output.status.success() {
        return Ok(None);
    }
    for name in String::from_utf8(output.stdout)?.split_terminator('\0') {
        if root.join(name).symlink_metadata().is_ok() {
            let file = to.join(name);
            fs::create_dir_all(file.parent().context("a file has a directory")?)?;
            tree::copy_file(&root.join(name), &file)?;
        }
    }
    Ok(Some(()))
}

/// The machine, for printed times.
pub fn machine() -> String {
    let line = |file: &str, key: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines()
            .find(|line| line.starts_with(key))
            .and_then(|line| Some(line.split_once(':')?.1.trim().to_string()))
    };
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let unknown = || "unknown".to_string();
    format!(
        "{processors} processors ({}), memory {}, load {}",
        line("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
        line("/proc/meminfo", "MemTotal").unwrap_or_else(unknown),
        fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').next().unwrap_or_default(),
    )
}
