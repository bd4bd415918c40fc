//! What build scripts say to cargo, and whether they should build at all.

use std::path::Path;

use anyhow::{Context as _, Result};
use fs_err as fs;

use crate::vars;

/// Whether this build script should build nothing. Cargo compiles and runs build scripts for `check`, `clippy`, an IDE and
/// a test run as well, none of which may start an hour of LLVM. A build script sees nothing of cargo's command line but
/// the profile, so that decides: the release profile (or one that inherits it) builds, the debug profile does not. That
/// holds whatever options or aliases came before, and is the same in every script of one build.
pub fn skips() -> bool {
    vars::on(vars::SKIP, std::env::var_os("PROFILE").is_none_or(|profile| profile != "release"))
}

/// Tells cargo what a skipped script depends on.
pub fn say_skipped() {
    println!("cargo:rerun-if-env-changed={}", vars::SKIP);
    println!("cargo:rerun-if-changed=build.rs");
}

/// Tells the user why there is no image.
pub fn warn_skipped() {
    let why = match vars::get(vars::SKIP) {
        Some(_) => format!("{} is set", vars::SKIP),
        None => "this is not the release profile".into(),
    };
    println!("cargo:warning=no image is built: {why}; `cargo build -p image --release` builds one");
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

/// The value of a variable that a file of the user's names. Cargo runs the script again when it changes.
pub fn variable(name: &str) -> Option<String> {
    println!("cargo:rerun-if-env-changed={name}");
    std::env::var(name).ok()
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
///
/// # Errors
/// A text that is no Cargo.lock.
pub fn locked(lock: &str, package: &str) -> Result<String> {
    let lock: toml::Table = lock.parse().context("Cargo.lock is no TOML")?;
    let entries = lock.get("package").and_then(toml::Value::as_array).context("Cargo.lock has no packages")?;
    let mut wanted = vec![package];
    let mut next = 0;
    while let Some(name) = wanted.get(next).copied() {
        for entry in entries.iter().filter(|entry| is_named(entry, name)) {
            let dependencies = entry.get("dependencies").and_then(toml::Value::as_array).into_iter().flatten();
            let new: Vec<&str> =
                dependencies.filter_map(toml::Value::as_str).filter(|name| !wanted.contains(name)).collect();
            wanted.extend(new);
        }
        next += 1;
    }
    let kept = entries.iter().filter(|entry| wanted.iter().any(|name| is_named(entry, name)));
    Ok(kept.map(|entry| format!("{entry}\n")).collect())
}

/// Whether an entry is meant by a dependency: `name`, or `name version` where the file has several of a name.
fn is_named(entry: &toml::Value, dependency: &str) -> bool {
    let text = |key: &str| entry.get(key).and_then(toml::Value::as_str).unwrap_or_default();
    match dependency.split_once(' ') {
        Some((name, version)) => {
            text("name") == name && text("version") == version.split(' ').next().unwrap_or_default()
        }
        None => text("name") == dependency,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_package_is_locked_with_all_below_it() {
        let lock = "version = 4\n\n\
            [[package]]\nname = \"a\"\nversion = \"1\"\ndependencies = [\n \"b\",\n \"c 2.0.0\",\n]\n\n\
            [[package]]\nname = \"b\"\nversion = \"1\"\ndependencies = [\n \"a\",\n]\n\n\
            [[package]]\nname = \"c\"\nversion = \"2.0.0\"\nchecksum = \"123\"\n\n\
            [[package]]\nname = \"c\"\nversion = \"1.0.0\"\nchecksum = \"of other\"\n\n\
            [[package]]\nname = \"other\"\nversion = \"1\"\ndependencies = [\n \"a\",\n \"c 1.0.0\",\n]\n";
        let locked = |lock: &str, package: &str| super::locked(lock, package).unwrap();
        let entries = locked(lock, "a");
        assert_eq!(entries.lines().count(), 3, "{entries}");
        assert!(entries.contains("123") && !entries.contains("other"), "{entries}");
        assert_ne!(entries, locked(&lock.replace("123", "456"), "a"));
        assert_eq!(entries, locked(&lock.replace("\"other\"\nversion = \"1\"", "\"other\"\nversion = \"2\""), "a"));
    }
}
