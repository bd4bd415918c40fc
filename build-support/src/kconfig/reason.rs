//! Why Kconfig did not take a request: upstream's Kconfig files held against the final configuration.

use std::collections::BTreeSet;
use std::fmt;

use super::expr::{Expr, Tri};
use super::tree::{Definition, Symbol, Symbols};
use super::{Ask, Config, Value};

/// How far a chain of unmet dependencies is followed. Real ones end after two or three steps.
const DEPTH: usize = 4;
/// How many names a message lists before it says "and others".
const NAMES: usize = 6;

/// Why a request was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Not found out, and why not.
    Unknown(String),
    /// No Kconfig file of this version and architecture defines the symbol.
    NoSuchSymbol {
        /// An existing symbol with a similar name.
        closest: Option<String>,
    },
    /// The symbol has no prompt: only other symbols and defaults set it.
    Promptless {
        /// Where it is defined.
        place: String,
        /// Symbols that select it.
        selected_by: Vec<String>,
    },
    /// Dependencies that are not met.
    Unmet {
        /// Where the symbol is defined.
        place: String,
        /// Each false term in words, with what it rests on in turn.
        terms: Vec<String>,
        /// Fragment lines that would meet them, as far as they can be told.
        wanted: Vec<String>,
    },
    /// Asked to be off, but selected by these symbols, which are on.
    Selected(Vec<String>),
    /// One of a choice, and this other member was chosen.
    Choice(String),
    /// Asked as a module in a kernel, or for a symbol, that has none.
    NoModules,
    /// A value that is out of these ranges, or not of the symbol's type.
    BadValue(Vec<String>),
}

impl Reason {
    /// Writes the reason and a hint, indented below the request's line.
    pub(super) fn explain(&self, f: &mut fmt::Formatter<'_>, ask: &Ask) -> fmt::Result {
        let name = &ask.symbol;
        match self {
            Reason::Unknown(why) => writeln!(f, "    why is not known: {why}"),
            Reason::NoSuchSymbol { closest } => {
                writeln!(f, "    {name} does not exist in this version for this architecture")?;
                match closest {
                    Some(closest) => writeln!(f, "    hint: did you mean CONFIG_{closest}?"),
                    None => writeln!(f, "    hint: remove the line"),
                }
            }
            Reason::Promptless { place, selected_by } if selected_by.is_empty() => {
                writeln!(f, "    {name} ({place}) has no prompt: its default alone sets it")?;
                writeln!(f, "    hint: remove the line")
            }
            Reason::Promptless { place, selected_by } => {
                writeln!(f, "    {name} ({place}) has no prompt: it is set by what selects it")?;
                writeln!(f, "    hint: ask for one of {} instead", list(selected_by))
            }
            Reason::Unmet { place, terms, wanted } => {
                writeln!(f, "    {name} ({place}) depends on")?;
                terms.iter().try_for_each(|term| writeln!(f, "      {term}"))?;
                match wanted.as_slice() {
                    [] => writeln!(f, "    hint: this cannot be met by asking for more; remove the line"),
                    lines => writeln!(f, "    hint: add {}", lines.join(", ")),
                }
            }
            Reason::Selected(by) => {
                writeln!(f, "    {} on and cannot do without it", verb(by))?;
                writeln!(f, "    hint: switch off {}, or remove the line", if by.len() == 1 { &by[0] } else { "them" })
            }
            Reason::Choice(winner) => {
                writeln!(f, "    only one of its choice can be on, and that is {winner}")?;
                writeln!(f, "    hint: find what asks for CONFIG_{winner} and keep one of the two")
            }
            Reason::NoModules => {
                writeln!(f, "    it cannot be a module: either MODULES is off, or the symbol knows only y and n")?;
                writeln!(f, "    hint: ask for CONFIG_{name}=y, or for CONFIG_MODULES=y as well")
            }
            Reason::BadValue(ranges) if ranges.is_empty() => {
                writeln!(f, "    hint: give it a value of the symbol's type (number, quoted string, y, n)")
            }
            Reason::BadValue(ranges) => writeln!(f, "    hint: the value must be in the range {}", ranges.join(" or ")),
        }
    }
}

