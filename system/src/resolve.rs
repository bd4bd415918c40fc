//! A profile with all that it extends: which value holds for each key, and where it was stated.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use build_support::{Dirs, fs};

use crate::document::{self, Document, Item, Place, Setting, Settings, Value};
use crate::schema::{self, Default, NOT_INHERITED, OUTPUT_KEYS, TABLES};

/// A profile's values.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The profile's name: its file's name without `.toml`.
    pub name: String,
    /// The profile's file, then those that it extends, the nearest first.
    pub files: Vec<Arc<Path>>,
    /// Values by their path, such as `kernel.debug`; keys without default that nobody states are not in it.
    pub settings: Settings,
    /// Its outputs, by name, in the order in which they were first stated.
    pub outputs: Vec<(String, Settings)>,
    /// The tables of [`schema::ROWS`] by their names, those of the extended profile first.
    pub rows: BTreeMap<&'static str, Vec<Settings>>,
}

/// Names of directories below `target/bloomery/ARCH` that are no profile's.
const RESERVED: &[&str] = &["sysroot", "log", "test", "toolchain"];

/// Resolves a profile by its name below `image/profiles/`, or by its path.
///
/// # Errors
/// A profile that does not exist or cannot be read, a circle of `extends`, a name that is taken, and a required key that
/// no profile states.
pub fn resolve(dirs: &Dirs, name: &str) -> Result<Resolved> {
    let known = dirs.root.join("image/profiles");
    let file = find(&known, &dirs.root, name)?;
    let name = name_of(&known, &file)?;
    let mut chain: Vec<(Arc<Path>, Document)> = Vec::new();
    let mut next = Some(file);
    while let Some(file) = next {
        if chain.iter().any(|(seen, _)| **seen == *file) {
            let names: Vec<String> = chain.iter().map(|(seen, _)| seen.display().to_string()).collect();
            bail!(
                "the profiles extend each other in a circle: {} -> {}\nhint: remove one `extends`",
                names.join(" -> "),
                file.display()
            );
        }
        let file: Arc<Path> = Arc::from(file);
        let document = document::read(&file, &fs::read_to_string(&file)?)
            .with_context(|| format!("cannot read the profile {}", file.display()))?;
        next = match document.settings.get("extends") {
            Some(Setting { value: Value::Text(base), place }) => {
                let dir = file.parent().unwrap_or(Path::new("/"));
                let base = find(&known, dir, base).with_context(|| format!("{place}: cannot extend `{base}`"))?;
                Some(base)
            }
            _ => None,
        };
        chain.push((file, document));
    }
    let files = chain.iter().map(|(file, _)| Arc::clone(file)).collect();
    let mut settings = defaults();
    let mut outputs: Vec<(String, Settings)> = Vec::new();
    let mut rows: BTreeMap<&'static str, Vec<Settings>> = BTreeMap::new();
    for (file, document) in chain.iter().rev() {
        let own = **file == *chain[0].0;
        for (path, setting) in &document.settings {
            if path != "extends" || own {
                merge(&mut settings, path, setting.clone());
            }
        }
        merge_outputs(&mut outputs, document, own)?;
        for (name, stated) in &document.rows {
            rows.entry(name).or_default().extend(stated.iter().cloned());
        }
    }
    outputs.retain(|(_, output)| !matches!(output.get("enabled"), Some(Setting { value: Value::Flag(false), .. })));
    let resolved = Resolved { name, files, settings, outputs, rows };
    resolved.check_required()?;
    Ok(resolved)
}

/// The file of a profile, by a name or a path.
fn find(known: &Path, from: &Path, name: &str) -> Result<PathBuf> {
    let is_path = name.contains('/') || name.ends_with(".toml");
    let path = if is_path { from.join(name) } else { known.join(format!("{name}.toml")) };
    if !path.is_file() {
        bail!("there is no profile `{name}` ({} is no file)\nhint: {}", path.display(), choices(known)?);
    }
    Ok(fs::canonicalize(path)?)
}

