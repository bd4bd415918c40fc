//! `cargo run -p build-support -- store ...` on a store of its own.

mod common;

use build_support::{fs, store};
use common::{Made, Place, Running, Said, assert_parts, wait_until};

/// A store with an old and a new result of one stage, and one of another.
fn filled() -> (Place, Made, Made) {
    let place = Place::new();
    let old = place.build(&["demo", "script=head -c 3M /dev/zero >$OUT/file", "input:flags=-O2"]);
    let new =
        place.build(&["demo", "script=echo >$OUT/file", "input:flags=-O3", "+", "other", "script=echo >$OUT/file"]);
    (place, old, new)
}

fn well(said: &Said) -> &str {
    assert!(said.ok, "{}", said.err);
    &said.out
}

#[test]
fn list_shows_size_cost_and_use() {
    let (place, old, _) = filled();
    let list = place.store(&["list"]);
    let row = well(&list).lines().find(|line| line.contains(&old.key)).unwrap();
    assert_parts(row, &["demo-", "3.0 MiB", " s", "not used"]);
    let used: Vec<&str> = list.out.lines().filter(|line| !line.contains("not used")).collect();
    assert_eq!(used.len(), 3, "{}", list.out); // The heading and two results.
    assert!(used[0].contains("stage") && used[0].contains("age"), "{}", used[0]);
}

#[test]
fn an_empty_store_is_no_error() {
    let place = Place::new();
    for words in [&["list"][..], &["gc"], &["verify"], &["path"]] {
        let said = place.store(words);
        assert!(said.ok, "{words:?}: {}", said.err);
    }
    assert_eq!(place.store(&["path"]).out.trim(), place.path("home").to_str().unwrap());
}

#[test]
fn gc_removes_what_no_build_uses_and_keeps_the_rest() {
    let (place, old, new) = filled();
    let dry = place.store(&["gc", "--dry-run"]);
    assert_parts(well(&dry), &[&old.key, "could be freed"]);
    assert_eq!(store::entries(&place.dirs().store()).unwrap().len(), 3);
    let done = place.store(&["gc"]);
    assert_parts(well(&done), &[&old.key, "3.0 MiB freed"]);
    assert!(!old.dir.exists() && new.dir.exists());
    let left: Vec<String> =
        store::entries(&place.dirs().store()).unwrap().into_iter().map(|entry| entry.stage).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    // What is left is what the build takes.
    let words = ["demo", "script=false", "input:flags=-O3", "+", "other", "script=false"];
    assert_eq!(place.build(&words), new);
}

/// Two kernels of one architecture do not take each other's place, and one with equal inputs is built once.
#[test]
fn instances_of_a_stage_live_side_by_side() {
    let place = Place::new();
    let build = |instance: &str, flags: &str, script: &str| {
        place.build(&["demo", &format!("instance={instance}"), &format!("input:flags={flags}"), script])
    };
    let one = build("one", "-O2", "script=echo 1 >$OUT/file");
    let two = build("two", "-O3", "script=echo 2 >$OUT/file");
    let same = build("same", "-O2", "script=false");
    assert_eq!((&same.key, &same.dir), (&one.key, &one.dir));
    well(&place.store(&["gc"]));
    assert!(one.dir.exists() && two.dir.exists());
    // The result stays while one instance wants it.
    build("one", "-O1", "script=echo 3 >$OUT/file");
    well(&place.store(&["gc"]));
    assert!(one.dir.exists());
    build("same", "-O1", "script=false");
    well(&place.store(&["gc"]));
    assert!(!one.dir.exists() && two.dir.exists());
    let commands = fs::read_to_string(two.dir.parent().unwrap().join("commands")).unwrap();
    assert!(commands.contains("sh -c 'echo 2 >$OUT/file'"), "{commands}");
}

/// What was renamed for its removal and not removed is no result, and the next `gc` takes it.
#[test]
fn gc_that_was_stopped_leaves_no_half_result() {
    let (place, old, _) = filled();
    let entry = store::garbage(&place.dirs()).unwrap().remove(0);
    assert_eq!(entry.key, old.key);
    let left = store::discard(&entry).unwrap();
    fs::remove_file(left.join("out/file")).unwrap();
    assert_eq!(store::entries(&place.dirs().store()).unwrap().len(), 2);
    assert_parts(well(&place.store(&["gc", "--dry-run"])), &[left.to_str().unwrap()]);
    assert!(left.exists());
    well(&place.store(&["gc"]));
    assert!(!left.exists());
}

