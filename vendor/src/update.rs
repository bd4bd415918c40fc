//! Re-pins a source to the newest version in Debian's index, and keeps all else in `sources.toml` as it is.
//!
//! The index is fetched into a private state directory, `$BLOOMERY_HOME/apt`, from `deb-src` lines that are made
//! from the machine's own repositories. The machine's own apt files are only read.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use build_support::cmd::Log;
use build_support::progress::Status;
use build_support::{Cmd, Dirs, tree};
use fs_err as fs;
use toml_edit::{DocumentMut, Item, Table, Value};

use crate::debian::{Repository, apt, apt_helper, compare_versions, newest_first, repositories};
use crate::pins::{Debian, Source, Sources};

/// The suites whose sources are looked through: the stable release and what comes after it.
const SUITES: &str = "trixie trixie-updates sid";

/// The suites of the repository for security updates.
const SECURITY_SUITES: &str = "trixie-security";

/// Where Debian's keys are: the first is the name since Debian 13, the second was it before (debian-archive-keyring).
const KEYRINGS: &[&str] =
    &["/usr/share/keyrings/debian-archive-keyring.pgp", "/usr/share/keyrings/debian-archive-keyring.gpg"];

/// An archive that could be pinned.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Upstream's version.
    pub version: String,
    /// The path below the main repository's address.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// The content.
    pub sha256: String,
}

/// Pins the newest version that can be fetched, or the given one, in a file. Returns what changed.
///
/// # Errors
///
/// When the source has no Debian origin, apt or dpkg is missing, the index has no such version, or no version of the
/// index can be fetched. The file is then unchanged.
pub fn update(dirs: &Dirs, file: &Path, name: &str, version: Option<&str>) -> Result<String> {
    let text = fs::read_to_string(file)?;
    let sources = Sources::parse(&text, &file.display().to_string())?;
    let source = sources.get(name)?;
    let Some(pinned) = &source.pin().debian else {
        bail!("{name} has no [{name}.debian], so there is no index to look into\nhint: edit {}", file.display());
    };
    let candidates = choose(find(dirs, pinned)?, source, version)?;
    let mut failures = Vec::new();
    for candidate in &candidates {
        if candidate.sha256 == pinned.sha256.as_str() {
            return Ok(format!("{}{name} {}: pinned, nothing newer can be had\n", notes(&failures), candidate.version));
        }
        let (edited, changes) = edit(&text, source, pinned, candidate)?;
        let fetched = Sources::parse(&edited, &file.display().to_string())?.get(name)?.fetch(dirs);
        match fetched {
            Ok(_) => {
                tree::write_atomically(file, edited.as_bytes())?;
                return Ok(format!("{}{changes}", notes(&failures)));
            }
            // The index lists new uploads days before every mirror has them.
            Err(error) => {
                let text = format!("{error:#}");
                failures.push(text.split("\nhint:").next().unwrap_or(&text).to_string());
            }
        }
    }
    bail!("no version of {name} in Debian's index can be had\n{}", failures.join("\n"))
}

fn notes(failures: &[String]) -> String {
    failures.iter().map(|failure| format!("{failure}\n")).collect()
}

/// The candidates that may be pinned, newest first, none older than the pinned one unless it is asked for.
fn choose(found: Vec<Candidate>, source: &Source, version: Option<&str>) -> Result<Vec<Candidate>> {
    let all: Vec<String> = found.iter().map(|candidate| candidate.version.clone()).collect();
    let mut chosen = Vec::new();
    for candidate in found {
        let wanted = match version {
            Some(version) => candidate.version == version,
            None => compare_versions(&candidate.version, source.version())?.is_ge(),
        };
        if wanted {
            chosen.push(candidate);
        }
    }
    if chosen.is_empty() {
        bail!(
            "Debian's index has no {} {}\nhint: it has {}",
            source.name(),
            version.map_or(format!("{} or newer", source.version()), String::from),
            if all.is_empty() { "no version at all".to_string() } else { all.join(", ") },
        );
    }
    newest_first(chosen, |candidate| &candidate.version)
}

