//! Cuts the bytes of a service into lines.

/// The longest line in bytes, without its end; a longer one becomes several.
pub const LONGEST: usize = 2000;

/// Bytes that wait for the end of their line.
#[derive(Debug, Default)]
pub struct Splitter {
    partial: Vec<u8>,
}

impl Splitter {
    /// Hands each line that `bytes` complete to `each`, without its end (LF or CR LF). A line is cut when a byte comes for which
    /// it has no room, and not before: the next one may be its end.
    pub fn split(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        let mut rest = bytes;
        while !rest.is_empty() {
            // The longest line with its end, less the partial one.
            let room = LONGEST + 2 - self.partial.len().min(LONGEST + 1);
            let part = rest.get(..room).unwrap_or(rest);
            match part.iter().position(|&byte| byte == b'\n') {
                Some(end) => {
                    self.complete(&part[..end], &mut each);
                    rest = rest.get(end + 1..).unwrap_or_default();
                }
                None => {
                    self.partial.extend_from_slice(part);
                    self.cut(&mut each);
                    rest = rest.get(part.len()..).unwrap_or_default();
                }
            }
        }
    }

    fn complete(&mut self, line: &[u8], each: &mut dyn FnMut(&[u8])) {
        let whole = without_return(line);
        if self.partial.is_empty() && whole.len() <= LONGEST {
            return each(whole);
        }
        self.partial.extend_from_slice(line);
        self.cut(each);
        each(without_return(&self.partial));
        self.partial.clear();
    }

    /// Hands out the beginning of the partial line while that is longer than a line may be. A CR at its end may belong to the line's.
    fn cut(&mut self, each: &mut dyn FnMut(&[u8])) {
        while without_return(&self.partial).len() > LONGEST {
            let cut = LONGEST - cut_character(&self.partial[..LONGEST]);
            each(&self.partial[..cut]);
            self.partial.drain(..cut);
        }
    }

    /// What waits for the end of its line.
    pub fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// Goes on with what waited in another splitter.
    pub fn resume(&mut self, mut partial: Vec<u8>) {
        partial.truncate(LONGEST + 1);
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
pub(super) fn cut_character(part: &[u8]) -> usize {
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
            assert!(splitter.partial.len() <= LONGEST + 1);
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
    }

    /// The lengths of the lines that `count` bytes become with an end, and without one.
    #[rustfmt::skip]
    const LENGTHS: &[(usize, &[usize])] = &[
        (0,               &[0]),
        (1,               &[1]),
        (LONGEST - 1,     &[LONGEST - 1]),
        (LONGEST,         &[LONGEST]),
        (LONGEST + 1,     &[LONGEST, 1]),
        (LONGEST + 2,     &[LONGEST, 2]),
        (2 * LONGEST - 1, &[LONGEST, LONGEST - 1]),
        (2 * LONGEST,     &[LONGEST, LONGEST]),
        (2 * LONGEST + 1, &[LONGEST, LONGEST, 1]),
        (5 * LONGEST,     &[LONGEST; 5]),
    ];

    #[test]
    fn a_line_of_any_length_makes_no_empty_one() {
        for &(count, expected) in LENGTHS {
            for end in ["\n", "\r\n", ""] {
                // Reads end everywhere: before, within and behind the end of a line.
                for size in [1, 7, 256, LONGEST - 1, LONGEST, LONGEST + 1, 6 * LONGEST] {
                    let input = ["x".repeat(count).as_str(), end, "next", end].concat();
                    let parts: Vec<&[u8]> = input.as_bytes().chunks(size).collect();
                    let (mut found, last) = lines(&parts);
                    found.extend(last);
                    let lengths: Vec<usize> = found.iter().map(Vec::len).collect();
                    let whole = count + "next".len();
                    match end {
                        "" => assert!(
                            lengths.iter().rev().skip(1).all(|&length| length == LONGEST),
                            "{count} {lengths:?}"
                        ),
                        _ => assert_eq!(lengths, [expected, &[4]].concat(), "{count} {end:?} {size}"),
                    }
                    assert_eq!(lengths.iter().sum::<usize>(), whole, "{count} {end:?} {size}");
                }
            }
        }
    }

    #[test]
    fn only_a_return_before_the_end_belongs_to_it() {
        let full = "x".repeat(LONGEST - 1);
        // It is the last byte that has room, and the first that has none.
        let cases: [(&str, &[&str]); 5] = [
            ("\ry\n", &["\r", "y"]),
            ("\r\n", &[""]),
            ("x\ry\n", &["x", "\ry"]),
            ("x\r\n", &["x"]),
            ("x\r\r\n", &["x", "\r"]),
        ];
        for (rest, expected) in cases {
            let input = full.clone() + rest;
            for size in [1, LONGEST, input.len()] {
                let parts: Vec<&[u8]> = input.as_bytes().chunks(size).collect();
                let found: Vec<String> =
                    lines(&parts).0.into_iter().map(|line| String::from_utf8(line).unwrap()).collect();
                assert_eq!(found.concat(), full.clone() + &expected.concat(), "{rest:?} {size}");
                assert_eq!(found.len(), expected.len(), "{rest:?} {size}");
            }
        }
    }

    #[test]
    fn a_zero_byte_is_one_like_others() {
        assert_eq!(lines(&[b"a\0b\n\0\n\0"]), (vec![b"a\0b".to_vec(), b"\0".to_vec()], Some(b"\0".to_vec())));
    }

    #[test]
    fn a_partial_line_goes_on_in_another_splitter() {
        for count in [1, LONGEST - 1, LONGEST] {
            for end in ["\n", "\r\n"] {
                let (text, end) = ("x".repeat(count), end.as_bytes());
                let mut found = Vec::new();
                let mut old = Splitter::default();
                old.split(text.as_bytes(), |line| found.push(line.len()));
                // The program may change between CR and LF.
                old.split(&end[..end.len() - 1], |line| found.push(line.len()));
                let mut new = Splitter::default();
                new.resume(old.partial().to_vec());
                new.split(b"\n", |line| found.push(line.len()));
                assert_eq!(found, [count]);
            }
        }
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
