//! busybox: the shell and some 400 small programs in one static binary.

use std::collections::BTreeSet;

use build_support::kconfig::{self, Fragment, Merged, Tree};
use build_support::{Arch, Built, Dirs, Job, Places, Result, Stage, anyhow, ensure, fs, host, places, tree};

/// Later ones change earlier ones. `local` is there when somebody has used the menu (`image/src/menuconfig.rs`).
const CONFIG: &[&str] = &["base", "absent", "local"];
/// The configuration of the program with the set-user-ID bit, and its name.
const SUID: &str = "suid";
const SUID_PROGRAM: &str = "busybox-suid";
/// All that it may be.
const SUID_APPLETS: &[&str] =
    &["crontab", "login", "passwd", "ping", "ping6", "su", "traceroute", "traceroute6", "vlock"];

/// Leaves `bin/busybox`, `bin/busybox-suid` and a link for each applet to the one that has it, all in `bin`.
pub fn build(dirs: &Dirs, arch: Arch) -> Result<Built> {
    let busybox = vendor::source("busybox")?;
    let paths = CONFIG.iter().map(|name| dirs.root.join(format!("sysroot/busybox/{name}.config")));
    let there = paths.filter(|path| path.is_file() || !path.ends_with("local.config"));
    let config = Merged::new(&there.map(|path| Fragment::read(&path)).collect::<Result<Vec<_>>>()?);
    let suid = Merged::new(&[Fragment::read(&dirs.root.join(format!("sysroot/busybox/{SUID}.config")))?]);
    let exit = fs::read_to_string(dirs.root.join("sysroot/busybox/exit.c"))?;
    let toolchain = toolchain::host()?;
    let bin =
        |named: bool| if named { "$TOOLCHAIN/bin".into() } else { toolchain.dir.join("bin").display().to_string() };
    Stage::new(dirs, "busybox", arch)
        .recipe("busybox.rs", include_str!("busybox.rs"))
        .source("busybox", &busybox.id())
        .input("config", &config.seed())
        .input("suid", &suid.seed())
        .input("exit", &exit)
        .input("make", &places::lines(&arguments(arch, &Places::named(), "build", &bin(true))))
        .tool("toolchain", &toolchain.digest)
        .build(|job| {
            let source = busybox.unpack(dirs)?;
            compile_exit(job, arch, &exit, &bin(false))?;
            for (build, nothing, config) in [("build", false, &config), (SUID, true, &suid)] {
                let directory = job.dir(build)?;
                let epoch = build_support::EPOCH.to_string(); // Configuring writes the date of the banner.
                let arguments = arguments(arch, &Places::of(job, &source), build, &bin(false));
                let make = || job.make().args(&arguments).env("SOURCE_DATE_EPOCH", &epoch);
                let seed = job.work.join(format!("{build}.config"));
                let mut base = String::new();
                if nothing {
                    // busybox's allnoconfig reads no KCONFIG_ALLCONFIG (its scripts/kconfig/conf.c), so its result is the base.
                    make().arg("allnoconfig").run("configure busybox with nothing")?;
                    base = without(&fs::read_to_string(directory.join(".config"))?, &config.seed());
                }
                fs::write(&seed, base + &config.seed())?;
                make().def("KBUILD_DEFCONFIG", &seed).arg("defconfig").run("configure busybox")?;
                let made = fs::read_to_string(directory.join(".config"))?;
                let symbols = Tree::busybox(&source, &directory);
                kconfig::check(config, &made, Some(&symbols)).map_err(|dropped| anyhow!(kconfig::report(&dropped)))?;
                make().arg(format!("-j{}", host::jobs())).args(["busybox", "busybox.links"]).run("build busybox")?;
            }
            install(job, "build", "busybox")?;
            let mut applets = install(job, SUID, SUID_PROGRAM)?;
            applets.sort();
            ensure!(
                applets == SUID_APPLETS,
                "{SUID_PROGRAM} has other applets than it may have: {}",
                applets.join(" ")
            );
            Ok(())
        })
}

/// A configuration without the symbols that another one has: of two values the first would count.
fn without(base: &str, other: &str) -> String {
    fn symbol(line: &str) -> Option<&str> {
        line.trim_start_matches("# ").strip_prefix("CONFIG_")?.split(['=', ' ']).next()
    }
    let theirs: BTreeSet<&str> = other.lines().filter_map(symbol).collect();
    let own = base.lines().filter(|line| symbol(line).is_none_or(|symbol| !theirs.contains(symbol)));
    own.map(|line| format!("{line}\n")).collect()
}

/// The exit(3) that is linked in place of the C library's.
fn compile_exit(job: &Job, arch: Arch, text: &str, bin: &str) -> Result<()> {
    fs::write(job.work.join("exit.c"), text)?;
    job.cmd(format!("{bin}/clang"))
        .arg(format!("--target={}", arch.short_triple()))
        .args(["-Os", "-Wall", "-Werror", "-c", "-o"])
        .arg(job.work.join("exit.o"))
        .arg("exit.c")
        .dir(&job.work)
        .run("compile exit.c")
}

/// What every make in the directory `build` gets; the toolchain's programs are in `bin`.
fn arguments(arch: Arch, places: &Places, build: &str, bin: &str) -> Vec<String> {
    vec![
        "-C".into(),
        places.source.clone(),
        format!("O={}/{build}", places.work),
        // Each word begins so, because busybox takes such words out of its partial links (scripts/Makefile.lib).
        format!("EXTRA_LDFLAGS=-Wl,--wrap=exit -Wl,--wrap=fork -Wl,{}/exit.o", places.work),
        // busybox links its C program with -static-libgcc, for which clang would look for libgcc_eh.
        format!("CC={bin}/clang --target={} --unwindlib=none", arch.short_triple()),
        format!("AR={bin}/llvm-ar"),
        format!("NM={bin}/llvm-nm"),
        format!("STRIP={bin}/llvm-strip"),
        format!("OBJCOPY={bin}/llvm-objcopy"),
        "HOSTCC=cc".into(),
    ]
}

/// Every applet goes into one directory: /bin, /sbin, /usr/bin and /usr/sbin are the same on the system. Their names.
fn install(job: &Job, build: &str, program: &str) -> Result<Vec<String>> {
    let bin = job.out.join("bin");
    fs::create_dir_all(&bin)?;
    fs::copy(job.work.join(build).join("busybox"), bin.join(program))?;
    let mut applets = Vec::new();
    for link in fs::read_to_string(job.work.join(build).join("busybox.links"))?.lines() {
        if let Some((_, name)) = link.rsplit_once('/') {
            tree::link(program, &bin.join(name))?;
            applets.push(name.to_string());
        }
    }
    Ok(applets)
}
