//! The profile `appliance` as a guest: each network card that this QEMU has and the profile drives, and cards that are plugged in and
//! out.

mod common;

use std::time::Duration;

use anyhow::{Context as _, Result};
use build_support::Arch;
use common::echo::answers;
use common::guest::{Guest, Start, extra, patient};
use common::outputs::Outputs;
use common::terminal::Terminal;
use common::{ports, report, slots};
use serde_json::json;
use system::machine::Options;
use system::profile::Boot;

const PROFILE: &str = "appliance";
/// The port of the echo service.
const ECHO: u16 = 7;
/// Seconds for what firmware, or a guest that starts a service, may be silent.
const SILENCE: f64 = 90.0;

/// The cards besides the board's own, which is virtio's by PCI.
const CARDS: [&str; 4] = ["e1000", "e1000e", "vmxnet3", "pcnet"];

fn start(outputs: &Outputs, name: &str, options: Options) -> Result<Guest> {
    let options = Options { append: patient(outputs.arch).into(), ..options };
    Guest::start(outputs, &Start { boot: Some(Boot::Kernel), options, ..Start::new(name, PROFILE) })
}

fn serves(guest: &mut Guest, port: u16, what: &str) -> Result<Duration> {
    let up = guest.until_others("answer from the echo service", SILENCE, || (answers(port), 0));
    up.with_context(|| format!("by {what}"))
}

/// A network of QEMU's own for the card of a number, which forwards a port of this machine.
fn network(number: usize, port: u16) -> String {
    format!("user,id=net{number},net=10.0.{}.0/24,hostfwd=tcp:127.0.0.1:{port}-:{ECHO}", 10 + number)
}

/// All at once, each with an address of its own and the service behind it.
#[test]
fn every_card_serves() -> Result<()> {
    let Some(outputs) = Outputs::of(Arch::X86_64, PROFILE)? else { return Ok(()) };
    let _slot = slots::one();
    let (mut words, mut asked) = (Vec::new(), Vec::new());
    for (number, card) in CARDS.iter().enumerate() {
        let port = ports::free()?;
        words.extend([
            "-netdev".into(),
            network(number, port),
            "-device".into(),
            format!("{card},netdev=net{number},romfile="),
        ]);
        asked.push((card, port));
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut guest = start(&outputs, "cards", Options { extra: extra(&words), ..Options::default() })?;
    for (card, port) in asked {
        let after = serves(&mut guest, port, card)?;
        report(&format!("{PROFILE}: by {card} after {:.1} s", after.as_secs_f64()));
    }
    Ok(())
}

/// PCI Express hotplug (q35): each kind of card in its slot, out again, and another kind in the slot that became free.
#[test]
fn cards_are_plugged_in_and_out() -> Result<()> {
    let Some(outputs) = Outputs::of(Arch::X86_64, PROFILE)? else { return Ok(()) };
    let _slot = slots::one();
    let slots =
        ["-device", "pcie-root-port,id=slot0,chassis=1,slot=1", "-device", "pcie-root-port,id=slot1,chassis=2,slot=2"];
    let mut guest = start(&outputs, "plugged-kinds", Options { extra: extra(&slots), ..Options::default() })?;
    let terminal = Terminal::new(24, 80)?;
    terminal.shows(&mut guest, &["10.0.2.15/24"])?;
    for (number, card) in ["e1000", "virtio-net-pci", "vmxnet3", "e1000e", "virtio-net-pci"].iter().enumerate() {
        let (port, id) = (ports::free()?, format!("card{number}"));
        let forward = json!({ "str": format!("tcp:127.0.0.1:{port}-:{ECHO}") });
        let (net, name) = (format!("10.0.{}.0/24", 10 + number), format!("net{number}"));
        guest.qmp("netdev_add", json!({ "type": "user", "id": name, "net": net, "hostfwd": [forward] }))?;
        let slot = format!("slot{}", number % 2);
        guest.qmp("device_add", json!({ "driver": card, "id": id, "bus": slot, "netdev": name, "romfile": "" }))?;
        serves(&mut guest, port, card)?;
        guest.unplug(&id)?;
        let address = format!("10.0.{}.15/24", 10 + number);
        guest.until("a screen without the card", SILENCE, |console| !terminal.text(console).contains(&address))?;
        guest.qmp("netdev_del", json!({ "id": name }))?;
    }
    Ok(())
}
