//! Keys out of a terminal's bytes. A serial line may send anything: the decoder's memory is bounded, and what it does not know it drops.

/// What a terminal sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A printable ASCII character.
    Letter(char),
    /// Enter.
    Enter,
    /// Escape alone.
    Escape,
    /// Ctrl-L.
    Repaint,
    /// Tab.
    Tab,
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// Home.
    Home,
    /// End.
    End,
    /// The cursor's row and column, from 1: the answer to a Device Status Report (ECMA-48, section 8.3.35).
    Cursor(u16, u16),
}

/// Bytes of a control sequence that are kept.
const LONGEST: usize = 16;

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// Within ESC [ ... letter.
    Control,
    /// After ESC O.
    Single,
}

/// Finds keys in a stream of bytes, wherever that is cut.
#[derive(Debug, Default)]
pub struct Keys {
    state: State,
    parameters: Vec<u8>,
}

impl Keys {
    /// Takes a byte; the key that is complete with it.
    pub fn take(&mut self, byte: u8) -> Option<Key> {
        match core::mem::take(&mut self.state) {
            State::Text => self.text(byte),
            State::Escape => match byte {
                b'[' => {
                    self.parameters.clear();
                    self.state = State::Control;
                    None
                }
                b'O' => {
                    self.state = State::Single;
                    None
                }
                // Two in a row are one and the begin of another.
                0x1b => {
                    self.state = State::Escape;
                    Some(Key::Escape)
                }
                // Alt and a letter.
                _ => None,
            },
            State::Single => named(byte),
            State::Control => match byte {
                0x40..=0x7e => self.control(byte),
                0x1b => {
                    self.state = State::Escape;
                    None
                }
                0x20..=0x3f if self.parameters.len() < LONGEST => {
                    self.parameters.push(byte);
                    self.state = State::Control;
                    None
                }
                // Too long, or no sequence at all: noise.
                _ => None,
            },
        }
    }

    /// Whether an Escape may be a key or the begin of a sequence: after a pause it is the key.
    pub fn is_undecided(&self) -> bool {
        self.state != State::Text
    }

    /// Nothing came for a while.
    pub fn pause(&mut self) -> Option<Key> {
        (core::mem::take(&mut self.state) == State::Escape).then_some(Key::Escape)
    }

    fn text(&mut self, byte: u8) -> Option<Key> {
        match byte {
            0x1b => {
                self.state = State::Escape;
                None
            }
            b'\r' | b'\n' => Some(Key::Enter),
            b'\t' => Some(Key::Tab),
            0x0c => Some(Key::Repaint),
            b' '..=b'~' => Some(Key::Letter(byte.into())),
            _ => None,
        }
    }

    fn control(&self, last: u8) -> Option<Key> {
        let text = core::str::from_utf8(&self.parameters).ok()?;
        let mut numbers = text.split(';').map(|number| number.parse::<u16>().ok());
        match last {
            b'R' => Some(Key::Cursor(numbers.next()??, numbers.next()??)),
            b'~' => match numbers.next()?? {
                1 | 7 => Some(Key::Home),
                4 | 8 => Some(Key::End),
                5 => Some(Key::PageUp),
                6 => Some(Key::PageDown),
                _ => None,
            },
            _ => named(last),
        }
    }
}

/// The keys of a VT100 by the letter that ends their sequence.
fn named(letter: u8) -> Option<Key> {
    match letter {
        b'A' => Some(Key::Up),
        b'B' => Some(Key::Down),
        b'H' => Some(Key::Home),
        b'F' => Some(Key::End),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut keys = Keys::default();
        let mut found: Vec<Key> = bytes.iter().filter_map(|&byte| keys.take(byte)).collect();
        found.extend(keys.pause());
        found
    }

    #[test]
    fn letters_and_sequences() {
        use Key::*;
        assert_eq!(keys(b"l\r\x0c\t\x1b"), [Letter('l'), Enter, Repaint, Tab, Escape]);
        assert_eq!(keys(b"\x1b[A\x1bOB\x1b[5~\x1b[6~\x1b[H\x1b[4~"), [Up, Down, PageUp, PageDown, Home, End]);
        assert_eq!(keys(b"\x1b[24;80Rq"), [Cursor(24, 80), Letter('q')]);
        assert_eq!(keys(b"\x1b\x1b[A"), [Escape, Up]);
    }

    #[test]
    fn noise_is_dropped_and_held_in_bounded_memory() {
        let mut keys = Keys::default();
        for _ in 0..1000 {
            for byte in b"\x1b[11111111111111111111;;;;\xff\x80\x00" {
                keys.take(*byte);
            }
            assert!(keys.parameters.len() <= LONGEST);
        }
        assert_eq!(super::tests::keys(b"\x1b[;R\x1b[99999;1R\x1b[R\xc3\xa9\x9b"), []);
        // xorshift; the same at every run.
        let mut state = 0x9e37_79b9_u32;
        for _ in 0..100_000 {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            if let Some(Key::Letter(letter)) = keys.take(state as u8) {
                assert!(letter.is_ascii_graphic() || letter == ' ');
            }
        }
    }
}
