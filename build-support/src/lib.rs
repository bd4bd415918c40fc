//! What every build script of Bloomery shares.
//!
//! A build script asks a [`Stage`] for its result. The stage computes the key of its inputs, looks into the
//! [`store`], and runs its recipe only when the store has no result of that key. Recipes run host tools
//! through [`Cmd`], which is the only place that starts a process.

pub mod arch;
pub mod cargo;
pub mod cmake;
pub mod cmd;
pub mod digest;
pub mod dirs;
pub mod host;
pub mod host_clang;
pub mod inspect;
pub mod kconfig;
pub mod manifest;
pub mod mounts;
pub mod outside;
pub mod places;
pub mod preflight;
pub mod progress;
pub mod report;
pub mod sparse;
pub mod stage;
pub mod store;
pub mod tools;
pub mod tree;
pub mod vars;
pub mod whole;
pub mod xattr;

pub use anyhow::{Context, Result, anyhow, bail, ensure};
pub use arch::Arch;
pub use cmd::Cmd;
pub use dirs::Dirs;
pub use fs_err as fs;
pub use places::Places;
pub use stage::{Built, Job, Stage};

/// The time of every file that a build makes, in seconds since the epoch: 2026-01-01T00:00:00Z.
/// A fixed time is what makes the same inputs give the same bytes (reproducible-builds.org, SOURCE_DATE_EPOCH).
pub const EPOCH: u64 = 1_767_225_600;
