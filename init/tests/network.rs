//! The network in namespaces of its own: pairs of virtual cables come, change and go. Where the host has none (veth), or no
//! program `ip`, the tests say so and are skipped.

mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use common::{POWERED_OFF, Setup, System, has_cables};

/// Far more than the second that an interface may take, because build hosts are busy.
const SOON: Duration = Duration::from_secs(20);

/// Shell words that wait until a command succeeds.
fn until(command: &str) -> String {
    format!("n=0; until {command} || [ $n -ge 400 ]; do n=$((n+1)); sleep 0.05; done; ")
}

#[test]
fn a_cable_that_comes_is_configured_and_one_that_goes_is_cleaned_up() {
    if !has_cables() {
        return;
    }
    let rule = "match = ['no', 'v*']\naddresses = ['192.168.7.5/24', 'fd00::5/64']\n\
                gateway = ['192.168.7.1', 'fd00::1']\nroutes = [{ to = '10.0.0.0/8', via = '192.168.7.9' }]\n\
                dns = '192.168.7.1'\nsearch = 'example.org'\nmtu = 1400\nra = false\nmetric = 7\ncolor = 'red'\n";
    let changed = "sed -i 's/7.5/7.6/; /color/d' /etc/network/10-v.toml; kill -HUP 1; ";
    let script = [
        "ip link show lo; ip link add v0 type veth peer name p1; ip link set p1 up; ",
        &until("[ -e /run/resolv.conf ] && ip -6 route show default | grep -q metric"),
        "ip -o address show dev v0; ip route; ip -6 route; ip -o link show v0; cat /etc/resolv.conf; ",
        "cat /proc/sys/net/ipv6/conf/v0/accept_ra; echo BE\"\"FORE; ",
        changed,
        &until("ip -o address show dev v0 | grep -q 7.6/"),
        "ip -o address show dev v0; ip route; echo CHAN\"\"GED; ip link del v0; ",
        &until("[ ! -e /run/resolv/static.v0 ]"),
        "echo \"lines $(wc -l </run/resolv.conf)\"; kill -USR2 1",
    ]
    .concat();
    let files = [("etc/network/10-v.toml", rule), ("etc/script", &script), ("sys/net/ipv6/conf/v0/accept_ra", "1")];
    let table = "::once:/bin/sh /etc/script\n";
    let Some(mut system) = System::start_with("cable", &Setup { table, files: &files, ..Setup::default() }) else {
        return;
    };
    let seen = system.expect("BEFORE");
    for words in [
        "/etc/network/10-v.toml, line 10: unknown key 'color'",
        "lo: <LOOPBACK,UP",
        "inet 192.168.7.5/24 brd 192.168.7.255",
        "inet6 fd00::5/64",
        "default via 192.168.7.1 dev v0 proto static metric 7",
        "10.0.0.0/8 via 192.168.7.9 dev v0",
        "default via fd00::1 dev v0",
        "mtu 1400",
        "search example.org\nnameserver 192.168.7.1\n0",
        "init: v0: 192.168.7.5/24 at ",
    ] {
        assert!(seen.contains(words), "'{words}' in {seen}");
    }
    let seen = system.expect("CHANGED");
    assert!(seen.contains("inet 192.168.7.6/24") && !seen.contains("7.5/24"), "{seen}");
    assert!(seen.contains("default via 192.168.7.1"), "{seen}");
    system.expect("lines 0");
    system.ends_by(POWERED_OFF);
}

