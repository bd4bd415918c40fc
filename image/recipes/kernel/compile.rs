//! Configures and compiles the kernel of a variant, every asked symbol asserted.

use std::path::Path;

use build_support::kconfig::{self, Merged, Tree};
use build_support::{Arch, Built, Dirs, Job, Result, Stage, anyhow, fs, host, tree};
use system::{Profile, module_key};

use super::link::{self, BUILD_TREE, INITRAMFS};
use super::{BUILD, bootconfig, configure, install, make, modules, targets};

/// Leaves `kernel` for boot loaders and QEMU, `kernel.efi` for firmware where that takes another file, `kernel.config`, the
/// built-in command line in `cmdline`, `debug/vmlinux`, and modules. Where something is put inside later, also the build
/// directory.
pub fn compile(dirs: &Dirs, arch: Arch, profile: &Profile) -> Result<Built> {
    let linux = vendor::source("linux")?;
    let line = configure::command_line(arch, profile);
    let config = Merged::new(&configure::fragments(dirs, arch, profile)?);
    let (kernel, key) = (&profile.kernel, module_key::of(dirs, profile)?);
    let stage = Stage::new(dirs, "kernel", arch)
        .instance(&profile.kernel.variant)
        .recipe("kernel/mod.rs", include_str!("mod.rs"))
        .recipe("kernel/compile.rs", include_str!("compile.rs"))
        .source("linux", &linux.id())
        .input("config", &config.seed())
        .input("build", &BUILD.join("\n"))
        .input("embeds", &profile.root.embed.to_string())
        .input("debug", &profile.kernel.debug.to_string())
        .tool("llvm", &toolchain::host_llvm()?.digest);
    let stage = link::inputs(modules::inputs(stage, kernel, key.as_ref()), profile);
    stage.build(|job| {
        let source = linux.unpack(dirs)?;
        let build = job.dir("build")?;
        let seed = job.work.join("seed.config");
        fs::write(&seed, config.seed())?;
        let make = || make(job, arch, &source, &build);
        make()?.arg("allnoconfig").env("KCONFIG_ALLCONFIG", &seed).run("configure the kernel")?;
        let made = fs::read_to_string(build.join(".config"))?;
        let symbols = Tree::linux(&source, arch.linux());
        kconfig::check(&config, &made, Some(&symbols)).map_err(|dropped| anyhow!(kconfig::report(&dropped)))?;
        modules::check(kernel, &config, &made)?;
        put_place_holders(&build, profile)?;
        modules::link_key(&build, key.as_ref())?;
        make()?
            .arg(format!("-j{}", host::jobs()))
            .args(targets(&build, arch)?)
            .args(modules::targets(kernel))
            .run("build the kernel")?;
        install(&build, &job.out, arch)?;
        if kernel.has_modules() {
            modules::install(job, make()?, &build)?;
        }
        modules::unlink_key(&build, key.as_ref())?;
        fs::write(job.out.join("cmdline"), format!("{line}\n"))?;
        if kernel.debug {
            make()?.arg("scripts_gdb").run("make GDB's scripts")?;
            install_scripts(&source, &build, &job.out.join("debug"))?;
        }
        if link::is_needed(profile) { keep_build(job, &build) } else { Ok(()) }
    })
}

/// What this link takes, and the last one replaces.
fn put_place_holders(build: &Path, profile: &Profile) -> Result<()> {
    if profile.root.embed {
        disk::cpio::write(&disk::Tree::new(), &build.join(INITRAMFS), disk::Compression::None)?;
    }
    if profile.kernel.boot_config.is_some() {
        fs::write(build.join(bootconfig::FILE), "")?;
    }
    Ok(())
}

/// GDB's scripts as they lie beside `vmlinux`: `vmlinux-gdb.py` loads `scripts/gdb/linux`.
fn install_scripts(source: &Path, build: &Path, out: &Path) -> Result<()> {
    let scripts = out.join("scripts/gdb/linux");
    fs::create_dir_all(&scripts)?;
    fs::copy(source.join("scripts/gdb/vmlinux-gdb.py"), out.join("vmlinux-gdb.py"))?;
    for dir in [source, build] {
        for entry in fs::read_dir(dir.join("scripts/gdb/linux"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|suffix| suffix == "py") && path.is_file() {
                tree::copy(&fs::canonicalize(&path)?, &scripts.join(path.file_name().unwrap_or_default()))?;
            }
        }
    }
    Ok(())
}

/// Packs the build directory with its times, so that `make` finds everything done.
fn keep_build(job: &Job, build: &Path) -> Result<()> {
    job.cmd("tar")
        .args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner"])
        .args(["--use-compress-program=zstd -3 -T0", "-C"])
        .arg(build)
        .arg("-cf")
        .arg(job.out.join(BUILD_TREE))
        .arg(".")
        .run("pack the build directory")
}
