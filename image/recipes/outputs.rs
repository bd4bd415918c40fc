//! Writes what a user finds: disk, qcow2, archive, container image, kernel, manifest and QEMU arguments.

use std::path::{Path, PathBuf};

use build_support::{Arch, Built, Cmd, Dirs, Job, Result, Stage, cargo, digest, fs, host, progress, stage, tree};
use disk::oci::{Image, Layer};
use disk::{Disk, Guids, mounts, qcow2, tar};

use super::kernel;
use super::profile::Profile;
use super::root::Root;

#[path = "../src/machine.rs"]
mod machine;

/// The identifiers of every disk of an architecture. One name for all profiles: the kernel has its root's
/// PARTUUID built in, and so all profiles share one kernel.
pub fn guids(arch: Arch) -> Guids {
    Guids::of(arch.name())
}

/// Makes the image and lays it out below `target/bloomery/<arch>`.
pub fn write(dirs: &Dirs, arch: Arch, profile: &Profile, kernel: &Built, root: &Root) -> Result<()> {
    let image = build(dirs, arch, profile, kernel, root)?;
    let (output, name) = (dirs.output(arch), &profile.name);
    let _lock = stage::lock(dirs, &format!("outputs-{name}-{arch}"))?; // A debug and a release build write the same files.
    let dir = output.join(name);
    let mark = dir.join("key");
    let files = [output.join(format!("{name}.img")), output.join(format!("{name}.qcow2"))];
    let unchanged = fs::read_to_string(&mark).is_ok_and(|key| key == image.key);
    if !unchanged || !files.iter().all(|file| file.is_file()) {
        lay_out(&image, &output, name)?;
        fs::write(&mark, &image.key)?;
    }
    if profile.has("toolchain") && profile.name == "full" {
        lay_sysroot(&output, &image, root)?;
    }
    cargo::rerun_if_removed(&mark)?;
    cargo::rerun_if_removed(&files[0])
}

fn build(dirs: &Dirs, arch: Arch, profile: &Profile, kernel: &Built, root: &Root) -> Result<Built> {
    let manifest = root.tree.manifest_tsv()?;
    let stage = Stage::new(dirs, &format!("image-{}", profile.name), arch)
        .recipe("outputs.rs", include_str!("outputs.rs"))
        .recipe("machine.rs", include_str!("../src/machine.rs"));
    writers(stage, dirs)?
        .tool("mke2fs", &host::version("mke2fs", "-V")?)
        .tool("debugfs", &host::version("debugfs", "-V")?)
        .tool("qemu-img", &host::version("qemu-img", "--version")?)
        .input("files", &digest::text(&manifest))
        .input("disk", &profile.disk.bytes()?.to_string())
        .needs(kernel)
        .build(|job| {
            tree::copy(&kernel.dir, &job.out)?;
            fs::write(job.out.join("manifest.tsv"), &manifest)?;
            for (name, text) in machine::files(arch, &profile.name) {
                fs::write(job.out.join(name), text)?;
            }
            pack(job, arch, profile, root)?;
            let img = job.out.join("disk.img");
            let disk = Disk {
                arch,
                kernel: &kernel::efi(kernel),
                root: &root.tree,
                size: profile.disk.bytes()?,
                guids: guids(arch),
            };
            disk.write(&img, &job.dir("disk")?)?;
            qcow2::convert(&img, &job.out.join("disk.qcow2"))
        })
}

/// Adds the code that writes a stage's bytes: the crate `disk`, and the locked versions of all crates below it.
pub fn writers<'a>(stage: Stage<'a>, dirs: &Dirs) -> Result<Stage<'a>> {
    let lock = fs::read_to_string(dirs.root.join("Cargo.lock"))?;
    Ok(stage
        .input("disk/src", &digest::tree(&dirs.root.join("disk/src"))?)
        .input("disk's crates", &digest::text(&cargo::locked(&lock, "disk"))))
}

/// `rootfs.tar.zst` and `oci/`; the compiler's layer comes compressed.
fn pack(job: &Job, arch: Arch, profile: &Profile, root: &Root) -> Result<()> {
    let top = match &root.compiler {
        Some(compiler) => root.tree.minus(&compiler.tree)?,
        None => root.tree.clone(),
    };
    let top_tar = job.work.join("top.tar.zst");
    tar::layer_zst(&top, &top_tar, 12, true)?;
    let top_layer = Layer::write(&top, &job.dir("oci")?, 9)?;
    let (mut archives, mut layers) = (Vec::new(), Vec::new());
    if let Some(compiler) = &root.compiler {
        archives.push(compiler.packed.dir.join("layer.tar.zst"));
        layers.push(Layer::open(&compiler.packed.dir.join("oci"))?);
    }
    archives.push(top_tar);
    layers.push(top_layer);
    let archives: Vec<&Path> = archives.iter().map(PathBuf::as_path).collect();
    tar::concat(&archives, &job.out.join("rootfs.tar.zst"))?;
    let licences = licences(profile)?;
    let image = Image {
        arch,
        name: "bloomery",
        tag: &profile.name,
        version: env!("CARGO_PKG_VERSION"),
        licences: &licences,
        layers: &layers,
    };
    image.write(&job.out.join("oci"))
}

