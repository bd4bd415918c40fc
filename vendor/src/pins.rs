//! The pins: what `sources.toml` says, checked while it is read, so that nothing later meets a wrong field.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::OnceLock;

use crate::overlay::{self, Overlay};

use anyhow::{Context as _, Result, anyhow, bail};
use fs_err as fs;
use serde::Deserialize;

/// The project's own pins.
const PINNED: &str = include_str!("../sources.toml");

/// All pins of one file, sorted by name.
#[derive(Clone, Debug)]
pub struct Sources(Vec<Source>);

/// One upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    name: String,
    pin: Pin,
    overlay: Option<Overlay>,
}

/// What `sources.toml` says about one upstream.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Upstream's version.
    pub version: String,
    /// The licence, as an SPDX expression.
    pub license: String,
    /// The members below the archive's top directory that are unpacked; empty: all.
    #[serde(default)]
    pub only: Vec<String>,
    /// The Debian source package's archive.
    pub debian: Option<Debian>,
    /// Upstream's own archives.
    #[serde(default)]
    pub upstream: Vec<Upstream>,
}

/// The archive of a Debian source package.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Debian {
    /// The source package; a `*` at its end stands for a number (`llvm-toolchain-*`).
    pub package: String,
    /// The versions that `update` may choose from begin with this and a point.
    pub series: Option<String>,
    /// The path below a repository's address.
    pub path: PoolPath,
    /// Bytes.
    pub size: NonZeroU64,
    /// The content.
    pub sha256: Sha256,
}

/// Upstream's own archive.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Where it is.
    pub url: Url,
    /// Bytes; absent where only the digest is known from a source that can be trusted.
    pub size: Option<NonZeroU64>,
    /// The content.
    pub sha256: Sha256,
    /// Where the detached OpenPGP signature is.
    pub signature: Option<Url>,
    /// The fingerprint of the key that signs releases, 40 hexadecimal digits.
    pub key: Option<Fingerprint>,
    /// The signature is of the uncompressed archive, as on kernel.org.
    #[serde(default)]
    pub signature_of_tar: bool,
}

/// A SHA-256 digest in lower-case hex.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Sha256(String);

/// An OpenPGP fingerprint (version 4: SHA-1, RFC 4880 section 12.2) in upper-case hex.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Fingerprint(String);

/// A path below a repository's address.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PoolPath(String);

/// An http(s) address of a file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Url(String);

/// One place to get the archive from, besides the mirrors.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// Through the machine's apt.
    Debian(&'a Debian),
    /// From upstream's address.
    Upstream(&'a Upstream),
}

macro_rules! text {
    ($($name:ident),*) => {$(
        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
text!(Sha256, Fingerprint, PoolPath, Url);

impl TryFrom<String> for Sha256 {
    type Error = String;

    fn try_from(text: String) -> Result<Sha256, String> {
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Ok(Sha256(text));
        }
        Err(format!("`{text}` is no SHA-256: 64 digits of lower-case hex are wanted"))
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = String;

    fn try_from(text: String) -> Result<Fingerprint, String> {
        if text.len() == 40 && text.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b)) {
            return Ok(Fingerprint(text));
        }
        Err(format!("`{text}` is no key fingerprint: 40 digits of upper-case hex are wanted"))
    }
}

impl TryFrom<String> for PoolPath {
    type Error = String;

    fn try_from(text: String) -> Result<PoolPath, String> {
        let parts = || text.split('/');
        if text.starts_with("pool/") && parts().all(|part| !part.is_empty() && part != "..") {
            return Ok(PoolPath(text));
        }
        Err(format!("`{text}` is no path of a Debian archive: it begins with pool/ and names a file"))
    }
}

impl TryFrom<String> for Url {
    type Error = String;

    fn try_from(text: String) -> Result<Url, String> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let file = rest.and_then(|rest| rest.split_once('/')).map(|(_, path)| file_name(path));
        if file.is_some_and(|file| !file.is_empty() && !file.contains(['?', '#'])) {
            return Ok(Url(text));
        }
        Err(format!("`{text}` is no http(s) address of a file"))
    }
}

impl Sources {
    /// The project's own pins, parsed once.
    ///
    /// # Errors
    ///
    /// When the file that was compiled in is wrong; a test reads it.
    pub fn pinned() -> Result<&'static Sources> {
        static SOURCES: OnceLock<Result<Sources, String>> = OnceLock::new();
        let parsed =
            SOURCES.get_or_init(|| Sources::parse(PINNED, "vendor/sources.toml").map_err(|e| format!("{e:#}")));
        parsed.as_ref().map_err(|error| anyhow!("{error}"))
    }

    /// Reads the pins of a file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, and those of [`Sources::parse`].
    pub fn read(path: &Path) -> Result<Sources> {
        Sources::parse(&fs::read_to_string(path)?, &path.display().to_string())
    }

    /// Reads pins; `file` is the name that errors show, with the line.
    ///
    /// # Errors
    ///
    /// When an entry has a wrong, missing or unknown field, with the file and the line; when two archives share a
    /// name.
    pub fn parse(text: &str, file: &str) -> Result<Sources> {
        let pins: BTreeMap<String, Pin> = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_at(text, span.start));
            anyhow!(
                "{file}, line {line}: {}\nhint: correct the entry; the comment at the file's top tells the fields",
                error.message()
            )
        })?;
        let sources: Vec<Source> = pins.into_iter().map(|(name, pin)| Source { name, pin, overlay: None }).collect();
        for source in &sources {
            source.check().with_context(|| format!("{file}, line {}", line_of_entry(text, &source.name)))?;
        }
        check_names(&sources).with_context(|| file.to_string())?;
        Ok(Sources(sources))
    }

    /// One upstream by its name.
    ///
    /// # Errors
    ///
    /// When no pin has that name; the error names those that exist.
    pub fn get(&self, name: &str) -> Result<&Source> {
        self.0.iter().find(|source| source.name == name).with_context(|| {
            let known: Vec<&str> = self.0.iter().map(Source::name).collect();
            format!("no source is called `{name}`\nhint: known are {}", known.join(", "))
        })
    }

    /// Every upstream.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.0.iter()
    }
}

