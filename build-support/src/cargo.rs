//! What build scripts say to cargo, and whether they should build at all.

use std::path::Path;

use anyhow::{Context as _, Result};
use fs_err as fs;

use crate::vars;

/// Subcommands of cargo that want the artifacts. All others (`check`, `clippy`, `doc`, an IDE's) only want to
/// know whether the code is right, and must never start an hour of LLVM.
const BUILDING: &[&str] = &["build", "b", "test", "t", "run", "r", "bench", "rustc", "install", "nextest"];

/// Whether this build script should build nothing.
pub fn skips() -> bool {
    if vars::get(vars::SKIP).is_some() {
        return vars::on(vars::SKIP, false);
    }
    // Cargo tells build scripts nothing about its subcommand, so ask its command line.
    let of_cargo = rustix::process::getppid().map(|pid| format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
    let text = of_cargo.and_then(|path| fs::read(path).ok()).unwrap_or_default();
    let words: Vec<String> =
        text.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    !builds(&words)
}

/// Whether cargo's command line asks for artifacts.
fn builds(words: &[String]) -> bool {
    let is_word = |word: &&String| !word.is_empty() && !word.starts_with('-') && !word.starts_with('+');
    words.iter().skip(1).find(is_word).is_some_and(|word| BUILDING.contains(&word.as_str()))
}

/// Says that this script skipped, and makes cargo run it again the next time: `check` and `build` share a build
/// script's result, and a skipped one must not pass for a build.
pub fn say_skipped() {
    println!("cargo:rerun-if-changed=/nonexistent/bloomery-skipped");
}

/// Tells cargo when to run the script again: the listed inputs, and the variables of the table that its package reads.
pub fn rerun_if_changed(inputs: &[impl AsRef<Path>]) -> Result<()> {
    for input in inputs {
        println!("cargo:rerun-if-changed={}", input.as_ref().display());
    }
    let package = std::env::var("CARGO_PKG_NAME").context("this is no build script: CARGO_PKG_NAME is not set")?;
    for var in vars::TABLE.iter().filter(|var| var.concerns(&package)) {
        println!("cargo:rerun-if-env-changed={}", var.name);
    }
    Ok(())
}

/// Makes cargo run the script again when an output is removed. Cargo compares times, and an output is newer than
/// the script's start, so its time is set back.
pub fn rerun_if_removed(output: &Path) -> Result<()> {
    let epoch = std::time::UNIX_EPOCH + std::time::Duration::from_secs(crate::EPOCH);
    fs::File::options().append(true).open(output)?.file().set_modified(epoch)?;
    println!("cargo:rerun-if-changed={}", output.display());
    Ok(())
}

/// The entries of a package and of all that it depends on in a Cargo.lock, in the order of that file: what code they
/// are made of, with versions and checksums.
pub fn locked(lock: &str, package: &str) -> String {
    let entries: Vec<&str> = lock.split("[[package]]\n").skip(1).collect();
    let mut wanted = vec![package];
    let mut next = 0;
    while let Some(name) = wanted.get(next) {
        for entry in entries.iter().filter(|entry| entry_name(entry) == Some(name)) {
            // `"name"`, or `"name version"` where there are several.
            let names = entry.lines().filter_map(|line| line.strip_prefix(" \"")?.split(['"', ' ']).next());
            let new: Vec<&str> = names.filter(|name| !wanted.contains(name)).collect();
            wanted.extend(new);
        }
        next += 1;
    }
    entries.into_iter().filter(|entry| entry_name(entry).is_some_and(|name| wanted.contains(&name))).collect()
}

fn entry_name(entry: &str) -> Option<&str> {
    entry.lines().next()?.strip_prefix("name = \"")?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_locked_with_all_below_it() {
        let lock = "version = 4\n\n\
            [[package]]\nname = \"a\"\nversion = \"1\"\ndependencies = [\n \"b\",\n \"c 2.0.0\",\n]\n\n\
            [[package]]\nname = \"b\"\nversion = \"1\"\ndependencies = [\n \"a\",\n]\n\n\
            [[package]]\nname = \"c\"\nversion = \"2.0.0\"\nchecksum = \"123\"\n\n\
            [[package]]\nname = \"other\"\nversion = \"1\"\ndependencies = [\n \"a\",\n]\n";
        let entries = locked(lock, "a");
        assert_eq!(entries.matches("name = ").count(), 3, "{entries}");
        assert!(entries.contains("checksum = \"123\"") && !entries.contains("other"), "{entries}");
        assert_ne!(entries, locked(&lock.replace("123", "456"), "a"));
        assert_eq!(entries, locked(&lock.replace("\"other\"\nversion = \"1\"", "\"other\"\nversion = \"2\""), "a"));
    }

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(String::from).collect()
    }

    #[test]
    fn only_builds_build() {
        for line in ["cargo build -p image", "cargo +stable test --workspace", "/usr/bin/cargo b", "cargo --locked run"]
        {
            assert!(builds(&words(line)), "{line}");
        }
        for line in ["cargo check --workspace", "cargo clippy", "cargo doc", "cargo", "rust-analyzer"] {
            assert!(!builds(&words(line)), "{line}");
        }
    }
}
