//! A network of a test's own, without root: a bridge with taps for guests, dnsmasq for DHCP, DHCPv6, router advertisements
//! and TFTP, and a web server. The test program starts itself once more in namespaces of its own, because a process with
//! threads cannot enter a user namespace.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use build_support::fs;
use tempfile::TempDir;

use super::limit;

/// Set in the program that runs in the namespaces.
const INSIDE: &str = "BLOOMERY_TEST_INSIDE";
/// The namespaces: users, network, mounts, processes. What the program leaves behind ends with it.
const NAMESPACES: &[&str] = &["-U", "-r", "-n", "-m", "-p", "-f", "--kill-child", "--mount-proc"];
/// Seconds until dnsmasq has its sockets.
const START: f64 = 30.0;

/// The servers' address for IPv4, and that of the first guest.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
/// The servers' address for IPv6.
pub const SERVER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 1);
/// Networks of which every address belongs to this side: a guest limits what it answers to each.
pub const MANY: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 0);
/// The same for IPv6.
pub const MANY6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x78, 0, 0, 0, 0, 0, 0);

/// Runs a test in namespaces of its own: this program is started anew there for the test of this name. Where the host does
/// not allow that, the test is skipped.
pub fn inside(test: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return work();
    }
    if !is_allowed() {
        return Ok(());
    }
    let output = Command::new("unshare")
        .args(NAMESPACES)
        .arg(std::env::current_exe()?)
        .args([test, "--exact", "--nocapture", "--include-ignored", "--test-threads=1"])
        .env(INSIDE, "1")
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start unshare")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{test} failed in its namespaces; what it said is above\n{text}");
    ensure!(text.contains("1 passed"), "{test} is not the name of this test:\n{text}");
    Ok(())
}

/// Whether this host lets its users have such a network; says so where it does not. /dev/net/tun may be root's alone, and
/// namespaces may be forbidden.
pub fn is_allowed() -> bool {
    let tap = ["ip", "tuntap", "add", "dev", "tap0", "mode", "tap"];
    let made = Command::new("unshare").args(NAMESPACES).args(tap).stderr(Stdio::null()).status();
    let made = made.is_ok_and(|status| status.success());
    if !made {
        testing::skip("this host does not let its users have namespaces with tap devices");
    }
    made
}

/// The name of a guest's tap device, counted from 0.
pub fn tap(guest: u8) -> String {
    format!("tap{guest}")
}

/// The address of a guest's card.
pub fn mac(guest: u8) -> String {
    format!("52:54:00:77:00:{guest:02x}")
}

/// The address that DHCP gives a guest.
pub fn address(guest: u8) -> IpAddr {
    Ipv4Addr::new(192, 168, 77, 10 + guest).into()
}

/// The address that a guest gives itself by its card's (RFC 4291, appendix A).
pub fn address6(guest: u8) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0x5054, 0x00ff, 0xfe77, guest.into()).into()
}

/// What the network's servers offer.
pub struct Offer<'a> {
    /// How many guests there are.
    pub guests: u8,
    /// The file for UEFI firmware, by TFTP and HTTP.
    pub efi: &'a Path,
    /// The kernel for a BIOS, by TFTP.
    pub kernel: Option<&'a Path>,
    /// Further lines for dnsmasq.
    pub lines: &'a str,
}

/// A network at work. It ends when this is dropped.
pub struct Network {
    /// What is served.
    pub files: PathBuf,
    dnsmasq: Child,
    log: PathBuf,
    dir: TempDir,
}

impl Network {
    /// Makes the network and starts dnsmasq. Only in [`inside`].
    pub fn start(offer: &Offer) -> Result<Network> {
        let dir = tempfile::tempdir()?;
        let files = dir.path().join("files");
        fs::create_dir_all(&files)?;
        for file in [Some(offer.efi), offer.kernel].into_iter().flatten() {
            fs::copy(file, files.join(file.file_name().context("a file to serve has no name")?))?;
        }
        make_links(offer.guests)?;
        let config = dir.path().join("dnsmasq.conf");
        fs::write(&config, config_text(offer, dir.path())?)?;
        let log = dir.path().join("dnsmasq.log");
        let mut dnsmasq = dnsmasq(&config, &log)?;
        wait_for_start(&mut dnsmasq, &log)?;
        Ok(Network { files, dnsmasq, log, dir })
    }