/// All archives of a source package in Debian's index.
fn find(dirs: &Dirs, pinned: &Debian) -> Result<Vec<Candidate>> {
    let dir = dirs.home.join("apt");
    write_configuration(&dir, &repositories()?)?;
    let log = Log::create(&dir.join("update.log"))?;
    let status = Status::start("read Debian's index".into(), log.path.display().to_string(), None);
    private(&dir, "apt-get").arg("update").log(&log).run("fetch Debian's index of sources")?;
    let list = private(&dir, "apt-get")
        .args(["indextargets", "--format", "$(FILENAME)", "Created-By: Sources"])
        .read("ask apt for the index files")?;
    let mut candidates: Vec<Candidate> = Vec::new();
    for file in list.lines().filter(|file| Path::new(file).exists()) {
        let text = apt_helper().arg("cat-file").arg(file).read("read an index")?;
        for candidate in parse_index(&text, pinned) {
            if !candidates.iter().any(|known| known.version == candidate.version) {
                candidates.push(candidate);
            }
        }
    }
    drop(status);
    Ok(candidates)
}

/// apt with its state below a directory of ours.
fn private(dir: &Path, program: &str) -> Cmd {
    let set = |name: &str, path: PathBuf| ["-o".to_string(), format!("{name}={}", path.display())];
    apt(program)
        .args(set("Dir::State", dir.join("state")))
        .args(set("Dir::Cache", dir.join("cache")))
        .args(set("Dir::Etc::SourceList", dir.join("deb-src.sources")))
        .args(["-o", "Dir::Etc::SourceParts=/dev/null"])
}

fn write_configuration(dir: &Path, repositories: &[Repository]) -> Result<()> {
    for part in ["state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(dir.join(part))?;
    }
    let keyring = KEYRINGS.iter().find(|path| Path::new(path).exists());
    let signed_by = keyring.map_or(String::new(), |path| format!("Signed-By: {path}\n"));
    let stanza = |repository: &Repository| {
        let suites = if repository.security { SECURITY_SUITES } else { SUITES };
        format!("Types: deb-src\nURIs: {}\nSuites: {suites}\nComponents: main\n{signed_by}\n", repository.root)
    };
    let text: String = repositories.iter().map(stanza).collect();
    tree::write_atomically(&dir.join("deb-src.sources"), text.as_bytes())
}

/// Reads the stanzas of a Sources file (Debian Policy, section 5.4).
fn parse_index(text: &str, pinned: &Debian) -> Vec<Candidate> {
    text.split("\n\n").filter_map(|stanza| parse_stanza(stanza, pinned)).collect()
}

fn parse_stanza(stanza: &str, pinned: &Debian) -> Option<Candidate> {
    let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let package = field("Package")?;
    if !matches(&pinned.package, package) {
        return None;
    }
    let version = upstream_version(field("Version")?);
    let in_series = |series: &String| version == *series || version.starts_with(&format!("{series}."));
    if version.contains('~') || !pinned.series.as_ref().is_none_or(in_series) {
        return None; // A pre-release, or another series.
    }
    let sums = stanza.lines().skip_while(|line| !line.starts_with("Checksums-Sha256:")).skip(1);
    let mut files =
        sums.take_while(|line| line.starts_with(' ')).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let is_orig = |file: &str| file.contains(".orig.tar.") && !file.ends_with(".asc");
    let file = files.find(|fields| fields.len() == 3 && is_orig(fields[2]))?;
    let directory = field("Directory")?.replacen("pool/updates/", "pool/", 1);
    Some(Candidate {
        version: version.to_string(),
        path: format!("{directory}/{}", file[2]),
        size: file[1].parse().ok()?,
        sha256: file[0].to_string(),
    })
}

/// Whether a package is the pinned one; a `*` at the pattern's end stands for a number.
fn matches(pattern: &str, package: &str) -> bool {
    match pattern.strip_suffix('*') {
        None => pattern == package,
        Some(prefix) => package
            .strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit())),
    }
}

