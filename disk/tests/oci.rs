//! The container image, checked by its own rules, and with skopeo and umoci where they are installed.

mod common;

use std::path::{Path, PathBuf};

use build_support::{Arch, Cmd, digest, host};
use common::{scratch, text, tree};
use disk::Tree;
use disk::oci::{Image, Layer};
use fs_err as fs;
use serde_json::Value;

fn write(tree: &Tree, arch: Arch, dir: &Path) -> PathBuf {
    let mut base = Tree::new();
    base.merge(&dir.join("host"), "usr", "merged").unwrap();
    let low = Layer::write(&base, &dir.join("low"), 6).unwrap();
    assert_eq!(low, Layer::open(&dir.join("low")).unwrap());
    let high = Layer::write(&tree.minus(&base).unwrap(), &dir.join("high"), 1).unwrap();
    let layers = [low, high];
    let out = dir.join("oci");
    Image {
        arch,
        name: "bloomery",
        tag: "full",
        version: "1.2.3",
        licences: "MIT",
        layers: &layers,
        stop_signal: Some("SIGRTMIN+3"),
    }
    .write(&out)
    .unwrap();
    out
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Follows a descriptor, and checks that size and digest are those of the blob.
fn follow(descriptor: &Value, root: &Path) -> PathBuf {
    let hash = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let path = root.join("blobs/sha256").join(hash);
    assert_eq!(digest::file(&path).unwrap(), hash);
    assert_eq!(fs::metadata(&path).unwrap().len(), descriptor["size"].as_u64().unwrap());
    path
}

#[test]
fn every_digest_and_size_is_right() {
    let (_keep, dir) = scratch();
    let root = write(&tree(&dir.join("host")), Arch::Arm64, &dir);
    assert_eq!(json(&root.join("oci-layout"))["imageLayoutVersion"], "1.0.0");
    let index = json(&root.join("index.json"));
    let entry = &index["manifests"][0];
    assert_eq!(entry["platform"]["architecture"], "arm64");
    assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], "full");
    let manifest = json(&follow(entry, &root));
    let config = json(&follow(&manifest["config"], &root));
    assert_eq!(config["architecture"], "arm64");
    assert_eq!(config["created"], "2026-01-01T00:00:00Z");
    assert_eq!(config["config"]["Cmd"][0], "/bin/sh");
    assert_eq!(config["config"]["StopSignal"], "SIGRTMIN+3");
    assert_eq!(config["config"]["Labels"]["org.opencontainers.image.version"], "1.2.3");
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!((layers.len(), fs::read_dir(root.join("blobs/sha256")).unwrap().count()), (2, 4));
    for (i, layer) in layers.iter().enumerate() {
        let plain = dir.join(format!("layer-{i}"));
        let blob = follow(layer, &root);
        std::io::copy(
            &mut flate2::read::GzDecoder::new(fs::File::open(blob).unwrap()),
            &mut fs::File::create(&plain).unwrap(),
        )
        .unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][i], format!("sha256:{}", digest::file(&plain).unwrap()));
    }
    // docker's own list leads to the same files.
    let docker = json(&root.join("manifest.json"));
    assert_eq!(docker[0]["RepoTags"][0], "bloomery:full");
    assert!(
        manifest["config"]["digest"]
            .as_str()
            .unwrap()
            .ends_with(docker[0]["Config"].as_str().unwrap().rsplit('/').next().unwrap())
    );
    assert_eq!(docker[0]["Layers"].as_array().unwrap().len(), 2);
}

#[test]
fn two_builds_give_the_same_image() {
    let (_keep, dir) = scratch();
    let digests = ["one", "two, longer"].map(|name| {
        let dir = dir.join(name);
        digest::tree(&write(&tree(&dir.join("host")), Arch::X86_64, &dir)).unwrap()
    });
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn a_name_that_would_remove_a_file_is_refused() {
    let (_keep, dir) = scratch();
    for name in ["etc/.wh.passwd", ".wh..wh..opq", "a/.wh./b"] {
        let mut tree = Tree::new();
        tree.bytes(name, "", 0o644, "one").unwrap();
        let error = Layer::write(&tree, &dir.join("layer"), 1).unwrap_err().to_string();
        assert!(
            error.contains(&format!("/{}", name.trim_end_matches("/b"))) && error.contains("remove files"),
            "{error}"
        );
        assert!(!dir.join("layer").exists());
    }
    let mut tree = Tree::new();
    tree.bytes(".what", "", 0o644, "one").unwrap();
    Layer::write(&tree, &dir.join("layer"), 1).unwrap();
}

#[test]
fn a_damaged_layer_is_refused() {
    let (_keep, dir) = scratch();
    let mut tree = Tree::new();
    tree.bytes("file", "text", 0o644, "one").unwrap();
    let layer = Layer::write(&tree, &dir.join("layer"), 6).unwrap();
    let mut bytes = fs::read(&layer.blob).unwrap();
    bytes[20] ^= 1;
    fs::write(&layer.blob, bytes).unwrap();
    let layers = [layer];
    let image = Image {
        arch: Arch::X86_64,
        name: "x",
        tag: "y",
        version: "1",
        licences: "MIT",
        layers: &layers,
        stop_signal: None,
    };
    let error = format!("{:#}", image.write(&dir.join("oci")).unwrap_err());
    assert!(error.contains("not the one that was written") && error.contains("hint:"), "{error}");
    assert!(!dir.join("oci").exists());
}

/// skopeo and umoci are no part of the build, so a machine may lack them; then the test says so and the rules above
/// are all that was checked.
fn installed(program: &str) -> bool {
    let there = host::find_program(program).is_some();
    if !there {
        eprintln!("SKIPPED: `{program}` is not installed (apt-get install {program})");
    }
    there
}

#[test]
fn skopeo_reads_both_forms() {
    if !installed("skopeo") {
        return;
    }
    let (_keep, dir) = scratch();
    let root = write(&tree(&dir.join("host")), Arch::X86_64, &dir);
    let archive = dir.join("docker.tar");
    Cmd::new("tar").args(["-C", text(&root), "-cf", text(&archive), "."]).run("pack").unwrap();
    for (i, from) in
        [format!("oci:{}:full", text(&root)), format!("docker-archive:{}", text(&archive))].iter().enumerate()
    {
        let to = dir.join(format!("copy-{i}"));
        // Copying unpacks nothing, but checks every digest and size on the way.
        Cmd::new("skopeo")
            .args(["--insecure-policy", "copy", from])
            .arg(format!("dir:{}", text(&to)))
            .run("copy")
            .unwrap();
        let manifest = json(&to.join("manifest.json"));
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 2, "{manifest}");
    }
}

#[test]
fn umoci_unpacks_the_image() {
    if !installed("umoci") {
        return;
    }
    let (_keep, dir) = scratch();
    let mut tree = tree(&dir.join("host"));
    // Without root umoci puts an empty file in place of a device.
    common::DEVICES.iter().for_each(|device| tree.remove(device).unwrap());
    let root = write(&tree, Arch::X86_64, &dir);
    let bundle = dir.join("bundle");
    Cmd::new("umoci")
        .args(["unpack", "--rootless", "--image", &format!("{}:full", text(&root))])
        .arg(&bundle)
        .run("unpack")
        .unwrap();
    assert_eq!(common::plain(&bundle.join("rootfs")), common::laid_out(&tree, &dir.join("want")));
}
