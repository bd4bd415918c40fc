//! Firmware that knows a key starts what it signed and nothing else, and a signed kernel takes no words from outside.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use build_support::host_clang::HostClang;
use build_support::{Arch, Cmd, Dirs, fs, store, tree};
use common::guest::{Guest, Start};
use common::outputs::{self, Outputs};
use common::slots;
use disk::{Compression, Tree, cpio};
use efi_sign::{Signer, sign};
use system::machine::{Accelerator, Firmware, Host, Options};
use system::outputs::PROFILE_MARK;
use system::profile::Boot;
use system::secure_boot::Keys;
use system::variables::{Flash, GLOBAL, KEPT};

for_each_arch!(firmware_starts_what_is_signed, nothing_from_outside_reaches_a_signed_kernel);

/// What whoever has the machine would like to say to its kernel.
const WORDS: &str =
    "init=/bin/sh rdinit=/bin/sh lockdown=none module.sig_enforce=0 bootconfig initrd=\\evil.cpio outside=yes";
/// The file of which the firmware's option speaks, and what is in it.
const EVIL: &str = "evil.cpio";
const MARK: &str = "from-outside";

/// A machine whose EFI program is a file of the test's own, with its key.
struct Bench {
    dir: tempfile::TempDir,
    arch: Arch,
    keys: Keys,
    firmware: Firmware,
}

impl Bench {
    fn new(arch: Arch) -> Result<Bench> {
        let dir = tempfile::tempdir()?;
        let keys = Keys::make(&dir.path().join("keys"))?;
        let text = "description = \"x\"\n[kernel]\nfragments = []\n[root]\nkind = \"initramfs\"\nembed = true\n\
                    [[output]]\nkind = \"efi\"\n[machine]\nmemory = \"256 MiB\"\n";
        fs::write(dir.path().join("program.toml"), text)?;
        Ok(Bench { keys, firmware: firmware(arch)?, dir, arch })
    }

    fn signer(&self) -> Result<Signer> {
        Signer::from_pem(&fs::read_to_string(self.keys.key())?, &fs::read_to_string(self.keys.certificate())?)
    }

    /// Starts a program with a flash.
    fn start(&self, name: &str, program: &[u8], flash: &Flash) -> Result<Guest> {
        let dirs = Dirs::find()?;
        let file = self.dir.path().join("bloomery").join(self.arch.name()).join("program.efi");
        tree::write_atomically(&file, program)?;
        let profile = self.dir.path().join("program.toml").display().to_string();
        let outputs = Outputs { root: dirs.root.clone(), dir: dirs.output(self.arch), arch: self.arch };
        let start = Start { target: Some(self.dir.path()), ..start(name, &profile, self.write(flash)?) };
        Guest::start(&outputs, &start)
    }

    /// The private key is in no result that it made, in no log and in no output.
    fn key_stays_where_it_is(&self, dirs: &Dirs, outputs: &Path) -> Result<()> {
        let text = fs::read_to_string(self.keys.key())?;
        let line = text.lines().nth(1).context("the key has no lines")?;
        let mut places = vec![dirs.log(self.arch), outputs.into()];
        for stage in ["signed-secure-boot-efi", "image-secure-boot-efi"] {
            let entry = store::last(dirs, &format!("{stage}-{}", self.arch))?;
            places.extend(entry.context("the store has no such result")?.out().parent().map(PathBuf::from));
        }
        let found = Command::new("grep").args(["-rlF", "-e", line]).args(&places).output()?;
        ensure!(found.status.code() == Some(1), "the key is in {}", String::from_utf8_lossy(&found.stdout));
        Ok(())
    }

    fn write(&self, flash: &Flash) -> Result<PathBuf> {
        let file = self.dir.path().join("vars.fd");
        fs::write(&file, flash.bytes())?;
        Ok(file)
    }
}

fn start<'a>(name: &'a str, profile: &'a str, variables: PathBuf) -> Start<'a> {
    let options = Options { variables: Some(variables), ..Options::default() };
    Start { boot: Some(Boot::Uefi), options, ..Start::new(name, profile) }
}

fn firmware(arch: Arch) -> Result<Firmware> {
    let host = Host::find(arch, Accelerator::Tcg, Path::new("/nonexistent"));
    host.firmware.context("no UEFI firmware is installed\nhint: run ./setup.sh")
}

/// The program `secure_boot/options.c`.
fn program(arch: Arch, dir: &Path) -> Result<Vec<u8>> {
    let (target, linked) = match arch {
        Arch::X86_64 => ("x86_64-unknown-windows", "i386pep"),
        Arch::Arm64 => ("aarch64-unknown-windows", "arm64pe"),
    };
    let clang = HostClang::find()?;
    let (object, file) = (dir.join("options.o"), dir.join("options.efi"));
    Cmd::new(clang.program("clang")?)
        .args(["-target", target, "-ffreestanding", "-O1", "-c", "-o"])
        .arg(&object)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/secure_boot/options.c"))
        .run("compile an EFI program")?;
    Cmd::new(clang.program("ld.lld")?)
        .args(["-m", linked, "--subsystem", "efi_application", "-e", "efi_main", "-o"])
        .arg(&file)
        .arg(&object)
        .run("link an EFI program")?;
    Ok(fs::read(file)?)
}

