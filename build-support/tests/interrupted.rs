//! Builds that are killed, that run twice at once, and whose disk fills up: the store stays sound and the next
//! build succeeds.

mod common;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use build_support::{fs, store};
use common::{Place, Running, Said, assert_parts, said, wait_until};

/// A script that reports that it runs and then waits for a file; a second run finds the file and goes through.
fn waiting(place: &Place, before: &str, after: &str) -> String {
    let (started, go) = (place.path("started"), place.path("go"));
    let wait = format!("touch '{}'; while ! [ -e '{}' ]; do sleep 0.02; done", started.display(), go.display());
    place.counting(&format!("{before}; {wait}; {after}"))
}

/// Starts a build and kills it with SIGKILL in the middle of its recipe. The recipe's own processes live on until what
/// is returned goes.
#[must_use]
fn kill_in_the_middle(place: &Place, words: &[&str]) -> Running {
    let mut build = Running::start(&mut place.stages(words));
    wait_until("the recipe starts", || place.path("started").exists());
    build.kill();
    assert_eq!(store::entries(&place.dirs().store()).unwrap().len(), 0, "half a result is in the store");
    build
}

#[test]
fn a_killed_build_leaves_no_result_and_the_next_one_succeeds() {
    let place = Place::new();
    let script = waiting(&place, "echo half >$OUT/half-$$", "echo whole >$OUT/file");
    drop(kill_in_the_middle(&place, &["demo", &script]));
    fs::write(place.path("go"), "").unwrap();
    let made = place.build(&["demo", &script]);
    assert_eq!(place.runs(), 2);
    assert_eq!(fs::read_to_string(made.dir.join("file")).unwrap(), "whole\n");
    assert_eq!(fs::read_dir(&made.dir).unwrap().count(), 2, "the killed build's files are in the result");
    let verify = place.store(&["verify"]);
    assert!(verify.ok, "{}", verify.err);
}

/// A killed build script leaves its compiler running, and what that writes later must not reach the next result.
#[test]
fn what_a_killed_build_leaves_running_harms_no_later_result() {
    let place = Place::new();
    let go = place.path("go");
    // The first run, once told to go, writes into the directory that the second run by then works in.
    let first = format!(
        "if [ $(wc -c <'{runs}') = 1 ]; then touch '{started}'; while ! [ -e '{go}' ]; do sleep 0.02; done; \
         echo stray >$OUT/stray; touch '{done}'; else touch '{go}'; \
         for i in 1 2 3 4 5 6 7 8 9 10; do [ -e '{done}' ] || sleep 0.1; done; echo whole >$OUT/file; fi",
        runs = place.path("runs").display(),
        started = place.path("started").display(),
        go = go.display(),
        done = place.path("done").display(),
    );
    let words = ["demo", &place.counting(&first)];
    let _left = kill_in_the_middle(&place, &words);
    // It may also be told to wait until the leftovers are gone; then they must be able to go.
    let later = Running::start(&mut place.stages(&words));
    std::thread::sleep(Duration::from_millis(500));
    fs::write(&go, "").unwrap();
    let said = later.end();
    assert!(said.ok, "{}", said.err);
    let made = said.made();
    assert_eq!(fs::read_to_string(made.dir.join("file")).unwrap(), "whole\n");
    assert!(!made.dir.join("stray").exists(), "the killed build's compiler wrote into the next build's result");
    assert!(place.store(&["verify"]).ok);
}

#[test]
fn a_resumable_stage_goes_on_where_it_was_killed() {
    let place = Place::new();
    let script =
        waiting(&place, "echo $(cat $WORK/object 2>/dev/null) >$OUT/seen; echo compiled >$WORK/object", "true");
    drop(kill_in_the_middle(&place, &["demo", "resumable", &script]));
    fs::write(place.path("go"), "").unwrap();
    let made = place.build(&["demo", "resumable", &script]);
    assert_eq!(fs::read_to_string(made.dir.join("seen")).unwrap(), "compiled\n");
}

#[test]
fn nothing_is_resumed_after_another_input_or_by_another_stage() {
    for second in [&["demo", "resumable", "input:flags=-O3"][..], &["demo", "input:flags=-O2"]] {
        let place = Place::new();
        let script =
            waiting(&place, "[ -e $WORK/object ] && touch $OUT/stale; echo compiled >$WORK/object", "touch $OUT/file");
        drop(kill_in_the_middle(&place, &["demo", "resumable", "input:flags=-O2", &script]));
        fs::write(place.path("go"), "").unwrap();
        let made = place.build(&[second, &[&script]].concat());
        assert!(made.dir.join("file").exists() && !made.dir.join("stale").exists(), "{second:?}");
    }
}

