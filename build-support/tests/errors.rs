//! What a person reads when a stage fails.

mod common;

use common::{Place, assert_parts};

#[test]
fn a_failing_command_is_told_in_full() {
    let place = Place::new();
    let script = "script=for i in $(seq 1 50); do echo line $i; done; echo cannot find -lfoo >&2; exit 7";
    let error = place.fail(&["demo", script]);
    let log = place.log("demo");
    assert_parts(
        &error,
        &[
            "error: stage demo-",
            "cannot run the script",
            "command: OUT=",
            "sh -c 'for i in",
            &format!("in: {}", place.dirs().work().display()),
            "ended with exit status: 7",
            "  | line 22\n",
            "  | cannot find -lfoo\n",
            &format!("log: {}", log.display()),
        ],
    );
    assert!(!error.contains("  | line 20\n"), "more than the last lines:\n{error}");
    let log = build_support::fs::read_to_string(log).unwrap();
    assert_parts(&log, &["demo-", "no earlier result", "$ cd ", "line 1\n", "cannot find -lfoo"]);
}

#[test]
fn known_causes_come_with_a_hint() {
    let place = Place::new();
    for (script, hint) in [
        (
            "script=echo \"x.c:1: fatal error: 'elf.h' file not found\"; exit 1",
            "hint: a header is missing: run ./setup.sh",
        ),
        ("script=kill -9 $$", "hint: memory ran out: close other programs"),
        ("script=echo 'write: No space left on device'; exit 1", "hint: the disk is full"),
    ] {
        let error = place.fail(&["demo", script]);
        // A hint that is not the last line is not seen.
        assert!(error.trim_end().lines().next_back().unwrap_or_default().starts_with(hint), "{error}");
    }
}

#[test]
fn a_failed_stage_is_built_again() {
    let place = Place::new();
    place.fail(&["demo", &place.counting("touch $OUT/half; exit 1")]);
    let made = place.build(&["demo", &place.counting("touch $OUT/whole")]);
    assert!(made.dir.join("whole").exists() && !made.dir.join("half").exists());
    assert_eq!(place.runs(), 2);
}

#[test]
fn a_store_that_cannot_be_made_says_what_to_set() {
    let place = Place::new();
    let file = place.path("file");
    build_support::fs::write(&file, "").unwrap();
    // Below a file, not even root can make a directory.
    let said = common::said(place.stages(&["demo", "script=true"]).env("BLOOMERY_HOME", file.join("home")));
    assert!(!said.ok);
    assert_parts(
        &said.err,
        &[
            "cannot make the store",
            file.to_str().unwrap(),
            "hint: set BLOOMERY_HOME to a directory that you can write to",
        ],
    );
}

#[test]
fn a_store_of_somebody_else_says_what_to_set() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let home = place.path("home");
    build_support::fs::create_dir(&home).unwrap();
    build_support::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o555)).unwrap();
    if build_support::fs::write(home.join("probe"), "").is_ok() {
        testing::skip("root may write anywhere");
        return;
    }
    let error = place.fail(&["demo", "script=true"]);
    assert_parts(
        &error,
        &["cannot make the store", home.to_str().unwrap(), "Permission denied", "hint: set BLOOMERY_HOME"],
    );
}
