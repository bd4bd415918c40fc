//! The profile `appliance`: its budgets, its image on every firmware at the least memory, and what a person sets on it and sees of it.

mod common;

use std::io::Read as _;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use build_support::{Arch, Dirs, fs, tree};
use common::echo::answers;
use common::guest::{Guest, Start, extra};
use common::outputs::{Outputs, check_with};
use common::terminal::Terminal;
use common::{ports, report, slots};
use disk::hybrid::{KERNEL, SETTINGS, VOLUME};
use serde_json::json;
use system::Profile;
use system::machine::{Forward, Options};
use system::profile::Boot;

for_each_arch! {
    it_fits_its_budgets,
    it_serves_at_its_memory_limits,
    cards_that_are_plugged_in_later_serve,
    settings_on_the_image_are_in_force,
    the_clock_comes_from_a_time_server,
    the_log_goes_to_a_server,
}

const NAME: &str = "appliance";
/// The port of the echo service.
const ECHO: u16 = 7;
/// Seconds for what firmware, or a guest that starts a service, may be silent.
const SILENCE: f64 = 60.0;

/// The image, which a test may change, and the machine.
struct Bench {
    outputs: Outputs,
    profile: Profile,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(arch: Arch) -> Result<Option<Bench>> {
        let Some(outputs) = Outputs::of(arch, NAME)? else { return Ok(None) };
        let bench = Bench { outputs, profile: Profile::read(&Dirs::find()?, NAME)?, dir: tempfile::tempdir()? };
        tree::write_atomically(&bench.image(), &fs::read(bench.outputs.file(&format!("{NAME}.iso"))?)?)?;
        tree::write_atomically(&bench.kernel(), &fs::read(bench.outputs.file(&format!("{NAME}/kernel"))?)?)?;
        Ok(Some(bench))
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("bloomery").join(self.outputs.arch.name()).join(format!("{NAME}.iso"))
    }

    fn kernel(&self) -> PathBuf {
        self.dir.path().join("bloomery").join(self.outputs.arch.name()).join(format!("{NAME}/kernel"))
    }

    /// Writes the settings, as an editor does.
    fn set(&self, text: &str) -> Result<()> {
        let (file, volume) = (self.dir.path().join("settings"), format!("{}@@{VOLUME}", self.image().display()));
        fs::write(&file, text)?;
        check_with("mcopy", &["-o", "-i", &volume, &file.display().to_string(), &format!("::/{SETTINGS}")]).map(drop)
    }

    /// The memory of the budget. arm64's firmware (Debian's AAVMF) has a fault of its own with less than 128 MiB.
    fn least(&self, boot: Boot) -> u64 {
        let has_firmware = self.outputs.arch == Arch::Arm64 && boot == Boot::Uefi;
        if has_firmware { 128 << 20 } else { self.profile.budget.memory.unwrap_or_default() }
    }

    /// Starts the machine, with the least memory where the options do not say another.
    fn start(&self, case: &str, boot: Boot, options: Options) -> Result<Guest> {
        let options = Options { memory: options.memory.or(Some(self.least(boot))), ..options };
        let name = format!("{NAME}-{case}-{}", boot.name());
        let target = Some(self.dir.path());
        Guest::start(&self.outputs, &Start { boot: Some(boot), options, target, ..Start::new(&name, NAME) })
    }

    /// One way to boot the image by each firmware.
    fn firmwares(&self) -> &'static [Boot] {
        match self.outputs.arch {
            Arch::X86_64 => &[Boot::Bios, Boot::Uefi],
            Arch::Arm64 => &[Boot::Uefi],
        }
    }
}

fn serves(guest: &mut Guest, port: u16) -> Result<Duration> {
    guest.until_others("answer from the echo service", SILENCE, || (answers(port), 0))
}

fn it_fits_its_budgets(arch: Arch) -> Result<()> {
    let Some(bench) = Bench::new(arch)? else { return Ok(()) };
    let limit = bench.profile.budget.image.context("no budget")?;
    ensure!(limit <= 5_000_000, "the budget is {limit} bytes");
    let (image, kernel) = (fs::metadata(bench.image())?.len(), bench.outputs.efi_kernel(NAME)?);
    let kernel = fs::metadata(kernel)?.len();
    report(&format!("{NAME} {arch}: image {image} bytes, of these {KERNEL} {kernel} and all else {}", image - kernel));
    ensure!(image <= limit, "{image} bytes are more than {limit}");
    Ok(())
}

