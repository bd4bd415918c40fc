//! A screen as cells: what the drawing functions fill and [`crate::diff`] turns into bytes.

use core::fmt::{self, Write};

/// How a cell looks. Bold and reverse video carry the meaning on a terminal without colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Text.
    #[default]
    Plain,
    /// What names something.
    Bold,
    /// The bars at the top and the bottom: reverse video.
    Bar,
    /// The title of a part.
    Title,
    /// As it should be: green.
    Good,
    /// On its way: bold, yellow.
    Warn,
    /// What a person should look at: reverse, red. Not bold, which makes the letters grey on Linux' own terminals.
    Bad,
}

impl Style {
    /// The parameters of SGR (ECMA-48, section 8.3.117) that select it, after a reset.
    pub fn codes(self) -> &'static str {
        match self {
            Style::Plain => "0",
            Style::Bold => "0;1",
            Style::Bar => "0;7",
            Style::Title => "0;1;36",
            Style::Good => "0;32",
            Style::Warn => "0;1;33",
            Style::Bad => "0;7;31",
        }
    }

    /// A letter for it in a text.
    fn letter(self) -> char {
        match self {
            Style::Plain => '.',
            Style::Bold => 'b',
            Style::Bar => 'R',
            Style::Title => 't',
            Style::Good => 'g',
            Style::Warn => 'w',
            Style::Bad => 'X',
        }
    }
}

/// A character and its look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// A character of one column.
    pub letter: char,
    /// Its look.
    pub style: Style,
}

/// An empty cell.
pub const BLANK: Cell = Cell { letter: ' ', style: Style::Plain };

/// Rows and columns of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
}

impl Size {
    /// The size of a terminal that does not tell its own (a VT100).
    pub const USUAL: Size = Size { rows: 24, columns: 80 };

    /// A size that can be drawn on and that takes bounded memory: from 1 by 8 to 300 by 500.
    pub fn bounded(rows: usize, columns: usize) -> Size {
        Size { rows: rows.clamp(1, 300), columns: columns.clamp(8, 500) }
    }
}

/// A line of text in parts, each with its look.
pub type Line = Vec<(String, Style)>;

/// A screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Screen {
    size: Size,
    cells: Vec<Cell>,
}

impl Screen {
    /// An empty one.
    pub fn new(size: Size) -> Screen {
        Screen { size, cells: vec![BLANK; size.rows * size.columns] }
    }

    /// Its size.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The cells of a row; none below the screen.
    pub fn row(&self, row: usize) -> &[Cell] {
        let first = row.saturating_mul(self.size.columns);
        self.cells.get(first..first + self.size.columns).unwrap_or_default()
    }

    /// Writes text, and returns the column after it. What does not fit is cut.
    pub fn put(&mut self, row: usize, column: usize, text: &str, style: Style) -> usize {
        let first = row.saturating_mul(self.size.columns);
        let cells = self.cells.get_mut(first..first + self.size.columns).unwrap_or_default();
        let mut end = column;
        for (cell, letter) in cells.iter_mut().skip(column).zip(text.chars()) {
            *cell = Cell { letter, style };
            end += 1;
        }
        end
    }

    /// Writes a line from its first column on; a text that is cut ends with `>`.
    pub fn line(&mut self, row: usize, line: &[(String, Style)]) {
        let mut column = 0;
        let length: usize = line.iter().map(|(text, _)| text.chars().count()).sum();
        for (text, style) in line {
            column = self.put(row, column, text, *style);
        }
        if length > self.size.columns {
            self.put(row, self.size.columns - 1, ">", Style::Bold);
        }
    }

    /// Gives a whole row a look.
    pub fn fill(&mut self, row: usize, letter: char, style: Style) {
        let first = row.saturating_mul(self.size.columns);
        let cells = self.cells.get_mut(first..first + self.size.columns).unwrap_or_default();
        cells.fill(Cell { letter, style });
    }
}

/// The text of all rows, then the look of each cell as a letter: for people, and for files that tests compare with.
impl fmt::Display for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [|cell: &Cell| cell.letter, |cell: &Cell| cell.style.letter()] {
            for row in 0..self.size.rows {
                let text: String = self.row(row).iter().map(part).collect();
                writeln!(f, "|{text}|")?;
            }
            f.write_char('\n')?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_cut() {
        let mut screen = Screen::new(Size::bounded(2, 8));
        assert_eq!(screen.put(0, 2, "abcdefghi", Style::Bold), 8);
        assert_eq!(screen.put(9, 0, "x", Style::Bold), 0);
        assert_eq!(screen.put(0, 99, "x", Style::Bold), 99);
        screen.line(1, &[("abcd".into(), Style::Plain), ("efghi".into(), Style::Good)]);
        assert_eq!(screen.to_string(), "|  abcdef|\n|abcdefg>|\n\n|..bbbbbb|\n|....gggb|\n\n");
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(Size::bounded(0, 0), Size { rows: 1, columns: 8 });
        assert_eq!(Size::bounded(usize::MAX, usize::MAX), Size { rows: 300, columns: 500 });
    }
}
