//! What the administrator asks for, as text: the kernel's command line, directories of files, TOML with every fault named by
//! file and line. What a setting means is said where it is used.

pub(crate) mod dropins;
pub mod glob;
pub mod options;
pub(crate) mod table;
pub(crate) mod values;
