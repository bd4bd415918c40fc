//! What is fuzzed: every parser of PID 1 that reads what others wrote. A function takes any bytes; it must not panic, hang or
//! take much memory, and what it asserts must hold.
//!
//! Two programs use this file: `cargo fuzz run NAME` in `init/fuzz`, and the test `init/tests/corpus.rs`, which every
//! `cargo test` runs for a bounded number of inputs.

use std::time::Duration;

use init::config::{glob, options};
use init::control::protocol;
use init::devices::{access, names, partition, superblock, uevent};
use init::handover::state;
use init::logs::{Logs, lines};
use init::net::{cmdline, config, reconcile::Reconciler};
use init::platform::{fstab, mountinfo, sysctl};
use init::service::{file, notify};
use init::spawn::{command, inittab};
use init::sys::{input, signal};
use init_base::{bootconfig, rtnetlink};

/// A parser's name, which is that of its directory in the corpus, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("inittab", inittab),
    ("service", service),
    ("network_file", network_file),
    ("command_line", command_line),
    ("rtnetlink", rtnetlink),
    ("uevent", uevent),
    ("control", control),
    ("reply", reply),
    ("notify", notify),
    ("state", state),
    ("tables", tables),
    ("disk", disk),
    ("output", output),
    ("records", records),
];

/// `/etc/inittab`, and each line's command.
pub fn inittab(data: &[u8]) {
    let table = inittab::parse(data);
    for line in table.lines {
        assert!(!line.terminal.starts_with('/') && line.terminal.split('/').all(|part| part != ".."), "{line:?}");
        assert!(!line.command.is_empty());
        program(&line.command);
    }
}

fn program(text: &str) {
    command::is_login(text);
    command::is_interactive(text);
    if let Some(program) = command::program(text, "/nowhere:/bin") {
        assert!(!program.arguments.is_empty(), "{text}");
    }
}

/// A service's file.
pub fn service(data: &[u8]) {
    match file::parse("name", data, "") {
        Ok(config) => assert_eq!(config.name, "name"),
        Err(faults) => assert!(!faults.is_empty()),
    }
}

/// An interface's file.
pub fn network_file(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (rule, faults) = config::parse(&text);
    assert!(rule.is_some() || !faults.is_empty());
    for word in text.split_ascii_whitespace().take(16) {
        glob::fits(word, "eth0");
        if let Some(prefix) = config::prefix(word) {
            let network = config::network(prefix);
            assert_eq!(network, config::network(network), "{word}");
        }
    }
}

/// The kernel's command line: the options of PID 1, and those of the network.
pub fn command_line(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let words: Vec<&str> = text.split_ascii_whitespace().take(8).collect();
    options::parse(&bootconfig::parse(&text), &text, &words);
    let request = cmdline::parse(&text);
    let config = request.with_files(Vec::new());
    assert!(config.rules.len() <= text.split_ascii_whitespace().count() + 1);
}

/// News of the network, and what they lead to.
pub fn rtnetlink(data: &[u8]) {
    let rules = "match = ['e*', 'veth0']\naddresses = ['10.0.0.2/24']\ngateway = '10.0.0.1'\nmtu = 1400\n";
    let mut reconciler =
        Reconciler::new(cmdline::parse("ip=dhcp").with_files(config::parse(rules).0.into_iter().collect()));
    let mut now = Duration::from_secs(1);
    for notice in rtnetlink::decode(data) {
        now += Duration::from_secs(3);
        match notice {
            rtnetlink::Message::Link(link) => {
                assert!(!link.name.contains('/') && !matches!(&*link.name, "" | "." | ".."), "{link:?}");
                reconciler.link(link, true, now);
            }
            rtnetlink::Message::LinkGone(index) => drop(reconciler.gone(index)),
            rtnetlink::Message::Address { index, prefix, global, usable } => {
                assert!(prefix.length <= if prefix.address.is_ipv4() { 32 } else { 128 });
                config::network(prefix);
                reconciler.address(index, prefix, global, usable);
            }
            rtnetlink::Message::NameServers { index, servers, lifetime } => {
                drop(reconciler.servers(index, &servers, lifetime, now))
            }
            rtnetlink::Message::Answer { .. } | rtnetlink::Message::Done { .. } => {}
        }
        reconciler.tick(now);
        reconciler.deadline();
    }
    reconciler.list_begins();
    reconciler.list_ends();
}

