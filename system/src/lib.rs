//! What a system is, as build scripts, programs and tests share it.
//!
//! A [`profile`] states it. [`schema`] defines every key of a profile once: the parser, the messages and
//! `docs/profiles.md` follow from it. [`outputs`] has a file for each kind of output. Nothing is compiled here: `image`
//! makes the kernel and the root file system, and hands them to [`outputs::build`]. [`machine`] makes the QEMU command that
//! boots a system. [`bootconfig`], [`modules`], [`module_key`], [`pem`] and [`elf`] read the files that the kernel's recipes
//! make. [`update_key`] is what updates are signed with. [`secure_boot`] makes keys, and [`variables`] writes what firmware keeps of them.

pub mod bootconfig;
pub mod elf;
pub mod machine;
pub mod module_key;
pub mod modules;
pub mod outputs;
pub mod pem;
pub mod profile;
pub mod program;
pub mod reference;
pub mod resolve;
pub mod schema;
pub mod secure_boot;
pub mod size;
pub mod update_key;
pub mod variables;
pub mod vmlinux;

mod checks;
mod document;

pub use profile::Profile;