/// Each firmware with the least memory, and without firmware, or by a BIOS, with half of it.
fn it_serves_at_its_memory_limits(arch: Arch) -> Result<()> {
    let Some(bench) = Bench::new(arch)? else { return Ok(()) };
    let limit = bench.profile.budget.memory.context("no budget")?;
    ensure!(limit <= 64 << 20, "the budget is {limit} bytes");
    let small = if arch == Arch::X86_64 { Boot::Bios } else { Boot::Kernel };
    let least = bench.firmwares().iter().map(|boot| (*boot, bench.least(*boot)));
    for (boot, memory) in least.chain([(small, limit / 2)]) {
        let _slot = slots::one();
        let port = ports::free()?;
        let options = Options { memory: Some(memory), ports: vec![Forward::new(port, ECHO)], ..Options::default() };
        let mut guest = bench.start(&format!("least-{}", memory >> 20), boot, options)?;
        let after = serves(&mut guest, port)?;
        let name = boot.name();
        report(&format!("{NAME} {arch}: {name}, {} MiB: an answer after {:.1} s", memory >> 20, after.as_secs_f64()));
    }
    Ok(())
}

/// In the least memory, so that room for a card's buffers is part of it.
fn cards_that_are_plugged_in_later_serve(arch: Arch) -> Result<()> {
    let Some(bench) = Bench::new(arch)? else { return Ok(()) };
    for boot in bench.firmwares() {
        let _slot = slots::one();
        let sockets = extra(&[
            "-device",
            "pcie-root-port,id=first,chassis=1,slot=1",
            "-device",
            "pcie-root-port,id=second,chassis=2,slot=2",
        ]);
        let mut guest = bench.start("plugged", *boot, Options { extra: sockets, ..Options::default() })?;
        let terminal = Terminal::new(24, 80)?;
        terminal.shows(&mut guest, &["eth0", "10.0.2.15/24"])?;
        for (socket, driver) in [("first", "virtio-net-pci"), ("second", "e1000e")] {
            let port = ports::free()?;
            let forward = json!({ "str": format!("tcp:127.0.0.1:{port}-:{ECHO}") });
            let net = if socket == "first" { "10.0.3.0/24" } else { "10.0.4.0/24" };
            guest.qmp(
                "netdev_add",
                json!({ "type": "user", "id": format!("net-{driver}"), "net": net, "hostfwd": [forward] }),
            )?;
            guest.qmp(
                "device_add",
                json!({ "driver": driver, "id": driver, "bus": socket, "netdev": format!("net-{driver}") }),
            )?;
            serves(&mut guest, port).with_context(|| format!("{driver} that was plugged in"))?;
        }
        terminal.shows(&mut guest, &["eth1", "10.0.3.15/24", "eth2", "10.0.4.15/24"])?;
        guest.unplug("virtio-net-pci")?;
        guest.until("a screen without eth1", SILENCE, |console| !terminal.text(console).contains("10.0.3.15"))?;
    }
    Ok(())
}

/// A file that an editor of another system wrote, with a line that is wrong.
const TOLD: &str = "# the machine in the cellar\r\nhostname = cellar\r\nadress = 10.0.2.77/24\r\naddress = 10.0.2.88/24\r\n\
                    gateway = 10.0.2.2\r\narguments = --tcp 77\r\n";

fn settings_on_the_image_are_in_force(arch: Arch) -> Result<()> {
    let Some(bench) = Bench::new(arch)? else { return Ok(()) };
    bench.set(TOLD)?;
    for boot in bench.firmwares() {
        let _slot = slots::one();
        let port = ports::free()?;
        // The forward is to the address of the settings: another one would not be answered.
        let forward = format!("user,id=own,hostfwd=tcp:127.0.0.1:{port}-10.0.2.88:77");
        let card = extra(&["-netdev", &forward, "-device", "virtio-net-pci,netdev=own,romfile="]);
        let mut guest = bench.start("told", *boot, Options { extra: card, ..Options::default() })?;
        let terminal = Terminal::new(24, 80)?;
        terminal.shows(&mut guest, &["cellar ", "10.0.2.88/24"])?;
        terminal.shows(&mut guest, &["BLOOMERY.TXT line 3: there is no setting 'adress'"])?;
        terminal.turns_to(&mut guest, "s", &["hostname", "cellar", "BLOOMERY.TXT, line 2", "--tcp 77"])?;
        terminal.turns_to(&mut guest, "\x1b", &["Services"])?;
        ensure!(!terminal.text(&guest.console).contains("10.0.2.77"), "a wrong line counts");
    }
    Ok(())
}

