//! `efi-sign KEY CERTIFICATE PROGRAM SIGNED`: writes a signed copy of an EFI program. Key and certificate are files of PEM.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use efi_sign::{Signer, sign};
use fs_err as fs;

fn main() -> ExitCode {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [key, certificate, program, signed] = args.as_slice() else {
        eprintln!("usage: efi-sign KEY CERTIFICATE PROGRAM SIGNED");
        return ExitCode::from(2);
    };
    match run(key, certificate, program, signed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("efi-sign: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(key: &Path, certificate: &Path, program: &Path, signed: &Path) -> Result<()> {
    let signer = Signer::from_pem(&fs::read_to_string(key)?, &fs::read_to_string(certificate)?)?;
    let bytes = sign(&fs::read(program)?, &signer).with_context(|| format!("cannot sign {}", program.display()))?;
    Ok(fs::write(signed, bytes)?)
}
