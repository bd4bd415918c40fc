//! docs/dependencies.md has every crate that the workspace names, and no other.

mod common;

use std::collections::BTreeSet;

use build_support::{Cmd, fs};

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

/// What `cargo deny check licenses sources` holds as well, for machines that do not have it.
#[test]
fn crates_have_licences_and_sources_that_are_allowed() {
    let root = common::project();
    let deny: toml::Table = fs::read_to_string(root.join("deny.toml")).unwrap().parse().unwrap();
    let allowed: Vec<&str> =
        deny["licenses"]["allow"].as_array().unwrap().iter().filter_map(toml::Value::as_str).collect();
    let rustc = Cmd::new("rustc").arg("-vV").dir(&root).read("ask rustc for its target").unwrap();
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    // Crates for other systems are not downloaded.
    let words = ["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", host];
    // On standard error cargo says what it waits for.
    let text = Cmd::new("cargo").args(words).dir(&root).read("ask cargo for the crates").unwrap();
    let json = text.lines().find(|line| line.starts_with('{')).unwrap();
    let metadata: serde_json::Value = serde_json::from_str(json).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50, "{}", packages.len());
    for package in packages {
        let (name, source) = (&package["name"], &package["source"]);
        let Some(source) = source.as_str() else { continue }; // One of the workspace.
        assert!(source.starts_with("registry+"), "{name} comes from {source}");
        let licence = package["license"].as_str().unwrap_or_default();
        // SPDX, as crates write it: parts by AND, each of alternatives by OR or by the older slash.
        let plain = licence.replace('/', " OR ").replace(['(', ')'], "");
        let holds = plain.split(" AND ").all(|part| part.split(" OR ").any(|choice| allowed.contains(&choice.trim())));
        assert!(holds, "{name}: deny.toml does not allow `{licence}`");
    }
}
