//! Commands from a pipe or a file for a guest: `echo uname -a | ./run.sh x86_64`.
//!
//! Until its system waits for a line, a guest throws away what comes from its serial port: firmware reads it as keys, and the
//! kernel empties the port when it opens it. So the first byte goes out when a prompt is seen.

use std::io::{self, ErrorKind, IsTerminal as _, Read, Write};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

/// How a line that a guest waits for ends: a shell of root or of a user, and login(1).
const PROMPTS: &[&[u8]] = &[b"# ", b"$ ", b"login: "];
/// A guest that said nothing for so long waits for something, though no prompt was seen.
const SILENCE: Duration = Duration::from_secs(20);
/// Bytes of the end of its output that are looked at.
const END: usize = 64;

/// Whether standard input has commands, and no person at a terminal.
pub fn is_wanted() -> bool {
    !io::stdin().is_terminal()
}

/// Runs the machine with standard input as described above, and returns its status.
///
/// # Errors
/// When it cannot be started.
pub fn run(mut command: Command) -> Result<ExitCode> {
    let name = command.get_program().to_string_lossy().into_owned();
    end_with_this(&mut command);
    let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut machine = started.with_context(|| format!("cannot start {name}"))?;
    let (said, heard) = mpsc::channel();
    feed(&mut machine, heard);
    if let Some(output) = machine.stdout.take() {
        show(output, io::stdout(), &said);
    }
    let status = machine.wait().with_context(|| format!("cannot wait for {name}"))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Lets the machine end when this program is killed: nobody else knows of it, and it would run on.
fn end_with_this(command: &mut Command) {
    let die = || Ok(rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?);
    // SAFETY: the function makes one system call and takes no lock.
    unsafe { command.pre_exec(die) };
}

/// Copies what the guest says, and tells how it ends each time.
fn show(mut from: impl Read, mut to: impl Write, said: &Sender<Vec<u8>>) {
    let (mut buffer, mut end) = ([0; 4096], Vec::new());
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                let bytes = &buffer[..count];
                // The reader of this may be gone, and the guest goes on.
                let _ = to.write_all(bytes).and_then(|()| to.flush());
                end.extend_from_slice(bytes);
                end.drain(..end.len().saturating_sub(END));
                let _ = said.send(end.clone());
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Hands standard input on, once the guest waits for it. The thread ends with the program.
fn feed(machine: &mut Child, heard: Receiver<Vec<u8>>) {
    let Some(mut input) = machine.stdin.take() else { return };
    thread::spawn(move || {
        wait_for_prompt(&heard);
        // The machine may be gone. Its standard input stays open: an end of it would be an end of the console.
        let _ = io::copy(&mut io::stdin(), &mut input);
        for _ in heard {}
    });
}

fn wait_for_prompt(heard: &Receiver<Vec<u8>>) {
    let mut silence = None;
    loop {
        let next = match silence {
            // Nothing is said before firmware and kernel start.
            None => heard.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(time) => heard.recv_timeout(time),
        };
        match next {
            Ok(end) if is_prompt(&end) => return,
            Ok(_) => silence = Some(SILENCE),
            Err(_) => return,
        }
    }
}

/// Whether output ends with a prompt, behind which a shell may ask the terminal something by an escape sequence (ECMA-48,
/// section 5.4).
fn is_prompt(output: &[u8]) -> bool {
    let mut text = Vec::new();
    let mut bytes = output.iter();
    while let Some(&byte) = bytes.next() {
        if byte != 0x1b {
            text.push(byte);
        } else if bytes.next() == Some(&b'[') {
            // Parameters and intermediate bytes come before the final one.
            bytes.by_ref().find(|byte| (0x40..=0x7e).contains(*byte));
        }
    }
    PROMPTS.iter().any(|prompt| text.ends_with(prompt))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_seen_through_escape_sequences() {
        for output in [&b"root@bloomery:~# "[..], b"~ $ \x1b[6n", b"\x1b[1mx\x1b[0m# ", b"\r\nbloomery login: "] {
            assert!(is_prompt(output), "{}", String::from_utf8_lossy(output));
        }
        for output in [&b""[..], b"[    0.1] Booting", b"# \r\n", b"#", b"\x1b[6n"] {
            assert!(!is_prompt(output), "{}", String::from_utf8_lossy(output));
        }
    }

    /// The machine is a shell here, which tells its number and then waits.
    #[test]
    fn a_machine_ends_with_this_program() {
        const OWN: &str = "BLOOMERY_TEST_MACHINE";
        if std::env::var_os(OWN).is_some() {
            let mut command = Command::new("sh");
            command.args(["-c", "echo $$ >&2; exec sleep 600"]);
            let _ = run(command);
            return;
        }
        let name = std::thread::current().name().unwrap().to_string();
        let mut program = Command::new(std::env::current_exe().unwrap());
        program.args(["--exact", &name, "--nocapture"]).env(OWN, "1").stdin(Stdio::null());
        let mut program = program.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut number = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(program.stderr.take().unwrap()), &mut number).unwrap();
        program.kill().unwrap();
        program.wait().unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", number.trim()));
        for _ in 0..100 {
            // Gone, or dead and not yet waited for.
            if state().map_or(true, |stat| stat.contains(") Z ")) {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("the machine {} runs on", number.trim());
    }

    #[test]
    fn commands_wait_for_the_prompt() {
        let (said, heard) = mpsc::channel();
        show(&b"firmware\r\nkernel\r\n~ # "[..], io::sink(), &said);
        said.send(b"later".to_vec()).unwrap();
        wait_for_prompt(&heard);
        assert_eq!(heard.try_recv().unwrap(), b"later");
    }
}
