//! Systems to learn on: a tiny kernel with a shell or with one program, and the same under GDB.

mod common;

use std::process::Command;

use anyhow::{Result, ensure};
use build_support::{Arch, Dirs, vars};
use common::guest::{Guest, Start, extra};
use common::outputs::Outputs;
use common::{report, slots};
use system::machine::Options;

/// The most bytes of the kernel on x86_64, without debug information.
const KERNEL: u64 = 900_000;

for_each_arch! { a_shell_from_an_initramfs, one_program_is_a_system, gdb_sees_the_kernel }

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
    guest.line("Bloomery:")?; // The next shell's greeting. Keys typed before it go with the old one's terminal.
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