impl Source {
    /// The name in `sources.toml`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Upstream's version.
    pub fn version(&self) -> &str {
        &self.pin.version
    }

    /// The licence, as an SPDX expression.
    pub fn license(&self) -> &str {
        &self.pin.license
    }

    /// All that is pinned.
    pub fn pin(&self) -> &Pin {
        &self.pin
    }

    /// What enters the key of a stage: the version, the SHA-256 of the first origin, and what is unpacked of it.
    /// All origins of a pin count as the same source, so another origin rebuilds nothing. Files that are laid over it count.
    pub fn id(&self) -> String {
        let digest = self.origins().next().map_or("", |origin| origin.sha256());
        let id = [self.version(), digest, &self.pin.only.join(" ")].join(" ").trim_end().to_string();
        self.overlay.as_ref().map_or(id.clone(), |overlay| format!("{id} overlay {}", overlay.digest))
    }

    /// The same with the overlay that the thread has for its name.
    pub(crate) fn overlaid(mut self) -> Source {
        self.overlay = overlay::of(&self.name);
        self
    }

    pub(crate) fn overlay(&self) -> Option<&Overlay> {
        self.overlay.as_ref()
    }

    /// The origins besides the mirrors, in the order in which they are asked.
    pub fn origins(&self) -> impl Iterator<Item = Origin<'_>> {
        let debian = self.pin.debian.iter().map(Origin::Debian);
        debian.chain(self.pin.upstream.iter().map(Origin::Upstream))
    }

    fn check(&self) -> Result<()> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if self.name.starts_with(['.', '-']) || !self.name.bytes().all(plain) {
            bail!("`{}` cannot name a source: it also names files; use letters, digits, - and _", self.name);
        }
        if self.version().is_empty() || self.license().is_empty() {
            bail!("the version or the licence of {} is empty", self.name);
        }
        if self.origins().next().is_none() {
            bail!("{} has no origin\nhint: add [{0}.debian] or [[{0}.upstream]]", self.name);
        }
        match self
            .pin
            .only
            .iter()
            .find(|member| member.is_empty() || member.starts_with(['/', '-']) || member.contains(".."))
        {
            Some(member) => bail!("`{member}` cannot be unpacked alone: name a path below the archive's top directory"),
            None => Ok(()),
        }
    }
}

impl<'a> Origin<'a> {
    /// The archive's file name, also the one in a mirror and in the store.
    pub fn file_name(&self) -> &'a str {
        match self {
            Origin::Debian(debian) => file_name(debian.path.as_str()),
            Origin::Upstream(upstream) => file_name(upstream.url.as_str()),
        }
    }

    /// Bytes, where they are known.
    pub fn size(&self) -> Option<u64> {
        match self {
            Origin::Debian(debian) => Some(debian.size.get()),
            Origin::Upstream(upstream) => upstream.size.map(NonZeroU64::get),
        }
    }

    /// SHA-256 of the archive.
    pub fn sha256(&self) -> &'a str {
        match self {
            Origin::Debian(debian) => debian.sha256.as_str(),
            Origin::Upstream(upstream) => upstream.sha256.as_str(),
        }
    }
}

