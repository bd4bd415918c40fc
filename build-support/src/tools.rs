//! make and the C compiler, whose commands the `make-cmd` and `cc` crates put together and [`Cmd`] runs.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::{Arch, Cmd, Job};

impl Job<'_> {
    /// GNU make, by the name that it has on this system.
    pub fn make(&self) -> Cmd {
        let make = make_cmd::gnu_make();
        self.cmd(make.get_program()).args(make.get_args())
    }
}

/// A C or C++ compiler and what it is called with to compile a file for an architecture.
pub struct Compile {
    /// The compiler.
    pub program: PathBuf,
    /// All arguments but `-o` and the input.
    pub args: Vec<String>,
}

impl Compile {
    /// Puts together what a call of `compiler` with these flags has as arguments, in the order in which they are passed.
    ///
    /// # Errors
    /// When the compiler does not start, or an argument is no text.
    pub fn new(compiler: impl AsRef<Path>, arch: Arch, flags: &[String]) -> Result<Compile> {
        let compiler = compiler.as_ref();
        let mut build = cc::Build::new();
        build.compiler(compiler).target(arch.triple()).host(arch.triple()).opt_level(0);
        build.no_default_flags(true).warnings(false).extra_warnings(false); // The flags are the caller's alone.
        build.inherit_rustflags(false).inherit_trim_paths(false).cargo_metadata(false);
        build.flags(flags);
        let tool = build.try_get_compiler().with_context(|| format!("cannot use {}", compiler.display()))?;
        let mut args = Vec::new();
        for arg in tool.args() {
            args.push(arg.to_str().context("a compiler's argument is text")?.to_string());
        }
        // The crate appends CFLAGS and its like from the environment, and has no switch for it.
        let own = args.windows(flags.len().max(1)).position(|window| window == flags);
        args.truncate(own.map_or(args.len(), |start| start + flags.len()));
        Ok(Compile { program: tool.path().into(), args })
    }

    /// The command for a job.
    pub fn cmd(&self, job: &Job) -> Cmd {
        job.cmd(&self.program).args(&self.args)
    }
}
