//! Upstream's Kconfig files, read for one purpose: to say why a symbol cannot be set.
//!
//! Kept are a symbol's prompts, everything its visibility rests on (its own `depends on`, the menus, `if`
//! blocks and choices around it), and who selects it. Defaults, help texts and the macro language are skipped:
//! Kconfig has already evaluated them into the `.config` that [`super::reason`] looks at.
//! Grammar: Documentation/kbuild/kconfig-language.rst in the Linux sources; busybox speaks an older dialect of
//! the same language.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::expr::Expr;

/// Where the Kconfig files of one source tree are.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Directories in which sourced files are looked for, in order.
    roots: Vec<PathBuf>,
    top: &'static str,
    variables: Vec<(&'static str, String)>,
}

impl Tree {
    /// The Linux sources in `source`, for an architecture as `make ARCH=` takes it (`x86_64`, `arm64`).
    pub fn linux(source: &Path, arch: &str) -> Tree {
        // The top Makefile keeps both x86 widths in one directory.
        let srcarch = if matches!(arch, "x86_64" | "i386") { "x86" } else { arch };
        let variables = vec![
            ("$(ARCH)", arch.to_string()),
            ("$(SRCARCH)", srcarch.to_string()),
            ("$(HEADER_ARCH)", srcarch.to_string()),
        ];
        Tree { roots: vec![source.to_path_buf()], top: "Kconfig", variables }
    }

    /// The busybox sources in `source`. Most of its Kconfig files are collected from the comments of its C
    /// files into the build directory when it is configured.
    pub fn busybox(source: &Path, build: &Path) -> Tree {
        Tree { roots: vec![build.to_path_buf(), source.to_path_buf()], top: "Config.in", variables: Vec::new() }
    }

    /// Reads every file from the top one down. An error carries the path.
    pub(super) fn read(&self) -> Result<Symbols> {
        let mut reader = Reader { tree: self, frames: Vec::new(), entry: Entry::Other, symbols: Symbols::default() };
        reader.source(self.top)?;
        Ok(reader.symbols)
    }
}

/// All symbols of a tree.
#[derive(Debug, Default)]
pub struct Symbols {
    by_name: BTreeMap<String, Symbol>,
    /// The members of each choice; a member's definition holds the index.
    choices: Vec<Vec<String>>,
}

impl Symbols {
    pub fn get(&self, name: &str) -> Option<&Symbol> {
        // A symbol that is only selected, and defined for another architecture, does not exist.
        self.by_name.get(name).filter(|symbol| !symbol.definitions.is_empty())
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.iter().filter(|(_, symbol)| !symbol.definitions.is_empty()).map(|(name, _)| name.as_str())
    }

    pub fn choice(&self, index: usize) -> &[String] {
        self.choices.get(index).map_or(&[], Vec::as_slice)
    }
}

#[derive(Debug, Default)]
pub struct Symbol {
    /// One for each `config` block; architectures add to symbols of the common files.
    pub definitions: Vec<Definition>,
    pub selected_by: Vec<Select>,
}

#[derive(Debug)]
pub struct Definition {
    /// `file:line` of the block.
    pub place: String,
    pub tristate: bool,
    /// The condition under which a user may set it here; `None` without a prompt.
    pub prompt: Option<Expr>,
    /// Its own dependencies and those of everything around it.
    pub depends: Expr,
    pub choice: Option<usize>,
    /// `range` lines, as written.
    pub ranges: Vec<String>,
}

#[derive(Debug)]
pub struct Select {
    /// The symbol that selects.
    pub by: String,
    pub condition: Expr,
}

/// A block that stands around others.
struct Frame {
    end: &'static str,
    depends: Expr,
    /// Condition on prompts only (`visible if`).
    visible: Expr,
    choice: Option<usize>,
}

/// What an attribute line belongs to.
enum Entry {
    Symbol(String),
    /// The innermost frame.
    Frame,
    /// `comment` and the like.
    Other,
}

struct Reader<'a> {
    tree: &'a Tree,
    frames: Vec<Frame>,
    entry: Entry,
    symbols: Symbols,
}

