//! One module a component of the image.

pub mod init;
pub mod kernel;
pub mod outputs;
pub mod package;
pub mod profile;
pub mod root;
