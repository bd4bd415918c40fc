//! The names by which init's file is another program, with the features that this package is built with. CI runs it with and
//! without them.

use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

/// Runs the file by another name.
fn run_as(name: &str, argument: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_init")).arg0(format!("/usr/bin/{name}")).arg(argument).output().unwrap()
}

#[test]
fn a_name_is_its_program_or_nothing() {
    let programs = [
        ("initctl", cfg!(feature = "initctl")),
        ("echod", cfg!(feature = "echod")),
        ("dhcpc", cfg!(feature = "dhcpc")),
        ("modprobe", cfg!(feature = "modprobe")),
        ("ntpc", cfg!(feature = "ntpc")),
        ("status", cfg!(feature = "status")),
        ("syslogc", cfg!(feature = "syslogc")),
        ("updater", cfg!(feature = "updater")),
        ("growfs", cfg!(feature = "growfs")),
    ];
    for (name, linked) in programs {
        let help = run_as(name, "--help");
        let (out, err) = (String::from_utf8_lossy(&help.stdout), String::from_utf8_lossy(&help.stderr));
        if linked {
            assert!(help.status.success() && out.starts_with(&format!("usage: {name}")), "{help:?}");
        } else {
            // Init's own `-q` sends a signal to PID 1.
            assert_eq!(run_as(name, "-q").status.code(), Some(127));
            assert_eq!(help.status.code(), Some(127));
            assert!(out.is_empty() && err.starts_with(&format!("{name}: this program was built without it")), "{err}");
        }
    }
}

#[test]
fn any_other_name_is_init() {
    let output = run_as("telinit", "7");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("usage: init 0"), "{output:?}");
}
