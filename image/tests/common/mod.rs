//! What the integration tests share: where the outputs are, how a guest is started and talked to.
//!
//! `BLOOMERY_TEST_SLOW` (default 1) multiplies every time limit, for machines slower than two cores without KVM.
#![allow(dead_code)] // Every test binary compiles this module and uses its own part of it.

pub mod chance;
pub mod console;
pub mod disk;
pub mod echo;
pub mod elf;
pub mod events;
pub mod guest;
pub mod http;
pub mod initramfs;
pub mod network;
pub mod outputs;
pub mod pages;
pub mod ports;
pub mod programs;
pub mod qmp;
pub mod servers;
pub mod slots;
pub mod terminal;

/// Makes a test of each function for each architecture: `x86_64::name`, `arm64::name`.
#[macro_export]
macro_rules! for_each_arch {
    ($($name:ident),* $(,)?) => {
        mod x86_64 {
            $(#[test] fn $name() -> anyhow::Result<()> { super::$name(build_support::Arch::X86_64) })*
        }
        mod arm64 {
            $(#[test] fn $name() -> anyhow::Result<()> { super::$name(build_support::Arch::Arm64) })*
        }
    };
}

use std::io::Write as _;
use std::time::Duration;

/// A time limit, stretched by `BLOOMERY_TEST_SLOW`.
pub fn limit(seconds: f64) -> Duration {
    let factor = match std::env::var("BLOOMERY_TEST_SLOW") {
        Ok(text) => {
            text.parse().unwrap_or_else(|_| panic!("BLOOMERY_TEST_SLOW=`{text}` is no number, such as 2 or 0.5"))
        }
        Err(_) => 1.0,
    };
    Duration::from_secs_f64(seconds * factor)
}

/// Shows a figure or the reason of a skip even when the test passes: cargo captures what `println!` prints.
pub fn report(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}"); // A report that nobody can read is no failure.
}
