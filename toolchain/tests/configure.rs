//! What the scripts of build systems find out about the compiler.

mod common;

use std::process::Command;

use build_support::{Arch, Dirs, tree};
use common::{Place, assert_parts, said};

/// zlib asks by linking a shared library, and builds one unless that fails.
#[test]
fn the_configure_script_of_zlib_leaves_out_the_shared_library() {
    let Some(place) = Place::new() else { return };
    let zlib = vendor::source("zlib").unwrap().unpack(&Dirs::find().unwrap()).unwrap();
    let source = place.path("zlib");
    tree::copy(&zlib, &source).unwrap();
    let tool = |name: &str| place.bin.join(name).display().to_string();
    for arch in Arch::ALL {
        let mut configure = Command::new(source.join("configure"));
        configure.current_dir(&source).env_clear().env("PATH", "/usr/bin:/bin");
        configure.env("CC", format!("{} --target={}", tool("clang"), arch.short_triple()));
        let said = said(configure.env("AR", tool("llvm-ar")).env("RANLIB", tool("llvm-ranlib")));
        assert!(said.ok, "{}", said.text);
        assert_parts(&said.text, &["Building static library libz.a", "No shared library support"]);
    }
}

/// Autoconf's scripts read the file that CONFIG_SITE names with the shell, before they look at anything else.
#[test]
fn the_site_defaults_of_configure_leave_shared_libraries_out() {
    let Some(place) = Place::new() else { return };
    for arch in Arch::ALL {
        let site = place.bin.join("..").join(arch.short_triple()).join("usr/share/config.site");
        for (given, expected) in [("", "no\n"), ("enable_shared=yes; ", "yes\n")] {
            let script = format!("set -eu; {given}. '{}'; echo $enable_shared", site.display());
            let said = said(Command::new("sh").args(["-c", &script]));
            assert!(said.ok && said.text == expected, "{script}: {}", said.text);
        }
    }
}
