//! Packages and files of a user's own: what `build.sh` finds, when it runs again, and what becomes of modes and owners.
//! Two builds of one profile, of an archive alone.

mod builds;
mod common;

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use build_support::{Dirs, fs, host, tree};
use builds::{BUILD, arch, cargo, succeed, turn};

const PROFILE: &str = r#"
extends = "base"
[root]
packages = { add = ["probe"] }
files = ["rootfs"]
[[output]]
name = "disk"
enabled = false
[[output]]
name = "kernel"
enabled = false
[[output]]
name = "oci"
enabled = false
[[attribute]]
path = "usr/share/probe/*.cap"
capabilities = "cap_net_raw=ep"
[[attribute]]
path = "/usr/share/probe/owned"
owner = "nobody"
group = 65534
mode = "2640"
"#;

/// What a build system finds of the host's: libelf, whose header every machine that compiles kernels has.
const CMAKE: &str = r#"
cmake_minimum_required(VERSION 3.20)
project(probe C)
find_path(LIBELF gelf.h)
find_path(STDIO stdio.h)
find_library(MATH m)
file(WRITE "$ENV{PROBE}/cmake" "${LIBELF}\n${STDIO}\n${MATH}\n")
add_executable(by-cmake src/main.c)
install(TARGETS by-cmake)
"#;

const MESON: &str = r#"
project('probe', 'c')
libelf = dependency('libelf', required: false)
run_command('sh', '-c', 'echo "$1" >"$PROBE/meson"', 'sh', libelf.found() ? 'found' : 'none', check: true)
executable('by-meson', 'src/main.c', install: true)
"#;

fn script(version: &Path) -> String {
    format!(
        r#"export PROBE="$DESTDIR/usr/share/probe"
mkdir -p "$PROBE"
pkg-config --list-all >"$PROBE/pkg-config" 2>&1 || :
cmake -G Ninja -B cmake -DCMAKE_INSTALL_PREFIX=/usr
cmake --build cmake
cmake --install cmake
! command -v meson || {{ meson setup --cross-file "$MESON_CROSS_FILE" --prefix=/usr meson && meson install -C meson; }}
cp {} "$PROBE/version"
echo "$HOME $USER" >"$PROBE/user"
touch "$PROBE/plain" "$PROBE/a.cap" "$PROBE/owned" "$PROBE/set-id"
chmod 4755 "$PROBE/set-id"
"#,
        version.display()
    )
}

struct Bench {
    dirs: Dirs,
    dir: tempfile::TempDir,
}

impl Bench {
    fn file(&self, name: &str, text: &str) -> Result<()> {
        tree::write_atomically(&self.dir.path().join(name), text.as_bytes())
    }

    /// Builds the profile. An archive keeps everything, so nothing may be warned of.
    fn build(&self) -> Result<()> {
        let mut build = cargo(&self.dirs.root, BUILD);
        build.env("BLOOMERY_PROFILE", self.dir.path().join("probe-packages.toml"));
        let ended = succeed(&mut build)?;
        ensure!(!ended.text.contains("warning: /"), "an archive keeps all of it:\n{}", ended.text);
        Ok(())
    }

