//! Boots the images in QEMU, as a person does by `run.sh` and `run-qemu.sh`, and uses them on the serial console.

mod common;

use anyhow::{Result, ensure};
use build_support::{Arch, fs};
use common::guest::{By, Guest, Start, extra};
use common::outputs::{Outputs, check_with};
use common::programs::{C_OUTPUT, C_PROGRAM, CPP_OUTPUT, CPP_PROGRAM};
use common::{http, limit, ports, report, slots};
use system::machine::{Accelerator, Forward, Options};
use system::profile::Boot;

/// Seconds from QEMU's start to the prompt of `base` by `-kernel`, by emulation on two cores.
const BOOT_LIMIT: f64 = 5.0;
/// Seconds that a compiler may be silent by emulation.
const COMPILE: f64 = 180.0;
/// A guest that resets ends QEMU, so that a panic is not followed by the next boot.
const ONCE: &str = "-no-reboot";

for_each_arch! {
    base_by_kernel, base_by_firmware, base_by_bios, base_by_its_own_script, full_by_kernel, full_by_firmware, base_boots_fast, a_used_disk_is_clean,
    a_forwarded_port_reaches_the_guest, a_panic_is_reported_at_once, a_root_without_password_is_for_the_consoles,
}

fn base_by_kernel(arch: Arch) -> Result<()> {
    use_system(arch, "base", Boot::Kernel)
}

fn base_by_firmware(arch: Arch) -> Result<()> {
    use_system(arch, "base", Boot::Uefi)
}

/// The same kernel file, by the loader in front of the partitions.
fn base_by_bios(arch: Arch) -> Result<()> {
    if Boot::Bios.is_on(arch) { use_system(arch, "base", Boot::Bios) } else { Ok(()) }
}

fn full_by_kernel(arch: Arch) -> Result<()> {
    use_system(arch, "full", Boot::Kernel)
}

fn full_by_firmware(arch: Arch) -> Result<()> {
    use_system(arch, "full", Boot::Uefi)
}

/// A machine whose disk stays as it is.
fn snapshot() -> Options {
    Options { snapshot: true, extra: extra(&[ONCE]), ..Options::default() }
}

/// The image and its script are all that another machine needs: they boot where there is nothing else.
fn base_by_its_own_script(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let _slot = slots::one();
    let copy = tempfile::tempdir()?;
    outputs.copy_profile("base", copy.path())?;
    for boot in [Boot::Kernel, Boot::Uefi] {
        let name = format!("base-script-{}", boot.name());
        let target = Some(copy.path());
        let start =
            Start { boot: Some(boot), options: snapshot(), by: By::RunQemuSh, target, ..Start::new(&name, "base") };
        Guest::boot(&outputs, &start)?.press_power_button()?;
    }
    Ok(())
}

/// What every boot must give.
fn use_system(arch: Arch, profile: &str, boot: Boot) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, profile)? else { return Ok(()) };
    let _slot = slots::one();
    let name = format!("{profile}-{}", boot.name());
    let start = Start { boot: Some(boot), options: snapshot(), by: By::RunSh, ..Start::new(&name, profile) };
    let mut guest = Guest::boot(&outputs, &start)?;
    check_console(&mut guest)?;
    check_system(&mut guest)?;
    check_processes(&mut guest)?;
    check_network(&mut guest)?;
    if profile == "full" {
        check_tools(&mut guest)?;
        check_compilers(&mut guest)?;
    }
    let seconds = guest.power_off()?;
    report(&format!("{arch} {name}: powered off in {seconds:.1} s"));
    Ok(())
}

fn check_console(guest: &mut Guest) -> Result<()> {
    ensure!(!guest.console.text.contains("can't access tty"), guest.failure("the shell has no controlling terminal"));
    // This name opens only for who has a controlling terminal.
    guest.run(": </dev/tty")?;
    // The command says that it runs from within its process group, which Ctrl-C ends. Typed any sooner, it would reach
    // the shell, which has nothing to end.
    guest.type_keys("sh -c 'echo sleeping | tr a-z A-Z; exec sleep 1000'\n")?;
    guest.line("SLEEPING")?;
    guest.type_keys("\x03")?;
    guest.prompt()?;
    guest.type_keys("echo ended with $?\n")?;
    guest.line("ended with 130")?;
    guest.run("sleep 1000 & jobs | grep -q Running && kill %1 && wait %1; [ $? = 143 ]").map(drop)
}