/// Lets the firmware start the EFI program once with options, as somebody at the firmware's setup would.
fn give_options(flash: &mut Flash, arch: Arch, options: &str) -> Result<()> {
    let wide = |text: &str| text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let path = wide(&format!("\\EFI\\BOOT\\{}", arch.efi_file()));
    // A path of a file alone, which firmware looks for on all disks, and the end (UEFI 2.10, sections 3.1.2 and 10.3).
    let node = [&[4, 4][..], &(4 + path.len() as u16).to_le_bytes(), &path, &[0x7f, 0xff, 4, 0]].concat();
    let active = 1_u32.to_le_bytes();
    let length = (node.len() as u16).to_le_bytes();
    let option = [&active[..], &length, &wide("test"), &node, &wide(options)].concat();
    flash.set("Boot00AA", &GLOBAL, KEPT, &option)?;
    flash.set("BootNext", &GLOBAL, KEPT, &0xaa_u16.to_le_bytes())
}

fn firmware_starts_what_is_signed(arch: Arch) -> Result<()> {
    if !outputs::is_wanted(arch)? {
        return Ok(());
    }
    let bench = Bench::new(arch)?;
    let _slot = slots::one();
    let unsigned = program(arch, bench.dir.path())?;
    let signed = sign(&unsigned, &bench.signer()?)?;
    let mut enrolled = bench.keys.flash(&bench.firmware)?;
    let name = |case: &str| format!("secure-boot-{case}");

    let mut guest = bench.start(&name("signed"), &signed, &enrolled)?;
    guest.line("Secure Boot is on")?;
    guest.ended(10.0)?;
    for (case, program) in [("unsigned", &unsigned), ("tampered", &tampered(&signed))] {
        let mut guest = bench.start(&name(case), program, &enrolled)?;
        guest.line("Access Denied")?;
        ensure!(!guest.console.shows("Secure Boot is"), guest.failure("it was started"));
    }
    let mut guest = bench.start(&name("off"), &unsigned, &Flash::read(fs::read(&bench.firmware.variables)?)?)?;
    guest.line("Secure Boot is off")?;

    // The way by which the other test speaks to a kernel reaches a program.
    give_options(&mut enrolled, arch, WORDS)?;
    let mut guest = bench.start(&name("options"), &signed, &enrolled)?;
    guest.line(&format!("options: {WORDS}."))?;
    guest.ended(10.0)
}

/// A byte of the program's text is another.
fn tampered(signed: &[u8]) -> Vec<u8> {
    let mut tampered = signed.to_vec();
    let text: Vec<u8> = "options: ".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let at = signed.windows(text.len()).position(|window| window == text).unwrap_or(signed.len() / 2);
    tampered[at] ^= 1;
    tampered
}

/// The profile `single` with a shell, signed. Its kernel is one of its own.
fn nothing_from_outside_reaches_a_signed_kernel(arch: Arch) -> Result<()> {
    if !outputs::is_wanted(arch)? {
        return Ok(());
    }
    let (bench, dirs) = (Bench::new(arch)?, Dirs::find()?);
    let profile = bench.dir.path().join("secure-boot.toml");
    let text = "extends = \"single\"\ninittab = []\n[root]\npackages = { add = [\"busybox\"] }\n\
                [[output]]\nkind = \"efi\"\nsign = { key = \"keys/secure-boot.key\", cert = \"keys/secure-boot.crt\" }\n\
                [[output]]\nname = \"disk\"\nenabled = false\n[[output]]\nname = \"kernel\"\nenabled = false\n";
    fs::write(&profile, text)?;
    let path = profile.display().to_string();
    // The outputs are of an earlier key, which no file of the checkout tells.
    let own = dirs.output(arch).join("secure-boot");
    if own.join(PROFILE_MARK).exists() {
        fs::remove_file(own.join(PROFILE_MARK))?;
    }
    let Some(outputs) = Outputs::of(arch, &path)? else { return Ok(()) };
    let signed = fs::read(outputs.file("secure-boot.efi")?)?;
    ensure!(efi_sign::Program::parse(&signed)?.is_signed(), "the output is not signed");
    bench.key_stays_where_it_is(&dirs, &own)?;

    let _slot = slots::one();
    let mut flash = bench.keys.flash(&bench.firmware)?;
    let mut guest = bench.start("secure-boot-kernel-tampered", &tampered(&signed), &flash)?;
    guest.line("Access Denied")?;
    drop(guest);

    give_options(&mut flash, arch, WORDS)?;
    let mut inside = Tree::new();
    inside.bytes(MARK, b"", 0o644, "test")?;
    tree::write_atomically(&own.join("esp").join(EVIL), b"")?;
    cpio::write(&inside, &own.join("esp").join(EVIL), Compression::None)?;
    let mut guest = Guest::boot(&outputs, &start("secure-boot-kernel", &path, bench.write(&flash)?))?;
    let line = guest.run("cat /proc/cmdline")?;
    ensure!(line.contains("noinitrd") && !line.contains("outside"), guest.failure("words from outside arrived"));
    guest.run(&format!("[ ! -e /{MARK} ] && [ \"$(readlink /proc/1/exe)\" != \"$(readlink /proc/self/exe)\" ]"))?;
    guest.run("grep -q '\\[confidentiality\\]' /sys/kernel/security/lockdown")?;
    guest.run("grep -q Y /sys/module/module/parameters/sig_enforce")?;
    // Four bytes of attributes, then the variable's one byte.
    let (dir, name) = ("/sys/firmware/efi/efivars", "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c");
    guest.run(&format!("[ -e {dir}/{name} ] || mount -t efivarfs efivarfs {dir}"))?;
    guest.run(&format!("[ \"$(tail -c 1 {dir}/{name} | tr '\\001' y)\" = y ]"))?;
    if arch == Arch::X86_64 {
        guest.run("dmesg | grep 'Secure boot enabled'")?;
    }
    guest.power_off().map(drop)
}
