//! The root file system as a directory. It is written from the tree where it lies: the store would only hold it twice.

use anyhow::Result;
use build_support::{Built, Job, Stage, fs};

use super::{Context, Kind, Output, place, writers};
use crate::schema::{OutputKind, file};

const SCHEMA: OutputKind = OutputKind {
    name: "sysroot",
    meaning: "The root file system as a directory, to be entered as a chroot.",
    keys: &[file("\"{profile}/sysroot\"")],
};

/// The kind.
pub struct Sysroot;

impl Kind for Sysroot {
    fn schema(&self) -> &'static OutputKind {
        &SCHEMA
    }

    fn files(&self, output: &Output) -> Vec<String> {
        vec![output.file.clone()]
    }

    fn inputs<'a>(&self, stage: Stage<'a>, cx: &Context) -> Result<Stage<'a>> {
        writers(stage.recipe("outputs/sysroot.rs", include_str!("sysroot.rs")), cx.dirs)
    }

    fn write(&self, job: &Job, cx: &Context) -> Result<()> {
        Ok(fs::write(job.out.join("manifest.tsv"), cx.root.tree.manifest_tsv()?)?)
    }

    fn place(&self, _built: &Built, cx: &Context) -> Result<()> {
        let to = cx.dirs.output(cx.arch).join(&cx.output.file);
        place::make_parent(&to)?;
        cx.root.tree.write_to_dir(&to)
    }
}
