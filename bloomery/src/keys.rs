//! `keys`: what signs for Secure Boot, and virtual machines that know it.

use std::path::PathBuf;
use std::process::ExitCode;

use build_support::inspect::print;
use build_support::{Arch, Result};
use system::machine::{Accelerator, Host};
use system::secure_boot::Keys;

use crate::context::Context;
use crate::usage::say;

/// Make a key for Secure Boot, its certificate, and UEFI variables for virtual machines
///
/// A key that is there stays, and the other files are made from it anew.
#[derive(clap::Args)]
#[command(after_help = "DIR/secure-boot.key  the private key, for `sign` in a profile's output\n\
                  DIR/secure-boot.crt  its certificate, for `sign` as well\n\
                  DIR/secure-boot.cer  the same in DER, for the setup of a real machine's firmware\n\
                  DIR/ARCH-vars.fd     variables for `cargo bloomery run --vars`: firmware starts what this key signed")]
pub struct Args {
    /// Where to put them
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Makes them, and prints the files.
pub fn run(context: &Context, args: &Args) -> Result<ExitCode> {
    let keys = Keys::make(&args.dir)?;
    let mut files = vec![keys.key(), keys.certificate(), keys.encoded_certificate()];
    for arch in Arch::ALL {
        match Host::find(arch, Accelerator::Tcg, &context.dirs.home).firmware {
            Some(firmware) => files.push(keys.write_variables(arch, &firmware)?),
            None => say(&format!(
                "no UEFI firmware for {arch} is installed, so there are no variables for it; ./setup.sh installs it"
            )),
        }
    }
    print(&files.iter().map(|file| format!("{}\n", file.display())).collect::<String>())?;
    Ok(ExitCode::SUCCESS)
}
