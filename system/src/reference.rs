//! The reference page of profiles, `docs/profiles.md`, from the tables of [`crate::schema`]. A test compares the two, and
//! `BLOOMERY_WRITE_DOCS=1 cargo test -p system` writes it.

use std::fmt::Write as _;

use crate::schema::{self, Default, Form, Key, OUTPUT_KEYS, ROWS, TABLES};

const HEAD: &str = "\
# Profiles

A profile is a TOML file that says what a system is. `image/profiles/` has those of Bloomery, and one of your own can lie
anywhere:

```toml
extends = \"base\"
description = \"My appliance\"

[root]
packages = { add = [\"mydaemon\"] }   # the directory mydaemon beside this file has a build.sh
```

```sh
BLOOMERY_PROFILE=path/to/mine.toml cargo build -p image --release
./run.sh x86_64 --profile path/to/mine.toml
cargo bloomery config path/to/mine.toml   # every value, and where it was stated
```

Paths count from the directory of the file that states them. A list `[...]` takes the place of the extended profile's;
`{ add = [...], remove = [...] }` changes it. An `[[output]]` of the same name as one of the extended profile changes that
one, and `enabled = false` drops it. The tables below are made from the ones that the parser reads.
";

/// The text of `docs/profiles.md`.
pub fn page() -> String {
    let mut text = String::from(HEAD);
    for table in TABLES {
        let title = if table.name.is_empty() { "Keys above all tables".into() } else { format!("`[{}]`", table.name) };
        let meaning = if table.name.is_empty() { "" } else { table.meaning };
        let _ = write!(text, "\n## {title}\n\n");
        if !meaning.is_empty() {
            let _ = write!(text, "{meaning}\n\n");
        }
        keys(&mut text, table.keys);
    }
    for table in ROWS {
        let _ = write!(text, "\n## `[[{}]]`\n\n{}\n\n", table.name, table.meaning);
        keys(&mut text, table.keys);
    }
    text += "\n## `[[output]]`\n\nWhat a build leaves below `target/bloomery/ARCH/`. Keys of every output:\n\n";
    keys(&mut text, OUTPUT_KEYS);
    for kind in schema::outputs() {
        let _ = write!(text, "\n### `kind = \"{}\"`\n\n{}\n\n", kind.name, kind.meaning);
        keys(&mut text, kind.keys);
    }
    text
}

fn keys(text: &mut String, keys: &[Key]) {
    *text += "| key | value | default | meaning |\n|---|---|---|---|\n";
    for key in keys {
        let default = match key.default {
            Default::Is(value) => format!("`{value}`"),
            Default::Absent(words) => words.into(),
            Default::Required => "must be stated".into(),
        };
        let _ = writeln!(text, "| `{}` | {} | {default} | {} |", key.name, form(key.form), key.meaning);
    }
}

fn form(form: Form) -> String {
    let words = |words: &[&str]| words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ");
    match form {
        Form::Line => "text".into(),
        Form::Size => "size, such as `\"64 MiB\"`".into(),
        Form::Count => "number".into(),
        Form::Flag => "`true`, `false`".into(),
        Form::Word(known) => words(known),
        Form::List => "list of texts".into(),
        Form::Words(known) => format!("list of {}", words(known)),
        Form::Mode => "octal, such as `\"0640\"`".into(),
        Form::Account => "name or number".into(),
        Form::Files(names) => {
            let parts: Vec<String> = names.iter().map(|name| format!("{name} = \"...\"")).collect();
            format!("`{{ {} }}`", parts.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_that_of_the_schema() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/profiles.md");
        if std::env::var_os("BLOOMERY_WRITE_DOCS").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(found == page(), "docs/profiles.md is old: BLOOMERY_WRITE_DOCS=1 cargo test -p system writes it");
    }
}
