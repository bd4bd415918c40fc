//! Two kernel slots: an update that comes up is kept, one that does not is left for the kernel before it, and settings stay. Whatever
//! happens at whatever moment, one of two states is on the disk.
//!
//! `BLOOMERY_TEST_POWER_CUTS` is how often the power fails in each of the tests of that (1), at moments by chance from
//! `BLOOMERY_TEST_SEED`.

mod common;

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use ::slots::update::{Header, Kind, PORT};
use anyhow::{Context as _, Result, ensure};
use build_support::{Arch, Dirs, fs, tree};
use common::chance::{Chance, power_cuts};
use common::guest::{Guest, Start, extra};
use common::outputs::{Outputs, has_time};
use common::{ports, report, slots};
use disk::hybrid;
use serde_json::json;
use system::machine::{Forward, Options};
use system::profile::Boot;
use system::{Profile, update_key};

for_each_arch! { an_update_is_kept_or_left }

#[test]
fn an_update_comes_from_a_stick() -> Result<()> {
    from_a_stick(Arch::host()?)
}

#[test]
fn a_power_cut_loses_no_setting() -> Result<()> {
    cut_while_set(Arch::host()?)
}

#[test]
fn a_power_cut_during_an_update_leaves_a_system() -> Result<()> {
    cut_while_updated(Arch::host()?)
}

/// The system, its next version, and a version whose service does not come up.
const NAME: &str = "updates";
const NEXT: &str = "updates-next";
const BROKEN: &str = "updates-broken";
/// Seconds for what firmware, or a guest that starts anew, may be silent.
const SILENCE: f64 = 60.0;

/// The image, which the running system writes, and the machine.
struct Bench {
    outputs: Outputs,
    profile: Profile,
    dir: tempfile::TempDir,
    port: u16,
}

fn path_of(name: &str) -> Result<String> {
    Ok(Dirs::find()?.root.join(format!("image/tests/profiles/{name}.toml")).display().to_string())
}

impl Bench {
    fn new(arch: Arch) -> Result<Option<Bench>> {
        let Some(outputs) = Outputs::of(arch, &path_of(NAME)?)? else { return Ok(None) };
        let profile = Profile::read(&Dirs::find()?, &path_of(NAME)?)?;
        let bench = Bench { outputs, profile, dir: tempfile::tempdir()?, port: ports::free()? };
        tree::write_atomically(&bench.image(), &fs::read(bench.outputs.file(&format!("{NAME}.iso"))?)?)?;
        Ok(Some(bench))
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("bloomery").join(self.outputs.arch.name()).join(format!("{NAME}.iso"))
    }

    fn start(&self, case: &str, boot: Boot) -> Result<Guest> {
        let socket = ["-device", "pcie-root-port,id=own,chassis=9,slot=9"];
        let usb = ["-device", "qemu-xhci,id=usb"];
        let extra = extra(&[socket, usb].concat());
        let options = Options {
            memory: Some(128 << 20),
            ports: vec![Forward::new(self.port, PORT)],
            extra,
            ..Options::default()
        };
        let (name, profile) = (format!("{NAME}-{case}-{}", boot.name()), path_of(NAME)?);
        let target = Some(self.dir.path());
        Guest::start(&self.outputs, &Start { boot: Some(boot), options, target, ..Start::new(&name, &profile) })
    }

    /// Starts the system, up to a shell.
    fn boot(&self, case: &str, boot: Boot) -> Result<Guest> {
        let mut guest = self.start(case, boot)?;
        comes_up(&mut guest)?;
        Ok(guest)
    }

    /// An update for this system, signed by the key that it knows.
    fn sign(&self, kind: Kind, content: &[u8], build_id: [u8; 20], serial: u64) -> Result<Vec<u8>> {
        let dirs = Dirs::find()?;
        let pair = update_key::pair(&update_key::file(&dirs, &self.profile)?.context("it takes no updates")?)?;
        let product = update_key::product(self.outputs.arch, &self.profile);
        let header = Header::new(kind, serial, content, build_id, &product).context("no header")?;
        Ok([&header.sign(&pair)[..], content].concat())
    }

