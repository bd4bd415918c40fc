//! The system as a container image: an OCI image layout (image-spec 1.1), which `podman load` and `skopeo` take as it
//! is. The directory also has docker's own `manifest.json` with the same files, because `docker load` understands
//! OCI layouts only since 25.0: `tar -C oci -c . | docker load` works with any.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use build_support::{Arch, digest, whole};
use flate2::{Compression, GzBuilder};
use fs_err as fs;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::losses::Output;
use crate::tar;
use crate::tree::Tree;

/// [`build_support::EPOCH`] as RFC 3339 writes it.
const CREATED: &str = "2026-01-01T00:00:00Z";

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A compressed layer, in a directory of its own that the store can keep.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The compressed archive.
    pub blob: PathBuf,
    /// SHA-256 of the compressed archive, as hex.
    pub digest: String,
    /// Bytes of the compressed archive.
    pub size: u64,
    /// SHA-256 of the archive before compression, as hex.
    pub diff_id: String,
}

impl Layer {
    /// Compresses a tree into `dir/layer.tar.gz`, and notes its hashes in `dir/layer.json`. Levels go from 1 to 9.
    ///
    /// # Errors
    ///
    /// When the tree has a socket, which a layer cannot hold ([`Tree::fit`]), or a file whose name means to a container
    /// engine that another one is removed; when a file cannot be read or the layer cannot be written.
    pub fn write(tree: &Tree, dir: &Path, level: u32) -> Result<Layer> {
        tree.require(Output::Oci)?;
        refuse_whiteouts(tree)?;
        whole::dir(dir, |dir| {
            let file = Hashing::new(BufWriter::new(fs::File::create(dir.join("layer.tar.gz"))?));
            // No name and no time in the header, so that only the content counts.
            let mut plain = Hashing::new(GzBuilder::new().write(file, Compression::new(level)));
            tar::append(tree, &mut plain, true)?;
            let (gzip, _, diff_id) = plain.finish();
            let (mut buffer, size, digest) = gzip.finish()?.finish();
            buffer.flush()?;
            let note = json!({ "digest": digest, "size": size, "diff_id": diff_id });
            Ok(fs::write(dir.join("layer.json"), pretty(&note))?)
        })?;
        Layer::open(dir)
    }

    /// Opens a layer that was written before.
    ///
    /// # Errors
    ///
    /// When `layer.json` is not there or lacks a field.
    pub fn open(dir: &Path) -> Result<Layer> {
        let note = dir.join("layer.json");
        let value: Value =
            serde_json::from_slice(&fs::read(&note)?).with_context(|| format!("{} is no JSON", note.display()))?;
        let text = |name: &str| {
            value[name].as_str().map(String::from).with_context(|| format!("{} has no `{name}`", note.display()))
        };
        let size = value["size"].as_u64().with_context(|| format!("{} has no `size`", note.display()))?;
        Ok(Layer { blob: dir.join("layer.tar.gz"), digest: text("digest")?, size, diff_id: text("diff_id")? })
    }
}

/// A container image to write.
pub struct Image<'a> {
    /// For which architecture it is.
    pub arch: Arch,
    /// Its name, such as `bloomery`.
    pub name: &'a str,
    /// Its tag, such as the profile.
    pub tag: &'a str,
    /// The version of the system.
    pub version: &'a str,
    /// The licences of all that is in it, as an SPDX expression.
    pub licences: &'a str,
    /// Its layers, the lowest first.
    pub layers: &'a [Layer],
    /// The signal by which a manager stops its first program, where SIGTERM means something else to that one.
    pub stop_signal: Option<&'a str>,
}

