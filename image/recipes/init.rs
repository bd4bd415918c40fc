//! PID 1: Rust, static, with `std` built from the pinned library source, since no target of rustup is used.

use std::path::{Path, PathBuf};

use build_support::{Arch, Built, Context as _, Dirs, Result, Stage, cargo, digest, fs, host, stage, tree};
use system::Profile;

/// Programs that are linked into the same file when a profile has them as packages: each is a cargo feature of that name,
/// and another name of the file (`init/src/main.rs`).
const COMPANIONS: &[&str] =
    &["initctl", "echod", "dhcpc", "modprobe", "ntpc", "status", "syslogc", "updater", "growfs"];

/// Names of init itself that hands know from other inits.
const HABITS: &[&str] = &["shutdown", "telinit"];

/// Those of the default profile, for which the stage has its plain name.
const USUAL: &[&str] = &["initctl", "echod"];

/// The crates that the program is made of.
const CRATES: &[&str] = &[
    "init",
    "init/base",
    "initctl",
    "echod",
    "dhcpc",
    "modprobe",
    "ntpc",
    "status",
    "syslogc",
    "slots",
    "updater",
    "growfs",
];

/// Leaves `sbin/init`, links to it, and the same program with symbols and debug information, `debug/init.debug`.
pub fn build(dirs: &Dirs, arch: Arch, profile: &Profile) -> Result<Built> {
    let companions: Vec<&str> = COMPANIONS.iter().copied().filter(|name| is_in(profile, name)).collect();
    let lock = fs::read_to_string(dirs.root.join("Cargo.lock"))?;
    let rust = vendor::source("rust")?;
    let rustc = build_support::Cmd::new("rustc").arg("--version").dir(&dirs.root).read("ask rustc for its version")?;
    check_version(&rustc, rust.version())?;
    let mut stage = Stage::new(dirs, "init", arch)
        .recipe("init.rs", include_str!("init.rs"))
        .source("rust", &rust.id())
        .input("companions", &companions.join(" "))
        .input("crates", &cargo::locked(&lock, "init")?)
        .input("Cargo.toml", &build_profile(dirs)?);
    for name in CRATES {
        let dir = dirs.root.join(name);
        stage = stage.input(&format!("{name}/src"), &digest::tree(&dir.join("src"))?);
        stage = stage.input(&format!("{name}/Cargo.toml"), &fs::read_to_string(dir.join("Cargo.toml"))?);
    }
    if companions != USUAL {
        stage = stage.instance(&if companions.is_empty() { "alone".into() } else { companions.join("-") });
    }
    stage.tool("rustc", rustc.trim()).tool("toolchain", &toolchain::host()?.digest).build(|job| {
        let source = rust.unpack(dirs)?;
        let triple = arch.triple();
        // Kept between builds: std takes a minute, init itself a few seconds. Each instance and each checkout has it in turn:
        // another one's crates are forgotten before it begins.
        let target = dirs.work().join(format!("init-{arch}.target"));
        let _lock = stage::lock(dirs, &format!("init-{arch}.target"))?;
        forget_own_crates(&target.join(triple).join("init"))?;
        job.cmd("cargo")
            .dir(&dirs.root)
            .args(["build", "--locked", "--package", "init", "--bin", "init", "--profile", "init"])
            .args(["--no-default-features", "--features", &companions.join(",")])
            .arg("-Zbuild-std=std,panic_abort")
            .arg("-Zbuild-std-features=optimize_for_size") // And no backtraces: they are two thirds of the program.
            .args(["--target", triple])
            .arg("--target-dir")
            .arg(&target)
            .arg(format!("-j{}", host::jobs()))
            .env("RUSTC_BOOTSTRAP", "1") // -Zbuild-std on the stable compiler.
            .env("__CARGO_TESTS_ONLY_SRC_ROOT", source.join("library")) // Else cargo wants rustup's rust-src.
            .env(linker_variable(triple), toolchain::program("clang")?)
            .env("CARGO_ENCODED_RUSTFLAGS", rustflags(arch, &places(dirs, &source)?).join("\x1f"))
            .run("build init")?;
        let [sbin, debug] = ["sbin", "debug"].map(|dir| job.out.join(dir));
        fs::create_dir_all(&sbin)?;
        fs::create_dir_all(&debug)?;
        fs::copy(target.join(triple).join("init/init"), debug.join("init.debug"))?;
        job.cmd(toolchain::program("llvm-strip")?)
            .arg("--strip-all")
            .arg("-o")
            .arg(sbin.join("init"))
            .arg(debug.join("init.debug"))
            .run("strip init")?;
        companions.iter().chain(HABITS).try_for_each(|name| tree::link("init", &sbin.join(name)))
    })
}