    /// The kernel of another profile as an update.
    fn version(&self, name: &str, serial: u64) -> Result<Vec<u8>> {
        let path = path_of(name)?;
        let outputs = Outputs::of(self.outputs.arch, &path)?.context("a version is not built")?;
        let image = fs::read(outputs.file(&format!("{name}.iso"))?)?;
        let (content, kernel) = hybrid::kernel_in_slot(&image).context("an image without slots")?;
        self.sign(Kind::Kernel, &content, kernel.build_id, serial)
    }

    fn settings(&self, text: &str, serial: u64) -> Result<Vec<u8>> {
        self.sign(Kind::Settings, text.as_bytes(), [0; 20], serial)
    }

    /// Sends an update, and returns the answer.
    fn send(&self, bytes: &[u8]) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(common::limit(SILENCE)))?;
        // A refusal may come before all is read.
        let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.trim_end().into())
    }

    /// `cargo bloomery update`, as a person runs it.
    fn update(&self, words: &[&str]) -> Result<std::process::Output> {
        let arch = self.outputs.arch.name();
        let mut command = Command::new("cargo");
        command.args(["bloomery", "update", &path_of(NAME)?, arch]).args(words);
        command.args(["--to", &format!("127.0.0.1:{}", self.port)]);
        Ok(command.current_dir(&self.outputs.root).output()?)
    }

    /// One way to boot the image by each firmware.
    fn firmwares(&self) -> &'static [Boot] {
        match self.outputs.arch {
            Arch::X86_64 => &[Boot::Bios, Boot::Uefi],
            Arch::Arm64 => &[Boot::Uefi],
        }
    }
}

/// Waits for a shell, with nothing else on the console, and for the network.
fn comes_up(guest: &mut Guest) -> Result<()> {
    guest.prompt()?;
    guest.settle()
}

/// The same after the machine started anew.
fn comes_back(guest: &mut Guest) -> Result<()> {
    starts_anew(guest)?;
    comes_up(guest)
}

fn starts_anew(guest: &mut Guest) -> Result<()> {
    guest.line("reboot: Restarting system").map(drop)
}

/// Waits until `updater show` has a line of a slot that begins so.
fn shows(guest: &mut Guest, slot: u8, words: &str) -> Result<String> {
    let wanted = format!("updater show | grep -q '^slot {slot}: .*{words}'");
    guest.run(&format!("i=0; until {wanted} || [ $i = 300 ]; do i=$((i+1)); sleep 0.1; done; updater show; {wanted}"))
}

fn description(guest: &mut Guest) -> Result<String> {
    guest.run("grep PRETTY_NAME /etc/os-release")
}

/// Everything that becomes of an update, on one machine.
fn an_update_is_kept_or_left(arch: Arch) -> Result<()> {
    if !has_time(arch)? {
        return Ok(());
    }
    let Some(bench) = Bench::new(arch)? else { return Ok(()) };
    for boot in bench.firmwares() {
        let _slot = slots::one();
        tree::write_atomically(&bench.image(), &fs::read(bench.outputs.file(&format!("{NAME}.iso"))?)?)?;
        let mut guest = bench.boot("kept", *boot)?;
        shows(&mut guest, 1, "good, running")?;
        refusals(&bench)?;
        let answer = bench.send(&bench.version(NEXT, 100)?)?;
        ensure!(answer == "ok: in slot 2; restarting to try it", "{answer}");
        comes_back(&mut guest)?;
        shows(&mut guest, 2, "good, running")?;
        let text = description(&mut guest)?;
        ensure!(text.contains("(updates-next)"), "{text}");
        settings_stay(&bench, &mut guest)?;
        // By each firmware the same, and it takes its time.
        if bench.firmwares().first() == Some(boot) {
            a_broken_one_is_left(&bench, &mut guest)?;
        }
        no_kernel_at_all(&bench, &mut guest, *boot)?;
        guest.power_off()?;
    }
    Ok(())
}

