//! Where a build leaves the outputs of a profile, below `target/bloomery/ARCH/`.

use std::path::{Path, PathBuf};

use crate::profile::{DiskFormat, Output, OutputKind, Profile};

/// The file that says which profile the outputs below `PROFILE/` are of: [`identity`].
pub const PROFILE_MARK: &str = "profile";
/// The list of all files of the root file system.
pub const MANIFEST: &str = "manifest.tsv";
/// The script that boots the system on any machine with QEMU.
pub const RUN_SCRIPT: &str = "run-qemu.sh";

/// The files and directories of an output, from `target/bloomery/ARCH/`. A kernel for arm64 has one for firmware besides.
pub fn files(output: &Output) -> Vec<String> {
    let file = &output.file;
    match &output.kind {
        OutputKind::Disk { formats, .. } => {
            formats.iter().map(|format| format!("{file}.{}", format.suffix())).collect()
        }
        OutputKind::Efi => vec![format!("{file}.efi")],
        OutputKind::Iso => vec![format!("{file}.iso")],
        OutputKind::Kernel { image, elf } => {
            let mut files = Vec::new();
            if *image {
                files.push(file.clone());
            }
            if *elf {
                files.push(format!("{file}.elf"));
            }
            files
        }
        OutputKind::Initramfs { compression } => vec![format!("{file}{}", compression.suffix())],
        OutputKind::Archive => vec![format!("{file}.tar.zst")],
        OutputKind::Oci | OutputKind::Sysroot => vec![file.clone()],
    }
}

/// The disk in a format, from `target/bloomery/ARCH/`.
pub fn disk(profile: &Profile, format: DiskFormat) -> Option<String> {
    profile.outputs.iter().find_map(|output| match &output.kind {
        OutputKind::Disk { formats, .. } if formats.contains(&format) => {
            Some(format!("{}.{}", output.file, format.suffix()))
        }
        _ => None,
    })
}

/// The kernel that a boot loader or QEMU's `-kernel` takes, from `target/bloomery/ARCH/`.
pub fn kernel(profile: &Profile) -> Option<&str> {
    profile.outputs.iter().find_map(|output| match &output.kind {
        OutputKind::Kernel { image: true, .. } => Some(output.file.as_str()),
        _ => None,
    })
}

/// The directory of a profile, from `target/bloomery/ARCH/`: all that has no place of its own.
pub fn directory(profile: &Profile) -> PathBuf {
    PathBuf::from(&profile.name)
}

/// Which profile outputs are of: its file. Two profiles of one name must not be taken for each other.
pub fn identity(profile: &Profile) -> String {
    format!("{}\n", profile.files.first().map_or(Path::new(""), |file| file).display())
}
