//! What a second build costs. Each test prints its times with the machine; the limits are those of the project's
//! promises, stretched by `BLOOMERY_TEST_SLOW`.

mod builds;
mod common;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use build_support::manifest::Manifest;
use build_support::store::Entry;
use build_support::{Arch, Dirs, digest, fs, tree};
use builds::{BUILD, Borrowed, Ended, arch, built, cargo, machine, run, succeed, turn, wanted};

/// Nothing to do.
const NO_OP: f64 = 2.0;
/// A fresh clone, or the same one after `cargo clean`, when the store has every result. Most of it is rustc.
const CLONE: f64 = 60.0;
/// A new image after a change in `init/`, with a kernel that names its disk's new root.
const INIT: f64 = 55.0;

/// Prints a time, and compares it with its limit.
fn within(what: &str, ended: &Ended, limit: f64) -> Result<()> {
    let limit = common::limit(limit);
    common::report(&format!("{what}: {:.1} s, at most {limit:.0?}; {}", ended.seconds, machine()));
    ensure!(
        ended.seconds <= limit.as_secs_f64(),
        "{what} took {:.1} s, more than {limit:?}:\n{}",
        ended.seconds,
        ended.text
    );
    Ok(())
}

/// A copy of the checkout with a target directory of its own, as after `git clone`, and a borrowed store. `None`, with
/// the reason printed, outside a git checkout.
struct Clone {
    dir: tempfile::TempDir,
    store: Borrowed,
    arch: Arch,
}

impl Clone {
    fn new(dirs: &Dirs) -> Result<Option<Clone>> {
        // Beside other outputs: /tmp may be small.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        if builds::clean_clone(&dirs.root, dir.path())?.is_none() {
            testing::skip("this is no git checkout");
            return Ok(None);
        }
        Ok(Some(Clone { dir, store: Borrowed::new(dirs)?, arch: arch()? }))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn target(&self) -> PathBuf {
        self.path("target")
    }

    /// The README's build, of one profile.
    fn command(&self, profile: &str) -> std::process::Command {
        let mut command = cargo(self.dir.path(), BUILD);
        command
            .env("CARGO_TARGET_DIR", self.target())
            .env("BLOOMERY_HOME", &self.store.dirs.home)
            .env("BLOOMERY_PROFILE", profile);
        command
    }

    fn build(&self, profile: &str) -> Result<Ended> {
        self.forget()?;
        succeed(&mut self.command(profile))
    }

    /// Removes the time table, which keeps the rows of stages that a build did not ask for.
    fn forget(&self) -> Result<()> {
        let table = builds::table(&self.target(), self.arch);
        if table.exists() {
            fs::remove_file(table)?;
        }
        Ok(())
    }

    fn built(&self) -> Result<Vec<String>> {
        built(&self.target(), self.arch)
    }

    /// Whether the last build of `init` compiled Rust's `std`, which happens once a store.
    fn compiled_std(&self) -> Result<bool> {
        let dir = self.target().join("bloomery").join(self.arch.name()).join("log");
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with("-init.log") {
                return Ok(fs::read_to_string(path)?.contains("Compiling std v"));
            }
        }
        bail!("no log of the stage init is in {}", dir.display())
    }

    fn append(&self, name: &str, text: &str) -> Result<()> {
        let mut file = fs::File::options().append(true).open(self.path(name))?;
        Ok(file.write_all(text.as_bytes())?)
    }

    /// The digest of a file of the root file system, from the generated manifest.
    fn digest_of(&self, profile: &str, path: &str) -> Result<String> {
        let manifest = self.target().join("bloomery").join(self.arch.name()).join(profile).join("manifest.tsv");
        let text = fs::read_to_string(manifest)?;
        let row =
            text.lines().find(|line| line.split('\t').next().is_some_and(|name| name.trim_start_matches('/') == path));
        row.and_then(|row| row.split('\t').nth(4))
            .map(String::from)
            .with_context(|| format!("the manifest has no {path}"))
    }
}

#[test]
fn nothing_to_do_takes_two_seconds() -> Result<()> {
    let _turn = turn();
    let dirs = Dirs::find()?;
    succeed(&mut cargo(&dirs.root, BUILD))?;
    within("nothing to do", &succeed(&mut cargo(&dirs.root, BUILD))?, NO_OP)
}

/// Takes two minutes: cargo compiles every crate anew, and three images are built; a minute more when Rust's `std` for
/// PID 1 was not compiled for this test before, and another one when the kernel's source is not unpacked yet.
#[test]
fn a_clean_clone_takes_all_from_the_store_and_a_change_rebuilds_only_what_stands_on_it() -> Result<()> {
    let _turn = turn();
    let dirs = Dirs::find()?;
    for profile in ["full", "base"] {
        common::outputs::Outputs::of(Arch::host()?, profile)?; // The store is warm.
    }
    let Some(clone) = Clone::new(&dirs)? else { return Ok(()) };
    within("a fresh clone", &clone.build("full")?, CLONE)?;
    ensure!(clone.built()?.is_empty(), "built, and not from the store: {:?}", clone.built()?);
    within("nothing to do in it", &clone.build("full")?, NO_OP)?;
    change_kernel_fragment(&clone)?;
    change_init(&clone)?;
    add_a_kind_of_output(&clone)
}

