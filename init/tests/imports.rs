//! Who may use whom: the directories of `init/src` in layers, and no circle between files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A directory of `init/src`, or a file beside `lib.rs`, and those that it may use. They are in layers: each uses rows above its
/// own alone, so none is in a circle. Everyone may use `init_base`. A row that names more than it uses is a fault too.
#[rustfmt::skip]
const RULES: &[(&str, &[&str])] = &[
    ("log",        &[]),
    ("config",     &["log"]),
    ("event",      &["log"]),
    ("spawn",      &["log"]),
    ("devices",    &["config", "log", "spawn"]),
    ("net",        &["config", "log"]),
    ("platform",   &["config", "devices", "event", "log"]),
    ("handover",   &["event", "log", "platform", "spawn"]),
    ("logs",       &["event", "handover", "log", "platform"]),
    ("control",    &["event", "log", "logs"]),
    ("service",    &["config", "control", "event", "handover", "log", "logs", "platform", "spawn"]),
    ("supervisor", &["config", "control", "devices", "event", "handover", "log", "logs", "net", "platform", "service", "spawn"]),
    ("habits",     &["event"]),
    ("check",      &["config", "net", "platform", "service", "spawn"]),
    ("shutdown",   &["event", "log", "platform", "spawn", "supervisor"]),
    ("boot",       &["config", "devices", "event", "handover", "log", "net", "platform", "shutdown", "spawn", "supervisor"]),
];

/// The same for `init/base/src`.
const BASE_RULES: &[(&str, &[&str])] = &[
    ("names", &[]),
    ("sys", &[]),
    ("bootconfig", &["sys"]),
    ("date", &[]),
    ("dropins", &["sys"]),
    ("host_name", &["sys"]),
    ("kmsg", &["sys"]),
    ("lease", &["host_name", "sys"]),
    ("protocol", &["sys"]),
    ("connection", &["protocol", "sys"]),
    ("resolv", &["sys"]),
    ("rtnetlink", &["sys"]),
    ("settings", &["bootconfig", "host_name", "names", "rtnetlink", "sys"]),
];

/// A module's path below its crate, without `crate`.
type Module = Vec<String>;

/// For each module of a crate, those that it uses.
type Uses = BTreeMap<Module, BTreeSet<Module>>;

/// Reads a crate. Tests may use what they like.
fn read(src: &Path) -> Uses {
    let mut files = Vec::new();
    list(src, &mut files);
    let texts: Vec<(Module, String)> =
        files.iter().map(|path| (module(src, path), fs::read_to_string(path).unwrap())).collect();
    uses(&texts)
}

fn list(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(&path, files);
        } else if !["main.rs", "tests.rs"].iter().any(|name| path.ends_with(name)) {
            files.push(path);
        }
    }
}

fn module(src: &Path, path: &Path) -> Module {
    let relative = path.strip_prefix(src).unwrap().with_extension("");
    let mut parts: Module = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib")) {
        parts.pop();
    }
    parts
}

fn uses(files: &[(Module, String)]) -> Uses {
    let known: BTreeSet<&Module> = files.iter().map(|(module, _)| module).collect();
    let mut all = Uses::new();
    for (module, text) in files {
        let mut paths = Vec::new();
        find_paths(text.parse().unwrap(), module, &mut paths);
        let mut found: BTreeSet<Module> = paths
            .into_iter()
            .map(|mut path| {
                while !known.contains(&path) {
                    path.pop();
                }
                path
            })
            .collect();
        found.remove(module);
        all.insert(module.clone(), found);
    }
    all
}

/// Finds every path that begins with `crate` or `super`, also in macros, and makes it one from the crate's root.
fn find_paths(tokens: TokenStream, module: &Module, found: &mut Vec<Module>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            // #[cfg(test)] mod tests { ... }
            TokenTree::Group(group)
                if group.to_string().replace(' ', "") == "[cfg(test)]"
                    && tokens.get(at + 1).is_some_and(|token| token.to_string() == "mod") =>
            {
                at += 3;
            }
            TokenTree::Group(group) => find_paths(group.stream(), module, found),
            TokenTree::Ident(first) if *first == "crate" || *first == "super" => {
                let start = if *first == "crate" { Vec::new() } else { parent(module) };
                at = follow(&tokens, at + 1, start, found);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
}

fn parent(module: &[String]) -> Module {
    module[..module.len().saturating_sub(1)].to_vec()
}

/// Follows a path from the `::` at `at`; returns where it ends.
fn follow(tokens: &[TokenTree], mut at: usize, mut path: Module, found: &mut Vec<Module>) -> usize {
    loop {
        let colons = tokens.get(at..at + 2).is_some_and(|two| two.iter().all(|token| token.to_string() == ":"));
        match tokens.get(at + 2).filter(|_| colons) {
            Some(TokenTree::Ident(name)) if *name == "super" => path = parent(&path),
            Some(TokenTree::Ident(name)) => path.push(name.to_string()),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let list: Vec<TokenTree> = group.stream().into_iter().collect();
                for item in list.split(|token| token.to_string() == ",").filter(|item| !item.is_empty()) {
                    let mut start = path.clone();
                    if item[0].to_string() != "self" {
                        start.push(item[0].to_string());
                    }
                    follow(item, 1, start, found);
                }
                return at + 3;
            }
            _ => {
                found.push(path);
                return at;
            }
        }
        at += 3;
    }
}

