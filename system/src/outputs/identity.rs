//! The identifiers of a disk, and the kernel that names its root.
//!
//! Identifiers follow from what is on a disk, so two disks have the same only if they are the same to the last byte: a stick
//! beside an internal disk with another image must not have its kernel mount that one's root. The kernel is compiled for all
//! of an architecture's disks with one placeholder ([`compiled_root`]); [`of`] puts the disk's own in its place
//! ([`disk::command_line`]).

use std::path::Path;

use ::disk::command_line::Change;
use ::disk::{DiskIds, tools};
use anyhow::{Result, bail, ensure};
use build_support::{Arch, Dirs, Job, Stage, cargo, digest, fs};

use super::{KernelFiles, Output};
use crate::profile::{Profile, RootKind};

/// The name of the identifiers in the result of the stage, for [`DiskIds::of`].
const NAME: &str = "identity";
/// How many identifiers are tried until the kernel around one is not longer than the one that was compiled. With its
/// configuration inside, the first one fits.
const TRIES: u32 = 16;
/// How long the kernel waits for its root before it says which disks there are and starts the machine anew: a disk on USB
/// takes some seconds, a rotating one ten. As many characters as in `rootwait ro`; read-only is what the kernel does anyway.
const WAIT: &str = "rootwait=30";

/// With it a kernel that is `quiet` names its warnings, and so the list of disks when the root does not come: that has no level
/// of its own, which counts as one (printk in init/do_mounts.c).
const SHOWN: &str = " loglevel=5";

/// A disk's identifiers and the kernel for it.
pub(super) struct Identity {
    pub kernel: KernelFiles,
    pub ids: DiskIds,
}

/// What identifiers follow from besides the profile.
pub(super) struct Content<'a> {
    /// The kernel with all that is inside it.
    pub kernel: &'a KernelFiles,
    /// The digest of the list of all files of the root file system.
    pub files: &'a str,
}

/// The identifiers that all images of an architecture share, where nothing is found by them: the serial number of the file
/// system on a CD, and on a hybrid image, whose disk signature follows from its content.
pub(super) fn of_arch(arch: Arch) -> DiskIds {
    DiskIds::of(arch.name())
}

/// The words that name the root in a kernel as it is compiled.
pub fn compiled_root(arch: Arch) -> String {
    format!("root=PARTUUID={} rootwait ro", of_arch(arch).root)
}

/// The words that name the root of a disk.
fn own_root(ids: &DiskIds) -> String {
    format!("root=PARTUUID={} {WAIT}", ids.root)
}

/// The identity of a disk, or for another output of the first disk of its profile, which is started with it.
///
/// # Errors
/// A kernel whose command line cannot be changed.
pub(super) fn of(dirs: &Dirs, arch: Arch, profile: &Profile, output: &Output, content: &Content) -> Result<Identity> {
    let kernel = content.kernel.clone();
    let disk = match output.kind.partitions(output)? {
        Some(layout) => Some((output, layout)),
        None => first_disk(profile)?,
    };
    let Some((disk, layout)) = disk else { return Ok(Identity { kernel, ids: of_arch(arch) }) };
    let Content { files, .. } = content;
    let parts = [arch.name(), &profile.name, &disk.name, &layout, &kernel.built.digest, files];
    let name = digest::text(&parts.join("\n"));
    if profile.root.kind != RootKind::Ext4 || profile.root.embed {
        return Ok(Identity { kernel, ids: DiskIds::of(&name) });
    }
    let compiled = &kernel.built;
    let lock = fs::read_to_string(dirs.root.join("Cargo.lock"))?;
    let stage = Stage::new(dirs, "identity", arch)
        .instance(&format!("{}-{}", profile.name, disk.name))
        .recipe("outputs/identity.rs", include_str!("identity.rs"))
        .recipe("disk/src/command_line.rs", &fs::read_to_string(dirs.root.join("disk/src/command_line.rs"))?)
        .input("identity", &name)
        .input("disk's crates", &digest::text(&cargo::locked(&lock, "disk")?))
        .tool(tools::ZSTD.name, &tools::ZSTD.version()?)
        .tool(tools::XZ.name, &tools::XZ.version()?)
        .needs(compiled);
    let built = stage.build(|job| name_root(job, arch, &name, &compiled.dir))?;
    let ids = DiskIds::of(&fs::read_to_string(built.dir.join(NAME))?);
    Ok(Identity { kernel: KernelFiles { built }, ids })
}

fn first_disk(profile: &Profile) -> Result<Option<(&Output, String)>> {
    for output in &profile.outputs {
        if let Some(layout) = output.kind.partitions(output)? {
            return Ok(Some((output, layout)));
        }
    }
    Ok(None)
}

/// Leaves all files of the kernel, which name the root of the identifiers called [`NAME`].
fn name_root(job: &Job, arch: Arch, name: &str, compiled: &Path) -> Result<()> {
    let line = fs::read_to_string(compiled.join("cmdline"))?;
    let from = line.trim_end_matches('\n');
    let placeholder = compiled_root(arch);
    ensure!(from.contains(&placeholder), "the kernel's command line has no `{placeholder}`: {from}");
    let work = job.dir("kernel")?;
    for attempt in 0..TRIES {
        let name = format!("{name} {attempt}");
        let to = from.replacen(&placeholder, &own_root(&DiskIds::of(&name)), 1);
        let to = shown(to.trim_end(), from.len());
        if write_kernels(job, compiled, &Change { from, to: &to, more: SHOWN }, &work)? {
            let config = fs::read_to_string(compiled.join("kernel.config"))?;
            let more = if arch == Arch::X86_64 { SHOWN } else { "" };
            fs::write(job.out.join("kernel.config"), config.replace(from, &format!("{to}{more}")))?;
            fs::write(job.out.join("cmdline"), format!("{to}{more}\n"))?;
            return Ok(fs::write(job.out.join(NAME), name)?);
        }
    }
    bail!("no identifier of {TRIES} left the kernel as short as it was")
}

/// The line with [`SHOWN`], where that fits into the characters of the one that was compiled.
fn shown(line: &str, room: usize) -> String {
    let whole = format!("{line}{SHOWN}");
    if whole.len() <= room { whole } else { line.into() }
}

/// Writes the kernel in each of its forms. `false`: one of them became longer.
fn write_kernels(job: &Job, compiled: &Path, change: &Change, work: &Path) -> Result<bool> {
    fs::create_dir_all(job.out.join("debug"))?;
    for file in ["kernel.efi", "kernel", "debug/vmlinux"] {
        let from = compiled.join(file);
        if from.is_file() && !change.write(&from, &job.out.join(file), work)? {
            return Ok(false);
        }
    }
    Ok(true)
}
