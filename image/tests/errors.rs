//! What a user gets for bad input: `cargo build -p image --release` must stop with a message that says what is wrong
//! and what to do, and the plain build after it must find everything in the store.
//!
//! Each case is a build that fails and a build that succeeds, a few seconds together on two cores.

mod builds;
mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use build_support::{Dirs, fs, tree};
use builds::{BUILD, arch, cargo, run, succeed, turn};

/// Profile files, and the builds that read them.
struct Bench {
    dirs: Dirs,
    dir: tempfile::TempDir,
}

impl Bench {
    /// Makes sure that everything is in the store first.
    fn new() -> Result<Bench> {
        let bench = Bench { dirs: Dirs::find()?, dir: tempfile::tempdir()? };
        succeed(&mut bench.build())?;
        Ok(bench)
    }

    fn build(&self) -> Command {
        cargo(&self.dirs.root, BUILD)
    }

    /// Writes a file and returns its path.
    fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.dir.path().join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Writes a profile that is `base` with another text in places.
    fn profile(&self, name: &str, changes: &[(&str, &str)]) -> Result<PathBuf> {
        let mut text = fs::read_to_string(self.dirs.root.join("image/profiles/base.toml"))?;
        for (from, to) in changes {
            ensure!(text.contains(from), "base.toml has no `{from}`");
            text = text.replacen(from, to, 1);
        }
        self.file(name, &text)
    }

    /// The build with one variable must fail with a message of these parts, and leave the store sound.
    fn fails(&self, name: &str, value: &Path, parts: &[&str]) -> Result<String> {
        self.fails_with(self.build().env(name, value), parts)
    }

    fn fails_with(&self, command: &mut Command, parts: &[&str]) -> Result<String> {
        let failed = run(command)?;
        ensure!(!failed.ok, "{command:?} succeeded");
        for part in parts {
            ensure!(failed.text.contains(part), "`{part}` is not in:\n{}", failed.text);
        }
        ensure!(failed.text.contains("hint: "), "no hint in:\n{}", failed.text);
        ensure!(!failed.text.contains("panicked"), "a panic is no message:\n{}", failed.text);
        let plain = succeed(&mut self.build())?;
        ensure!(!builds::ran_a_recipe(&plain), "the plain build did not find everything in the store:\n{}", plain.text);
        common::report(&format!(
            "failed in {:.1} s, the plain build after it took {:.1} s",
            failed.seconds, plain.seconds
        ));
        Ok(failed.text)
    }
}

#[test]
fn an_unknown_architecture_is_named_with_those_that_are_known() -> Result<()> {
    let _turn = turn();
    let bench = Bench::new()?;
    bench.fails("BLOOMERY_ARCH", Path::new("riscv64"), &["unknown architecture `riscv64`", "x86_64", "arm64"]).map(drop)
}

#[test]
fn an_unknown_profile_is_named_with_those_that_exist() -> Result<()> {
    let _turn = turn();
    let bench = Bench::new()?;
    let parts = [
        "there is no profile `fulll`",
        "image/profiles/fulll.toml",
        "hint: use appliance, appliance-updates, base, full",
        "TOML file of your own",
    ];
    bench.fails("BLOOMERY_PROFILE", Path::new("fulll"), &parts).map(drop)
}

#[test]
fn an_unreadable_profile_is_named_with_its_line() -> Result<()> {
    let _turn = turn();
    let bench = Bench::new()?;
    let broken = bench.file("broken.toml", "description = \"x\"\npackages = [\n")?;
    bench.fails("BLOOMERY_PROFILE", &broken, &["cannot read the profile", "broken.toml:2: "])?;
    let misspelt = bench.profile("misspelt.toml", &[("hostname =", "hostnam =")])?;
    let parts = ["misspelt.toml:2: unknown key `hostnam`", "`hostname` was probably meant", "docs/profiles.md"];
    bench.fails("BLOOMERY_PROFILE", &misspelt, &parts).map(drop)
}

#[test]
fn a_bad_size_is_named_with_its_profile() -> Result<()> {
    let _turn = turn();
    let bench = Bench::new()?;
    let odd = bench.profile("odd.toml", &[("256 MiB", "256 miles")])?;
    bench.fails("BLOOMERY_PROFILE", &odd, &["odd.toml", "256 miles", "512 MiB"]).map(drop)
}

#[test]
fn an_exceeded_budget_names_the_largest_parts() -> Result<()> {
    let _turn = turn();
    let bench = Bench::new()?;
    let tight = bench.file("tight.toml", "extends = \"base\"\n[budget]\nimage = \"1 MB\"\n")?;
    let parts = [
        "tight.img has 256 MiB, more than the 1.00 MB of `budget.image`; its largest parts are",
        " MB the kernel\n",
        " MB /usr/bin/busybox\n",
        "hint: leave parts out, or raise the budget of the profile tight",
    ];
    bench.fails("BLOOMERY_PROFILE", &tight, &parts)?;
    builds::forget(&bench.dirs, &["identity-tight-disk", "image-tight-disk"])
}

