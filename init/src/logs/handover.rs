//! The lines in memory, from one program of PID 1 to the next. The supervisor's handover calls it; see [`crate::handover`].

use super::{LogFile, Logs, Ring, Settings, Stamp, TOTAL};
use crate::handover::state::{Record, Writer};

/// The kind of a stream's record.
pub const KIND: &str = "log";

impl Logs {
    /// Writes a record for each stream: its lines, how many of them its file has not yet, and what waits for the end of its line.
    pub fn write(&self, writer: &mut Writer<'_>) {
        for stream in &self.streams.0 {
            let unsent = stream.file.as_ref().map(|file| stream.ring.end().saturating_sub(LogFile::unsent(file)));
            writer.record(KIND).field("name", &stream.name).option("unsent", unsent.filter(|&count| count > 0));
            writer.bytes("partial", stream.splitter.partial().iter().copied());
            for line in stream.ring.lines(0) {
                if writer.is_long() {
                    break;
                }
                writer.bytes("line", line.stamp.to_bytes().into_iter().chain(line.bytes()));
            }
        }
    }

    /// Takes the record of a stream, which [`Logs::add_stream`] finds by its service's name.
    pub fn restore(&mut self, record: &Record) {
        let Some(name) = record.get("name").filter(|name| self.find(name).is_none()) else {
            return;
        };
        let number = self.new_stream(name, &Settings::new(name));
        let Some(stream) = self.streams.get_mut(number) else {
            return;
        };
        // All that was there fits; the settings of the service come later.
        (stream.memory, stream.ring) = (TOTAL, Ring::new(TOTAL));
        for line in record.bytes("line") {
            if let Some((stamp, text)) = line.split_first_chunk()
                && let Some(stamp) = Stamp::from_bytes(stamp)
            {
                stream.ring.push(stamp, text);
            }
        }
        stream.unsent = record.parse("unsent").unwrap_or(0);
        stream.splitter.resume(record.bytes("partial").next().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Now, Place};
    use super::*;
    use crate::handover::state;
    use core::time::Duration;
    use std::fs;

    const NOW: Now = Now { uptime: Duration::from_secs(5), wall: 0 };

    fn text(logs: &Logs, stream: u32) -> String {
        let (mut next, mut out) = (0, Vec::new());
        assert!(logs.read(stream, &mut next, usize::MAX, &mut out));
        String::from_utf8_lossy(&out).into_owned()
    }

    fn settings(file: Option<&str>) -> Settings {
        let place = file.map(|path| Place { path: path.into(), size: 1 << 20, keep: 0 });
        Settings { file: place, ..Settings::new("x") }
    }

    /// What the next program makes of the logs.
    fn handed_over(old: &Logs) -> Logs {
        let mut writer = Writer::default();
        old.write(&mut writer);
        let mut new = Logs::new();
        state::parse(&writer.finish().0).unwrap().iter().for_each(|record| new.restore(record));
        new
    }

    #[test]
    fn lines_and_parts_of_lines_are_kept() {
        let mut old = Logs::new();
        let (one, two) = (old.add_stream("one", settings(None)), old.add_stream("two", settings(None)));
        old.append(one, b"first\n\xff\r\nhalf a ", NOW);
        old.append(two, b"other\n", NOW);
        let mut new = handed_over(&old);
        // In the order of the files, which may have changed.
        let (two, one) = (new.add_stream("two", settings(None)), new.add_stream("one", settings(None)));
        new.append(one, b"line\n", NOW);
        assert_eq!(text(&new, one), "+5.000 first\n+5.000 \u{fffd}\n+5.000 half a line\n");
        assert_eq!(text(&new, two), "+5.000 other\n");
        assert_eq!(new.find("three"), None);
    }

    #[test]
    fn a_file_gets_what_it_has_not() {
        let path = std::env::temp_dir().join(format!("init-log-handed-over-{}", std::process::id()));
        let place = settings(path.to_str());
        let settle = |logs: &mut Logs| {
            while logs.is_at_work() {
                let mut jobs = Vec::new();
                logs.hand_out(|file, job| jobs.push((file, job)));
                jobs.into_iter().for_each(|(file, job)| logs.done(file, Ok(job.run()), NOW));
            }
        };
        let mut old = Logs::new();
        let stream = old.add_stream("x", place.clone());
        old.hurry();
        old.append(stream, b"written\n", NOW);
        settle(&mut old);
        // Handed out to nobody.
        old.append(stream, b"not written\n", NOW);
        let mut new = handed_over(&old);
        let stream = new.add_stream("x", place);
        new.append(stream, b"new\n", NOW);
        settle(&mut new);
        let written = fs::read_to_string(&path).unwrap();
        fs::remove_file(path).unwrap();
        assert_eq!(written, "+5.000 written\n+5.000 not written\n+5.000 new\n");
    }

    #[test]
    fn a_record_of_nobody_is_left_out() {
        let mut writer = Writer::default();
        writer.record(KIND).bytes("line", b"x".iter().copied());
        writer.record(KIND).field("name", "short").bytes("line", b"w1234".iter().copied());
        writer.bytes("line", b"?12345678text".iter().copied()).field("unsent", "99");
        let mut logs = Logs::new();
        state::parse(&writer.finish().0).unwrap().iter().for_each(|record| logs.restore(record));
        let stream = logs.add_stream("short", settings(None));
        assert_eq!(text(&logs, stream), "");
    }
}
