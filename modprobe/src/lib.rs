//! `modprobe`: loads kernel modules by name or by a device's alias, those that they depend on first. The kernel runs it for what
//! it lacks, PID 1 for devices, and people by hand. It is linked into init's program, which runs it by this name.
//!
//! [`tables`] knows what depmod(8) or the build wrote about the modules, [`settings`] what modprobe.d(5) and the kernel's command
//! line say, and [`load`] puts them into the kernel.
#![forbid(unsafe_code)]

mod arguments;
mod kernel;
mod load;
mod pattern;
mod settings;
mod tables;

use init_base::sys::files::{self, to_stderr};
use init_base::sys::system;

use arguments::{Arguments, Asked, USAGE};
use settings::Settings;
use tables::Tables;

/// Runs it with the arguments after the name; returns the exit code: 0 when all that was asked for is in the kernel.
pub fn run(arguments: &[&str]) -> i32 {
    match arguments::parse(arguments) {
        Ok(Asked::Run(arguments)) => match work(&arguments) {
            true => 0,
            false => 1,
        },
        Ok(Asked::Help) => {
            let _ = files::write_all(rustix::stdio::stdout(), USAGE.as_bytes());
            0
        }
        Err(message) => {
            to_stderr(format_args!("modprobe: {message}\nhint: modprobe --help\n"));
            2
        }
    }
}

/// Does what is asked; whether all of it could be done.
fn work(arguments: &Arguments) -> bool {
    let dir = format!("/lib/modules/{}", system::kernel_release());
    let tables = match Tables::read(&dir) {
        Ok(tables) => tables,
        Err(error) => {
            // A device of a kernel without modules is no fault.
            if !arguments.quiet {
                to_stderr(format_args!("modprobe: cannot read {dir}/modules.dep: {error}\n"));
            }
            return false;
        }
    };
    let settings = Settings::read();
    let loader = load::Loader { dir: &dir, tables: &tables, settings: &settings, arguments };
    // Each is tried: a card without a driver must not cost another one its own.
    let tried =
        arguments.names.iter().map(|name| if arguments.remove { loader.remove(name) } else { loader.load(name) });
    tried.fold(true, |done, one| done & one)
}