/// Its service does not come up: after the deadline the machine starts anew.
fn a_broken_one_is_left(bench: &Bench, guest: &mut Guest) -> Result<()> {
    let answer = bench.send(&bench.version(BROKEN, 200)?)?;
    ensure!(answer == "ok: in slot 1; restarting to try it", "{answer}");
    starts_anew(guest)?;
    guest.prompt()?;
    comes_back(guest)?;
    let log = guest.run("initctl log update")?;
    ensure!(log.contains("the update in slot 1 did not come up; slot 2 runs again"), "{log}");
    shows(guest, 2, "good, running")?;
    let text = description(guest)?;
    ensure!(text.contains("(updates-next)"), "{text}");
    Ok(())
}

/// What is not taken, by the command of a person and by others.
fn refusals(bench: &Bench) -> Result<()> {
    let own = bench.update(&[])?;
    let text = String::from_utf8_lossy(&own.stderr).into_owned();
    ensure!(!own.status.success() && text.contains("it is the kernel that runs already"), "{text}");
    let mut wrong = bench.settings("hostname = a\n", 1)?;
    wrong[100] ^= 1;
    let answer = bench.send(&wrong)?;
    ensure!(answer == "error: it is not signed by the key of this system", "{answer}");
    let answer = bench.send(b"GET / HTTP/1.1\r\n\r\n")?;
    ensure!(answer == "error: it ended after 18 bytes", "{answer}");
    let mut wrong = bench.version(NEXT, 50)?;
    let at = wrong.len() / 2;
    wrong[at] ^= 1;
    let answer = bench.send(&wrong)?;
    ensure!(answer == "error: its content is not what was signed", "{answer}");
    Ok(())
}

/// By the command of a person, and on the machine itself.
fn settings_stay(bench: &Bench, guest: &mut Guest) -> Result<()> {
    let file = bench.dir.path().join("settings");
    fs::write(&file, "hostname = sent\nntp = 10.0.2.9\n")?;
    let sent = bench.update(&["--settings", &file.display().to_string()])?;
    ensure!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    comes_back(guest)?;
    ensure!(guest.run("hostname")? == "sent", "the settings that were sent do not count");
    guest.run("updater set hostname=here && grep 'hostname.sent.kept settings, line 2' /run/settings")?;
    let wrong = guest.ask("updater set hostname='a b'")?;
    ensure!(wrong.status == 1 && wrong.output.contains("must be a name"), "{wrong:?}");
    Ok(())
}

/// A signed update that no loader can start. The settings of before are in force.
fn no_kernel_at_all(bench: &Bench, guest: &mut Guest, boot: Boot) -> Result<()> {
    let answer = bench.send(&bench.sign(Kind::Kernel, &[0x5a; 100_000], [9; 20], 300)?)?;
    ensure!(answer.starts_with("ok: in slot 1"), "{answer}");
    let said = match boot {
        Boot::Bios => "the kernel's file is none for this loader",
        _ => "the update cannot be loaded; starting the kernel before it",
    };
    guest.line(said)?;
    comes_up(guest)?;
    shows(guest, 2, "good, running")?;
    ensure!(guest.run("hostname")? == "here", "the settings that were kept do not count");
    Ok(())
}

