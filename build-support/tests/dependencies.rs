//! docs/dependencies.md has every crate that the workspace names, and no other.

mod common;

use std::collections::BTreeSet;

use build_support::fs;

#[test]
fn the_page_lists_every_dependency_with_its_version() {
    let root = common::project();
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    let workspace: toml::Table = read("Cargo.toml").parse().unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap();
    let mut named = BTreeSet::new();
    for member in members.iter().filter_map(toml::Value::as_str) {
        let manifest: toml::Table = read(&format!("{member}/Cargo.toml")).parse().unwrap();
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let table = manifest.get(kind).and_then(toml::Value::as_table);
            named.extend(table.into_iter().flatten().map(|(name, _)| name.clone()));
        }
    }
    let paths = workspace["workspace"]["dependencies"].as_table().unwrap().iter();
    let own: BTreeSet<String> =
        paths.filter(|(_, it)| it.get("path").is_some()).map(|(name, _)| name.clone()).collect();
    let page = read("docs/dependencies.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | ")).map(|(crate_, _)| crate_);
    let rows: Vec<(&str, &str)> = rows.filter_map(|text| text.split_once(' ')).collect();
    let listed: BTreeSet<String> = rows.iter().map(|(name, _)| name.to_string()).collect();
    let wanted: BTreeSet<String> = named.difference(&own).cloned().collect();
    assert_eq!(listed, wanted, "they differ in {:?}", listed.symmetric_difference(&wanted));
    let lock = read("Cargo.lock");
    for (name, version) in rows {
        let entry = format!("name = \"{name}\"\nversion = \"{version}");
        assert!(lock.contains(&entry), "docs/dependencies.md: {name} is not {version} in Cargo.lock");
    }
}
