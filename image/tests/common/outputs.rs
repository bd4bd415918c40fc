//! The outputs that the tests look at. A missing one is built by `run.sh`, as for any user.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context as _, Result, bail, ensure};
use build_support::{Arch, Dirs, fs, vars};

use super::report;

/// The outputs of one architecture.
pub struct Outputs {
    /// The project's root.
    pub root: PathBuf,
    /// `target/bloomery/<arch>`.
    pub dir: PathBuf,
    /// What they are for.
    pub arch: Arch,
}

impl Outputs {
    /// The outputs of a profile, built when they are missing. Nothing, with the reason said, when they are not to be
    /// tested: for an architecture that `BLOOMERY_ARCH` leaves out, and where the compiler on board would have to be cross
    /// built, which takes as long as LLVM itself, and `BLOOMERY_CI_FULL` does not ask for it.
    pub fn of(arch: Arch, profile: &str) -> Result<Option<Outputs>> {
        let dirs = Dirs::find()?;
        let outputs = Outputs { dir: dirs.output(arch), root: dirs.root, arch };
        if vars::get(vars::ARCH).is_some() && !vars::archs()?.contains(&arch) {
            report(&format!("skipped: BLOOMERY_ARCH leaves {arch} out"));
            return Ok(None);
        }
        let cross = profile == "full" && arch != Arch::host()?;
        if cross && !outputs.is_built(profile) && !vars::on("BLOOMERY_CI_FULL", false) {
            report(&format!("skipped: {profile} for {arch} is not built; BLOOMERY_CI_FULL=1 builds it"));
            return Ok(None);
        }
        outputs.build(profile)?;
        Ok(Some(outputs))
    }

    fn is_built(&self, profile: &str) -> bool {
        self.dir.join(format!("{profile}.qcow2")).exists()
    }

    /// A file of the outputs.
    pub fn file(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        ensure!(path.exists(), "the build left no {}", path.display());
        Ok(path)
    }

    /// The kernel that firmware starts, where it is another file than the one for boot loaders.
    pub fn efi_kernel(&self, profile: &str) -> Result<PathBuf> {
        let own = self.dir.join(profile).join("kernel.efi");
        if own.is_file() { Ok(own) } else { self.file(&format!("{profile}/kernel")) }
    }

    /// Where logs of tests are kept.
    pub fn test_dir(&self) -> Result<PathBuf> {
        let dir = self.dir.join("test");
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// Copies disk, kernel and argument files of a profile to a directory of their own, laid out as in `target`.
    pub fn copy_profile(&self, profile: &str, target: &Path) -> Result<()> {
        let copy = target.join("bloomery").join(self.arch.name());
        fs::create_dir_all(copy.join(profile))?;
        let disk = format!("{profile}.qcow2");
        fs::copy(self.file(&disk)?, copy.join(&disk))?;
        for entry in fs::read_dir(self.file(profile)?)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == "kernel" || name == "cmdline" || name.to_string_lossy().starts_with("qemu") {
                fs::copy(entry.path(), copy.join(profile).join(name))?;
            }
        }
        Ok(())
    }

    /// Lets `run.sh` build the profile when it is missing. Two tests may want it at once, so one asks after the other.
    fn build(&self, profile: &str) -> Result<()> {
        static ASKING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = ASKING.lock();
        if self.is_built(profile) {
            return Ok(());
        }
        report(&format!("building {profile} for {}", self.arch));
        // Asked for its version, QEMU boots nothing.
        let mut run = Command::new(self.root.join("run.sh"));
        run.args([self.arch.name(), "--profile", profile, "--accel", "tcg", "--", "--version"]);
        let output = run.output().context("cannot start run.sh")?;
        if !output.status.success() {
            bail!("run.sh cannot build {profile}:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}

/// Runs a checker that nobody here wrote; its output is the error when it finds fault.
pub fn check_with(program: &str, args: &[&str]) -> Result<String> {
    // Debian keeps sgdisk and its like where an ordinary user's PATH does not look.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(args).env("PATH", path).env("LC_ALL", "C").output();
    let output = output.with_context(|| format!("cannot start {program}\nhint: run ./setup.sh"))?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "{program} {} ended with {}:\n{text}", args.join(" "), output.status);
    Ok(text)
}
