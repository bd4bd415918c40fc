//! One profile file, checked against the tables of [`crate::schema`]: every fault of the file is found in one reading.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::schema::{self, Default, Form, Key, OUTPUT_KEYS, TABLES};
use crate::size;

/// Where a value was stated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The profile's file; `None` for a default.
    pub file: Option<Arc<Path>>,
    /// The line in it, from 1.
    pub line: usize,
}

impl Place {
    /// The place of a default.
    pub const DEFAULT: Place = Place { file: None, line: 0 };
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}:{}", file.display(), self.line),
            None => f.write_str("default"),
        }
    }
}

/// An entry of a list, with the place where it was stated: a path counts from that file's directory.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The entry.
    pub text: String,
    /// Where it was stated.
    pub place: Place,
}

/// A value that its key's form allows.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of [`Form::Line`], [`Form::Word`] and, as it was written, [`Form::Size`].
    Text(String),
    /// Of [`Form::Flag`].
    Flag(bool),
    /// Of [`Form::Count`].
    Count(u64),
    /// A whole list.
    List(Vec<Item>),
    /// What is taken from and added to the extended profile's list.
    Change {
        /// Entries to take away.
        remove: Vec<Item>,
        /// Entries to add at the end.
        add: Vec<Item>,
    },
    /// Of [`Form::Files`]: a path for each of its keys.
    Files(BTreeMap<&'static str, Item>),
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The value.
    pub value: Value,
    /// Where it was stated.
    pub place: Place,
}

/// Values by key.
pub type Settings = BTreeMap<String, Setting>;

/// What one file states.
#[derive(Clone, Debug, std::default::Default)]
pub struct Document {
    /// Values by their path, such as `kernel.debug`.
    pub settings: Settings,
    /// Each `[[output]]`: the values of its keys.
    pub outputs: Vec<Settings>,
    /// The tables of [`schema::ROWS`] by their names.
    pub rows: BTreeMap<&'static str, Vec<Settings>>,
}

/// Reads the text of a profile file.
///
/// # Errors
/// Text that is no TOML, and every unknown key and value of a wrong form, all in one message.
pub fn read(file: &Path, text: &str) -> Result<Document> {
    let mut reader = Reader { file: Arc::from(file), text, faults: Vec::new() };
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| reader.line(span.start));
        anyhow::anyhow!("{}:{line}: {}\nhint: {HINT}", file.display(), error.message())
    })?;
    let document = reader.document(table.get_ref());
    if !reader.faults.is_empty() {
        bail!("{}\nhint: {HINT}", reader.faults.join("\n"));
    }
    Ok(document)
}

const HINT: &str = "docs/profiles.md lists every key";

struct Reader<'a> {
    file: Arc<Path>,
    text: &'a str,
    faults: Vec<String>,
}

