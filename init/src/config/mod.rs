//! What the administrator asks for, as text: the kernel's command line, directories of files, TOML with every fault named by
//! file and line. What a setting means is said where it is used.

pub mod dropins;
pub mod glob;
pub mod options;
pub mod table;
pub mod values;