/// A digest that a power cut left empty or short is that of no result, and the stage is built again.
#[test]
fn half_a_digest_is_none() {
    let (place, _, new) = filled();
    let digest = new.dir.parent().unwrap().join("digest");
    let whole = fs::read_to_string(&digest).unwrap();
    for half in ["", "\n", &whole[..40], &whole.replace(&whole[..1], "x")] {
        fs::write(&digest, half).unwrap();
        assert_eq!(store::entries(&place.dirs().store()).unwrap().len(), 2, "{half:?}");
    }
    let words = ["demo", "script=echo >$OUT/file", "input:flags=-O3", "+", "other", "script=echo >$OUT/file"];
    place.build(&words);
    assert_eq!(fs::read_to_string(&digest).unwrap(), whole);
}

#[test]
fn gc_removes_sources_with_their_records_and_work_of_dead_builds() {
    let (place, _, _) = filled();
    place.fail(&["broken", "script=echo >$WORK/object; exit 1"]);
    let sources = place.dirs().sources();
    fs::create_dir_all(sources.join("musl-0123456789ab/src")).unwrap();
    fs::write(sources.join("musl-0123456789ab.origin"), "debian\n").unwrap();
    let archive = place.dirs().archives().join("musl.tar.gz");
    fs::write(&archive, "archive").unwrap();
    well(&place.store(&["gc"]));
    for dir in [place.dirs().work(), sources] {
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "{} is not empty", dir.display());
    }
    assert!(archive.exists());
}

/// A stage in work needs its work directory, directories beside it that it keeps between builds, and unpacked sources.
#[test]
fn gc_takes_nothing_from_a_running_build() {
    let place = Place::new();
    let source = place.dirs().sources().join("musl-0123456789ab/file");
    let kept = place.dirs().work().join("init-x86_64.target/file");
    for file in [&source, &kept] {
        build_support::tree::write_atomically(file, b"text").unwrap();
    }
    let script = format!(
        "script=echo object >$WORK/object; touch '{}'; while ! [ -e '{}' ]; do sleep 0.02; done; \
         cp $WORK/object '{}' $OUT && cp '{}' $OUT/kept",
        place.path("started").display(),
        place.path("go").display(),
        source.display(),
        kept.display(),
    );
    let build = Running::start(&mut place.stages(&["demo", &script]));
    wait_until("the recipe starts", || place.path("started").exists());
    let collected = place.store(&["gc"]);
    fs::write(place.path("go"), "").unwrap();
    let built = build.end();
    assert_parts(well(&collected), &["in use"]);
    assert!(built.ok, "{}\n{}", collected.out, built.err);
}

#[test]
fn verify_finds_one_flipped_bit() {
    let (place, _, new) = filled();
    assert_parts(well(&place.store(&["verify"])), &["3 results are as they were built"]);
    let file = new.dir.join("file");
    let mut bytes = fs::read(&file).unwrap();
    bytes[0] ^= 1;
    fs::write(&file, bytes).unwrap();
    let found = place.store(&["verify"]);
    assert!(!found.ok);
    assert_parts(&found.err, &[new.dir.parent().unwrap().to_str().unwrap(), "was changed", "hint: remove it"]);
    // The hint helps.
    fs::remove_dir_all(new.dir.parent().unwrap()).unwrap();
    place.build(&["demo", "script=echo >$OUT/file", "input:flags=-O3", "+", "other", "script=echo >$OUT/file"]);
    well(&place.store(&["verify"]));
}

#[test]
fn an_unknown_command_says_where_help_is() {
    let place = Place::new();
    let error = place.store(&["polish"]);
    assert!(!error.ok && !place.path("home").exists());
    assert_parts(&error.err, &["`store polish` is no command", "hint:", "--help"]);
}

/// A build script runs in its package's directory, a user's shell anywhere: both mean the same store.
#[test]
fn a_relative_store_counts_from_the_project() {
    let place = Place::new();
    for dir in [place.path("."), common::project()] {
        let mut path = std::process::Command::new(env!("CARGO_BIN_EXE_build-support"));
        path.args(["store", "path"]).env("BLOOMERY_HOME", "some/store").current_dir(dir);
        let said = common::said(&mut path);
        assert_eq!(well(&said).trim(), common::project().join("some/store").to_str().unwrap());
    }
}
