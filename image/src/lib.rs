//! The build script of this crate makes the outputs of profiles. There is nothing else in it.
