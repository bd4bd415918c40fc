//! The root file system as a container image.

use ::disk::oci::{Image, Layer};
use anyhow::Result;
use build_support::{Job, Stage};

use super::{Context, Kind, Output, place, writers};
use crate::schema::{OutputKind, file};

const SCHEMA: OutputKind = OutputKind {
    name: "oci",
    meaning: "The root file system as a container image, a directory in OCI layout.",
    keys: &[file("\"{profile}/oci\"")],
};

/// The kind.
pub struct Oci;

impl Kind for Oci {
    fn schema(&self) -> &'static OutputKind {
        &SCHEMA
    }

    fn files(&self, output: &Output) -> Vec<String> {
        vec![output.file.clone()]
    }

    fn inputs<'a>(&self, stage: Stage<'a>, cx: &Context) -> Result<Stage<'a>> {
        let stage = stage.recipe("outputs/oci.rs", include_str!("oci.rs")).input("licences", cx.licences);
        writers(cx.root.layer.iter().fold(stage, |stage, layer| stage.needs(&layer.packed)), cx.dirs)
    }

    /// The compiler's layer comes compressed.
    fn write(&self, job: &Job, cx: &Context) -> Result<()> {
        let top = Layer::write(&cx.root.top(::disk::Output::Oci)?, &job.dir("oci")?, 9)?;
        let mut layers = Vec::new();
        if let Some(layer) = &cx.root.layer {
            layers.push(Layer::open(&layer.packed.dir.join("oci"))?);
        }
        layers.push(top);
        let out = job.out.join(&cx.output.file);
        place::make_parent(&out)?;
        let image = Image {
            arch: cx.arch,
            name: "bloomery",
            tag: &cx.profile.name,
            version: env!("CARGO_PKG_VERSION"),
            licences: cx.licences,
            layers: &layers,
            // SIGTERM is a reboot to init, as to busybox's; this is a stop (init(8), "Signals").
            stop_signal: cx.profile.has("init").then_some("SIGRTMIN+3"),
        };
        image.write(&out)
    }
}
