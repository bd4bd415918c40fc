//! The virtual machine that boots a system: the QEMU command, made from a profile.
//!
//! [`Machine::command`] is the one place that knows the command. `cargo bloomery run` executes it, the boot tests start
//! it, and [`script()`] writes the same description down as a script that needs no checkout.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display, Formatter};
use std::net::Ipv4Addr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use build_support::{Arch, fs, tree};

use crate::outputs::{self, Medium};
use crate::profile::{Boot, Profile};

mod board;
mod host;
mod kvm;
mod parts;
mod script;

pub use host::{Firmware, Host};
pub use script::script;

use board::Board;
use parts::{Piece, When};

/// The kernel's built-in command line, beside the kernel.
const COMMAND_LINE: &str = "cmdline";
/// The copy of the firmware's variables that a machine writes to, in the profile's directory.
const VARIABLES: &str = "uefi-vars.fd";
/// The directory that firmware sees as an EFI system partition, in the profile's directory.
const ESP: &str = "esp";
/// The port of QEMU's server for GDB.
pub const GDB_PORT: u16 = 1234;

/// A system and the way to boot it.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// The guest's architecture.
    pub arch: Arch,
    /// What it boots.
    pub profile: &'a Profile,
    /// How it boots.
    pub boot: Boot,
    /// The outputs of the architecture, `target/bloomery/ARCH`.
    pub dir: &'a Path,
}

/// A TCP port of this machine's 127.0.0.1 that leads to the guest: `HOST:GUEST`, or `HOST:ADDRESS:GUEST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The port of this machine.
    pub host: u16,
    /// The guest's address, where it is not the one that QEMU's DHCP gives: 10.0.2.15.
    pub address: Option<Ipv4Addr>,
    /// The guest's port.
    pub guest: u16,
}

impl Forward {
    /// To a guest with an address by DHCP.
    pub fn new(host: u16, guest: u16) -> Forward {
        Forward { host, address: None, guest }
    }
}

impl Display for Forward {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let address = self.address.map(|address| format!("{address}:")).unwrap_or_default();
        write!(f, "{}:{address}{}", self.host, self.guest)
    }
}

/// What a user or a test chooses.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Bytes of memory; the profile's when there is none.
    pub memory: Option<u64>,
    /// Processors; the profile's, else as many as suit the accelerator.
    pub processors: Option<u64>,
    /// Words for the kernel's command line.
    pub append: String,
    /// Forwarded TCP ports.
    pub ports: Vec<Forward>,
    /// The file of the firmware's variables, which the machine writes to. Its own copy of the firmware's when there is none.
    pub variables: Option<PathBuf>,
    /// A tap device, in place of QEMU's own network.
    pub tap: Option<String>,
    /// Whether all that the guest writes is forgotten.
    pub snapshot: bool,
    /// Whether the machine waits for GDB before its first instruction.
    pub gdb: bool,
    /// What runs the guest's instructions.
    pub accelerator: Accelerator,
    /// A Unix socket for QEMU's machine protocol (QMP).
    pub qmp: Option<PathBuf>,
    /// A Unix socket behind which the machine waits for GDB before its first instruction.
    pub debugger: Option<PathBuf>,
    /// A Unix socket that is the other end of the machine's second serial port ([`Machine::second_port`]).
    pub serial: Option<PathBuf>,
    /// More arguments for QEMU, last.
    pub extra: Vec<OsString>,
}

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accelerator {
    /// KVM when it works, else emulation.
    #[default]
    Auto,
    /// KVM, or nothing.
    Kvm,
    /// Emulation.
    Tcg,
}

/// QEMU's command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qemu {
    /// The program's name.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Whether KVM runs it.
    pub kvm: bool,
}