/// The names of the profiles in `image/profiles`, sorted.
///
/// # Errors
/// A directory that cannot be read.
pub fn names(dirs: &Dirs) -> Result<Vec<String>> {
    names_in(&dirs.root.join("image/profiles"))
}

fn names_in(known: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(known)? {
        let path = entry?.path();
        if path.extension().is_some_and(|suffix| suffix == "toml") {
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

fn choices(known: &Path) -> Result<String> {
    Ok(format!("use {}, or the path of a TOML file of your own", names_in(known)?.join(", ")))
}

/// The profile's name. Outputs lie below it, so a profile of one's own takes neither the name of a known one nor that of a
/// directory that is there anyway.
fn name_of(known: &Path, file: &Path) -> Result<String> {
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    let own = file.parent() != Some(&fs::canonicalize(known)?);
    if name.is_empty() || !name.chars().all(plain) || name.starts_with(['-', '.']) {
        bail!(
            "the profile {} cannot be called `{name}`: its name becomes part of file names\n\
             hint: rename it, with letters, digits, `-`, `_` and `.` only",
            file.display()
        );
    }
    if RESERVED.contains(&name.as_str()) || own && names_in(known)?.contains(&name) {
        bail!(
            "the profile {} cannot be called `{name}`: the outputs of another have that name\nhint: rename it",
            file.display()
        );
    }
    Ok(name)
}

fn defaults() -> Settings {
    let mut settings = Settings::new();
    for table in TABLES {
        for key in table.keys {
            let path = if table.name.is_empty() { key.name.into() } else { format!("{}.{}", table.name, key.name) };
            settings.extend(document::default(key).map(|setting| (path, setting)));
        }
    }
    settings
}

/// Lays a setting over what is there.
fn merge(settings: &mut Settings, key: &str, new: Setting) {
    let Value::Change { remove, add } = new.value else {
        settings.insert(key.into(), new);
        return;
    };
    let old = settings.remove(key);
    let mut items: Vec<Item> = match old {
        Some(Setting { value: Value::List(items), .. }) => items,
        _ => Vec::new(),
    };
    items.retain(|item| !remove.iter().any(|gone| gone.text == item.text));
    items.extend(add);
    settings.insert(key.into(), Setting { value: Value::List(items), place: new.place });
}

fn merge_outputs(outputs: &mut Vec<(String, Settings)>, document: &Document, own: bool) -> Result<()> {
    let mut seen: BTreeMap<String, Place> = BTreeMap::new();
    for stated in &document.outputs {
        let name = text(stated, "name").or_else(|| text(stated, "kind")).unwrap_or_default();
        let place = stated.values().next().map_or(Place::DEFAULT, |setting| setting.place.clone());
        if let Some(first) = seen.insert(name.clone(), place.clone()) {
            bail!(
                "{place}: the output `{name}` was already stated at {first}\nhint: give one of the two a `name` of its own"
            );
        }
        let at = match outputs.iter().position(|(known, _)| *known == name) {
            Some(at) => at,
            None if stated.contains_key("kind") => {
                outputs.push((name.clone(), Settings::new()));
                outputs.len() - 1
            }
            None => bail!("{place}: the extended profile has no output `{name}`\nhint: state its `kind`"),
        };
        let output = &mut outputs[at].1;
        if let (Some(old), Some(new)) = (text(output, "kind"), text(stated, "kind"))
            && old != new
        {
            bail!(
                "{place}: the output `{name}` is of kind `{old}` in the extended profile\nhint: give this one another `name`"
            );
        }
        for (key, setting) in stated {
            if own || !NOT_INHERITED.contains(&key.as_str()) {
                merge(output, key, setting.clone());
            }
        }
        let kind = text(output, "kind").unwrap_or_default();
        let keys = schema::output(&kind).map_or(&[][..], |kind| kind.keys);
        let strange = output.iter().find(|(key, _)| !OUTPUT_KEYS.iter().chain(keys).any(|known| known.name == **key));
        if let Some((key, setting)) = strange {
            bail!(
                "{}: an output of kind `{kind}` has no key `{key}`\nhint: docs/profiles.md lists every key",
                setting.place
            );
        }
        for key in keys {
            if let Some(default) = document::default(key) {
                output.entry(key.name.into()).or_insert(default);
            }
        }
    }
    Ok(())
}

fn text(settings: &Settings, key: &str) -> Option<String> {
    match &settings.get(key)?.value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    }
}

impl Resolved {
    fn check_required(&self) -> Result<()> {
        let file = self.files[0].display();
        for table in TABLES {
            for key in table.keys.iter().filter(|key| key.default == Default::Required) {
                let path = if table.name.is_empty() { key.name.into() } else { format!("{}.{}", table.name, key.name) };
                if !self.settings.contains_key(&path) {
                    bail!(
                        "the profile {file} states no `{path}`\nhint: {} ({}), or extend a profile that states it",
                        path,
                        key.meaning
                    );
                }
            }
        }
        for (name, output) in &self.outputs {
            let kind = text(output, "kind").unwrap_or_default();
            let keys = schema::output(&kind).map_or(&[][..], |kind| kind.keys);
            for key in keys.iter().filter(|key| key.default == Default::Required) {
                if !output.contains_key(key.name) {
                    bail!(
                        "the profile {file} states no `{}` for its output `{name}`\nhint: {} ({})",
                        key.name,
                        key.name,
                        key.meaning
                    );
                }
            }
        }
        Ok(())
    }

    /// Every value with its place, one a line, as `cargo bloomery config` prints it.
    pub fn show(&self) -> String {
        let mut lines: Vec<(String, String)> = self
            .settings
            .iter()
            .map(|(path, setting)| (format!("{path} = {}", show(&setting.value)), origin(setting)))
            .collect();
        for (name, output) in &self.outputs {
            let rows = output
                .iter()
                .map(|(key, setting)| (format!("output.{name}.{key} = {}", show(&setting.value)), origin(setting)));
            lines.extend(rows);
        }
        for (name, rows) in &self.rows {
            for (number, row) in (1..).zip(rows) {
                let values = row.iter().map(|(key, setting)| {
                    (format!("{name}.{number}.{key} = {}", show(&setting.value)), origin(setting))
                });
                lines.extend(values);
            }
        }
        let width = lines.iter().map(|(value, _)| value.len()).filter(|len| *len <= 60).max().unwrap_or(0);
        lines.iter().map(|(value, place)| format!("{value:<width$}  # {place}\n")).collect()
    }
}

/// The places of a value: of a list, those of its entries.
fn origin(setting: &Setting) -> String {
    let Value::List(items) = &setting.value else { return setting.place.to_string() };
    let mut places: Vec<String> = Vec::new();
    for item in items {
        let place = item.place.to_string();
        if !places.contains(&place) {
            places.push(place);
        }
    }
    if places.is_empty() { setting.place.to_string() } else { places.join(", ") }
}

/// A value in TOML.
pub fn show(value: &Value) -> String {
    let quote = |text: &str| toml::Value::String(text.into()).to_string();
    let list = |items: &[Item]| items.iter().map(|item| quote(&item.text)).collect::<Vec<_>>().join(", ");
    match value {
        Value::Text(text) => quote(text),
        Value::Flag(on) => on.to_string(),
        Value::Count(number) => number.to_string(),
        Value::List(items) => format!("[{}]", list(items)),
        Value::Change { remove, add } => format!("{{ remove = [{}], add = [{}] }}", list(remove), list(add)),
        Value::Files(files) => {
            let parts: Vec<String> =
                files.iter().map(|(name, file)| format!("{name} = {}", quote(&file.text))).collect();
            format!("{{ {} }}", parts.join(", "))
        }
    }
}
