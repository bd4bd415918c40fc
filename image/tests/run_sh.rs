//! `run.sh` and `setup.sh` without a guest: what they print, and what bad arguments get.
//!
//! The scripts run on a small project of their own, with the argument files of `machine.rs` and an empty disk.

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Result, ensure};
use build_support::preflight::{HEADERS, TOOLS};
use build_support::{Arch, Dirs, fs, tree};
use image::machine;

/// Packages of setup.sh that no build needs, so that preflight does not ask for them.
const BEYOND_A_BUILD: &[&str] = &[
    "gcc",
    "libc6-dev",
    "ca-certificates",
    "git",
    "ccache",
    "qemu-system-x86",
    "ovmf",
    "qemu-system-arm",
    "qemu-efi-aarch64",
    "qemu-user-static",
    "libncurses-dev",
    "dosfstools",
    "gdisk",
];

/// A project with the scripts, the profile `base`, and what a build of it leaves.
fn project() -> Result<tempfile::TempDir> {
    let root = Dirs::find()?.root;
    let dir = tempfile::tempdir()?;
    for name in ["run.sh", "setup.sh", "rust-toolchain.toml"] {
        fs::copy(root.join(name), dir.path().join(name))?;
    }
    for profile in ["base", "full"] {
        tree::write_atomically(&dir.path().join(format!("image/profiles/{profile}.toml")), b"")?;
    }
    for arch in Arch::ALL {
        let out = dir.path().join("target/bloomery").join(arch.name());
        for (name, text) in machine::files(arch, "base") {
            tree::write_atomically(&out.join("base").join(name), text.as_bytes())?;
        }
        tree::write_atomically(&out.join("base/cmdline"), b"root=/dev/vda console=ttyAMA0\n")?;
        tree::write_atomically(&out.join("base.qcow2"), b"")?;
    }
    Ok(dir)
}

fn script(project: &Path, name: &str, args: &[&str]) -> Result<Output> {
    Ok(Command::new(project.join(name)).args(args).env_remove("CARGO_TARGET_DIR").output()?)
}

