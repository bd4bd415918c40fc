//! Gets an archive from the first origin that has the pinned bytes: to a temporary name, verified, then renamed.
//!
//! What an origin sends and the pin does not describe is kept aside as `NAME.bad` and never unpacked.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use build_support::cmd::Log;
use build_support::progress::line;
use build_support::{Dirs, digest, host, stage, tree, vars};
use fs_err as fs;

use crate::debian;
use crate::download::{self, Job};
use crate::mirror::{Mirror, mirrors};
use crate::pins::{Origin, Source};

/// What a mirror directory without the archive says.
const NOT_THERE: &str = "there is no such file";

/// A verified archive in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Archive {
    /// Where it is.
    pub path: PathBuf,
    /// SHA-256 of its content.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
    /// Where it came from.
    pub record: Record,
}

/// Where an archive came from, as one line: the kind of the origin and its address.
#[derive(Clone, Debug, PartialEq)]
pub struct Record(pub String);

impl std::fmt::Display for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// An archive that is not what the pin says.
#[derive(Debug)]
struct Refused {
    expected: (Option<u64>, String),
    got: (u64, String),
    kept: PathBuf,
}

impl std::error::Error for Refused {}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = self.expected.0.map_or(String::new(), |bytes| format!("{bytes} bytes, "));
        writeln!(f, "refused: these are not the pinned bytes")?;
        writeln!(f, "  expected {bytes}SHA-256 {}", self.expected.1)?;
        writeln!(f, "  got      {} bytes, SHA-256 {}", self.got.0, self.got.1)?;
        write!(f, "  kept as {}", self.kept.display())
    }
}

/// A place to ask, with what it is expected to send.
struct Place<'a> {
    origin: Origin<'a>,
    from: From<'a>,
}

enum From<'a> {
    Mirror(&'a Mirror),
    /// The archive's address in a Debian repository.
    Debian(String),
    Upstream(&'a crate::Upstream),
}

impl Source {
    /// The archive, fetched when it is not in the store; verified in either case.
    ///
    /// # Errors
    ///
    /// When no origin has the pinned bytes: the error has every origin's reason. When the store cannot be written or
    /// has no room.
    pub fn fetch(&self, dirs: &Dirs) -> Result<Archive> {
        dirs.create()?;
        let _lock = self.lock(dirs)?;
        self.fetch_locked(dirs)
    }

    /// The archive in the store by its size alone, for tables; [`Source::verify`] reads it.
    pub fn present(&self, dirs: &Dirs) -> Option<Archive> {
        let complete = |origin: &Origin| {
            let meta = self.archive_path(dirs, origin).metadata();
            meta.is_ok_and(|meta| origin.size().is_none_or(|size| size == meta.len()))
        };
        self.origins().find(complete).map(|origin| self.archive(dirs, &origin))
    }

    /// Hashes the archive in the store again. `None`: it is not there. A damaged one is kept aside.
    ///
    /// # Errors
    ///
    /// When the archive is not the pinned one, or cannot be read.
    pub fn verify(&self, dirs: &Dirs) -> Result<Option<Archive>> {
        dirs.create()?;
        let _lock = self.lock(dirs)?;
        self.verify_locked(dirs)
    }

    pub(crate) fn lock(&self, dirs: &Dirs) -> Result<fs::File> {
        stage::lock(dirs, &format!("source-{}", self.name()))
    }

    pub(crate) fn fetch_locked(&self, dirs: &Dirs) -> Result<Archive> {
        match self.verify_locked(dirs) {
            Ok(Some(archive)) => return Ok(archive),
            Ok(None) => {}
            Err(error) => line(&format!("{error:#}; fetching it again")),
        }
        for origin in self.origins() {
            check_space(dirs, &origin)?;
        }
        let mut reasons = Vec::new();
        match self.fetch_anywhere(dirs, &mut reasons)? {
            Some(archive) => {
                line(&format!("{} {}: {} ({})", self.name(), self.version(), archive.record, size(archive.size)));
                Ok(archive)
            }
            None => bail!(
                "cannot fetch {} {}: no origin has the pinned archive\n  {}\nhint: without network, run `cargo run -p vendor \
                 -- export DIR` on a machine that has one, copy DIR here and set {}=DIR (or copy its files to {})",
                self.name(),
                self.version(),
                reasons.join("\n").replace('\n', "\n  "),
                vars::MIRROR,
                dirs.root.join("vendor/archives").display(),
            ),
        }
    }

    /// Asks one place after the other. A place that does not have the archive adds its reason.
    fn fetch_anywhere(&self, dirs: &Dirs, reasons: &mut Vec<String>) -> Result<Option<Archive>> {
        for mirror in mirrors(dirs)? {
            for origin in self.origins() {
                let place = Place { origin, from: From::Mirror(&mirror) };
                if let Some(archive) = self.try_place(dirs, &place, reasons) {
                    return Ok(Some(archive));
                }
            }
        }
        for origin in self.origins() {
            for place in places(origin, reasons) {
                if let Some(archive) = self.try_place(dirs, &place, reasons) {
                    return Ok(Some(archive));
                }
            }
        }
        Ok(None)
    }

    fn try_place(&self, dirs: &Dirs, place: &Place, reasons: &mut Vec<String>) -> Option<Archive> {
        let error = match self.fetch_from(dirs, place) {
            Ok(archive) => return Some(archive),
            Err(error) => error,
        };
        let reason = format!("{}: {error:#}", place.record());
        // A mirror need not have everything; all else is worth a line at once.
        if !matches!(place.from, From::Mirror(_)) || !reason.ends_with(NOT_THERE) {
            line(&format!("{}: {reason}", self.name()));
        }
        reasons.push(reason);
        None
    }

    fn verify_locked(&self, dirs: &Dirs) -> Result<Option<Archive>> {
        for origin in self.origins() {
            let path = self.archive_path(dirs, &origin);
            if path.exists() {
                check_or_set_aside(dirs, &path, &origin).with_context(|| format!("{} is damaged", path.display()))?;
                return Ok(Some(self.archive(dirs, &origin)));
            }
        }
        Ok(None)
    }

    fn archive(&self, dirs: &Dirs, origin: &Origin) -> Archive {
        let path = self.archive_path(dirs, origin);
        let record =
            fs::read_to_string(record_path(&path)).map_or("put there by hand".into(), |text| text.trim().to_string());
        let size = path.metadata().map_or(0, |meta| meta.len());
        Archive { path, sha256: origin.sha256().into(), size, record: Record(record) }
    }

    fn archive_path(&self, dirs: &Dirs, origin: &Origin) -> PathBuf {
        dirs.archives().join(origin.file_name())
    }

    fn fetch_from(&self, dirs: &Dirs, place: &Place) -> Result<Archive> {
        let origin = &place.origin;
        let part = dirs.archives().join(format!(".{}.{}.part", origin.file_name(), &origin.sha256()[..12]));
        let resumed = part.exists();
        let got = place.get(dirs, self.name(), &part).and_then(|()| check_or_set_aside(dirs, &part, origin));
        match got {
            // The half from an earlier try may be what is wrong: once more from the start.
            Err(error) if resumed && (error.is::<Refused>() || origin.size().is_none()) => {
                if part.exists() {
                    fs::remove_file(&part)?;
                }
                place.get(dirs, self.name(), &part)?;
                check_or_set_aside(dirs, &part, origin)?;
            }
            got => got?,
        }
        let path = self.archive_path(dirs, origin);
        tree::write_atomically(&record_path(&path), format!("{}\n", place.record()).as_bytes())?;
        fs::rename(&part, &path)?;
        Ok(self.archive(dirs, origin))
    }
}

/// The places of one origin. When it cannot be asked at all, that is a reason.
fn places<'a>(origin: Origin<'a>, reasons: &mut Vec<String>) -> Vec<Place<'a>> {
    match origin {
        Origin::Upstream(upstream) => vec![Place { origin, from: From::Upstream(upstream) }],
        Origin::Debian(pinned) => match debian::repositories() {
            Ok(found) => {
                found.iter().map(|at| Place { origin, from: From::Debian(at.address(&pinned.path)) }).collect()
            }
            Err(error) => {
                reasons.push(format!("debian: {error:#}"));
                Vec::new()
            }
        },
    }
}

