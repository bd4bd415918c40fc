//! Systems to learn on: a tiny kernel with a shell or with one program, and the same under GDB.

mod common;

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use build_support::{Arch, Dirs, fs, tree, vars};
use common::guest::{Guest, Start, extra};
use common::outputs::Outputs;
use common::{limit, report, slots};
use system::machine::Options;

/// The most bytes of the kernel on x86_64, without debug information.
const KERNEL: u64 = 900_000;
/// Seconds without a line after which a machine is taken for dead.
const SILENCE: f64 = 60.0;

for_each_arch! {
    a_boot_is_counted, a_shell_from_an_initramfs, gdb_sees_the_kernel, one_program_is_a_system,
    what_is_saved_boots_at_once,
}

/// A reset ends QEMU: a kernel without ACPI cannot switch the machine off.
fn once() -> Options {
    Options { extra: extra(&["-no-reboot"]), ..Options::default() }
}

fn a_shell_from_an_initramfs(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "lab")? else { return Ok(()) };
    let bytes = outputs.file("lab/kernel")?.metadata()?.len();
    report(&format!("{arch}: the kernel has {bytes} bytes"));
    ensure!(arch != Arch::X86_64 || bytes <= KERNEL, "the kernel has {bytes} bytes, more than {KERNEL}");
    let _slot = slots::one();
    let mut guest = Guest::start(&outputs, &Start { options: once(), ..Start::new("lab", "lab") })?;
    guest.line("s after the kernel started")?;
    guest.prompt()?;
    // This name opens only for who has a controlling terminal.
    guest.run(": </dev/tty && [ $$ != 1 ] && [ \"$(hostname)\" = lab ]")?;
    guest.run("sleep 1000 & jobs | grep -q Running && kill %1 && wait %1; [ $? = 143 ]")?;
    report(&format!("{arch}: {}", guest.run("free -k | grep Mem:")?));
    guest.type_keys("exit\n")?;
    guest.line("`poweroff` ends it.")?; // The next shell's greeting. Keys typed before it go with the old one's terminal.
    guest.prompt()?;
    guest.run("[ $$ != 1 ]")?;
    guest.type_keys("reboot -f\n")?;
    guest.ended(10.0)
}

fn one_program_is_a_system(arch: Arch) -> Result<()> {
    for profile in ["lab-hello", "lab-nolibc"] {
        let Some(outputs) = Outputs::of(arch, profile)? else { continue };
        let _slot = slots::one();
        let mut guest = Guest::start(&outputs, &Start { options: once(), ..Start::new(profile, profile) })?;
        guest.line("Hello from PID 1,")?;
        guest.type_keys("\n")?;
        guest.ended(10.0)?;
    }
    Ok(())
}

/// `--watch`: the machine starts anew with the program that was saved.
fn what_is_saved_boots_at_once(arch: Arch) -> Result<()> {
    let dirs = Dirs::find()?;
    let dir = tempfile::tempdir()?;
    let profile = dir.path().join("watched.toml");
    fs::write(&profile, "extends = \"lab-hello\"\n[root]\npackages = [\"hello\"]\n")?;
    tree::copy(&dirs.root.join("image/examples/hello"), &dir.path().join("hello"))?;
    let path = profile.display().to_string();
    if Outputs::of(arch, &path)?.is_none() {
        return Ok(());
    }
    let _slot = slots::one();
    let mut run = Command::new("cargo");
    run.args(["bloomery", "run", arch.name(), "--watch", "--profile", &path, "--", "-no-reboot"])
        .current_dir(&dirs.root);
    if std::env::var_os("CARGO_TARGET_DIR").is_some() {
        run.env("CARGO_TARGET_DIR", &dirs.target);
    }
    let mut run = run.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let lines = lines_of(run.stdout.take().context("no pipe")?);
    wait_for(&lines, "Hello from PID 1")?;
    let source = dir.path().join("hello/hello.c");
    let text = fs::read_to_string(&source)?;
    let saved = Instant::now();
    fs::write(&source, text.replace("Hello from", "Saved by"))?;
    wait_for(&lines, "Saved by PID 1")?;
    report(&format!("{arch}: {:.1} s from saving a program to its first line", saved.elapsed().as_secs_f64()));
    // Enter restarts the machine, which ends QEMU and with it the watch.
    run.stdin.take().context("no pipe")?.write_all(b"\n")?;
    ensure!(run.wait()?.success(), "the watch did not end with the machine");
    Ok(())
}

