//! Puts root file system and boot configuration into the kernel: a last `make` in the build directory of the compilation,
//! which compiles nothing and links anew.

use build_support::{Arch, Built, Dirs, Job, Result, Stage, digest, ensure, fs, host};
use system::outputs::{self, KernelFiles, Root};
use system::{Profile, module_key};

use super::{bootconfig, install, make, modules, targets};

/// The initramfs in the build directory.
pub const INITRAMFS: &str = "initramfs.cpio";
/// The packed build directory in the result of the compilation.
pub const BUILD_TREE: &str = "build.tar.zst";

/// Whether the profile puts anything inside.
pub fn is_needed(profile: &Profile) -> bool {
    profile.root.embed || profile.kernel.boot_config.is_some()
}

/// Adds to the key of the compilation what it leaves for this besides what `embeds` says.
pub fn inputs<'a>(stage: Stage<'a>, profile: &Profile) -> Stage<'a> {
    if profile.kernel.boot_config.is_some() { stage.input("boot configuration", "embedded") } else { stage }
}

/// What the profile puts inside the kernel.
pub struct Inside<'a> {
    /// Its root file system.
    pub root: &'a Root,
    /// Its boot configuration, checked.
    pub boot_config: Option<&'a Built>,
}

/// The kernel with all that the profile puts inside it.
pub fn link(dirs: &Dirs, arch: Arch, profile: &Profile, compiled: Built, inside: &Inside) -> Result<KernelFiles> {
    if !is_needed(profile) {
        return Ok(KernelFiles { built: compiled });
    }
    let (linux, key) = (vendor::source("linux")?, module_key::of(dirs, profile)?);
    let mut stage = Stage::new(dirs, "link", arch)
        .instance(&profile.name)
        .recipe("kernel/mod.rs", include_str!("mod.rs"))
        .recipe("kernel/link.rs", include_str!("link.rs"))
        .needs(&compiled);
    if profile.root.embed {
        stage = outputs::writers(stage.input("files", &digest::text(&inside.root.tree.manifest_tsv()?)), dirs)?;
    }
    if let Some(checked) = inside.boot_config {
        stage = stage.needs(checked);
    }
    let built = stage.build(|job| {
        let source = linux.unpack(dirs)?;
        let build = job.dir("build")?;
        unpack(job, &compiled)?;
        let objects = compiled_objects(job)?;
        if profile.root.embed {
            disk::cpio::write(&inside.root.tree, &build.join(INITRAMFS), disk::Compression::None)?;
        }
        if let Some(checked) = inside.boot_config {
            fs::copy(checked.dir.join(bootconfig::FILE), build.join(bootconfig::FILE))?;
        }
        modules::link_key(&build, key.as_ref())?; // make looks whether it is older than the certificate in the kernel.
        make(job, arch, &source, &build)?
            .arg(format!("-j{}", host::jobs()))
            .args(targets(&build, arch)?)
            .run("link the kernel")?;
        install(&build, &job.out, arch)?;
        fs::copy(compiled.dir.join("cmdline"), job.out.join("cmdline"))?;
        ensure!(compiled_objects(job)? == objects, "the last link compiled the kernel again");
        Ok(())
    })?;
    Ok(KernelFiles { built })
}

fn unpack(job: &Job, compiled: &Built) -> Result<()> {
    job.cmd("tar")
        .args(["--use-compress-program=zstd", "-xf"])
        .arg(compiled.dir.join(BUILD_TREE))
        .arg("-C")
        .arg(job.work.join("build"))
        .run("unpack the build directory")
}

/// When an object of the kernel proper was compiled.
fn compiled_objects(job: &Job) -> Result<std::time::SystemTime> {
    Ok(job.work.join("build/kernel/fork.o").metadata()?.modified()?)
}