fn check_system(guest: &mut Guest) -> Result<()> {
    let year: u32 = guest.run("date +%Y")?.parse()?;
    ensure!(year >= 2026, guest.failure(&format!("the clock says {year}")));
    expect(guest, "[ \"$(hostname)\" = \"$(cat /etc/hostname)\" ] && hostname", &["bloomery"])?;
    expect(guest, "id -u; echo $HOME; pwd", &["0\n/root\n/root"])?;
    for (place, kind) in [
        ("/", "ext4"),
        ("/proc", "proc"),
        ("/sys", "sysfs"),
        ("/dev", "devtmpfs"),
        ("/dev/pts", "devpts"),
        ("/run", "tmpfs"),
        ("/tmp", "tmpfs"),
    ] {
        guest.run(&format!(
            "awk '$2==\"{place}\" && $3==\"{kind}\" && $4 ~ /^rw/ {{ok=1}} END {{exit !ok}}' /proc/mounts"
        ))?;
    }
    guest.run("touch /root/written && rm /root/written")?;
    // Whoever built the image, nothing in it belongs to them.
    expect(guest, "find / -xdev ! -user 0 -o -xdev ! -group 0 | head -n 5", &[""])?;
    // Nothing that the kernel itself calls an error, except a check of the timer by the clock of a busy host.
    expect(guest, "dmesg -r | grep '^<[0-3]>' | grep -v 'MP-BIOS bug: 8254 timer'", &[""])
}

fn check_processes(guest: &mut Guest) -> Result<()> {
    expect(guest, "cat /proc/1/comm", &["init"])?;
    // It waits with io_uring, which the image's kernel has, and not with epoll.
    guest.run("ls -l /proc/1/fd | grep -q io_uring")?;
    // Orphans: the shells that started them are gone, so PID 1 must collect them.
    guest.run("for i in 1 2 3 4 5 6 7 8; do sh -c 'sleep 0.123 & sleep 0.123 &'; done")?;
    guest.run("while pgrep -f 'sleep 0[.]123' >/dev/null; do sleep 0.1; done")?;
    guest.run("while grep -q '^State:.Z' /proc/[0-9]*/status 2>/dev/null; do sleep 0.1; done")?;
    expect(guest, "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l", &["0"])
}

fn check_network(guest: &mut Guest) -> Result<()> {
    guest.run("ping -c 1 -W 2 127.0.0.1")?;
    guest.run("ip route | grep ^default")?;
    guest.run("ip -4 addr | grep 'inet 10.0.2.'")?;
    guest.run("grep '^nameserver 10.0.2.3' /etc/resolv.conf")?;
    let body = format!("from the host, process {}\n", std::process::id());
    let port = http::serve("/file", body.clone())?;
    expect(guest, &format!("wget -q -O - http://10.0.2.2:{port}/file"), &[body.trim()])
}

fn check_tools(guest: &mut Guest) -> Result<()> {
    let tools =
        "cc c++ clang clang++ cpp as ld ld.lld ar ranlib nm objcopy objdump readelf size strip addr2line c++filt";
    expect(guest, &format!("for t in {tools}; do $t --version >/dev/null 2>&1 || echo $t; done"), &[""])?;
    guest.run("mkdir -p /tmp/t && cd /tmp/t")?;
    guest.write("a.s", ".globl answer\n.data\nanswer: .asciz \"forty-two\"\n")?;
    guest.run("as a.s -o a.o && ar rcs liba.a a.o && ranlib liba.a")?;
    expect(guest, "ar t liba.a", &["a.o"])?;
    expect(guest, "nm a.o | sed 's/^0*//'", &[" D answer"])?;
    expect(guest, "strings a.o | grep forty", &["forty-two"])?;
    guest.run("objcopy --rename-section .data=.other a.o b.o && readelf -S b.o | grep -q '[.]other' && objdump -h b.o | grep -q '[.]other'")?;
    guest.run("size a.o | grep -q a.o && ld -r a.o -o c.o && strip c.o")?;
    expect(guest, "echo VALUE | cpp -P -DVALUE=expanded | grep .", &["expanded"])?;
    expect(guest, "echo _Z3fooi | c++filt", &["foo(int)"])
}