/// `1:1.95.0+dfsg1-2` gives `1.95.0`: without epoch, Debian's revision, and the mark of a repacked archive.
fn upstream_version(debian: &str) -> &str {
    let version = debian.split_once(':').map_or(debian, |(_, rest)| rest);
    let version = version.rsplit_once('-').map_or(version, |(upstream, _)| upstream);
    ["+dfsg", "+ds", "~dfsg"].iter().find_map(|mark| Some(version.split_once(mark)?.0)).unwrap_or(version)
}

/// Changes one pin in the file's text. Returns the new text and what changed.
fn edit(text: &str, source: &Source, pinned: &Debian, candidate: &Candidate) -> Result<(String, String)> {
    let (name, old) = (source.name(), source.version());
    let mut document: DocumentMut = text.parse().context("the file was read a moment ago")?;
    let entry = document[name].as_table_mut().context("an entry is a table")?;
    let mut changes = vec![format!("{name} {old} -> {}", candidate.version)];
    set(&mut entry["version"], candidate.version.as_str());
    let debian = entry["debian"].as_table_mut().context("a Debian origin is a table")?;
    changes.push(format!("  debian: {} -> {}", pinned.path, candidate.path));
    changes.push(format!("  bytes: {} -> {}", pinned.size, candidate.size));
    changes.push(format!("  sha256: {} -> {}", pinned.sha256, candidate.sha256));
    set(&mut debian["path"], candidate.path.as_str());
    set_content(debian, candidate)?;
    if let Some(upstreams) = entry.get_mut("upstream").and_then(Item::as_array_of_tables_mut) {
        for index in (0..upstreams.len()).rev() {
            let Some(upstream) = upstreams.get_mut(index) else { continue };
            if upstream["sha256"].as_str() == Some(pinned.sha256.as_str()) {
                changes.push(move_upstream(upstream, old, candidate)?);
            } else {
                changes.push(format!(
                    "  upstream: {} is dropped, because its digest for {} is not known here; add it again by hand",
                    upstream["url"].as_str().unwrap_or_default(),
                    candidate.version
                ));
                upstreams.remove(index);
            }
        }
        if upstreams.is_empty() {
            entry.remove("upstream");
        }
    }
    Ok((document.to_string(), changes.join("\n") + "\n"))
}

/// Upstream's archive was Debian's to the byte; it is taken to be so again, and the digest tells if not.
fn move_upstream(upstream: &mut Table, old: &str, candidate: &Candidate) -> Result<String> {
    for field in ["url", "signature"] {
        if let Some(address) = upstream.get(field).and_then(Item::as_str) {
            let address = address.replace(old, &candidate.version);
            set(&mut upstream[field], address.as_str());
        }
    }
    set_content(upstream, candidate)?;
    Ok(format!("  upstream: {} (taken to be the same bytes)", upstream["url"].as_str().unwrap_or_default()))
}

fn set_content(table: &mut Table, candidate: &Candidate) -> Result<()> {
    let size = i64::try_from(candidate.size).context("a size beyond all archives")?;
    set(&mut table["size"], size);
    set(&mut table["sha256"], candidate.sha256.as_str());
    Ok(())
}

