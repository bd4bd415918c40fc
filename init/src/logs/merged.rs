//! All logs as one, by time.

use std::iter::Peekable;

use super::ring::Line;
use super::{Logs, Stream};

/// Where a reader of all logs is in one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    stream: u32,
    /// The number of the next line.
    next: u64,
    /// The number of the line before which it stops.
    until: u64,
}

impl Logs {
    /// Where a reader of the last `count` lines of all logs together begins. It stops at what is there now, unless it follows.
    pub fn tails(&self, count: u64, follow: bool) -> Vec<Cursor> {
        let mut lines = Vec::new();
        for (place, stream) in self.streams.0.iter().enumerate() {
            lines.extend(stream.ring.lines(stream.ring.last(count)).map(|line| (line.stamp.order(), place)));
        }
        lines.sort_unstable();
        let leave = lines.len().saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
        let mut cursors: Vec<Cursor> = self.streams.0.iter().map(|stream| Cursor::at_end(stream, follow)).collect();
        for &(_, place) in lines.iter().skip(leave) {
            if let Some(cursor) = cursors.get_mut(place) {
                cursor.next -= 1;
            }
        }
        cursors
    }

    /// Appends lines as `TIME NAME: TEXT` until there are about `room` bytes, and moves the cursors on. A log that began
    /// since then is read too, where others are followed. Returns whether there may be more.
    pub fn read_all(&self, cursors: &mut Vec<Cursor>, follow: bool, room: usize, out: &mut Vec<u8>) -> bool {
        cursors.retain(|cursor| self.streams.get(cursor.stream).is_some());
        if follow {
            for stream in &self.streams.0 {
                if !cursors.iter().any(|cursor| cursor.stream == stream.number) {
                    cursors.push(Cursor { next: 0, ..Cursor::at_end(stream, true) });
                }
            }
        }
        let mut sources: Vec<Source<'_, _>> = Vec::new();
        for cursor in cursors.iter_mut() {
            if let Some(stream) = self.streams.get(cursor.stream) {
                // What memory has no more was not read in time.
                cursor.next = cursor.next.max(stream.ring.oldest());
                sources.push(Source { name: &stream.name, lines: stream.ring.lines(cursor.next).peekable(), cursor });
            }
        }
        let full = out.len().saturating_add(room);
        while out.len() < full {
            let first = sources.iter_mut().filter_map(|source| Some((source.time()?, source)));
            let Some((_, source)) = first.min_by_key(|(time, _)| *time) else { break };
            source.copy(out);
        }
        drop(sources);
        follow || cursors.iter().any(|cursor| cursor.next < cursor.until)
    }
}

impl Cursor {
    fn at_end(stream: &Stream, follow: bool) -> Cursor {
        let end = stream.ring.end();
        Cursor { stream: stream.number, next: end, until: if follow { u64::MAX } else { end } }
    }
}

/// A log that is being read.
struct Source<'a, Lines: Iterator<Item = Line<'a>>> {
    name: &'a str,
    lines: Peekable<Lines>,
    cursor: &'a mut Cursor,
}

impl<'a, Lines: Iterator<Item = Line<'a>>> Source<'a, Lines> {
    /// When its next line was written.
    fn time(&mut self) -> Option<(u8, u64)> {
        let wanted = self.cursor.next < self.cursor.until;
        self.lines.peek().filter(|_| wanted).map(|line| line.stamp.order())
    }

    fn copy(&mut self, out: &mut Vec<u8>) {
        if let Some(line) = self.lines.next() {
            line.stamp.write(out);
            out.push(b' ');
            out.extend_from_slice(self.name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(line.parts.0);
            out.extend_from_slice(line.parts.1);
            out.push(b'\n');
            self.cursor.next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Now, Settings};
    use super::*;
    use core::time::Duration;

    fn at(seconds: u64) -> Now {
        Now { uptime: Duration::from_secs(seconds), wall: 0 }
    }

    fn logs(names: &[&str]) -> (Logs, Vec<u32>) {
        let mut logs = Logs::new();
        let settings = |name| Settings { file: None, ..Settings::new(name) };
        let streams = names.iter().map(|name| logs.add_stream(name, settings(name))).collect();
        (logs, streams)
    }

    fn text(logs: &Logs, cursors: &mut Vec<Cursor>, follow: bool, room: usize) -> (String, bool) {
        let mut out = Vec::new();
        let more = logs.read_all(cursors, follow, room, &mut out);
        (String::from_utf8(out).unwrap(), more)
    }

    #[test]
    fn lines_of_all_logs_are_sorted_by_time() {
        let (mut logs, streams) = logs(&["web", "db"]);
        for (stream, seconds, line) in [(0, 1, "a\n"), (1, 2, "b\n"), (1, 3, "c\n"), (0, 4, "d\n")] {
            logs.append(streams[stream], line.as_bytes(), at(seconds));
        }
        let mut all = logs.tails(100, false);
        let whole = "+1.000 web: a\n+2.000 db: b\n+3.000 db: c\n+4.000 web: d\n";
        assert_eq!(text(&logs, &mut all, false, 1000), (whole.into(), false));
        let mut last = logs.tails(2, false);
        assert_eq!(text(&logs, &mut last, false, 1000), ("+3.000 db: c\n+4.000 web: d\n".into(), false));
        assert_eq!(text(&logs, &mut logs.tails(0, false), false, 1000), (String::new(), false));
    }

    #[test]
    fn a_reader_stops_at_the_end_or_follows() {
        let (mut logs, streams) = logs(&["web"]);
        logs.append(streams[0], b"a\nb\n", at(1));
        let (mut stops, mut follows) = (logs.tails(9, false), logs.tails(1, true));
        assert_eq!(text(&logs, &mut stops, false, 1), ("+1.000 web: a\n".into(), true), "in pieces");
        logs.append(streams[0], b"c\n", at(2));
        assert_eq!(text(&logs, &mut stops, false, 1000), ("+1.000 web: b\n".into(), false));
        assert_eq!(text(&logs, &mut follows, true, 1000), ("+1.000 web: b\n+2.000 web: c\n".into(), true));
        let new = logs.add_stream("new", Settings { file: None, ..Settings::new("new") });
        logs.append(new, b"first\n", at(3));
        assert_eq!(text(&logs, &mut follows, true, 1000), ("+3.000 new: first\n".into(), true));
        logs.remove_stream(streams[0]);
        assert_eq!(text(&logs, &mut follows, true, 1000), (String::new(), true));
    }
}