#[test]
fn a_client_runs_for_as_long_as_its_cable_is_there() {
    if !has_cables() {
        return;
    }
    // In the place of udhcpc: it tells what it gets.
    let client = "#!/bin/sh\necho \"CLIENT $*, metric $IF_METRIC\" >/dev/console\n\
                  trap 'echo CLIENT RENEWS >/dev/console' USR1\ntrap 'echo CLIENT ENDS >/dev/console; exit' TERM\n\
                  while :; do sleep 0.05; done\n";
    let script = [
        // The time is for what must not happen: a client without a carrier.
        "ip link add w0 type veth peer name p1; sleep 0.3; echo CABLE; ip link set p1 up; ",
        &until("[ -e /etc/go1 ]"),
        "ip address add 10.5.0.20/24 dev w0; ",
        &until("[ -e /etc/go2 ]"),
        "ip link set p1 down; ",
        // The kernel tells of both at the same time.
        &until("ip -o link show w0 | grep -q 'state [A-Z]*DOWN'"),
        "echo BACK; ip link set p1 up; ",
        &until("[ -e /etc/go3 ]"),
        "mkdir -p /run/resolv; echo 'nameserver 10.5.0.1' >/run/resolv/dhcp.w0; cp /run/resolv/dhcp.w0 /run/resolv.conf; ",
        "echo GONE; ip link del w0; ",
        &until("[ ! -e /run/resolv/dhcp.w0 ]"),
        "echo \"lines $(wc -l </run/resolv.conf)\"; kill -USR2 1",
    ]
    .concat();
    // The other end of the cable has no rule, and a virtual interface is not configured without one.
    let files = [("etc/bin/udhcpc", client), ("etc/network/w.toml", "match = 'w0'\n"), ("etc/script", &script)];
    let setup = Setup {
        table: "::once:/bin/sh /etc/script\n",
        files: &files,
        script: "chmod +x etc/bin/udhcpc; export PATH=/etc/bin:$PATH",
        ..Setup::default()
    };
    let Some(mut system) = System::start_with("client", &setup) else {
        return;
    };
    let before = system.expect("CABLE");
    assert!(!before.contains("CLIENT"), "without a carrier there is nobody to ask: {before}");
    let came = Instant::now();
    let seen = system.expect("CLIENT -f -i w0");
    assert!(came.elapsed() < SOON, "{:?}", came.elapsed());
    assert!(!seen.contains("-i p1"), "{seen}");
    system.expect("metric 1");
    std::fs::write(system.dir.join("etc/go1"), "").unwrap();
    system.expect("w0: 10.5.0.20/24 at ");
    std::fs::write(system.dir.join("etc/go2"), "").unwrap();
    system.expect("BACK");
    let back = Instant::now();
    system.expect("CLIENT RENEWS");
    assert!(back.elapsed() < SOON, "{:?}", back.elapsed());
    std::fs::write(system.dir.join("etc/go3"), "").unwrap();
    system.expect("GONE");
    let gone = Instant::now();
    let end = system.expect("lines 0");
    assert!(end.contains("CLIENT ENDS"), "{end}");
    assert!(gone.elapsed() < SOON, "{:?}", gone.elapsed());
    system.ends_by(POWERED_OFF);
}

#[test]
fn cards_of_one_rule_keep_their_routes_and_a_reload_takes_settings_back() {
    if !has_cables() {
        return;
    }
    let rule = "match = ['v0', 'v1']\naddresses = '192.168.7.5/24'\ngateway = ['192.168.7.1', '192.168.7.2']\n\
                metric = 7\nmtu = 1400\nra = true\nipv6 = false\n";
    let script = [
        "ip link add v0 type veth peer name p0; ip link set p0 up; ip link add v1 type veth peer name p1; ip link set p1 up; ",
        &until("[ $(ip route show default | wc -l) = 4 ]"),
        "ip route; ip -o link show v0; echo BE\"\"FORE; echo \"match = 'v?'\" >/etc/network/v.toml; kill -HUP 1; ",
        &until("ip -o link show v0 | grep -q 'mtu 1500'"),
        "cat /proc/sys/net/ipv6/conf/v0/accept_ra /proc/sys/net/ipv6/conf/v0/disable_ipv6; ip route; kill -USR2 1",
    ]
    .concat();
    let ipv6 = |name: &str, setting: &str| format!("sys/net/ipv6/conf/{name}/{setting}");
    let paths = [ipv6("v0", "accept_ra"), ipv6("v0", "disable_ipv6")];
    let defaults = [ipv6("default", "accept_ra"), ipv6("default", "disable_ipv6")];
    let files = [
        ("etc/network/v.toml", rule),
        ("etc/script", &script),
        (&paths[0], "8"),
        (&paths[1], "8"),
        (&defaults[0], "5\n"),
        (&defaults[1], "6\n"),
    ];
    let table = "::once:/bin/sh /etc/script\n";
    let Some(mut system) = System::start_with("one-rule", &Setup { table, files: &files, ..Setup::default() }) else {
        return;
    };
    let seen = system.expect("BEFORE");
    assert!(seen.contains("mtu 1400"), "{seen}");
    for words in ["192.168.7.1 dev v0", "192.168.7.2 dev v0", "192.168.7.1 dev v1", "192.168.7.2 dev v1"] {
        assert!(seen.contains(&format!("default via {words} proto static metric 7")), "'{words}' in {seen}");
    }
    let seen = system.expect("5\n6\n") + &system.expect("power");
    assert!(!seen.contains("default via"), "{seen}");
    system.ends_by(POWERED_OFF);
}

