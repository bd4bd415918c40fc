//! `dhcpc` with a real server, dnsmasq, at the other end of a virtual cable: a lease and all that comes with it, its renewal, a
//! question whether it still counts, a refusal, and the lease after it. In namespaces, without root.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Set in the program that runs in the namespaces.
const INSIDE: &str = "BLOOMERY_TEST_INSIDE";
/// A process with threads cannot enter a user namespace, so the test program starts anew in one.
const NAMESPACES: &[&str] = &["-U", "-r", "-n", "-m", "-p", "-f", "--kill-child", "--mount-proc"];
/// Nothing new for so long is a failure; generous, because build hosts are busy.
const QUIET: Duration = Duration::from_secs(60);
/// The card of the client.
const MAC: &str = "52:54:00:77:00:07";
/// The client's side, in a network and with files of its own. It begins when its end of the cable is there.
const CLIENT: &str = "set -e; mount -t sysfs none /sys; mount -t tmpfs none /run; hostname localhost
    echo READY; n=0; until ip link set v1 up 2>/dev/null || [ $n -ge 600 ]; do n=$((n+1)); sleep 0.05; done
    exec \"$0\" --mtu --metric=7 v1";

#[test]
fn a_lease_is_taken_renewed_refused_and_taken_anew() {
    if std::env::var_os(INSIDE).is_some() {
        return work();
    }
    let veth = ["ip", "link", "add", "a0", "type", "veth", "peer", "name", "a1"];
    let allowed = Command::new("unshare").args(NAMESPACES).args(veth).stderr(Stdio::null()).status();
    if !allowed.is_ok_and(|status| status.success()) {
        return testing::skip("this host has no virtual cables (veth), no unprivileged namespaces, or no program ip");
    }
    let own = ["a_lease_is_taken_renewed_refused_and_taken_anew", "--exact", "--nocapture"];
    let mut again = Command::new("unshare");
    again.args(NAMESPACES).arg(std::env::current_exe().unwrap()).args(own).env(INSIDE, "1");
    let output = again.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

fn work() {
    let dir = tempfile::tempdir().unwrap();
    ip("link set lo up");
    ip("link add v0 type veth peer name v1");
    ip("link set v0 up");
    let client = Client::start(dir.path());

    // The server says what the lease is, and that it is to be renewed after 3 s.
    ip("address add 10.9.0.1/24 dev v0");
    let lines = "dhcp-range=10.9.0.10,10.9.0.20,2m\ndhcp-option=option:T1,3\ndhcp-option=option:mtu,1400\n\
                 dhcp-option=option:dns-server,10.9.0.3,10.9.0.4\ndhcp-option=option:domain-search,a.org,b.org\n\
                 dhcp-option=option:ntp-server,10.9.0.5\ndhcp-option=option:log-server,10.9.0.6\n\
                 dhcp-option=option:classless-static-route,0.0.0.0/0,10.9.0.1,10.8.0.0/16,10.9.0.2\n";
    let server = Server::start(dir.path(), "first", &format!("{lines}dhcp-host={MAC},10.9.0.15,node7\n"));
    client.says("dhcpc: v1: 10.9.0.15/24 from 10.9.0.1 for 120 s");
    client.says("dhcpc: v1: this machine is node7");
    client.shows("ip -4 -o address show dev v1", &["inet 10.9.0.15/24"]);
    client.shows("ip route", &["default via 10.9.0.1 dev v1 proto dhcp metric 7", "10.8.0.0/16 via 10.9.0.2 dev v1"]);
    client.shows("ip link show dev v1", &["mtu 1400"]);
    client.shows("cat /run/resolv.conf", &["search a.org b.org\nnameserver 10.9.0.3\nnameserver 10.9.0.4\n"]);
    client.shows("hostname", &["node7"]);
    let told =
        ["address=10.9.0.15/24\nserver=10.9.0.1\n", "\nrenew=", "\nntp-servers=10.9.0.5\nlog-servers=10.9.0.6\n"];
    client.shows("cat /run/dhcp/v1", &told);
    client.shows("cat /run/dhcp/v1", &["name-servers=10.9.0.3 10.9.0.4", "domains=a.org b.org\nhost-name=node7\n"]);

    // The first answer is that to the first request, the second one that to the first renewal, which tells the name.
    server.says("DHCPACK(v0) 10.9.0.15", 2);
    server.says("client provides name: node7", 1);
    // A question, as after a cable was unplugged; renewals go on beside it.
    let before = server.count("DHCPREQUEST(v0) 10.9.0.15");
    client.signal("USR1");
    server.says("DHCPREQUEST(v0) 10.9.0.15", before + 1);
    server.says("DHCPACK(v0) 10.9.0.15", before + 1);
    client.shows("ip -4 -o address show dev v1", &["inet 10.9.0.15/24"]);
    // Nobody asks, so nobody listens at the client's port.
    client.shows("cat /proc/net/udp | wc -l", &["1"]);
    server.stop();

    // Another network behind the same cable, whose server gives nothing to strangers, and refuses what it did not give.
    ip("address flush dev v0");
    ip("address add 10.9.1.1/24 dev v0");
    let server = Server::start(dir.path(), "second", "dhcp-range=10.9.1.0,static,2m\n");
    client.signal("USR1");
    server.says("DHCPNAK(v0) 10.9.0.15", 1);
    client.says("10.9.1.1 takes 10.9.0.15 back");
    client.shows("ip -4 -o address show dev v1", &[""]);
    client.shows("ip route", &[""]);
    client.shows("cat /run/resolv.conf /run/resolv/* /run/dhcp/* 2>/dev/null", &[""]);
    server.stop();

    let server = Server::start(dir.path(), "third", "dhcp-range=10.9.1.30,10.9.1.30,2m\n");
    client.says("dhcpc: v1: 10.9.1.30/24 from 10.9.1.1 for 120 s");
    client.shows("ip -4 -o address show dev v1", &["inet 10.9.1.30/24"]);
    client.shows("ip route", &["default via 10.9.1.1 dev v1"]);
    client.shows("hostname", &["node7"]);
    client.stop();
    server.stop();
}

/// Runs `ip` on the server's side.
fn ip(words: &str) {
    assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success(), "ip {words}");
}

