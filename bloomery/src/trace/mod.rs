//! `trace`: a boot by its instructions, as a table, as a picture, and beside another one.

mod compare;
mod options;
mod record;
mod remote;
mod svg;
mod text;

use std::path::PathBuf;
use std::process::ExitCode;

use build_support::inspect::print;
use build_support::{Arch, Context as _, Result, bail, ensure, fs, host, store};
use system::machine::{Accelerator, Machine, Options as MachineOptions};
use system::profile::Boot;
use system::vmlinux::Vmlinux;
use system::{Profile, outputs};

use crate::context::{Context, arch};
use crate::usage::say;
use crate::{build, paused};
use record::Trace;

/// Count the instructions of a boot: its phases and every initcall, to the first read from a terminal
///
/// QEMU emulates the machine and counts, one instruction a nanosecond of the guest's clock, so that a busy host changes nothing. It
/// stops at the kernel's functions from outside: any kernel will do, without a debugging option. A function that waits has the
/// instructions of all that ran meanwhile.
#[derive(clap::Args)]
pub struct Args {
    /// A name from image/profiles/, or the path of your own TOML file
    #[arg(value_name = "PROFILE")]
    profile: String,
    /// x86_64 or arm64 [default: this machine's]
    #[arg(value_name = "ARCH")]
    arch: Option<String>,
    /// Trace this profile too, and show the differences with the options of the kernel that they belong to
    #[arg(long, value_name = "PROFILE")]
    compare: Option<String>,
    /// Draw the boot into a file
    #[arg(long, value_name = "FILE", conflicts_with = "compare")]
    svg: Option<PathBuf>,
    /// Print JSON
    #[arg(long, conflicts_with = "compare")]
    json: bool,
    /// Show so many initcalls, the most expensive ones
    #[arg(long, value_name = "N", default_value_t = 15)]
    top: usize,
    /// The boot ends when the kernel calls this function, after the start of PID 1 [default: the first program reads from a terminal]
    #[arg(long, value_name = "FUNCTION")]
    until: Option<String>,
    /// Add to the kernel's command line
    #[arg(long, value_name = "WORDS", default_value = "", hide_default_value = true, allow_hyphen_values = true)]
    append: String,
}

