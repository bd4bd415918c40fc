//! `enter`: the sysroot as a system of its own, in namespaces. It has its own /dev, /proc, /tmp and /run, which are gone
//! with it, so that nothing of them stays in the directory.
//!
//! The program unshares, mounts and starts itself again as the first process of the new process namespace ([`inside`]),
//! which starts the command and collects what the command leaves.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use build_support::{Arch, Context as _, Result, bail, ensure, fs};
use system::outputs;

use crate::context::Context;

mod binfmt;
mod mounts;
mod namespace;

/// Enter the sysroot: a shell, or a command and its exit status
///
/// It needs no root where the machine allows user namespaces. Programs of the other architecture run by qemu-user.
#[derive(clap::Args)]
pub struct Args {
    /// The profile whose output of kind `sysroot` is entered
    #[arg(long, value_name = "PROFILE", default_value = "full")]
    profile: String,
    /// x86_64 or arm64, when it is not this machine's; then a command with its arguments [default: /bin/sh -l]
    #[arg(value_name = "ARCH] [COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// Enters a sysroot.
pub fn run(context: &Context, args: &Args) -> Result<ExitCode> {
    let named = args.words.first().and_then(|word| Arch::parse(word.to_str()?).ok());
    let command = &args.words[usize::from(named.is_some())..];
    let arch = named.map_or_else(Arch::host, Ok)?;
    let sysroot = sysroot(context, &args.profile, arch)?;
    let root = rustix::process::geteuid().is_root();
    let foreign = arch != Arch::host()? && !binfmt::is_registered(arch)?;
    // A user namespace has a table of binary formats of its own.
    namespace::unshare(!root || foreign)?;
    if foreign {
        binfmt::register(arch)?;
    }
    mounts::mount(&sysroot)?;
    let mut first = Command::new(std::env::current_exe().context("cannot find this program")?);
    first.arg(INSIDE).arg(&sysroot);
    if command.is_empty() {
        first.args(["/bin/sh", "-l"]);
    } else {
        first.args(command);
    }
    // Keys of the terminal are for the command, which runs in the same process group.
    namespace::ignore_keys();
    let status = first.status().context("cannot start the first process of the namespace")?;
    Ok(code(status))
}

/// The first argument of a process that is in the namespaces already.
pub const INSIDE: &str = "enter--inside";

/// Runs the rest of `enter` in the namespaces: the arguments are the sysroot and the command.
pub fn inside(mut args: impl Iterator<Item = OsString>) -> Result<ExitCode> {
    let sysroot = PathBuf::from(args.next().context("no sysroot")?);
    let program = args.next().context("no command")?;
    mounts::proc(&sysroot)?;
    rustix::process::chroot(&sysroot).with_context(|| format!("cannot change the root to {}", sysroot.display()))?;
    let home = if Path::new("/root").is_dir() { "/root" } else { "/" };
    std::env::set_current_dir(home)?;
    let mut command = Command::new(&program);
    command.args(args).env_clear().envs(environment());
    namespace::with_keys(&mut command);
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            // The status of a shell for it (POSIX, "Exit Status for Commands").
            crate::usage::say(&format!("cannot start {}: {error}", program.to_string_lossy()));
            return Ok(ExitCode::from(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 }));
        }
    };
    Ok(code(namespace::collect(child.id())?))
}

/// What a login has, and what the host's network needs.
fn environment() -> Vec<(&'static str, OsString)> {
    let mut variables: Vec<(&str, OsString)> = vec![
        ("HOME", "/root".into()),
        ("LOGNAME", "root".into()),
        ("USER", "root".into()),
        ("SHELL", "/bin/sh".into()),
        ("PATH", "/usr/bin:/usr/sbin:/bin:/sbin".into()),
    ];
    for name in ["TERM", "http_proxy", "https_proxy", "no_proxy"] {
        variables.extend(std::env::var_os(name).map(|value| (name, value)));
    }
    variables
}

/// A process's status as a shell gives it on.
fn code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt as _;
    let number = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(number).unwrap_or(1))
}

/// The directory of a profile's sysroot.
fn sysroot(context: &Context, name: &str, arch: Arch) -> Result<PathBuf> {
    let profile = context.profile(&context.profile_name(name)?)?;
    let output = profile.outputs.iter().find(|output| output.kind.schema().name == "sysroot");
    let Some(file) = output.and_then(|output| output.files().into_iter().next()) else {
        bail!("the profile {} has no sysroot to enter\nhint: add an [[output]] of kind `sysroot`", profile.name);
    };
    let dir = context.dirs.output(arch).join(file);
    let mark = context.dirs.output(arch).join(outputs::directory(&profile)).join(outputs::PROFILE_MARK);
    let is_this = fs::read_to_string(mark).is_ok_and(|text| text == outputs::identity(&profile));
    ensure!(
        is_this && dir.is_dir(),
        "there is no sysroot of {} for {arch} yet\nhint: cargo bloomery build {name} --arch {arch}",
        profile.name
    );
    Ok(fs::canonicalize(dir)?)
}
