//! `run`: boots an image in QEMU with its console on this terminal, and builds it first when it is missing.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use build_support::{Context as _, Result, bail, ensure, fs, host};
use clap::ValueEnum;
use clap::builder::PossibleValue;
use system::machine::{Accelerator, Forward, Host, Machine, Options, Qemu};
use system::profile::Boot;
use system::{Profile, outputs};

use crate::build;
use crate::busy;
use crate::context::{Context, arch};
use crate::typed;
use crate::usage::{BadValue, say, wrong};
use crate::watch;

/// Boot an image in QEMU, with its console on this terminal. What is missing is built first
///
/// The disk keeps what the guest writes until the image is built anew. Ctrl-A X ends QEMU.
#[derive(clap::Args)]
#[command(
    override_usage = "./run.sh ARCH [options] [-- QEMU ARGUMENTS]\n       cargo bloomery run ARCH [options] [-- QEMU ARGUMENTS]"
)]
pub struct Args {
    /// x86_64 or arm64
    #[arg(value_name = "ARCH")]
    arch: Vec<String>,
    /// The profile to boot: a name from image/profiles/, or your own TOML file
    #[arg(long, value_name = "NAME", default_value = "full", allow_hyphen_values = true)]
    profile: String,
    /// How to boot: `kernel` (QEMU loads the kernel), `uefi` (firmware starts the image), `microvm`, or over the network by
    /// `pxe4`, `pxe6`, `http4`, `http6`, `ipxe` (docs/netboot.md) [default: the profile's first]
    #[arg(long, value_name = "NAME", hide_possible_values = true)]
    boot: Option<BootName>,
    /// The same as --boot uefi
    #[arg(long, conflicts_with = "boot")]
    uefi: bool,
    /// UEFI variables to boot with, such as those of `cargo bloomery keys`; the machine writes to them [default: its own]
    #[arg(long, value_name = "FILE")]
    vars: Option<PathBuf>,
    /// Add to the kernel's command line (when QEMU loads the kernel)
    #[arg(long, value_name = "WORDS", default_value = "", hide_default_value = true, allow_hyphen_values = true)]
    append: String,
    /// Memory, such as 512M or 2G [default: the profile's]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    memory: Option<u64>,
    /// Processors [default: the profile's, else 1, with KVM those of this machine, at most 4]
    #[arg(long, value_name = "N", value_parser = processors)]
    smp: Option<u64>,
    /// Forward a TCP port of this machine (127.0.0.1) to the guest; can be repeated
    ///
    /// HOST:ADDRESS:GUEST leads to a guest that has an address of its own, and not the one that QEMU's DHCP gives.
    #[arg(long = "port", value_name = "HOST:GUEST", value_parser = port)]
    ports: Vec<Forward>,
    /// Use the network of this tap device in place of QEMU's own
    #[arg(long, value_name = "NAME")]
    tap: Option<String>,
    /// Forget everything that the guest writes to its disk
    #[arg(long)]
    snapshot: bool,
    /// Wait for a debugger on port 1234 before the first instruction
    #[arg(long)]
    gdb: bool,
    /// kvm, tcg (emulation) or auto (KVM when it works here)
    #[arg(long, value_name = "NAME", default_value = "auto", hide_possible_values = true)]
    accel: Accel,
    /// Check for changes and build even when the image is there
    #[arg(long, conflicts_with = "no_build")]
    build: bool,
    /// Build nothing
    #[arg(long)]
    no_build: bool,
    /// Build and boot anew whenever a file of the profile or of its packages is saved
    #[arg(long, conflicts_with_all = ["no_build", "dry_run", "gdb"])]
    watch: bool,
    /// Print the QEMU command, build and boot nothing
    #[arg(long)]
    dry_run: bool,
    /// Arguments for QEMU
    #[arg(last = true, value_name = "QEMU ARGUMENTS")]
    extra: Vec<OsString>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Accel {
    Kvm,
    Tcg,
    Auto,
}

/// A way to boot, by its name.
#[derive(Clone, Copy)]
struct BootName(Boot);

impl ValueEnum for BootName {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [BootName; Boot::ALL.len()] = {
            let mut names = [BootName(Boot::ALL[0]); Boot::ALL.len()];
            let mut at = 0;
            while at < names.len() {
                names[at] = BootName(Boot::ALL[at]);
                at += 1;
            }
            names
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()))
    }
}

/// Bytes; without a unit MiB, as QEMU reads it.
fn memory(text: &str) -> std::result::Result<u64, BadValue> {
    let bad = || BadValue { why: None, example: "512M or 2G" };
    let (digits, factor) = match text.split_at_checked(text.len().wrapping_sub(1)) {
        Some((digits, "G")) => (digits, 1 << 30),
        Some((digits, "M")) => (digits, 1 << 20),
        _ => (text, 1 << 20),
    };
    whole(digits).and_then(|number| number.checked_mul(factor)).ok_or_else(bad)
}

