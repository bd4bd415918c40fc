//! Servers of a network, as other people made them: dnsmasq, radvd, rsyslogd and chronyd, each with a configuration of the test's, in
//! the foreground, and a bridge that a guest's card is on. Only in [`super::network::inside`].

use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use build_support::fs;

use super::limit;

/// The bridge's first address for IPv4.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
/// The bridge's address for IPv6.
pub const SERVER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 1);
/// The bridge.
pub const BRIDGE: &str = "br0";
/// The tap device on the bridge, and one on its own, whose other end nobody answers.
pub const TAPS: [&str; 2] = ["tap0", "tap1"];
/// Seconds until a server has its sockets.
const START: f64 = 30.0;

/// Whether these programs are installed; says so where one is not.
pub fn are_installed(names: &[&str]) -> bool {
    let missing = names.iter().find(|name| program(name).is_none());
    if let Some(name) = missing {
        testing::skip(&format!("{name} is not installed; ./setup.sh --servers installs it"));
    }
    missing.is_none()
}

/// Debian keeps them where an ordinary user's PATH does not look.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    dirs.map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// Makes the bridge and the taps.
pub fn make_network() -> Result<()> {
    let [on_bridge, alone] = TAPS;
    ip(&format!(
        "link set lo up\nlink add {BRIDGE} address 02:00:00:77:00:01 type bridge\naddr add {SERVER}/24 dev {BRIDGE}\n\
         addr add {SERVER6}/64 dev {BRIDGE} nodad\ntuntap add dev {on_bridge} mode tap\n\
         link set {on_bridge} master {BRIDGE} up\ntuntap add dev {alone} mode tap\nlink set {alone} up\nlink set {BRIDGE} up\n"
    ))
}

/// Runs lines of `ip -batch`.
pub fn ip(lines: &str) -> Result<()> {
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().context("cannot start ip")?;
    ip.stdin.take().context("no pipe")?.write_all(lines.as_bytes())?;
    ensure!(ip.wait()?.success(), "ip cannot do:\n{lines}");
    Ok(())
}

/// A server at work. It is killed when this is dropped.
pub struct Server {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// dnsmasq as a DHCP server on the bridge. The first word names its files.
    pub fn dnsmasq(dir: &Path, name: &str, lines: &str) -> Result<Server> {
        let leases = dir.join(format!("{name}.leases"));
        let common = format!(
            "port=0\nno-daemon\nlog-dhcp\ninterface={BRIDGE}\nbind-interfaces\npid-file=\nno-ping\n\
             dhcp-authoritative\ndhcp-leasefile={}\n",
            leases.display()
        );
        let config = config(dir, name, &format!("{common}{lines}"))?;
        Server::start(
            dir,
            name,
            "dnsmasq",
            &[&format!("--conf-file={config}")],
            "sockets bound exclusively to interface",
        )
    }

    /// radvd on the bridge.
    pub fn radvd(dir: &Path, lines: &str) -> Result<Server> {
        let config = config(dir, "radvd", &format!("interface {BRIDGE} {{\n{lines}}};\n"))?;
        let pid = dir.join("radvd.pid").display().to_string();
        Server::start(dir, "radvd", "radvd", &["-n", "-d", "2", "-m", "stderr", "-C", &config, "-p", &pid], "version")
    }

    /// rsyslogd with a file `messages` of one line for each message: its fields with `|` between them.
    pub fn rsyslogd(dir: &Path, inputs: &str) -> Result<Server> {
        const FIELDS: &str = "%inputname%|%pri%|%protocol-version%|%timestamp:::date-rfc3339%|%hostname%|%app-name%|%procid%\
                              |%msgid%|%structured-data%|%msg%\\n";
        let text = format!(
            "module(load=\"imudp\")\nmodule(load=\"imtcp\")\ntemplate(name=\"fields\" type=\"string\" string=\"{FIELDS}\")\n\
             {inputs}action(type=\"omfile\" file=\"{}\" template=\"fields\")\n",
            messages(dir).display()
        );
        let config = config(dir, "rsyslogd", &text)?;
        let pid = dir.join("rsyslogd.pid");
        // It does not start beside a process of the number that one that was killed has left there.
        if pid.exists() {
            fs::remove_file(&pid)?;
        }
        Server::start(dir, "rsyslogd", "rsyslogd", &["-n", "-f", &config, "-i", &pid.display().to_string()], "")
    }

    /// chronyd with the host's clock, which it does not touch.
    pub fn chronyd(dir: &Path) -> Result<Server> {
        let pid = dir.join("chronyd.pid");
        let text = format!("local stratum 8\nallow all\ncmdport 0\npidfile {}\n", pid.display());
        let config = config(dir, "chronyd", &text)?;
        Server::start(
            dir,
            "chronyd",
            "chronyd",
            &["-x", "-d", "-u", "root", "-f", &config],
            "Disabled control of system clock",
        )
    }

    fn start(dir: &Path, name: &str, program_name: &str, args: &[&str], begin: &str) -> Result<Server> {
        let log = dir.join(format!("{name}.log"));
        let file = fs::File::create(&log)?;
        let path = program(program_name).with_context(|| format!("{program_name} is not installed"))?;
        let mut command = Command::new(path);
        command.args(args).stdin(Stdio::null());
        command.stdout(file.file().try_clone()?).stderr(file.file().try_clone()?);
        let child = command.spawn().with_context(|| format!("cannot start {program_name}"))?;
        let mut server = Server { name: name.into(), child, log };
        server.says(begin)?;
        Ok(server)
    }

    /// What it said.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How often it said something.
    pub fn count(&self, words: &str) -> usize {
        self.log().matches(words).count()
    }

    fn says(&mut self, words: &str) -> Result<()> {
        let begin = Instant::now();
        while !self.log().contains(words) {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}:\n{}", self.name, self.log());
            }
            ensure!(begin.elapsed() < limit(START), "{} does not say `{words}`:\n{}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Lets it end as its own rules are.
    pub fn terminate(mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        ensure!(Command::new("kill").args(["-s", "TERM", &pid]).status()?.success(), "cannot end {}", self.name);
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have ended by itself.
        let _ = self.child.wait();
    }
}

fn config(dir: &Path, name: &str, text: &str) -> Result<String> {
    let path = dir.join(format!("{name}.conf"));
    fs::write(&path, text)?;
    Ok(path.display().to_string())
}

fn messages(dir: &Path) -> PathBuf {
    dir.join("messages")
}

/// A message of syslog, as rsyslogd took it apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The way on which it came: `imudp` or `imtcp`.
    pub input: String,
    /// Facility and severity.
    pub priority: String,
    /// The version of the form: 1 is RFC 5424.
    pub version: String,
    /// Its time; rsyslogd's own, where it has none.
    pub time: String,
    /// The machine.
    pub host: String,
    /// The program.
    pub app: String,
    /// Process, kind and structured data.
    pub rest: [String; 3],
    /// What was said.
    pub text: String,
}

/// All messages that rsyslogd has written.
pub fn received(dir: &Path) -> Vec<Message> {
    let text = fs::read_to_string(messages(dir)).unwrap_or_default();
    // The last line may not be whole.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().filter_map(parse).collect()
}

fn parse(line: &str) -> Option<Message> {
    let fields: Vec<&str> = line.splitn(10, '|').collect();
    let [input, priority, version, time, host, app, process, kind, data, text] = fields[..] else { return None };
    let own = String::from;
    Some(Message {
        input: own(input),
        priority: own(priority),
        version: own(version),
        time: own(time),
        host: own(host),
        app: own(app),
        rest: [process, kind, data].map(own),
        text: own(text),
    })
}
