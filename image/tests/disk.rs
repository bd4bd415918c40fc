//! The files of an image, looked at with tools that nobody here wrote, and their sizes.

mod common;

use std::collections::BTreeSet;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use build_support::{Arch, fs, tree};
use common::disk::{partition, root_file_system};
use common::outputs::{Outputs, check_with, with_disk};
use common::report;
use sha2::{Digest as _, Sha256};

/// Limits in bytes: the compiler's one binary, the kernel of `base`, that of `full` with what containers need, and the disk of `base`
/// compressed by `zstd -19`.
const LLVM_LIMIT: u64 = 100_000_000;
const KERNEL_LIMIT: u64 = 6_000_000;
const CONTAINERS_LIMIT: u64 = 6_500_000;
const BASE_LIMIT: u64 = 8_000_000;

for_each_arch! {
    the_partition_table_is_sound, the_file_systems_are_sound, damage_is_seen, the_qcow2_is_sound_by_itself, sizes_are_within_their_limits, the_oci_image_is_sound, the_manifest_is_the_sysroot, the_disk_boots_the_kernel_beside_it,
}

/// GPT type of an EFI system partition (UEFI 2.10, table 5.7).
const ESP_TYPE: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";

fn the_partition_table_is_sound(arch: Arch) -> Result<()> {
    for profile in with_disk()? {
        let profile = profile.as_str();
        let Some(outputs) = Outputs::of(arch, profile)? else { continue };
        let image = outputs.file(&format!("{profile}.img"))?;
        let text = check_with("sgdisk", &["--verify", &image.to_string_lossy()])?;
        // It ends with status 0 also when it finds fault.
        ensure!(text.contains("No problems found"), "{profile}: {text}");
        ensure!(partition(&image, 1)?.kind == ESP_TYPE, "{profile}: the first partition is no EFI system partition");
        ensure!(
            partition(&image, 2)?.kind == outputs.arch.root_partition_type(),
            "{profile}: the second is no root of {}",
            outputs.arch
        );
    }
    Ok(())
}

fn the_file_systems_are_sound(arch: Arch) -> Result<()> {
    for profile in with_disk()? {
        let profile = profile.as_str();
        let Some(outputs) = Outputs::of(arch, profile)? else { continue };
        let image = outputs.file(&format!("{profile}.img"))?;
        check_with("e2fsck", &["-fn", &root_file_system(&image)?])?;
        let copy = tempfile::NamedTempFile::new()?;
        copy_partition(&image, 1, copy.path())?;
        check_with("fsck.fat", &["-n", "-v", &copy.path().to_string_lossy()])?;
    }
    Ok(())
}

fn copy_partition(image: &Path, number: u32, to: &Path) -> Result<()> {
    let part = partition(image, number)?;
    let mut from = fs::File::open(image)?;
    from.seek(SeekFrom::Start(part.offset))?;
    let copied = std::io::copy(&mut from.take(part.length), &mut fs::File::create(to)?)?;
    ensure!(
        copied == part.length,
        "partition {number} of {} ends after {copied} of {} bytes",
        image.display(),
        part.length
    );
    Ok(())
}

/// What the checkers say of a damaged disk; without this the tests above might see nothing at all.
fn damage_is_seen(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let image = dir.path().join("damaged.img");
    fs::copy(outputs.file("base.img")?, &image)?;
    // The number of inodes, at the beginning of the superblock, which lies 1024 bytes into every ext4.
    overwrite(&image, partition(&image, 2)?.offset + 1024, &[0xff; 4])?;
    let sound = check_with("e2fsck", &["-fn", &root_file_system(&image)?]).is_ok();
    ensure!(!sound, "e2fsck does not see a broken superblock");
    // An entry of the partition table, which begins in the third sector.
    overwrite(&image, 1024 + 40, &[0xff; 8])?;
    let text = check_with("sgdisk", &["--verify", &image.to_string_lossy()]).unwrap_or_default();
    ensure!(!text.contains("No problems found"), "sgdisk does not see a broken entry:\n{text}");
    Ok(())
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) -> Result<()> {
    use std::os::unix::fs::FileExt as _;
    Ok(fs::File::options().write(true).open(path)?.file().write_all_at(bytes, offset)?)
}