/// A stick with an update at its first byte is plugged in, and later is there at each start.
fn from_a_stick(arch: Arch) -> Result<()> {
    let Some(bench) = Bench::new(arch)? else { return Ok(()) };
    let _slot = slots::one();
    let boot = *bench.firmwares().last().context("no firmware")?;
    let stick = bench.dir.path().join("stick");
    fs::write(&stick, bench.version(NEXT, 100)?)?;
    OpenOptions::new().write(true).open(&stick)?.set_len(16 << 20)?;
    let mut guest = bench.boot("stick", boot)?;
    let file = json!({ "driver": "file", "filename": stick.display().to_string() });
    guest.qmp("blockdev-add", json!({ "driver": "raw", "node-name": "stick", "file": file }))?;
    guest.qmp("device_add", json!({ "driver": "usb-storage", "id": "stick", "bus": "usb.0", "drive": "stick" }))?;
    comes_back(&mut guest)?;
    shows(&mut guest, 2, "good, running")?;
    // It is not taken a second time.
    let log = guest.run("initctl log update")?;
    ensure!(log.contains("the update from the disk sd") && log.contains("it is the kernel that runs already"), "{log}");
    guest.power_off()?;
    Ok(())
}

/// The number at the end of the last line that begins so.
fn last_number(text: &str, begin: &str) -> Option<u64> {
    text.lines().rev().find_map(|line| line.trim_end().strip_prefix(begin)?.parse().ok())
}

/// A setting counts up, as fast as the disk takes it. What was said to be kept is there after the cut.
fn cut_while_set(arch: Arch) -> Result<()> {
    let Some(bench) = Bench::new(arch)? else { return Ok(()) };
    let _slot = slots::one();
    let (boot, mut chance) = (*bench.firmwares().first().context("no firmware")?, Chance::new()?);
    let mut kept = 0;
    for cut in 0..power_cuts()? {
        let mut guest = bench.start("cut", boot)?;
        guest.prompt()?;
        let name = guest.run("hostname")?;
        let found = name.strip_prefix('n').and_then(|number| number.parse().ok()).unwrap_or(0);
        ensure!(found >= kept, "after cut {cut} the setting is {found}, and {kept} was kept");
        guest.type_keys(&format!(
            "i={found}; while :; do i=$((i+1)); updater set hostname=n$i && echo kept-$i; done\n"
        ))?;
        guest.until("the first setting", SILENCE, |console| last_number(&console.text, "kept-").is_some())?;
        let end = Instant::now() + chance.below(Duration::from_secs(2));
        guest.until_others("the cut", SILENCE, || (Instant::now() >= end, 0))?;
        kept = last_number(&guest.console.text, "kept-").unwrap_or(found);
        drop(guest);
    }
    report(&format!("{NAME} {arch}: {} power cuts, {kept} settings kept", power_cuts()?));
    Ok(())
}

/// Whatever of the two runs after the cut, it is whole, and takes the next update.
fn cut_while_updated(arch: Arch) -> Result<()> {
    let Some(bench) = Bench::new(arch)? else { return Ok(()) };
    let _slot = slots::one();
    let (boot, mut chance) = (*bench.firmwares().first().context("no firmware")?, Chance::new()?);
    let (mut old, mut new) = (0, 0);
    for cut in 1..=power_cuts()? as u64 {
        let mut guest = bench.boot("cut-update", boot)?;
        let is_new = description(&mut guest)?.contains("(updates-next)");
        *(if is_new { &mut new } else { &mut old }) += 1;
        shows(&mut guest, if is_new { 2 } else { 1 }, "running")
            .or_else(|_| shows(&mut guest, if is_new { 1 } else { 2 }, "running"))?;
        let version = if is_new { NAME } else { NEXT };
        let bytes = bench.version(version, 1000 * cut)?;
        let end = Instant::now() + chance.below(Duration::from_secs(12));
        std::thread::scope(|scope| -> Result<()> {
            scope.spawn(|| bench.send(&bytes));
            guest.until_others("the cut", SILENCE, || (Instant::now() >= end, 0))?;
            drop(guest);
            Ok(())
        })?;
    }
    let mut guest = bench.boot("cut-update", boot)?;
    guest.run("initctl status echo")?;
    report(&format!(
        "{NAME} {arch}: {} power cuts, after them {old} times the old and {new} times the new",
        power_cuts()?
    ));
    Ok(())
}