/// Runs shell words in a network of their own that has the cards d0 and d1 with cables, and the function `event`, which
/// calls the DHCP client's script for d0. Nothing where that is not possible.
fn with_lease_script(words: &str) -> Option<String> {
    if !has_cables() {
        return None;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../sysroot/skeleton/usr/share/udhcpc/default.script");
    let before = "set -e; mount -t tmpfs run /run; mkdir /run/resolv
        for card in d0 d1; do
            ip link add $card type veth peer name p$card
            ip link set $card up; ip link set p$card up
        done
        event() { # name, and what the server said as NAME=value
            name=$1; shift
            env interface=d0 IF_METRIC=103 ip=10.5.0.20 mask=24 \"$@\" sh \"$script\" \"$name\"
        }
        ";
    let output = Command::new("unshare")
        .args(["-U", "-r", "-n", "-m", "sh", "-c", &[before, words].concat()])
        .env("script", script)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && output.stderr.is_empty(), "{text}\n{output:?}");
    Some(text)
}

#[test]
fn a_lease_gives_what_the_configuration_does_not() {
    let words = "S='search=lan dns=10.5.0.1'
        event bound $S; cat /run/resolv.conf; echo both
        echo 'search a.org' >/run/resolv/static.d0; event renew $S; cat /run/resolv.conf; echo servers
        echo 'nameserver 9.9.9.9' >/run/resolv/static.d0; event renew $S; cat /run/resolv.conf; echo search
        rm /run/resolv/static.d0; event renew $S; cat /run/resolv.conf";
    let Some(seen) = with_lease_script(words) else {
        return;
    };
    let both = "search lan\nnameserver 10.5.0.1\n";
    let (servers, search) = ("search a.org\nnameserver 10.5.0.1\n", "nameserver 9.9.9.9\nsearch lan\n");
    assert_eq!(seen, format!("{both}both\n{servers}servers\n{search}search\n{both}"));
}

#[test]
fn a_lease_that_is_renewed_has_its_routes() {
    let words = "event bound router='10.5.0.1 10.5.0.2'; ip route show default; echo bound
        event renew router='10.5.0.1 10.5.0.2'; ip route show default; echo renewed
        ip link set d0 down; ip link set d0 up; ip route show default; echo lost
        event renew router='10.5.0.1 10.5.0.2'; ip route show default; echo again
        event bound router=10.5.0.3; ip route show default; echo changed
        event deconfig; ip route show default; ip -4 address show dev d0";
    let Some(seen) = with_lease_script(words) else {
        return;
    };
    let words: Vec<&str> = seen.split_whitespace().collect();
    let seen = words.join(" ");
    let route = |number: u32, metric: u32| format!("default via 10.5.0.{number} dev d0 proto dhcp metric {metric} ");
    let both = route(1, 103) + &route(2, 104);
    let changed = route(3, 103);
    assert_eq!(seen, format!("{both}bound {both}renewed lost {both}again {changed}changed"));
}

