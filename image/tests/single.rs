//! The profile `single`: a machine in one file.

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use build_support::{Arch, Dirs, fs, store};
use common::guest::{Guest, Start};
use common::outputs::{Outputs, check_with};
use common::ports;
use common::slots;
use disk::cpio::{self, Member};
use serde_json::json;
use system::machine::{Forward, Options};
use system::outputs::PROFILE_MARK;
use system::profile::Boot;
use system::{Profile, elf};

/// How a signed module ends (include/linux/module_signature.h).
const MARK: &str = "~Module signature appended~\n";
/// Bytes of `struct module_signature`, of which the last four are the signature's size, in network order.
const SIGNATURE_INFO: usize = 12;

for_each_arch! {
    it_boots_and_answers_in_every_way,
    it_holds_signed_modules_and_no_shell,
    its_kernel_is_hardened_as_the_page_says,
    its_kernel_keeps_to_what_it_was_told,
    the_key_of_its_modules_stays_where_it_is,
}

/// Its driver is a module, its address comes by DHCP, and its one service answers. Without a shell the machine is asked to go
/// down by its power button, which its first program hears.
fn it_boots_and_answers_in_every_way(arch: Arch) -> Result<()> {
    let dirs = Dirs::find()?;
    let Some(outputs) = Outputs::of(arch, "single")? else { return Ok(()) };
    let boots = Profile::read(&dirs, "single")?.boots(arch);
    // A machine without ACPI has no power button; netboot.rs starts it.
    for boot in boots.into_iter().filter(|boot| !boot.needs_tap() && *boot != Boot::Microvm) {
        let _slot = slots::one();
        let name = format!("single-{}", boot.name());
        let port = ports::free()?;
        let options = Options { ports: vec![Forward::new(port, 7)], ..Options::default() };
        let mut guest = Guest::start(&outputs, &Start { boot: Some(boot), options, ..Start::new(&name, "single") })?;
        echo(&mut guest, port)?;
        press_until_down(&mut guest)?;
        guest.ended(10.0)?;
    }
    Ok(())
}

/// Sends until something comes back: QEMU takes connections before the guest has an address.
fn echo(guest: &mut Guest, port: u16) -> Result<()> {
    const TRIES: u32 = 60;
    for _ in 0..TRIES {
        if answers(port).unwrap_or(false) {
            return Ok(());
        }
        // Also shows what ended the guest.
        let _ = guest.until("a line", 1.0, |_| false);
    }
    Err(guest.failure("the echo service does not answer"))
}

fn answers(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"one file, one machine")?;
    let mut back = [0; 21];
    stream.read_exact(&mut back)?;
    Ok(&back == b"one file, one machine")
}

/// Presses the power button again until it is heard: before PID 1 listens nobody does.
fn press_until_down(guest: &mut Guest) -> Result<()> {
    const PRESSES: u32 = 30;
    for _ in 0..PRESSES {
        guest.qmp("system_powerdown", json!({}))?;
        if guest.until("the end", 2.0, |console| console.shows("reboot: Power down")).is_ok() {
            return Ok(());
        }
    }
    Err(guest.failure("the power button was not heard"))
}

/// What is inside is what the profile says: programs, modules with signatures and tables, and neither shell nor libc.
fn it_holds_signed_modules_and_no_shell(arch: Arch) -> Result<()> {
    let dirs = Dirs::find()?;
    if Outputs::of(arch, "single")?.is_none() {
        return Ok(());
    }
    let members = inside(&dirs, arch, "single")?;
    let has = |path: &str| members.iter().any(|member| member.path == path);
    ensure!(has("usr/bin/init") && has("dev/console") && !has("usr/bin/sh"), "{members:#?}");
    let libc = members.iter().find(|member| member.path.ends_with(".so") || member.path.contains("/libc"));
    ensure!(libc.is_none(), "{libc:?}");

    let release = modules(&dirs, arch)?;
    let text = |name: &str| fs::read_to_string(release.join(name));
    ensure!(text("modules.alias")?.contains("alias virtio:d00000001v* virtio_net\n"), "no alias of virtio_net");
    let needs = text("modules.dep")?;
    let line = needs.lines().find(|line| line.contains("/virtio_net.ko.zst:")).context("no line of virtio_net")?;
    let wanted = " kernel/drivers/net/net_failover.ko.zst kernel/net/core/failover.ko.zst";
    ensure!(line.contains(wanted), "{needs}");
    ensure!(!release.join("build").exists(), "a link to the build directory is in the image");
    for file in needs.lines().filter_map(|line| line.split(':').next()) {
        let path = format!("usr/lib/modules/{}/{file}", release.file_name().unwrap_or_default().display());
        ensure!(has(&path), "{path} is not inside");
        ensure!(unpacked(&release.join(file))?.ends_with(MARK.as_bytes()), "{file} has no signature");
    }
    Ok(())
}