fn verb(names: &[String]) -> String {
    format!("{} {}", list(names), if names.len() == 1 { "is" } else { "are" })
}

fn list(names: &[String]) -> String {
    let mut text = names.iter().take(NAMES).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > NAMES {
        text.push_str(&format!(" and {} others", names.len() - NAMES));
    }
    text
}

/// Finds the reason why `ask` is not in `config`.
pub(super) fn find(ask: &Ask, config: &Config, symbols: &Symbols) -> Reason {
    let Some(symbol) = symbols.get(&ask.symbol) else {
        return Reason::NoSuchSymbol { closest: closest(&ask.symbol, symbols) };
    };
    if ask.value == Value::No {
        let by: Vec<String> = active_selectors(symbol, config);
        return if by.is_empty() { promptless(symbol) } else { Reason::Selected(by) };
    }
    let prompts: Vec<&Definition> = symbol.definitions.iter().filter(|one| one.prompt.is_some()).collect();
    if prompts.is_empty() {
        return promptless(symbol);
    }
    let reasons = prompts.iter().map(|definition| unmet(definition, ask, config, symbols));
    // Of several definitions the one that lacks least is the one that was meant.
    match reasons.min_by_key(|(terms, _)| terms.len()) {
        Some((terms, wanted)) if !terms.is_empty() => {
            Reason::Unmet { place: symbol.definitions[0].place.clone(), terms, wanted }
        }
        _ => visible(ask, &prompts, config, symbols),
    }
}

fn active_selectors(symbol: &Symbol, config: &Config) -> Vec<String> {
    let active = symbol.selected_by.iter().filter(|select| {
        Expr::Symbol(select.by.clone()).value(config) > Some(Tri::N) && select.condition.value(config) != Some(Tri::N)
    });
    unique(active.map(|select| select.by.clone()))
}

fn unique(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.dedup();
    names
}

fn promptless(symbol: &Symbol) -> Reason {
    Reason::Promptless {
        place: symbol.definitions[0].place.clone(),
        selected_by: unique(symbol.selected_by.iter().map(|select| select.by.clone())),
    }
}

/// The reason for a symbol that could have been set.
fn visible(ask: &Ask, prompts: &[&Definition], config: &Config, symbols: &Symbols) -> Reason {
    let is_on = |name: &&String| **name != ask.symbol && config.get(name) == Some(&Value::Yes);
    let members = prompts.iter().filter_map(|one| one.choice).flat_map(|choice| symbols.choice(choice));
    if let Some(winner) = members.into_iter().find(is_on) {
        return Reason::Choice(winner.clone());
    }
    match ask.value {
        Value::Module => Reason::NoModules,
        Value::Text(_) => Reason::BadValue(prompts.iter().flat_map(|one| one.ranges.clone()).collect()),
        _ => Reason::Unknown("its dependencies are met; was the configuration made from these requests?".to_string()),
    }
}

/// The false terms of a definition in words, and the lines that would make them true.
fn unmet(definition: &Definition, ask: &Ask, config: &Config, symbols: &Symbols) -> (Vec<String>, Vec<String>) {
    let condition = whole(definition);
    // A tristate cannot be built in on top of a module; a bool can.
    let needed = if ask.value == Value::Yes && definition.tristate { Tri::Y } else { Tri::M };
    let (mut terms, mut wanted) = (Vec::new(), Vec::new());
    for part in condition.failing(needed, config) {
        terms.push(format!("{part}: {}", describe(part, config, symbols, DEPTH, &mut wanted)));
    }
    for list in [&mut terms, &mut wanted] {
        let mut seen = BTreeSet::new();
        list.retain(|line| seen.insert(line.clone()));
    }
    (terms, wanted)
}

fn whole(definition: &Definition) -> Expr {
    let prompt = definition.prompt.clone().unwrap_or_else(Expr::always);
    definition.depends.clone().and(prompt)
}