/// Runs run.sh, which must succeed, and returns its standard output.
fn prints(project: &Path, args: &[&str]) -> Result<String> {
    let output = script(project, "run.sh", args)?;
    ensure!(output.status.success(), "{args:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn dry_run(project: &Path, options: &[&str]) -> Result<String> {
    prints(project, &[&["x86_64", "--profile", "base", "--dry-run", "--accel", "tcg"], options].concat())
}

#[test]
fn a_dry_run_prints_the_whole_command() -> Result<()> {
    let project = project()?;
    let text = dry_run(project.path(), &[])?;
    let out = project.path().join("target/bloomery/x86_64");
    ensure!(text.starts_with("qemu-system-x86_64 -nodefaults "), "{text}");
    for part in ["-m 1G -smp 1 ", "-accel tcg ", "-netdev user,id=net ", "-serial mon:stdio "] {
        ensure!(text.contains(part), "`{part}` is not in {text}");
    }
    ensure!(text.contains(&format!("file={}/base.qcow2 ", out.display())), "{text}");
    ensure!(text.contains(&format!("-kernel {}/base/kernel ", out.display())), "{text}");
    ensure!(!text.contains('@') && !text.contains('#') && !text.contains("-snapshot"), "{text}");
    Ok(())
}

#[test]
fn every_option_reaches_qemu() -> Result<()> {
    let project = project()?;
    for (options, part) in [
        (&["--memory", "512M"][..], "-m 512M "),
        (&["--smp", "4"], "-smp 4 "),
        (
            &["--port", "8080:80", "--port", "2222:22"],
            "user,id=net,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=tcp:127.0.0.1:2222-:22 ",
        ),
        (&["--snapshot"], "-snapshot "),
        (&["--gdb"], "-gdb tcp:127.0.0.1:1234 -S "),
        (&["--append", "quiet nokaslr"], "-append 'quiet nokaslr' "),
        (&["--", "-no-reboot", "-vga", "std"], "-no-reboot -vga std "),
    ] {
        let text = dry_run(project.path(), options)?;
        ensure!(text.contains(part), "{options:?}: `{part}` is not in {text}");
    }
    Ok(())
}

/// Its kernel takes what a boot loader says in place of its built-in command line.
#[test]
fn an_arm64_kernel_gets_its_whole_command_line() -> Result<()> {
    let project = project()?;
    let machine = ["arm64", "--profile", "base", "--dry-run", "--accel", "tcg"];
    let text = prints(project.path(), &[&machine[..], &["--append", "single"]].concat())?;
    ensure!(text.starts_with("qemu-system-aarch64 ") && text.contains("-M virt"), "{text}");
    ensure!(text.contains("-append 'root=/dev/vda console=ttyAMA0 single' "), "{text}");
    ensure!(!prints(project.path(), &machine)?.contains("-append"), "the built-in line needs no help");
    Ok(())
}

#[test]
fn firmware_replaces_the_kernel() -> Result<()> {
    let project = project()?;
    let text = dry_run(project.path(), &["--uefi"])?;
    ensure!(text.contains("if=pflash") && text.contains("readonly=on") && !text.contains("-kernel"), "{text}");
    // The printed command is one to use, so its copy of the firmware's variables is there.
    ensure!(
        text.contains("uefi-vars.fd") && project.path().join("target/bloomery/x86_64/base/uefi-vars.fd").exists(),
        "{text}"
    );
    Ok(())
}

/// QEMU takes the command as it is printed, also when the directory has a comma, which separates QEMU's options.
#[test]
fn qemu_takes_the_command() -> Result<()> {
    let project = project()?;
    let target = project.path().join("odd, target");
    tree::copy(&project.path().join("target"), &target)?;
    let out = target.join("bloomery/x86_64");
    fs::remove_file(out.join("base.qcow2"))?;
    let disk = out.join("base.qcow2");
    common::outputs::check_with("qemu-img", &["create", "-q", "-f", "qcow2", &disk.to_string_lossy(), "1M"])?;
    let mut run = Command::new(project.path().join("run.sh"));
    run.args(["x86_64", "--profile", "base", "--no-build", "--uefi", "--accel", "tcg", "--snapshot", "--", "-S"]);
    // Stopped before its first instruction; `Ctrl-A X` ends it.
    let input = project.path().join("keys");
    fs::write(&input, "\x01x")?;
    let output = run.env("CARGO_TARGET_DIR", &target).stdin(fs::File::open(&input)?.into_file()).output()?;
    ensure!(output.status.success(), "{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    ensure!(out.join("base/uefi-vars.fd").exists(), "there is no copy of the UEFI variables");
    Ok(())
}

#[test]
fn what_is_missing_would_be_built() -> Result<()> {
    let project = project()?;
    let text = prints(project.path(), &["x86_64", "--dry-run"])?;
    ensure!(text == "BLOOMERY_ARCH=x86_64 BLOOMERY_PROFILE=full cargo build -p image --release\n", "{text}");
    let text = prints(
        project.path(),
        &["amd64", "--profile", "image/profiles/../profiles/base.toml", "--dry-run", "--accel", "tcg"],
    );
    ensure!(text.is_err(), "a relative path is one from where the user is");
    let own = project.path().join("mine.toml");
    fs::write(&own, "")?;
    let text = prints(project.path(), &["arm64", "--profile", &own.to_string_lossy(), "--dry-run"])?;
    ensure!(text.contains("BLOOMERY_ARCH=arm64") && text.contains("/mine.toml cargo build"), "{text}");
    Ok(())
}

/// A cargo that lays the disk out as the build script does: when the file that it watches is gone. It notes where it ran
/// and its target directory.
const FAKE_CARGO: &str = r#"#!/bin/sh
out=$CARGO_TARGET_DIR/bloomery/x86_64
pwd >"$FAKE/log"
echo "$CARGO_TARGET_DIR" >>"$FAKE/log"
[ -e "$out/base/key" ] || : >"$out/base.qcow2"
"#;

/// The target directory counts from where the user is, and run.sh and the build agree on it.
#[test]
fn a_removed_disk_is_laid_out_again() -> Result<()> {
    let project = project()?;
    let project = project.path().canonicalize()?;
    let fake = tempfile::tempdir()?;
    executable(&fake.path().join("cargo"), FAKE_CARGO)?;
    executable(&fake.path().join("qemu-system-x86_64"), "#!/bin/sh\necho booted\n")?;
    let out = project.join("target/bloomery/x86_64");
    fs::write(out.join("base/key"), "0123")?;
    fs::remove_file(out.join("base.qcow2"))?;
    let path = format!("{}:{}", fake.path().display(), std::env::var("PATH")?);
    let mut run = Command::new(project.join("run.sh"));
    run.args(["x86_64", "--profile", "base", "--accel", "tcg"]).current_dir(project.join("image"));
    let output = run.env("PATH", path).env("FAKE", fake.path()).env("CARGO_TARGET_DIR", "../target").output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    ensure!(output.stdout == b"booted\n", "{}", String::from_utf8_lossy(&output.stdout));
    let log = fs::read_to_string(fake.path().join("log"))?;
    ensure!(log == format!("{0}\n{0}/target\n", project.display()), "{log}");
    Ok(())
}

#[test]
fn bad_arguments_are_explained() -> Result<()> {
    let project = project()?;
    for (args, parts) in [
        (&[][..], ["which architecture", "./run.sh x86_64"]),
        (&["riscv64"], ["unknown architecture `riscv64`", "x86_64 or arm64"]),
        (&["x86_64", "arm64"], ["one architecture", "./run.sh x86_64"]),
        (&["x86_64", "--profile", "nope"], ["unknown profile `nope`", "base full"]),
        (&["x86_64", "--profile", "/no/such.toml"], ["no profile file /no/such.toml", "image/profiles"]),
        (&["x86_64", "--profile"], ["--profile needs a value", "--help"]),
        (&["x86_64", "--frobnicate"], ["unknown option --frobnicate", "--help"]),
        (&["x86_64", "--memory", "lots"], ["--memory cannot be `lots`", "512M"]),
        (&["x86_64", "--smp", "0"], ["--smp cannot be `0`", "--smp 2"]),
        (&["x86_64", "--port", "80"], ["--port cannot be `80`", "8080:80"]),
        (&["x86_64", "--port", "99999:80"], ["no port above 65535", "8080:80"]),
        (&["x86_64", "--accel", "warp"], ["--accel cannot be `warp`", "kvm, tcg or auto"]),
        (&["x86_64", "--uefi", "--append", "quiet"], ["--append does not go with --uefi", "leave one"]),
    ] {
        let output = script(project.path(), "run.sh", args)?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(2), "{args:?} ended with {}: {errors}", output.status);
        for part in parts {
            ensure!(errors.contains(part), "{args:?}: `{part}` is not in {errors}");
        }
        ensure!(errors.contains("\nhint: ") && output.stdout.is_empty(), "{args:?}: {errors}");
    }
    Ok(())
}

#[test]
fn nothing_is_built_when_that_is_forbidden() -> Result<()> {
    let project = project()?;
    let output = script(project.path(), "run.sh", &["x86_64", "--no-build"])?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(1)
            && errors.contains("there is no image")
            && errors.contains("cargo build -p image"),
        "{errors}"
    );
    Ok(())
}

