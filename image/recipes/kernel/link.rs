//! Puts the root file system into the kernel: a last `make` in the build directory of the compilation, which compiles
//! nothing and links anew.

use build_support::{Arch, Built, Dirs, Job, Result, Stage, digest, ensure, fs, host};
use system::Profile;
use system::outputs::{self, KernelFiles, Root};

use super::{install, make, targets};

/// The initramfs in the build directory.
pub const INITRAMFS: &str = "initramfs.cpio";
/// The packed build directory in the result of the compilation.
pub const BUILD_TREE: &str = "build.tar.zst";

/// The kernel with all that the profile puts inside it.
pub fn link(dirs: &Dirs, arch: Arch, profile: &Profile, compiled: Built, root: &Root) -> Result<KernelFiles> {
    if !profile.root.embed {
        return Ok(KernelFiles { built: compiled });
    }
    let linux = vendor::source("linux")?;
    let stage = Stage::new(dirs, "link", arch)
        .instance(&profile.name)
        .recipe("kernel/mod.rs", include_str!("mod.rs"))
        .recipe("kernel/link.rs", include_str!("link.rs"))
        .input("files", &digest::text(&root.tree.manifest_tsv()?))
        .needs(&compiled);
    let built = outputs::writers(stage, dirs)?.build(|job| {
        let source = linux.unpack(dirs)?;
        let build = job.dir("build")?;
        unpack(job, &compiled)?;
        let objects = compiled_objects(job)?;
        disk::cpio::write(&root.tree, &build.join(INITRAMFS), disk::Compression::None)?;
        make(job, arch, &source, &build)?
            .arg(format!("-j{}", host::jobs()))
            .args(targets(arch))
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
