//! What a profile's virtual machine is. The build script makes the images; nothing is built here.

pub mod machine;
