//! The worked examples of the lab: GDB in the kernel, in a module and in PID 1, KGDB over a serial line, traces and probes, a panic with its
//! lines, and the files for editors. Their kernels are no others' and take minutes: BLOOMERY_CI_FULL=1 builds them.

mod common;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use build_support::{Arch, Dirs, fs, vars};
use common::guest::{Guest, Start, extra, patient};
use common::outputs::Outputs;
use common::{report, slots};
use serde_json::Value;
use system::machine::Options;

for_each_arch! {
    a_disk_keeps_what_is_written, a_module_is_called_and_debugged, a_panic_has_its_lines, an_editor_has_its_files,
    a_system_call_is_added, functions_and_probes_are_traced, gdb_comes_over_a_serial_line, messages_come_early, pid_1_is_debugged,
}

/// The outputs of a profile, when its kernel is to be built.
fn outputs(arch: Arch, profile: &str) -> Result<Option<Outputs>> {
    if !vars::on("BLOOMERY_CI_FULL", false) {
        testing::skip(&format!("kernel-lab- of {profile} takes minutes; BLOOMERY_CI_FULL=1 builds it"));
        return Ok(None);
    }
    Outputs::of(arch, profile)
}

fn module() -> Result<String> {
    Ok(Dirs::find()?.root.join("image/examples/module/module.toml").display().to_string())
}

/// A reset ends QEMU: a kernel without ACPI cannot switch the machine off.
fn once(arch: Arch, append: &str) -> Options {
    let append = [patient(arch), append].join(" ").trim().to_string();
    Options { extra: extra(&["-no-reboot"]), append, ..Options::default() }
}

fn boot(arch: Arch, profile: &str, name: &str, append: &str) -> Result<Option<Guest>> {
    let Some(outputs) = outputs(arch, profile)? else { return Ok(None) };
    let mut guest = Guest::start(&outputs, &Start { options: once(arch, append), ..Start::new(name, profile) })?;
    guest.prompt()?;
    guest.run("dmesg -n 1")?; // Messages of the kernel would fall into answers.
    Ok(Some(guest))
}

/// `cargo bloomery` with these words.
fn bloomery(dirs: &Dirs, words: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.arg("bloomery").args(words).current_dir(&dirs.root);
    if std::env::var_os("CARGO_TARGET_DIR").is_some() {
        command.env("CARGO_TARGET_DIR", &dirs.target);
    }
    command
}