/// What breaks the rules, as sentences.
fn broken(uses: &Uses, rules: &[(&str, &[&str])]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (module, used) in uses {
        let Some(own) = module.first() else { continue };
        let row = rules.iter().position(|(name, _)| name == own);
        let Some(row) = row else {
            wrong.push(format!("{own} is in no row"));
            continue;
        };
        for other in used.iter().filter_map(|path| path.first()).filter(|other| *other != own) {
            found.entry(own).or_default().insert(other);
            if !rules[row].1.contains(&other.as_str()) {
                wrong.push(format!("{} uses {other}", module.join("::")));
            }
        }
    }
    for (row, (name, allowed)) in rules.iter().enumerate() {
        for other in *allowed {
            if !rules[..row].iter().any(|(above, _)| above == other) {
                wrong.push(format!("{name} may use {other}, which is not above it"));
            }
            if !found.get(name).is_some_and(|found| found.contains(other)) {
                wrong.push(format!("{name} may use {other} and does not"));
            }
        }
    }
    wrong
}

/// Files that use each other in a circle. A parent and its child may: the child is a part of it.
fn circles(uses: &Uses) -> Vec<Module> {
    let next = |module: &Module| {
        let others = uses.get(module).into_iter().flatten();
        others.filter(|other| !module.starts_with(other)).cloned().collect::<Vec<_>>()
    };
    let reaches_itself = |module: &&Module| {
        let (mut seen, mut path) = (BTreeSet::new(), next(module));
        while let Some(other) = path.pop() {
            if other == **module {
                return true;
            }
            if seen.insert(other.clone()) {
                path.extend(next(&other));
            }
        }
        false
    };
    uses.keys().filter(reaches_itself).cloned().collect()
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn directories_use_only_those_below_them() {
    for (src, rules) in [("src", RULES), ("base/src", BASE_RULES)] {
        let uses = read(&here(src));
        assert!(uses.values().map(BTreeSet::len).sum::<usize>() > uses.len(), "{src} is not understood");
        let wrong = broken(&uses, rules);
        assert!(
            wrong.is_empty(),
            "{src}: {wrong:#?}\nhint: move what is shared down, or change the table in {}",
            file!()
        );
    }
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    for src in ["src", "base/src", "../echod/src", "../initctl/src"] {
        assert_eq!(circles(&read(&here(src))), Vec::<Module>::new(), "{src}");
    }
}

/// They are linked into the same program, by its `main.rs` alone.
#[test]
fn init_itself_knows_no_other_program() {
    let mut files = Vec::new();
    for src in ["src", "base/src"] {
        list(&here(src), &mut files);
    }
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains("echod::") && !text.contains("initctl::"), "{}", file.display());
    }
}

/// What the tests above look for is found.
#[test]
fn wrong_uses_are_seen() {
    let file = |module: &str, text: &str| {
        (module.split("::").filter(|part| !part.is_empty()).map(String::from).collect(), text.to_owned())
    };
    let files = [
        file("", "mod a; mod b;"),
        file("a", "use crate::{b::{self, X}, c}; mod d;"),
        file("b", "#[cfg(test)] mod tests { use crate::a; }"),
        file("c", "fn f() { say!(\"{}\", crate::a::d::g(super::b::X)); }"),
        file("a::d", "use super::e; // use crate::c;"),
        file("a::e", "use super::super::b; use super::d::D;"),
    ];
    let uses = uses(&files);
    let named = |module: &str| {
        uses[&module.split("::").map(String::from).collect::<Module>()]
            .iter()
            .map(|used| used.join("::"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (named("a"), named("b"), named("c")),
        (vec!["b".into(), "c".into()], vec![], vec!["a::d".into(), "b".into()])
    );
    let wrong = broken(&uses, &[("b", &[]), ("a", &["b", "c"]), ("c", &["b"])]);
    assert_eq!(wrong, ["c uses a", "a may use c, which is not above it"]);
    let names: Vec<String> = circles(&uses).iter().map(|module| module.join("::")).collect();
    assert_eq!(names, ["a::d", "a::e"]);
}
