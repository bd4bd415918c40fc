//! The machine around PID 1, each part on its own: clock, random seed, kernel settings and modules, mounts and fstab, power
//! keys and watchdog. The boot and the shutdown call these.

pub mod button;
pub mod clock;
pub mod fstab;
pub mod modules;
pub mod mountinfo;
pub mod mounts;
pub mod power;
pub mod seed;
pub mod sysctl;
pub mod watchdog;
