//! Writes what a build leaves on disk: root trees and images, without root and without loop devices.
//!
//! `image/build.rs` describes a root file system once, as a [`Tree`], and every writer here takes it from there: a
//! plain directory, a tar, an OCI image, an ext4 file system, a GPT disk, a cpio archive. Owners, times, identifiers
//! and order come from the tree and its caller, never from the machine that builds, so the same inputs give the
//! same bytes. Every output appears under its name only when it is complete.

#![warn(clippy::missing_errors_doc)]

pub mod aligned_fat;
pub mod bios;
pub mod capabilities;
pub mod command_line;
pub mod compress;
pub mod convert;
pub mod cpio;
pub mod dir;
pub mod efi;
pub mod ext4;
pub mod fat;
pub mod gpt;
pub mod hybrid;
pub mod image;
pub mod iso9660;
pub mod list;
pub mod losses;
pub mod manifest;
pub mod merge;
pub mod oci;
pub mod rules;
pub mod tar;
pub mod tools;
pub mod tree;

pub use bios::BiosLoader;
pub use capabilities::Capabilities;
pub use compress::Compression;
pub use convert::{Format, convert};
pub use efi::{DiskIds, EfiDisk};
pub use hybrid::Hybrid;
pub use image::{BiosBoot, Disk, Partition, Size};
pub use losses::{Loss, Output};
pub use rules::Rule;
pub use tree::{Class, Content, Entry, Kind, Tree};
pub use uuid::Uuid;

/// Bytes of a mebibyte, the unit of sizes in messages and of alignment on a disk.
pub const MIB: u64 = 1 << 20;
