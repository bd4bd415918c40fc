//! Cuts the bytes of a service into lines.

/// The longest line in bytes; what is longer becomes several.
pub const LONGEST: usize = 2000;

/// Bytes that wait for the end of their line.
#[derive(Debug, Default)]
pub struct Splitter {
    partial: Vec<u8>,
}

impl Splitter {
    /// Hands each line that `bytes` complete to `each`, without its end (LF or CR LF).
    pub fn split(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        let mut rest = bytes;
        while !rest.is_empty() {
            // The room left in the longest line, which bounds the partial one.
            let room = LONGEST - self.partial.len().min(LONGEST - 1);
            let part = rest.get(..room).unwrap_or(rest);
            match part.iter().position(|&byte| byte == b'\n') {
                Some(end) => {
                    let (line, after) = rest.split_at(end);
                    self.complete(line, &mut each);
                    rest = after.get(1..).unwrap_or_default();
                }
                None if part.len() == room => {
                    let cut = room - cut_character(part);
                    let (line, after) = rest.split_at(cut);
                    self.complete(line, &mut each);
                    rest = after;
                }
                None => {
                    self.partial.extend_from_slice(part);
                    return;
                }
            }
        }
    }

    fn complete(&mut self, line: &[u8], each: &mut impl FnMut(&[u8])) {
        if self.partial.is_empty() {
            return each(without_return(line));
        }
        self.partial.extend_from_slice(line);
        each(without_return(&self.partial));
        self.partial.clear();
    }

    /// What waits for the end of its line.
    pub fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// Goes on with what waited in another splitter.
    pub fn resume(&mut self, mut partial: Vec<u8>) {
        partial.truncate(LONGEST - 1);
        self.partial = partial;
    }

    /// Hands out what waits for its end, because none will come.
    pub fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        if !self.partial.is_empty() {
            self.complete(b"", &mut each);
        }
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// How many bytes at the end of `part` begin a UTF-8 character that goes on after it. Never all of `part`.
fn cut_character(part: &[u8]) -> usize {
    for back in 1..=3 {
        if back >= part.len() {
            return 0;
        }
        let length = match part[part.len() - back] {
            0x80..0xc0 => continue,
            0xc0..0xe0 => 2,
            0xe0..0xf0 => 3,
            0xf0..0xf8 => 4,
            _ => 1,
        };
        return if length > back { back } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(parts: &[&[u8]]) -> (Vec<Vec<u8>>, Option<Vec<u8>>) {
        let mut splitter = Splitter::default();
        let mut found = Vec::new();
        for part in parts {
            splitter.split(part, |line| found.push(line.to_vec()));
            assert!(splitter.partial.len() < LONGEST);
        }
        let mut last = None;
        splitter.finish(|line| last = Some(line.to_vec()));
        (found, last)
    }

    fn text(parts: &[&str]) -> (Vec<String>, Option<String>) {
        let (found, last) = lines(&parts.iter().map(|part| part.as_bytes()).collect::<Vec<_>>());
        let string = |bytes| String::from_utf8(bytes).unwrap();
        (found.into_iter().map(string).collect(), last.map(string))
    }

    #[test]
    fn lines_end_at_lf_or_cr_lf_wherever_a_read_cut_them() {
        let expected = (vec!["one".to_owned(), String::new(), "two".into()], Some("th".into()));
        assert_eq!(text(&["one\n\ntwo\r\nth"]), expected);
        assert_eq!(text(&["o", "ne", "\n", "\nt", "wo\r", "\nth"]), expected);
        assert_eq!(text(&["a\rb\n"]), (vec!["a\rb".into()], None));
        assert_eq!(text(&[""]), (vec![], None));
    }

    #[test]
    fn a_long_line_becomes_several() {
        let long = "x".repeat(2 * LONGEST + 5);
        let (found, last) = text(&[&long]);
        assert_eq!(found.iter().map(String::len).collect::<Vec<_>>(), [LONGEST, LONGEST]);
        assert_eq!(last.unwrap().len(), 5);
        // The end of a line that is just as long as it may be makes no empty one.
        let exact = "x".repeat(LONGEST - 1) + "\n";
        assert_eq!(text(&[&exact]).0.len(), 1);
    }

    #[test]
    fn a_cut_spares_characters() {
        for character in ["é", "€", "🦀"] {
            for before in 0..6 {
                let long = "x".repeat(before) + &character.repeat(LONGEST);
                // String::from_utf8 in `text` fails on half a character.
                let (found, last) = text(&[&long]);
                assert_eq!(found.concat() + &last.unwrap_or_default(), long);
            }
        }
        // Bytes that are not UTF-8 are kept as they are.
        let (found, last) = lines(&[&[0x80; LONGEST + 1]]);
        assert_eq!((found[0].len(), last.unwrap().len()), (LONGEST, 1));
    }

    #[test]
    fn any_cutting_of_the_input_gives_the_same_lines() {
        let input: Vec<u8> = (0..9000u32).map(|n| if n % 97 == 0 { b'\n' } else { b'a' + (n % 26) as u8 }).collect();
        let whole = lines(&[&input]);
        for size in [1, 2, 7, 96, 97, 98, 1999, 2000, 4096] {
            assert_eq!(lines(&input.chunks(size).collect::<Vec<_>>()), whole, "{size}");
        }
    }
}
