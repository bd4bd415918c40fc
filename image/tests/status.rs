//! The status screen on a machine's serial line, as a person at a terminal there sees and uses it, and the log that the machine sends
//! meanwhile.

mod common;

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use build_support::{Arch, Dirs};
use common::guest::{self, Guest, Start};
use common::outputs::{Outputs, has_time};
use common::terminal::{Terminal, count};
use common::{limit, slots};
use system::machine::Options;

/// Seconds for what comes within a few; the screen's clock keeps the line from being silent.
const SILENCE: f64 = 40.0;

for_each_arch! {
    a_person_at_a_serial_line_sees_and_uses_the_machine,
}

fn a_person_at_a_serial_line_sees_and_uses_the_machine(arch: Arch) -> Result<()> {
    if !has_time(arch)? {
        return Ok(());
    }
    let dirs = Dirs::find()?;
    let path = dirs.root.join("image/tests/profiles/status.toml").display().to_string();
    let Some(outputs) = Outputs::of(arch, &path)? else { return Ok(()) };
    let _slot = slots::one();
    let (port, messages) = serve_syslog()?;
    let network = format!("user,id=log,net=10.0.3.0/24,guestfwd=tcp:10.0.3.100:514-tcp:127.0.0.1:{port}");
    let extra = guest::extra(&["-netdev", &network, "-device", "virtio-net-pci,netdev=log,romfile="]);
    let options = Options { extra, ..Options::default() };
    let mut guest = Guest::start(&outputs, &Start { options, ..Start::new("status", &path) })?;
    let terminal = Terminal::new(24, 80)?;

    // A terminal that says nothing is one of 80 by 24 with ASCII alone.
    terminal.shows(&mut guest, &["single   Bloomery", "-- Services --", "10.0.2.15/24", "DHCP"])?;
    terminal.shows(&mut guest, &["echo ", "running", "TEST.TXT line 3: there is no key 'hostnme'"])?;
    ensure!(terminal.row(23)?.starts_with(" l logs"), guest.failure("the keys are not in the last row"));

    // A larger one answers.
    ensure!(count(&guest.console.bytes) >= 2, guest.failure("the terminal is asked nothing"));
    terminal.resize(30, 100)?;
    guest.type_keys("\x1b[1;3R\x1b[30;100R")?;
    terminal.shows(&mut guest, &["── Services ─", "router advertisement", "link-local"])?;
    guest.until("the keys in row 30", SILENCE, |console| terminal.reads(console, 29, " l logs"))?;

    // What the service says is not obeyed, and its end is told.
    terminal.shows(&mut guest, &["brief says ?[2J?[31mhello?", "exit code 3"])?;
    terminal.turns_to(&mut guest, "l", &["log of all services", "started as process"])?;
    terminal.turns_to(&mut guest, "\t", &["log of brief", "process"])?;
    terminal.turns_to(&mut guest, "\x1b", &["── Network ─"])?;
    terminal.turns_to(
        &mut guest,
        "n",
        &["DHCP lease from 10.0.2.2", "default via 10.0.2.2 dev eth0", "Name servers"],
    )?;
    terminal.turns_to(&mut guest, "q", &["── Network ─"])?;
    terminal.turns_to(&mut guest, "s", &["Settings in force", "one, two", "(TEST.TXT)"])?;
    terminal.turns_to(&mut guest, "\x1b", &["── Network ─"])?;

    // The server has what was said before the network was there.
    for words in [
        " single kernel - - - Linux version ",
        " single brief - - - brief says  [2J [31mhello ",
        "init: started as process",
    ] {
        expect(&messages, words).map_err(|error| guest.failure(&format!("{error:#}")))?;
    }

    // Enter draws all anew, and asks again.
    let asked = count(&guest.console.bytes);
    guest.type_keys("\r")?;
    guest.until("another question", SILENCE, |console| count(&console.bytes) > asked)?;

    guest.type_keys("p")?;
    terminal.shows(&mut guest, &["Power this machine off?"])?;
    guest.type_keys("x")?;
    guest.until("no question", SILENCE, |console| !terminal.text(console).contains("Power this machine off?"))?;
    guest.type_keys("p")?;
    terminal.shows(&mut guest, &["Power this machine off?"])?;
    guest.type_keys("y")?;
    guest.line("reboot: Power down")?;
    guest.ended(10.0)
}

/// A server of syslog on a stream (RFC 6587, section 3.4.1): its port, and the messages that it gets.
fn serve_syslog() -> Result<(u16, Receiver<String>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    let (sender, messages) = channel();
    std::thread::spawn(move || {
        // QEMU connects once, when it starts.
        let Ok((stream, _)) = listener.accept() else { return };
        let mut stream = BufReader::new(stream);
        let mut next = move || {
            let mut length = Vec::new();
            stream.read_until(b' ', &mut length).ok()?;
            let mut message = vec![0; String::from_utf8_lossy(&length).trim().parse().ok()?];
            stream.read_exact(&mut message).ok()?;
            Some(String::from_utf8_lossy(&message).into_owned())
        };
        while let Some(message) = next() {
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    Ok((port, messages))
}

/// Waits for a message with these words; those before it are passed over.
fn expect(messages: &Receiver<String>, words: &str) -> Result<()> {
    let mut last = String::new();
    loop {
        let message = messages.recv_timeout(limit(SILENCE).max(Duration::from_secs(1)));
        last = message.with_context(|| format!("no message with `{words}`; the last one was `{last}`"))?;
        if last.contains(words) {
            return Ok(());
        }
    }
}
