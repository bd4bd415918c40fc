//! `cargo run -p image -- menuconfig ...`: changes a kernel's or busybox's configuration by upstream's own menu.

mod menuconfig;

use std::process::ExitCode;

use build_support::{Arch, Dirs, Result, bail, report};
use menuconfig::Menu;

const HELP: &str = "\
Opens upstream's menu on a configuration and saves what was changed as a fragment.

Usage: cargo run -p image --release -- menuconfig PROFILE ARCH
       cargo run -p image --release -- menuconfig busybox ARCH

PROFILE is a name from image/profiles, or the path of a TOML file; ARCH is x86_64 or arm64.
The kernel's changes go to image/kernel/PROFILE-local.config, or beside a profile of your own,
busybox's to sysroot/busybox/local.config. What is there already is kept.
";

fn main() -> ExitCode {
    report::run(run)
}

fn run() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let dirs = Dirs::find()?;
    match words.as_slice() {
        ["menuconfig", "busybox", arch] => Menu::busybox(&dirs, Arch::parse(arch)?)?.run(),
        ["menuconfig", profile, arch] => Menu::kernel(&dirs, profile, Arch::parse(arch)?)?.run(),
        [] | ["--help" | "-h" | "help", ..] | ["menuconfig", "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => bail!("`{}` is no command\nhint: cargo run -p image -- --help", words.join(" ")),
    }
}
