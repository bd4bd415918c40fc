//! Hybrid images: started from every medium by every firmware, with the settings file as somebody left it on the image.

mod common;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use build_support::{Arch, Dirs, fs, tree};
use common::guest::{Guest, Start, extra};
use common::outputs::{self, Outputs, check_with, has_time};
use common::slots;
use disk::hybrid::{KERNEL, SETTINGS, VOLUME};
use system::Profile;
use system::machine::{Accelerator, Host, Options};
use system::outputs::PROFILE_MARK;
use system::profile::Boot;
use system::secure_boot::Keys;

for_each_arch! {
    it_starts_from_every_medium,
    it_starts_from_every_controller_and_from_a_larger_disk,
    files_that_were_written_anew_are_found,
    a_broken_image_says_what_is_wrong,
    its_structures_are_those_of_the_standards,
    a_signed_one_takes_nothing_from_outside,
}

/// The profile of the tests.
const NAME: &str = "hybrid";

/// A copy of the image, to be changed and started.
struct Bench {
    outputs: Outputs,
    dir: tempfile::TempDir,
    profile: PathBuf,
    name: String,
}

impl Bench {
    fn new(arch: Arch) -> Result<Option<Bench>> {
        let profile = Dirs::find()?.root.join(format!("image/tests/profiles/{NAME}.toml"));
        Bench::of(arch, &profile)
    }

    fn of(arch: Arch, profile: &Path) -> Result<Option<Bench>> {
        let Some(outputs) = Outputs::of(arch, &profile.display().to_string())? else { return Ok(None) };
        let name = profile.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let bench = Bench { outputs, dir: tempfile::tempdir()?, profile: profile.into(), name };
        bench.reset()?;
        Ok(Some(bench))
    }

    /// The image that the machine has.
    fn image(&self) -> PathBuf {
        self.dir.path().join("bloomery").join(self.outputs.arch.name()).join(format!("{}.iso", self.name))
    }

    /// Makes it as it was built.
    fn reset(&self) -> Result<()> {
        tree::write_atomically(&self.image(), &fs::read(self.outputs.file(&format!("{}.iso", self.name))?)?)
    }

    /// The file system of the image, as mtools name a part of a file.
    fn volume(&self) -> String {
        format!("{}@@{VOLUME}", self.image().display())
    }

    /// Writes a file of the image anew, where mtools find room for it.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let file = self.dir.path().join("file");
        fs::write(&file, bytes)?;
        check_with("mcopy", &["-o", "-i", &self.volume(), &file.display().to_string(), &format!("::/{name}")])?;
        Ok(())
    }

    fn take(&self, name: &str) -> Result<Vec<u8>> {
        let file = self.dir.path().join("taken");
        check_with("mcopy", &["-n", "-i", &self.volume(), &format!("::/{name}"), &file.display().to_string()])?;
        let bytes = fs::read(&file)?;
        fs::remove_file(file)?;
        Ok(bytes)
    }

    fn remove(&self, name: &str) -> Result<()> {
        check_with("mdel", &["-i", &self.volume(), &format!("::/{name}")]).map(drop)
    }

    fn boots(&self) -> Result<Vec<Boot>> {
        Ok(Profile::read(&Dirs::find()?, &self.profile.display().to_string())?.boots(self.outputs.arch))
    }

    fn start(&self, case: &str, boot: Boot, options: Options) -> Result<Guest> {
        let (name, profile) = (format!("{}-{case}-{}", self.name, boot.name()), self.profile.display().to_string());
        let target = Some(self.dir.path());
        Guest::start(&self.outputs, &Start { boot: Some(boot), options, target, ..Start::new(&name, &profile) })
    }

    /// Boots to a shell.
    fn boot(&self, case: &str, boot: Boot, options: Options) -> Result<Guest> {
        let mut guest = self.start(case, boot, options)?;
        guest.prompt()?;
        guest.run("dmesg -n 1")?;
        Ok(guest)
    }

    /// One way to boot by each firmware.
    fn firmwares(&self) -> &'static [Boot] {
        match self.outputs.arch {
            Arch::X86_64 => &[Boot::Bios, Boot::Uefi],
            Arch::Arm64 => &[Boot::Uefi],
        }
    }
}

/// Whether the running system has this text, byte for byte.
fn has_settings(guest: &mut Guest, text: &[u8]) -> Result<()> {
    use sha2::Digest as _;
    let digest = hex::encode(sha2::Sha256::digest(text));
    guest.run(&format!(
        "sha256sum /etc/bloomery.txt | grep '^{digest} ' && [ $(stat -c %a /etc/bloomery.txt) = 444 ]"
    ))?;
    Ok(())
}