/// The worked example of docs/hacking.md, as it stands there: at most 60 lines over two files give a new kind of output.
fn add_a_kind_of_output(clone: &Clone) -> Result<()> {
    let page = fs::read_to_string(clone.path("docs/hacking.md"))?;
    let (_, rest) = page.split_once("```diff\n").context("docs/hacking.md has no diff")?;
    let (diff, _) = rest.split_once("```").context("the diff of docs/hacking.md has no end")?;
    let added = diff.lines().filter(|line| line.starts_with('+') && !line.starts_with("+++")).count();
    let files = diff.lines().filter(|line| line.starts_with("+++ ")).count();
    ensure!(added <= 60 && files <= 2, "the example adds {added} lines in {files} files");
    fs::write(clone.path("example.diff"), diff)?;
    let applied = run(std::process::Command::new("git").args(["apply", "example.diff"]).current_dir(clone.dir.path()))?;
    ensure!(applied.ok, "the diff of docs/hacking.md does not apply:\n{}", applied.text);
    fs::write(clone.path("example.toml"), "extends = \"base\"\n[[output]]\nkind = \"newc\"\n")?;
    let built = clone.build("./example.toml")?;
    common::report(&format!("the worked example of docs/hacking.md: {added} lines, built in {:.1} s", built.seconds));
    let archive = fs::File::open(clone.target().join("bloomery").join(clone.arch.name()).join("example.newc"))?;
    let list = std::process::Command::new("cpio").arg("-t").stdin(archive.into_file()).output()?;
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    ensure!(list.lines().any(|name| name == "usr/bin/busybox"), "the archive does not have busybox:\n{list}");
    Ok(())
}

fn change_init(clone: &Clone) -> Result<()> {
    clone.build("full")?;
    let mut old = clone.digest_of("full", "usr/bin/init")?;
    edit_init(clone, "first")?;
    let mut changed = clone.build("full")?;
    if clone.compiled_std()? {
        common::report(&format!("the first change in init/, with Rust's std: {:.1} s", changed.seconds));
        old = clone.digest_of("full", "usr/bin/init")?;
        edit_init(clone, "second")?;
        changed = clone.build("full")?;
    }
    ensure!(clone.digest_of("full", "usr/bin/init")? != old, "the changed init is not in the image");
    // All that holds the root file system, and the kernel that names its disk, which is not compiled.
    let expected = ["archive", "disk", "kernel", "oci", "sysroot"].map(|output| format!("image-full-{output}"));
    let expected = [&["identity-full-disk".to_string()], &expected[..], &["init".to_string()]].concat();
    ensure!(clone.built()? == expected, "built: {:?}", clone.built()?);
    within("a new image after a change in init/", &changed, INIT)
}

/// Adds a function that is called before `main`, so that no linker can leave it out.
fn edit_init(clone: &Clone, name: &str) -> Result<()> {
    let text = format!(
        "\n#[used]\n#[unsafe(link_section = \".init_array\")]\nstatic CHANGED_{0}: extern \"C\" fn() = changed_{1};\n\
         extern \"C\" fn changed_{1}() {{\n    std::hint::black_box(\"{1}\");\n}}\n",
        name.to_uppercase(),
        name
    );
    clone.append("init/src/main.rs", &text)
}

/// A new kernel takes minutes to compile. So the build is stopped after its configuration, by a request that Kconfig
/// drops, and then goes on with the old kernel in the new one's place.
fn change_kernel_fragment(clone: &Clone) -> Result<()> {
    const FRAGMENT: &str = "image/kernel/network.config";
    let dirs = &clone.store.dirs;
    clone.build("base")?;
    let before = wanted(dirs)?;
    let original = fs::read(clone.path(FRAGMENT))?;

    // What does not change the configuration changes nothing.
    clone.append(FRAGMENT, "\n# Another reason.\n")?;
    clone.build("base")?;
    ensure!(clone.built()?.is_empty() && wanted(dirs)? == before, "a comment rebuilds {:?}", clone.built()?);

    clone.append(FRAGMENT, "\n# A device without its bus.\nCONFIG_SND_HDA_INTEL=y\n")?;
    clone.forget()?;
    let failed = run(&mut clone.command("base"))?;
    ensure!(!failed.ok && failed.text.contains("CONFIG_SND_HDA_INTEL=y: Kconfig left it out"), "{}", failed.text);
    let kernel = format!("kernel-base-{}", clone.arch);
    ensure!(changed(&before, &wanted(dirs)?) == [kernel.clone()], "{:?}", changed(&before, &wanted(dirs)?));
    ensure!(clone.built()?.is_empty(), "built: {:?}", clone.built()?);

    stand_in(dirs, &kernel, &before)?;
    clone.build("base")?;
    let images = ["identity-base-disk", "image-base-disk", "image-base-kernel"].map(String::from);
    let expected = [images.clone().map(|image| format!("{image}-{}", clone.arch)).to_vec(), vec![kernel]].concat();
    ensure!(changed(&before, &wanted(dirs)?) == expected, "{:?}", changed(&before, &wanted(dirs)?));
    ensure!(clone.built()? == images, "built: {:?}", clone.built()?);
    Ok(fs::write(clone.path(FRAGMENT), original)?)
}