    /// What dnsmasq said.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The length of what it said: a number that changes with news.
    pub fn news(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |meta| meta.len())
    }

    /// The leases, in dnsmasq's form: a line each of end, card, address, name and client.
    pub fn leases(&self) -> String {
        fs::read_to_string(self.dir.path().join("leases")).unwrap_or_default()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.dnsmasq.kill(); // It may have ended by itself.
        let _ = self.dnsmasq.wait();
    }
}

fn make_links(guests: u8) -> Result<()> {
    let mut lines = format!(
        "link set lo up\nlink add br0 address 02:00:00:77:00:01 type bridge\naddr add {SERVER}/24 dev br0\n\
         addr add {SERVER6}/64 dev br0 nodad\nroute add local {MANY}/16 dev lo\nroute add local {MANY6}/64 dev lo\n"
    );
    for guest in 0..guests {
        let tap = tap(guest);
        write!(lines, "tuntap add dev {tap} mode tap\nlink set {tap} master br0 up\n")?;
    }
    lines += "link set br0 up\n";
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().context("cannot start ip")?;
    ip.stdin.take().context("no pipe")?.write_all(lines.as_bytes())?;
    ensure!(ip.wait()?.success(), "ip cannot do:\n{lines}");
    // By IPv4 a local route is enough to send from all of its addresses.
    Ok(fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1\n")?)
}

fn config_text(offer: &Offer, dir: &Path) -> Result<String> {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (efi, dir) = (name(offer.efi), dir.display());
    let mut text = format!(
        "port=0\nno-daemon\nlog-dhcp\ninterface=br0\nbind-interfaces\n\
         pid-file=\ndhcp-leasefile={dir}/leases\ndhcp-authoritative\n\
         dhcp-range=192.168.77.10,192.168.77.250,10m\n\
         enable-ra\nra-param=br0,10,600\ndhcp-range=fd00:77::1000,fd00:77::1fff,slaac,64,10m\n\
         enable-tftp\ntftp-root={dir}/files\n\
         dhcp-vendorclass=set:http,HTTPClient\ndhcp-match=set:bios,option:client-arch,0\n\
         dhcp-option-force=tag:http,60,HTTPClient\ndhcp-boot=tag:http,http://{SERVER}/{efi}\n\
         dhcp-boot=tag:!http,tag:!bios,{efi}\n\
         dhcp-vendorclass=set:http6,enterprise:343,HTTPClient\n\
         dhcp-option=tag:http6,option6:bootfile-url,http://[{SERVER6}]/{efi}\n\
         dhcp-option=tag:!http6,option6:bootfile-url,tftp://[{SERVER6}]/{efi}\n"
    );
    // Firmware wants the class `HTTPClient` behind six bytes of enterprise and length, which dnsmasq takes as text alone; it
    // looks at the class and not at the enterprise.
    text += "dhcp-option=tag:http6,option6:16,ab,HTTPClient\n";
    if let Some(kernel) = offer.kernel {
        writeln!(text, "dhcp-boot=tag:bios,{}", name(kernel))?;
    }
    for guest in 0..offer.guests {
        writeln!(text, "dhcp-host={},{}", mac(guest), address(guest))?;
    }
    Ok(text + offer.lines)
}

fn dnsmasq(config: &Path, log: &Path) -> Result<Child> {
    let file = fs::File::create(log)?;
    let mut command = Command::new("dnsmasq");
    // Debian keeps it where an ordinary user's PATH does not look.
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    command.arg(format!("--conf-file={}", config.display()));
    command.stdin(Stdio::null()).stdout(file.file().try_clone()?).stderr(file.file().try_clone()?);
    command.spawn().context("cannot start dnsmasq\nhint: run ./setup.sh")
}

fn wait_for_start(dnsmasq: &mut Child, log: &Path) -> Result<()> {
    let begin = Instant::now();
    loop {
        let said = fs::read_to_string(log)?;
        if said.contains("TFTP root is") {
            return Ok(());
        }
        if let Some(status) = dnsmasq.try_wait()? {
            bail!("dnsmasq ended with {status}:\n{said}");
        }
        ensure!(begin.elapsed() < limit(START), "dnsmasq does not start:\n{said}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