/// Traces.
pub fn run(context: &Context, args: &Args) -> Result<ExitCode> {
    let arch = args.arch.as_deref().map_or_else(Arch::host, arch)?;
    ensure!(host::find_program(arch.qemu()).is_some(), "{} is not installed\nhint: run ./setup.sh", arch.qemu());
    let names = [Some(&args.profile), args.compare.as_ref()];
    let names = names.into_iter().flatten().map(|name| context.profile_name(name)).collect::<Result<Vec<_>>>()?;
    let profiles = names.iter().map(|name| context.profile(name)).collect::<Result<Vec<_>>>()?;
    profiles.iter().try_for_each(|profile| profile.check_arch(arch))?;
    let code = build::cargo(context, &[arch], &names)?;
    if code != ExitCode::SUCCESS {
        return Ok(code);
    }
    let boots = profiles.iter().map(|profile| trace(context, profile, arch, args)).collect::<Result<Vec<_>>>()?;
    let configs = profiles.iter().map(|profile| config(context, profile, arch)).collect::<Result<Vec<_>>>()?;
    match (&boots[..], &configs[..]) {
        ([first, second], [old, new]) => {
            let owners = options::Owners::of(&vendor::source("linux")?.unpack(&context.dirs)?, arch, &[old, new])?;
            print(&compare::text(first, second, old, new, &owners))?;
        }
        ([boot], _) => {
            if let Some(file) = &args.svg {
                fs::write(file, svg::draw(boot))?;
            }
            print(&if args.json {
                format!("{}\n", serde_json::to_string_pretty(boot)?)
            } else {
                text::table(boot, args.top)
            })?;
        }
        _ => bail!("one profile or two"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The kernel's configuration.
fn config(context: &Context, profile: &Profile, arch: Arch) -> Result<String> {
    let kernel = outputs::kernel(profile).context("the profile has no output of kind `kernel`\nhint: add one")?;
    Ok(fs::read_to_string(context.dirs.output(arch).join(format!("{kernel}.config")))?)
}

/// Boots a profile once.
fn trace(context: &Context, profile: &Profile, arch: Arch, args: &Args) -> Result<Trace> {
    let dir = context.dirs.output(arch);
    let file = dir.join(outputs::kernel(profile).context("the profile has no output of kind `kernel`\nhint: add one")?);
    let bytes = fs::read(&vmlinux(context, profile, arch)?)?;
    let vmlinux = Vmlinux::parse(&bytes)?;
    let own = dir.join(outputs::directory(profile));
    let (debugger, qmp, console) = (own.join("gdb.sock"), own.join("qmp.sock"), own.join("console.log"));
    let options = MachineOptions {
        append: words(&config(context, profile, arch)?, &args.append),
        debugger: Some(debugger.clone()),
        qmp: Some(qmp.clone()),
        accelerator: Accelerator::Tcg,
        processors: Some(1), // The count is that of one processor.
        snapshot: true,
        extra: COUNT.iter().map(Into::into).collect(),
        ..MachineOptions::default()
    };
    let machine = Machine { arch, profile, boot: Boot::Kernel, dir: &dir };
    let mut qemu = paused::start(context, &machine, &options, &console)?;
    say(&format!("counting the boot of {}; its console: tail -f {}", profile.name, console.display()));
    let mut boot = Trace {
        profile: profile.name.clone(),
        arch: arch.name().into(),
        kernel: fs::metadata(&file)?.len(),
        end: args
            .until
            .as_ref()
            .map_or("the first read from a terminal".into(), |function| format!("the first {function}")),
        phases: Vec::new(),
        parts: Vec::new(),
        initcalls: Vec::new(),
    };
    let kernel = record::Kernel { arch, vmlinux: &vmlinux, file: &file };
    let mut remote = remote::Remote::connect(arch, &debugger, &qmp)?;
    let ends = args.until.as_ref().map_or(record::READS.to_vec(), |function| vec![function.as_str()]);
    let recorded = record::record(&mut remote, &kernel, &ends, &mut boot);
    // It may have ended by itself.
    let _ = qemu.kill();
    qemu.wait()?;
    recorded.with_context(|| format!("the guest's console is in {}", console.display()))?;
    Ok(boot)
}

/// QEMU's arguments to count by, and to be the same in every boot: the guest's clock goes on by a nanosecond for each instruction, the
/// board's clock begins at one time, and random numbers come from one seed.
const COUNT: &[&str] =
    &["-icount", "shift=0,sleep=off", "-rtc", "base=2026-01-01,clock=vm", "-seed", "1", "-no-reboot"];

/// Words for the kernel: its functions have to be where `vmlinux` says.
fn words(config: &str, append: &str) -> String {
    let moves = config.lines().any(|line| line == "CONFIG_RANDOMIZE_BASE=y");
    format!("{} {append}", if moves { "nokaslr" } else { "" }).trim().into()
}

/// The kernel with its symbols, in the result of the stage that made the one that boots.
///
/// # Errors
/// A store without it.
pub fn vmlinux(context: &Context, profile: &Profile, arch: Arch) -> Result<PathBuf> {
    let is_linked = profile.root.embed || profile.kernel.boot_config.is_some();
    let stage = if is_linked {
        format!("link-{}-{arch}", profile.name)
    } else {
        format!("kernel-{}-{arch}", profile.kernel.variant)
    };
    let built = store::last(&context.dirs, &stage)?.with_context(|| format!("the store has no result of {stage}"))?;
    Ok(built.out().join("debug/vmlinux"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_moves_is_told_to_stay() {
        assert_eq!(words("CONFIG_RANDOMIZE_BASE=y\n", "quiet"), "nokaslr quiet");
        assert_eq!(words("# CONFIG_RANDOMIZE_BASE is not set\n", ""), "");
    }
}