fn it_starts_from_every_medium(arch: Arch) -> Result<()> {
    let Some(bench) = Bench::new(arch)? else { return Ok(()) };
    let boots = bench.boots()?;
    ensure!(boots.len() == if arch == Arch::X86_64 { 6 } else { 3 }, "{boots:?}");
    let text = b"# edited\r\nhostname = box\n";
    bench.put(SETTINGS, text)?;
    for boot in boots {
        let _slot = slots::one();
        let mut guest = bench.boot("medium", boot, Options::default())?;
        has_settings(&mut guest, text)?;
        guest.power_off()?;
    }
    Ok(())
}

/// Controllers that the machine of `run.sh` has not: each is in the boot order before a disk with nothing on it.
fn it_starts_from_every_controller_and_from_a_larger_disk(arch: Arch) -> Result<()> {
    if !has_time(arch)? {
        return Ok(());
    }
    let Some(bench) = Bench::new(arch)? else { return Ok(()) };
    let large = bench.dir.path().join("large");
    fs::copy(bench.image(), &large)?;
    fs::File::options().write(true).open(&large)?.set_len(1 << 30)?;
    fs::write(bench.image(), vec![0; 1 << 20])?;
    const CASES: &[(&str, &[Boot], &[&str])] = &[
        ("ide", &[Boot::Bios], &["-M", "pc", "-device", "ide-hd,drive=large,bootindex=0"]),
        (
            "ahci",
            &[Boot::Bios, Boot::Uefi],
            &["-device", "ich9-ahci,id=ahci", "-device", "ide-hd,bus=ahci.0,drive=large,bootindex=0"],
        ),
        ("nvme", &[Boot::Bios, Boot::Uefi], &["-device", "nvme,serial=1,drive=large,bootindex=0"]),
    ];
    for (case, boots, devices) in CASES {
        // The firmware of arm64's board has no driver for AHCI.
        let is_known = |boot: &&Boot| boot.is_on(arch) && (arch == Arch::X86_64 || *case != "ahci");
        for boot in boots.iter().filter(is_known) {
            let _slot = slots::one();
            let drive = format!("if=none,id=large,format=raw,file={}", large.display());
            let words = [&["-drive", &drive][..], devices].concat();
            let mut guest = bench.boot(case, *boot, Options { extra: extra(&words), ..Options::default() })?;
            guest.run("[ -s /etc/bloomery.txt ]")?;
            guest.power_off()?;
        }
    }
    Ok(())
}

/// Settings of the largest size and a kernel, both in pieces, as an editor and an update may leave them.
fn files_that_were_written_anew_are_found(arch: Arch) -> Result<()> {
    if !has_time(arch)? {
        return Ok(());
    }
    let Some(bench) = Bench::new(arch)? else { return Ok(()) };
    let kernel = bench.take(KERNEL)?;
    bench.remove(KERNEL)?;
    bench.remove(SETTINGS)?;
    // Every second of the first clusters stays taken.
    let spacer = |number: u32| format!("S{number}");
    for number in 0..16 {
        bench.put(&spacer(number), &[b'x'; 4096])?;
    }
    for number in (0..16).step_by(2) {
        bench.remove(&spacer(number))?;
    }
    let text = vec![b'#'; 16 << 10];
    bench.put(SETTINGS, &text)?;
    bench.put(KERNEL, &kernel)?;
    let pieces = check_with("mshowfat", &["-i", &bench.volume(), &format!("::/{KERNEL}")])?;
    ensure!(pieces.contains(' ') && pieces.matches('<').count() > 4, "the kernel is not in pieces: {pieces}");
    for boot in bench.firmwares() {
        let _slot = slots::one();
        let mut guest = bench.boot("pieces", *boot, Options::default())?;
        has_settings(&mut guest, &text)?;
        guest.power_off()?;
    }
    Ok(())
}

/// UEFI firmware starts no loader from a partition that ends behind its disk.
const NOTHING: &str = "";

/// Makes an image a broken one.
type Damage<'a> = &'a dyn Fn() -> Result<()>;

fn a_broken_image_says_what_is_wrong(arch: Arch) -> Result<()> {
    let Some(bench) = Bench::new(arch)? else { return Ok(()) };
    let kernel = bench.take(KERNEL)?;
    let cases: [(&str, Damage, [&str; 2]); 4] = [
        ("no-kernel", &|| bench.remove(KERNEL), ["no kernel: its file is missing", "the kernel is missing"]),
        (
            "cut-file",
            &|| bench.put(KERNEL, &kernel[..1 << 20]),
            [
                "the kernel's file is cut short: write the image anew",
                "the kernel cannot be loaded: write the image anew",
            ],
        ),
        (
            "no-program",
            &|| bench.put(KERNEL, &[b'x'; 1 << 20]),
            ["the kernel's file is none for this loader", "the kernel cannot be loaded: write the image anew"],
        ),
        (
            "cut-image",
            &|| Ok(fs::File::options().write(true).open(bench.image())?.set_len(1 << 20)?),
            ["cannot read sector ", NOTHING],
        ),
    ];
    for (case, break_it, messages) in cases {
        bench.reset()?;
        break_it()?;
        for boot in bench.firmwares() {
            let _slot = slots::one();
            let message = messages[usize::from(*boot == Boot::Uefi)];
            if message == NOTHING {
                continue;
            }
            bench.start(case, *boot, Options::default())?.line(message)?;
        }
    }
    bench.reset()?;
    bench.put(SETTINGS, &[b'#'; (16 << 10) + 1])?;
    for boot in bench.firmwares() {
        let _slot = slots::one();
        let mut guest = bench.start("large-settings", *boot, Options::default())?;
        guest.line("BLOOMERY.TXT has more than 16 KiB and is left out")?;
        guest.prompt()?;
        guest.run("[ ! -e /etc/bloomery.txt ]")?;
    }
    if arch == Arch::X86_64 {
        let _slot = slots::one();
        let options = Options { memory: Some(20 << 20), ..Options::default() };
        let mut guest = bench.start("memory", Boot::Bios, options)?;
        guest.line("too little memory; restarting in 10 s")?;
        guest.line("too little memory")?; // It did.
    }
    Ok(())
}

