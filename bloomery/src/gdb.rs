//! `gdb`: a system under GDB, from the kernel's first instruction on or by the kernel's own debugger.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use build_support::{Arch, Context as _, Result, bail, ensure, fs, host, store, tree};
use system::machine::{Accelerator, Machine, Options};
use system::profile::{Boot, Package};
use system::{Profile, outputs};

use crate::context::{Context, arch};
use crate::usage::say;
use crate::{build, init, paused};

/// Open a system under GDB: the machine waits, and GDB stops it at the kernel's first C function
///
/// A kernel without debug information is compiled once more with it (`kernel.debug`). The disk stays as it is. The guest's
/// console goes into a file, whose name is printed. Where the kernel loads modules, those of the profile's own packages have their
/// symbols as soon as they are loaded.
#[derive(clap::Args)]
#[command(override_usage = "cargo bloomery gdb PROFILE [ARCH] [options] [-- GDB ARGUMENTS]")]
pub struct Args {
    /// A name from image/profiles/, or the path of your own TOML file
    #[arg(value_name = "PROFILE")]
    profile: String,
    /// x86_64 or arm64 [default: this machine's]
    #[arg(value_name = "ARCH")]
    arch: Option<String>,
    /// Go on to the first function of PID 1, with its symbols
    #[arg(long)]
    init: bool,
    /// Talk to KGDB, the debugger in the kernel, over the second serial line, as to a real machine. The kernel waits for that at the
    /// end of its start; the fragment `kgdb` has the options
    #[arg(long, conflicts_with = "init")]
    kgdb: bool,
    /// Add to the kernel's command line
    #[arg(long, value_name = "WORDS", default_value = "", hide_default_value = true, allow_hyphen_values = true)]
    append: String,
    /// Arguments for GDB, such as -batch -ex 'lx-ps'; they come after the stop at start_kernel
    #[arg(last = true, value_name = "GDB ARGUMENTS")]
    extra: Vec<OsString>,
}

/// Starts both. It returns when there is nothing to debug: GDB takes the place of this process.
pub fn run(context: &Context, args: &Args) -> Result<ExitCode> {
    let arch = args.arch.as_deref().map_or_else(Arch::host, arch)?;
    let gdb = find_gdb(arch)?;
    ensure!(host::find_program(arch.qemu()).is_some(), "{} is not installed\nhint: run ./setup.sh", arch.qemu());
    let name = with_debug(context, &context.profile_name(&args.profile)?)?;
    let profile = context.profile(&name)?;
    profile.check_arch(arch)?;
    let code = build::cargo(context, &[arch], std::slice::from_ref(&name))?;
    if code != ExitCode::SUCCESS {
        return Ok(code);
    }
    let dir = context.dirs.output(arch);
    let own = dir.join(outputs::directory(&profile));
    let (socket, console) = (own.join("gdb.sock"), own.join("console.log"));
    let machine = Machine { arch, profile: &profile, boot: Boot::Kernel, dir: &dir };
    let debug = own.join("debug");
    let way = if args.kgdb { Way::Kgdb } else { Way::Machine };
    if args.kgdb {
        check_kgdb(&fs::read_to_string(dir.join(format!("{}.config", kernel(&profile)?)))?)?;
    }
    let mut qemu = paused::start(context, &machine, &options(way, &machine, &args.append, &socket), &console)?;
    say(&format!("the guest's console: tail -f {}", console.display()));
    let stop: &[&str] = match way {
        // Nothing is in memory yet that a breakpoint's instruction could be written into.
        Way::Machine => &["-ex", "hbreak start_kernel", "-ex", "continue"],
        // It hears nothing that is sent before.
        Way::Kgdb => {
            paused::wait_for_text(&mut qemu, &console, WAITS)?;
            &[]
        }
    };
    let modules = modules(context, &profile, arch, &own)?;
    let init = if args.init { stop_in_init(context, &own)? } else { Vec::new() };
    let error = Command::new(&gdb)
        .arg("-q")
        // Without it GDB does not run vmlinux-gdb.py, which lies beside vmlinux and has the commands lx-*.
        .args(["-iex", &format!("set auto-load safe-path {}", debug.display())])
        .arg(debug.join("vmlinux"))
        .args(["-ex", &format!("target remote {}", socket.display())])
        .args(stop)
        .args(modules)
        .args(init)
        .args(&args.extra)
        .exec();
    Err(error).with_context(|| format!("cannot start {}", gdb.display()))
}

/// Whose debugger GDB talks to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// QEMU's, which stops the machine.
    Machine,
    /// The kernel's, over a serial line.
    Kgdb,
}

/// How the kernel says that it waits for GDB (kernel/debug/gdbstub.c and debug_core.c).
const WAITS: &str = "Waiting for connection from remote gdb";