/// A false term in words. Adds to `wanted` what a fragment could say to make it true.
fn describe(part: &Expr, config: &Config, symbols: &Symbols, depth: usize, wanted: &mut Vec<String>) -> String {
    match part {
        Expr::Symbol(name) => describe_symbol(name, config, symbols, depth, wanted),
        Expr::Macro(_) => "a test of the compiler, assembler or linker, which is not repeated here".to_string(),
        Expr::Not(inner) if let Expr::Symbol(name) = &**inner => {
            wanted.extend(has_prompt(name, symbols).then(|| Value::No.line(name)));
            format!("{name} is {}", state(name, config))
        }
        other => {
            let mut names = other.symbols();
            names.dedup();
            wanted.extend(alternatives(other, symbols));
            let states: Vec<String> = names.iter().map(|name| format!("{name} is {}", state(name, config))).collect();
            if states.is_empty() { "does not hold".to_string() } else { states.join(", ") }
        }
    }
}

fn has_prompt(name: &str, symbols: &Symbols) -> bool {
    symbols.get(name).is_some_and(|symbol| symbol.definitions.iter().any(|one| one.prompt.is_some()))
}

/// The sides of `A || B` that can be asked for.
fn alternatives(part: &Expr, symbols: &Symbols) -> Option<String> {
    fn sides<'a>(part: &'a Expr, into: &mut Vec<&'a str>) {
        match part {
            Expr::Or(left, right) => [left, right].into_iter().for_each(|side| sides(side, into)),
            Expr::Symbol(name) => into.push(name),
            _ => {}
        }
    }
    let mut names = Vec::new();
    sides(part, &mut names);
    let lines = names.iter().filter(|name| has_prompt(name, symbols)).map(|name| Value::Yes.line(name));
    Some(lines.collect::<Vec<_>>().join(" or ")).filter(|lines| !lines.is_empty())
}

fn describe_symbol(name: &str, config: &Config, symbols: &Symbols, depth: usize, wanted: &mut Vec<String>) -> String {
    let Some(symbol) = symbols.get(name) else {
        return "does not exist for this architecture".to_string();
    };
    let place = &symbol.definitions[0].place;
    let state = state(name, config);
    if config.get(name) == Some(&Value::Module) {
        wanted.push(Value::Yes.line(name));
        return format!("is m, and what is built in cannot rest on a module ({place})");
    }
    let Some(definition) = symbol.definitions.iter().find(|one| one.prompt.is_some()) else {
        let by = unique(symbol.selected_by.iter().map(|select| select.by.clone()));
        let askable: Vec<String> =
            by.iter().filter(|one| has_prompt(one, symbols)).map(|one| Value::Yes.line(one)).collect();
        // A long list of drivers is no advice.
        wanted.extend((1..=3).contains(&askable.len()).then(|| askable.join(" or ")));
        let how = if by.is_empty() { "only its default sets it".into() } else { format!("selected by {}", list(&by)) };
        return format!("is {state} and has no prompt; {how} ({place})");
    };
    let condition = whole(definition);
    let parts = condition.failing(Tri::M, config);
    wanted.push(Value::Yes.line(name));
    if parts.is_empty() || depth == 0 {
        return format!("is {state} ({place})");
    }
    let further: Vec<String> = parts
        .into_iter()
        .map(|part| format!("{part}: {}", describe(part, config, symbols, depth - 1, wanted)))
        .collect();
    format!("is {state} ({place}), which in turn depends on {}", further.join("; "))
}

fn state(name: &str, config: &Config) -> String {
    match config.get(name) {
        None | Some(Value::No) => "not set".to_string(),
        Some(value) => value.to_string(),
    }
}

/// An existing name that a reader would take for a misspelling of `wanted`, or for what it became.
fn closest(wanted: &str, symbols: &Symbols) -> Option<String> {
    let limit = (wanted.len() / 4).max(1);
    let distance = |name: &str| {
        // Symbols are often renamed by a prefix (RETPOLINE became MITIGATION_RETPOLINE).
        let renamed = wanted.len() > 4 && name.ends_with(&format!("_{wanted}"));
        if renamed { 1 } else { edits(wanted, name) }
    };
    symbols
        .names()
        .filter(|name| name.len() > 2)
        .map(|name| (distance(name), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name.to_string())
}

/// Levenshtein's distance: insertions, deletions and replacements that make one text the other.
fn edits(a: &str, b: &str) -> usize {
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a_byte) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b_byte) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(a_byte != *b_byte);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
