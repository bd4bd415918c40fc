//! The Debian origin: archives of source packages, through the machine's own apt and without root.
//!
//! apt knows the repositories' addresses, proxies and transports; `apt-helper download-file` uses all of them for
//! one file. The pin holds the path and the digest, so no index is needed and none is touched. Only `update` reads
//! an index: its own copy below `$BLOOMERY_HOME/apt`.

#[cfg(feature = "cli")]
use std::cmp::Ordering;

use anyhow::{Result, anyhow, bail};
use build_support::{Cmd, host};

use crate::download::{Job, short, watch};
use crate::pins::PoolPath;

/// apt's own tool for single files (package apt).
const APT_HELPER: &str = "/usr/lib/apt/apt-helper";

/// A repository that this machine's apt is set up for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Repository {
    /// Its address, ending in a slash.
    pub root: String,
    /// Whether it is the one for security updates, whose pool is a branch of its own.
    pub security: bool,
}

/// A command of apt with its settings for this user.
pub(crate) fn apt(program: &str) -> Cmd {
    // As root apt would become the user _apt, who cannot write into the store. For others this changes nothing.
    let cmd = Cmd::new(program).args(["-o", "APT::Sandbox::User=root"]);
    match std::env::var_os("APT_CONFIG") {
        Some(file) => cmd.env("APT_CONFIG", file),
        None => cmd,
    }
}

/// The tool that fetches and reads single files.
pub(crate) fn apt_helper() -> Cmd {
    apt(APT_HELPER)
}

/// The Debian repositories that this machine's apt is set up for.
pub(crate) fn repositories() -> Result<Vec<Repository>> {
    if host::find_program("apt-get").is_none() {
        bail!("this machine has no apt");
    }
    // What an update would fetch names every repository, also when no index was ever fetched (as in a container).
    let wanted = apt("apt-get").args(["update", "--print-uris"]).read("ask apt for its repositories")?;
    let format = "$(REPO_URI) $(ORIGIN)";
    let known =
        apt("apt-get").args(["indextargets", "--format", format]).read("ask apt for its repositories' origins")?;
    let foreign = foreign(&known);
    let all = parse_repositories(&wanted).into_iter();
    let repositories: Vec<Repository> = all.filter(|repository| !foreign.contains(&repository.root)).collect();
    if repositories.is_empty() {
        bail!("this machine's apt has no Debian repository");
    }
    Ok(repositories)
}

impl Repository {
    /// The address of a file of the pool. The pin names its path in the main repository.
    pub fn address(&self, path: &PoolPath) -> String {
        let path = path.as_str();
        match path.strip_prefix("pool/main/") {
            Some(rest) if self.security => format!("{}pool/updates/main/{rest}", self.root),
            _ => format!("{}{path}", self.root),
        }
    }
}

/// Downloads one file by its address, with apt's transports and settings.
pub(crate) fn download(address: &str, job: &Job) -> Result<()> {
    watch(job, || {
        apt_helper()
            .args(["-o", "Acquire::Retries=2"])
            .args(["-o", "Acquire::http::Timeout=30", "-o", "Acquire::https::Timeout=30"]) // Seconds; apt's 120 is long for one of several origins.
            .arg("download-file")
            .arg(address)
            .arg(job.part)
            .log(&job.log)
            .run("download through apt")
            .map_err(|error| {
                let reason = short(&error, "E: Failed to fetch").to_string();
                // The address stands before the reason, and whoever asked names it anyhow.
                anyhow!("{}", reason.strip_prefix(&format!("E: Failed to fetch {address}")).unwrap_or(&reason).trim())
            })
    })
}

/// `'http://host/debian/dists/trixie/InRelease' file 0` gives the repository `http://host/debian/`, each once.
fn parse_repositories(print_uris: &str) -> Vec<Repository> {
    let mut repositories: Vec<Repository> = Vec::new();
    for line in print_uris.lines() {
        let address = line.strip_prefix('\'').and_then(|rest| rest.split_once('\'')).map(|(address, _)| address);
        let Some((root, rest)) = address.and_then(|address| address.rsplit_once("/dists/")) else { continue };
        let Some(suite) = rest.strip_suffix("/InRelease") else { continue };
        // `trixie-security`; before Debian 11 it was `buster/updates`.
        let repository = Repository { root: format!("{root}/"), security: suite.contains("-security") };
        if !repositories.contains(&repository) {
            repositories.push(repository);
        }
    }
    repositories
}