#[test]
fn help_names_every_option() -> Result<()> {
    let project = project()?;
    let help = prints(project.path(), &["--help"])?;
    let text = fs::read_to_string(project.path().join("run.sh"))?;
    let cases = text.lines().filter_map(|line| line.trim().split_once(')')).map(|(words, _)| words);
    let options: BTreeSet<&str> =
        cases.flat_map(|words| words.split(" | ")).filter(|word| word.starts_with("--") && word.len() > 2).collect();
    ensure!(options.len() >= 13, "only {options:?} were found in run.sh");
    for option in options {
        ensure!(help.contains(option), "--help does not name {option}");
    }
    ensure!(help.contains("Ctrl-A X"), "{help}");
    Ok(())
}

#[test]
fn setup_installs_what_preflight_asks_for() -> Result<()> {
    let root = Dirs::find()?.root;
    let list = String::from_utf8(script(&root, "setup.sh", &["--list"])?.stdout)?;
    let installed: BTreeSet<&str> = list.lines().filter_map(|line| line.split('\t').next()).collect();
    let tools = TOOLS.iter().map(|tool| tool.package).chain(HEADERS.iter().map(|header| header.1));
    let wanted: BTreeSet<&str> = tools.chain(BEYOND_A_BUILD.iter().copied()).collect();
    ensure!(installed == wanted, "they differ in {:?}", installed.symmetric_difference(&wanted));
    Ok(())
}

