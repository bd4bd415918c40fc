//! Kernel and busybox configuration: fragments in, a checked configuration out.
//!
//! The kernel stage reads [`Fragment`]s, lays them over each other ([`Merged`]), writes [`Merged::seed`] for
//! `make allnoconfig` (busybox: `make defconfig`) and hands the result to [`check`]. Kconfig drops a symbol
//! whose dependencies are not met without a word; `check` turns each one into a [`Dropped`] that says which
//! term was false, read from upstream's own Kconfig files ([`Tree`]). The menuconfig command uses [`diff`].
//! Leaves nothing on disk.

mod expr;
mod reason;
mod tree;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

pub use reason::Reason;
pub use tree::Tree;

/// What a symbol is set to, in a fragment or in a `.config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `# CONFIG_X is not set`.
    No,
    /// `=m`: built as a module.
    Module,
    /// `=y`: built in.
    Yes,
    /// A number or a string, as written; a string keeps its quotes.
    Text(String),
}

impl Value {
    /// Reads a value as Kconfig writes it; `n` for what is not set.
    pub fn parse(text: &str) -> Value {
        match text {
            "y" => Value::Yes,
            "m" => Value::Module,
            "n" => Value::No,
            other => Value::Text(other.to_string()),
        }
    }

    /// The line that sets `symbol` to this value, as Kconfig writes it.
    pub fn line(&self, symbol: &str) -> String {
        match self {
            Value::No => format!("# CONFIG_{symbol} is not set"),
            value => format!("CONFIG_{symbol}={value}"),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::No => f.write_str("n"),
            Value::Module => f.write_str("m"),
            Value::Yes => f.write_str("y"),
            Value::Text(text) => f.write_str(text),
        }
    }
}

/// One request of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The symbol without `CONFIG_`.
    pub symbol: String,
    /// The value asked for.
    pub value: Value,
    /// The fragment's path, as it was given.
    pub path: PathBuf,
    /// The line in it, from 1.
    pub line: usize,
}

impl Ask {
    /// `path:line`, for messages.
    pub fn place(&self) -> String {
        format!("{}:{}", self.path.display(), self.line)
    }
}

/// One fragment: a file of `CONFIG_X=value` and `# CONFIG_X is not set` lines, with comments that give reasons.
#[derive(Clone, Debug)]
pub struct Fragment {
    /// Where it came from.
    pub path: PathBuf,
    /// Its requests, in order.
    pub asks: Vec<Ask>,
    /// First lines of blocks that ask for something without a comment above. A block ends at an empty line.
    pub unexplained: Vec<usize>,
}

impl Fragment {
    /// Reads a fragment. An error names the file and line: unreadable file, a line that is neither a request
    /// nor a comment, or a symbol asked for twice.
    pub fn read(path: &Path) -> Result<Fragment> {
        let text = fs_err::read_to_string(path).context("cannot read a configuration fragment")?;
        Fragment::parse(path, &text)
    }

    /// [`Fragment::read`] for text that is not in a file (a generated command line); `path` names it in messages.
    pub fn parse(path: &Path, text: &str) -> Result<Fragment> {
        let mut fragment = Fragment { path: path.to_path_buf(), asks: Vec::new(), unexplained: Vec::new() };
        let (mut explained, mut reported) = (false, false);
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() {
                (explained, reported) = (false, false);
                continue;
            }
            let Some((symbol, value)) = parse_line(line).map_err(|fault| bad_line(path, number, line, fault))? else {
                explained = true;
                continue;
            };
            if !explained && !reported {
                reported = true;
                fragment.unexplained.push(number);
            }
            fragment.add(Ask { symbol: symbol.to_string(), value, path: path.to_path_buf(), line: number })?;
        }
        Ok(fragment)
    }

    fn add(&mut self, ask: Ask) -> Result<()> {
        if let Some(first) = self.asks.iter().find(|earlier| earlier.symbol == ask.symbol) {
            bail!(
                "{}: CONFIG_{} was already asked for in line {}\nhint: keep one of the two lines",
                ask.place(),
                ask.symbol,
                first.line
            );
        }
        self.asks.push(ask);
        Ok(())
    }
}

