//! Screens of known states in several sizes, beside what they should be: `golden/STATE-COLUMNSxROWS.txt`. With
//! `BLOOMERY_WRITE_DOCS=1` the test writes these files.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use init_base::lease::Lease;
use init_base::protocol::Health;
use init_base::sys::system::Power;
use status::draw::draw;
use status::model::{Address, AddressState, Fault, Interface, LogLine, Memory, Model, Origin, Route, Service, Setting};
use status::screen::Size;
use status::view::{Page, View};

/// Rows and columns: the text mode of PCs, a wide terminal, less than any terminal has.
const SIZES: [(usize, usize); 3] = [(25, 80), (43, 132), (12, 40)];

#[test]
fn screens_are_as_they_were_looked_at() {
    let mut faults = Vec::new();
    for (name, model, view) in states() {
        for (rows, columns) in SIZES {
            let drawn = draw(&model, &view, Size::bounded(rows, columns)).screen.to_string();
            let path = golden(&format!("{name}-{columns}x{rows}.txt"));
            if std::env::var_os("BLOOMERY_WRITE_DOCS").is_some() {
                fs::write(&path, &drawn).unwrap();
            }
            if fs::read_to_string(&path).unwrap_or_default() != drawn {
                faults.push(format!("{}:\n{drawn}", path.display()));
            }
        }
    }
    let hint = "hint: BLOOMERY_WRITE_DOCS=1 cargo test -p status --test golden writes the files";
    assert!(faults.is_empty(), "{}\n{hint}", faults.join("\n"));
}

#[test]
fn the_page_of_the_documentation_has_this_screen() {
    let (name, _, _) = states().remove(1);
    let screen = fs::read_to_string(golden(&format!("{name}-80x25.txt"))).unwrap();
    let lines = screen.lines().take(25).map(|line| line.trim_matches('|').trim_end().to_owned() + "\n");
    let screen: String = lines.collect();
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/status.md")).unwrap();
    assert!(page.contains(&screen), "docs/status.md should show this screen:\n{screen}");
}