/// The stages whose inputs differ.
fn changed(old: &BTreeMap<PathBuf, String>, new: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let differs = new.iter().filter(|(file, text)| old.get(*file) != Some(text));
    differs.filter_map(|(file, _)| Some(file.file_name()?.to_str()?.strip_prefix(".wanted-")?.to_string())).collect()
}

/// Puts the old kernel, with one line more in its configuration, where the store would have the new one.
fn stand_in(dirs: &Dirs, kernel: &str, before: &BTreeMap<PathBuf, String>) -> Result<()> {
    let file = build_support::store::wanted_file(dirs, kernel);
    let old = before.get(&file).context("no kernel was ever asked for")?;
    let old = Entry::open(&dirs.store(), kernel, &Manifest::parse(old).key())
        .context("the old kernel is not in the store")?;
    let new = dirs.store().join(format!("{kernel}-{}", Manifest::parse(&fs::read_to_string(&file)?).key()));
    tree::copy(&fs::canonicalize(&old.dir)?, &new)?; // The result itself, and not the link to it.
    fs::remove_file(new.join("digest"))?;
    let config = new.join("out/kernel.config");
    let text = fs::read_to_string(&config)? + "# Not the old one.\n";
    fs::write(&config, text)?;
    Ok(fs::write(new.join("digest"), format!("{}\n", digest::tree(&new.join("out"))?))?)
}

/// Whatever cargo is called by: none of these starts an hour of LLVM, and a person who wanted an image reads why there
/// is none.
#[test]
fn check_and_a_debug_build_build_nothing_and_say_so() -> Result<()> {
    let _turn = turn();
    let dirs = Dirs::find()?;
    let home = tempfile::tempdir()?;
    for words in [&["check", "-p", "image"][..], &["clippy", "-p", "image"], &["build", "-p", "image"]] {
        let checked = run(cargo(&dirs.root, words).env("BLOOMERY_HOME", home.path()).env_remove("BLOOMERY_SKIP"))?;
        if words[0] == "clippy" && checked.text.contains("not installed") {
            testing::skip("cargo clippy is not installed");
            continue;
        }
        ensure!(checked.ok, "{words:?} failed:\n{}", checked.text);
        let said = "no image is built: this is not the release profile; `cargo build -p image --release` builds one";
        ensure!(checked.text.contains(said), "{words:?} does not say why there is no image:\n{}", checked.text);
        common::report(&format!("cargo {} with an empty store: {:.1} s", words[0], checked.seconds));
        let left = fs::read_dir(home.path())?.count();
        ensure!(left == 0, "{words:?} left {left} entries in the store");
    }
    Ok(())
}

/// Options before the subcommand, an alias and a script all mean the same build.
#[test]
fn every_way_to_call_cargo_builds() -> Result<()> {
    let _turn = turn();
    let dirs = Dirs::find()?;
    common::outputs::Outputs::of(arch()?, "base")?; // The store is warm.
    let mark = dirs.output(arch()?).join("base").join(system::outputs::PROFILE_MARK);
    for words in [
        &["--color", "always", "build", "-p", "image", "--release"][..],
        &["--config", "net.retry=1", "build", "-p", "image", "--release"],
        &["br", "-p", "image"],
        &["--offline", "rustc", "-p", "image", "-r"],
    ] {
        fs::remove_file(&mark)?;
        let mut command = cargo(&dirs.root, words);
        succeed(command.env("BLOOMERY_PROFILE", "base").env("CARGO_ALIAS_BR", "build --release"))?;
        ensure!(mark.is_file(), "cargo {} built nothing", words.join(" "));
    }
    // Cargo by another name, as a wrapper of a distribution has it.
    let dir = tempfile::tempdir()?;
    let wrapper = dir.path().join("xargo");
    tree::write_atomically(&wrapper, b"#!/bin/sh\nexec cargo \"$@\"\n")?;
    fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    fs::remove_file(&mark)?;
    let mut command = cargo(&dirs.root, &[]);
    let mut by_wrapper = std::process::Command::new(&wrapper);
    by_wrapper.args(BUILD).current_dir(&dirs.root).env("BLOOMERY_PROFILE", "base");
    for (name, value) in command.env("CARGO_TERM_COLOR", "never").get_envs() {
        match value {
            Some(value) => by_wrapper.env(name, value),
            None => by_wrapper.env_remove(name),
        };
    }
    succeed(&mut by_wrapper)?;
    ensure!(mark.is_file(), "the wrapper built nothing");
    Ok(())
}