impl Reader<'_> {
    fn line(&self, at: usize) -> usize {
        1 + self.text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count()
    }

    fn place(&self, at: usize) -> Place {
        Place { file: Some(Arc::clone(&self.file)), line: self.line(at) }
    }

    fn fault(&mut self, at: usize, text: &str) {
        let place = self.place(at);
        self.faults.push(format!("{place}: {text}"));
    }

    fn document(&mut self, table: &DeTable) -> Document {
        let mut document = Document::default();
        for (name, value) in table {
            match (name.get_ref().as_ref(), value.get_ref()) {
                ("output", DeValue::Array(list)) => {
                    let outputs: Vec<Settings> = list.iter().filter_map(|entry| self.output(entry)).collect();
                    document.outputs.extend(outputs);
                }
                ("output", _) => self.fault(value.span().start, "an output begins with [[output]], in double brackets"),
                (word, found) if schema::rows(word).is_some() => {
                    let (Some(table), DeValue::Array(list)) = (schema::rows(word), found) else {
                        self.fault(name.span().start, &format!("write [[{word}]], in double brackets"));
                        continue;
                    };
                    let rows: Vec<Settings> = list.iter().filter_map(|entry| self.row(entry, table)).collect();
                    document.rows.entry(table.name).or_default().extend(rows);
                }
                (word, DeValue::Table(inner)) if !word.is_empty() && schema::table(word).is_some() => {
                    let keys = schema::table(word).map_or(&[][..], |table| table.keys);
                    for (path, setting) in self.table(inner, &[keys], &format!("in [{word}]")) {
                        document.settings.insert(format!("{word}.{path}"), setting);
                    }
                }
                (word, DeValue::Table(_)) if schema::key_of(word).is_none() => {
                    let at = name.span().start;
                    let text = format!("unknown table [{word}]{}", probable_table(word));
                    self.fault(at, &text);
                }
                _ => {
                    let top = schema::table("").map_or(&[][..], |table| table.keys);
                    if let Some((key, setting)) = self.entry(name, value, &[top], "above all tables") {
                        document.settings.insert(key, setting);
                    }
                }
            }
        }
        document
    }

    fn row(&mut self, entry: &Spanned<DeValue>, table: &'static schema::Table) -> Option<Settings> {
        let (at, name) = (entry.span().start, table.name);
        let DeValue::Table(found) = entry.get_ref() else {
            self.fault(at, &format!("write [[{name}]], in double brackets"));
            return None;
        };
        for key in table.keys.iter().filter(|key| key.default == Default::Required) {
            if !found.contains_key(key.name) {
                self.fault(at, &format!("an [[{name}]] states its `{}`: {}", key.name, key.meaning));
            }
        }
        Some(self.table(found, &[table.keys], &format!("in an [[{name}]]")))
    }

    fn output(&mut self, entry: &Spanned<DeValue>) -> Option<Settings> {
        let at = entry.span().start;
        let DeValue::Table(table) = entry.get_ref() else {
            self.fault(at, "an output is a table that begins with [[output]]");
            return None;
        };
        let kind = table.get("kind").and_then(|kind| kind.get_ref().as_str());
        let keys = match kind {
            Some(word) => match schema::output(word) {
                Some(kind) => kind.keys,
                None => {
                    let names: Vec<&str> = schema::outputs().map(|kind| kind.name).collect();
                    let text = format!("there is no kind of output `{word}`{}", choice(word, &names));
                    self.fault(at, &text);
                    return None;
                }
            },
            None if table.contains_key("name") => {
                // A change of an output of the extended profile, whose kind decides about the keys.
                return Some(self.table(table, &all_output_keys(), "in an [[output]]"));
            }
            None => {
                let names: Vec<&str> = schema::outputs().map(|kind| kind.name).collect();
                let text = format!("an [[output]] states its kind: {}", names.join(", "));
                self.fault(at, &text);
                return None;
            }
        };
        let place = format!("in an [[output]] of kind `{}`", kind.unwrap_or_default());
        Some(self.table(table, &[OUTPUT_KEYS, keys], &place))
    }

    fn table(&mut self, table: &DeTable, keys: &[&'static [Key]], place: &str) -> Settings {
        table.iter().filter_map(|(name, value)| self.entry(name, value, keys, place)).collect()
    }

    fn entry(
        &mut self,
        name: &Spanned<std::borrow::Cow<str>>,
        value: &Spanned<DeValue>,
        keys: &[&'static [Key]],
        place: &str,
    ) -> Option<(String, Setting)> {
        let word = name.get_ref().as_ref();
        let known = keys.iter().flat_map(|keys| keys.iter());
        let Some(key) = known.clone().find(|key| key.name == word) else {
            let names: Vec<&str> = known.map(|key| key.name).collect();
            let text = format!("unknown key `{word}` {place}{}", probable_key(word, &names));
            self.fault(name.span().start, &text);
            return None;
        };
        match self.value(key.form, value) {
            Ok(found) => Some((word.into(), Setting { value: found, place: self.place(name.span().start) })),
            Err(why) => {
                let text = format!("`{word}` {why}");
                self.fault(value.span().start, &text);
                None
            }
        }
    }

    fn value(&self, form: Form, value: &Spanned<DeValue>) -> Result<Value, String> {
        match (form, value.get_ref()) {
            (Form::Line, DeValue::String(text)) => line(text).map(Value::Text),
            (Form::Size, DeValue::String(text)) => match size::parse(text) {
                Ok(_) => Ok(Value::Text(text.trim().into())),
                Err(error) => Err(format!("is refused: {error:#}")),
            },
            (Form::Count, DeValue::Integer(number)) => match u64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number @ 1..) => Ok(Value::Count(number)),
                _ => Err(format!("is `{number}`, and must be a whole number from 1")),
            },
            (Form::Flag, DeValue::Boolean(on)) => Ok(Value::Flag(*on)),
            (Form::Word(words), DeValue::String(text)) => one_of(words, text).map(Value::Text),
            (Form::Mode, DeValue::String(text)) => mode(text),
            (Form::Mode, DeValue::Integer(number)) if number.radix() == 8 => mode(number.as_str()),
            (Form::Account, DeValue::String(text)) => account(text),
            (Form::Account, DeValue::Integer(number)) if number.radix() == 10 => account(number.as_str()),
            (Form::Files(names), DeValue::Table(table)) => self.files(names, table),
            (Form::List, found) => self.list(found, &|text| line(text)),
            (Form::Words(words), found) => self.list(found, &|text| one_of(words, text)),
            _ => Err(format!("must be {}", wanted(form))),
        }
    }

    fn files(&self, names: &'static [&'static str], table: &DeTable) -> Result<Value, String> {
        if let Some(name) = table.keys().map(|name| name.get_ref()).find(|name| !names.contains(&name.as_ref())) {
            return Err(format!("has no key `{name}`{}", choice(name, names)));
        }
        let mut files = BTreeMap::new();
        for name in names {
            let Some(value) = table.get(*name) else {
                return Err(format!("has no `{name}`; it must be {}", wanted(Form::Files(names))));
            };
            let DeValue::String(text) = value.get_ref() else {
                return Err(format!("has a `{name}` that is no text in quotes"));
            };
            files.insert(*name, Item { text: line(text)?, place: self.place(value.span().start) });
        }
        Ok(Value::Files(files))
    }

    fn list(&self, value: &DeValue, check: &dyn Fn(&str) -> Result<String, String>) -> Result<Value, String> {
        match value {
            DeValue::Array(list) => self.items(list, check).map(Value::List),
            DeValue::Table(table) => {
                let items = |name: &str| match table.get(name).map(|value| value.get_ref()) {
                    None => Ok(Vec::new()),
                    Some(DeValue::Array(list)) => self.items(list, check),
                    Some(_) => Err(format!("has an `{name}` that is no list")),
                };
                match table.keys().find(|name| !["add", "remove"].contains(&name.get_ref().as_ref())) {
                    Some(name) => Err(format!("knows `add` and `remove`, and not `{}`", name.get_ref())),
                    None => Ok(Value::Change { remove: items("remove")?, add: items("add")? }),
                }
            }
            _ => Err(format!("must be {}", wanted(Form::List))),
        }
    }

    fn items(
        &self,
        list: &toml::de::DeArray,
        check: &dyn Fn(&str) -> Result<String, String>,
    ) -> Result<Vec<Item>, String> {
        let item = |entry: &Spanned<DeValue>| match entry.get_ref() {
            DeValue::String(text) => check(text).map(|text| Item { text, place: self.place(entry.span().start) }),
            _ => Err("must be a list of texts".to_string()),
        };
        list.iter().map(item).collect()
    }
}