/// The qcow2 has the size of the image and needs no other file.
fn the_qcow2_is_sound_by_itself(arch: Arch) -> Result<()> {
    for profile in with_disk()? {
        let profile = profile.as_str();
        let Some(outputs) = Outputs::of(arch, profile)? else { continue };
        // Not compared byte by byte: a person may have booted the qcow2, which keeps what the guest writes.
        let (raw, qcow2) = (outputs.file(&format!("{profile}.img"))?, outputs.file(&format!("{profile}.qcow2"))?);
        check_with("qemu-img", &["check", &qcow2.to_string_lossy()])?;
        let info = check_with("qemu-img", &["info", "--output=json", &qcow2.to_string_lossy()])?;
        let info: serde_json::Value = serde_json::from_str(&info)?;
        let size = info["virtual-size"].as_u64().context("qemu-img says no size")?;
        ensure!(size == fs::metadata(&raw)?.len(), "{profile}: the qcow2 holds {size} bytes, the image another number");
        ensure!(info.get("backing-filename").is_none(), "{profile}: the qcow2 needs another file");
    }
    Ok(())
}

fn sizes_are_within_their_limits(arch: Arch) -> Result<()> {
    let Some(base) = Outputs::of(arch, "base")? else { return Ok(()) };
    within(&format!("{arch} disk of base, zstd -19"), compressed(&base.file("base.img")?)?, BASE_LIMIT)?;
    within(&format!("{arch} kernel of base"), fs::metadata(base.efi_kernel("base")?)?.len(), KERNEL_LIMIT)?;
    report(&format!("{arch} rootfs.tar.zst of base: {} bytes", fs::metadata(base.file("base/rootfs.tar.zst")?)?.len()));
    let Some(full) = Outputs::of(arch, "full")? else { return Ok(()) };
    let llvm = find_llvm(&full.file("sysroot")?)?;
    within(&format!("{arch} llvm, the compiler's one binary"), fs::metadata(llvm)?.len(), LLVM_LIMIT)?;
    within(&format!("{arch} kernel of full"), fs::metadata(full.efi_kernel("full")?)?.len(), CONTAINERS_LIMIT)?;
    report(&format!("{arch} rootfs.tar.zst of full: {} bytes", fs::metadata(full.file("full/rootfs.tar.zst")?)?.len()));
    Ok(())
}

/// The file behind `cc`, whatever links lead there.
fn find_llvm(sysroot: &Path) -> Result<PathBuf> {
    let mut path = sysroot.join("usr/bin/clang");
    while let Ok(target) = fs::read_link(&path) {
        path = match target.strip_prefix("/") {
            Ok(absolute) => sysroot.join(absolute),
            Err(_) => path.parent().context("a link has a directory")?.join(target),
        };
    }
    Ok(path)
}

fn within(what: &str, bytes: u64, limit: u64) -> Result<()> {
    report(&format!("{what}: {bytes} bytes, limit {limit}"));
    ensure!(bytes <= limit, "{what} has {bytes} bytes, and its limit is {limit}");
    Ok(())
}

fn compressed(path: &Path) -> Result<u64> {
    let mut zstd = Command::new("zstd").args(["-19", "-T2", "-q", "-c"]).arg(path).stdout(Stdio::piped()).spawn()?;
    let mut output = zstd.stdout.take().context("zstd has no output")?;
    let bytes = std::io::copy(&mut output, &mut std::io::sink())?;
    ensure!(zstd.wait()?.success(), "zstd cannot compress {}", path.display());
    Ok(bytes)
}

/// Every digest of the OCI image layout is that of the blob, and every blob that is named is there (image-spec 1.1).
fn the_oci_image_is_sound(arch: Arch) -> Result<()> {
    for profile in with_disk()? {
        let profile = profile.as_str();
        let Some(outputs) = Outputs::of(arch, profile)? else { continue };
        let oci = outputs.file(&format!("{profile}/oci"))?;
        let layout = json(&oci.join("oci-layout"))?;
        ensure!(layout["imageLayoutVersion"] == "1.0.0", "{profile}: {layout}");
        let index = json(&oci.join("index.json"))?;
        let manifest = json(&blob(&oci, &index["manifests"][0])?)?;
        let config = json(&blob(&oci, &manifest["config"])?)?;
        ensure!(config["architecture"] == outputs.arch.oci() && config["os"] == "linux", "{profile}: {config}");
        let layers = manifest["layers"].as_array().context("the manifest has no layers")?;
        let tars = config["rootfs"]["diff_ids"].as_array().context("the configuration has no diff_ids")?;
        ensure!(
            !layers.is_empty() && layers.len() == tars.len(),
            "{profile}: {} layers, {} diff_ids",
            layers.len(),
            tars.len()
        );
        for (layer, tar) in layers.iter().zip(tars) {
            let unpacked = format!("sha256:{}", digest_of_tar(&blob(&oci, layer)?, layer)?);
            ensure!(*tar == unpacked, "{profile}: a layer unpacks to {unpacked}, and the configuration says {tar}");
        }
    }
    Ok(())
}

fn json(path: &Path) -> Result<serde_json::Value> {
    serde_json::from_slice(&fs::read(path)?).with_context(|| format!("{} is no JSON", path.display()))
}