/// What is wrong with a line that is neither a request nor a comment.
struct Fault(&'static str);

fn bad_line(path: &Path, number: usize, line: &str, fault: Fault) -> anyhow::Error {
    anyhow::anyhow!("{}:{number}: {line:?} is not understood\nhint: {}", path.display(), fault.0)
}

/// A request, or `None` for a comment.
fn parse_line(line: &str) -> Result<Option<(&str, Value)>, Fault> {
    const OFF: Fault = Fault("write `# CONFIG_NAME is not set`, with one space after the #");
    const ON: Fault = Fault("write `CONFIG_NAME=value` without spaces, `# CONFIG_NAME is not set`, or a # comment");
    if let Some(comment) = line.strip_prefix('#') {
        let words: Vec<&str> = comment.split_whitespace().collect();
        // Kconfig itself takes a misspelt "is not set" line for a comment, and the wish is lost.
        let [name, rest @ ..] = words.as_slice() else { return Ok(None) };
        let Some(symbol) = name.strip_prefix("CONFIG_") else { return Ok(None) };
        return match rest {
            ["is", "not", "set"] if line == format!("# {name} is not set") && is_symbol(symbol) => {
                Ok(Some((symbol, Value::No)))
            }
            ["is", "not", "set"] | ["not", "set"] | ["is", "unset"] => Err(OFF),
            _ => Ok(None),
        };
    }
    let (symbol, value) = line.strip_prefix("CONFIG_").and_then(|rest| rest.split_once('=')).ok_or(ON)?;
    let quoted = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
    if !is_symbol(symbol) || value.is_empty() || (!quoted && value.contains([' ', '\t', '"'])) {
        return Err(ON);
    }
    Ok(Some((symbol, Value::parse(value))))
}

fn is_symbol(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Fragments laid over each other: of two requests for one symbol the later fragment's counts.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    asks: BTreeMap<String, Ask>,
    /// Requests that a later fragment replaced by another value: (replaced, by).
    pub overridden: Vec<(Ask, Ask)>,
}

impl Merged {
    /// Merges fragments in order.
    pub fn new(fragments: &[Fragment]) -> Merged {
        let mut merged = Merged::default();
        for ask in fragments.iter().flat_map(|fragment| &fragment.asks) {
            if let Some(old) = merged.asks.insert(ask.symbol.clone(), ask.clone())
                && old.value != ask.value
            {
                merged.overridden.push((old, ask.clone()));
            }
        }
        merged
    }

    /// The requests, by symbol.
    pub fn asks(&self) -> impl Iterator<Item = &Ask> {
        self.asks.values()
    }

    /// The file for `KCONFIG_ALLCONFIG` (kernel) or `KBUILD_DEFCONFIG` (busybox): a line a symbol, sorted, so
    /// that it depends on what is asked and not on how it is spread over fragments.
    pub fn seed(&self) -> String {
        lines(self.asks.values().map(|ask| ask.value.line(&ask.symbol)))
    }
}

/// A final `.config`: every symbol that Kconfig wrote, `is not set` included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config(BTreeMap<String, Value>);

impl Config {
    /// Reads the text of a `.config`. Lines that are not settings are skipped: Kconfig wrote the file.
    pub fn parse(text: &str) -> Config {
        let setting = |line| parse_line(line).ok().flatten();
        Config(text.lines().filter_map(setting).map(|(symbol, value)| (symbol.to_string(), value)).collect())
    }

    /// The value of a symbol, without `CONFIG_`; `None` when Kconfig did not offer it.
    pub fn get(&self, symbol: &str) -> Option<&Value> {
        self.0.get(symbol)
    }
}

/// A request that did not survive Kconfig. Its display is the message for the user.
#[derive(Debug)]
pub struct Dropped {
    /// The request.
    pub ask: Ask,
    /// What the final configuration has; `None` when the symbol is not in it.
    pub got: Option<Value>,
    /// Why.
    pub reason: Reason,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let got = match &self.got {
            Some(Value::No) => "switched it off".to_string(),
            None => "left it out".to_string(),
            Some(value) => format!("made it {value}"),
        };
        writeln!(f, "{}: {}: Kconfig {got}", self.ask.place(), self.ask.value.line(&self.ask.symbol))?;
        self.reason.explain(f, &self.ask)
    }
}

