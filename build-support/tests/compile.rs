//! The arguments of a compiler are the recipe's alone.

mod common;

use build_support::{fs, host};
use common::{Place, assert_parts};

#[test]
fn flags_of_the_environment_do_not_reach_the_compiler() {
    if host::find_program("cc").is_none() {
        testing::skip("cc is not installed");
        return;
    }
    let place = Place::new();
    let source = place.path("x.c");
    fs::write(&source, "#ifdef HOSTILE\n#error hostile\n#endif\nint x;\n").unwrap();
    let mut build = place.stages(&["demo", &format!("compile={}", source.display())]);
    // The second repeats the recipe's own flags.
    build.env("CFLAGS", "-DHOSTILE").env("TARGET_CFLAGS", "-w -O1 -c -DHOSTILE").env("CC", "false");
    let said = common::said(&mut build);
    assert!(said.ok, "{}", said.err);
    let made = said.made();
    assert!(made.dir.join("object.o").exists());
    let log = fs::read_to_string(place.log("demo")).unwrap();
    assert_parts(&log, &[&format!("cc -w -O1 -c {} -o {}", source.display(), "")]);
    assert!(!log.contains("HOSTILE"), "{log}");
}
