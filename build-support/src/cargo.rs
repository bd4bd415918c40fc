//! What build scripts say to cargo, and whether they should build at all.

use std::path::Path;

use anyhow::Result;
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

/// Tells cargo when to run the script again: the listed inputs, and every variable of the table.
pub fn rerun_if_changed(inputs: &[impl AsRef<Path>]) -> Result<()> {
    for input in inputs {
        println!("cargo:rerun-if-changed={}", input.as_ref().display());
    }
    for var in vars::TABLE {
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

#[cfg(test)]
mod tests {
    use super::*;

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
