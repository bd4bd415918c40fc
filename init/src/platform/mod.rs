//! The machine around PID 1, each part on its own: clock, random seed, kernel settings and modules, mounts and fstab, power
//! keys and watchdog. The boot and the shutdown call these.

pub(crate) mod button;
pub(crate) mod clock;
pub mod fstab;
pub(crate) mod modules;
pub mod mountinfo;
pub(crate) mod mounts;
pub(crate) mod power;
pub(crate) mod seed;
pub mod sysctl;
pub(crate) mod watchdog;
