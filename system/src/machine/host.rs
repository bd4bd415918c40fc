//! What the machine that runs QEMU has.

use std::path::{Path, PathBuf};

use build_support::Arch;

use super::board::Board;
use super::{Accelerator, kvm};

/// What the machine that runs QEMU has.
#[derive(Clone, Debug)]
pub struct Host {
    /// Whether KVM runs a guest of the architecture, or why it does not.
    pub kvm: Result<(), String>,
    /// UEFI firmware for the architecture.
    pub firmware: Option<Firmware>,
    /// Processors.
    pub processors: u64,
}

/// UEFI firmware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// The code, which is shared.
    pub code: PathBuf,
    /// The variables that a new machine starts with.
    pub variables: PathBuf,
}

impl Host {
    /// Looks at this machine. KVM is tried unless emulation is asked for; the result is kept in a file below `memos` until
    /// the next start of the machine, and tried anew when KVM is asked for.
    pub fn find(arch: Arch, accelerator: Accelerator, memos: &Path) -> Host {
        Host {
            kvm: match accelerator {
                Accelerator::Tcg => Err("emulation is asked for".into()),
                _ => kvm::works(arch, memos, accelerator == Accelerator::Kvm),
            },
            firmware: firmware(Board::of(arch)),
            processors: std::thread::available_parallelism().map_or(1, |count| count.get() as u64),
        }
    }
}

fn firmware(board: &Board) -> Option<Firmware> {
    let readable = |path: &str| std::fs::File::open(path).is_ok();
    let (code, variables) = board.firmware.iter().find(|(code, variables)| readable(code) && readable(variables))?;
    Some(Firmware { code: code.into(), variables: variables.into() })
}
