//! busybox: the shell and some 400 small programs in one static binary.

use build_support::kconfig::{self, Fragment, Merged, Tree};
use build_support::{Arch, Built, Dirs, Job, Places, Result, Stage, anyhow, fs, host, places, tree};

/// Later ones change earlier ones. `local` is there when somebody has used the menu (`image/src/menuconfig.rs`).
const CONFIG: &[&str] = &["base", "absent", "local"];

/// Leaves `bin/busybox` and a link to it for each applet, all in `bin`.
pub fn build(dirs: &Dirs, arch: Arch) -> Result<Built> {
    let busybox = vendor::source("busybox")?;
    let paths = CONFIG.iter().map(|name| dirs.root.join(format!("sysroot/busybox/{name}.config")));
    let there = paths.filter(|path| path.is_file() || !path.ends_with("local.config"));
    let config = Merged::new(&there.map(|path| Fragment::read(&path)).collect::<Result<Vec<_>>>()?);
    let toolchain = toolchain::host()?;
    let bin =
        |named: bool| if named { "$TOOLCHAIN/bin".into() } else { toolchain.dir.join("bin").display().to_string() };
    Stage::new(dirs, "busybox", arch)
        .recipe("busybox.rs", include_str!("busybox.rs"))
        .source("busybox", &busybox.id())
        .input("config", &config.seed())
        .input("make", &places::lines(&arguments(arch, &Places::named(), &bin(true))))
        .tool("toolchain", &toolchain.digest)
        .build(|job| {
            let source = busybox.unpack(dirs)?;
            let build = job.dir("build")?;
            let epoch = build_support::EPOCH.to_string(); // Configuring writes the date of the banner.
            let arguments = arguments(arch, &Places::of(job, &source), &bin(false));
            let make = || job.make().args(&arguments).env("SOURCE_DATE_EPOCH", &epoch);
            let seed = job.work.join("seed.config");
            fs::write(&seed, config.seed())?;
            make().def("KBUILD_DEFCONFIG", &seed).arg("defconfig").run("configure busybox")?;
            let made = fs::read_to_string(build.join(".config"))?;
            let symbols = Tree::busybox(&source, &build);
            kconfig::check(&config, &made, Some(&symbols)).map_err(|dropped| anyhow!(kconfig::report(&dropped)))?;
            make().arg(format!("-j{}", host::jobs())).args(["busybox", "busybox.links"]).run("build busybox")?;
            install(job)
        })
}

/// What every make gets; the toolchain's programs are in `bin`.
fn arguments(arch: Arch, places: &Places, bin: &str) -> Vec<String> {
    vec![
        "-C".into(),
        places.source.clone(),
        format!("O={}/build", places.work),
        // busybox links its C program with -static-libgcc, for which clang would look for libgcc_eh.
        format!("CC={bin}/clang --target={} --unwindlib=none", arch.short_triple()),
        format!("AR={bin}/llvm-ar"),
        format!("NM={bin}/llvm-nm"),
        format!("STRIP={bin}/llvm-strip"),
        format!("OBJCOPY={bin}/llvm-objcopy"),
        "HOSTCC=cc".into(),
    ]
}

/// Every applet goes into one directory: /bin, /sbin, /usr/bin and /usr/sbin are the same on the system.
fn install(job: &Job) -> Result<()> {
    let bin = job.out.join("bin");
    fs::create_dir_all(&bin)?;
    fs::copy(job.work.join("build/busybox"), bin.join("busybox"))?;
    for link in fs::read_to_string(job.work.join("build/busybox.links"))?.lines() {
        if let Some((_, name)) = link.rsplit_once('/') {
            tree::link("busybox", &bin.join(name))?;
        }
    }
    Ok(())
}
