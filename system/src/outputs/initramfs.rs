//! The root file system as a cpio archive, which a boot loader hands to the kernel.

use ::disk::cpio;
use anyhow::{Result, ensure};
use build_support::{Job, Stage};

use super::{Context, Kind, Medium, Output, place, tools, writers};
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

/// A program that compresses a file in its place, and the suffix that it adds.
struct Compressor {
    program: &'static str,
    args: &'static [&'static str],
    suffix: &'static str,
}

/// The strongest levels that need no more memory to unpack than the default; the kernel reads these formats only.
const COMPRESSORS: &[Compressor] = &[
    Compressor { program: "gzip", args: &["-9", "-n"], suffix: ".gz" }, // -n: no name and no time.
    Compressor { program: "zstd", args: &["-19", "-q", "--rm"], suffix: ".zst" },
    Compressor { program: "lz4", args: &["-l", "-9", "-q", "-m", "--rm"], suffix: ".lz4" }, // -l: the kernel's format.
    // The kernel checks CRC32 alone (Documentation/staging/xz.rst).
    Compressor { program: "xz", args: &["-9", "--check=crc32"], suffix: ".xz" },
];

fn compressor(output: &Output) -> Option<&'static Compressor> {
    let word = output.values().text("compression").unwrap_or_default();
    COMPRESSORS.iter().find(|compressor| compressor.program == word)
}

fn path(output: &Output) -> String {
    format!("{}{}", output.file, compressor(output).map_or("", |compressor| compressor.suffix))
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
        let stage = writers(stage.recipe("outputs/initramfs.rs", include_str!("initramfs.rs")), cx.dirs)?;
        match compressor(cx.output) {
            Some(Compressor { program, .. }) => {
                super::need(program, program, "compresses the initramfs")?;
                tools(stage.input("compression", program), &[(program, "--version")])
            }
            None => Ok(stage),
        }
    }

    fn write(&self, job: &Job, cx: &Context) -> Result<()> {
        let plain = job.out.join(&cx.output.file);
        place::make_parent(&plain)?;
        cpio::write(&cx.root.tree, &plain)?;
        match compressor(cx.output) {
            Some(Compressor { program, args, .. }) => {
                job.cmd(program).args(*args).arg(&plain).run("compress the initramfs")
            }
            None => Ok(()),
        }
    }
}