/// Replaces a value and keeps the spaces and comments around it.
fn set(item: &mut Item, value: impl Into<Value>) {
    let mut value = value.into();
    if let Some(old) = item.as_value() {
        *value.decor_mut() = old.decor().clone();
    }
    *item = Item::Value(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const NEW: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn pins(upstream_digest: &str) -> String {
        format!(
            "# Top.\n[b]\nversion = \"1\"\nlicense = \"MIT\"\n\n[[b.upstream]]\nurl = \"https://x/b\"\nsha256 = \"{OLD}\"\n\n\
             # About a.\n[a]\nversion = \"1.0\" # why\nlicense = \"MIT\"\n\n[a.debian]\npackage = \"a-*\"\nseries = \"1\"\n\
             path = \"pool/main/a/a-1/a-1_1.0.orig.tar.gz\"\nsize = 3\nsha256 = \"{OLD}\"\n\n\
             [[a.upstream]]\nurl = \"https://x/a-1.0.tar.gz\"\n# The same.\nsize = 3\nsha256 = \"{upstream_digest}\"\n"
        )
    }

    fn pinned(text: &str) -> (Source, Debian) {
        let source = Sources::parse(text, "x.toml").unwrap().get("a").unwrap().clone();
        let debian = source.pin().debian.clone().unwrap();
        (source, debian)
    }

    fn candidate(version: &str) -> Candidate {
        Candidate {
            version: version.into(),
            path: format!("pool/main/a/a-1/a-1_{version}.orig.tar.gz"),
            size: 5,
            sha256: NEW.into(),
        }
    }

    #[test]
    fn an_edit_touches_its_entry_alone() {
        let text = pins(OLD);
        let (source, debian) = pinned(&text);
        let (edited, changes) = edit(&text, &source, &debian, &candidate("1.2")).unwrap();
        let expected = text
            .replace("1.0\" # why", "1.2\" # why")
            .replace("a-1_1.0.orig", "a-1_1.2.orig")
            .replace("a-1.0.tar", "a-1.2.tar")
            .replace("size = 3", "size = 5");
        let (before, after) = expected.split_once("# About a.").unwrap();
        assert_eq!(edited, format!("{before}# About a.{}", after.replace(OLD, NEW)));
        assert!(changes.starts_with("a 1.0 -> 1.2\n") && changes.contains(NEW), "{changes}");
    }

    #[test]
    fn an_upstream_with_other_bytes_is_dropped_aloud() {
        let text = pins(NEW);
        let (source, debian) = pinned(&text);
        let (edited, changes) = edit(&text, &source, &debian, &candidate("1.2")).unwrap();
        let now = pinned(&edited).0;
        assert!(now.pin().upstream.is_empty() && changes.contains("https://x/a-1.0.tar.gz is dropped"), "{changes}");
    }

    #[test]
    fn the_index_is_read() {
        let stanza = |package: &str, version: &str, dir: &str| {
            let file =
                version.rsplit_once(':').map_or(version, |(_, rest)| rest).rsplit_once('-').unwrap().0.to_string();
            format!(
                "Package: {package}\nVersion: {version}\nFiles:\n 0 9 x.orig.tar.gz\nChecksums-Sha256:\n {OLD} 7 {package}.dsc\n \
                 {OLD} 9 {package}_{file}.orig.tar.gz.asc\n {NEW} 5 {package}_{file}.orig.tar.gz\nDirectory: {dir}\n"
            )
        };
        let text = [
            stanza("a-1", "1:1.2+dfsg1-3", "pool/updates/main/a/a-1"),
            stanza("a-2", "2.0-1", "pool/main/a/a-2"),
            stanza("a-1", "1.3~rc1-1", "pool/main/a/a-1"),
            stanza("a-snapshot", "1.9-1", "pool/main/a/a-snapshot"),
        ]
        .join("\n");
        let found = parse_index(&text, &pinned(&pins(OLD)).1);
        let expected = Candidate { path: "pool/main/a/a-1/a-1_1.2+dfsg1.orig.tar.gz".into(), ..candidate("1.2") };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn the_newest_comes_first_and_nothing_older() {
        let source = pinned(&pins(OLD)).0;
        let found: Vec<Candidate> = ["0.9", "1.9", "1.10"].map(candidate).into();
        let versions =
            |chosen: Vec<Candidate>| chosen.into_iter().map(|candidate| candidate.version).collect::<Vec<_>>();
        assert_eq!(versions(choose(found.clone(), &source, None).unwrap()), ["1.10", "1.9"]);
        assert_eq!(versions(choose(found.clone(), &source, Some("0.9")).unwrap()), ["0.9"]);
        let error = choose(found, &source, Some("7")).unwrap_err().to_string();
        assert!(error.contains("no a 7") && error.contains("0.9, 1.9, 1.10"), "{error}");
    }
}
