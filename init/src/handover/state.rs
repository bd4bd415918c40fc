//! What one PID 1 tells the next through an exec: records as text, one a line, with descriptors that stay open.
//!
//! ```text
//! bloomery-init state 1
//! entry<TAB>command=/bin/x -a<TAB>pid=12<TAB>output@7
//! end<TAB>1<TAB>53c0a7f5cd0e2a11
//! ```
//! A value has `\\`, `\t` and `\n` for a backslash, a tab and a line end. The last line has the number of records and the
//! FNV-1a sum of all before it, so a cut or mixed-up text is refused as a whole. Readers skip records and fields that they do
//! not know; a change that they could not skip changes the version.

use core::fmt::{Display, Write};
use core::time::Duration;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use crate::sys::descriptors;

/// The first line without the version.
const MAGIC: &str = "bloomery-init state ";
/// The version that this program writes and reads.
pub const VERSION: u32 = 1;
/// The longest text that is read (bytes); thousands of services need less.
pub const MAX: usize = 4 << 20;

/// Writes records. Every call but [`Writer::record`] adds a field to the last one.
pub struct Writer<'a> {
    text: String,
    count: usize,
    descriptors: Vec<BorrowedFd<'a>>,
}

impl Default for Writer<'_> {
    fn default() -> Self {
        Writer { text: format!("{MAGIC}{VERSION}\n"), count: 0, descriptors: Vec::new() }
    }
}

impl<'a> Writer<'a> {
    /// Begins a record.
    pub fn record(&mut self, kind: &str) -> &mut Self {
        self.end_line();
        self.count += 1;
        self.text += kind;
        self
    }

    /// A field.
    pub fn field(&mut self, name: &str, value: impl Display) -> &mut Self {
        let value = value.to_string();
        self.text.reserve(name.len() + value.len() + 2);
        self.text += "\t";
        self.text += name;
        self.text += "=";
        for character in value.chars() {
            match character {
                '\\' => self.text += "\\\\",
                '\t' => self.text += "\\t",
                '\n' => self.text += "\\n",
                other => self.text.push(other),
            }
        }
        self
    }

    /// A field of any bytes, each as the character with its number; [`Record::bytes`] reads it.
    pub fn bytes(&mut self, name: &str, value: impl Iterator<Item = u8>) -> &mut Self {
        self.field(name, value.map(char::from).collect::<String>())
    }

    /// Whether what is not needed should be left out, so that the text is not too long.
    pub fn is_long(&self) -> bool {
        self.text.len() > MAX / 4 * 3
    }

    /// A field that may be missing.
    pub fn option(&mut self, name: &str, value: Option<impl Display>) -> &mut Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }

    /// A field that is there or not.
    pub fn flag(&mut self, name: &str, value: bool) -> &mut Self {
        self.option(name, value.then_some(""))
    }

    /// A time, kept to the microsecond.
    pub fn time(&mut self, name: &str, value: Option<Duration>) -> &mut Self {
        self.option(name, value.map(|time| time.as_micros()))
    }

    /// A descriptor, which stays open for the next program.
    pub fn descriptor(&mut self, name: &str, fd: BorrowedFd<'a>) -> &mut Self {
        // Writing to a string does not fail.
        let _ = write!(self.text, "\t{name}@{}", fd.as_raw_fd());
        self.descriptors.push(fd);
        self
    }

    /// The whole text, and the descriptors in it.
    pub fn finish(mut self) -> (String, Vec<BorrowedFd<'a>>) {
        self.end_line();
        let sum = sum(&self.text);
        let _ = writeln!(self.text, "end\t{}\t{sum:016x}", self.count);
        (self.text, self.descriptors)
    }

    fn end_line(&mut self) {
        if !self.text.ends_with('\n') {
            self.text.push('\n');
        }
    }
}