fn check_compilers(guest: &mut Guest) -> Result<()> {
    guest.write("hello.c", C_PROGRAM)?;
    guest.run_slow("cc -O2 -Wall -Werror hello.c -o hello", COMPILE)?;
    expect(guest, "./hello you; echo $?", &[C_OUTPUT])?;
    guest.write("all.cpp", CPP_PROGRAM)?;
    guest.run_slow("c++ -O1 -Wall -Werror all.cpp -o all", COMPILE)?;
    expect(guest, "./all", &[CPP_OUTPUT])
}

/// Runs a command that must print one of these.
fn expect(guest: &mut Guest, command: &str, wanted: &[&str]) -> Result<()> {
    let answer = guest.ask(command)?;
    ensure!(
        wanted.contains(&answer.output.as_str()),
        guest.failure(&format!("`{command}` printed\n{}\nand not\n{}", answer.output, wanted.join("\nor\n")))
    );
    Ok(())
}

/// The time to the prompt, by emulation, with nothing else running.
fn base_boots_fast(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let _all = slots::all();
    let options = Options { accelerator: Accelerator::Tcg, ..snapshot() };
    let mut guest = Guest::start(&outputs, &Start { options, ..Start::new("base-timed", "base") })?;
    let total = guest.prompt()?.as_secs_f64();
    guest.settle()?;
    let (init, shell) = boot_clock(&mut guest)?;
    report(&format!(
        "{arch} base by -kernel: firmware and unpacking {:.2} s, kernel {init:.2} s, init {:.2} s, to the prompt {total:.2} s",
        total - shell,
        shell - init
    ));
    let within = total <= limit(BOOT_LIMIT).as_secs_f64();
    ensure!(within, guest.failure(&format!("the prompt came after {total:.2} s and not {BOOT_LIMIT}")));
    let seconds = guest.press_power_button()?;
    report(&format!("{arch}: the power button ended it in {seconds:.1} s"));
    Ok(())
}

/// When the kernel started init and when init started this shell, in seconds of the kernel's clock.
fn boot_clock(guest: &mut Guest) -> Result<(f64, f64)> {
    let init = guest.run("dmesg | sed -n 's/^\\[ *\\([0-9.]*\\)] Run .* as init process$/\\1/p' | tail -n 1")?;
    // Field 22 is a process's start, in hundredths of a second (proc_pid_stat(5)); the second is its name.
    let shell = guest.run("sed 's/.*) //' /proc/$$/stat | cut -d' ' -f 20")?;
    Ok((init.parse()?, shell.parse::<f64>()? / 100.0))
}

/// A disk that was written to, rebooted and powered off is sound and keeps what was written.
fn a_used_disk_is_clean(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let _slot = slots::one();
    let copy = tempfile::tempdir()?;
    outputs.copy_profile("base", copy.path())?;
    let start = Start { target: Some(copy.path()), ..Start::new("base-used", "base") };
    let mut guest = Guest::boot(&outputs, &start)?;
    guest.run("echo kept >/root/kept && seq 20000 >/var/seq && sync")?;
    guest.type_keys("reboot\n")?;
    guest.line("reboot: Restarting system")?;
    guest.prompt()?;
    guest.settle()?;
    expect(&mut guest, "cat /root/kept; wc -l </var/seq", &["kept\n20000"])?;
    // Replayed journals and errors would say so.
    expect(&mut guest, "dmesg | grep -i -e 'EXT4-fs.*recovery' -e 'EXT4-fs.*error'", &[""])?;
    guest.run("rm /var/seq")?;
    guest.power_off()?;
    let disk = copy.path().join("disk.img");
    let qcow2 = copy.path().join("bloomery").join(outputs.arch.name()).join("base.qcow2");
    check_with("qemu-img", &["convert", "-O", "raw", &qcow2.to_string_lossy(), &disk.to_string_lossy()])?;
    let root = common::disk::root_file_system(&disk)?;
    let text = check_with("e2fsck", &["-fn", &root])?;
    ensure!(!text.contains("recover"), "the journal was not empty after power-off:\n{text}");
    Ok(())
}

