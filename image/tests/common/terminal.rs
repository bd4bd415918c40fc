//! A terminal at the other end of a guest's serial line: what a person sees there.

use std::cell::RefCell;
use std::num::NonZero;

use anyhow::{Context as _, Result};

use super::console::Console;
use super::guest::Guest;

/// Seconds for what comes within a few; a screen's clock keeps the line from being silent.
const SILENCE: f64 = 40.0;
/// The question for the cursor's place, two of which are the first on a line.
const QUESTION: &[u8] = b"\x1b[6n";

/// How often a terminal is asked for the cursor's place.
pub fn count(bytes: &[u8]) -> usize {
    bytes.windows(QUESTION.len()).filter(|part| *part == QUESTION).count()
}

/// The terminal.
pub struct Terminal(RefCell<State>);

struct State {
    parser: vt100::Parser,
    /// Bytes of the console that it has taken.
    taken: usize,
}

impl Terminal {
    /// An empty one.
    pub fn new(rows: u16, columns: u16) -> Result<Terminal> {
        Ok(Terminal(RefCell::new(State { parser: parser(rows, columns)?, taken: 0 })))
    }

    /// Another terminal, with an empty screen.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        self.0.borrow_mut().parser = parser(rows, columns)?;
        Ok(())
    }

    /// What it shows.
    pub fn text(&self, console: &Console) -> String {
        let mut state = self.0.borrow_mut();
        let new = console.bytes[state.taken..].to_vec();
        state.taken = console.bytes.len();
        state.parser.process(&new);
        state.parser.screen().contents()
    }

    /// A row of what it showed last.
    pub fn row(&self, row: usize) -> Result<String> {
        let state = self.0.borrow();
        let columns = state.parser.screen().size().1;
        state.parser.screen().rows(0, columns.into()).nth(row).context("no such row")
    }

    /// Whether a row begins so.
    pub fn reads(&self, console: &Console, row: usize, begin: &str) -> bool {
        self.text(console);
        self.row(row).is_ok_and(|text| text.starts_with(begin))
    }

    /// Waits until it shows all of these.
    pub fn shows(&self, guest: &mut Guest, words: &[&str]) -> Result<()> {
        let shown = guest.until(&format!("{words:?} on the screen"), SILENCE, |console| {
            let text = self.text(console);
            words.iter().all(|words| text.contains(words))
        });
        let text = self.text(&guest.console);
        shown.map(drop).with_context(|| format!("the screen shows:\n{text}"))
    }

    /// Presses a key and waits for what that shows.
    pub fn turns_to(&self, guest: &mut Guest, key: &str, words: &[&str]) -> Result<()> {
        guest.type_keys(key)?;
        self.shows(guest, words)
    }
}

fn parser(rows: u16, columns: u16) -> Result<vt100::Parser> {
    let number = |number| NonZero::new(number).context("no size");
    Ok(vt100::Parser::new(number(rows)?, number(columns)?, 0))
}