fn its_structures_are_those_of_the_standards(arch: Arch) -> Result<()> {
    let Some(bench) = Bench::new(arch)? else { return Ok(()) };
    let image = bench.image().display().to_string();
    let report =
        check_with("xorriso", &["-indev", &image, "-report_el_torito", "plain", "-report_system_area", "plain"])?;
    ensure!(report.contains("UEFI") && report.contains("0xef"), "{report}");
    ensure!(report.contains(" BIOS ") == (arch == Arch::X86_64), "{report}");
    let volume = bench.dir.path().join("volume");
    fs::write(&volume, &fs::read(bench.image())?[VOLUME as usize..])?;
    check_with("fsck.fat", &["-n", &volume.display().to_string()])?;
    let kernel = bench.take(KERNEL)?.len() as u64;
    let around = bench.image().metadata()?.len() - kernel;
    common::report(&format!("{arch}: a kernel of {kernel} bytes, and {around} around it"));
    ensure!(around < 192 << 10, "{around} bytes around the kernel");
    Ok(())
}

/// Kernel and loader are signed, there is no settings file, and one that is put there is not given to the kernel.
fn a_signed_one_takes_nothing_from_outside(arch: Arch) -> Result<()> {
    if !outputs::is_wanted(arch)? {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let keys = Keys::make(&dir.path().join("keys"))?;
    let profile = dir.path().join("secure-boot-hybrid.toml");
    let base = Dirs::find()?.root.join(format!("image/tests/profiles/{NAME}.toml"));
    let text = format!(
        "extends = \"{}\"\n[[output]]\nname = \"hybrid\"\n\
         sign = {{ key = \"keys/secure-boot.key\", cert = \"keys/secure-boot.crt\" }}\n",
        base.display()
    );
    fs::write(&profile, text)?;
    // The outputs are of an earlier key, which no file of the checkout tells.
    let mark = Dirs::find()?.output(arch).join("secure-boot-hybrid").join(PROFILE_MARK);
    if mark.exists() {
        fs::remove_file(mark)?;
    }
    let Some(bench) = Bench::of(arch, &profile)? else { return Ok(()) };
    let loader = format!("EFI/BOOT/{}", arch.efi_file());
    for name in [KERNEL, &loader] {
        ensure!(efi_sign::Program::parse(&bench.take(name)?)?.is_signed(), "{name} is not signed");
    }
    ensure!(bench.take(SETTINGS).is_err(), "there is a settings file");
    bench.put(SETTINGS, b"outside\n")?;

    let host = Host::find(arch, Accelerator::Tcg, Path::new("/nonexistent"));
    let flash = keys.flash(&host.firmware.context("no UEFI firmware is installed\nhint: run ./setup.sh")?)?;
    let variables = dir.path().join("vars.fd");
    let options = || -> Result<Options> {
        fs::write(&variables, flash.bytes())?;
        Ok(Options { variables: Some(variables.clone()), ..Options::default() })
    };
    {
        let _slot = slots::one();
        let mut guest = bench.boot("enrolled", Boot::Uefi, options()?)?;
        guest.run("[ ! -e /etc/bloomery.txt ] && grep noinitrd /proc/cmdline")?;
        guest.power_off()?;
    }
    if arch == Arch::X86_64 {
        // A BIOS checks nothing, and its loader gives the kernel nothing either.
        let _slot = slots::one();
        let mut guest = bench.boot("signed", Boot::Bios, Options::default())?;
        guest.run("[ ! -e /etc/bloomery.txt ]")?;
        guest.power_off()?;
    }
    let Some(unsigned) = Bench::new(arch)? else { return Ok(()) };
    bench.put(KERNEL, &unsigned.take(KERNEL)?)?;
    let _slot = slots::one();
    let mut guest = bench.start("unsigned-kernel", Boot::Uefi, options()?)?;
    guest.line("the kernel is not signed by a key that this machine knows")?;
    Ok(())
}