fn processors(text: &str) -> std::result::Result<u64, BadValue> {
    whole(text).ok_or(BadValue { why: None, example: "2" })
}

fn port(text: &str) -> std::result::Result<Forward, BadValue> {
    let bad = |why| BadValue { why, example: "8080:80" };
    let (host, rest) = text.split_once(':').ok_or(bad(None))?;
    let (address, guest) = match rest.split_once(':') {
        None => (None, rest),
        Some((address, guest)) => {
            let bad = BadValue { why: None, example: "8080:10.0.2.88:80" };
            (Some(address.parse().map_err(|_| bad)?), guest)
        }
    };
    let number = |text: &str| {
        let number = whole(text).ok_or(bad(None))?;
        u16::try_from(number).map_err(|_| bad(Some("there is no port above 65535")))
    };
    Ok(Forward { host: number(host)?, address, guest: number(guest)? })
}

/// A whole number from 1, in digits alone.
fn whole(text: &str) -> Option<u64> {
    let number = text.parse().ok().filter(|number| *number > 0)?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then_some(number)
}

/// Boots. It returns when nothing is booted: QEMU takes the place of this process.
pub fn run(context: &Context, args: Args) -> Result<ExitCode> {
    let arch = match args.arch.as_slice() {
        [name] => arch(name)?,
        [] => return Err(wrong("which architecture?", "./run.sh x86_64, or ./run.sh --help")),
        [first, second, ..] => {
            let what = format!("one architecture at a time, and not `{first}` and `{second}`");
            return Err(wrong(&what, &format!("./run.sh {first}")));
        }
    };
    if args.uefi && !args.append.is_empty() {
        return Err(wrong(
            "--append does not go with --uefi: firmware starts the kernel with its built-in command line",
            "leave one of them out",
        ));
    }
    let name = context.profile_name(&args.profile)?;
    let profile = context.profile(&name)?;
    profile.check_arch(arch)?;
    let boot = match args.boot {
        Some(BootName(boot)) => boot,
        None if args.uefi || args.vars.is_some() => Boot::Uefi,
        None => profile.boots(arch).first().copied().unwrap_or(Boot::Kernel),
    };
    let dir = context.dirs.output(arch);
    let machine = Machine { arch, profile: &profile, boot, dir: &dir };
    let image = Image { machine, name: &name };
    if let Some(code) = image.build(context, &args)? {
        return Ok(code);
    }
    boot_image(context, &image, args)
}

/// Makes the command, and starts or prints it.
fn boot_image(context: &Context, image: &Image, args: Args) -> Result<ExitCode> {
    let machine = &image.machine;
    let accelerator = match args.accel {
        Accel::Auto => Accelerator::Auto,
        Accel::Kvm => Accelerator::Kvm,
        Accel::Tcg => Accelerator::Tcg,
    };
    let options = Options {
        memory: args.memory,
        processors: args.smp,
        append: args.append,
        ports: args.ports,
        variables: args.vars.map(std::path::absolute).transpose()?,
        tap: args.tap,
        snapshot: args.snapshot,
        gdb: args.gdb,
        accelerator,
        qmp: None,
        debugger: None,
        serial: None,
        extra: args.extra,
    };
    let program = machine.arch.qemu();
    ensure!(host::find_program(program).is_some(), "{program} is not installed\nhint: run ./setup.sh");
    let host = Host::find(machine.arch, accelerator, &context.dirs.home);
    let qemu = machine.command(&options, &host)?;
    machine.prepare(&options, &host)?; // In a dry run too: the command that it prints is one to use.
    if args.dry_run {
        println!("{qemu}");
        return Ok(ExitCode::SUCCESS);
    }
    busy::check_ports(&options.ports, options.gdb)?;
    if let Some(disk) = machine.writable_disk().filter(|_| !options.snapshot) {
        busy::check_disk(&disk)?;
    }
    explain(image, &qemu, &options, &host);
    if let Some(file) = image.newer_source(context) {
        say(&format!("the image is older than {}; --build makes it anew", file.display()));
    }
    if args.watch {
        let (archs, profiles) = ([machine.arch], [image.name.to_string()]);
        return watch::run(&qemu, machine.profile, || build::cargo(context, &archs, &profiles));
    }
    let mut command = Command::new(&qemu.program);
    command.args(&qemu.args);
    // A machine that waits for a debugger says nothing.
    let stopped = options.gdb || options.extra.iter().any(|word| word == "-S");
    if !stopped && typed::is_wanted() {
        return typed::run(command);
    }
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start {program}"))
}

