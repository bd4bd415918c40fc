//! The kernel: fragments by purpose on an otherwise empty configuration, every asked symbol asserted.

use std::path::{Path, PathBuf};

use build_support::kconfig::{self, Fragment, Merged, Tree};
use build_support::preflight::{self, HostClang};
use build_support::{Arch, Built, Dirs, Job, Result, Stage, anyhow, ensure, fs, host};

use super::profile::Profile;

/// What the kernel says of its build instead of who, where and when (Documentation/kbuild/reproducible-builds.rst).
const BUILD: &[&str] = &[
    "KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 2026",
    "KBUILD_BUILD_USER=bloomery",
    "KBUILD_BUILD_HOST=bloomery",
    "KBUILD_BUILD_VERSION=1",
];

/// Leaves `kernel` for boot loaders and QEMU, `kernel.efi` for firmware where that takes another file, `kernel.config`,
/// and the built-in command line in `cmdline`.
pub fn build(dirs: &Dirs, arch: Arch, profile: &Profile, root: &str) -> Result<Built> {
    let linux = vendor::source("linux")?;
    let line = command_line(arch, profile, root);
    let config = Merged::new(&fragments(dirs, arch, profile, &line)?);
    Stage::new(dirs, "kernel", arch)
        .recipe("kernel.rs", include_str!("kernel.rs"))
        .source("linux", &linux.id())
        .input("config", &config.seed())
        .tool("llvm", &toolchain::host_llvm()?.digest)
        .build(|job| {
            let source = linux.unpack(dirs)?;
            let build = job.dir("build")?;
            let first = HostClang::find()?;
            let tools = tools(arch, &first, &toolchain::host()?.dir.join("bin"));
            let make = || job.cmd("make").arg("-C").arg(&source).def("O", &build).args(&tools).args(BUILD);
            let seed = job.work.join("seed.config");
            fs::write(&seed, config.seed())?;
            make().arg("allnoconfig").env("KCONFIG_ALLCONFIG", &seed).run("configure the kernel")?;
            let made = fs::read_to_string(build.join(".config"))?;
            let symbols = Tree::linux(&source, arch.linux());
            kconfig::check(&config, &made, Some(&symbols)).map_err(|dropped| anyhow!(kconfig::report(&dropped)))?;
            let targets = [arch.kernel_image(), arch.efi_image()].map(file_name);
            make().arg(format!("-j{}", host::jobs())).args(targets).run("build the kernel")?;
            fs::write(job.out.join("cmdline"), format!("{line}\n"))?;
            install(job, arch)
        })
}

/// The architecture's fragment, then the profile's, which may change it, then the command line.
fn fragments(dirs: &Dirs, arch: Arch, profile: &Profile, line: &str) -> Result<Vec<Fragment>> {
    let mut fragments = vec![Fragment::read(&dirs.root.join(format!("image/kernel/{arch}.config")))?];
    for name in &profile.kernel.fragments {
        let known = dirs.root.join(format!("image/kernel/{name}.config"));
        let path = if known.is_file() { known } else { profile.path(name) };
        ensure!(
            path.is_file(),
            "the profile {} asks for the kernel fragment `{name}`, which does not exist\n\
             hint: name a file of image/kernel/ without `.config`, or a path relative to the profile",
            profile.name
        );
        fragments.push(Fragment::read(&path)?);
    }
    let switch = match arch {
        Arch::X86_64 => "CONFIG_CMDLINE_BOOL=y\n",
        Arch::Arm64 => "", // It has no switch: an empty line is none.
    };
    let text = format!("{switch}CONFIG_CMDLINE=\"{line}\"\n");
    fragments.push(Fragment::parse(Path::new("the profile's command line"), &text)?);
    Ok(fragments)
}

/// The command line that is built into the kernel.
fn command_line(arch: Arch, profile: &Profile, root: &str) -> String {
    let line = [
        &format!("root=PARTUUID={root} rootwait ro"),
        // The last console is /dev/console; a machine without a serial line uses the screen.
        &format!("console=tty0 console={}", arch.serial_console()),
        "panic=10", // A machine far away comes back by itself.
        &profile.kernel.command_line,
    ]
    .join(" ");
    line.trim().into()
}

/// The kernel for the EFI system partition.
pub fn efi(kernel: &Built) -> PathBuf {
    let own = kernel.dir.join("kernel.efi");
    if own.is_file() { own } else { kernel.dir.join("kernel") }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn tools(arch: Arch, first: &HostClang, bin: &Path) -> Vec<String> {
    let program = |name: &str| bin.join(name).display().to_string();
    let clang = program("clang");
    let cc = match preflight::ccache() {
        Some(ccache) => format!("{} {clang}", ccache.display()),
        None => clang,
    };
    vec![
        "LLVM=1".into(),
        format!("ARCH={}", arch.linux()),
        format!("CC={cc}"),
        format!("LD={}", program("ld.lld")),
        format!("AR={}", program("llvm-ar")),
        format!("NM={}", program("llvm-nm")),
        format!("STRIP={}", program("llvm-strip")),
        format!("OBJCOPY={}", program("llvm-objcopy")),
        format!("OBJDUMP={}", program("llvm-objdump")),
        format!("READELF={}", program("llvm-readelf")),
        // Tools that run during the build use the host's libraries (libelf), so the host's compiler makes them.
        format!("HOSTCC=clang{}", first.suffix),
        format!("HOSTCXX=clang++{}", first.suffix),
        format!("HOSTLD=ld.lld{}", first.suffix),
        format!("HOSTAR=llvm-ar{}", first.suffix),
    ]
}

fn install(job: &Job, arch: Arch) -> Result<()> {
    let build = job.work.join("build");
    fs::copy(build.join(arch.kernel_image()), job.out.join("kernel"))?;
    if arch.efi_image() != arch.kernel_image() {
        fs::copy(build.join(arch.efi_image()), job.out.join("kernel.efi"))?;
    }
    fs::copy(build.join(".config"), job.out.join("kernel.config"))?;
    Ok(())
}
