//! The sysroot as a chroot, with and without root: its compilers work there, and all of its programs are static.

mod common;

use std::io::{BufRead as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, ensure};
use build_support::{Arch, Dirs, fs, tree};
use common::outputs::Outputs;
use common::programs::{C_OUTPUT, C_PROGRAM, CPP_OUTPUT, CPP_PROGRAM};
use common::{elf, report};

/// An ordinary user of every Linux system (`nobody`).
const NOBODY: &str = "65534";

/// Held by who writes into the sysroot of an architecture or walks through it: a walk stumbles over files that come and go.
fn alone(arch: Arch) -> MutexGuard<'static, ()> {
    static X86_64: Mutex<()> = Mutex::new(());
    static ARM64: Mutex<()> = Mutex::new(());
    let sysroot = match arch {
        Arch::X86_64 => &X86_64,
        Arch::Arm64 => &ARM64,
    };
    sysroot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Builds and runs both programs in a directory of its own below /tmp, and leaves nothing behind. Then builds them
/// for every architecture, with no flag but the target.
fn script() -> String {
    let targets = Arch::ALL.map(Arch::short_triple).join(" ");
    format!(
        r#"set -eu
dir=$(mktemp -d /tmp/chroot-test.XXXXXX)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >hello.c <<'END'
{C_PROGRAM}END
cat >all.cpp <<'END'
{CPP_PROGRAM}END
cc -O2 -Wall -Werror hello.c -o hello
c++ -O1 -Wall -Werror all.cpp -o all
status=0
./hello you || status=$?
echo $status
./all
for target in {targets}; do
    clang --target=$target hello.c -o hello
    clang++ --target=$target all.cpp -o all
    readelf -h hello all | sed -n 's/ *Machine: *//p'
done
"#
    )
}

/// What `readelf` says of two programs for each of [`Arch::ALL`].
const MACHINES: &str = "Advanced Micro Devices X86-64\nAdvanced Micro Devices X86-64\nAArch64\nAArch64";

/// A chroot has its own idea of where programs are.
fn cleared(mut chroot: Command) -> Command {
    chroot.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    chroot
}

/// Runs the script inside, and compares what the programs print.
fn check(arch: Arch, mut chroot: Command) -> Result<()> {
    let _alone = alone(arch);
    let mut input = tempfile::tempfile()?;
    input.write_all(script().as_bytes())?;
    input.rewind()?;
    let output = chroot.args(["/bin/sh", "-s"]).stdin(input).output();
    let output = output.with_context(|| format!("cannot start {chroot:?}"))?;
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{chroot:?} ended with {}:\n{text}{errors}", output.status);
    ensure!(text == format!("{C_OUTPUT}\n{CPP_OUTPUT}\n{MACHINES}\n"), "the programs printed\n{text}{errors}");
    Ok(())
}

fn is_root() -> Result<bool> {
    Ok(fs::metadata("/proc/self")?.uid() == 0)
}

for_each_arch! { compilers_work_in_a_chroot, compilers_work_in_a_chroot_without_root, compilers_work_by_the_command, every_program_is_static_and_names_no_path_of_the_builder }

fn compilers_work_in_a_chroot(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "full")? else { return Ok(()) };
    let sysroot = outputs.file("sysroot")?;
    if arch != Arch::host()? {
        testing::skip(&format!("{arch} programs run here without root only, by an emulator of that test's own"));
        return Ok(());
    }
    if !is_root()? {
        testing::skip("chroot needs root; unshare -r is tested instead");
        return Ok(());
    }
    let mut chroot = Command::new("chroot");
    chroot.arg(&sysroot);
    check(arch, cleared(chroot))
}

/// `cargo bloomery enter`, as a person does.
fn compilers_work_by_the_command(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "full")? else { return Ok(()) };
    if arch != Arch::host()? && emulation(arch)?.is_none() {
        return Ok(());
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--release", "--package", "bloomery", "--", "enter", arch.name()]);
    cargo.current_dir(&outputs.root).env("CARGO_TARGET_DIR", Dirs::find()?.target);
    check(arch, cargo)
}

fn compilers_work_in_a_chroot_without_root(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "full")? else { return Ok(()) };
    let sysroot = outputs.file("sysroot")?;
    let mut user = as_ordinary_user("unshare", &sysroot)?;
    let probe = user.args(["-r", "true"]).output().context("cannot start unshare")?;
    if !probe.status.success() {
        testing::skip(&format!(
            "this machine forbids user namespaces: {}",
            String::from_utf8_lossy(&probe.stderr).trim()
        ));
        return Ok(());
    }
    let mut chroot = as_ordinary_user("unshare", &sysroot)?;
    if arch == Arch::host()? {
        chroot.arg("-r").arg("chroot").arg(&sysroot);
        return check(arch, cleared(chroot));
    }
    let Some(emulate) = emulation(arch)? else { return Ok(()) };
    chroot.args(["-r", "-m", "sh", "-ec", &emulate, "sh"]).arg(&sysroot);
    check(arch, cleared(chroot))
}