/// Their outputs would be the same files.
#[test]
fn two_profiles_of_one_name_are_refused() -> Result<()> {
    let _turn = turn();
    let bench = Bench::new()?;
    for dir in ["a", "b"] {
        fs::create_dir(bench.dir.path().join(dir))?;
        bench.file(&format!("{dir}/mine.toml"), "extends = \"base\"\n")?;
    }
    let both = ["a", "b"].map(|dir| bench.dir.path().join(dir).join("mine.toml").display().to_string()).join(" ");
    let parts = ["two profiles are called `mine`", "a/mine.toml", "b/mine.toml", "hint: rename one of them"];
    bench.fails("BLOOMERY_PROFILE", Path::new(&both), &parts).map(drop)
}

/// Takes a minute more when the kernel's source is not unpacked yet.
#[test]
fn a_dropped_kernel_symbol_is_named_before_the_kernel_is_compiled() -> Result<()> {
    let _turn = turn();
    let bench = Bench::new()?;
    let fragment = bench.file("sound.config", "# A sound card.\nCONFIG_SND_HDA_INTEL=y\n")?;
    let profile = bench.profile("loud.toml", &[("\"base\",", "\"sound.config\", \"base\",")])?;
    let place = format!("{}:2: CONFIG_SND_HDA_INTEL=y: Kconfig left it out", fragment.display());
    let text = bench.fails(
        "BLOOMERY_PROFILE",
        &profile,
        &["1 requested symbol did not survive", &place, "depends on", "hint: add CONFIG_SOUND=y"],
    )?;
    ensure!(!text.contains("build the kernel"), "{text}");
    let logs = bench.dirs.log(arch()?);
    let log = tree::files(&logs)?.into_iter().find(|file| file.to_string_lossy().ends_with("-kernel-loud.log"));
    let log = fs::read_to_string(logs.join(log.context("the kernel has no log")?))?;
    ensure!(
        log.contains(" allnoconfig\n") && !log.contains("bzImage"),
        "the log shows more than a configuration:\n{log}"
    );
    Ok(())
}

/// The fragment asks for what the kernel has already, so that none is compiled.
#[test]
fn a_change_of_ones_own_fragment_is_noticed() -> Result<()> {
    let _turn = turn();
    let bench = Bench::new()?;
    let base = fs::read_to_string(bench.dirs.root.join("image/kernel/base.config"))?;
    let fragment = bench.file("mine.config", &base)?;
    let profile = bench.profile("own.toml", &[("\"base\",", "\"base\", \"mine.config\",")])?;
    let mut build = bench.build();
    build.env("BLOOMERY_PROFILE", &profile).env("BLOOMERY_FROM_STORE", format!("kernel-own-{}", arch()?));
    succeed(&mut build)?;
    fs::write(&fragment, base + "\nCONFIG_SND = y\n")?;
    let failed = run(&mut build)?;
    ensure!(!failed.ok && failed.text.contains("mine.config"), "the change was not read:\n{}", failed.text);
    succeed(&mut bench.build())?;
    builds::forget(
        &bench.dirs,
        &["identity-own-disk", "image-own-disk", "image-own-kernel", "image-own-archive", "image-own-oci"],
    )?;
    Ok(())
}

#[test]
fn a_line_of_a_fragment_that_is_no_request_is_named() -> Result<()> {
    let _turn = turn();
    let bench = Bench::new()?;
    let fragment = bench.file("odd.config", "# A sound card.\nCONFIG_SND = y\n")?;
    let profile = bench.profile("odd.toml", &[("\"base\",", "\"odd.config\", \"base\",")])?;
    bench
        .fails(
            "BLOOMERY_PROFILE",
            &profile,
            &[&format!("{}:2: ", fragment.display()), "CONFIG_SND = y", "without spaces"],
        )
        .map(drop)
}

#[test]
fn a_fragment_that_is_not_there_is_named() -> Result<()> {
    let _turn = turn();
    let bench = Bench::new()?;
    let profile = bench.profile("absent.toml", &[("\"base\",", "\"nowhere\", \"base\",")])?;
    bench.fails("BLOOMERY_PROFILE", &profile, &["`nowhere`, which does not exist", "image/kernel/"]).map(drop)
}

/// Faults that the kernel would pass over without a word, found before anything is compiled.
#[test]
fn a_faulty_boot_configuration_is_named_with_its_place() -> Result<()> {
    let _turn = turn();
    let bench = Bench::new()?;
    let quiet = "command-line = \"quiet\"";
    let profile = bench.profile("conf.toml", &[(quiet, &format!("{quiet}\nboot-config = \"my boot.conf\""))])?;
    for (text, part) in [
        ("init.a = 1\ninit.a = 2\n", "my boot.conf:2:10: Value is redefined"),
        ("# x\nkernel.loglevel = 3\n", "my boot.conf:2: `kernel.loglevel` does nothing"),
    ] {
        bench.file("my boot.conf", text)?;
        let said = bench.fails("BLOOMERY_PROFILE", &profile, &[part, "hint: "])?;
        ensure!(!said.contains("build the kernel"), "{said}");
    }
    builds::forget(&bench.dirs, &["boot-config-conf"])
}