impl Machine<'_> {
    /// The files that this boot needs, from [`Machine::dir`].
    ///
    /// # Errors
    /// A boot that the profile does not have.
    pub fn files(&self) -> Result<Vec<String>> {
        self.profile.check_boot(self.arch, self.boot)?;
        parts::files(self.profile, self.boot)
    }

    /// The disk that the machine writes to, if it has one.
    pub fn writable_disk(&self) -> Option<PathBuf> {
        parts::writable(self.profile, self.boot).map(|file| self.dir.join(file))
    }

    /// QEMU's command. Only the kernel's command line is read, and only for [`Options::append`].
    ///
    /// # Errors
    /// A boot that the profile does not have, firmware that the host lacks, KVM that is asked for and does not work, and
    /// an option that does not go with the boot.
    pub fn command(&self, options: &Options, host: &Host) -> Result<Qemu> {
        self.profile.check_boot(self.arch, self.boot)?;
        self.check_append(&options.append)?;
        self.check_variables(options, host)?;
        check_tap(self.boot, options)?;
        let kvm = options.runs_by_kvm(host)?;
        let values = Values { machine: self, options, host, kvm };
        let mut args = Vec::new();
        for part in parts::parts(self.arch, self.profile, self.boot)? {
            if values.holds(part.when) {
                for arg in &part.args {
                    args.push(values.text(arg)?);
                }
            }
        }
        if let Some(socket) = &options.qmp {
            args.extend(["-qmp".into(), listening(socket)]);
        }
        if let Some(socket) = &options.debugger {
            args.extend(["-gdb".into(), listening(socket), "-S".into()]);
        }
        if let Some(socket) = &options.serial {
            args.extend(board::second_port(self.arch, socket));
        }
        args.extend(options.extra.iter().cloned());
        Ok(Qemu { program: self.arch.qemu().into(), args, kvm })
    }

    /// The kernel's name of the port behind [`Options::serial`].
    pub fn second_port(&self) -> &'static str {
        Board::of(self.arch).second_port
    }

    /// Makes what the command refers to and a build does not leave: the firmware's variables, and the directory that
    /// firmware boots an EFI program from. What is there is kept.
    ///
    /// # Errors
    /// Missing firmware, and files that cannot be written.
    pub fn prepare(&self, options: &Options, host: &Host) -> Result<()> {
        if !self.boot.is_by_uefi() && !self.boot.is_by_network_of_uefi() {
            return Ok(());
        }
        if options.variables.is_none() {
            self.copy_variables(host)?;
        }
        if let Some(Medium::Efi(file)) = parts::medium(self.profile, self.boot).filter(|_| self.boot == Boot::Uefi) {
            let at = self.own(ESP).join("EFI/BOOT");
            fs::create_dir_all(&at)?;
            tree::link(self.dir.join(file), &at.join(self.arch.efi_file()))?;
        }
        Ok(())
    }

    fn copy_variables(&self, host: &Host) -> Result<()> {
        let firmware = self.firmware(host)?;
        let copy = self.own(VARIABLES);
        // Another size is that of another firmware.
        if copy.metadata().map(|meta| meta.len()).ok() != Some(fs::metadata(&firmware.variables)?.len()) {
            tree::write_atomically(&copy, &fs::read(&firmware.variables)?)?;
        }
        Ok(())
    }

    /// Refuses words for a kernel that gets its command line from nobody.
    fn check_append(&self, append: &str) -> Result<()> {
        if append.is_empty() {
            return Ok(());
        }
        ensure!(
            self.boot.takes_words(),
            "--append does not go with --{}: firmware starts the kernel with its built-in command line\nhint: leave one of them out",
            if self.boot == Boot::Uefi { "uefi".into() } else { format!("boot {}", self.boot.name()) }
        );
        ensure!(
            !self.profile.is_signed(),
            "--append does not go with the profile {}: a signed kernel has its command line built in\nhint: `command-line` below [kernel] of the profile",
            self.profile.name
        );
        Ok(())
    }

    /// Refuses variables that the firmware cannot use.
    fn check_variables(&self, options: &Options, host: &Host) -> Result<()> {
        let Some(file) = &options.variables else { return Ok(()) };
        ensure!(
            self.boot.is_by_uefi(),
            "--vars does not go with --boot {}: only firmware has variables\nhint: --uefi",
            self.boot.name()
        );
        ensure!(
            file.is_file(),
            "there is no file {}\nhint: `cargo bloomery keys DIR` makes variables with a key for Secure Boot",
            file.display()
        );
        let firmware = self.firmware(host)?;
        ensure!(
            file.metadata()?.len() == firmware.variables.metadata()?.len(),
            "{} has another size than the variables of the firmware {}\nhint: take those of the same architecture and firmware",
            file.display(),
            firmware.code.display()
        );
        Ok(())
    }

    /// A file in the profile's directory.
    fn own(&self, name: &str) -> PathBuf {
        self.dir.join(outputs::directory(self.profile)).join(name)
    }

    fn firmware<'h>(&self, host: &'h Host) -> Result<&'h Firmware> {
        let Some(firmware) = &host.firmware else {
            let known: Vec<&str> = Board::of(self.arch).firmware.iter().map(|pair| pair.0).collect();
            bail!("no UEFI firmware is installed\nhint: ./setup.sh installs it; known places are {}", known.join(", "));
        };
        Ok(firmware)
    }

    /// What the kernel gets for `--append`: on x86_64 it adds that to its built-in line, on arm64 it takes that instead.
    fn command_line(&self, append: &str) -> Result<String> {
        match self.arch {
            Arch::X86_64 => Ok(append.into()),
            Arch::Arm64 => {
                let kernel = self.dir.join(parts::kernel_file(self.profile)?);
                let built_in = fs::read_to_string(kernel.with_file_name(COMMAND_LINE))?;
                Ok(format!("{} {append}", built_in.trim_end()))
            }
        }
    }
}

impl Options {
    fn runs_by_kvm(&self, host: &Host) -> Result<bool> {
        match (self.accelerator, &host.kvm) {
            (Accelerator::Tcg, _) | (Accelerator::Auto, Err(_)) => Ok(false),
            (Accelerator::Auto | Accelerator::Kvm, Ok(())) => Ok(true),
            (Accelerator::Kvm, Err(why)) => {
                bail!("KVM does not work here: {why}\nhint: --accel tcg, or leave --accel out")
            }
        }
    }
}