fn check_space(dirs: &Dirs, origin: &Origin) -> Result<()> {
    let (free, wanted) = (host::free_disk(&dirs.archives())?, origin.size().unwrap_or(0));
    if free < wanted {
        bail!(
            "{} has {} free, the archive {} needs {}\nhint: free some space, or point {} at a larger disk",
            dirs.archives().display(),
            size(free),
            origin.file_name(),
            size(wanted),
            vars::HOME,
        );
    }
    Ok(())
}

impl Place<'_> {
    /// What is recorded and printed.
    fn record(&self) -> String {
        let file = self.origin.file_name();
        match &self.from {
            From::Mirror(mirror) => format!("mirror {mirror}/{file}"),
            From::Debian(address) => format!("debian {address}"),
            From::Upstream(upstream) => format!("upstream {}", upstream.url),
        }
    }

    fn get(&self, dirs: &Dirs, name: &str, part: &Path) -> Result<()> {
        let file = self.origin.file_name();
        let have = part.metadata().map_or(0, |meta| meta.len());
        match self.origin.size() {
            Some(size) if have == size => return Ok(()), // Complete, and killed before it was verified.
            Some(size) if have > size => fs::remove_file(part)?,
            _ => {}
        }
        if let From::Mirror(Mirror::Dir(dir)) = &self.from {
            return copy(&dir.join(file), part);
        }
        let log = Log::create(&log_path(dirs, name))?;
        let job = Job { part, size: self.origin.size(), label: format!("fetch {file}"), log: log.clone() };
        match &self.from {
            From::Mirror(mirror) => download::curl(&format!("{mirror}/{file}"), &job)?,
            From::Debian(address) => debian::download(address, &job)?,
            From::Upstream(upstream) => download::curl(upstream.url.as_str(), &job)?,
        }
        fs::remove_file(&log.path)?;
        Ok(())
    }
}

fn copy(from: &Path, part: &Path) -> Result<()> {
    if !from.exists() {
        bail!(NOT_THERE);
    }
    fs::copy(from, part)?;
    Ok(())
}

/// Compares a file with its pin; one that differs is renamed to `NAME.bad`.
fn check_or_set_aside(dirs: &Dirs, path: &Path, origin: &Origin) -> Result<()> {
    let got = (fs::metadata(path)?.len(), digest::file(path)?);
    if origin.size().is_none_or(|size| size == got.0) && origin.sha256() == got.1 {
        return Ok(());
    }
    let kept = dirs.archives().join(format!("{}.bad", origin.file_name()));
    fs::rename(path, &kept)?;
    let expected = (origin.size(), origin.sha256().to_string());
    Err(Refused { expected, got, kept }.into())
}

/// The words of the tool that ran last for a source; gone after a success.
pub(crate) fn log_path(dirs: &Dirs, name: &str) -> PathBuf {
    dirs.archives().join(format!("{name}.log"))
}

fn record_path(archive: &Path) -> PathBuf {
    let mut name = archive.file_name().unwrap_or_default().to_os_string();
    name.push(".origin");
    archive.with_file_name(name)
}

/// Bytes as a person reads them.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
