//! Writes a mirror: every archive by its file name, and the crates that the build downloads. A machine without
//! network builds everything from it.

use std::path::Path;

use anyhow::{Context as _, Result};
use build_support::cmd::Log;
use build_support::progress::{Status, line};
use build_support::{Cmd, Dirs, digest, tree, vars, whole};
use fs_err as fs;

use crate::pins::Sources;

/// Writes the mirror into a directory, which may hold an older one: what is right already is not written again.
/// Returns what to do on the other machine.
///
/// # Errors
///
/// When an archive cannot be fetched, cargo cannot copy the crates, or the directory cannot be written.
pub fn export(dirs: &Dirs, sources: &Sources, to: &Path) -> Result<String> {
    fs::create_dir_all(to)?;
    let to = fs::canonicalize(to)?;
    let mut sums = String::new();
    for source in sources.iter() {
        let archive = source.fetch(dirs)?;
        let name = archive.path.file_name().context("an archive has a name")?.to_string_lossy().into_owned();
        let copy = to.join(&name);
        if !copy.exists() || digest::file(&copy)? != archive.sha256 {
            copy_whole(&archive.path, &copy)?;
        }
        sums += &format!("{}  {name}\n", archive.sha256);
        line(&format!("{name}: in {}", to.display()));
    }
    tree::write_atomically(&to.join("SHA256SUMS"), sums.as_bytes())?;
    export_crates(dirs, sources, &to)?;
    let usage = usage();
    tree::write_atomically(&to.join("README"), usage.as_bytes())?;
    Ok(usage)
}

fn copy_whole(from: &Path, to: &Path) -> Result<()> {
    whole::file(to, |part| tree::copy_file(from, part))
}

/// The crates of the workspace and those of Rust's library, which is built from source for PID 1.
fn export_crates(dirs: &Dirs, sources: &Sources, to: &Path) -> Result<()> {
    let Ok(rust) = sources.get("rust") else {
        return Ok(()); // Pins of a test or of another project.
    };
    let library = rust.unpack(dirs)?.join("library/Cargo.toml");
    let log = Log::create(&to.join("crates.log"))?;
    let _status = Status::start("copy the crates".into(), log.path.display().to_string(), None);
    Cmd::new("cargo")
        .env("RUSTC_BOOTSTRAP", "1") // The library's manifests use unstable keys (profile-rustflags), also on stable.
        .arg("vendor")
        .arg("--locked") // The lock file's crates and no others.
        .arg("--versioned-dirs") // The workspace and the library use different versions of some crates.
        .arg("--manifest-path")
        .arg(dirs.root.join("Cargo.toml"))
        .arg("--sync")
        .arg(library)
        .arg(to.join("crates"))
        .log(&log)
        .run("copy the crates into the mirror")?;
    fs::remove_file(&log.path)?;
    line(&format!("crates: in {}", to.join("crates").display()));
    Ok(())
}

fn usage() -> String {
    format!(
        "A mirror for building Bloomery without network: source archives by name, and crates in crates/.\n\
         \n\
         On the machine without network, with this directory at DIR (an absolute path):\n\
         1. export {}=DIR\n\
         2. put these lines into ~/.cargo/config.toml:\n\
         \n\
         [source.crates-io]\n\
         replace-with = \"bloomery\"\n\
         [source.bloomery]\n\
         directory = \"DIR/crates\"\n\
         \n\
         `sha256sum -c SHA256SUMS` checks the archives; the build checks them too.\n",
        vars::MIRROR
    )
}