#[test]
fn a_lease_leaves_the_routes_of_other_cards() {
    let words = "ip address add 10.6.0.9/24 dev d1; ip route add default via 10.6.0.1 dev d1 metric 104
        event bound router='10.5.0.1 10.5.0.2' staticroutes=; ip route show default
        event bound staticroutes='10.8.0.0/16 10.5.0.9 0.0.0.0/0 10.5.0.1 10.9.0.0/16 0.0.0.0'; ip route";
    let Some(seen) = with_lease_script(words) else {
        return;
    };
    assert_eq!(seen.matches("default via 10.6.0.1 dev d1 metric 104").count(), 2, "{seen}");
    for words in [
        "default via 10.5.0.2 dev d0 proto dhcp metric 104",
        "10.8.0.0/16 via 10.5.0.9 dev d0 proto dhcp metric 103",
        "default via 10.5.0.1 dev d0 proto dhcp metric 103",
        "10.9.0.0/16 dev d0 proto dhcp scope link metric 103",
    ] {
        assert!(seen.contains(words), "'{words}' in {seen}");
    }
}

#[test]
fn services_can_wait_for_the_network() {
    if !has_cables() {
        return;
    }
    let service = |name: &str, key: &str| {
        let text = format!("command = 'echo UP-{name}'\ntype = 'oneshot'\noutput = 'console'\n{key} = ['network']\n");
        (format!("etc/services.d/{name}.toml"), text)
    };
    let services = [service("after", "after"), service("needs", "needs")];
    let late = service("late", "needs").1;
    let script = [
        "PATH=/etc/bin:$PATH; until initctl list | grep -q 'network *starting'; do sleep 0.05; done; echo CA\"\"BLE; ",
        "kill -URG 1; ip link add v0 type veth peer name p0; ip link set p0 up; ",
        &until("[ -e /etc/go ]"),
        "cp /etc/late /etc/services.d/late.toml; initctl reload; ",
        &until("initctl list | grep -q 'late *done'"),
        "initctl restart network; initctl list; kill -USR2 1",
    ]
    .concat();
    let files = [
        (services[0].0.as_str(), services[0].1.as_str()),
        (&services[1].0, &services[1].1),
        ("etc/late", &late),
        ("etc/network/v.toml", "match = 'v0'\naddresses = '10.9.9.9/24'\n"),
        ("etc/script", &script),
    ];
    let setup = Setup {
        table: "::once:/bin/sh /etc/script\n",
        files: &files,
        script: "mkdir etc/bin; cp \"$2\" etc/bin/init; ln etc/bin/init etc/bin/initctl; set -- \"$1\" /etc/bin/init",
        ..Setup::default()
    };
    let Some(mut system) = System::start_with("wait", &setup) else {
        return;
    };
    let seen = system.expect("CABLE");
    assert!(!seen.contains("UP-"), "{seen}");
    let seen = system.expect("UP-") + &system.expect("UP-");
    assert!(seen.contains("init: v0: 10.9.9.9/24 at "), "{seen}");
    std::fs::write(system.dir.join("etc/go"), "").unwrap();
    system.expect("UP-late");
    let seen = system.expect("going down");
    assert!(seen.lines().any(|line| line.contains("network") && line.contains("done")), "{seen}");
    system.ends_by(POWERED_OFF);
}

#[test]
fn the_kernel_command_line_has_the_first_word() {
    if !has_cables() {
        return;
    }
    let script = [
        "hostname; ip link add v0 type veth peer name p1; ",
        &until("ip route | grep -q default"),
        "ip -o address show dev v0; ip route; cat /run/resolv.conf; kill -USR2 1",
    ]
    .concat();
    let setup = Setup {
        table: "::once:/bin/sh /etc/script\n",
        command_line: "quiet ip=10.7.0.5::10.7.0.1:255.255.0.0:iron:v0:off:10.7.0.53 ip=nonsense",
        files: &[("etc/script", &script), ("etc/network/v.toml", "match = 'v0'\naddresses = '10.9.9.9/24'\n")],
        ..Setup::default()
    };
    let Some(mut system) = System::start_with("command-line", &setup) else {
        return;
    };
    let seen = system.expect("nameserver 10.7.0.53");
    for words in ["kernel command line: ip=nonsense", "inet 10.7.0.5/16", "default via 10.7.0.1 dev v0"] {
        assert!(seen.contains(words), "'{words}' in {seen}");
    }
    assert!(!seen.contains("10.9.9.9"), "{seen}");
    system.ends_by(POWERED_OFF);
}
