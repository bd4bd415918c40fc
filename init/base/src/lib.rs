//! What PID 1 shares with the programs beside it, `initctl`, `echod`, `dhcpc`, `modprobe`, `ntpc`, `status`,
//! `syslogc`, `updater` and `growfs`: [`sys`], the only door to the kernel, [`protocol`] and [`connection`], the language of the control socket, and
//! what several of them read. Nothing here knows any of them.

pub mod bootconfig;
pub mod connection;
pub mod date;
pub mod dropins;
pub mod host_name;
pub mod kmsg;
pub mod lease;
pub mod names;
pub mod protocol;
pub mod resolv;
pub mod rtnetlink;
pub mod settings;
pub mod sys;
