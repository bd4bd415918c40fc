//! What a system is, as build scripts, programs and tests share it. Nothing is built here.
//!
//! A [`profile`] states it. [`schema`] defines every key of a profile once: the parser, the messages and
//! `docs/profiles.md` follow from it. [`outputs`] says where a build leaves each output.

pub mod outputs;
pub mod profile;
pub mod reference;
pub mod resolve;
pub mod schema;
pub mod size;

mod checks;
mod document;

pub use profile::Profile;