/// What kernel-hardening-checker asks for is so, but for the exceptions that docs/hardening.md gives reasons for.
fn its_kernel_is_hardened_as_the_page_says(arch: Arch) -> Result<()> {
    let dirs = Dirs::find()?;
    if Outputs::of(arch, "single")?.is_none() {
        return Ok(());
    }
    let list = fs::read_to_string(dirs.root.join("image/tests/hardening.list"))?;
    let page = fs::read_to_string(dirs.root.join("docs/hardening.md"))?;
    let exceptions: Vec<(&str, &str)> = page.lines().filter_map(exception).collect();
    ensure!(exceptions.len() > 20, "{exceptions:?}");
    let config = fs::read_to_string(result(&dirs, &format!("kernel-single-{arch}"))?.join("kernel.config"))?;
    let is_so = |symbol: &str, value: &str| value_of(&config, symbol) == value;
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let (setting, of) = line.split_once(' ').unwrap_or((line, arch.name()));
        let (symbol, value) = setting.split_once('=').context("no value")?;
        ensure!(of != arch.name() || is_so(symbol, value), "{symbol} is {}", value_of(&config, symbol));
    }
    for (symbol, value) in &exceptions {
        ensure!(!is_so(symbol, value), "{symbol} is {value}; the page has it as an exception");
    }
    Ok(())
}

/// The setting in a row of the table of exceptions.
fn exception(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("| `CONFIG_")?;
    line.split('`').nth(1)?.split_once('=')
}

/// What a configuration sets a symbol to; `n` for one that is not in it.
fn value_of<'a>(config: &'a str, symbol: &str) -> &'a str {
    let value = |line: &'a str| line.strip_prefix(symbol)?.strip_prefix('=');
    config.lines().find_map(value).map_or("n", |value| value.trim_matches('"'))
}

/// The private key is in no result of the store, and in no log.
fn the_key_of_its_modules_stays_where_it_is(arch: Arch) -> Result<()> {
    let dirs = Dirs::find()?;
    if Outputs::of(arch, "single")?.is_none() {
        return Ok(());
    }
    let text = fs::read_to_string(dirs.home.join("keys/modules.pem"))?;
    let line = text.lines().nth(1).context("the key has no lines")?;
    let build = tempfile::tempdir()?;
    let compiled = result(&dirs, &format!("kernel-single-{arch}"))?;
    let archive = compiled.join("build.tar.zst").display().to_string();
    check_with("tar", &["--zstd", "-xf", &archive, "-C", &build.path().display().to_string()])?;
    ensure!(build.path().join("certs/signing_key.x509").is_file(), "the certificate is not in the build directory");
    ensure!(build.path().join("module-key.pem").symlink_metadata().is_err(), "the key is in the build directory");
    let linked = result(&dirs, &format!("link-single-{arch}"))?;
    let found = Command::new("grep")
        .args(["-rlF", "-e", line])
        .args([build.path(), &compiled, &linked, &dirs.log(arch), &dirs.output(arch).join("single")])
        .output()?;
    ensure!(found.status.code() == Some(1), "the key is in {}", String::from_utf8_lossy(&found.stdout));
    Ok(())
}

