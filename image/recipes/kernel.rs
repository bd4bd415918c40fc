//! The kernel: fragments by purpose on an otherwise empty configuration, every asked symbol asserted.

use std::path::Path;

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

/// Leaves `kernel` and `kernel.config`.
pub fn build(dirs: &Dirs, arch: Arch, profile: &Profile, root: &str) -> Result<Built> {
    let linux = vendor::source("linux")?;
    let config = Merged::new(&fragments(dirs, arch, profile, root)?);
    Stage::new(dirs, "kernel", arch)
        .recipe("kernel.rs", include_str!("kernel.rs"))
        .source("linux", &linux.id())
        .input("config", &config.seed())
        .tool("llvm", toolchain::LLVM_DIGEST)
        .build(|job| {
            let source = linux.unpack(dirs)?;
            let build = job.dir("build")?;
            let first = HostClang::find()?;
            let make = || job.cmd("make").arg("-C").arg(&source).def("O", &build).args(tools(arch, &first)).args(BUILD);
            let seed = job.work.join("seed.config");
            fs::write(&seed, config.seed())?;
            make().arg("allnoconfig").env("KCONFIG_ALLCONFIG", &seed).run("configure the kernel")?;
            let made = fs::read_to_string(build.join(".config"))?;
            let symbols = Tree::linux(&source, arch.linux());
            kconfig::check(&config, &made, Some(&symbols)).map_err(|dropped| anyhow!(kconfig::report(&dropped)))?;
            let target = arch.kernel_image().rsplit('/').next().unwrap_or_default();
            make().arg(format!("-j{}", host::jobs())).arg(target).run("build the kernel")?;
            install(job, arch)
        })
}

/// The profile's fragments, and its command line as one more.
fn fragments(dirs: &Dirs, arch: Arch, profile: &Profile, root: &str) -> Result<Vec<Fragment>> {
    let mut fragments = Vec::new();
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
    let line = [
        &format!("root=PARTUUID={root} rootwait ro"),
        // The last console is /dev/console; a machine without a serial line uses the screen.
        &format!("console=tty0 console={}", arch.serial_console()),
        "panic=10", // A machine far away comes back by itself.
        &profile.kernel.command_line,
    ]
    .join(" ");
    let text = format!("CONFIG_CMDLINE_BOOL=y\nCONFIG_CMDLINE=\"{}\"\n", line.trim());
    fragments.push(Fragment::parse(Path::new("the profile's command line"), &text)?);
    Ok(fragments)
}

fn tools(arch: Arch, first: &HostClang) -> Vec<String> {
    let program = |name: &str| toolchain::program(name).display().to_string();
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
    fs::copy(build.join(".config"), job.out.join("kernel.config"))?;
    Ok(())
}
