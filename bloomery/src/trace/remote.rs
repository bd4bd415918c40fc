//! A client of QEMU's server for debuggers (GDB's manual, appendix "GDB Remote Serial Protocol"), and of its machine protocol
//! (QMP) for the count of instructions.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use build_support::{Arch, Context as _, Result, bail, ensure};
use serde_json::{Value, json};

/// Seconds for which a machine may run without reaching a stop.
const SILENCE: Duration = Duration::from_secs(300);

/// A machine that came to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The address of its next instruction.
    pub address: u64,
    /// Instructions that it executed since its reset.
    pub instructions: u64,
    /// Its stack pointer, or the link register on arm64.
    link: u64,
}

/// A machine under this program's control.
pub struct Remote {
    arch: Arch,
    debugger: UnixStream,
    /// What was received and not yet read.
    received: Vec<u8>,
    monitor: BufReader<UnixStream>,
}

impl Remote {
    /// Takes control of a machine that waits.
    ///
    /// # Errors
    /// Sockets that nobody answers at.
    pub fn connect(arch: Arch, debugger: &Path, monitor: &Path) -> Result<Remote> {
        let connect = |path: &Path| -> Result<UnixStream> {
            let stream = UnixStream::connect(path).with_context(|| format!("cannot connect to {}", path.display()))?;
            stream.set_read_timeout(Some(SILENCE))?;
            Ok(stream)
        };
        let monitor = BufReader::new(connect(monitor)?);
        let mut remote = Remote { arch, debugger: connect(debugger)?, received: Vec::new(), monitor };
        remote.answer()?; // QMP's greeting.
        remote.execute("qmp_capabilities")?;
        remote.ask("qSupported:qXfer:features:read+")?;
        remote.ask("?")?;
        // QEMU reads a single register only for a client that knows its numbers.
        remote.ask("qXfer:features:read:target.xml:0,ffb")?;
        Ok(remote)
    }

    /// Stops the machine whenever it comes to an address.
    ///
    /// # Errors
    /// A QEMU that refuses.
    pub fn stop_at(&mut self, address: u64) -> Result<()> {
        let command = self.set(address);
        self.ask(&command).and_then(|answer| is_ok(&answer))
    }

    /// Changes where the machine stops, and runs to the next stop; it does not pass a stop that it stands at.
    ///
    /// # Errors
    /// A QEMU that refuses, and an answer that is none.
    pub fn run(&mut self, pass: &[u64], stop: &[u64]) -> Result<Option<Stop>> {
        let kind = self.instruction();
        let mut commands: Vec<String> = pass.iter().map(|address| format!("z0,{address:x},{kind}")).collect();
        commands.extend(stop.iter().map(|address| self.set(*address)));
        let changes = commands.len();
        commands.push("c".into());
        // All at once: between two processes each answer costs a change of processes, which are many thousand in a boot.
        self.send(&commands)?;
        for _ in 0..changes {
            is_ok(&self.packet()?)?;
        }
        match self.packet() {
            Ok(answer) if answer.starts_with(['T', 'S']) => self.stopped().map(Some),
            Ok(answer) if answer.starts_with(['W', 'X']) => Ok(None),
            Ok(answer) => bail!("QEMU answers `{answer}` to a machine that goes on"),
            Err(_) => Ok(None),
        }
    }

    /// Where the machine stands, and after how many instructions since its reset.
    fn stopped(&mut self) -> Result<Stop> {
        let (link, pc) = self.numbers();
        self.send(&[format!("p{link:x}"), format!("p{pc:x}")])?;
        let instructions = self.execute("query-replay")?;
        let instructions = instructions["icount"].as_u64();
        let (link, address) = (self.number()?, self.number()?);
        Ok(Stop { address, link, instructions: instructions.context("QEMU counts no instructions")? })
    }

    /// Where the function returns to whose first instruction comes next.
    ///
    /// # Errors
    /// A stack that cannot be read.
    pub fn return_address(&mut self, stop: &Stop) -> Result<u64> {
        match self.arch {
            Arch::X86_64 => {
                self.send(&[format!("m{:x},8", stop.link)])?;
                self.number()
            }
            Arch::Arm64 => Ok(stop.link),
        }
    }