/// `trace`: phases that follow each other, initcalls in the order of their levels, and the same figures again. x86_64 has ten times
/// the instructions, and is counted once.
fn a_boot_is_counted(arch: Arch) -> Result<()> {
    if Outputs::of(arch, "lab-hello")?.is_none() {
        return Ok(());
    }
    let _slot = slots::one();
    let dir = tempfile::tempdir()?;
    let picture = dir.path().join("boot.svg");
    let text = trace(arch, &["--json", "--svg", &picture.display().to_string()])?;
    let boot: serde_json::Value = serde_json::from_str(&text)?;
    let phases = boot["phases"].as_array().context("no phases")?;
    let borders: Vec<_> = phases.iter().flat_map(|phase| [phase["begin"].as_u64(), phase["end"].as_u64()]).collect();
    ensure!(borders.is_sorted() && borders.first() == Some(&Some(0)), "the phases do not follow each other: {text}");
    let names: Vec<_> = phases.iter().filter_map(|phase| phase["name"].as_str()).collect();
    ensure!(names.contains(&"start_kernel") && names.last() == Some(&"PID 1"), "other phases: {names:?}");
    let calls = boot["initcalls"].as_array().context("no initcalls")?;
    let levels: Vec<_> = calls.iter().filter_map(|call| call["level"].as_str()).collect();
    let mut seen = levels.clone();
    seen.dedup();
    let order = ["early", "pure", "core", "postcore", "arch", "subsys", "fs", "device", "late"];
    ensure!(calls.len() > 50 && seen == order, "{} initcalls of the levels {seen:?}", calls.len());
    ensure!(fs::read_to_string(&picture)?.contains("start_kernel"), "nothing is drawn");
    if arch == Arch::Arm64 {
        ensure!(trace(arch, &["--json"])? == text, "the second boot has other figures");
    }
    let total = borders.last().copied().flatten().context("no phases")?;
    report(&format!("{arch}: {total} instructions to the first read"));
    Ok(())
}

fn trace(arch: Arch, options: &[&str]) -> Result<String> {
    let dirs = Dirs::find()?;
    let mut trace = Command::new("cargo");
    trace.args(["bloomery", "trace", "lab-hello", arch.name()]).args(options).current_dir(&dirs.root);
    if std::env::var_os("CARGO_TARGET_DIR").is_some() {
        trace.env("CARGO_TARGET_DIR", &dirs.target);
    }
    if arch == Arch::X86_64 {
        // Its calibration is a busy wait on a device, for a quarter of all instructions and most of the time.
        trace.args(["--append", "noapictimer"]);
    }
    let output = trace.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The lines that come, from a thread of its own.
fn lines_of(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(output).lines();
        lines.map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    lines
}

/// Waits for a line with a text, for as long as lines come.
fn wait_for(lines: &Receiver<String>, text: &str) -> Result<()> {
    loop {
        let line = lines.recv_timeout(limit(SILENCE)).with_context(|| format!("`{text}` did not come"))?;
        if line.contains(text) {
            return Ok(());
        }
    }
}

/// GDB in batch mode: a stop at the first C function, source lines, a stop in the kernel's last function before PID 1, and
/// the kernel's own commands.
fn gdb_sees_the_kernel(arch: Arch) -> Result<()> {
    if Outputs::of(arch, "lab")?.is_none() {
        return Ok(());
    }
    let dirs = Dirs::find()?;
    let stage = format!("kernel-lab-debug-{arch}");
    let _slot = slots::one();
    let mut gdb = Command::new("cargo");
    gdb.args(["bloomery", "gdb", "lab", arch.name(), "--", "-batch"]).current_dir(&dirs.root);
    for command in ["bt 1", "list", "next", "break run_init_process", "continue", "bt 2", "lx-version", "lx-cmdline"] {
        gdb.args(["-ex", command]);
    }
    gdb.args(["-ex", "lx-ps", "-ex", "lx-dmesg", "-ex", "p $lx_current().comm"]);
    if std::env::var_os("CARGO_TARGET_DIR").is_some() {
        gdb.env("CARGO_TARGET_DIR", &dirs.target);
    }
    if !vars::on("BLOOMERY_CI_FULL", false) {
        gdb.env(vars::FROM_STORE, &stage);
    }
    let output = gdb.output()?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if text.contains(&format!("{stage} is not in the store")) {
        testing::skip(&format!("{stage} is not in the store as it would be now; BLOOMERY_CI_FULL=1 builds it"));
        return Ok(());
    }
    for part in [
        "start_kernel () at ",
        "init/main.c:",
        "asmlinkage __visible",
        "run_init_process (init_filename=",
        "kernel_init (",
        "Linux version 6.",
        "console=",
        "swapper",
        "\"swapper",
    ] {
        ensure!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    Ok(())
}
