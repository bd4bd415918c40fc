//! The root file system as a cpio archive, which a boot loader hands to the kernel.

use ::disk::{Compression, cpio};
use anyhow::{Result, ensure};
use build_support::{Job, Stage};

use super::{Context, Kind, Medium, Output, fitting, need, place, tools, writers};
use crate::profile::{Profile, RootKind};
use crate::schema::{Default, Form, OutputKind, file, key};

const SCHEMA: OutputKind = OutputKind {
    name: "initramfs",
    meaning: "The root file system as a cpio archive for a boot loader's initrd. It needs `root.kind = \"initramfs\"`.",
    keys: &[
        file("\"{profile}/initramfs.cpio\""),
        key(
            "compression",
            Form::Word(&["none", "gzip", "zstd", "lz4", "xz"]),
            Default::Is("\"zstd\""),
            "adds its suffix to the name; the kernel must have it (CONFIG_RD_GZIP and its like)",
        ),
    ],
};

/// zstd's strongest level that needs no more memory to unpack than the default.
const ZSTD: Compression = Compression::Zstd { level: 19 };

fn compression(output: &Output) -> Compression {
    match output.values().text("compression").unwrap_or_default() {
        "gzip" => Compression::Gzip,
        "zstd" => ZSTD,
        "lz4" => Compression::Lz4,
        "xz" => Compression::Xz,
        _ => Compression::None,
    }
}

fn path(output: &Output) -> String {
    format!("{}{}", output.file, compression(output).suffix())
}

/// The kind.
pub struct Initramfs;

impl Kind for Initramfs {
    fn schema(&self) -> &'static OutputKind {
        &SCHEMA
    }

    fn files(&self, output: &Output) -> Vec<String> {
        vec![path(output)]
    }

    fn media(&self, output: &Output) -> Vec<Medium> {
        vec![Medium::Initramfs(path(output))]
    }

    fn check(&self, output: &Output, profile: &Profile) -> Result<()> {
        ensure!(
            profile.root.kind == RootKind::Initramfs,
            "{}: the output `{}` needs `root.kind = \"initramfs\"`\nhint: state that kind, or use an output of kind `archive`",
            output.place,
            output.name
        );
        Ok(())
    }

    fn inputs<'a>(&self, stage: Stage<'a>, cx: &Context) -> Result<Stage<'a>> {
        let compression = compression(cx.output);
        let stage = writers(stage.recipe("outputs/initramfs.rs", include_str!("initramfs.rs")), cx.dirs)?
            .input("compression", &format!("{compression:?}"));
        let Some(tool) = compression.tool() else { return Ok(stage) };
        need(tool.name, tool.name, "compresses the initramfs")?;
        tools(stage, &[tool])
    }

    fn write(&self, job: &Job, cx: &Context) -> Result<()> {
        let out = job.out.join(path(cx.output));
        place::make_parent(&out)?;
        cpio::write(&fitting(&cx.root.tree, ::disk::Output::Cpio), &out, compression(cx.output))
    }
}
