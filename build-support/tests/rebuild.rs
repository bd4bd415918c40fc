//! What makes a stage run again, and what does not.

mod common;

use std::time::{Duration, SystemTime};

use build_support::fs;
use common::{Place, assert_parts, said};

#[test]
fn an_unchanged_stage_comes_from_the_store() {
    let place = Place::new();
    let words = ["demo", &place.counting("echo result >$OUT/file"), "input:flags=-O2"];
    let first = place.build(&words);
    let time = first.dir.join("file").metadata().unwrap().modified().unwrap();
    let again = said(&mut place.stages(&words));
    assert_parts(&again.err, &["demo", "from the store", &first.key]);
    assert_eq!((again.made(), place.runs()), (first, 1));
    // Ninja rebuilds what stands on a file with a new time, so a result is never touched.
    assert_eq!(again.made().dir.join("file").metadata().unwrap().modified().unwrap(), time);
}

#[test]
fn a_changed_input_runs_the_recipe_and_why_names_the_line() {
    let place = Place::new();
    let script = place.counting("echo result >$OUT/file");
    place.build(&["demo", &script, "input:flags=-O2\n-g"]);
    let changed = said(&mut place.stages(&["demo", &script, "input:flags=-O3\n-g"]));
    assert!(changed.ok, "{}", changed.err);
    assert_eq!(place.runs(), 2);
    let lines = ["- input flags = -O2", "+ input flags = -O3"];
    assert_parts(&changed.err, &lines);
    let why = place.store(&["why", "demo"]);
    assert_parts(&why.out, &lines);
    assert!(!why.out.contains("-g"), "{}", why.out);
}

#[test]
fn why_says_what_the_next_build_will_do() {
    let place = Place::new();
    place.build(&["demo", "script=true", "input:flags=-O2"]);
    place.fail(&["demo", "script=false", "input:flags=-O3"]);
    let why = place.store(&["why", "demo"]).out;
    assert_parts(&why, &["will be built", "- input flags = -O2", "+ input flags = -O3"]);
    place.fail(&["other", "script=false"]);
    assert_parts(&place.store(&["why", "other"]).out, &["other", "not built yet"]);
    let unknown = place.store(&["why", "nothing"]);
    assert!(!unknown.ok);
    assert_parts(&unknown.err, &["no stage `nothing`", "hint: known are demo", "other"]);
}

#[test]
fn an_input_that_comes_back_comes_from_the_store() {
    let place = Place::new();
    let script = place.counting("echo result >$OUT/file");
    let first = place.build(&["demo", &script, "input:flags=-O2"]);
    place.build(&["demo", &script, "input:flags=-O3"]);
    assert_eq!((place.build(&["demo", &script, "input:flags=-O2"]), place.runs()), (first, 2));
}

#[test]
fn the_same_bytes_below_rebuild_nothing_above() {
    let place = Place::new();
    let above = place.counting("echo result >$OUT/file");
    let build = |flags: &str, bytes: &str| {
        place.build(&["below", &format!("script=echo {bytes} >$OUT/lib"), flags, "+", "above", &above])
    };
    let first = build("input:flags=-O2", "same");
    assert_eq!((build("input:flags=-O3", "same"), place.runs()), (first, 1));
    build("input:flags=-O1", "other");
    assert_eq!(place.runs(), 2);
    assert_parts(&place.store(&["why", "above"]).out, &["- needs below-", "+ needs below-"]);
}

#[test]
fn only_code_counts_in_a_recipe() {
    let place = Place::new();
    let script = place.counting("true");
    let build = |source: &str| place.build(&["demo", &script, &format!("recipe={source}")]);
    let first = build("//! Makes it.\nfn main() {\n    make();\n}\n");
    let second = build("//! Makes it, and well.\n\nfn main() {\n    // As upstream says.\n    make();\n}\n");
    assert_eq!((second, place.runs()), (first, 1));
    build("fn main() {\n    make_better();\n}\n");
    assert_eq!(place.runs(), 2);
}

#[test]
fn the_time_table_says_where_results_came_from() {
    let place = Place::new();
    let words = ["below", "script=sleep 0.2; echo >$OUT/a", "+", "above", "script=echo >$OUT/b"];
    let table =
        || fs::read_to_string(place.dirs().log(build_support::Arch::host().unwrap()).join("build-times.tsv")).unwrap();
    let column = |n: usize| table().lines().map(|row| row.split('\t').nth(n).unwrap().to_string()).collect::<Vec<_>>();
    place.build(&words);
    assert_eq!(column(0), ["stage", "below", "above"]);
    assert_eq!(column(1), ["from", "built", "built"]);
    let seconds: f64 = column(2)[1].parse().unwrap();
    assert!((0.2..10.0).contains(&seconds), "{}", table());
    assert!(column(4)[1].parse::<u64>().unwrap() > 100_000, "{}", table());
    place.build(&words);
    assert_eq!(column(1), ["from", "store", "store"]);
    assert_eq!(column(2)[1].parse::<f64>().unwrap(), seconds); // What the result took, not what the look took.
}

#[test]
fn the_work_directory_goes_unless_it_is_asked_for() {
    let place = Place::new();
    place.build(&["demo", "script=echo >$WORK/object"]);
    assert_eq!(fs::read_dir(place.dirs().work()).unwrap().count(), 0);
    let kept = said(place.stages(&["demo", "script=echo >$WORK/object", "input:a=b"]).env("BLOOMERY_KEEP_WORK", "1"));
    assert!(kept.ok, "{}", kept.err);
    let work = fs::read_dir(place.dirs().work()).unwrap().next().unwrap().unwrap().path();
    assert!(work.join("object").is_file());
}

#[test]
fn nothing_to_do_is_quick() {
    let place = Place::new();
    let words = ["demo", "script=for i in 1 2 3; do echo $i >$OUT/$i; done"];
    place.build(&words);
    let begin = SystemTime::now();
    place.build(&words);
    let took = begin.elapsed().unwrap();
    assert!(took < Duration::from_secs(2), "{took:?}");
}
