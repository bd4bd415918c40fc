//! Upstream's OpenPGP signatures: a second witness beside the pinned digest, for whoever has gpg and the keys.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use build_support::cmd::Log;
use build_support::{Cmd, Dirs, host};
use fs_err as fs;

use crate::download::{self, Job};
use crate::fetch::log_path;
use crate::pins::{Fingerprint, Origin, Source, Upstream, Url};

/// What a signature says about the archive in the store.
#[derive(Clone, Debug, PartialEq)]
pub enum Signature {
    /// It is of the pinned key.
    Good(Fingerprint),
    /// It could not be checked, for this reason.
    Skipped(String),
}

impl Source {
    /// Checks upstream's signature of the archive in the store. A signature that is wrong or of another key is an
    /// error; one that cannot be checked here is not, since the digest has been.
    ///
    /// # Errors
    ///
    /// When the signature is wrong or of another key, or cannot be downloaded.
    pub fn verify_signature(&self, dirs: &Dirs) -> Result<Signature> {
        let _lock = self.lock(dirs)?;
        let skipped = |reason: &str| Ok(Signature::Skipped(reason.into()));
        if host::find_program("gpg").is_none() {
            return skipped("gpg is not installed");
        }
        let signed = self
            .pin()
            .upstream
            .iter()
            .find_map(|upstream| Some((upstream, upstream.signature.as_ref()?, upstream.key.as_ref()?)));
        let Some((upstream, signature, key)) = signed else {
            return skipped("no signature is pinned");
        };
        let of_upstream = |origin: &Origin| origin.sha256() == upstream.sha256.as_str();
        let archive = self
            .origins()
            .filter(of_upstream)
            .map(|origin| dirs.archives().join(origin.file_name()))
            .find(|path| path.exists());
        let Some(archive) = archive else {
            return skipped("upstream's own archive is not in the store, and the signature is of no other");
        };
        let work = dirs.archives().join(format!(".{}.signature", self.name()));
        if work.exists() {
            fs::remove_dir_all(&work)?;
        }
        fs::create_dir(&work)?;
        let said = self.ask_gpg(dirs, &work, upstream, signature, &archive);
        fs::remove_dir_all(&work)?;
        judge(&said?, key).with_context(|| format!("the signature {signature} of {}", archive.display()))
    }

    /// Lets gpg compare, and returns its status lines (GnuPG's doc/DETAILS).
    fn ask_gpg(
        &self,
        dirs: &Dirs,
        work: &Path,
        upstream: &Upstream,
        signature: &Url,
        archive: &Path,
    ) -> Result<String> {
        let log = Log::create(&log_path(dirs, self.name()))?;
        let part = work.join("signature");
        let label = format!("fetch {signature}");
        download::curl(signature.as_str(), &Job { part: &part, size: None, label, log: log.clone() })
            .with_context(|| format!("cannot fetch {signature}"))?;
        fs::remove_file(&log.path)?;
        let signed = if upstream.signature_of_tar { decompress(archive, work)? } else { archive.to_path_buf() };
        let mut gpg = Cmd::new("gpg")
            .arg("--batch")
            .arg("--no-auto-key-retrieve") // The keyring is the user's: nothing is added to it unasked.
            .args(["--status-fd", "1"])
            .arg("--verify")
            .arg(&part)
            .arg(signed);
        if let Some(home) = std::env::var_os("GNUPGHOME") {
            gpg = gpg.env("GNUPGHOME", home);
        }
        // gpg also fails for a key that it does not have; its status lines tell the cases apart.
        Ok(gpg.read("check a signature").unwrap_or_else(|error| error.to_string()))
    }
}

/// kernel.org signs the archive before it is compressed.
fn decompress(archive: &Path, work: &Path) -> Result<PathBuf> {
    let name = archive.file_name().context("an archive has a name")?;
    let link = work.join(name);
    fs::hard_link(archive, &link)?;
    // `--force`, because xz refuses a file with a second link.
    Cmd::new("xz")
        .args(["--decompress", "--keep", "--force"])
        .arg(&link)
        .run("decompress the archive for its signature")?;
    Ok(link.with_extension(""))
}

fn judge(said: &str, key: &Fingerprint) -> Result<Signature> {
    let lines = || said.lines().filter_map(|line| line.trim_start_matches([' ', '|']).strip_prefix("[GNUPG:] "));
    // The last field is the primary key's fingerprint; the first may be a subkey's.
    let valid: Vec<&str> = lines().filter_map(|line| line.strip_prefix("VALIDSIG ")?.split(' ').next_back()).collect();
    if valid.contains(&key.as_str()) {
        return Ok(Signature::Good(key.clone()));
    }
    if !valid.is_empty() {
        bail!("is by the key {}, pinned is {key}\nhint: do not build from this archive", valid.join(" and "));
    }
    if lines().any(|line| line.starts_with("BADSIG")) {
        bail!("does not fit the archive\nhint: do not build from this archive");
    }
    if lines().any(|line| line.starts_with("NO_PUBKEY")) {
        return Ok(Signature::Skipped(format!("the key {key} is not in your keyring: gpg --recv-keys {key}")));
    }
    bail!("cannot be read by gpg:\n{said}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "647F28654894E3BD457199BE38DBBDC86092693E";

    fn key() -> Fingerprint {
        Fingerprint::try_from(KEY.to_string()).unwrap()
    }

    #[test]
    fn status_lines_are_judged() {
        let valid = |primary: &str| {
            format!("[GNUPG:] GOODSIG 1 x\n[GNUPG:] VALIDSIG 0000 2026-01-01 1 0 4 0 1 10 00 {primary}\n")
        };
        assert_eq!(judge(&valid(KEY), &key()).unwrap(), Signature::Good(key()));
        let other = judge(&valid(&KEY.replace('6', "7")), &key()).unwrap_err().to_string();
        assert!(other.contains("is by the key 747F"), "{other}");
        assert!(judge("  | [GNUPG:] BADSIG 38DB x\n", &key()).unwrap_err().to_string().contains("does not fit"));
        let Signature::Skipped(reason) = judge("  | [GNUPG:] NO_PUBKEY 38DB\n", &key()).unwrap() else { panic!() };
        assert!(reason.contains(KEY), "{reason}");
        assert!(judge("gpg: no valid OpenPGP data found.", &key()).is_err());
    }

    #[test]
    fn an_archive_is_decompressed_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (archive, work) = (dir.path().join("a-1.tar.xz"), dir.path().join("work"));
        fs::create_dir(&work).unwrap();
        fs::write(dir.path().join("a-1.tar"), "content").unwrap();
        Cmd::new("xz").arg("--keep").arg(dir.path().join("a-1.tar")).run("compress").unwrap();
        let tar = decompress(&archive, &work).unwrap();
        assert_eq!((tar.parent().unwrap(), fs::read_to_string(&tar).unwrap().as_str()), (work.as_path(), "content"));
        assert!(archive.exists());
    }
}
