//! A stage that builds a CMake project: what is installed, what a person reads when it fails, and that nothing of it
//! survives a killed build.

mod common;

use build_support::{fs, host};
use common::{Place, Running, assert_parts, wait_until};

/// A place with a project of this CMake text, and the words of its stage; `None` without CMake.
fn project(text: &str) -> Option<(Place, String)> {
    if ["cmake", "ninja"].iter().any(|name| host::find_program(name).is_none()) {
        testing::skip("cmake or ninja is not installed");
        return None;
    }
    let place = Place::new();
    let dir = place.path("project");
    fs::create_dir(&dir).unwrap();
    fs::write(
        dir.join("CMakeLists.txt"),
        format!("cmake_minimum_required(VERSION 3.20)\nproject(demo NONE)\ninstall(CODE \"\")\n{text}"),
    )
    .unwrap();
    let word = format!("cmake={}", dir.display());
    Some((place, word))
}

#[test]
fn a_project_is_configured_built_and_installed_in_a_clean_environment() {
    let text = "message(STATUS \"CFLAGS=$ENV{CFLAGS} GIVEN=$ENV{GIVEN}\")\n\
        add_custom_command(OUTPUT made COMMAND touch made)\nadd_custom_target(all-of-it ALL DEPENDS made)\n\
        install(FILES ${CMAKE_BINARY_DIR}/made DESTINATION share)\n";
    let Some((place, word)) = project(text) else { return };
    let said = common::said(place.stages(&["demo", &word]).env("CFLAGS", "-hostile"));
    assert!(said.ok, "{}", said.err);
    assert!(said.made().dir.join("share/made").exists());
    let log = fs::read_to_string(place.log("demo")).unwrap();
    assert_parts(&log, &["CFLAGS= GIVEN=a value", "\n$ cd ", "\"-G\" \"Ninja\"", "[1/2] ", "\"--target\" \"install\""]);
}

#[test]
fn a_failure_names_the_command_that_failed() {
    let Some((place, word)) = project("message(FATAL_ERROR \"no such luck\")\n") else { return };
    let error = place.fail(&["demo", &word]);
    assert_parts(
        &error,
        &["cannot build the project", "command: cd ", "\"cmake\" ", "  | CMake Error", "no such luck", "log: "],
    );
    assert!(!error.contains("panicked") && !error.contains("RUST_BACKTRACE"), "{error}");
    let Some((place, word)) = project("add_custom_target(all-of-it ALL COMMAND false)\n") else { return };
    assert_parts(
        &place.fail(&["demo", &word]),
        &["command: cd ", "\"--build\"", "FAILED", "ended with exit status: 1"],
    );
}

#[test]
fn nothing_goes_on_for_a_killed_build() {
    let Some((place, word)) = project("add_custom_target(all-of-it ALL COMMAND sh ${CMAKE_SOURCE_DIR}/wait)\n") else {
        return;
    };
    let pid = place.path("pid");
    fs::write(place.path("project/wait"), format!("echo $PPID >'{}'\nexec sleep 600\n", pid.display())).unwrap();
    let mut build = Running::start(&mut place.stages(&["demo", &word]));
    let read = || fs::read_to_string(&pid).ok().and_then(|text| text.trim().parse::<i32>().ok());
    wait_until("ninja starts the command", || read().is_some());
    let ninja = rustix::process::Pid::from_raw(read().unwrap()).unwrap();
    build.kill();
    wait_until("ninja ends", || rustix::process::test_kill_process(ninja).is_err());
}