#[test]
fn every_size_can_be_drawn() {
    for (_, model, view) in states() {
        for rows in 1..30 {
            for columns in [8, 9, 20, 39, 75, 76, 77, 500] {
                let drawn = draw(&model, &view, Size::bounded(rows, columns));
                assert!(drawn.screen.to_string().lines().take(rows).all(|line| line.chars().count() == columns + 2));
                // Also scrolled further than there is.
                draw(&model, &View { scroll: usize::MAX, ..view.clone() }, Size::bounded(rows, columns));
            }
        }
    }
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn states() -> Vec<(&'static str, Model, View)> {
    let page = |page| View { page, ..View::default() };
    vec![
        ("booting", booting(), View::default()),
        ("up", up(), View::default()),
        ("restarting", restarting(), View::default()),
        ("faults", faults(), View { question: Some((Power::Off, Duration::ZERO)), has_shell: true, ..View::default() }),
        ("many", many(), View::default()),
        ("logs", restarting(), page(Page::Logs)),
        ("log-of-one", restarting(), View { filter: Some("echo".into()), ..page(Page::Logs) }),
        ("network", up(), page(Page::Network)),
        ("settings", faults(), page(Page::Settings)),
    ]
}

fn booting() -> Model {
    Model {
        host: "single".into(),
        product: "Bloomery 0.1.0 (single)".into(),
        description: "Linux, init and an echo service in one EFI file that touches no disk".into(),
        kernel: "Linux 6.18.1 x86_64".into(),
        uptime: Duration::from_secs(2),
        memory: Some(Memory { total: 236_000, available: 210_000 }),
        load: "0.00 0.00 0.00".into(),
        services: vec![service("echo", "starting", Health::Changing)],
        interfaces: vec![Interface { carrier: false, addresses: Vec::new(), lease: None, ..card("eth0", 0x56) }],
        silence: Some("init does not answer; what init knows is not shown".into()),
        ..Model::default()
    }
}

fn up() -> Model {
    let echo = Service { text: "tcp 7, udp 7".into(), ..service("echo", "running", Health::Up) };
    Model {
        clock: Some(1_795_243_550),
        uptime: Duration::from_secs(8040),
        load: "0.08 0.02 0.01".into(),
        services: vec![echo, service("dhcp@eth0", "running", Health::Up)],
        interfaces: vec![card("eth0", 0x56)],
        routes: vec![
            route("default", "10.0.2.2", Origin::Dhcp, 100),
            route("default", "fe80::2", Origin::Router, 1024),
        ],
        name_servers: vec![("10.0.2.3".into(), Origin::Dhcp), ("fec0::3".into(), Origin::Router)],
        silence: None,
        log: vec![
            line("echo", "+1.204", "init: started as process 61"),
            line("dhcp@eth0", "+1.310", "init: started as process 63"),
            LogLine { minor: true, ..line("kernel", "+1.500", "eth0: link up") },
            line("dhcp@eth0", "+1.985", "dhcpc: eth0: 10.0.2.15/24 from 10.0.2.2 for 86400 s"),
        ],
        ..booting()
    }
}

fn restarting() -> Model {
    let failing = Service {
        restarts: "3".into(),
        text: "process 99 ended: exit code 1".into(),
        age: Duration::from_secs(1),
        last_exit: Some("exit code 1".into()),
        ..service("echo", "backoff", Health::Changing)
    };
    let again = Service {
        restarts: "1".into(),
        last_exit: Some("signal 11".into()),
        ..service("metrics", "running", Health::Up)
    };
    let failed = Service {
        text: "start limit reached (5 starts in 60 s); giving up".into(),
        ..service("web", "failed", Health::Failed)
    };
    let mut log = up().log;
    for number in 0..40 {
        let time = format!("2026-11-21T06:45:{number:02}.000Z");
        log.push(line(
            "echo",
            &time,
            &format!("cannot listen on port {number}: address in use; {}", "on and ".repeat(9)),
        ));
    }
    Model { services: vec![failing, again, failed], log, ..up() }
}

fn faults() -> Model {
    let setting =
        |key: &str, value: &str, source: &str| Setting { key: key.into(), value: value.into(), source: source.into() };
    let fault = |source: &str, line: &str, message: &str| Fault {
        source: source.into(),
        line: line.into(),
        message: message.into(),
    };
    Model {
        settings: vec![
            setting("hostname", "single", "BLOOMERY.TXT"),
            setting("network.eth0.addresses", "192.168.1.5/24, fd00::5/64", "BLOOMERY.TXT"),
            setting("echod.tcp", "7, 7777", "boot configuration"),
        ],
        faults: vec![
            fault("BLOOMERY.TXT", "3", "there is no key 'hostnme'; did you mean 'hostname'?"),
            fault("DMI", "", "the text is longer than 64 KiB, and its end is passed over"),
        ],
        ..up()
    }
}

fn many() -> Model {
    let interfaces = (0..20).map(|number| card(&format!("eth{number}"), number)).collect();
    Model { interfaces, ..faults() }
}

fn service(name: &str, state: &str, health: Health) -> Service {
    Service {
        name: name.into(),
        state: state.into(),
        health,
        age: Duration::from_secs(8030),
        restarts: "0".into(),
        text: String::new(),
        last_exit: None,
    }
}

fn line(service: &str, stamp: &str, text: &str) -> LogLine {
    LogLine { service: service.into(), stamp: stamp.into(), text: text.into(), minor: false }
}

fn route(to: &str, via: &str, origin: Origin, metric: u32) -> Route {
    Route { to: to.into(), via: via.into(), interface: "eth0".into(), metric, origin }
}

/// A card with addresses of all origins.
fn card(name: &str, last: u8) -> Interface {
    let held = |text: &str, length, origin| Address {
        address: text.parse().unwrap(),
        length,
        origin,
        since: Duration::from_secs(3),
        valid: None,
        state: AddressState::Usable,
    };
    let server = Ipv4Addr::new(10, 0, 2, 2);
    let lease = Lease {
        address: Ipv4Addr::new(10, 0, 2, 15),
        length: 24,
        server: Some(server),
        bound: 2,
        renew: 43_202,
        rebind: 75_602,
        end: Some(86_402),
        routers: vec![server],
        name_servers: vec![Ipv4Addr::new(10, 0, 2, 3)],
        ntp_servers: vec![Ipv4Addr::new(10, 0, 2, 4)],
        log_servers: vec![],
        domains: vec!["example.org".into()],
        host_name: None,
    };
    let advertised = Address {
        valid: Some(86_000),
        state: AddressState::Tentative,
        ..held("fec0::5054:ff:fe12:3456", 64, Origin::Router)
    };
    Interface {
        name: name.into(),
        mac: format!("52:54:00:12:34:{last:02x}"),
        up: true,
        carrier: true,
        mtu: 1500,
        addresses: vec![
            held("10.0.2.15", 24, Origin::Dhcp),
            held("fe80::5054:ff:fe12:3456", 64, Origin::LinkLocal),
            advertised,
        ],
        lease: Some(lease),
    }
}
