//! From one screen to the next in few bytes: control sequences of ECMA-48 that a VT100 has.

use crate::screen::{BLANK, Cell, Screen, Style};

/// Unchanged cells between two changes that are written again, because moving the cursor takes about as many bytes.
const GAP: usize = 8;

/// The bytes that turn `old` into `new` on a terminal. Without an `old` one all is drawn anew, whatever the terminal shows; the
/// screen is not cleared before, so that nothing flickers.
pub fn diff(old: Option<&Screen>, new: &Screen, utf8: bool) -> Vec<u8> {
    let old = old.filter(|old| old.size() == new.size());
    let mut out = Vec::new();
    let mut pen = Pen { out: &mut out, style: None, utf8 };
    for row in 0..new.size().rows {
        let cells = drawable(new, row);
        match old {
            None => pen.whole_row(row, cells),
            Some(old) => pen.changes(row, drawable(old, row), cells),
        }
    }
    if pen.style.is_some() {
        pen.select(Style::Plain);
    }
    out
}

/// The cells of a row, less the last one of the screen: a letter there makes some terminals scroll.
fn drawable(screen: &Screen, row: usize) -> &[Cell] {
    let cells = screen.row(row);
    let last = row + 1 == screen.size().rows;
    cells.get(..cells.len() - usize::from(last)).unwrap_or_default()
}

/// Writes to a terminal, and knows the look that it has selected.
struct Pen<'a> {
    out: &'a mut Vec<u8>,
    style: Option<Style>,
    utf8: bool,
}

impl Pen<'_> {
    fn whole_row(&mut self, row: usize, cells: &[Cell]) {
        self.go(row, 0);
        self.rest(cells);
    }

    /// Writes cells, and clears the rest of the row where it is empty.
    fn rest(&mut self, cells: &[Cell]) {
        let end = cells.iter().rposition(|cell| *cell != BLANK).map_or(0, |last| last + 1);
        self.cells(cells.get(..end).unwrap_or_default());
        if end < cells.len() {
            self.select(Style::Plain);
            self.out.extend_from_slice(b"\x1b[K");
        }
    }

    fn changes(&mut self, row: usize, old: &[Cell], new: &[Cell]) {
        let changed: Vec<usize> = (0..new.len()).filter(|&at| old.get(at) != new.get(at)).collect();
        let mut rest = changed.as_slice();
        while let Some(&first) = rest.first() {
            let gap = rest.windows(2).position(|pair| pair[1] - pair[0] > GAP);
            let count = gap.map_or(rest.len(), |index| index + 1);
            let last = rest[count - 1];
            self.go(row, first);
            match rest.len() == count && new[last..].iter().all(|cell| *cell == BLANK) {
                true => self.rest(&new[first..]),
                false => self.cells(&new[first..=last]),
            }
            rest = &rest[count..];
        }
    }

    fn go(&mut self, row: usize, column: usize) {
        self.out.extend_from_slice(format!("\x1b[{};{}H", row + 1, column + 1).as_bytes());
    }

    fn cells(&mut self, cells: &[Cell]) {
        for cell in cells {
            self.select(cell.style);
            let letter = if self.utf8 || cell.letter.is_ascii() { cell.letter } else { ascii(cell.letter) };
            self.out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    fn select(&mut self, style: Style) {
        if self.style != Some(style) {
            self.out.extend_from_slice(format!("\x1b[{}m", style.codes()).as_bytes());
            self.style = Some(style);
        }
    }
}

/// What stands for a character on a terminal without UTF-8.
fn ascii(letter: char) -> char {
    match letter {
        '─' => '-',
        '│' => '|',
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::Size;

    fn screen(rows: &[&str]) -> Screen {
        let mut screen = Screen::new(Size::bounded(rows.len(), 20));
        for (row, text) in rows.iter().enumerate() {
            screen.put(row, 0, text, if text.starts_with('!') { Style::Bad } else { Style::Plain });
        }
        screen
    }

    fn bytes(old: Option<&Screen>, new: &Screen) -> String {
        String::from_utf8(diff(old, new, true)).unwrap()
    }

    #[test]
    fn nothing_new_is_nothing_said() {
        let one = screen(&["abc", "!x"]);
        assert_eq!(bytes(Some(&one), &one), "");
    }

    #[test]
    fn only_what_changed_is_sent() {
        let (old, new) = (screen(&["abc 12:00:01 up", "same"]), screen(&["abc 12:00:02 up", "same"]));
        assert_eq!(bytes(Some(&old), &new), "\x1b[1;12H\x1b[0m2");
        // What became shorter is cleared to the end of the row.
        let new = screen(&["ab", "same"]);
        assert_eq!(bytes(Some(&old), &new), "\x1b[1;3H\x1b[0m\x1b[K");
    }

    #[test]
    fn another_size_draws_all_anew() {
        let old = Screen::new(Size::bounded(3, 20));
        assert_eq!(bytes(Some(&old), &screen(&["a", ""])), bytes(None, &screen(&["a", ""])));
    }

    #[test]
    fn any_change_is_what_a_terminal_then_shows() {
        // Screens of random letters, drawn one over the other (xorshift; the same at every run).
        let mut state = 0x2545_f491_u32;
        let mut random = move |below: u32| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state % below
        };
        let mut terminal = vt100::Parser::new(4.try_into().unwrap(), 20.try_into().unwrap(), 0);
        let mut old: Option<Screen> = None;
        for _ in 0..500 {
            let mut new = old.clone().unwrap_or_else(|| Screen::new(Size::bounded(4, 20)));
            for _ in 0..random(6) {
                let style = [Style::Plain, Style::Bad, Style::Bar][random(3) as usize];
                let text = &"x─ y      zé"[..if random(2) == 0 { 4 } else { 10 }];
                new.put(random(4) as usize, random(20) as usize, text, style);
            }
            terminal.process(&diff(old.as_ref(), &new, true));
            for row in 0..4 {
                for (column, cell) in drawable(&new, row).iter().enumerate() {
                    let shown = terminal.screen().cell(row as u16, column as u16).unwrap();
                    let letter = shown.contents().chars().next().unwrap_or(' ');
                    assert_eq!((letter, shown.inverse()), (cell.letter, matches!(cell.style, Style::Bad | Style::Bar)));
                }
            }
            old = Some(new);
        }
    }

    #[test]
    fn ascii_alone_where_the_terminal_has_no_more() {
        assert_eq!(diff(None, &screen(&["─é│"]), false), b"\x1b[1;1H\x1b[0m-?|\x1b[K");
    }
}