/// Checks that every request is in the final `.config`.
///
/// With `tree`, upstream's Kconfig files are read when something was dropped, and the reasons are given; files
/// that cannot be read cost only the reasons.
pub fn check(merged: &Merged, final_config: &str, tree: Option<&Tree>) -> Result<(), Vec<Dropped>> {
    let config = Config::parse(final_config);
    let lost: Vec<&Ask> = merged.asks().filter(|ask| !survived(ask, config.get(&ask.symbol))).collect();
    if lost.is_empty() {
        return Ok(());
    }
    let symbols = tree.map(Tree::read);
    let dropped = |ask: &Ask| Dropped {
        ask: ask.clone(),
        got: config.get(&ask.symbol).cloned(),
        reason: match &symbols {
            None => Reason::Unknown("no Kconfig files were given to look into".to_string()),
            Some(Err(error)) => Reason::Unknown(format!("the Kconfig files cannot be read: {error:#}")),
            Some(Ok(symbols)) => reason::find(ask, &config, symbols),
        },
    };
    Err(lost.into_iter().map(dropped).collect())
}

/// A symbol that is not offered at all is as good as one that is off.
fn survived(ask: &Ask, got: Option<&Value>) -> bool {
    got == Some(&ask.value) || (ask.value == Value::No && got.is_none())
}

/// The symbols that are `=m` in a final `.config`, a line each, with the place where that was asked for.
pub fn modules(merged: &Merged, final_config: &str) -> Vec<String> {
    let config = Config::parse(final_config);
    let modules = config.0.iter().filter(|(_, value)| **value == Value::Module);
    modules
        .map(|(symbol, _)| match merged.asks.get(symbol) {
            Some(ask) if ask.value == Value::Module => format!("{}: CONFIG_{symbol}=m", ask.place()),
            _ => format!("CONFIG_{symbol}=m, which others ask for or which is a default"),
        })
        .collect()
}

/// A string as Kconfig reads and writes it: a backslash stands before a quote and a backslash (scripts/kconfig/confdata.c).
pub fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The message for a list from [`check`].
pub fn report(dropped: &[Dropped]) -> String {
    let count = match dropped {
        [_] => "1 requested symbol did".to_string(),
        many => format!("{} requested symbols did", many.len()),
    };
    let mut text = format!("{count} not survive configuration:\n");
    for one in dropped {
        text.push_str(&one.to_string());
    }
    text
}

/// What changed between two final configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Symbols only in the new one.
    pub added: Vec<(String, Value)>,
    /// Symbols only in the old one.
    pub removed: Vec<(String, Value)>,
    /// Symbols with another value: (symbol, old, new).
    pub changed: Vec<(String, Value, Value)>,
}

impl Difference {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    /// The lines that bring the change about, to be saved as a fragment. Symbols that merely appear as off, or
    /// disappear, follow from the others and are left out.
    pub fn fragment(&self) -> String {
        let changed = self.changed.iter().map(|(symbol, _, new)| (symbol, new));
        let added = self.added.iter().filter(|(_, value)| *value != Value::No).map(|(symbol, value)| (symbol, value));
        let mut all: Vec<(&String, &Value)> = changed.chain(added).collect();
        all.sort_by_key(|(symbol, _)| *symbol);
        lines(all.into_iter().map(|(symbol, value)| value.line(symbol)))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (symbol, value) in &self.removed {
            writeln!(f, "-{}", value.line(symbol))?;
        }
        for (symbol, old, new) in &self.changed {
            writeln!(f, " CONFIG_{symbol} {old} -> {new}")?;
        }
        for (symbol, value) in &self.added {
            writeln!(f, "+{}", value.line(symbol))?;
        }
        Ok(())
    }
}

/// Compares two final configurations, given as text.
pub fn diff(old: &str, new: &str) -> Difference {
    let (old, new) = (Config::parse(old).0, Config::parse(new).0);
    let mut difference = Difference::default();
    for (symbol, value) in &old {
        match new.get(symbol) {
            None => difference.removed.push((symbol.clone(), value.clone())),
            Some(now) if now != value => difference.changed.push((symbol.clone(), value.clone(), now.clone())),
            Some(_) => {}
        }
    }
    let added = new.into_iter().filter(|(symbol, _)| !old.contains_key(symbol));
    difference.added.extend(added);
    difference
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.fold(String::new(), |text, line| text + &line + "\n")
}

#[cfg(test)]
mod tests;
