//! The root file system as an archive of tar.

use std::path::{Path, PathBuf};

use ::disk::tar;
use anyhow::Result;
use build_support::{Job, Stage};

use super::{Context, Kind, Output, place, writers};
use crate::schema::{OutputKind, file};

const SCHEMA: OutputKind = OutputKind {
    name: "archive",
    meaning: "The root file system as an archive of tar, compressed by zstd, suffix `.tar.zst`.",
    keys: &[file("\"{profile}/rootfs\"")],
};

fn path(output: &Output) -> String {
    format!("{}.tar.zst", output.file)
}

/// The kind.
pub struct Archive;

impl Kind for Archive {
    fn schema(&self) -> &'static OutputKind {
        &SCHEMA
    }

    fn files(&self, output: &Output) -> Vec<String> {
        vec![path(output)]
    }

    fn inputs<'a>(&self, stage: Stage<'a>, cx: &Context) -> Result<Stage<'a>> {
        let stage = stage.recipe("outputs/archive.rs", include_str!("archive.rs"));
        writers(cx.root.layer.iter().fold(stage, |stage, layer| stage.needs(&layer.packed)), cx.dirs)
    }

    /// The compiler's layer comes compressed.
    fn write(&self, job: &Job, cx: &Context) -> Result<()> {
        let top = job.work.join("top.tar.zst");
        tar::layer_zst(&cx.root.top(::disk::Output::Tar)?, &top, 12, true)?;
        let mut archives: Vec<PathBuf> =
            cx.root.layer.iter().map(|layer| layer.packed.dir.join("layer.tar.zst")).collect();
        archives.push(top);
        let archives: Vec<&Path> = archives.iter().map(PathBuf::as_path).collect();
        let out = job.out.join(path(cx.output));
        place::make_parent(&out)?;
        tar::concat(&archives, &out)
    }
}