/// One line without control characters: it reaches files with a grammar of their own.
fn line(text: &str) -> Result<String, String> {
    match text.chars().find(|c| c.is_control() && *c != '\t') {
        Some(c) => Err(format!("has a control character ({}) and must be one line", c.escape_default())),
        None => Ok(text.into()),
    }
}

fn one_of(words: &'static [&'static str], text: &str) -> Result<String, String> {
    if words.contains(&text) {
        return Ok(text.into());
    }
    Err(format!("cannot be `{text}`{}", choice(text, words)))
}

/// Permissions as four octal digits.
fn mode(text: &str) -> Result<Value, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode @ 0..=0o7777) => Ok(Value::Text(format!("{mode:04o}"))),
        _ => Err(format!("is `{text}`, and must be {}", wanted(Form::Mode))),
    }
}

/// A name of passwd(5) or a number that Linux has (4294967295 stands for "no change", chown(2)).
fn account(text: &str) -> Result<Value, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let good = match text.parse::<u64>() {
        Ok(number) => number < u64::from(u32::MAX),
        Err(_) => !text.is_empty() && text.chars().all(plain) && !text.starts_with('-'),
    };
    if good { Ok(Value::Text(text.into())) } else { Err(format!("is `{text}`, and must be {}", wanted(Form::Account))) }
}

fn wanted(form: Form) -> String {
    match form {
        Form::Line => "a text in quotes".into(),
        Form::Size => "a size in quotes, such as \"64 MiB\"".into(),
        Form::Count => "a whole number from 1".into(),
        Form::Flag => "true or false".into(),
        Form::Word(words) => format!("one of {}, in quotes", words.join(", ")),
        Form::List => "a list, such as [\"one\", \"two\"] or { add = [\"three\"] }".into(),
        Form::Words(words) => format!("a list of {}", words.join(", ")),
        Form::Mode => "permissions in octal, such as \"0640\" or 0o640".into(),
        Form::Account => "a name or a number, such as \"nobody\" or 65534".into(),
        Form::Files(names) => {
            let parts: Vec<String> = names.iter().map(|name| format!("{name} = \"...\"")).collect();
            format!("a table of paths: {{ {} }}", parts.join(", "))
        }
    }
}

