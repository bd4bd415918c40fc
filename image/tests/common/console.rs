//! The guest's serial console as text: without terminal codes, line by line, each line with its time.

use std::time::Duration;

/// What a console has shown.
#[derive(Default)]
pub struct Console {
    /// Everything, without terminal codes and carriage returns.
    pub text: String,
    /// Every finished line with the time of its end.
    pub lines: Vec<(Duration, String)>,
    /// Everything as it came.
    pub bytes: Vec<u8>,
    state: State,
    line: Vec<u8>,
}

/// Where in a terminal code (ECMA-48) the stream is.
#[derive(Default, PartialEq)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// Within ESC [ ... letter.
    Control,
    /// Within ESC ] ... BEL, a title.
    Title,
}

impl Console {
    /// Takes bytes that came at this time.
    pub fn take(&mut self, bytes: &[u8], at: Duration) {
        self.bytes.extend_from_slice(bytes);
        for byte in bytes {
            match (&self.state, byte) {
                (State::Text, 0x1b) => self.state = State::Escape,
                (State::Text, b'\n') => self.end_line(at),
                (State::Text, b'\r' | 0) => {}
                (State::Text, 8) => drop(self.line.pop()),
                (State::Text, _) => self.line.push(*byte),
                (State::Escape, b'[') => self.state = State::Control,
                (State::Escape, b']') => self.state = State::Title,
                (State::Control, 0x40..=0x7e) | (State::Title, 7) | (State::Escape, _) => self.state = State::Text,
                (State::Control | State::Title, _) => {}
            }
        }
    }

    /// The line that is not finished yet: a prompt, or what is being typed.
    pub fn unfinished(&self) -> String {
        String::from_utf8_lossy(&self.line).into_owned()
    }

    /// Whether a text is anywhere, also in the line that is not finished.
    pub fn shows(&self, text: &str) -> bool {
        self.text.contains(text) || self.unfinished().contains(text)
    }

    /// The last lines, for an error message.
    pub fn tail(&self, count: usize) -> String {
        let first = self.lines.len().saturating_sub(count);
        let mut lines: Vec<String> = self.lines[first..].iter().map(|(_, line)| format!("  | {line}")).collect();
        lines.push(format!("  | {}", self.unfinished()));
        lines.join("\n")
    }

    /// When the first line that contains a text was finished.
    pub fn time_of(&self, text: &str) -> Option<Duration> {
        self.lines.iter().find(|(_, line)| line.contains(text)).map(|(at, _)| *at)
    }

    fn end_line(&mut self, at: Duration) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        self.text.push_str(&line);
        self.text.push('\n');
        self.lines.push((at, line));
    }
}