/// News of devices, and the links that are made for them.
pub fn uevent(data: &[u8]) {
    let Some(event) = uevent::parse(data) else {
        return;
    };
    let groups = access::Groups::parse("root:x:0:\ndisk:x:6:\ntty:x:5:\n");
    if let Some(node) = event.node {
        assert!(!node.starts_with('/') && node.split('/').all(|part| part != ".."), "{node}");
        access::wanted(node, event.subsystem == "block", &groups);
    }
    if let Some(alias) = event.alias {
        names::word(alias);
    }
}

/// A request to PID 1.
pub fn control(data: &[u8]) {
    if let Err(refusal) = protocol::parse(data) {
        let line = protocol::error(&refusal);
        assert!(line.ends_with('\n') && line.matches('\n').count() == 1, "{line}");
    }
}

/// PID 1's replies, as the tool reads them.
pub fn reply(data: &[u8]) {
    let mut bytes = data.to_vec();
    while let Ok(Some(_)) = protocol::take_part(&mut bytes) {}
    for line in String::from_utf8_lossy(data).lines() {
        protocol::listed(line);
        protocol::span(line);
    }
}

/// What a service tells PID 1.
pub fn notify(data: &[u8]) {
    for message in notify::parse(data) {
        match message {
            notify::Message::Status(text) => assert!(!text.chars().any(char::is_control)),
            notify::Message::MainPid(pid) => assert!(pid > 1),
            _ => {}
        }
    }
}

/// What one program of PID 1 leaves for the next. The sum at its end is made right, so that the records are looked at too.
pub fn state(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = state::parse(&text);
    let mut body = format!("bloomery-init state {}\n{text}", state::VERSION);
    if !body.ends_with('\n') {
        body.push('\n');
    }
    let count = text.lines().count();
    // FNV-1a with 64 bits.
    let sum = body
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |sum: u64, byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let mut logs = Logs::new();
    for record in state::parse(&format!("{body}end\t{count}\t{sum:016x}\n")).unwrap_or_default() {
        assert!(!record.kind.is_empty());
        logs.restore(&record);
        record.parse::<i32>("pid");
        record.time("started");
    }
}

/// Tables that others share: fstab, the kernel's lists of mounts and of swap, sysctl files, /etc/group.
pub fn tables(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mounted = mountinfo::parse(data);
    mountinfo::order(&mounted);
    mountinfo::swaps(data);
    let (lines, faults) = fstab::parse(&text);
    assert!(lines.len() + faults.len() <= text.lines().count());
    fstab::to_mount(&lines, &mounted, false);
    fstab::to_mount(&lines, &mounted, true);
    fstab::swaps(&lines).count();
    for line in &lines {
        fstab::node(&line.source);
    }
    sysctl::Settings::default().read(&text);
    access::Groups::parse(&text);
}

/// A disk: any USB stick. The bytes are its beginning and, again and again, all of it.
pub fn disk(data: &[u8]) {
    let read = |offset: u64, length: usize| -> Vec<u8> {
        assert!(length <= superblock::HEAD, "{length} bytes");
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        (0..length).map_while(|index| data.get(start.checked_add(index)? % data.len().max(1)).copied()).collect()
    };
    let number = data.first().map(|&byte| u32::from(byte));
    let mut facts = names::Facts { partition: number, ..names::Facts::default() };
    if let Some(found) = superblock::identify(data, &read) {
        (facts.uuid, facts.label) = (found.uuid, found.label);
    }
    for block in [512, 4096] {
        facts.partition_uuid = partition::uuid(number.unwrap_or_default(), block, &read);
        for link in names::links(&facts) {
            let parts: Vec<&str> = link.split('/').collect();
            assert!(parts.len() == 2 && !matches!(parts[1], "" | "." | "..") && !link.contains('\0'), "{link:?}");
        }
    }
}

/// What a service writes, in pieces.
pub fn output(data: &[u8]) {
    let mut splitter = lines::Splitter::default();
    let size = 1 + usize::from(data.first().copied().unwrap_or_default()) * 16;
    let mut count = 0;
    let mut each = |line: &[u8]| {
        assert!(line.len() <= lines::LONGEST && !line.contains(&b'\n'));
        count += line.len();
    };
    for piece in data.chunks(size) {
        splitter.split(piece, &mut each);
    }
    splitter.finish(&mut each);
    let ends = data.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
    assert!(count <= data.len() && count + ends >= data.len());
}

/// The kernel's records of signals and keys.
pub fn records(data: &[u8]) {
    assert!(signal::received(data).count() <= data.len() / 128);
    assert!(input::keys(data).count() <= data.len() / 24);
}