/// A record that was read.
#[derive(Debug, Default)]
pub struct Record {
    /// What it is about.
    pub kind: String,
    fields: Vec<(String, String)>,
    numbers: Vec<(String, RawFd)>,
    descriptors: Vec<(String, OwnedFd)>,
}

impl Record {
    /// A field's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The values of all fields of a name, as bytes. A character that is no byte is one that nobody wrote, and left out.
    pub fn bytes(&self, name: &str) -> impl Iterator<Item = Vec<u8>> {
        let fields = self.fields.iter().filter(move |(known, _)| known == name);
        fields.map(|(_, value)| value.chars().filter_map(|character| u8::try_from(character).ok()).collect())
    }

    /// A field's value as a number or the like.
    pub fn parse<T: core::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }

    /// Whether a flag is there.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A time.
    pub fn time(&self, name: &str) -> Option<Duration> {
        self.parse(name).map(Duration::from_micros)
    }

    /// Takes a descriptor. One that nobody takes is closed.
    pub fn take_descriptor(&mut self, name: &str) -> Option<OwnedFd> {
        let index = self.descriptors.iter().position(|(known, _)| known == name)?;
        Some(self.descriptors.swap_remove(index).1)
    }
}

/// Why a text is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not begin as a state.
    Magic,
    /// Another version.
    Version(u32),
    /// No last line, or one that does not fit.
    Cut,
    /// A line that is not a record.
    Record(usize),
}

impl Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Fault::Magic => f.write_str("it is not a state of init"),
            Fault::Version(version) => write!(f, "it has version {version}, and this init reads version {VERSION}"),
            Fault::Cut => f.write_str("it is cut or damaged"),
            Fault::Record(line) => write!(f, "line {line} is not a record"),
        }
    }
}

/// Reads a text. The descriptors in it are only numbers until [`claim`].
pub fn parse(text: &str) -> Result<Vec<Record>, Fault> {
    let (first, _) = text.split_once('\n').ok_or(Fault::Magic)?;
    let version: u32 = first.strip_prefix(MAGIC).and_then(|version| version.parse().ok()).ok_or(Fault::Magic)?;
    if version != VERSION {
        return Err(Fault::Version(version));
    }
    let body = text.strip_suffix('\n').ok_or(Fault::Cut)?;
    let (start, last) = body.rsplit_once('\n').ok_or(Fault::Cut)?;
    let covered = text.get(..start.len() + 1).ok_or(Fault::Cut)?;
    let mut end = last.split('\t');
    let sum_given = (end.next(), end.next(), end.next());
    let (Some("end"), Some(count), Some(given)) = sum_given else {
        return Err(Fault::Cut);
    };
    if u64::from_str_radix(given, 16) != Ok(sum(covered)) {
        return Err(Fault::Cut);
    }
    let mut records = Vec::new();
    // Not `lines`, which takes a CR before the end for a part of that.
    for (index, line) in start.split('\n').enumerate().skip(1) {
        records.push(parse_record(line).ok_or(Fault::Record(index + 1))?);
    }
    if count.parse() == Ok(records.len()) { Ok(records) } else { Err(Fault::Cut) }
}

fn parse_record(line: &str) -> Option<Record> {
    let mut parts = line.split('\t');
    let kind = parts.next().filter(|kind| !kind.is_empty())?;
    let mut record = Record { kind: kind.into(), ..Record::default() };
    for part in parts {
        let at = part.find(['=', '@'])?;
        let (name, value) = (part.get(..at)?, part.get(at + 1..)?);
        if part.as_bytes().get(at) == Some(&b'@') {
            record.numbers.push((name.into(), value.parse().ok()?));
        } else {
            record.fields.push((name.into(), unescape(value)?));
        }
    }
    Some(record)
}

fn unescape(text: &str) -> Option<String> {
    let mut value = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        value.push(match character {
            '\\' => match characters.next()? {
                '\\' => '\\',
                't' => '\t',
                'n' => '\n',
                _ => return None,
            },
            other => other,
        });
    }
    Some(value)
}

