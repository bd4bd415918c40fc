//! One module a component of the image.

pub mod init;
pub mod inputs;
pub mod kernel;
pub mod licences;
pub mod loader;
pub mod package;
pub mod root;
pub mod signer;
