//! The kernel as one EFI program, which is a whole system when the initramfs is inside.

use anyhow::Result;
use build_support::{Job, Stage, tree};

use super::sign::SIGN;
use super::{Context, Kind, Medium, Output, place};
use crate::schema::{OutputKind, file};

const SCHEMA: OutputKind = OutputKind {
    name: "efi",
    meaning: "The kernel as one EFI program, suffix `.efi`. With `root.embed` it is a whole system.",
    keys: &[file("\"{profile}\""), SIGN],
};

fn path(output: &Output) -> String {
    format!("{}.efi", output.file)
}

/// The kind.
pub struct Efi;

impl Kind for Efi {
    fn schema(&self) -> &'static OutputKind {
        &SCHEMA
    }

    fn files(&self, output: &Output) -> Vec<String> {
        vec![path(output)]
    }

    fn media(&self, output: &Output) -> Vec<Medium> {
        vec![Medium::Efi(path(output))]
    }

    fn bootable_image(&self, output: &Output) -> Option<String> {
        Some(path(output))
    }

    fn holds_root(&self) -> bool {
        false
    }

    fn inputs<'a>(&self, stage: Stage<'a>, cx: &Context) -> Result<Stage<'a>> {
        Ok(cx.needs_efi_program(stage.recipe("outputs/efi.rs", include_str!("efi.rs"))))
    }

    fn write(&self, job: &Job, cx: &Context) -> Result<()> {
        let out = job.out.join(path(cx.output));
        place::make_parent(&out)?;
        tree::copy(&cx.efi_program(), &out)
    }
}