/// Makes the numbers descriptors again, each once. Only for a program that has opened nothing but the standard ones and
/// the state (`except`). Those that are not open are left out.
pub fn claim(records: &mut [Record], except: RawFd) {
    let mut seen = vec![except];
    for record in records {
        for (name, number) in core::mem::take(&mut record.numbers) {
            if seen.contains(&number) {
                continue;
            }
            seen.push(number);
            if let Ok(fd) = descriptors::adopt(number) {
                record.descriptors.push((name, fd));
            }
        }
    }
}

/// FNV-1a, 64 bits (its authors' constants): against accidents, not against attackers.
fn sum(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsFd, IntoRawFd};

    fn text() -> String {
        let mut writer = Writer::default();
        writer.record("entry").field("command", "a\tb\\n\n=@ü").option("pid", Some(12)).option("kill", None::<u32>);
        writer.flag("stale", true).flag("absent", false).time("started", Some(Duration::from_micros(1_234_567)));
        writer.record("empty");
        writer.finish().0
    }

    #[test]
    fn what_is_written_is_read() {
        let records = parse(&text()).unwrap();
        assert_eq!(records.len(), 2);
        let entry = &records[0];
        assert_eq!((entry.kind.as_str(), records[1].kind.as_str()), ("entry", "empty"));
        assert_eq!(entry.get("command"), Some("a\tb\\n\n=@ü"));
        assert_eq!(entry.parse("pid"), Some(12));
        assert_eq!(entry.get("kill"), None);
        assert!(entry.has("stale") && !entry.has("absent"));
        assert_eq!(entry.time("started"), Some(Duration::from_micros(1_234_567)));
        assert_eq!(entry.parse::<u32>("command"), None);
    }

    #[test]
    fn all_bytes_are_kept() {
        let bytes: Vec<u8> = (0..=255).chain([b'\r']).collect();
        let mut writer = Writer::default();
        writer.record("log").bytes("line", bytes.iter().copied()).bytes("line", [].into_iter());
        writer.bytes("line", bytes.iter().copied());
        let records = parse(&writer.finish().0).unwrap();
        assert_eq!(records[0].bytes("line").collect::<Vec<_>>(), [bytes.clone(), Vec::new(), bytes]);
    }

    #[test]
    fn nothing_to_tell_is_a_state_too() {
        assert_eq!(parse(&Writer::default().finish().0).unwrap().len(), 0);
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_noticed() {
        let text = text();
        for end in 0..text.len() {
            if text.is_char_boundary(end) {
                assert!(parse(&text[..end]).is_err(), "cut at {end}");
            }
        }
        for index in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[index] = bytes[index].wrapping_add(1);
            if let Ok(changed) = String::from_utf8(bytes) {
                assert!(parse(&changed).is_err(), "changed at {index}");
            }
        }
    }

    #[test]
    fn another_version_is_named() {
        let newer = text().replacen("state 1\n", "state 2\n", 1);
        assert_eq!(parse(&newer).err(), Some(Fault::Version(2)));
        assert_eq!(parse("").err(), Some(Fault::Magic));
        assert_eq!(parse("garbage\n").err(), Some(Fault::Magic));
    }

    #[test]
    fn descriptors_are_handed_over_once() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let mut writer = Writer::default();
        writer.record("a").descriptor("output", reader.as_fd());
        writer.record("b").descriptor("output", reader.as_fd());
        let (text, descriptors) = writer.finish();
        assert_eq!(descriptors.len(), 2);
        drop(descriptors);
        let number = reader.into_raw_fd();
        let mut records = parse(&text).unwrap();
        claim(&mut records, -1);
        assert_eq!(records[0].take_descriptor("output").map(IntoRawFd::into_raw_fd), Some(number));
        assert!(records[0].take_descriptor("output").is_none());
        assert!(records[1].take_descriptor("output").is_none());
        // Nobody else in this test program closes it.
        drop(descriptors::adopt(number).unwrap());
    }
}