/// What GDB prints that executes these commands after the first stop.
fn gdb(dirs: &Dirs, words: &[&str], commands: &[&str]) -> Result<String> {
    let mut command = bloomery(dirs, &[&["gdb"], words, &["--", "-batch"]].concat());
    for text in commands {
        command.args(["-ex", text]);
    }
    let output = command.stdin(Stdio::null()).output()?;
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// Checks that a text has these parts, in this order.
fn has(text: &str, parts: &[&str]) -> Result<()> {
    let mut rest = text;
    for part in parts {
        let (_, after) =
            rest.split_once(part).with_context(|| format!("`{part}` is not there, or not in order:\n{text}"))?;
        rest = after;
    }
    Ok(())
}

fn a_module_is_called_and_debugged(arch: Arch) -> Result<()> {
    let (profile, dirs) = (module()?, Dirs::find()?);
    let _slot = slots::one();
    let Some(mut guest) = boot(arch, &profile, "lab-module", "")? else { return Ok(()) };
    guest.run("mount -t debugfs debug /sys/kernel/debug && insmod /usr/lib/modules/greet.ko name=Test")?;
    ensure!(guest.run("cat /sys/kernel/debug/greet")? == "Test greets visitor 1, cat", guest.failure("no greeting"));
    ensure!(
        guest.run("head -n 1 /sys/kernel/debug/greet")? == "Test greets visitor 2, head",
        guest.failure("no count")
    );
    guest.run("grep -q ^greet /proc/modules && dmesg | grep -q 'greet: ready'")?;
    drop(guest);
    let commands = [
        "set breakpoint pending on",
        "break count_visitor",
        "continue",
        "bt 2",
        "next",
        "p visitors",
        "p name",
        "finish",
        "p $lx_current().comm",
    ];
    let text = gdb(&dirs, &[&profile, arch.name(), "--append", "rdinit=/bin/try-greet"], &commands)?;
    has(&text, &["greet.ko", "Breakpoint 2, count_visitor ()", "visitors++", "greet_show (", " = 1\n", "\"Script\""])?;
    has(&text, &["Value returned is", " = 1\n", " = \"cat\""])
}

fn gdb_comes_over_a_serial_line(arch: Arch) -> Result<()> {
    let dirs = Dirs::find()?;
    if outputs(arch, "lab-workshop")?.is_none() {
        return Ok(());
    }
    let _slot = slots::one();
    let commands = [
        "bt 2",
        "break do_sys_openat2",
        "continue",
        "bt 1",
        "x/i $pc",
        "stepi",
        "x/i $pc",
        "next",
        "next",
        "lx-version",
    ];
    let text = gdb(&dirs, &["lab-workshop", arch.name(), "--kgdb"], &commands)?;
    has(
        &text,
        &[
            "kgdb_breakpoint",
            "hit Breakpoint 1",
            "do_sys_openat2 (",
            "fs/open.c:",
            "=> 0x",
            "=> 0x",
            "Linux version 6.",
        ],
    )?;
    let instructions: Vec<&str> = text.lines().filter(|line| line.starts_with("=> 0x")).collect();
    ensure!(instructions.len() == 2 && instructions[0] != instructions[1], "it does not step:\n{text}");
    Ok(())
}

fn pid_1_is_debugged(arch: Arch) -> Result<()> {
    let dirs = Dirs::find()?;
    let profile = dirs.root.join("image/tests/profiles/lab-init.toml").display().to_string();
    if outputs(arch, &profile)?.is_none() {
        return Ok(());
    }
    let _slot = slots::one();
    let commands = ["bt 1", "list", "next", "set language c", "p $lx_current().pid", "p $lx_current().comm"];
    let text = gdb(&dirs, &[&profile, arch.name(), "--init"], &commands)?;
    has(&text, &["init::boot::run", "init/src/boot", "fn run(", "$1 = 1", " = \"init\""])
}

/// By files over the kernel's source; upstream's have no such call.
fn a_system_call_is_added(arch: Arch) -> Result<()> {
    let dirs = Dirs::find()?;
    let profile = dirs.root.join("image/examples/syscall/syscall.toml").display().to_string();
    let _slot = slots::one();
    let Some(mut guest) = boot(arch, &profile, "lab-syscall", "")? else { return Ok(()) };
    let line = guest.run("greetings")?;
    ensure!(line == "Greetings, greetings! (21 characters)", guest.failure("another greeting"));
    let table = vendor::source("linux")?.unpack(&dirs)?.join("scripts/syscall.tbl");
    ensure!(!fs::read_to_string(&table)?.contains("greetings"), "{} was changed", table.display());
    Ok(())
}

fn functions_and_probes_are_traced(arch: Arch) -> Result<()> {
    let _slot = slots::one();
    let Some(mut guest) = boot(arch, "lab-workshop", "lab-trace", "")? else { return Ok(()) };
    guest.run("mount -t tracefs trace /sys/kernel/tracing && cd /sys/kernel/tracing")?;
    guest.run("echo function >current_tracer && cat /etc/hostname && grep -q 'cat-.*: do_sys_openat2 <-' trace")?;
    guest.run("echo nop >current_tracer && echo 'p:opened do_sys_openat2 file=+0($arg2):ustring' >kprobe_events")?;
    guest.run("echo 1 >events/kprobes/opened/enable && cat /etc/hostname")?;
    let line = guest.run("grep -m 1 'cat-.*file=\"/etc/hostname\"' trace")?;
    report(&format!("{arch}: {line}"));
    guest.run("echo 0 >events/kprobes/opened/enable && echo >kprobe_events")?;
    guest.type_keys("reboot -f\n")?;
    guest.ended(10.0)
}

/// A panic on purpose, typed into the shell, and its messages with lines of the source.
fn a_panic_has_its_lines(arch: Arch) -> Result<()> {
    let dirs = Dirs::find()?;
    if outputs(arch, "lab-workshop")?.is_none() {
        return Ok(());
    }
    let _slot = slots::one();
    let words = ["run", arch.name(), "--profile", "lab-workshop", "--append", "panic=1", "--", "-no-reboot"];
    let mut run = bloomery(&dirs, &words);
    let mut run = run.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    run.stdin.take().context("no pipe")?.write_all(b"echo c >/proc/sysrq-trigger\n")?;
    let messages = run.wait_with_output()?.stdout;
    let shown = String::from_utf8_lossy(&messages);
    ensure!(shown.contains("Kernel panic - not syncing: sysrq triggered crash"), "no panic:\n{shown}");
    let mut decode = bloomery(&dirs, &["decode", "lab-workshop", arch.name()]);
    let mut decode = decode.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    decode.stdin.take().context("no pipe")?.write_all(&messages)?;
    let output = decode.wait_with_output()?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{text}");
    has(&text, &["Kernel panic", "sysrq_handle_crash at drivers/tty/sysrq.c:", " at fs/read_write.c:"])?;
    let (_, rest) = text.split_once("sysrq_handle_crash at drivers/tty/sysrq.c:").context("no line")?;
    let number: usize = rest.lines().next().context("no line")?.parse()?;
    let source = vendor::source("linux")?.unpack(&dirs)?.join("drivers/tty/sysrq.c");
    let line = fs::read_to_string(source)?.lines().nth(number - 1).context("no such line")?.to_string();
    ensure!(line.contains("panic("), "line {number} is `{line}`");
    Ok(())
}

/// The messages of the first console, which is there before the one of the driver.
fn messages_come_early(arch: Arch) -> Result<()> {
    let Some(outputs) = outputs(arch, "lab-workshop")? else { return Ok(()) };
    let _slot = slots::one();
    let words = match arch {
        Arch::X86_64 => "earlyprintk=ttyS0",
        Arch::Arm64 => "earlycon",
    };
    let start = Start { options: once(arch, words), ..Start::new("lab-early", "lab-workshop") };
    let mut guest = Guest::start(&outputs, &start)?;
    guest.line("bootconsole [")?;
    guest.prompt()?;
    let early = guest.console.text.find("bootconsole [").context("no console")?;
    // The driver's console comes later, and this one goes.
    let late = guest.console.text.find("] enabled").context("no console")?;
    ensure!(early < late && guest.console.text.contains("] disabled"), guest.failure("no early console"));
    guest.type_keys("reboot -f\n")?;
    guest.ended(10.0)
}

fn a_disk_keeps_what_is_written(arch: Arch) -> Result<()> {
    let Some(outputs) = outputs(arch, "lab-disk")? else { return Ok(()) };
    let copy = tempfile::tempdir()?;
    outputs.copy_profile("lab-disk", copy.path())?;
    let _slot = slots::one();
    let start = |name| Start { options: once(arch, ""), target: Some(copy.path()), ..Start::new(name, "lab-disk") };
    let mut guest = Guest::start(&outputs, &start("lab-disk-first"))?;
    guest.prompt()?;
    guest.run("grep -q ' / ext4 rw' /proc/mounts && echo kept >/root/note && sync")?;
    report(&format!("{arch}: {}", guest.run("df -k / | tail -n 1")?));
    guest.type_keys("reboot\n")?;
    guest.ended(30.0)?;
    let mut guest = Guest::start(&outputs, &start("lab-disk-second"))?;
    guest.prompt()?;
    ensure!(guest.run("cat /root/note")? == "kept", guest.failure("the file is gone"));
    ensure!(!guest.console.shows("recovery"), guest.failure("it was not unmounted"));
    guest.type_keys("reboot\n")?;
    guest.ended(30.0)
}

/// Commands of the compiler that work, and a debugger that comes to the kernel as the files say.
fn an_editor_has_its_files(arch: Arch) -> Result<()> {
    let dirs = Dirs::find()?;
    if outputs(arch, "lab-workshop")?.is_none() {
        return Ok(());
    }
    let _slot = slots::one();
    let dir = tempfile::tempdir()?;
    let folder = dir.path().display().to_string();
    let output = bloomery(&dirs, &["editor", "lab-workshop", arch.name(), &folder]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |file: &str| -> Result<Value> { Ok(serde_json::from_str(&fs::read_to_string(dir.path().join(file))?)?) };
    let commands = read("compile_commands.json")?;
    let commands = commands.as_array().context("no list")?;
    report(&format!("{arch}: {} files of the kernel", commands.len()));
    for file in ["/init/main.c", "/fs/open.c", "/kernel/module/main.c", "/lib/vsprintf.c"] {
        let of_file = |entry: &&Value| entry["file"].as_str().is_some_and(|path| path.ends_with(file));
        check_command(commands.iter().find(of_file).with_context(|| format!("no command of {file}"))?)?;
    }
    let (tasks, launch) = (read(".vscode/tasks.json")?, read(".vscode/launch.json")?);
    debug_as_the_editor(&tasks, &launch["configurations"][0])
}

/// Runs a command as far as the file's syntax and types.
fn check_command(entry: &Value) -> Result<()> {
    let text = |key: &str| entry[key].as_str().with_context(|| format!("no {key}: {entry}"));
    let (command, directory) = (text("command")?, text("directory")?);
    let output = Command::new("sh")
        .args(["-c", &format!("{command} -fsyntax-only -Wno-unused-command-line-argument")])
        .current_dir(directory)
        .output()?;
    ensure!(output.status.success(), "{command}:\n{}", String::from_utf8_lossy(&output.stderr));
    ensure!(Path::new(text("file")?).is_file(), "there is no {entry}");
    Ok(())
}

/// Starts the task that waits, and GDB with what the launch says.
fn debug_as_the_editor(tasks: &Value, launch: &Value) -> Result<()> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let task =
        tasks["tasks"].as_array().context("no tasks")?.iter().find(|task| task["label"] == launch["preLaunchTask"]);
    let task = task.context("no task")?;
    let mut start = Command::new(text(&task["command"]));
    start
        .args(task["args"].as_array().context("no arguments")?.iter().map(text))
        .current_dir(text(&task["options"]["cwd"]));
    let mut machine = start.arg("--no-build").stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let mut gdb = Command::new(text(&launch["miDebuggerPath"]));
    gdb.args(["-q", "-batch", "-nx"]);
    for command in launch["setupCommands"].as_array().context("no commands")? {
        gdb.args(["-iex", &format!("interpreter-exec mi \"{}\"", text(&command["text"]))]);
    }
    gdb.arg(text(&launch["program"]));
    gdb.args(["-ex", "set tcp connect-timeout 60"]);
    gdb.args(["-ex", &format!("target remote {}", text(&launch["miDebuggerServerAddress"]))]);
    for command in launch["postRemoteConnectCommands"].as_array().context("no commands")? {
        gdb.args(["-ex", &format!("interpreter-exec mi \"{}\"", text(&command["text"]))]);
    }
    let output = gdb.args(["-ex", "continue", "-ex", "lx-version", "-ex", "kill"]).output()?;
    let _ = machine.kill(); // GDB has ended it, as a rule.
    machine.wait()?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    has(&text, &["start_kernel () at ", "Linux version 6."])
}
