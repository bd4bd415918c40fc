//! The machine around PID 1, each part on its own: clock, random seed, kernel settings and modules, mounts and fstab, power
//! keys, watchdog and time zones. The boot and the shutdown call these.

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
pub(crate) mod zone;
