//! A client of QEMU's machine protocol (QMP, docs/interop/qmp-spec): one JSON object a line, answers in order, and events
//! between them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::limit;

/// Seconds that QEMU may take for an answer; it answers between two of the guest's blocks of instructions.
const ANSWER: f64 = 60.0;

/// A connection to a QEMU that runs.
pub struct Qmp {
    reader: BufReader<UnixStream>,
    /// Events that nobody has waited for yet.
    events: Vec<Value>,
}

impl Qmp {
    /// Takes up a connection. QEMU greets when it has read its command line and made the machine; nothing, when it is not
    /// there yet.
    pub fn connect(socket: &Path) -> Result<Option<Qmp>> {
        let Ok(stream) = UnixStream::connect(socket) else { return Ok(None) };
        stream.set_read_timeout(Some(limit(ANSWER)))?;
        let mut qmp = Qmp { reader: BufReader::new(stream), events: Vec::new() };
        let greeting = qmp.read()?;
        ensure!(greeting.get("QMP").is_some(), "QEMU greets with {greeting}");
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(Some(qmp))
    }

    /// Executes a command, and returns its answer.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.reader.get_mut(), "{request}").with_context(|| format!("QEMU does not take {request}"))?;
        loop {
            let mut answer = self.read().with_context(|| format!("QEMU does not answer {request}"))?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            ensure!(answer.get("event").is_some(), "QEMU refuses {request}: {answer}");
            self.events.push(answer);
        }
    }

    /// Waits for an event, which may have been there before.
    pub fn event(&mut self, name: &str) -> Result<Value> {
        let begin = Instant::now();
        loop {
            if let Some(at) = self.events.iter().position(|event| event["event"] == name) {
                return Ok(self.events.remove(at)["data"].take());
            }
            ensure!(begin.elapsed() < limit(ANSWER), "QEMU had no event {name}");
            let event = self.read().with_context(|| format!("QEMU had no event {name}"))?;
            self.events.push(event);
        }
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            bail!("QEMU has ended");
        }
        serde_json::from_str(&line).with_context(|| format!("QEMU says `{line}`"))
    }
}