/// Files of this machine get into the guest by a forwarded port, too.
fn a_forwarded_port_reaches_the_guest(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let _slot = slots::one();
    let port = ports::free()?;
    let options =
        Options { ports: vec![Forward::new(port, 8080)], memory: Some(256 << 20), processors: Some(2), ..snapshot() };
    let mut guest = Guest::boot(&outputs, &Start { options, by: By::RunSh, ..Start::new("base-port", "base") })?;
    expect(&mut guest, "grep -c ^processor /proc/cpuinfo", &["2"])?;
    guest.run("mkdir -p /tmp/www && echo from the guest >/tmp/www/page && httpd -p 8080 -h /tmp/www")?;
    let page = check_with("curl", &["-sS", "--max-time", "30", &format!("http://127.0.0.1:{port}/page")])?;
    ensure!(page == "from the guest\n", guest.failure(&format!("the guest's page was `{page}`")));
    guest.type_keys("halt\n")?;
    guest.line("reboot: System halted").map(drop)
}

/// Whoever comes over the network is on a terminal that /etc/securetty does not name; a user of another name comes in.
fn a_root_without_password_is_for_the_consoles(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let _slot = slots::one();
    let mut guest = Guest::boot(&outputs, &Start { options: snapshot(), ..Start::new("base-telnet", "base") })?;
    expect(&mut guest, "sh -lc 'echo hi'", &["hi"])?;
    guest.run("echo u::1000:1000::/tmp:/bin/sh >>/etc/passwd && telnetd -l /bin/login -p 2323")?;
    let log_in = |name: &str| {
        format!("(sleep 2; echo {name}; sleep 4; echo 'echo $((40+2))'; sleep 2) | telnet 127.0.0.1 2323 2>&1")
    };
    let refused = guest.ask(&log_in("root"))?.output;
    ensure!(refused.contains("ogin incorrect") && !refused.contains("42"), guest.failure("root comes in by telnet"));
    let welcome = guest.ask(&log_in("u"))?.output;
    ensure!(welcome.contains("42"), guest.failure("a user does not come in by telnet"));
    guest.power_off().map(drop)
}

/// The harness itself: a boot that cannot succeed is reported, and soon.
fn a_panic_is_reported_at_once(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let _slot = slots::one();
    let options = Options { append: "init=/nonexistent".into(), ..snapshot() };
    let start = Start { options, by: By::RunSh, ..Start::new("base-panic", "base") };
    let began = std::time::Instant::now();
    let Err(error) = Guest::boot(&outputs, &start) else { panic!("a system without init reached a prompt") };
    let text = error.to_string();
    for part in ["the kernel panicked before a shell's prompt", "/nonexistent", "run.sh", "base-panic.log"] {
        ensure!(text.contains(part), "the error does not say `{part}`:\n{text}");
    }
    ensure!(began.elapsed() < limit(30.0), "it took {:.0?} to see a panic", began.elapsed());
    ensure!(
        fs::read_to_string(outputs.test_dir()?.join("base-panic.log"))?.contains("Kernel panic"),
        "the log lacks the panic"
    );
    Ok(())
}

/// The reader of consoles, which every boot test depends on.
#[test]
fn terminal_codes_are_left_out() {
    let mut console = common::console::Console::default();
    console.take(b"\x1b]0;title\x07\x1b[1;32mhello\x1b[0m wo", std::time::Duration::ZERO);
    console.take(b"x\x08rld\r\n\x1b", std::time::Duration::from_secs(1));
    console.take(b"[6n# ", std::time::Duration::from_secs(2));
    assert_eq!(console.text, "hello world\n");
    assert_eq!(console.unfinished(), "# ");
    assert_eq!(console.time_of("hello"), Some(std::time::Duration::from_secs(1)));
}