/// Refuses a network that cannot boot the machine, and ports that nobody forwards.
fn check_tap(boot: Boot, options: &Options) -> Result<()> {
    match &options.tap {
        None if boot.needs_tap() => bail!(
            "--boot {} needs a network with servers for it\nhint: --tap NAME, a tap device that leads there (docs/netboot.md)",
            boot.name()
        ),
        Some(_) if !options.ports.is_empty() => {
            bail!("--port does not go with --tap: the guest has an address of its own\nhint: leave one of them out")
        }
        Some(name) if name.is_empty() || name.contains([',', '=', '/']) || name.len() > 15 => {
            bail!("--tap cannot be `{name}`\nhint: the name of a tap device, such as --tap tap0")
        }
        _ => Ok(()),
    }
}

/// What the placeholders of a description become.
struct Values<'a> {
    machine: &'a Machine<'a>,
    options: &'a Options,
    host: &'a Host,
    kvm: bool,
}

impl Values<'_> {
    fn holds(&self, when: When) -> bool {
        match when {
            When::Always => true,
            When::Kvm => self.kvm,
            When::Tcg => !self.kvm,
            When::Append => !self.options.append.is_empty(),
            When::Snapshot => self.options.snapshot,
            When::Gdb => self.options.gdb,
            When::User => self.options.tap.is_none(),
            When::Tap => self.options.tap.is_some(),
        }
    }

    fn text(&self, arg: &[Piece]) -> Result<OsString> {
        // QEMU's options are separated by commas, and take a comma that is written twice. A path alone is no option.
        let in_option = arg.len() > 1;
        let mut text = OsString::new();
        for piece in arg {
            let value = self.value(piece)?;
            let is_path = matches!(
                piece,
                Piece::File(_) | Piece::Directory(_) | Piece::Name(_) | Piece::Firmware | Piece::Variables | Piece::Esp
            );
            text.push(if is_path && in_option { commas(&value) } else { value });
        }
        Ok(text)
    }

    fn value(&self, piece: &Piece) -> Result<OsString> {
        let machine = self.machine;
        Ok(match piece {
            Piece::Text(text) => text.as_ref().into(),
            Piece::File(file) => machine.dir.join(file).into(),
            Piece::Memory => memory(self.options.memory.unwrap_or(machine.profile.machine.memory)).into(),
            Piece::Processors => self.processors().to_string().into(),
            Piece::Ports => self.options.ports.iter().map(forward).collect::<String>().into(),
            Piece::Firmware => machine.firmware(self.host)?.code.clone().into(),
            Piece::Variables => self.options.variables.clone().unwrap_or_else(|| machine.own(VARIABLES)).into(),
            Piece::Esp => machine.own(ESP).into(),
            Piece::CommandLine => machine.command_line(&self.options.append)?.into(),
            Piece::Tap => self.options.tap.clone().unwrap_or_default().into(),
            Piece::Directory(file) => machine.dir.join(file).parent().unwrap_or(machine.dir).into(),
            Piece::Name(file) => Path::new(file).file_name().unwrap_or_default().into(),
        })
    }

    /// By emulation every processor costs boot time and few programs gain from it.
    fn processors(&self) -> u64 {
        let of_accelerator = if self.kvm { self.host.processors.min(MOST_PROCESSORS) } else { 1 };
        self.options.processors.or(self.machine.profile.machine.processors).unwrap_or(of_accelerator)
    }
}

/// Processors that a guest gets unasked.
const MOST_PROCESSORS: u64 = 4;

/// Bytes as QEMU's `-m` reads them, rounded up to KiB.
fn memory(bytes: u64) -> String {
    for (suffix, factor) in [("G", 1 << 30), ("M", 1 << 20)] {
        if bytes.is_multiple_of(factor) {
            return format!("{}{suffix}", bytes / factor);
        }
    }
    format!("{}K", bytes.div_ceil(1 << 10))
}

/// A forwarded port in `-netdev user`. On the loopback address alone: whoever reaches the port reaches the guest.
fn forward(port: &Forward) -> String {
    let address = port.address.map(|address| address.to_string()).unwrap_or_default();
    format!(",hostfwd=tcp:127.0.0.1:{}-{address}:{}", port.host, port.guest)
}

/// A Unix socket that QEMU makes; it does not wait for a client.
fn listening(socket: &Path) -> OsString {
    [OsStr::new("unix:"), &commas(socket.as_os_str()), OsStr::new(",server=on,wait=off")].concat_os()
}

/// Every comma twice.
fn commas(text: &OsStr) -> OsString {
    let mut bytes = Vec::new();
    for byte in text.as_bytes() {
        bytes.extend(std::iter::repeat_n(*byte, if *byte == b',' { 2 } else { 1 }));
    }
    OsString::from_vec(bytes)
}

/// Joins texts.
trait ConcatOs {
    fn concat_os(&self) -> OsString;
}

impl<const N: usize> ConcatOs for [&OsStr; N] {
    fn concat_os(&self) -> OsString {
        self.iter().copied().collect()
    }
}

/// The command as a person types it into a shell.
impl fmt::Display for Qemu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quote(&self.program))?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", quote(arg)))
    }
}

/// A word as a person types it into a shell.
pub fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:,=+@%-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests;
