//! The known faults are of the pinned versions, have their tests, and are in the page about them.

use build_support::{Dirs, fs};
use vendor::{Sources, faults};

const PAGE: &str = "docs/known-faults.md";

#[test]
fn each_is_known_of_the_pinned_version_and_has_its_test() {
    let dirs = Dirs::find().unwrap();
    let sources = Sources::pinned().unwrap();
    for fault in faults::known().unwrap() {
        let pinned = sources.get(&fault.source).unwrap().version();
        assert_eq!(
            fault.version, pinned,
            "look whether {} {pinned} still has this fault, and correct vendor/known-faults.toml: {}",
            fault.source, fault.fault
        );
        let text = fs::read_to_string(dirs.root.join(&fault.test.file)).unwrap();
        let function = format!("fn {}(", fault.test.name);
        assert!(text.contains(&function), "{} has no `{function}`", fault.test.file);
    }
}

/// The page has a table for each source, between two marks. `BLOOMERY_WRITE_DOCS=1` writes it.
#[test]
fn the_page_has_them() {
    let path = Dirs::find().unwrap().root.join(PAGE);
    let page = fs::read_to_string(&path).unwrap();
    let mut wanted = page.clone();
    for source in ["musl", "busybox"] {
        let (begin, end) = (format!("<!-- faults: {source} -->\n"), "<!-- /faults -->");
        let from = wanted.find(&begin).unwrap_or_else(|| panic!("{PAGE} has no `{begin}`")) + begin.len();
        let to = from + wanted[from..].find(end).unwrap();
        let rows = faults::known().unwrap().iter().filter(|fault| fault.source == source).map(faults::Fault::row);
        let head = "| fault | effect | what helps | upstream |\n|---|---|---|---|\n";
        wanted.replace_range(from..to, &(head.to_owned() + &rows.collect::<String>()));
    }
    let sources: Vec<&str> = faults::known().unwrap().iter().map(|fault| fault.source.as_str()).collect();
    assert!(
        sources.iter().all(|source| ["musl", "busybox"].contains(source)),
        "{PAGE} has no table for one of {sources:?}"
    );
    if std::env::var_os("BLOOMERY_WRITE_DOCS").is_some_and(|value| value == "1") {
        fs::write(&path, &wanted).unwrap();
    }
    assert!(
        page == wanted || fs::read_to_string(&path).unwrap() == wanted,
        "{PAGE} is not what vendor/known-faults.toml says\nhint: BLOOMERY_WRITE_DOCS=1 cargo test -p vendor --test faults"
    );
}