fn options(way: Way, machine: &Machine, append: &str, socket: &Path) -> Options {
    let (debugger, serial, words) = match way {
        Way::Machine => (Some(socket.into()), None, String::new()),
        // KGDB could not take back a breakpoint that was set while the kernel's code was still writable, as it is at that time.
        Way::Kgdb => (None, Some(socket.into()), format!("kgdboc={} kgdbwait rodata=off", machine.second_port())),
    };
    Options {
        // Addresses in vmlinux are those of the machine.
        append: ["nokaslr", &words, append].join(" ").split_whitespace().collect::<Vec<_>>().join(" "),
        snapshot: true,
        debugger,
        serial,
        accelerator: Accelerator::Auto,
        extra: vec!["-no-reboot".into()],
        ..Options::default()
    }
}

/// The profile's kernel, from the outputs' directory.
///
/// # Errors
/// A profile that leaves none.
pub fn kernel(profile: &Profile) -> Result<String> {
    outputs::kernel(profile).context("the profile has no output of kind `kernel`\nhint: add one")
}

fn check_kgdb(config: &str) -> Result<()> {
    ensure!(
        config.lines().any(|line| line == "CONFIG_KGDB_SERIAL_CONSOLE=y"),
        "the kernel has no KGDB\nhint: add `kgdb` to the fragments below [kernel], or take the profile lab-workshop"
    );
    Ok(())
}

/// GDB's words for modules that the profile's packages install: where their files and their sources are.
fn modules(context: &Context, profile: &Profile, arch: Arch, own: &Path) -> Result<Vec<String>> {
    if !profile.kernel.has_modules() {
        return Ok(Vec::new());
    }
    let (mut words, mut symbols) = (Vec::new(), "lx-symbols".to_string());
    for package in &profile.root.packages {
        let Package::Dir(dir) = package else { continue };
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        if let Some(built) = store::last(&context.dirs, &format!("package-{name}-{arch}"))? {
            symbols += &format!(" {}", built.out().display());
            words.push(format!("directory {}", dir.display()));
        }
    }
    // It searches the working directory as well, all that is below it.
    let back = format!("cd {}", std::env::current_dir()?.display());
    words.extend([format!("cd {}", own.display()), symbols, back]);
    Ok(words.into_iter().flat_map(|word| ["-ex".into(), word]).collect())
}

/// GDB's words for PID 1, a program at a fixed address.
fn stop_in_init(context: &Context, own: &Path) -> Result<Vec<String>> {
    let manifest = fs::read_to_string(own.join(outputs::MANIFEST))?;
    let Some(program) = init::symbols(&context.dirs, &manifest)? else {
        bail!("the image has no init of Bloomery's\nhint: leave --init out, or add `init` to the profile's packages");
    };
    let words = [
        format!("add-symbol-file {}", program.display()),
        // Its own sources have paths from the checkout.
        format!("directory {}", context.dirs.root.display()),
        // By the processor, since the program is not in memory yet.
        "hbreak init::boot::run".into(),
        "continue".into(),
    ];
    Ok(words.into_iter().flat_map(|word| ["-ex".into(), word]).collect())
}

/// GDB for an architecture: the one for all, or the host's own.
///
/// # Errors
/// A host that has none.
pub fn find_gdb(arch: Arch) -> Result<PathBuf> {
    let own = if arch == Arch::host()? { host::find_program("gdb") } else { None };
    let Some(gdb) = host::find_program("gdb-multiarch").or(own) else {
        bail!("there is no GDB for {arch}\nhint: run ./setup.sh, or install gdb-multiarch");
    };
    Ok(gdb)
}

/// The profile itself, or one beside the outputs that extends it by `kernel.debug` and leaves what boots alone.
///
/// # Errors
/// A profile with faults.
pub fn with_debug(context: &Context, name: &str) -> Result<String> {
    let profile = context.profile(name)?;
    if profile.kernel.debug {
        return Ok(name.into());
    }
    let text = debug_profile(&profile);
    let path = context.dirs.target.join(format!("bloomery/debug/{}-debug.toml", profile.name));
    if fs::read_to_string(&path).ok().as_deref() != Some(&text) {
        tree::write_atomically(&path, text.as_bytes())?;
    }
    Ok(path.display().to_string())
}

fn debug_profile(profile: &Profile) -> String {
    let base = toml::Value::from(profile.files.first().map_or(String::new(), |file| file.display().to_string()));
    let mut text = format!("extends = {base}\n\n[kernel]\ndebug = true\n");
    for output in &profile.outputs {
        if output.kind.media(output).is_empty() {
            text += &format!("\n[[output]]\nname = {}\nenabled = false\n", toml::Value::from(output.name.as_str()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_kgdb_is_told_how_to_get_it() {
        let error = check_kgdb("CONFIG_KGDB=y\n# CONFIG_KGDB_SERIAL_CONSOLE is not set\n").unwrap_err().to_string();
        assert!(error.contains("fragments"), "{error}");
        assert!(check_kgdb("CONFIG_KGDB_SERIAL_CONSOLE=y\n").is_ok());
    }
}