impl Image<'_> {
    /// Writes the layout, in place of what was there.
    ///
    /// # Errors
    ///
    /// When a layer is not the one that was written, or the layout cannot be written.
    pub fn write(&self, out: &Path) -> Result<()> {
        whole::dir(out, |root| {
            fs::create_dir_all(root.join("blobs/sha256"))?;
            for layer in self.layers {
                add_layer(layer, root)?;
            }
            let config = add_blob(&self.config(), CONFIG, root)?;
            let mut manifest = add_blob(&self.manifest(&config), MANIFEST, root)?;
            let docker = self.docker_manifest(&config);
            manifest["platform"] = self.platform();
            manifest["annotations"] = json!({
                // Tools name the image by the first; docker, when it reads the layout itself, by the second.
                "org.opencontainers.image.ref.name": self.tag,
                "io.containerd.image.name": format!("docker.io/library/{}:{}", self.name, self.tag),
            });
            let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest] });
            fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
            fs::write(root.join("index.json"), pretty(&index))?;
            Ok(fs::write(root.join("manifest.json"), pretty(&docker))?)
        })
    }

    fn platform(&self) -> Value {
        match self.arch {
            Arch::X86_64 => json!({ "architecture": self.arch.oci(), "os": "linux" }),
            // The base version of the 64-bit instruction set has a name there (image-spec, "Platform Variants").
            Arch::Arm64 => json!({ "architecture": self.arch.oci(), "os": "linux", "variant": "v8" }),
        }
    }

    fn config(&self) -> Value {
        let mut config = self.platform();
        config["created"] = json!(CREATED);
        config["config"] = json!({
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["/bin/sh"],
            "WorkingDir": "/",
            "Labels": {
                "org.opencontainers.image.title": self.name,
                "org.opencontainers.image.version": self.version,
                "org.opencontainers.image.licenses": self.licences,
            },
        });
        if let Some(signal) = self.stop_signal {
            config["config"]["StopSignal"] = json!(signal);
        }
        config["rootfs"] = json!({
            "type": "layers",
            "diff_ids": self.layers.iter().map(|layer| format!("sha256:{}", layer.diff_id)).collect::<Vec<_>>(),
        });
        config["history"] =
            self.layers.iter().map(|_| json!({ "created": CREATED, "created_by": "bloomery" })).collect();
        config
    }

    fn manifest(&self, config: &Value) -> Value {
        let layers = self.layers.iter().map(
            |layer| json!({ "mediaType": LAYER, "digest": format!("sha256:{}", layer.digest), "size": layer.size }),
        );
        json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers.collect::<Vec<_>>() })
    }

    fn docker_manifest(&self, config: &Value) -> Value {
        let config = config["digest"].as_str().unwrap_or_default().trim_start_matches("sha256:");
        let layers: Vec<String> = self.layers.iter().map(|layer| blob(&layer.digest)).collect();
        json!([{ "Config": blob(config), "RepoTags": [format!("{}:{}", self.name, self.tag)], "Layers": layers }])
    }
}

/// In a layer a file named `.wh.x` removes `x` of the layers below, and `.wh..wh..opq` all of its directory (image-spec 1.1,
/// "Whiteouts"); the format has no way to hold a file of such a name.
fn refuse_whiteouts(tree: &Tree) -> Result<()> {
    let is_whiteout = |path: &&str| path.rsplit('/').next().is_some_and(|name| name.starts_with(".wh."));
    match tree.entries().map(|(path, _)| path).find(is_whiteout) {
        Some(path) => bail!(
            "/{path} cannot be in a container image: names that begin with `.wh.` remove files there\nhint: rename it"
        ),
        None => Ok(()),
    }
}

/// Where a blob lies in the layout.
fn blob(digest: &str) -> String {
    format!("blobs/sha256/{digest}")
}

fn add_layer(layer: &Layer, root: &Path) -> Result<()> {
    let path = root.join(blob(&layer.digest));
    fs::copy(&layer.blob, &path)?;
    ensure!(
        digest::file(&path)? == layer.digest,
        "the layer {} is not the one that was written\nhint: remove its directory and build again",
        layer.blob.display()
    );
    Ok(())
}

/// Writes a JSON document as a blob, and returns its descriptor.
fn add_blob(value: &Value, media_type: &str, root: &Path) -> Result<Value> {
    let bytes = pretty(value);
    let digest = digest::text(&bytes);
    fs::write(root.join(blob(&digest)), &bytes)?;
    Ok(json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len() }))
}

/// JSON that a person can read; its hash is of these very bytes.
fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// A writer that counts and hashes what passes.
struct Hashing<W> {
    inner: W,
    size: u64,
    hash: Sha256,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Hashing<W> {
        Hashing { inner, size: 0, hash: Sha256::new() }
    }

    fn finish(self) -> (W, u64, String) {
        (self.inner, self.size, hex::encode(self.hash.finalize()))
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