fn explain(image: &Image, qemu: &Qemu, options: &Options, host: &Host) {
    let Machine { arch, profile, boot, .. } = image.machine;
    let how = match (&host.kvm, qemu.kvm, options.accelerator) {
        (_, true, _) => "with KVM".to_string(),
        (Err(why), false, Accelerator::Auto) => format!("by emulation ({why})"),
        _ => "by emulation".into(),
    };
    say(&format!("booting {arch} {} by {} {how}", profile.name, boot.name()));
    if options.gdb {
        say("waiting for a debugger; in another terminal: gdb -ex 'target remote 127.0.0.1:1234'");
    }
    say(
        "Ctrl-A X ends QEMU, Ctrl-A C opens its monitor, Ctrl-A A types a Ctrl-A; `poweroff` in the guest ends it cleanly",
    );
}

/// An image that may have to be built first.
struct Image<'a> {
    machine: Machine<'a>,
    /// The profile as the build takes it.
    name: &'a str,
}

impl Image<'_> {
    /// Builds what is missing, as far as the options allow. A status, when there is nothing to boot.
    fn build(&self, context: &Context, args: &Args) -> Result<Option<ExitCode>> {
        let missing = self.missing()?;
        if missing.is_none() && !args.build && !args.watch {
            return Ok(None);
        }
        let (archs, profiles) = ([self.machine.arch], [self.name.to_string()]);
        let command = build::text(&archs, &profiles);
        if args.dry_run {
            if missing.is_none() {
                return Ok(None);
            }
            say("the image is not built yet, so its QEMU command is not known; this would build it:");
            println!("{command}");
            return Ok(Some(ExitCode::SUCCESS));
        }
        if let Some(missing) = &missing {
            ensure!(!args.no_build, "there is no image {missing}\nhint: {command}");
            self.forget()?;
        }
        let code = build::cargo(context, &archs, &profiles)?;
        if code != ExitCode::SUCCESS {
            return Ok(Some(code));
        }
        if let Some(missing) = self.missing()? {
            bail!("the build left no {missing}\nhint: is BLOOMERY_SKIP set?");
        }
        Ok(None)
    }

    /// What this boot lacks: a file, or outputs of this profile where those of another one of its name lie.
    fn missing(&self) -> Result<Option<String>> {
        let Machine { profile, dir, .. } = self.machine;
        let absent = self.machine.files()?.into_iter().map(|file| dir.join(file)).find(|file| !file.exists());
        if let Some(file) = absent {
            return Ok(Some(file.display().to_string()));
        }
        let mark = self.own(outputs::PROFILE_MARK);
        let identity = fs::read_to_string(&mark).unwrap_or_default();
        let is_this = identity == outputs::identity(profile);
        Ok((!is_this).then(|| format!("of {} ({} names another profile)", first_file(profile), mark.display())))
    }

    /// A source that was saved after the image was laid out.
    fn newer_source(&self, context: &Context) -> Option<PathBuf> {
        // All other files have the fixed time of an image.
        let laid_out = fs::metadata(self.own(outputs::RUN_SCRIPT)).ok()?.modified().ok()?;
        watch::newer(&context.dirs.root, self.machine.profile, laid_out)
    }

    /// Lets the build lay out everything: cargo watches a mark alone, because a guest changes its disk's time.
    fn forget(&self) -> Result<()> {
        for name in ["key", outputs::PROFILE_MARK] {
            let mark = self.own(name);
            if mark.exists() {
                fs::remove_file(mark)?;
            }
        }
        Ok(())
    }

    fn own(&self, name: &str) -> PathBuf {
        self.machine.dir.join(outputs::directory(self.machine.profile)).join(name)
    }
}

fn first_file(profile: &Profile) -> String {
    profile.files.first().map_or(String::new(), |file| file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_a_whole() {
        assert_eq!(memory("512M").ok(), Some(512 << 20));
        assert_eq!(memory("2G").ok(), Some(2 << 30));
        assert_eq!(memory("64").ok(), Some(64 << 20));
        for text in ["", "M", "0", "0G", "-1", "+1", "1.5G", "lots", "1T", "99999999999G", "1é"] {
            assert!(memory(text).is_err(), "{text}");
        }
        assert_eq!(port("8080:80").ok(), Some(Forward::new(8080, 80)));
        let address = Some([10, 0, 2, 88].into());
        assert_eq!(port("8080:10.0.2.88:80").ok(), Some(Forward { address, ..Forward::new(8080, 80) }));
        for text in ["", "80", "80:", ":80", "0:80", "80:0", "1:2:3", "1:10.0.2.300:3", "99999:80", "+1:1", "1:65536"] {
            assert!(port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_way_to_boot_has_its_name() {
        let names: Vec<_> = BootName::value_variants().iter().map(|name| name.0).collect();
        assert_eq!(names, Boot::ALL);
    }
}