    fn archive(&self, words: &[&str]) -> Result<String> {
        let archive = self.dirs.output(arch()?).join("probe-packages/rootfs.tar.zst");
        let output = Command::new("tar").arg("--zstd").args(words).arg("-f").arg(archive).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn read(&self, path: &str) -> Result<String> {
        let archive = self.dirs.output(arch()?).join("probe-packages/rootfs.tar.zst");
        let names = self.archive(&["-t"])?;
        let name = names.lines().find(|name| name.trim_start_matches("./") == path);
        let name = name.with_context(|| format!("the archive has no {path}"))?;
        let output = Command::new("tar").args(["--zstd", "-xO", "-f"]).arg(archive).arg(name).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let stages = ["package-probe", "image-probe-packages-archive"];
        let forgotten = builds::forget(&self.dirs, &stages)
            .and_then(|()| Ok(fs::remove_dir_all(self.dirs.output(arch()?).join("probe-packages"))?));
        if let Err(error) = forgotten {
            eprintln!("{error:#}");
        }
    }
}

#[test]
fn a_package_sees_the_target_alone_and_is_built_again_when_an_input_changes() -> Result<()> {
    let _turn = turn();
    let bench = Bench { dirs: Dirs::find()?, dir: tempfile::tempdir()? };
    let version = bench.dir.path().join("elsewhere/version");
    bench.file("probe-packages.toml", PROFILE)?;
    bench.file("probe/build.sh", &script(&version))?;
    bench.file("probe/CMakeLists.txt", CMAKE)?;
    bench.file("probe/meson.build", MESON)?;
    bench.file("project/main.c", "int main(void) { return 0; }\n")?;
    bench.file("elsewhere/version", "first\n")?;
    bench.file("rootfs/etc/ssh/host_key", "secret\n")?;
    bench.file("rootfs/etc/shadow", "root::::::::\n")?;
    tree::link("../project", &bench.dir.path().join("probe/src"))?;
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(bench.dir.path().join("rootfs/etc/ssh/host_key"), private)?;
    bench.build()?;

    let sysroot = fs::canonicalize(bench.dirs.target.join("bloomery/toolchain"))?.join(arch()?.short_triple());
    let found = bench.read("usr/share/probe/cmake")?;
    let [libelf, stdio, math] = found.lines().collect::<Vec<_>>()[..] else {
        anyhow::bail!("CMake found\n{found}");
    };
    ensure!(libelf.ends_with("-NOTFOUND"), "CMake finds a header of the host: {libelf}");
    ensure!([stdio, math].iter().all(|path| Path::new(path).starts_with(&sysroot)), "CMake found\n{found}");
    ensure!(bench.read("usr/share/probe/pkg-config")?.trim().is_empty(), "pkg-config finds libraries of the host");
    match host::find_program("meson") {
        None => testing::skip("meson is not installed"),
        Some(_) => ensure!(bench.read("usr/share/probe/meson")? == "none\n", "meson finds a library of the host"),
    }
    let user = bench.read("usr/share/probe/user")?;
    ensure!(user.starts_with(&bench.dirs.home.display().to_string()) && user.ends_with(" bloomery\n"), "{user}");

    let list = bench.archive(&["-tv", "--numeric-owner"])?;
    for (path, begin) in [
        ("etc/shadow", "-rw------- 0/0"), // As the skeleton's own, which it takes the place of.
        ("etc/ssh/host_key", "-rw------- 0/0"),
        ("usr/share/probe/plain", "-rw-r--r-- 0/0"),
        ("usr/share/probe/set-id", "-rwsr-xr-x 0/0"),
        ("usr/share/probe/owned", "-rw-r-S--- 65534/65534"),
    ] {
        let line =
            list.lines().find(|line| line.ends_with(path)).with_context(|| format!("{path} is not in\n{list}"))?;
        ensure!(line.starts_with(begin), "{line} does not begin with {begin}");
    }
    let manifest = fs::read_to_string(bench.dirs.output(arch()?).join("probe-packages/manifest.tsv"))?;
    let capable: Vec<&str> = manifest.lines().filter(|line| line.contains("security.capability=")).collect();
    ensure!(capable.len() == 1 && capable[0].starts_with("/usr/share/probe/a.cap\t"), "{capable:?}");

    let program = bench.read("usr/bin/by-cmake")?;
    bench.file("project/main.c", "#include <stdio.h>\nint main(void) { return puts(\"again\") < 0; }\n")?;
    bench.file("elsewhere/version", "second\n")?;
    bench.build()?;
    ensure!(bench.read("usr/share/probe/version")? == "second\n", "a path in the script does not count");
    ensure!(bench.read("usr/bin/by-cmake")? != program, "what a link leads to does not count");
    succeed(&mut cargo(&bench.dirs.root, BUILD)).map(drop)
}