/// The same machine with a shell and another boot configuration, which costs a link and no compilation.
fn its_kernel_keeps_to_what_it_was_told(arch: Arch) -> Result<()> {
    let dirs = Dirs::find()?;
    if Outputs::of(arch, "single")?.is_none() {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let profile = write_told(&dirs, arch, dir.path())?;
    let path = profile.display().to_string();
    // The outputs are of an earlier text, which no file of the checkout tells.
    let mark = dirs.output(arch).join("told").join(PROFILE_MARK);
    if mark.exists() {
        fs::remove_file(mark)?;
    }
    let outputs = Outputs::of(arch, &path)?.context("another boot configuration compiled the kernel again")?;
    let _slot = slots::one();
    let mut guest = Guest::boot(&outputs, &Start::new("told", &path))?;
    sees_its_boot_configuration(&mut guest)?;
    refuses_modules(&mut guest)?;
    loads_what_devices_ask_for(&mut guest)?;
    guest.power_off().map(drop)
}

/// Writes a profile that extends `single`, with a shell and modules to refuse.
fn write_told(dirs: &Dirs, arch: Arch, dir: &Path) -> Result<PathBuf> {
    let text = "extends = \"single\"\ninittab = []\n[root]\npackages = { add = [\"busybox\", \"load\"] }\n\
                files = [\"rootfs\"]\n[kernel]\nboot-config = \"my boot.conf\"\n";
    let profile = dir.join("told.toml");
    fs::write(&profile, text)?;
    fs::write(dir.join("my boot.conf"), TOLD)?;
    fs::create_dir_all(dir.join("load"))?;
    fs::write(dir.join("load/load.c"), LOAD)?;
    let build = "mkdir -p \"$DESTDIR/usr/bin\"\n$CC -Os -o \"$DESTDIR/usr/bin/load\" load.c\n";
    fs::write(dir.join("load/build.sh"), build)?;
    write_bad_modules(dirs, arch, &dir.join("rootfs/m"))?;
    Ok(profile)
}

/// What the machine is told: the kernel, init, the network and the service.
const TOLD: &str = "kernel.panic_on_warn = 1\ninit.hostname = told\ninit.word\nechod.tcp = 7, 7777\n\
    network.plugged {\n\tmatch = eth1\n\taddresses = 192.168.77.5/24\n}\nmine { a = 1; b = two, three }\n";

fn sees_its_boot_configuration(guest: &mut Guest) -> Result<()> {
    let boot_config = guest.run("cat /proc/bootconfig")?.replace('\r', "");
    ensure!(boot_config.contains("mine.b = \"two\", \"three\"\n"), "{boot_config}");
    guest.run(
        "grep -q 'panic_on_warn=\"*1.* -- .*word' /proc/cmdline && [ $(cat /proc/sys/kernel/panic_on_warn) = 1 ]",
    )?;
    guest.run("[ $(hostname) = told ] && netstat -lnt | grep -q ':7777 '")?;
    guest.run("grep -q '\\[confidentiality\\]' /sys/kernel/security/lockdown").map(drop)
}

/// Only what the kernel's own key signed is loaded, in whichever form it comes.
fn refuses_modules(guest: &mut Guest) -> Result<()> {
    for bad in ["unsigned", "tampered", "stranger"] {
        for command in [format!("insmod /m/{bad}.ko"), format!("load /m/{bad}.ko.zst")] {
            let answer = guest.ask(&command)?;
            let refused = answer.status != 0 && answer.output.contains("Key was rejected");
            ensure!(refused, guest.failure(&format!("`{command}` was not refused")));
        }
    }
    // Compressed ones that are signed are those of the card, which are there already.
    guest.run("! grep -q '^mii ' /proc/modules && insmod /m/signed.ko && grep -q '^mii ' /proc/modules").map(drop)
}

/// The card that is there has its driver, with all that it needs, and a lease; so has one that is plugged in later.
fn loads_what_devices_ask_for(guest: &mut Guest) -> Result<()> {
    guest.run("grep -q '^virtio_net ' /proc/modules && grep -q '^net_failover ' /proc/modules")?;
    guest.run("ip route | grep -q '^default via 10.0.2.2 dev eth0 ' && grep -q 10.0.2.3 /etc/resolv.conf")?;
    guest.run(
        "ip -6 route | grep -q '^default via fe80'; initctl log dhcp@eth0 | grep -q '10.0.2.15/24 from 10.0.2.2'",
    )?;
    guest.run("! grep -q '^e1000e ' /proc/modules && ! [ -e /sys/class/net/eth1 ]")?;
    guest.qmp("netdev_add", json!({ "type": "user", "id": "later" }))?;
    guest.qmp("device_add", json!({ "driver": "e1000e", "id": "plugged", "bus": "socket", "netdev": "later" }))?;
    let has_address = "ip address show dev eth1 2>/dev/null | grep -q 192.168.77.5";
    guest.run(&format!("i=0; until {has_address} || [ $i = 150 ]; do i=$((i+1)); sleep 0.2; done; {has_address}"))?;
    guest.run("grep -q '^e1000e ' /proc/modules").map(drop)
}

/// busybox's small insmod unpacks by itself or not at all; the kernel unpacks for finit_module(2) with this flag.
const LOAD: &str = "#include <fcntl.h>\n#include <linux/module.h>\n#include <stdio.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n\
    int main(int count, char **files) {\n  for (int i = 1; i < count; i++)\n    \
    if (syscall(SYS_finit_module, open(files[i], O_RDONLY), \"\", MODULE_INIT_COMPRESSED_FILE)) return perror(files[i]), 1;\n  \
    return 0;\n}\n";

/// Copies of a module that the kernel must refuse, each also compressed, and one that it must take: `mii`, which needs no other.
fn write_bad_modules(dirs: &Dirs, arch: Arch, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    let signed = unpacked(&modules(dirs, arch)?.join("kernel/drivers/net/mii.ko.zst"))?;
    let (body, size) = signed.split_at(signed.len() - MARK.len() - 4);
    let size = u32::from_be_bytes(size[..4].try_into()?) as usize;
    let unsigned = &body[..body.len() + 4 - SIGNATURE_INFO - size];
    let mut tampered = signed.clone();
    let at = signed.windows(12).position(|window| window == b"description=").context("no description")?;
    tampered[at + 12] ^= 1;
    for (name, bytes) in [("signed.ko", &signed[..]), ("unsigned.ko", unsigned), ("tampered.ko", &tampered)] {
        fs::write(dir.join(name), bytes)?;
    }
    sign_by_a_stranger(dirs, arch, &dir.join("unsigned.ko"), &dir.join("stranger.ko"))?;
    for name in ["unsigned", "tampered", "stranger"] {
        check_with("zstd", &["-q", &dir.join(format!("{name}.ko")).display().to_string()])?;
    }
    Ok(())
}

/// Signs a module by the kernel's own program, with a key that the kernel does not know.
fn sign_by_a_stranger(dirs: &Dirs, arch: Arch, module: &Path, out: &Path) -> Result<()> {
    let work = tempfile::tempdir()?;
    let path = |name: &str| work.path().join(name).display().to_string();
    let archive = result(dirs, &format!("kernel-single-{arch}"))?.join("build.tar.zst").display().to_string();
    check_with("tar", &["--zstd", "-xf", &archive, "-C", &path(""), "./scripts/sign-file"])?;
    let make = ["req", "-new", "-x509", "-batch", "-nodes", "-newkey", "rsa:4096", "-subj", "/CN=stranger", "-keyout"];
    check_with("openssl", &[&make[..], &[&path("key"), "-out", &path("certificate")]].concat())?;
    let (module, out) = (module.display().to_string(), out.display().to_string());
    check_with(&path("scripts/sign-file"), &["sha512", &path("key"), &path("certificate"), &module, &out]).map(drop)
}

/// The files in the kernel of a profile.
fn inside(dirs: &Dirs, arch: Arch, profile: &str) -> Result<Vec<Member>> {
    let vmlinux = fs::read(result(dirs, &format!("link-{profile}-{arch}"))?.join("debug/vmlinux"))?;
    let dir = tempfile::tempdir()?;
    let archive = dir.path().join("initramfs");
    fs::write(&archive, elf::initramfs(&vmlinux)?)?;
    cpio::list(&archive, &dir.path().join("work"))
}

/// The directory of modules and tables of `single`.
fn modules(dirs: &Dirs, arch: Arch) -> Result<PathBuf> {
    let all = result(dirs, &format!("kernel-single-{arch}"))?.join("modules/usr/lib/modules");
    Ok(fs::read_dir(&all)?.next().context("no modules")??.path())
}

fn result(dirs: &Dirs, stage: &str) -> Result<PathBuf> {
    Ok(store::last(dirs, stage)?.with_context(|| format!("the store has no {stage}"))?.out())
}

fn unpacked(module: &Path) -> Result<Vec<u8>> {
    let dir = tempfile::tempdir()?;
    let plain = dir.path().join("plain");
    check_with("zstd", &["-q", "-d", "-o", &plain.display().to_string(), &module.display().to_string()])?;
    Ok(fs::read(plain)?)
}
