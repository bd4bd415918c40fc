//! `setup.sh`: what it installs, what it says, and what it does once.

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use build_support::fs;
use build_support::preflight::{HEADERS, TOOLS};

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
    "crun",
    "nftables",
    "gdisk",
    "sbsigntool",
    "xorriso",
    "mtools",
    "shellcheck",
    "gdb-multiarch",
    "iproute2",
    "dnsmasq-base",
    "radvd",
    "rsyslog",
    "chrony",
    "pkg-config",
    "meson",
];

#[test]
fn setup_installs_what_preflight_asks_for() -> Result<()> {
    let list = String::from_utf8(Command::new(common::project().join("setup.sh")).arg("--list").output()?.stdout)?;
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
        self.run(&mut Command::new(common::project().join("setup.sh")), args)
    }

    fn run(&self, setup: &mut Command, args: &[&str]) -> Result<String> {
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
    ensure!(text.contains("ninja-build") && text.contains("apt-get install") && !text.contains("bison"), "{text}");
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

/// It finds its checkout by a symbolic link, from another directory, whatever CDPATH says.
#[test]
fn setup_is_found_by_a_link() -> Result<()> {
    let debian = Debian::with("")?;
    let elsewhere = tempfile::tempdir()?;
    fs::os::unix::fs::symlink(common::project().join("setup.sh"), elsewhere.path().join("get ready"))?;
    let wanted = fs::read_to_string(common::project().join("rust-toolchain.toml"))?;
    let wanted = wanted.lines().find_map(|line| line.strip_prefix("channel = \"")?.strip_suffix('"'));
    let mut setup = Command::new("./get ready");
    let text = debian.run(setup.current_dir(elsewhere.path()).env("CDPATH", "/:/usr"), &["--dry-run"])?;
    ensure!(wanted.is_some_and(|version| text.contains(&format!("Rust {version} is installed"))), "{text}");
    Ok(())
}