/// A Debian of its own: what is installed is a list of names, and apt refuses `qemu-utils` together with the emulator.
const FAKE_DPKG: &str = "#!/bin/sh\ngrep -qx \"$4\" \"$FAKE/installed\" && printf installed\n";
const FAKE_APT_CACHE: &str = "#!/bin/sh\necho '  Candidate: 1'\n";
const FAKE_APT: &str = r#"#!/bin/sh
echo "$*" >>"$FAKE/log"
[ "$1" = install ] || exit 0
shift
for word in "$@"; do
    case $word in -*) ;; *) echo "$word" ;; esac
done >"$FAKE/wanted"
if grep -qx qemu-system-x86 "$FAKE/wanted" && [ -e "$FAKE/backports" ]; then
    grep -qx qemu-utils "$FAKE/wanted" && echo 'qemu-utils : Breaks: qemu-system-common' >&2 && exit 100
    rm "$FAKE/backports"
    sed -i /qemu-utils/d "$FAKE/installed"
fi
cat "$FAKE/wanted" >>"$FAKE/installed"
"#;

struct Debian(tempfile::TempDir);

fn executable(path: &Path, script: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, script)?;
    Ok(fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?)
}

impl Debian {
    fn with(installed: &str) -> Result<Debian> {
        let dir = tempfile::tempdir()?;
        let sudo = "#!/bin/sh\nexec \"$@\"\n";
        for (name, text) in
            [("dpkg-query", FAKE_DPKG), ("apt-get", FAKE_APT), ("apt-cache", FAKE_APT_CACHE), ("sudo", sudo)]
        {
            executable(&dir.path().join(name), text)?;
        }
        fs::write(dir.path().join("installed"), installed)?;
        fs::write(dir.path().join("log"), "")?;
        Ok(Debian(dir))
    }

    fn setup(&self, args: &[&str]) -> Result<String> {
        let mut setup = Command::new(Dirs::find()?.root.join("setup.sh"));
        let path = format!("{}:{}", self.0.path().display(), std::env::var("PATH")?);
        let output = setup.args(args).env("PATH", path).env("FAKE", self.0.path()).output()?;
        ensure!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.0.path().join("log"))?)
    }
}

#[test]
fn setup_says_what_it_does_and_does_it_once() -> Result<()> {
    let debian = Debian::with("make\nbison\n")?;
    let text = debian.setup(&["--dry-run"])?;
    ensure!(text.contains("clang-22") && text.contains("apt-get install") && !text.contains("bison"), "{text}");
    ensure!(debian.log()?.is_empty(), "a dry run called apt-get {}", debian.log()?);
    debian.setup(&[])?;
    ensure!(debian.log()?.lines().count() == 2, "not one update and one installation: {}", debian.log()?);
    let text = debian.setup(&[])?;
    ensure!(
        text.contains("every package is installed") && debian.log()?.lines().count() == 2,
        "{text}{}",
        debian.log()?
    );
    Ok(())
}

#[test]
fn setup_resolves_the_conflict_of_qemu_packages() -> Result<()> {
    for installed in ["qemu-utils\n", ""] {
        let debian = Debian::with(installed)?;
        fs::write(debian.0.path().join("backports"), "")?;
        debian.setup(&[])?;
        let text = debian.setup(&["--dry-run"])?;
        ensure!(
            text.contains("every package is installed"),
            "with `{installed}` installed before:\n{}{text}",
            debian.log()?
        );
    }
    Ok(())
}

/// The reader of consoles, which every boot test depends on.
#[test]
fn terminal_codes_are_left_out() {
    let mut console = common::console::Console::default();
    console.take(b"\x1b]0;title\x07\x1b[1;32mhello\x1b[0m wo", std::time::Duration::ZERO);
    console.take(b"x\x08rld\r\n\x1b", std::time::Duration::from_secs(1));
    console.take(b"[6n# ", std::time::Duration::from_secs(2));
    assert_eq!(console.text, "hello world\n");
    assert_eq!(console.unfinished(), "# ");
    assert_eq!(console.time_of("hello"), Some(std::time::Duration::from_secs(1)));
}