#[test]
fn of_two_builds_at_once_one_builds_and_the_other_takes_its_result() {
    let place = Place::new();
    let script = waiting(&place, "true", "echo result >$OUT/file");
    let first = Running::start(&mut place.stages(&["demo", &script]));
    wait_until("the first recipe starts", || place.path("started").exists());
    let mut second = Running::start(&mut place.stages(&["demo", &script]));
    let mut lines = BufReader::new(second.stderr()).lines().map_while(Result::ok);
    let wait = lines.next().unwrap_or_default();
    assert_parts(&wait, &["demo-", &format!("process {} is at work on it", first.id()), "waiting"]);
    fs::write(place.path("go"), "").unwrap();
    let rest: Vec<String> = lines.collect();
    assert_parts(&rest.join("\n"), &["from the store"]);
    let (first, second) = (first.end(), second.end());
    assert!(first.ok && second.ok, "{}", first.err);
    assert_eq!((first.made(), place.runs()), (second.made(), 1));
}

#[test]
fn the_one_that_waits_builds_when_the_other_fails() {
    let place = Place::new();
    let fails_once = format!("[ $(wc -c <'{}') != 1 ] && touch $OUT/file", place.path("runs").display());
    let script = waiting(&place, "true", &fails_once);
    let first = Running::start(&mut place.stages(&["demo", &script]));
    wait_until("the first recipe starts", || place.path("started").exists());
    let mut second = Running::start(&mut place.stages(&["demo", &script]));
    let mut stderr = BufReader::new(second.stderr());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert_parts(&line, &["waiting"]);
    fs::write(place.path("go"), "").unwrap();
    let drained: Vec<_> = stderr.lines().collect();
    let (first, second) = (first.end(), second.end());
    assert!(!first.ok && second.ok, "{}\n{drained:?}", first.err);
    assert_eq!(place.runs(), 2);
}

#[test]
fn different_stages_are_built_at_once() {
    let place = Place::new();
    let script = waiting(&place, "true", "true");
    let first = Running::start(&mut place.stages(&["one", &script]));
    wait_until("the first recipe starts", || place.path("started").exists());
    place.build(&["two", "script=true"]);
    fs::write(place.path("go"), "").unwrap();
    assert!(first.end().ok);
}

/// Runs a shell script as root of a user namespace with a 16 MiB file system at `home`, or says why it cannot.
/// In the script, `$1` is the example program.
fn on_a_small_disk(place: &Place, script: &str) -> Option<Said> {
    let probe = said(Command::new("unshare").args(["-rm", "true"]));
    if !probe.ok {
        testing::skip(&format!("this host forbids unshare -rm: {}", probe.err.trim()));
        return None;
    }
    let build = place.stages(&[]);
    let home = place.path("home");
    fs::create_dir_all(&home).unwrap();
    let mount = "mount -t tmpfs -o size=16m tmpfs \"$BLOOMERY_HOME\" || exit 99";
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &format!("{mount}\n{script}"), "sh"]).arg(build.get_program());
    command.env("BLOOMERY_HOME", &home).env("CARGO_TARGET_DIR", place.path("target"));
    command.env("STORE", env!("CARGO_BIN_EXE_build-support"));
    Some(said(&mut command))
}

/// A build on the small disk fails with the words given, leaves a sound store, and succeeds once there is space.
fn fill_the_disk(words: &str) {
    let place = Place::new();
    let script = format!(
        "\"$1\" below 'script=echo >$OUT/lib' || exit 90\n\
         head -c 6M /dev/zero >\"$BLOOMERY_HOME/ballast\"\n\
         \"$1\" demo resumable {words} && exit 91\n\
         \"$STORE\" store verify || exit 92\n\
         \"$STORE\" store list | grep -q demo && exit 93\n\
         rm \"$BLOOMERY_HOME/ballast\"\n\
         \"$1\" demo resumable {words} || exit 94\n\
         \"$STORE\" store verify || exit 95"
    );
    let Some(said) = on_a_small_disk(&place, &script) else { return };
    assert!(said.ok, "{}\n{}", said.out, said.err);
    assert_parts(&said.out, &["1 results are as they were built", "2 results are as they were built"]);
    assert_parts(
        &said.err,
        &["stage demo-", "No space left on device", "hint: the disk is full: free some space, or point BLOOMERY_HOME"],
    );
    assert!(Path::new(&place.path("home")).exists());
}

#[test]
fn a_disk_that_fills_up_under_a_command_is_named_and_the_next_build_succeeds() {
    fill_the_disk("'script=head -c 12M /dev/zero >$OUT/large'");
}

#[test]
fn a_disk_that_fills_up_under_a_recipe_is_named_and_the_next_build_succeeds() {
    fill_the_disk("write=12");
}
