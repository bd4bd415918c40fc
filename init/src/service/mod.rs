//! Services: what inittab's entries cannot say. Each file `/etc/services.d/NAME.toml` describes one.
//!
//! [`mod@file`] reads a file into a [`config::Config`], [`graph`] orders the services, [`machine`] decides what happens next
//! (pure code: events in, actions out), and [`runner`] does it for the supervisor: [`launch`] starts processes,
//! [`notify`] understands what they tell, [`exec_status`] why they are not run, [`cgroup`] keeps them together.

pub(crate) mod account;
pub(crate) mod cgroup;
pub(crate) mod config;
pub(crate) mod exec_status;
pub mod file;
pub(crate) mod graph;
pub(crate) mod launch;
pub(crate) mod machine;
pub mod notify;
pub(crate) mod report;
pub(crate) mod runner;
pub(crate) mod runtime;
pub(crate) mod start_limit;
pub(crate) mod state;
