//! A disk with GPT: the kernel on an EFI system partition, and the root file system where the kernel has it not inside.

use std::path::Path;

use ::disk::gpt::Sector;
use ::disk::{EfiDisk, Format as Converted, MIB, convert, ext4};
use anyhow::{Context as _, Result, ensure};
use build_support::{Arch, Built, Job, Stage};

use super::sign::SIGN;
use super::{Context, Kind, Medium, Output, fitting, place, tools, writers};
use crate::profile::{Profile, RootKind};
use crate::schema::{Default, Form, OutputKind, file, key};

const SCHEMA: OutputKind = OutputKind {
    name: "disk",
    meaning: "A disk with GPT, an EFI system partition with the kernel, and the root file system. UEFI firmware starts it, and on x86_64 a BIOS as well ([hybrid.md](hybrid.md#the-bios-loader)). With `root.embed` the kernel is all that is on it.",
    keys: &[
        file("\"{profile}\""),
        key("size", Form::Size, Default::Required, "of the whole disk; the file is sparse"),
        key(
            "sector-size",
            Form::Word(&["512", "4096"]),
            Default::Is("\"512\""),
            "the bytes of a sector of the disks that it is written to: `cat /sys/block/DISK/queue/logical_block_size` tells them. `4096` is for disks called 4Kn, which start an image for 512 by no firmware, and the other way round",
        ),
        key(
            "formats",
            Form::Words(&["raw", "qcow2", "vmdk", "vhdx", "vdi"]),
            Default::Is("[\"raw\", \"qcow2\"]"),
            "`raw` (suffix `.img`) to be written to a disk, `qcow2` for QEMU (what a guest writes stays in it), `vmdk` for VMware, `vhdx` for Hyper-V, `vdi` for VirtualBox",
        ),
        SIGN,
    ],
};

/// A disk's file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Format {
    Raw,
    Qcow2,
    Vmdk,
    Vhdx,
    Vdi,
}

impl Format {
    const ALL: [Format; 5] = [Format::Raw, Format::Qcow2, Format::Vmdk, Format::Vhdx, Format::Vdi];

    /// Its name in profiles and for `qemu-img`.
    pub fn name(self) -> &'static str {
        match self {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
            Format::Vmdk => "vmdk",
            Format::Vhdx => "vhdx",
            Format::Vdi => "vdi",
        }
    }

    /// The format that the raw disk is converted to.
    fn converted(self) -> Option<Converted> {
        Converted::ALL.into_iter().find(|format| format.name() == self.name())
    }

    /// The suffix of a file in it.
    pub fn suffix(self) -> &'static str {
        match self {
            Format::Raw => "img",
            other => other.name(),
        }
    }
}

/// The formats that an output states, in the order of [`Format::ALL`].
pub(super) fn formats(output: &Output) -> Vec<Format> {
    let stated = output.values().words("formats").unwrap_or_default();
    Format::ALL.into_iter().filter(|format| stated.contains(&format.name())).collect()
}

fn path(output: &Output, format: Format) -> String {
    format!("{}.{}", output.file, format.suffix())
}

fn size(output: &Output) -> Result<u64> {
    output.values().size("size")?.context("the schema requires a size")
}

fn sector(output: &Output) -> Result<Sector> {
    Ok(if output.values().text("sector-size")? == "4096" { Sector::Large } else { Sector::Small })
}

/// The kind.
pub struct Disk;

impl Kind for Disk {
    fn schema(&self) -> &'static OutputKind {
        &SCHEMA
    }

    fn files(&self, output: &Output) -> Vec<String> {
        formats(output).into_iter().map(|format| path(output, format)).collect()
    }

    fn media(&self, output: &Output) -> Vec<Medium> {
        let sector = sector(output).unwrap_or_default();
        let medium = |format| Medium::Disk { file: path(output, format), format, sector };
        formats(output).into_iter().map(medium).collect()
    }

    fn bootable_image(&self, output: &Output) -> Option<String> {
        let formats = formats(output);
        formats.first().map(|format| path(output, *format))
    }

    fn needs_loader(&self, arch: Arch) -> bool {
        arch == Arch::X86_64
    }

    fn partitions(&self, output: &Output) -> Result<Option<String>> {
        Ok(Some(format!("disk of {} bytes in sectors of {}", size(output)?, sector(output)?.bytes())))
    }

    fn check(&self, output: &Output, profile: &Profile) -> Result<()> {
        let Output { place, name, .. } = output;
        ensure!(
            profile.root.kind == RootKind::Ext4 || profile.root.embed,
            "{place}: the output `{name}` needs `root.kind = \"ext4\"` or `root.embed`\nhint: state one of them, or use outputs of kind `kernel` and `initramfs`"
        );
        ensure!(
            !formats(output).is_empty(),
            "{place}: the output `{name}` has no format\nhint: state one of `formats`"
        );
        Ok(())
    }

    fn inputs<'a>(&self, stage: Stage<'a>, cx: &Context) -> Result<Stage<'a>> {
        let formats = formats(cx.output);
        let names: Vec<&str> = formats.iter().map(|format| format.name()).collect();
        let stage = stage
            .recipe("outputs/disk.rs", include_str!("disk.rs"))
            .input("size", &size(cx.output)?.to_string())
            .input("sector-size", &sector(cx.output)?.bytes().to_string())
            .input("formats", &names.join(" "));
        let stage = cx.needs_efi_program(stage);
        let stage = if self.needs_loader(cx.arch) { stage.needs(&cx.loaders()?.built) } else { stage };
        tools(tools(writers(stage, cx.dirs)?, ext4::TOOLS)?, ::disk::convert::TOOLS)
    }

    fn write(&self, job: &Job, cx: &Context) -> Result<()> {
        let raw = job.dir("disk")?.join("raw.img");
        let embedded = cx.profile.root.embed;
        let root = (!embedded).then(|| fitting(&cx.root.tree, ::disk::Output::Ext4));
        let disk = EfiDisk {
            arch: cx.arch,
            kernel: &cx.efi_program(),
            root: root.as_ref(),
            size: size(cx.output)? / MIB * MIB,
            sector: sector(cx.output)?,
            ids: cx.ids.clone(),
            bios: cx.bios_loader()?,
        };
        disk.write(&raw, &job.dir("partitions")?)?;
        write_formats(job, cx.output, &raw, path)
    }

    fn place(&self, built: &Built, cx: &Context) -> Result<()> {
        place_formats(built, cx, path)
    }
}

/// Writes a raw disk in each format of an output. `path` names the files.
pub(super) fn write_formats(job: &Job, output: &Output, raw: &Path, path: fn(&Output, Format) -> String) -> Result<()> {
    for format in formats(output) {
        let out = job.out.join(path(output, format));
        place::make_parent(&out)?;
        match format.converted() {
            None => place::copy_sparse(raw, &out)?,
            Some(format) => convert(raw, format, &out)?,
        }
    }
    Ok(())
}

/// Puts them in place.
pub(super) fn place_formats(built: &Built, cx: &Context, path: fn(&Output, Format) -> String) -> Result<()> {
    for format in formats(cx.output) {
        let file = path(cx.output, format);
        let to = cx.dirs.output(cx.arch).join(&file);
        // The raw file stays as built; the others may be disks of a machine, which keep what a guest wrote.
        place::disk(&built.dir.join(&file), &to, format != Format::Raw)?;
    }
    Ok(())
}