fn all_output_keys() -> Vec<&'static [Key]> {
    std::iter::once(OUTPUT_KEYS).chain(schema::outputs().map(|kind| kind.keys)).collect()
}

/// The known name that was probably meant: at most a third of its letters differ.
fn nearest<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    let distance = |name: &&str| strsim::damerau_levenshtein(&word.to_lowercase(), name);
    let nearest = names.iter().min_by_key(|name| distance(name))?;
    (distance(nearest) * 3 <= nearest.len().max(3)).then_some(*nearest)
}

fn choice(word: &str, names: &[&str]) -> String {
    match nearest(word, names) {
        Some(name) => format!("; `{name}` was probably meant"),
        None => format!("; there are {}", names.join(", ")),
    }
}

/// A hint for an unknown key: a similar one here, or the same one in another table.
fn probable_key(word: &str, names: &[&str]) -> String {
    if let Some(name) = nearest(word, names) {
        return format!("; `{name}` was probably meant");
    }
    let has = |keys: &[Key]| keys.iter().any(|key| key.name == word);
    if let Some(table) = schema::ROWS.iter().find(|table| has(table.keys)) {
        return format!("; `{word}` stands in an [[{}]]", table.name);
    }
    if let Some(table) = TABLES.iter().find(|table| has(table.keys)) {
        return match table.name {
            "" => format!("; `{word}` stands above all tables"),
            name => format!("; `{word}` stands in [{name}]"),
        };
    }
    if let Some(kind) = schema::outputs().find(|kind| has(kind.keys)) {
        return format!("; `{word}` stands in an [[output]] of kind `{}`", kind.name);
    }
    format!("; there are {}", names.join(", "))
}

fn probable_table(word: &str) -> String {
    if schema::output(word).is_some() {
        return format!("; write [[output]] with kind = \"{word}\"");
    }
    if schema::rows(word).is_some() {
        return format!("; write [[{word}]]");
    }
    let tables = TABLES.iter().chain(schema::ROWS).map(|table| table.name);
    choice(word, &tables.filter(|name| !name.is_empty()).collect::<Vec<_>>())
}

