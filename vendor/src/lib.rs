//! Every upstream source that Bloomery builds: pinned in `sources.toml`, fetched, verified, unpacked.
//!
//! The recipes of `toolchain`, `sysroot`, `init` and `image` ask for a [`Source`] by name. Its [`Source::id`]
//! enters the key of a stage and needs no network; [`Source::unpack`] runs only when the stage is built. What is
//! left on disk: verified archives in `$BLOOMERY_HOME/archives`, with a file beside each that says where it came
//! from, unpacked trees in `$BLOOMERY_HOME/src`, and links to those in `vendor/upstream` for readers.

#![warn(clippy::missing_errors_doc)]

#[cfg(feature = "cli")]
pub mod cli;

mod debian;
mod download;
mod export;
#[cfg(feature = "cli")]
pub mod faults;
mod fetch;
mod mirror;
mod overlay;
mod pins;
mod signature;
mod unpack;
#[cfg(feature = "cli")]
mod update;

pub use export::export;
pub use fetch::{Archive, Record};
pub use mirror::{Mirror, mirrors};
pub use overlay::with_overlay;
pub use pins::{Debian, Fingerprint, Origin, Pin, PoolPath, Sha256, Source, Sources, Upstream, Url};
pub use signature::Signature;
#[cfg(feature = "cli")]
pub use update::{Candidate, update};

use anyhow::Result;

/// A source that `vendor/sources.toml` pins, with the files that [`with_overlay`] lays over it.
///
/// # Errors
///
/// When no pin has that name.
pub fn source(name: &str) -> Result<Source> {
    Ok(Sources::pinned()?.get(name)?.clone().overlaid())
}
