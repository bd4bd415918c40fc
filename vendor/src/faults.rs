//! What is known to be wrong in the pinned sources: `known-faults.toml`.

use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow};
use serde::Deserialize;

const KNOWN: &str = include_str!("../known-faults.toml");

/// A fault of one source.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The source's name.
    pub source: String,
    /// The version of it that has the fault.
    pub version: String,
    /// What does it.
    pub fault: String,
    /// What happens.
    pub effect: String,
    /// What to do meanwhile.
    pub helps: String,
    /// What upstream says or did, with its commit where that is known.
    pub upstream: String,
    /// The test that shows it, and fails when it is repaired.
    pub test: Test,
}

/// A function of a file of tests, whose path begins at the project's root.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// The file.
    pub file: String,
    /// The function.
    pub name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    fault: Vec<Fault>,
}

/// All that are known.
///
/// # Errors
///
/// When the file is not as it should be.
pub fn known() -> Result<&'static [Fault]> {
    static FAULTS: OnceLock<Result<Vec<Fault>, String>> = OnceLock::new();
    let read = || {
        let file: Result<File> = toml::from_str(KNOWN).context("vendor/known-faults.toml");
        file.map(|file| file.fault).map_err(|error| format!("{error:#}"))
    };
    FAULTS.get_or_init(read).as_deref().map_err(|error| anyhow!(error.clone()))
}

impl Fault {
    /// Its lines for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "{} {}: {}\n    effect:   {}\n    helps:    {}\n    upstream: {}\n    test:     {} of {}\n",
            self.source,
            self.version,
            self.fault,
            self.effect,
            self.helps,
            self.upstream,
            self.test.name,
            self.test.file
        )
    }

    /// Its row in docs/known-faults.md.
    #[must_use]
    pub fn row(&self) -> String {
        format!("| {} | {} | {} | {} |\n", self.fault, self.effect, self.helps, self.upstream)
    }
}