/// A script that lets the kernel run programs of `arch` by QEMU within its own user namespace, which changes nothing
/// on this machine, and then runs its second and later arguments in the chroot that its first one names.
fn emulation(arch: Arch) -> Result<Option<String>> {
    const REGISTRY: &str = "/proc/sys/fs/binfmt_misc";
    let rule = format!("/usr/lib/binfmt.d/qemu-{}.conf", arch.machine());
    if !Path::new(&rule).exists() {
        testing::skip(&format!("{rule} is not there; the package qemu-user-static brings it"));
        return Ok(None);
    }
    let register = format!("mount -t binfmt_misc none {REGISTRY} && cat {rule} >{REGISTRY}/register");
    let probe = Command::new("unshare").args(["-r", "-m", "sh", "-ec", &register]).output()?;
    if !probe.status.success() {
        // Before Linux 6.7 there is one registry for all, and only root may write to it.
        let why = String::from_utf8_lossy(&probe.stderr).trim().to_string();
        testing::skip(&format!("this kernel has no binfmt_misc for user namespaces: {why}"));
        return Ok(None);
    }
    Ok(Some(format!("{register}; exec chroot \"$@\"")))
}

/// A command that does not run as root, also when the tests do: then as `nobody`, if that user can reach the sysroot.
fn as_ordinary_user(program: &str, sysroot: &Path) -> Result<Command> {
    if !is_root()? {
        return Ok(Command::new(program));
    }
    let open = |dir: &Path| Ok::<_, anyhow::Error>(fs::metadata(dir)?.mode() & 0o005 == 0o005);
    for dir in sysroot.ancestors() {
        if !open(dir)? {
            report(&format!("tested as root of a user namespace: only root can enter {}", dir.display()));
            return Ok(Command::new(program));
        }
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--", program]);
    Ok(command)
}

fn every_program_is_static_and_names_no_path_of_the_builder(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "full")? else { return Ok(()) };
    let sysroot = outputs.file("sysroot")?;
    let _alone = alone(arch);
    let (mut programs, mut faults) = (0, Vec::new());
    let places = builders_places()?;
    for file in tree::files(&sysroot)? {
        let path = sysroot.join(&file);
        if !path.symlink_metadata()?.is_file() {
            continue;
        }
        let Some(elf) = elf::read(&path)? else { continue };
        // Objects of another architecture belong to its sysroot for cross compiling; programs do not.
        if elf.relocatable {
            continue;
        }
        programs += 1;
        if let Some(place) = named_place(&fs::read(&path)?, &places) {
            faults.push(format!("{} names {} of the machine that built it", file.display(), place.display()));
        }
        if elf.dynamic {
            faults.push(format!("{} needs a dynamic loader or libraries", file.display()));
        }
        if elf.machine != outputs.arch.elf_machine() {
            faults.push(format!("{} is for machine {}", file.display(), elf.machine));
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    // busybox, llvm, init at least: a walk that finds none has looked at the wrong place.
    ensure!(programs >= 3, "only {programs} programs are in {}", sysroot.display());
    Ok(())
}

/// What no program on board may name: directories of the project, of the store, and of cargo with the sources of crates. Those
/// above are not looked for: `/src` would be in many a program for another reason.
fn builders_places() -> Result<Vec<PathBuf>> {
    let dirs = Dirs::find()?;
    let cargo = match std::env::var_os("CARGO_HOME") {
        Some(dir) => dir.into(),
        None => std::env::home_dir().context("no home directory is known")?.join(".cargo"),
    };
    let below = [
        (
            dirs.root,
            "",
            &[
                "echod/",
                "image/",
                "init/base/",
                "init/src/",
                "initctl/",
                "sysroot/",
                "target/",
                "toolchain/",
                "vendor/",
            ][..],
        ),
        (dirs.home, "/store", &["src/", "store/", "work/"]),
        (cargo, "/cargo", &["registry/"]),
    ];
    // The second is what programs call the first, wherever that is.
    let real = below.into_iter().filter(|(place, name, _)| place != Path::new(name));
    Ok(real.flat_map(|(place, _, names)| names.iter().map(move |name| place.join(name))).collect())
}

/// The first of these places that a program names. `skip_until` is fast without optimisation too, and a compiler has a
/// hundred megabytes.
fn named_place<'a>(program: &[u8], places: &'a [PathBuf]) -> Option<&'a Path> {
    let mut rest = program;
    while rest.skip_until(b'/').is_ok_and(|skipped| skipped > 0) {
        let names = |place: &&PathBuf| rest.starts_with(&place.as_os_str().as_encoded_bytes()[1..]);
        if let Some(place) = places.iter().find(names) {
            return Some(place);
        }
    }
    None
}

/// The checks above find what they look for: the test itself is linked dynamically.
#[test]
fn a_dynamic_program_with_paths_is_seen() -> Result<()> {
    let elf = elf::read(&std::env::current_exe()?)?.context("a test is an ELF file")?;
    ensure!(elf.dynamic && !elf.relocatable, "{elf:?}");
    let places = [PathBuf::from("/home/somebody/project/init/src/")];
    ensure!(named_place(b"at /home/home/somebody/project/init/src/main.rs:1", &places) == Some(places[0].as_path()));
    ensure!(named_place(b"at /home/somebody/project/init/srcs, /init/src/", &places).is_none());
    Ok(())
}
