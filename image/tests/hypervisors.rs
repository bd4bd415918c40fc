//! The profile `appliance` as a guest: each network card that this QEMU has and the profile drives, cards that are plugged in and out,
//! and the formats in which hypervisors take a disk.

mod common;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use build_support::{Arch, Dirs, tree};
use common::echo::answers;
use common::guest::{Guest, Start, extra, patient};
use common::outputs::Outputs;
use common::terminal::Terminal;
use common::{ports, report, slots};
use serde_json::json;
use system::machine::{Forward, Options};
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

/// The same disk as VMware, Hyper-V, VirtualBox and QEMU take it, by one firmware after the other.
#[test]
fn every_format_of_a_disk_boots() -> Result<()> {
    let path = Dirs::find()?.root.join("image/tests/profiles/formats.toml").display().to_string();
    let arch = Arch::host()?;
    let Some(outputs) = Outputs::of(arch, &path)? else { return Ok(()) };
    let boots: &[Boot] = if arch == Arch::X86_64 { &[Boot::Bios, Boot::Uefi] } else { &[Boot::Uefi] };
    for (format, boot) in ["vmdk", "vhdx", "vdi", "qcow2"].iter().zip(boots.iter().cycle()) {
        let _slot = slots::one();
        boot_format(&outputs, &path, *boot, format).with_context(|| format!("{format} by {}", boot.name()))?;
    }
    Ok(())
}

fn boot_format(outputs: &Outputs, profile: &str, boot: Boot, format: &str) -> Result<()> {
    let disk = outputs.file(&format!("formats.{format}"))?;
    let port = ports::free()?;
    let drive = format!("file={},format={format},if=none,id=other,snapshot=on", disk.display());
    let words = extra(&["-drive", &drive, "-device", "virtio-blk-pci,drive=other,bootindex=0"]);
    let options = Options { ports: vec![Forward::new(port, ECHO)], extra: words, ..Options::default() };
    // The profile's own image has nothing that boots, so the other disk is all that can.
    let target = tempfile::tempdir()?;
    lay_empty_disk(outputs, target.path())?;
    let name = format!("format-{format}");
    let start = Start { boot: Some(boot), options, target: Some(target.path()), ..Start::new(&name, profile) };
    let mut guest = Guest::start(outputs, &start)?;
    let after = serves(&mut guest, port, format)?;
    report(&format!("{format} by {}: an answer after {:.1} s", boot.name(), after.as_secs_f64()));
    Ok(())
}

/// The profile's files with zeros in the place of its image.
fn lay_empty_disk(outputs: &Outputs, target: &Path) -> Result<()> {
    outputs.copy_profile("formats", target)?;
    let own = target.join("bloomery").join(outputs.arch.name()).join("formats.iso");
    tree::write_atomically(&own, &vec![0; 1 << 20])
}