/// The file of a descriptor, after its size and digest were compared.
fn blob(oci: &Path, descriptor: &serde_json::Value) -> Result<PathBuf> {
    let digest = descriptor["digest"].as_str().with_context(|| format!("no digest in {descriptor}"))?;
    let hex = digest.strip_prefix("sha256:").with_context(|| format!("{digest} is no SHA-256"))?;
    let path = oci.join("blobs/sha256").join(hex);
    ensure!(
        descriptor["size"].as_u64() == Some(fs::metadata(&path)?.len()),
        "the size of {} is not as in {descriptor}",
        path.display()
    );
    ensure!(sha256(fs::File::open(&path)?)? == hex, "{} does not have its digest", path.display());
    Ok(path)
}

fn digest_of_tar(path: &Path, layer: &serde_json::Value) -> Result<String> {
    let program = match layer["mediaType"].as_str() {
        Some("application/vnd.oci.image.layer.v1.tar+gzip") => "gzip",
        Some("application/vnd.oci.image.layer.v1.tar+zstd") => "zstd",
        Some("application/vnd.oci.image.layer.v1.tar") => return sha256(fs::File::open(path)?),
        other => bail!("no layer has the type {other:?}"),
    };
    let file = fs::File::open(path)?.into_file();
    let mut unpack = Command::new(program).arg("-dc").stdin(file).stdout(Stdio::piped()).spawn()?;
    let digest = sha256(unpack.stdout.take().context("no output")?)?;
    ensure!(unpack.wait()?.success(), "{program} cannot unpack {}", path.display());
    Ok(digest)
}

fn sha256(mut from: impl std::io::Read) -> Result<String> {
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// The manifest lists everything in the sysroot, and all as it is.
fn the_manifest_is_the_sysroot(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "full")? else { return Ok(()) };
    let sysroot = outputs.file("sysroot")?;
    let text = fs::read_to_string(outputs.file("full/manifest.tsv")?)?;
    let mut listed = BTreeSet::new();
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [path, kind, mode, size, content, stage] = fields[..] else { bail!("not six fields: {line}") };
        let path = path.trim_start_matches('/');
        let here = sysroot.join(path);
        let meta = fs::symlink_metadata(&here)?;
        let is = match kind {
            "file" => meta.is_file() && meta.len().to_string() == size && sha256(fs::File::open(&here)?)? == content,
            "link" => meta.is_symlink() && format!("-> {}", fs::read_link(&here)?.display()) == content,
            "dir" => meta.is_dir(),
            other => bail!("`{other}` is no kind: {line}"),
        };
        // Links have no mode of their own, and a directory of this machine has no set-id bits: they would be this machine's.
        let mode_is = kind == "link" || meta.mode() & 0o7777 == u32::from_str_radix(mode, 8)? & !0o6000;
        ensure!(is && mode_is && !stage.is_empty(), "it is not as the manifest says: {line}");
        listed.insert(PathBuf::from(path));
    }
    for file in tree::files(&sysroot)? {
        ensure!(listed.contains(&file), "the manifest does not list {}", file.display());
    }
    Ok(())
}

/// The kernel on the disk is the one beside it, and starts without a boot loader.
fn the_disk_boots_the_kernel_beside_it(arch: Arch) -> Result<()> {
    for profile in with_disk()? {
        let profile = profile.as_str();
        let Some(outputs) = Outputs::of(arch, profile)? else { continue };
        let kernel = fs::read(outputs.efi_kernel(profile)?)?;
        ensure!(kernel.starts_with(b"MZ"), "{profile}: the kernel is no EFI program");
        let esp = tempfile::NamedTempFile::new()?;
        copy_partition(&outputs.file(&format!("{profile}.img"))?, 1, esp.path())?;
        let bytes = fs::read(esp.path())?;
        // FAT keeps a file that was written once in one piece, from the beginning of a sector on.
        let found = (0..bytes.len()).step_by(512).any(|at| bytes[at..].starts_with(&kernel));
        ensure!(found, "{profile}: the EFI system partition does not hold the kernel");
        ensure!(
            uses_partition(&outputs, profile)?,
            "{profile}: the kernel's command line does not name the root partition"
        );
    }
    Ok(())
}

/// Whether the kernel's built-in command line names the root partition of the disk.
fn uses_partition(outputs: &Outputs, profile: &str) -> Result<bool> {
    let guid = partition(&outputs.file(&format!("{profile}.img"))?, 2)?.guid;
    let config = fs::read_to_string(outputs.file(&format!("{profile}/kernel.config"))?)?;
    Ok(config.to_ascii_uppercase().contains(&format!("ROOT=PARTUUID={guid}")))
}