/// Lets cargo compile the project's own crates anew. It goes by the times of files below a checkout that it does not name: a crate
/// that another checkout compiled later than this one's was changed would be taken as it is.
fn forget_own_crates(target: &Path) -> Result<()> {
    let fingerprints = target.join(".fingerprint");
    if !fingerprints.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(&fingerprints)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if CRATES.iter().any(|own| name.starts_with(&format!("{}-", own.replace('/', "-")))) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Whether a companion is linked in: also the one that loads the kernel's modules, if there are any.
fn is_in(profile: &Profile, name: &str) -> bool {
    profile.has(name) || name == "modprobe" && profile.kernel.has_modules()
}

/// Flags in a list: a path may have a space.
fn rustflags(arch: Arch, places: &[(PathBuf, &str)]) -> Vec<String> {
    let flags = [
        format!("-Clink-arg=--target={}", arch.short_triple()),
        "-Clink-self-contained=no".into(), // Our musl and start files, not those of a rustup target.
        "-Ctarget-feature=+crt-static".into(),
        "-Crelocation-model=static".into(), // No loader: a fixed address needs no relocation at start.
        "-Cforce-unwind-tables=no".into(),  // A panic starts the program anew and unwinds nothing.
        "-Clink-arg=-Wl,--icf=all".into(),  // Equal functions once: nothing here compares the addresses of two.
        "-Clink-arg=-Wl,-z,norelro".into(), // One segment less to map: nothing makes RELRO's read-only in a static program.
    ];
    let remaps = places.iter().map(|(place, name)| format!("--remap-path-prefix={}={name}", place.display()));
    flags.into_iter().chain(remaps).collect()
}

/// Where sources lie on this machine, and what messages of the program call these places; the project's own sources have
/// relative paths. The longest path is last, since rustc takes the last that fits. The bytes still differ with the place of
/// the store: cargo makes it part of the names of `std`'s symbols, which decide about their order.
fn places(dirs: &Dirs, library: &Path) -> Result<Vec<(PathBuf, &'static str)>> {
    let cargo = match std::env::var_os("CARGO_HOME") {
        Some(dir) => PathBuf::from(dir),
        None => {
            std::env::home_dir().context("no home directory is known\nhint: set HOME or CARGO_HOME")?.join(".cargo")
        }
    };
    let mut named = vec![(dirs.home.clone(), "/store"), (library.to_path_buf(), "/rust")];
    // A crate's directory is in one of the registry, whose name would be in every message about the crate.
    let registries = fs::read_dir(cargo.join("registry/src")).into_iter().flatten();
    named.extend(registries.filter_map(|entry| Some((entry.ok()?.path(), "/cargo"))));
    named.push((cargo, "/cargo"));
    let mut places = Vec::new();
    for (place, name) in named {
        // Some messages have a path as it was given, others as it is behind its links.
        places.extend(fs::canonicalize(&place).ok().filter(|real| *real != place).map(|real| (real, name)));
        places.push((place, name));
    }
    places.sort_by_key(|(place, _)| place.as_os_str().len());
    Ok(places)
}

/// What the project's Cargo.toml says of the build: versions of crates and the profile, and not the list of members.
fn build_profile(dirs: &Dirs) -> Result<String> {
    let text = fs::read_to_string(dirs.root.join("Cargo.toml"))?;
    let mut table: toml::Table = text.parse().context("Cargo.toml is no TOML")?;
    if let Some(workspace) = table.get_mut("workspace").and_then(toml::Value::as_table_mut) {
        workspace.remove("members");
    }
    let profile = table.get("profile").and_then(|profiles| profiles.get("init").cloned());
    table.insert("profile".into(), profile.context("Cargo.toml has no profile `init`")?);
    Ok(table.to_string())
}

fn linker_variable(triple: &str) -> String {
    format!("CARGO_TARGET_{}_LINKER", triple.to_uppercase().replace('-', "_"))
}

/// `std` and compiler are one: another version does not compile it.
fn check_version(rustc: &str, library: &str) -> Result<()> {
    build_support::ensure!(
        rustc.split(' ').nth(1) == Some(library),
        "the compiler is {}, and the pinned library source is of Rust {library}\n\
         hint: use rustup, which reads rust-toolchain.toml, or install Rust {library}",
        rustc.trim()
    );
    Ok(())
}