#[test]
fn a_package_without_build_sh_is_named() -> Result<()> {
    let _turn = turn();
    let bench = Bench::new()?;
    fs::create_dir(bench.dir.path().join("game"))?;
    let profile = bench.profile("games.toml", &[("\"echod\"]", "\"echod\", \"game\"]")])?;
    bench
        .fails(
            "BLOOMERY_PROFILE",
            &profile,
            &[
                "the package",
                "/game has no build.sh",
                "hint: use busybox, init, initctl, echod, dhcpc, modprobe, ntpc, status, syslogc, updater, growfs, toolchain",
            ],
        )
        .map(drop)
}

#[test]
fn a_package_whose_script_fails_says_what_it_said() -> Result<()> {
    let _turn = turn();
    let bench = Bench::new()?;
    fs::create_dir(bench.dir.path().join("game"))?;
    bench.file("game/build.sh", "echo no joystick\nno-such-program\n")?;
    let profile = bench.profile("games.toml", &[("\"echod\"]", "\"echod\", \"game\"]")])?;
    let failed = run(bench.build().env("BLOOMERY_PROFILE", &profile))?;
    builds::forget(&bench.dirs, &["package-game"])?;
    fs::remove_dir_all(bench.dirs.work().join(format!("package-game-{}", arch()?)))?;
    ensure!(!failed.ok, "the build succeeded");
    for part in [
        "stage package-game-",
        "cannot build the package",
        "build.sh",
        "  | no joystick",
        "no-such-program: not found",
        "ended with exit status: 127",
        "log: ",
    ] {
        ensure!(failed.text.contains(part), "`{part}` is not in:\n{}", failed.text);
    }
    succeed(&mut bench.build()).map(drop)
}

#[test]
fn a_root_file_system_that_is_larger_than_the_disk_says_what_it_needs() -> Result<()> {
    let _turn = turn();
    let bench = Bench::new()?;
    let profile = |size: &str| bench.profile("small.toml", &[("256 MiB", size)]);
    let text = bench.fails(
        "BLOOMERY_PROFILE",
        &profile("67 MiB")?,
        &["the partition `root` needs ", "the disk of 67 MiB", "hint: raise the disk size to "],
    )?;
    // The hint helps.
    let (_, rest) = text.split_once("disk size to ").context("no size")?;
    let size = rest.split_once(" or more").context("no end of the size")?.0;
    let made = run(bench.build().env("BLOOMERY_PROFILE", profile(size)?))?;
    builds::forget(
        &bench.dirs,
        &["identity-small-disk", "image-small-disk", "image-small-kernel", "image-small-archive", "image-small-oci"],
    )?;
    let output = bench.dirs.output(arch()?);
    let image = output.join("small.img");
    let found = image.metadata().map(|meta| meta.len());
    for path in [image, output.join("small.qcow2")].iter().filter(|path| path.exists()) {
        fs::remove_file(path)?;
    }
    fs::remove_dir_all(output.join("small"))?;
    ensure!(made.ok, "{}", made.text);
    ensure!(found? == size.split(' ').next().unwrap_or_default().parse::<u64>()? << 20, "the disk is not of {size}");
    succeed(&mut bench.build()).map(drop)
}

#[test]
fn every_missing_host_tool_is_named_at_once_with_its_package() -> Result<()> {
    let _turn = turn();
    const AWAY: &[&str] = &["ninja", "bison", "flex", "qemu-img"];
    if let Some(dir) = ["/usr/sbin", "/sbin"].iter().find(|dir| Path::new(dir).join(AWAY[0]).exists()) {
        testing::skip(&format!("builds look into {dir} too, and this host keeps all programs there"));
        return Ok(());
    }
    let bench = Bench::new()?;
    let path = bench.dir.path().join("bin");
    builds::path_without(&path, AWAY)?;
    let mut build = bench.build();
    // Cargo asks the build scripts again when one of their variables changed.
    build.env("PATH", &path).env("BLOOMERY_KEEP_WORK", "0");
    let text = bench.fails_with(
        &mut build,
        &[
            "this machine lacks:",
            "ninja (builds LLVM; package ninja-build)",
            "bison (kernel configuration; package bison)",
            "flex (kernel configuration; package flex)",
            "qemu-img (",
            "hint: run ./setup.sh, or install bison flex ninja-build qemu-utils",
        ],
    )?;
    ensure!(!text.contains("cmake ("), "a tool that is there is called missing:\n{text}");
    Ok(())
}

#[test]
fn a_store_that_cannot_be_written_says_what_to_set() -> Result<()> {
    let _turn = turn();
    let bench = Bench::new()?;
    let file = bench.file("file", "")?;
    bench.fails("BLOOMERY_HOME", &file.join("home"), &["cannot make the store", "hint: set BLOOMERY_HOME"]).map(drop)
}