/// The licences of what a container image of the profile holds, as an SPDX expression.
fn licences(profile: &Profile) -> Result<String> {
    let mut names = vec!["musl", "rust"];
    if profile.has("busybox") {
        names.push("busybox");
    }
    if profile.has("toolchain") {
        names.extend(["llvm", "linux"]); // linux: the headers.
    }
    let licences = names.iter().map(|name| Ok(format!("({})", vendor::source(name)?.license())));
    Ok(licences.collect::<Result<Vec<_>>>()?.join(" AND "))
}

/// Copies the image out of the store: users write into what lies below `target`.
fn lay_out(image: &Built, output: &Path, name: &str) -> Result<()> {
    let dir = output.join(name);
    if dir.exists() {
        mounts::refuse(&dir)?;
        fs::write(dir.join("key"), "")?; // First: nothing else tells that the rest is half gone when this is killed.
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    for entry in fs::read_dir(&image.dir)? {
        let entry = entry?;
        let file = entry.file_name();
        match file.to_string_lossy().strip_prefix("disk.") {
            Some("img") => copy_disk(&entry.path(), &output.join(format!("{name}.img")), |_| Ok(()))?,
            Some(_) => copy_disk(&entry.path(), &output.join(format!("{name}.qcow2")), keep_used)?,
            None => tree::copy(&entry.path(), &dir.join(&file))?,
        }
    }
    Ok(())
}

/// Copies a disk without its holes, or shares its blocks where the file system can. A copy that is under its name is
/// whole and has the time that tells it from one that a guest wrote to.
fn copy_disk(from: &Path, to: &Path, make_room: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let part = to.with_added_extension("part"); // One that a killed build left is written over.
    Cmd::new("cp")
        .args(["--sparse=always", "--reflink=auto"])
        .arg(from)
        .arg(&part)
        .run("copy a disk out of the store")?;
    fs::File::options().append(true).open(&part)?.file().set_modified(fresh())?;
    make_room(to)?;
    Ok(fs::rename(part, to)?)
}

/// The time of a disk that no guest wrote to.
fn fresh() -> std::time::SystemTime {
    std::time::UNIX_EPOCH + std::time::Duration::from_secs(build_support::EPOCH)
}

/// The qcow2 keeps what a guest wrote, so one that was used is kept aside and not thrown away.
fn keep_used(disk: &Path) -> Result<()> {
    let Ok(meta) = disk.metadata() else { return Ok(()) };
    if meta.modified()? != fresh() {
        let old = tree::keep(disk)?;
        progress::line(&format!("the disk that a guest wrote to is now {}", old.display()));
    }
    Ok(())
}

/// The root file system of `full` as a directory, to chroot into.
fn lay_sysroot(output: &Path, image: &Built, root: &Root) -> Result<()> {
    let (dir, mark) = (output.join("sysroot"), output.join(".sysroot-key"));
    if dir.is_dir() && fs::read_to_string(&mark).is_ok_and(|key| key == image.key) {
        return Ok(());
    }
    fs::write(&mark, "")?; // Half a tree has no key.
    root.tree.write_to_dir(&dir)?;
    Ok(fs::write(mark, &image.key)?)
}

/// What makes cargo run the build script again.
pub fn inputs(dirs: &Dirs, profile: &Profile) -> Vec<PathBuf> {
    let known = [
        "image/build.rs",
        "image/recipes",
        "image/src/machine.rs",
        "image/kernel",
        "image/profiles",
        "init/src",
        "init/Cargo.toml",
        "sysroot/skeleton",
        "Cargo.lock",
        "Cargo.toml",
    ];
    let mut inputs: Vec<PathBuf> = known.iter().map(|path| dirs.root.join(path)).collect();
    inputs.push(profile.path(format!("{}.toml", profile.name)));
    inputs.extend(profile.kernel.fragments.iter().map(|name| profile.path(name)));
    inputs.push(profile.path(format!("{}-local.config", profile.name))); // What menuconfig writes beside a profile.
    inputs.extend(profile.files.iter().map(|path| profile.path(path)));
    inputs.extend(profile.packages.iter().map(|path| profile.path(path)));
    inputs.retain(|path| path.exists()); // A path that is not there makes cargo run the script each time.
    inputs
}