    fn set(&self, address: u64) -> String {
        format!("Z0,{address:x},{}", self.instruction())
    }

    /// The registers with the stack or the link, and with the next instruction, as QEMU numbers them for GDB (gdb-xml/*.xml in
    /// QEMU's source).
    fn numbers(&self) -> (u32, u32) {
        match self.arch {
            Arch::X86_64 => (7, 16),
            Arch::Arm64 => (30, 32),
        }
    }

    /// The bytes of a breakpoint's instruction, by which the protocol tells kinds apart.
    fn instruction(&self) -> u32 {
        match self.arch {
            Arch::X86_64 => 1,
            Arch::Arm64 => 4,
        }
    }

    fn number(&mut self) -> Result<u64> {
        let bytes = self.packet()?;
        number(&bytes).with_context(|| format!("QEMU answers `{bytes}` to a read of registers or memory"))
    }

    fn ask(&mut self, text: &str) -> Result<String> {
        self.send(&[text.into()])?;
        self.packet()
    }

    /// Sends packets. None that comes is acknowledged: QEMU takes the next one for that, and any byte stops a machine that runs.
    fn send(&mut self, texts: &[String]) -> Result<()> {
        let sum = |text: &str| text.bytes().fold(0_u8, u8::wrapping_add);
        let packets: String = texts.iter().map(|text| format!("${text}#{:02x}", sum(text))).collect();
        Ok(self.debugger.write_all(packets.as_bytes())?)
    }

    fn packet(&mut self) -> Result<String> {
        loop {
            if let Some(packet) = packet(&mut self.received) {
                return Ok(packet);
            }
            let mut bytes = [0; 4096];
            let count = self.debugger.read(&mut bytes)?;
            ensure!(count > 0, "QEMU ended");
            self.received.extend(&bytes[..count]);
        }
    }

    fn execute(&mut self, command: &str) -> Result<Value> {
        writeln!(self.monitor.get_mut(), "{}", json!({ "execute": command }))?;
        loop {
            let mut answer = self.answer()?;
            ensure!(answer.get("error").is_none(), "QEMU refuses {command}: {answer}");
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
    }

    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        ensure!(self.monitor.read_line(&mut line)? > 0, "QEMU ended");
        serde_json::from_str(&line).with_context(|| format!("QEMU answers {line}"))
    }
}

/// Refuses any other answer.
fn is_ok(answer: &str) -> Result<()> {
    ensure!(answer == "OK", "QEMU answers `{answer}` to a change of where it stops");
    Ok(())
}

/// Takes the first whole packet, `$TEXT#SUM`, out of what was received.
fn packet(received: &mut Vec<u8>) -> Option<String> {
    let begin = received.iter().position(|byte| *byte == b'$')?;
    let end = begin + received[begin..].iter().position(|byte| *byte == b'#')?;
    if received.len() < end + 3 {
        return None;
    }
    let text = String::from_utf8_lossy(&received[begin + 1..end]).into_owned();
    received.drain(..end + 3);
    Some(text)
}

/// A number of at most eight bytes in hexadecimal, the lowest first.
fn number(hex: &str) -> Option<u64> {
    if hex.is_empty() || hex.len() > 16 || !hex.len().is_multiple_of(2) {
        return None;
    }
    let byte = |at: usize| u64::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    (0..hex.len()).step_by(2).rev().try_fold(0, |value, at| Some(value << 8 | byte(at)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_read_one_by_one() {
        let mut received = b"+$OK#9a$T05th".to_vec();
        assert_eq!(packet(&mut received).as_deref(), Some("OK"));
        assert_eq!(packet(&mut received), None);
        received.extend(b"read:01;#07");
        assert_eq!(packet(&mut received).as_deref(), Some("T05thread:01;"));
        assert!(received.is_empty());
    }

    #[test]
    fn numbers_have_their_lowest_byte_first() {
        assert_eq!(number("0000100000000000"), Some(0x10_0000));
        assert_eq!(number("10"), Some(0x10));
        for text in ["", "E14", "xx", "001122334455667788"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
