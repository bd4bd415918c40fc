//! One module a component.

pub mod busybox;