/// Waits until a look at something is what it should be; `seen` shows it for the message.
fn wait(what: &str, is_there: impl Fn(&str) -> bool, seen: impl Fn() -> String) {
    let (mut last, mut before) = (Instant::now(), seen());
    while !is_there(&before) {
        assert!(last.elapsed() < QUIET, "no {what} in:\n{before}");
        std::thread::sleep(Duration::from_millis(20));
        let now = seen();
        if now != before {
            (last, before) = (Instant::now(), now);
        }
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The client in its own network.
struct Client {
    child: Child,
    log: PathBuf,
}

impl Client {
    fn start(dir: &Path) -> Client {
        let log = dir.join("client");
        let file = File::create(&log).unwrap();
        let mut command = Command::new("unshare");
        command.args(["-n", "-m", "-u", "sh", "-c", CLIENT, env!("CARGO_BIN_EXE_dhcpc")]);
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let client = Client { child: command.spawn().unwrap(), log };
        client.says("READY");
        ip(&format!("link set v1 address {MAC} netns {}", client.child.id()));
        client
    }

    /// Waits until it has said something.
    fn says(&self, words: &str) {
        wait(words, |seen| seen.contains(words), || text(&self.log));
    }

    /// Waits until a command on its side shows all of these; what is to show nothing shows nothing.
    fn shows(&self, command: &str, wanted: &[&str]) {
        let look = || {
            let pid = self.child.id().to_string();
            let mut enter = Command::new("nsenter");
            enter.args(["-t", &pid, "-n", "-m", "-u", "sh", "-c", command]);
            String::from_utf8_lossy(&enter.output().unwrap().stdout).into_owned()
        };
        let right = |seen: &str| wanted.iter().all(|part| seen.contains(part) && (!part.is_empty() || seen.is_empty()));
        wait(&format!("{wanted:?} by `{command}`; it said {}", text(&self.log)), right, look);
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Stops it, which leaves the interface as it is.
    fn stop(mut self) {
        self.signal("TERM");
        assert!(self.child.wait().unwrap().success(), "{}", text(&self.log));
    }
}

/// dnsmasq on the other side.
struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    fn start(dir: &Path, name: &str, lines: &str) -> Server {
        let (config, log) = (dir.join(format!("{name}.conf")), dir.join(format!("{name}.log")));
        let common = "port=0\nno-daemon\nlog-dhcp\ninterface=v0\nbind-interfaces\n\
                      pid-file=\ndhcp-authoritative\nno-ping\n";
        let leases = dir.join(format!("{name}.leases"));
        fs::write(&config, format!("{common}dhcp-leasefile={}\n{lines}", leases.display())).unwrap();
        let file = File::create(&log).unwrap();
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("dnsmasq");
        command.arg(format!("--conf-file={}", config.display())).env("PATH", path);
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().expect("dnsmasq does not start\nhint: run ./setup.sh");
        let server = Server { child, log };
        server.says("sockets bound exclusively to interface v0", 1);
        server
    }

    fn count(&self, words: &str) -> usize {
        text(&self.log).matches(words).count()
    }

    /// Waits until it has said something so many times.
    fn says(&self, words: &str, times: usize) {
        wait(words, |seen| seen.matches(words).count() >= times, || text(&self.log));
    }

    fn stop(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
