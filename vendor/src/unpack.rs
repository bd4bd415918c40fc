//! Unpacks a verified archive: below a temporary name, renamed when complete. A directory with the final name is
//! therefore whole, and is never looked into again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use build_support::cmd::Log;
use build_support::progress::{Status, line};
use build_support::{Cmd, Dirs, digest, host, tree};
use fs_err as fs;

use crate::fetch::{Archive, Record, log_path};
use crate::pins::Source;

impl Source {
    /// The unpacked tree, read-only by convention: fetched, verified and unpacked when it is not there, with the files that are laid over it.
    ///
    /// # Errors
    ///
    /// Those of [`Source::fetch`], and when tar cannot unpack the archive.
    pub fn unpack(&self, dirs: &Dirs) -> Result<PathBuf> {
        self.with_own_files(dirs, self.unpack_alone(dirs)?)
    }

    fn unpack_alone(&self, dirs: &Dirs) -> Result<PathBuf> {
        if let Some(dir) = self.unpacked(dirs) {
            self.link(dirs, &dir);
            return Ok(dir);
        }
        dirs.create()?;
        let _lock = self.lock(dirs)?;
        let dir = match self.unpacked(dirs) {
            Some(dir) => dir,
            None => self.unpack_locked(dirs).with_context(|| format!("cannot unpack {}", self.name()))?,
        };
        self.link(dirs, &dir);
        Ok(dir)
    }

    /// The unpacked tree when it is there, of whichever origin.
    pub fn unpacked(&self, dirs: &Dirs) -> Option<PathBuf> {
        self.origins().map(|origin| self.tree_path(dirs, origin.sha256())).find(|dir| dir.is_dir())
    }

    /// Where the unpacked tree's archive came from, for manifests: version, SHA-256 and origin in one line.
    pub fn used(&self, dirs: &Dirs) -> Option<String> {
        let of = |sha256: &str| {
            let dir = self.tree_path(dirs, sha256);
            let record = fs::read_to_string(record_path(&dir)).unwrap_or("put there by hand".into());
            dir.is_dir().then(|| format!("{} {} {sha256} {}", self.name(), self.version(), record.trim()))
        };
        self.origins().find_map(|origin| of(origin.sha256()))
    }

    /// `NAME-DIGEST`; a choice of members is part of the name, so that another choice is another tree.
    fn tree_path(&self, dirs: &Dirs, sha256: &str) -> PathBuf {
        let name = format!("{}-{}", self.name(), &sha256[..12]);
        let only = &self.pin().only;
        if only.is_empty() {
            return dirs.sources().join(name);
        }
        dirs.sources().join(format!("{name}-{}", &digest::text(&only.join("\n"))[..4]))
    }

    fn unpack_locked(&self, dirs: &Dirs) -> Result<PathBuf> {
        let archive = self.fetch_locked(dirs)?;
        let dir = self.tree_path(dirs, &archive.sha256);
        let temporary = temporary_path(&dir);
        // Whoever made it held the lock that is held now, so it is dead.
        if temporary.exists() {
            fs::remove_dir_all(&temporary)?;
        }
        fs::create_dir(&temporary)?;
        let label = format!("unpack {} {}", self.name(), self.version());
        let log = Log::create(&log_path(dirs, self.name()))?;
        let status = Status::start(label.clone(), log.path.display().to_string(), None);
        let extracted = self.extract(&archive, &temporary, &log);
        drop(status);
        if let Err(error) = extracted {
            fs::remove_dir_all(&temporary)?;
            return Err(error);
        }
        let Record(record) = &archive.record;
        tree::write_atomically(&record_path(&dir), format!("{record}\n").as_bytes())?;
        tree::sync(&temporary)?;
        fs::rename(&temporary, &dir)?;
        fs::remove_file(&log.path)?; // A failure keeps it.
        line(&format!("{label}: {}", dir.display()));
        Ok(dir)
    }

    fn extract(&self, archive: &Archive, into: &Path, log: &Arc<Log>) -> Result<()> {
        let mut tar = Cmd::new("tar")
            .arg("--extract")
            .arg("--file")
            .arg(&archive.path)
            .arg("--directory")
            .arg(into)
            .arg("--strip-components=1")
            .arg("--no-same-owner") // Root would otherwise give the files to the numbers of whoever packed them.
            .arg("--no-same-permissions") // The same modes for root and others: the archive's less the umask.
            // xz in threads, where the archive has several blocks: Debian's have 32 to 192.
            .env("XZ_DEFAULTS", format!("--threads={}", host::jobs()));
        let only = &self.pin().only;
        if !only.is_empty() {
            // The top directory's name differs between origins.
            tar = tar.args(["--anchored", "--wildcards", "--no-wildcards-match-slash"]);
            tar = tar.args(only.iter().map(|member| format!("*/{member}")));
        }
        tar.log(log).run(&format!("unpack {}", archive.path.display()))
    }

    /// Links `vendor/upstream/NAME` to the tree, for readers. A checkout that is read-only goes without.
    fn link(&self, dirs: &Dirs, dir: &Path) {
        let link = dirs.root.join("vendor/upstream").join(self.name());
        if fs::read_link(&link).is_ok_and(|target| target == dir) {
            return;
        }
        let made = fs::create_dir_all(dirs.root.join("vendor/upstream")).map_err(anyhow::Error::from);
        if let Err(error) = made.and_then(|()| tree::link(dir, &link)) {
            line(&format!("{}: no link in vendor/upstream: {error:#}", self.name()));
        }
    }
}

fn temporary_path(dir: &Path) -> PathBuf {
    dir.with_file_name(format!(".{}.tmp", dir.file_name().unwrap_or_default().to_string_lossy()))
}

fn record_path(dir: &Path) -> PathBuf {
    dir.with_file_name(format!("{}.origin", dir.file_name().unwrap_or_default().to_string_lossy()))
}