/// The setting of a key that no profile states, or `None` for one without a default.
pub fn default(key: &Key) -> Option<Setting> {
    let Default::Is(text) = key.default else { return None };
    let text = format!("value = {text}");
    let table = DeTable::parse(&text).ok()?;
    let reader = Reader { file: Arc::from(Path::new("")), text: &text, faults: Vec::new() };
    let mut value = reader.value(key.form, table.get_ref().get("value")?).ok()?;
    if let Value::List(items) = &mut value {
        items.iter_mut().for_each(|item| item.place = Place::DEFAULT);
    }
    Some(Setting { value, place: Place::DEFAULT })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> String {
        read(Path::new("mine.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn every_default_has_its_keys_form() {
        let tables = TABLES.iter().chain(schema::ROWS).flat_map(|table| table.keys);
        for key in tables.chain(OUTPUT_KEYS).chain(schema::outputs().flat_map(|kind| kind.keys)) {
            if let Default::Is(text) = key.default {
                assert!(default(key).is_some(), "{}: {text}", key.name);
            }
        }
    }

    #[test]
    fn every_fault_is_named_with_its_line() {
        let text =
            faults("hostnam = \"x\"\ndescription = 3\n[kernel]\nfragments = \"base\"\n[[output]]\nkind = \"dsk\"\n");
        for part in [
            "mine.toml:1: unknown key `hostnam` above all tables; `hostname` was probably meant",
            "mine.toml:2: `description` must be a text in quotes",
            "mine.toml:4: `fragments` must be a list",
            "there is no kind of output `dsk`; `disk` was probably meant",
            "hint: docs/profiles.md",
        ] {
            assert!(text.contains(part), "`{part}` is not in:\n{text}");
        }
    }

    #[test]
    fn a_key_in_the_wrong_table_is_told_its_place() {
        assert!(faults("packages = []\n").contains("`packages` stands in [root]"));
        assert!(faults("[disk]\nsize = \"2 GiB\"\n").contains("write [[output]] with kind = \"disk\""));
        assert!(faults("[kernel]\nsize = \"2 GiB\"\n").contains("`size` stands in an [[output]] of kind `disk`"));
        assert!(faults("[[output]]\nkind = \"oci\"\nsize = \"2 GiB\"\n").contains("of kind `disk`"));
    }

    #[test]
    fn broken_toml_is_named_with_its_line() {
        assert!(faults("description = \"x\"\n[root]\npackages = [\n").contains("mine.toml:"), "{}", faults("a = [\n"));
    }

    #[test]
    fn a_list_replaces_or_changes() {
        let text = "inittab = [\"a\"]\n[root]\npackages = { add = [\"b\"], remove = [\"c\"] }\n";
        let document = read(Path::new("mine.toml"), text).unwrap();
        assert!(matches!(&document.settings["inittab"].value, Value::List(items) if items[0].text == "a"));
        let Value::Change { remove, add } = &document.settings["root.packages"].value else { panic!() };
        assert_eq!((remove[0].text.as_str(), add[0].text.as_str(), add[0].place.line), ("c", "b", 3));
        assert!(faults("inittab = { plus = [] }\n").contains("knows `add` and `remove`, and not `plus`"));
    }

    #[test]
    fn rows_keep_their_order_and_modes_are_octal() {
        let text =
            "[[attribute]]\npath = \"etc/*\"\nmode = 0o640\n[[attribute]]\npath = \"x\"\nmode = \"600\"\nowner = 7\n";
        let document = read(Path::new("mine.toml"), text).unwrap();
        let modes: Vec<&Value> = document.rows["attribute"].iter().map(|row| &row["mode"].value).collect();
        assert_eq!(modes, [&Value::Text("0640".into()), &Value::Text("0600".into())]);
        assert_eq!(document.rows["attribute"][1]["owner"].value, Value::Text("7".into()));
        for (line, part) in [
            ("mode = 640", "must be permissions in octal"),
            ("mode = \"888\"", "must be permissions in octal"),
            ("mode = \"100644\"", "must be permissions in octal"),
            ("owner = \"a b\"", "must be a name or a number"),
            ("owner = 4294967295", "must be a name or a number"),
            ("user = 1", "unknown key `user` in an [[attribute]]"),
        ] {
            let text = faults(&format!("[[attribute]]\npath = \"x\"\n{line}\n"));
            assert!(text.contains("mine.toml:3:") && text.contains(part), "{text}");
        }
        assert!(faults("[[attribute]]\nmode = \"600\"\n").contains("states its `path`"));
        assert!(faults("[attribute]\npath = \"x\"\n").contains("double brackets"));
        assert!(faults("[attributes]\npath = \"x\"\n").contains("`attribute` was probably meant"));
        assert!(faults("[root]\nmode = \"600\"\n").contains("stands in an [[attribute]]"));
    }

    #[test]
    fn a_table_of_files_is_whole() {
        let text = |value: &str| format!("[[output]]\nkind = \"disk\"\nsize = \"64 MiB\"\nsign = {value}\n");
        let document = read(Path::new("mine.toml"), &text("{ cert = \"a\", key = \"b\" }")).unwrap();
        let Value::Files(files) = &document.outputs[0]["sign"].value else { panic!() };
        assert_eq!((files["key"].text.as_str(), files["cert"].place.line), ("b", 4));
        for (value, part) in [
            ("{ key = \"b\" }", "`sign` has no `cert`; it must be a table of paths: { key = \"...\", cert = \"...\" }"),
            ("{ cert = \"b\" }", "`sign` has no `key`"),
            ("{ key = \"a\", certs = \"b\" }", "has no key `certs`; `cert` was probably meant"),
            ("{ key = \"a\", cert = 3 }", "has a `cert` that is no text in quotes"),
            ("\"a.pem\"", "`sign` must be a table of paths"),
        ] {
            let text = faults(&text(value));
            assert!(text.contains("mine.toml:4: ") && text.contains(part), "`{part}` is not in:\n{text}");
        }
        let other = faults("[[output]]\nkind = \"oci\"\nsign = { key = \"a\", cert = \"b\" }\n");
        assert!(other.contains("mine.toml:3: unknown key `sign` in an [[output]] of kind `oci`"), "{other}");
        assert!(other.contains("stands in an [[output]] of kind `disk`"), "{other}");
    }

    #[test]
    fn a_text_is_one_line() {
        assert!(faults("description = \"a\\nb\"\n").contains("must be one line"));
    }
}
