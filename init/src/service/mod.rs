//! Services: what inittab's entries cannot say. Each file `/etc/services.d/NAME.toml` describes one.
//!
//! [`mod@file`] reads a file into a [`config::Config`], [`graph`] orders the services, [`machine`] decides what happens next
//! (pure code: events in, actions out), and [`runner`] does it for the supervisor: [`launch`] starts processes,
//! [`notify`] understands what they tell, [`exec_status`] why they are not run, [`cgroup`] keeps them together.

pub mod account;
pub mod cgroup;
pub mod config;
pub mod exec_status;
pub mod file;
pub mod graph;
pub mod launch;
pub mod machine;
pub mod notify;
pub mod report;
pub mod runner;
pub mod runtime;
pub mod start_limit;
pub mod state;
