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

/// What is linked in place of functions of musl and busybox (ld(1), --wrap): the file in `sysroot/busybox`, and the functions.
/// Those that the program with the set-user-ID bit has not are at the end.
const REPLACED: &[(&str, &[&str])] = &[
    ("exit", &["exit", "fork"]),
    ("zone", &["localtime", "localtime_r", "mktime"]),
    ("wget", &["wget_main", "bb_simple_error_msg"]),
];
/// How many of [`REPLACED`] that program has.
const SUID_REPLACED: usize = 2;
/// How wget says that it will check no certificate (networking/wget.c): `wget.c` ends it there.
const UNCHECKED: &str = "note: TLS certificate validation not implemented";

/// Leaves `bin/busybox`, `bin/busybox-suid` and a link for each applet to the one that has it, all in `bin`.
pub fn build(dirs: &Dirs, arch: Arch) -> Result<Built> {
    let busybox = vendor::source("busybox")?;
    let paths = CONFIG.iter().map(|name| dirs.root.join(format!("sysroot/busybox/{name}.config")));
    let there = paths.filter(|path| path.is_file() || !path.ends_with("local.config"));
    let config = Merged::new(&there.map(|path| Fragment::read(&path)).collect::<Result<Vec<_>>>()?);
    let suid = Merged::new(&[Fragment::read(&dirs.root.join(format!("sysroot/busybox/{SUID}.config")))?]);
    let text = |(name, _): &(&str, _)| fs::read_to_string(dirs.root.join(format!("sysroot/busybox/{name}.c")));
    let replaced = REPLACED.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let toolchain = toolchain::host()?;
    let bin =
        |named: bool| if named { "$TOOLCHAIN/bin".into() } else { toolchain.dir.join("bin").display().to_string() };
    Stage::new(dirs, "busybox", arch)
        .recipe("busybox.rs", include_str!("busybox.rs"))
        .source("busybox", &busybox.id())
        .input("config", &config.seed())
        .input("suid", &suid.seed())
        .input("replaced", &replaced.concat())
        .input("make", &places::lines(&arguments(arch, &Places::named(), "build", &bin(true))))
        .tool("toolchain", &toolchain.digest)
        .build(|job| {
            let source = busybox.unpack(dirs)?;
            let wget = source.join("networking/wget.c");
            ensure!(
                fs::read_to_string(&wget)?.contains(UNCHECKED),
                "{} does not say `{UNCHECKED}`, so sysroot/busybox/wget.c would let wget trust every server",
                wget.display()
            );
            for ((name, _), text) in REPLACED.iter().zip(&replaced) {
                compile_replaced(job, arch, name, text, &bin(false))?;
            }
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

/// Compiles a file of [`REPLACED`].
fn compile_replaced(job: &Job, arch: Arch, name: &str, text: &str, bin: &str) -> Result<()> {
    fs::write(job.work.join(format!("{name}.c")), text)?;
    job.cmd(format!("{bin}/clang"))
        .arg(format!("--target={}", arch.short_triple()))
        .args(["-Os", "-ffunction-sections", "-Wall", "-Werror"])
        .arg(format!("-DUNCHECKED=\"{UNCHECKED}\""))
        .args(["-c", &format!("{name}.c")])
        .dir(&job.work)
        .run(&format!("compile {name}.c"))
}

/// Words for the link. Each begins so, because busybox takes such words out of its partial links (scripts/Makefile.lib).
fn link_words(work: &str, build: &str) -> String {
    let count = if build == SUID { SUID_REPLACED } else { REPLACED.len() };
    let replaced = &REPLACED[..count];
    let wrap = replaced.iter().flat_map(|(_, functions)| *functions).map(|function| format!("-Wl,--wrap={function}"));
    let objects = replaced.iter().map(|(name, _)| format!("-Wl,{work}/{name}.o"));
    wrap.chain(objects).collect::<Vec<_>>().join(" ")
}

/// What every make in the directory `build` gets; the toolchain's programs are in `bin`.
fn arguments(arch: Arch, places: &Places, build: &str, bin: &str) -> Vec<String> {
    vec![
        "-C".into(),
        places.source.clone(),
        format!("O={}/{build}", places.work),
        format!("EXTRA_LDFLAGS={}", link_words(&places.work, build)),
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