/// Seconds by which the time server of the test is ahead.
const AHEAD: u64 = 100_000;
/// Seconds from 1900 to 1970.
const TO_1970: u64 = 2_208_988_800;

fn the_clock_comes_from_a_time_server(arch: Arch) -> Result<()> {
    let Some(bench) = Bench::new(arch)? else { return Ok(()) };
    let _slot = slots::one();
    let server = UdpSocket::bind("127.0.0.1:0")?;
    let port = server.local_addr()?.port();
    server.set_read_timeout(Some(Duration::from_millis(200)))?;
    // 10.0.2.2 is this machine, for a guest behind QEMU's own network.
    bench.set(&format!("ntp = 10.0.2.2:{port}\n"))?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = tell_time(&server);
            }
        });
        let seen = sees_the_time(&bench);
        stop.store(true, Ordering::Relaxed);
        seen
    })
}

fn sees_the_time(bench: &Bench) -> Result<()> {
    let boot = *bench.firmwares().first().context("no firmware")?;
    let mut guest = bench.start("time", boot, Options::default())?;
    let terminal = Terminal::new(24, 80)?;
    terminal.shows(&mut guest, &["ntp ", "10.0.2.2:", "stratum 1"])?;
    let time = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + AHEAD;
    let day = date_of(time)?;
    terminal.shows(&mut guest, &[&day])
}

/// What was logged before the network came is among it: the kernel's warnings too, which nobody sees otherwise.
fn the_log_goes_to_a_server(arch: Arch) -> Result<()> {
    let Some(bench) = Bench::new(arch)? else { return Ok(()) };
    bench.firmwares().iter().try_for_each(|boot| log_arrives(&bench, *boot))
}

fn log_arrives(bench: &Bench, boot: Boot) -> Result<()> {
    let _slot = slots::one();
    let server = TcpListener::bind("127.0.0.1:0")?;
    bench.set(&format!("hostname = cellar\nsyslog = tcp://10.0.2.2:{}\n", server.local_addr()?.port()))?;
    let (sender, received) = channel();
    std::thread::spawn(move || {
        let Ok((mut stream, _)) = server.accept() else { return };
        let mut block = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut block) {
            if sender.send(block[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut guest = bench.start("log", boot, Options::default())?;
    // The kernel's first line, the service's, and the client's.
    let wanted = ["Linux version", "echod: TCP [::]:7", "10.0.2.15/24 from 10.0.2.2"];
    let mut log = Vec::new();
    guest.until_others("log at the server", SILENCE, || {
        log.extend(received.try_iter().flatten());
        let text = String::from_utf8_lossy(&log);
        (wanted.iter().all(|words| text.contains(words)), log.len() as u64)
    })?;
    // `LENGTH <PRI>1 TIME HOST NAME ...` (RFC 5424, section 6; RFC 6587, section 3.4.1).
    let text = String::from_utf8_lossy(&log);
    let line = text.split("<30>1 ").find(|line| line.contains("echod: TCP")).context("no line of the service")?;
    ensure!(line.starts_with("2") && line.contains(" cellar echo "), "{line}");
    ensure!(!text.contains("cut here") && !text.contains("Call Trace"), "the kernel warns: {text}");
    Ok(())
}

/// The day of a time, by a program that nobody here wrote.
fn date_of(time: u64) -> Result<String> {
    Ok(check_with("date", &["-u", "-d", &format!("@{time}"), "+%F"])?.trim().into())
}

/// Answers one question (RFC 5905, section 7.3).
fn tell_time(server: &UdpSocket) -> Result<()> {
    let mut packet = [0; 48];
    let (_, client) = server.recv_from(&mut packet)?;
    let mut answer = [0; 48];
    answer[0] = 4 << 3 | 4;
    answer[1] = 1;
    answer[24..32].copy_from_slice(&packet[40..48]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + AHEAD + TO_1970;
    for at in [32, 40] {
        answer[at..at + 8].copy_from_slice(&(now << 32).to_be_bytes());
    }
    server.send_to(&answer, client)?;
    Ok(())
}