/// The repositories that say that they are not Debian's: asking them would only cost time.
fn foreign(indextargets: &str) -> Vec<String> {
    let is_foreign = |origin: &&str| !origin.is_empty() && *origin != "Debian" && !origin.starts_with("$(");
    let lines = indextargets.lines().filter_map(|line| line.split_once(' '));
    lines.filter(|(_, origin)| is_foreign(origin)).map(|(root, _)| root.to_string()).collect()
}

/// Orders two versions as Debian does (Debian Policy, section 5.6.12), by asking dpkg.
///
/// # Errors
///
/// When dpkg is not installed, or finds one of the texts to be no version.
#[cfg(feature = "cli")]
pub(crate) fn compare_versions(a: &str, b: &str) -> Result<Ordering> {
    // `dpkg --compare-versions` answers by its exit status: 0 for yes, 1 for no, 2 for an error.
    let is = |relation: &str| {
        Cmd::new("dpkg").args(["--compare-versions", a, relation, b]).run(&format!("compare the versions {a} and {b}"))
    };
    if is("lt").is_ok() {
        return Ok(Ordering::Less);
    }
    if is("gt").is_ok() {
        return Ok(Ordering::Greater);
    }
    is("eq").map(|()| Ordering::Equal)
}

/// Sorts by version, the newest first; equal versions stay in their order.
///
/// # Errors
///
/// Those of [`compare_versions`].
#[cfg(feature = "cli")]
pub(crate) fn newest_first<T>(items: Vec<T>, version: impl Fn(&T) -> &str) -> Result<Vec<T>> {
    // By insertion: a sort of the standard library takes no comparison that can fail.
    let mut sorted: Vec<T> = Vec::new();
    for item in items {
        let mut place = sorted.len();
        while place > 0 && compare_versions(version(&item), version(&sorted[place - 1]))?.is_gt() {
            place -= 1;
        }
        sorted.insert(place, item);
    }
    Ok(sorted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_found_in_what_an_update_would_fetch() {
        let text = "\
'http://a/debian/dists/trixie/InRelease' a_trixie 0
'http://a/debian/dists/trixie-updates/InRelease' a_trixie-updates 0
'http://a/debian/dists/trixie/main/binary-amd64/Packages.xz' a_Packages 0
'mirror+file:/etc/mirrors/dists/trixie-security/InRelease' b 0
Reading package lists...
";
        let repository = |root: &str, security| Repository { root: root.into(), security };
        let found = parse_repositories(text);
        assert_eq!(found, [repository("http://a/debian/", false), repository("mirror+file:/etc/mirrors/", true)]);
        let path = PoolPath::try_from("pool/main/l/linux/a.tar.xz".to_string()).unwrap();
        assert_eq!(found[0].address(&path), "http://a/debian/pool/main/l/linux/a.tar.xz");
        assert_eq!(found[1].address(&path), "mirror+file:/etc/mirrors/pool/updates/main/l/linux/a.tar.xz");
    }

    #[test]
    fn other_peoples_repositories_are_told_apart() {
        let known = "http://a/debian/ Debian\nhttp://b/ Google LLC\nhttp://c/ $(ORIGIN)\nhttp://d/ \n";
        assert_eq!(foreign(known), ["http://b/"]);
    }

    #[cfg(feature = "cli")]
    #[test]
    fn versions_are_ordered_as_debian_does() {
        if host::find_program("dpkg").is_none() {
            testing::skip("dpkg is not installed");
            return;
        }
        let versions = vec!["1.0~rc1", "1.0+b", "6.12.9", "1.0a", "6.12.107", "1.0"];
        let sorted = newest_first(versions, |version| version).unwrap();
        assert_eq!(sorted, ["6.12.107", "6.12.9", "1.0+b", "1.0a", "1.0", "1.0~rc1"]);
        assert_eq!(compare_versions("1.01", "1.1").unwrap(), Ordering::Equal);
    }
}
