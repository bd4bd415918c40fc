//! setup.sh and the check before a build take and refuse the same compilers.

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use build_support::fs;
use build_support::preflight::HostClang;

/// A machine.
struct Host {
    name: &'static str,
    /// Sets of all the compiler's programs: directory, suffix and version.
    sets: &'static [[&'static str; 3]],
    /// Single programs with their version, or the target of a link.
    single: &'static [[&'static str; 2]],
    /// Whether that will do.
    good: bool,
}

const NAMES: &[&str] = &["clang", "clang++", "ld.lld", "llvm-ar", "llvm-ranlib", "llvm-nm", "llvm-strip"];

const HOSTS: &[Host] = &[
    Host { name: "Fedora", sets: &[["bin", "", "21.1.8"]], single: &[], good: true },
    Host { name: "Debian", sets: &[["bin", "-22", "22.1.8"]], single: &[["bin/llvm-ar", "14.0.6"]], good: true },
    Host {
        name: "Alpine",
        sets: &[["lib/llvm22/bin", "", "22.1.3"]],
        single: &[["bin/clang-22", "-> lib/llvm22/bin/clang"]],
        good: true,
    },
    Host { name: "a newer one", sets: &[["bin", "-25", "25.1.0"]], single: &[], good: true },
    Host { name: "too old", sets: &[["bin", "-20", "20.1.2"], ["bin", "", "19.1.7"]], single: &[], good: false },
    Host {
        name: "clang alone",
        sets: &[],
        single: &[["bin/clang-22", "22.1.8"], ["bin/ld.lld", "14.0.6"], ["bin/llvm-ar", "14.0.6"]],
        good: false,
    },
];

fn place(dir: &Path, name: &str, version: &str) {
    let at = dir.join(name);
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    if let Some(target) = version.strip_prefix("-> ") {
        return fs::os::unix::fs::symlink(dir.join(target), &at).unwrap();
    }
    fs::write(&at, format!("#!/bin/sh\necho 'clang version {version}'\n")).unwrap();
    fs::set_permissions(&at, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Whether setup.sh, on a machine with these programs and no package, would install a compiler.
fn setup_wants_a_compiler(dir: &Path) -> bool {
    let bin = dir.join("bin");
    for tool in ["sh", "sed", "dirname", "readlink", "id", "cat", "grep"] {
        let found = build_support::host::find_program(tool).unwrap();
        fs::os::unix::fs::symlink(found, bin.join(tool)).unwrap();
    }
    for (name, text) in [("dpkg-query", "exit 1"), ("apt-get", "true"), ("sudo", "true"), ("rustup", "true")] {
        fs::write(bin.join(name), format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let script = common::project().join("setup.sh");
    let said = common::said(Command::new(bin.join("sh")).arg(script).arg("--dry-run").env("PATH", &bin));
    assert!(said.ok && said.out.contains("ninja-build"), "{}{}", said.out, said.err);
    said.out.contains("clang-22")
}

#[test]
fn setup_and_preflight_agree_on_every_host() {
    for Host { name, sets, single, good } in HOSTS {
        let dir = tempfile::tempdir().unwrap();
        for [at, suffix, version] in *sets {
            NAMES.iter().for_each(|program| place(dir.path(), &format!("{at}/{program}{suffix}"), version));
        }
        single.iter().for_each(|[program, version]| place(dir.path(), program, version));
        let found = HostClang::find_in(&[dir.path().join("bin")]);
        assert_eq!(found.is_ok(), *good, "{name}: {found:?}");
        assert_eq!(setup_wants_a_compiler(dir.path()), !good, "{name}");
    }
}
