//! A CD that UEFI firmware starts: the kernel, with the root file system inside, as its EFI program.

use ::disk::fat::Fat;
use ::disk::gpt::Sector;
use ::disk::{Content, MIB};
use anyhow::{Result, ensure};
use build_support::{EPOCH, Job, Stage, fs, host};

use super::sign::SIGN;
use super::{Context, Kind, Medium, Output, place, writers};
use crate::profile::Profile;
use crate::schema::{OutputKind, file};

const SCHEMA: OutputKind = OutputKind {
    name: "iso",
    meaning: "A CD that UEFI firmware starts, suffix `.iso`. It needs `root.embed`, and `xorriso` on the machine that builds.",
    keys: &[file("\"{profile}\""), SIGN],
};

fn path(output: &Output) -> String {
    format!("{}.iso", output.file)
}

/// The kind.
pub struct Iso;

impl Kind for Iso {
    fn schema(&self) -> &'static OutputKind {
        &SCHEMA
    }

    fn files(&self, output: &Output) -> Vec<String> {
        vec![path(output)]
    }

    fn media(&self, output: &Output) -> Vec<Medium> {
        vec![Medium::Cd(path(output))]
    }

    fn bootable_image(&self, output: &Output) -> Option<String> {
        Some(path(output))
    }

    fn check(&self, output: &Output, profile: &Profile) -> Result<()> {
        ensure!(
            profile.root.embed,
            "{}: the output `{}` needs `root.embed = true`: a CD holds the kernel alone\nhint: state it below [root], or use an output of kind `disk`",
            output.place,
            output.name
        );
        Ok(())
    }

    fn holds_root(&self) -> bool {
        false
    }

    fn inputs<'a>(&self, stage: Stage<'a>, cx: &Context) -> Result<Stage<'a>> {
        super::need("xorriso", "xorriso", "writes the CD")?;
        let stage = cx.needs_efi_program(stage.recipe("outputs/iso.rs", include_str!("iso.rs")));
        Ok(writers(stage, cx.dirs)?.tool("xorriso", &host::version("xorriso", "-version")?))
    }

    /// El Torito's entry for EFI is a FAT file system (UEFI 2.10, section 13.3.2.1).
    fn write(&self, job: &Job, cx: &Context) -> Result<()> {
        let (content, out) = (job.dir("content")?, job.out.join(path(cx.output)));
        place::make_parent(&out)?;
        let kernel = cx.efi_program();
        let size = (fs::metadata(&kernel)?.len() + 2 * MIB).next_multiple_of(MIB);
        let file = (format!("EFI/BOOT/{}", cx.arch.efi_file()), Content::Host(kernel));
        Fat {
            size,
            sector: Sector::Small,
            volume_id: super::identity::of_arch(cx.arch).volume_id,
            label: "BLOOMERY",
            files: vec![file],
        }
        .write(&content.join("efi.img"))?;
        job.cmd("xorriso")
            .args(["-as", "mkisofs", "-quiet", "-V", "BLOOMERY"])
            .args(["-eltorito-platform", "efi", "-b", "efi.img", "-no-emul-boot"])
            .arg("-o")
            .arg(&out)
            .arg(&content)
            .env("SOURCE_DATE_EPOCH", EPOCH.to_string()) // All times of the CD.
            .run("write the CD")
    }
}