impl Reader<'_> {
    fn source(&mut self, name: &str) -> Result<()> {
        let found = self.tree.roots.iter().map(|root| root.join(name)).find(|path| path.exists());
        let Some(path) = found else { bail!("{name}: no such file below {}", self.tree.roots[0].display()) };
        let text = fs_err::read(&path).context("cannot read a Kconfig file")?;
        let text = String::from_utf8_lossy(&text);
        self.entry = Entry::Other;
        let mut lines = Lines { rest: text.lines().enumerate().peekable() };
        while let Some((number, line)) = lines.next_joined() {
            if matches!(line.trim(), "help" | "---help---") {
                lines.skip_help();
            } else {
                self.line(&self.expand(line.trim()), &format!("{name}:{number}"))?;
            }
        }
        Ok(())
    }

    fn expand(&self, line: &str) -> String {
        let replace = |line: String, (name, value): &(&str, String)| line.replace(name, value);
        self.tree.variables.iter().fold(line.to_string(), replace)
    }

    fn line(&mut self, line: &str, place: &str) -> Result<()> {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match word {
            "config" | "menuconfig" => self.config(rest, place),
            "menu" => self.open("endmenu", Expr::always(), None),
            "if" => self.open("endif", condition(rest, place)?, None),
            "choice" => {
                self.symbols.choices.push(Vec::new());
                self.open("endchoice", Expr::always(), Some(self.symbols.choices.len() - 1));
            }
            "endmenu" | "endif" | "endchoice" => match self.frames.pop() {
                Some(frame) if frame.end == word => self.entry = Entry::Other,
                _ => bail!("{place}: {word} without its beginning"),
            },
            "source" => return self.source(rest.trim_matches('"')),
            "comment" | "mainmenu" => self.entry = Entry::Other,
            _ => return self.attribute(word, rest, place),
        }
        Ok(())
    }

    fn open(&mut self, end: &'static str, depends: Expr, choice: Option<usize>) {
        self.frames.push(Frame { end, depends, visible: Expr::always(), choice });
        self.entry = Entry::Frame;
    }

    fn config(&mut self, name: &str, place: &str) {
        let choice = self.frames.iter().rev().find_map(|frame| frame.choice);
        if let Some(choice) = choice {
            self.symbols.choices[choice].push(name.to_string());
        }
        let around = |part: fn(&Frame) -> &Expr| {
            self.frames.iter().fold(Expr::always(), |all, frame| all.and(part(frame).clone()))
        };
        let depends = around(|frame| &frame.depends);
        let place = place.to_string();
        let definition = Definition { place, tristate: false, prompt: None, depends, choice, ranges: Vec::new() };
        self.symbols.by_name.entry(name.to_string()).or_default().definitions.push(definition);
        self.entry = Entry::Symbol(name.to_string());
    }

    /// A line inside a block. Lines of the macro language, and attributes that do not bear on visibility, pass.
    fn attribute(&mut self, word: &str, rest: &str, place: &str) -> Result<()> {
        let visible = self.frames.iter().fold(Expr::always(), |all, frame| all.and(frame.visible.clone()));
        let frame = self.frames.last_mut();
        match &self.entry {
            Entry::Other => {}
            Entry::Frame => match (word, frame) {
                ("depends", Some(frame)) => {
                    let more = condition(rest.trim_start_matches("on "), place)?;
                    frame.depends = std::mem::replace(&mut frame.depends, Expr::always()).and(more);
                }
                ("visible", Some(frame)) => frame.visible = condition(rest.trim_start_matches("if "), place)?,
                _ => {}
            },
            Entry::Symbol(name) if word == "select" => {
                let (target, when) = split_if(rest);
                let condition = condition(when, place)?;
                let select = Select { by: name.clone(), condition };
                self.symbols.by_name.entry(target.to_string()).or_default().selected_by.push(select);
            }
            Entry::Symbol(name) => {
                let symbol = self.symbols.by_name.get_mut(name);
                if let Some(definition) = symbol.and_then(|symbol| symbol.definitions.last_mut()) {
                    definition.attribute(word, rest, visible, place)?;
                }
            }
        }
        Ok(())
    }
}

impl Definition {
    fn attribute(&mut self, word: &str, rest: &str, visible: Expr, place: &str) -> Result<()> {
        match word {
            "bool" | "tristate" | "int" | "hex" | "string" | "prompt" | "boolean" => {
                self.tristate |= word == "tristate";
                if let Some(after) = after_string(rest) {
                    self.prompt = Some(visible.and(condition(after.trim().trim_start_matches("if "), place)?));
                }
            }
            "def_tristate" => self.tristate = true,
            "depends" => {
                let more = condition(rest.trim_start_matches("on "), place)?;
                self.depends = std::mem::replace(&mut self.depends, Expr::always()).and(more);
            }
            "range" => self.ranges.push(rest.to_string()),
            _ => {}
        }
        Ok(())
    }
}

/// `X if CONDITION` in its two parts.
fn split_if(text: &str) -> (&str, &str) {
    let (what, when) = text.split_once(" if ").unwrap_or((text, ""));
    (what.split('#').next().unwrap_or(what).trim(), when.trim())
}

/// What follows the quoted string at the start of `text`; `None` when there is no such string.
fn after_string(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|first| matches!(first, '"' | '\''))?;
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return text.get(at + 1..),
            _ => {}
        }
    }
    None
}

/// A condition; an empty one always holds.
fn condition(text: &str, place: &str) -> Result<Expr> {
    let text = text.trim();
    if text.is_empty() || text.starts_with('#') {
        return Ok(Expr::always());
    }
    Expr::parse(text).with_context(|| format!("{place}: {text:?} is not an expression"))
}

/// The lines of a file, with their numbers.
struct Lines<'a> {
    rest: std::iter::Peekable<std::iter::Enumerate<std::str::Lines<'a>>>,
}

impl Lines<'_> {
    /// The next line with its number; lines that end in a backslash are joined with the following one.
    fn next_joined(&mut self) -> Option<(usize, String)> {
        let (index, first) = self.rest.next()?;
        let mut line = first.to_string();
        while line.ends_with('\\') {
            line.pop();
            line.push_str(self.rest.next().map_or("", |(_, next)| next));
        }
        Some((index + 1, line))
    }

    /// A help text ends at the first line that is indented less than its first one.
    fn skip_help(&mut self) {
        let mut depth = None;
        while let Some((_, line)) = self.rest.peek() {
            let indent = indent(line);
            if !line.trim().is_empty() && indent < *depth.get_or_insert(indent.max(1)) {
                return;
            }
            self.rest.next();
        }
    }
}

/// The column at which a line's text starts, with tab stops every eight.
fn indent(line: &str) -> usize {
    let mut column = 0;
    for c in line.chars() {
        match c {
            ' ' => column += 1,
            '\t' => column = column / 8 * 8 + 8,
            _ => break,
        }
    }
    column
}
