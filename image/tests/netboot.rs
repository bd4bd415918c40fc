//! Boots of `single` as machines do it that have no disk, in a network of the test's own; then an outside client uses the echo
//! service, and looks for other open ports. docs/netboot.md describes them.

mod common;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use build_support::{Arch, fs};
use common::guest::{Guest, Start, extra};
use common::network::{Network, Offer, SERVER, SERVER6, address, address6, inside, mac, tap};
use common::outputs::Outputs;
use common::{echo, http, ports, report, slots};
use serde_json::{Value, json};
use system::machine::Options;
use system::profile::Boot;

/// The profile under test.
const PROFILE: &str = "single";
/// Seconds in which neither the guest nor a server may say anything. Firmware is silent for its first ten seconds.
const SILENCE: f64 = 100.0;

/// What the kernel says when it finds no timer, and how often a guest is started in which it does not.
const NO_TIMER: &str = "IO-APIC + timer doesn't work";
const MOST_STARTS: u32 = 3;

/// Makes a test of each line: `ARCH::NAME`, which boots by `BOOT`.
macro_rules! boots {
    ($($arch:ident $value:expr => { $($(#[$attribute:meta])* $name:ident: $boot:expr),* $(,)? })*) => {
        $(mod $arch {
            use super::*;
            $(#[test] $(#[$attribute])* fn $name() -> Result<()> {
                boot($value, $boot, concat!(stringify!($arch), "::", stringify!($name)))
            })*
        })*
    };
}

boots! {
    x86_64 Arch::X86_64 => {
        by_kernel: Boot::Kernel,
        by_microvm: Boot::Microvm,
        from_a_disk: Boot::Uefi,
        by_pxe_over_ipv4: Boot::Pxe4,
        by_pxe_over_ipv6: Boot::Pxe6,
        by_http_over_ipv4: Boot::Http4,
        by_http_over_ipv6: Boot::Http6,
        by_bios_and_ipxe: Boot::Ipxe,
    }
    arm64 Arch::Arm64 => {
        by_kernel: Boot::Kernel,
        from_a_disk: Boot::Uefi,
        by_pxe_over_ipv4: Boot::Pxe4,
        by_pxe_over_ipv6: Boot::Pxe6,
        by_http_over_ipv4: Boot::Http4,
        by_http_over_ipv6: Boot::Http6,
    }
}

/// Seen by a stranger: every port of TCP, and of UDP those below 1024 and some of the others.
#[test]
fn nothing_but_echo_is_open() -> Result<()> {
    in_network(Arch::host()?, Boot::Kernel, "nothing_but_echo_is_open", |guest| {
        check_ports(guest, "TCP", ports::tcp, &all())?;
        let mut some: Vec<u16> = (1..1024).chain([1900, 3702, 5353, 5355]).collect();
        // Others in each run.
        let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.subsec_nanos();
        some.extend((0..1000).map(|n: u32| 1024 + (seed.wrapping_add(n.wrapping_mul(2_654_435_761)) % 64_512) as u16));
        check_ports(guest, "UDP", ports::udp, &some)
    })
}

/// Every port of UDP, of which Linux refuses fewer than a thousand in a second.
#[test]
#[ignore = "takes four minutes"]
fn nothing_but_echo_is_open_at_all() -> Result<()> {
    in_network(Arch::host()?, Boot::Kernel, "nothing_but_echo_is_open_at_all", |guest| {
        check_ports(guest, "UDP", ports::udp, &all())
    })
}

/// What Firecracker reads names files that are there, for those that QEMU's machine without PCI starts.
#[test]
fn a_configuration_for_firecracker_lies_beside_the_kernel() -> Result<()> {
    let Some(outputs) = Outputs::of(Arch::host()?, PROFILE)? else { return Ok(()) };
    let file = outputs.file("single/kernel.firecracker.json")?;
    let config: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
    let kernel = config["boot-source"]["kernel_image_path"].as_str().context("no kernel is named")?;
    let kernel = file.parent().unwrap_or(Path::new("")).join(kernel);
    ensure!(kernel.is_file(), "{} is not there", kernel.display());
    ensure!(config["drives"] == json!([]) && config["boot-source"]["initrd_path"].is_null(), "{config:#}");
    ensure!(config["network-interfaces"][0]["host_dev_name"] == "tap0", "{config:#}");
    ensure!(config["machine-config"] == json!({ "vcpu_count": 1, "mem_size_mib": 256 }), "{config:#}");
    // Firecracker's own words would switch modules off, and the card's driver is one.
    let words = config["boot-source"]["boot_args"].as_str().context("no words for the kernel")?;
    ensure!(words.contains("console=ttyS0") && !words.contains("nomodule"), "{words}");
    Ok(())
}

/// Boots, and uses the echo service.
fn boot(arch: Arch, boot: Boot, test: &str) -> Result<()> {
    in_network(arch, boot, test, use_service)
}

/// Boots in a network, works with the guest, and ends it.
fn in_network(arch: Arch, boot: Boot, test: &str, work: impl FnOnce(&mut Guest) -> Result<()>) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, PROFILE)? else { return Ok(()) };
    let _slot = slots::one();
    Start { boot: Some(boot), ..Start::new("", PROFILE) }.prepare(&outputs)?;
    inside(test, || {
        let network = serve(&outputs)?;
        // A server that is not there refuses at once, and firmware goes on to the next protocol.
        let web = if boot == Boot::Http6 { SERVER6.into() } else { SERVER.into() };
        let requests = http::serve_files(web, &network.files)?;
        let news = || network.news() + requests.lock().map_or(0, |requests| requests.len() as u64);
        let (mut guest, up) = until_up(&outputs, boot, news)
            .with_context(|| format!("dnsmasq:\n{}\nweb: {requests:?}", network.log()))?;
        report(&format!("{arch} {PROFILE} by {}: up after {:.1} s", boot.name(), up.as_secs_f64()));
        check_way(boot, &network, &requests)?;
        work(&mut guest)?;
        end(&mut guest, boot)
    })
}

/// Starts a guest and waits until it serves.
fn until_up(outputs: &Outputs, boot: Boot, news: impl Fn() -> u64) -> Result<(Guest, Duration)> {
    let mut starts = 1;
    loop {
        let mut guest = start(outputs, boot)?;
        match guest.until_others("answer of the echo service", SILENCE, || (echo::is_up(address(0)), news())) {
            Ok(up) => return Ok((guest, up)),
            // By emulation on a busy host: the kernel counts interrupts of a timer by a clock that runs on meanwhile.
            Err(error) if starts < MOST_STARTS && guest.console.shows(NO_TIMER) => {
                report(&format!("once more: {error:#}"))
            }
            Err(error) => return Err(error),
        }
        starts += 1;
    }
}

fn serve(outputs: &Outputs) -> Result<Network> {
    let (efi, kernel) = (outputs.file("single.efi")?, outputs.file("single/kernel")?);
    Network::start(&Offer { guests: 1, efi: &efi, kernel: Some(&kernel), lines: "" })
}

/// Starts a guest. Firmware's variables are shared by all tests, which leave them as they are.
fn start(outputs: &Outputs, boot: Boot) -> Result<Guest> {
    let card = if boot == Boot::Microvm { "virtio-net-device" } else { "virtio-net-pci" };
    let mac = format!("{card}.mac={}", mac(0));
    let extra = extra(&["-global", &mac, "-no-reboot"]);
    let options = Options { tap: Some(tap(0)), snapshot: true, extra, ..Options::default() };
    let name = format!("netboot-{}", boot.name());
    Guest::start(outputs, &Start { boot: Some(boot), options, ..Start::new(&name, PROFILE) })
}

/// The file came by the way that was asked for, and no other.
fn check_way(boot: Boot, network: &Network, requests: &http::Requests) -> Result<()> {
    let requests = requests.lock().ok().context("the web server panicked")?.join("\n");
    let log = network.log();
    let by_tftp = |name: &str, to: &str| {
        log.lines().any(|line| line.contains(&format!("/files/{name} to {to}")) && line.contains(" sent "))
    };
    let get = requests.lines().find(|line| line.contains(" GET /single.efi "));
    let right = match boot {
        Boot::Pxe4 => by_tftp("single.efi", "192.168.77.") && get.is_none(),
        Boot::Pxe6 => by_tftp("single.efi", "fd00:77::") && get.is_none(),
        Boot::Ipxe => by_tftp("kernel", "192.168.77."),
        Boot::Http4 => get.is_some_and(|line| line.starts_with("192.168.77.")) && !log.contains(" sent /"),
        Boot::Http6 => get.is_some_and(|line| line.starts_with("fd00:77::")) && !log.contains(" sent /"),
        _ => get.is_none() && !log.contains(" sent /"),
    };
    ensure!(right, "{} came another way:\n{log}\n{requests}", boot.name());
    Ok(())
}

/// Over both protocols and both versions of IP.
fn use_service(guest: &mut Guest) -> Result<()> {
    guest.until_others("address for IPv6", SILENCE, || (echo::is_up(address6(0)), 0))?;
    for host in [address(0), address6(0)] {
        for (name, exchange) in [("TCP", echo::tcp as fn(IpAddr, usize) -> Result<echo::Figures>), ("UDP", echo::udp)] {
            let figures = exchange(host, echo::MESSAGES).map_err(|error| guest.failure(&format!("{error:#}")))?;
            let echo::Figures { messages, again, time } = figures;
            report(&format!(
                "{host}: {messages} messages by {name} in {:.1} s, {again} sent again",
                time.as_secs_f64()
            ));
        }
    }
    Ok(())
}

fn all() -> Vec<u16> {
    (1..=u16::MAX).collect()
}

/// Of the ports of a list only that of the echo service is open.
fn check_ports(
    guest: &Guest,
    name: &str,
    scan: fn(IpAddr, &[u16]) -> Result<BTreeSet<u16>>,
    asked: &[u16],
) -> Result<()> {
    for host in [address(0), address6(0)] {
        let begin = Instant::now();
        let open = scan(host, asked).map_err(|error| guest.failure(&format!("{error:#}")))?;
        let seconds = begin.elapsed().as_secs_f64();
        report(&format!("{host}: {} ports of {name} asked in {seconds:.1} s, open: {open:?}", asked.len()));
        ensure!(open == BTreeSet::from([echo::PORT]), guest.failure(&format!("{name} is open at {open:?}")));
    }
    Ok(())
}

fn end(guest: &mut Guest, boot: Boot) -> Result<()> {
    if boot == Boot::Microvm {
        return guest.pull_plug(); // Without ACPI it has no power button.
    }
    guest.qmp("system_powerdown", json!({}))?;
    guest.line("reboot: Power down")?;
    guest.ended(10.0)
}
