//! The status screen on a machine's serial line, as a person at a terminal there sees and uses it.

mod common;

use anyhow::{Result, ensure};
use build_support::{Arch, Dirs};
use common::guest::{Guest, Start};
use common::outputs::Outputs;
use common::slots;
use common::terminal::{Terminal, count};

/// Seconds for what comes within a few; the screen's clock keeps the line from being silent.
const SILENCE: f64 = 40.0;

for_each_arch! {
    a_person_at_a_serial_line_sees_and_uses_the_machine,
}

fn a_person_at_a_serial_line_sees_and_uses_the_machine(arch: Arch) -> Result<()> {
    let dirs = Dirs::find()?;
    let path = dirs.root.join("image/tests/profiles/status.toml").display().to_string();
    let Some(outputs) = Outputs::of(arch, &path)? else { return Ok(()) };
    let _slot = slots::one();
    let mut guest = Guest::start(&outputs, &Start::new("status", &path))?;
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
