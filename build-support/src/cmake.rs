//! CMake projects: the `cmake` crate configures, builds and installs them.
//!
//! The crate runs CMake by itself, inherits the environment and panics when CMake fails. So it works in a child, which
//! is this program once more: [`Cmd`](crate::Cmd) starts the child in the clean environment, logs and watches it, and a failed
//! build becomes an error like that of any command. [`serve`] is the child's side.

use std::ffi::OsString;
use std::panic;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};

use crate::{Job, host};

/// The first argument of a child. No program of ours has an option of this name.
const SERVE: &str = "--bloomery-cmake";

/// Host and target, of which the crate wants a Rust triple. Equal ones, because of a cross build the crate would ask cargo's
/// variables; what such a build needs is among the definitions.
const PLATFORM: &str = "x86_64-unknown-linux-musl";

/// Whether this program's `main` looks for [`SERVE`]. A program that does not would start itself without end.
static SERVES: AtomicBool = AtomicBool::new(false);

/// A CMake project to build with Ninja below the work directory, in `build`.
pub struct CMake<'a> {
    job: &'a Job<'a>,
    source: PathBuf,
    targets: Vec<String>,
    definitions: Vec<String>,
    envs: Vec<(OsString, OsString)>,
}

impl Job<'_> {
    /// A CMake project by its source directory; what is built is the target `install`.
    pub fn cmake(&self, source: impl Into<PathBuf>) -> CMake<'_> {
        CMake { job: self, source: source.into(), targets: Vec::new(), definitions: Vec::new(), envs: Vec::new() }
    }
}

impl CMake<'_> {
    /// Adds `NAME=VALUE` definitions, without `-D`.
    pub fn define<S: Into<String>>(mut self, definitions: impl IntoIterator<Item = S>) -> Self {
        self.definitions.extend(definitions.into_iter().map(Into::into));
        self
    }

    /// Builds this target, and others that are named so, instead of `install`.
    pub fn target(mut self, name: &str) -> Self {
        self.targets.push(name.into());
        self
    }

    /// Sets an environment variable of CMake and Ninja.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.envs.push((name.into(), value.into()));
        self
    }

    /// Configures and builds. `wanted` completes the sentence "cannot ...".
    ///
    /// # Errors
    /// When CMake or Ninja does not start or fails, and in a program whose `main` does not call [`serve`].
    pub fn run(self, wanted: &str) -> Result<()> {
        ensure!(SERVES.load(Ordering::Relaxed), "cannot {wanted}: this program's main does not call cmake::serve");
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let targets = if self.targets.is_empty() { "install".into() } else { self.targets.join(" ") };
        let child = self.job.cmd(program).arg(SERVE).arg(&self.source).arg(&self.job.work).arg(targets);
        let child = child.args(self.definitions).env("NUM_JOBS", host::jobs().to_string()); // The crate gives it to Ninja.
        self.envs.into_iter().fold(child, |child, (name, value)| child.env(name, value)).relays().run(wanted)
    }
}

/// Does what a child is started for, or returns `None` in a program that was started for something else.
pub(crate) fn serve() -> Option<ExitCode> {
    SERVES.store(true, Ordering::Relaxed);
    let mut args = std::env::args_os().skip(1);
    if args.next()? != SERVE {
        return None;
    }
    let args: Vec<OsString> = args.collect();
    panic::set_hook(Box::new(|info| eprintln!("error: {}", reason(info.payload()))));
    let built = end_with_children().and_then(|()| panic::catch_unwind(|| build(&args)).unwrap_or(Ok(false)));
    match built {
        Ok(true) => Some(ExitCode::SUCCESS),
        Ok(false) => Some(ExitCode::FAILURE), // The hook has said why.
        Err(error) => {
            eprintln!("error: {error:#}");
            Some(ExitCode::FAILURE)
        }
    }
}

fn build(args: &[OsString]) -> Result<bool> {
    let [source, work, targets, definitions @ ..] = args else { anyhow::bail!("{SERVE} lacks arguments") };
    let mut targets = targets.to_str().context("a CMake target is text")?.split(' ');
    let mut config = cmake::Config::new(source);
    config.host(PLATFORM).target(PLATFORM);
    config
        .out_dir(work)
        .generator("Ninja")
        .build_target(targets.next().unwrap_or_default())
        .profile("Release")
        .no_default_flags(true);
    for target in targets {
        config.build_arg(target); // The crate has one target; what follows it goes to Ninja.
    }
    for definition in definitions {
        let definition = definition.to_str().context("a CMake definition is text")?;
        let (name, value) = definition.split_once('=').context("a CMake definition has a value")?;
        config.define(name, value);
    }
    config.build();
    Ok(true)
}

/// The first line that says something: the crate puts an empty one in front.
fn reason(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
    text.and_then(|text| text.lines().find(|line| !line.is_empty())).unwrap_or("the cmake crate panicked").into()
}

/// Makes CMake and Ninja end with this process. It gets SIGTERM when the build script ends (`Cmd`), but neither the
/// crate nor CMake passes that on, so it leads a process group and its handler passes SIGTERM to all of that.
fn end_with_children() -> Result<()> {
    extern "C" fn end(signal: libc::c_int) {
        // SAFETY: both functions are async-signal-safe (signal-safety(7)).
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::kill(0, signal);
        }
    }
    rustix::process::setpgid(None, None).context("cannot make a process group")?;
    let handler: extern "C" fn(libc::c_int) = end;
    // SAFETY: the handler makes two system calls and touches no memory.
    let before = unsafe { libc::signal(libc::SIGTERM, handler as libc::sighandler_t) };
    ensure!(before != libc::SIG_ERR, "cannot handle SIGTERM: {}", std::io::Error::last_os_error());
    Ok(())
}
