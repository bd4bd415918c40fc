//! Texts for a terminal: without what it would obey, in cells of one column; times and amounts.

use core::time::Duration;

/// Text of others in which each character takes one column and none is obeyed: control characters, and all that may be wide or
/// combine with others, become `?`; tabs become blanks. `most` is the number of characters that are kept.
pub fn plain(text: &str, most: usize) -> String {
    text.chars().take(most).map(|letter| if letter == '\t' { ' ' } else { cell(letter) }).collect()
}

/// Whether scripts of one column per letter have it: Latin, Greek, Cyrillic.
fn cell(letter: char) -> char {
    match letter {
        ' '..='~' | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{24f}' | '\u{384}'..='\u{3ff}' | '\u{400}'..='\u{482}' => {
            letter
        }
        _ => '?',
    }
}

/// A time in two units at most: `7 s`, `3 min 5 s`, `2 h 14 min`, `12 d 3 h`.
pub fn age(time: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let mut rest = time.as_secs();
    let largest = UNITS.iter().position(|&(size, _)| rest >= size).unwrap_or(UNITS.len() - 1);
    let mut text = String::new();
    for &(size, unit) in UNITS.iter().skip(largest).take(2) {
        if rest / size > 0 || text.is_empty() {
            let blank = if text.is_empty() { "" } else { " " };
            text += &format!("{blank}{} {unit}", rest / size);
        }
        rest %= size;
    }
    text
}

/// An amount of memory in KiB as MiB, or as GiB from 10 GiB on.
pub fn memory(kib: u64) -> String {
    if kib >= 10 << 20 { format!("{} GiB", kib >> 20) } else { format!("{} MiB", kib >> 10) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(plain("\x1b[2Ja\tb\u{9b}c\u{7f}\r\n", 100), "?[2Ja b?c???");
        assert_eq!(plain("\u{202e}x\u{301}\u{6f22}\u{1f600}é ж", 100), "?x???é ж");
        assert_eq!(plain("abcdef", 3), "abc");
        let all: String = (0..=0x10ffff).filter_map(char::from_u32).collect();
        assert!(plain(&all, usize::MAX).chars().all(|letter| !letter.is_control()));
    }

    #[test]
    fn ages_and_amounts() {
        for (seconds, text) in
            [(0, "0 s"), (60, "1 min"), (185, "3 min 5 s"), (8040, "2 h 14 min"), (1_047_600, "12 d 3 h")]
        {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
        assert_eq!(
            (memory(2048), memory(9 << 20), memory(16 << 20)),
            ("2 MiB".into(), "9216 MiB".into(), "16 GiB".into())
        );
    }
}