/// Archives lie in one directory by their names, so one name cannot stand for two contents.
fn check_names(sources: &[Source]) -> Result<()> {
    let mut contents = BTreeMap::new();
    for origin in sources.iter().flat_map(Source::origins) {
        let (name, digest) = (origin.file_name(), origin.sha256());
        if contents.insert(name, digest).is_some_and(|other| other != digest) {
            bail!("two archives are called {name}, with different digests\nhint: use an origin with another file name");
        }
    }
    Ok(())
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn line_at(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

fn line_of_entry(text: &str, name: &str) -> usize {
    let headers = [format!("[{name}]"), format!("[{name}."), format!("[[{name}.")];
    let is_header = |line: &str| headers.iter().any(|header| line.trim_start().starts_with(header.as_str()));
    text.lines().position(is_header).map_or(1, |line| line + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn entry(upstream: &str) -> String {
        format!("# A comment.\n[a]\nversion = \"1\"\nlicense = \"MIT\"\n\n[[a.upstream]]\n{upstream}")
    }

    fn error(text: &str) -> String {
        format!("{:#}", Sources::parse(text, "x.toml").unwrap_err())
    }

    #[test]
    fn the_projects_own_pins_are_right() {
        let sources = Sources::pinned().unwrap();
        for name in ["linux", "musl", "busybox", "llvm", "rust"] {
            let source = sources.get(name).unwrap();
            assert!(source.id().starts_with(source.version()) && source.id().len() > 64, "{}", source.id());
        }
    }

    #[test]
    fn the_library_is_that_of_the_compiler() {
        let toolchain = include_str!("../../rust-toolchain.toml");
        let version = Sources::pinned().unwrap().get("rust").unwrap().version();
        assert!(toolchain.contains(&format!("channel = \"{version}\"")), "{version} is not in:\n{toolchain}");
    }

    #[test]
    fn an_origin_without_a_digest_is_refused() {
        let error = error(&entry("url = \"https://a/b.tar\"\nsize = 1\n"));
        assert!(error.contains("x.toml, line 6") && error.contains("sha256") && error.contains("hint:"), "{error}");
    }

    #[test]
    fn a_wrong_field_is_named_with_its_line() {
        for (field, line, part) in [
            ("sha256 = \"abc\"\nsize = 1", "line 8", "no SHA-256"),
            ("size = 0", "line 8", "nonzero"),
            ("size = \"big\"", "line 8", "string"),
            ("sha265 = \"abc\"", "line 8", "sha265"),
            ("key = \"1234\"", "line 8", "fingerprint"),
            ("signature = \"ftp://x/y\"", "line 8", "http(s)"),
        ] {
            let error = error(&entry(&format!("url = \"https://a/b.tar\"\n{field}\n")));
            assert!(error.contains(line) && error.contains(part), "{field}: {error}");
        }
    }

    #[test]
    fn unreadable_toml_is_named_with_its_line() {
        let error = error("[a]\nversion = \"1\n");
        assert!(error.contains("x.toml, line 2"), "{error}");
    }

    #[test]
    fn a_source_needs_an_origin() {
        let error = error("\n[a]\nversion = \"1\"\nlicense = \"MIT\"\n");
        assert!(error.contains("x.toml, line 2") && error.contains("no origin"), "{error}");
    }

    #[test]
    fn one_name_cannot_stand_for_two_contents() {
        let of = |name: &str, digest: &str| {
            format!(
                "[{name}]\nversion = \"1\"\nlicense = \"MIT\"\n[[{name}.upstream]]\nurl = \"https://{name}/v1.tar\"\nsha256 = \"{digest}\"\n"
            )
        };
        assert!(Sources::parse(&(of("a", DIGEST) + &of("b", DIGEST)), "x.toml").is_ok());
        let error = error(&(of("a", DIGEST) + &of("b", &DIGEST.replace('a', "b"))));
        assert!(error.contains("v1.tar"), "{error}");
    }

    #[test]
    fn a_path_cannot_leave_its_place() {
        for path in ["/etc/passwd", "pool/../x", "pool/main/", "pool//x"] {
            assert!(PoolPath::try_from(path.to_string()).is_err(), "{path}");
        }
        for url in ["file:///etc/passwd", "https://host", "https://host/", "https://host/a?b"] {
            assert!(Url::try_from(url.to_string()).is_err(), "{url}");
        }
    }

    #[test]
    fn an_unknown_name_says_what_is_known() {
        let error = Sources::pinned().unwrap().get("gcc").unwrap_err().to_string();
        assert!(error.contains("gcc") && error.contains("busybox, linux, llvm, musl, rust"), "{error}");
    }

    #[test]
    fn the_first_origin_is_the_primary_one() {
        let text = entry(&format!("url = \"https://a/b.tar\"\nsize = 3\nsha256 = \"{DIGEST}\"\n"));
        let sources = Sources::parse(&text, "x.toml").unwrap();
        assert_eq!(sources.get("a").unwrap().id(), format!("1 {DIGEST}"));
    }
}
