//! Every program of busybox does its work on the system, for root and for a user: `applets/table` has a line for each.

mod common;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use build_support::Arch;
use common::guest::{Guest, Start, extra};
use common::outputs::{Outputs, check_with, has_time};
use common::{http, slots};
use system::machine::{Accelerator, Options};
use system::profile::Boot;

/// Seconds that one line of the table may take: some wait for a clock, and guests are slow.
const SILENCE: f64 = 90.0;
/// What the table says in place of a user, for a program that another test runs.
const ELSEWHERE: &str = "elsewhere";

for_each_arch! {
    every_program_of_busybox_does_its_work,
}

/// The lines of the table, each as the name of its program and whom it is for.
fn lines(table: &str) -> Result<Vec<(&str, Option<&str>)>> {
    let lines = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (head, _) = line.split_once(": ").with_context(|| format!("no `: ` in `{line}`"))?;
            let (name, who) = head.split_once(' ').map_or((head, None), |(name, who)| (name, Some(who)));
            ensure!(who.is_none_or(|who| ["root", "user", ELSEWHERE].contains(&who)), "`{line}` is for nobody");
            Ok((name, who))
        })
        .collect()
}

fn every_program_of_busybox_does_its_work(arch: Arch) -> Result<()> {
    if !has_time(arch)? {
        return Ok(());
    }
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let dir = outputs.root.join("image/tests/applets");
    let table = std::fs::read_to_string(dir.join("table"))?;
    let heads = lines(&table)?;
    let ports = [
        http::serve("/run", std::fs::read_to_string(dir.join("run"))?)?,
        http::serve("/table", table.clone())?,
        http::serve("/applets.pem", certificate()?)?,
    ];

    let _slot = slots::one();
    let stick = tempfile::NamedTempFile::new()?;
    stick.as_file().set_len(8 << 20)?;
    let mut guest = boot(&outputs, stick.path().to_path_buf())?;
    for (port, name) in ports.into_iter().zip(["run", "table", "applets.pem"]) {
        guest.run(&format!("wget -q -O /tmp/{name} http://10.0.2.2:{port}/{name}"))?;
    }
    let links = guest.run("for f in /usr/bin/*; do case $(readlink $f) in busybox*) echo ${f##*/};; esac; done")?;
    let there: BTreeSet<&str> = links.lines().collect();
    let known: BTreeSet<&str> = heads.iter().map(|(name, _)| *name).collect();
    let unknown: Vec<&str> = there.difference(&known).copied().collect();
    let gone: Vec<&str> = known.difference(&there).copied().collect();
    ensure!(unknown.is_empty(), "image/tests/applets/table has no line for {}", unknown.join(", "));
    ensure!(gone.is_empty(), "image/tests/applets/table has lines for {}, which busybox has not", gone.join(", "));

    guest.run("adduser -D -h /home/bob bob && echo bob:secretX9 | chpasswd && echo root:secretY8 | chpasswd")?;
    let mut faults = run(&mut guest, &heads, "root", "sh /tmp/run root /tmp/table /root/applets")?;
    faults.extend(run(&mut guest, &heads, "user", "su bob -c 'sh /tmp/run user /tmp/table /home/bob/applets'")?);
    ensure!(faults.is_empty(), guest.failure(&format!("{} programs fail:\n{}", faults.len(), faults.join("\n"))));
    guest.power_off().map(drop)
}

/// A guest with a frame buffer, which firmware hands over, a USB stick, which is a SCSI disk to Linux, and a watchdog.
fn boot(outputs: &Outputs, stick: PathBuf) -> Result<Guest> {
    let display = match outputs.arch {
        Arch::X86_64 => "VGA",
        Arch::Arm64 => "ramfb",
    };
    let drive = format!("if=none,id=stick,format=raw,file={}", stick.display());
    let mut words =
        vec!["-no-reboot", "-device", display, "-device", "i6300esb", "-device", "qemu-xhci", "-drive", &drive];
    words.extend(["-device", "usb-storage,drive=stick", "-device", "usb-kbd"]);
    let options = Options { accelerator: Accelerator::Tcg, snapshot: true, extra: extra(&words), ..Options::default() };
    Guest::boot(outputs, &Start { boot: Some(Boot::Uefi), options, ..Start::new("applets", "base") })
}

/// Runs the lines for a user, and returns those that failed.
fn run(guest: &mut Guest, heads: &[(&str, Option<&str>)], user: &str, command: &str) -> Result<Vec<String>> {
    let said = guest.run_slow(command, SILENCE)?;
    let mut faults = Vec::new();
    let mine = heads.iter().filter(|(_, who)| who.is_none_or(|who| who == user));
    for (name, _) in mine {
        let begin = format!("{name} ");
        let results: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix(&begin)).collect();
        match results.as_slice() {
            [] => faults.push(format!("{name} ({user}): no result")),
            results => {
                let bad = results.iter().filter(|result| **result != "ok");
                faults.extend(bad.map(|result| format!("{name} ({user}): {result}")));
            }
        }
    }
    Ok(faults)
}

/// A key and a certificate for busybox's TLS server.
fn certificate() -> Result<String> {
    let dir = tempfile::tempdir()?;
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (key, certificate) = (file("key"), file("certificate"));
    let make = ["req", "-new", "-x509", "-batch", "-nodes", "-subj", "/CN=x", "-newkey", "rsa:2048"];
    check_with("openssl", &[&make[..], &["-keyout", &key, "-out", &certificate]].concat())?;
    Ok(std::fs::read_to_string(key)? + &std::fs::read_to_string(certificate)?)
}
