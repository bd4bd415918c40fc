//! The outputs that the tests look at. One that is missing, or made from other sources, is built by `run.sh`, as for any
//! user.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};
use build_support::{Arch, Dirs, digest, fs, tree, vars};

use system::Profile;
use system::outputs::{DiskFormat, PROFILE_MARK};
use system::profile::RootKind;

use super::{report, slots};

/// What an image is made from.
const SOURCES: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "build-support/src",
    "dhcpc",
    "disk/src",
    "efi-sign/Cargo.toml",
    "efi-sign/src",
    "echod",
    "image/build.rs",
    "image/kernel",
    "image/loader",
    "image/profiles",
    "image/recipes",
    "image/tests/profiles",
    "init/Cargo.toml",
    "init/base",
    "init/src",
    "initctl",
    "modprobe",
    "ntpc/Cargo.toml",
    "ntpc/src",
    "rust-toolchain.toml",
    "status/Cargo.toml",
    "status/src",
    "syslogc/Cargo.toml",
    "syslogc/src",
    "slots/Cargo.toml",
    "slots/src",
    "growfs/Cargo.toml",
    "growfs/src",
    "updater/Cargo.toml",
    "updater/src",
    "sysroot",
    "system/src",
    "toolchain",
    "vendor/src",
    "vendor/sources.toml",
];

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
    /// The outputs of a profile, by its name or its path, as the sources make them now. Nothing, with the reason said, when
    /// they are not to be tested: for an architecture that `BLOOMERY_ARCH` leaves out, and where something would have to be
    /// built that takes long ([`long_stage`]) and `BLOOMERY_CI_FULL` does not ask for it.
    pub fn of(arch: Arch, profile: &str) -> Result<Option<Outputs>> {
        let dirs = Dirs::find()?;
        let outputs = Outputs { dir: dirs.output(arch), root: dirs.root.clone(), arch };
        if !is_wanted(arch)? {
            return Ok(None);
        }
        let known = Profile::read(&dirs, profile)?;
        let cross = known.has("toolchain") && arch != Arch::host()?;
        if cross && !outputs.is_built(&known.name) && !vars::on("BLOOMERY_CI_FULL", false) {
            testing::skip(&format!("{profile} for {arch} is not built; BLOOMERY_CI_FULL=1 builds it"));
            return Ok(None);
        }
        let long = long_stage(&dirs, &known, arch)?.filter(|_| !vars::on("BLOOMERY_CI_FULL", false));
        Ok(outputs.build(profile, &known.name, long.as_deref())?.then_some(outputs))
    }

    fn is_built(&self, profile: &str) -> bool {
        self.dir.join(profile).join(PROFILE_MARK).exists()
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

    /// Copies disk, kernel and script of a profile to a directory of their own, laid out as in `target`.
    pub fn copy_profile(&self, profile: &str, target: &Path) -> Result<()> {
        let copy = target.join("bloomery").join(self.arch.name());
        fs::create_dir_all(copy.join(profile))?;
        let disk = format!("{profile}.qcow2");
        fs::copy(self.file(&disk)?, copy.join(&disk))?;
        for entry in fs::read_dir(self.file(profile)?)? {
            let entry = entry?;
            let name = entry.file_name();
            if ["kernel", "cmdline", system::outputs::PROFILE_MARK, system::outputs::RUN_SCRIPT]
                .iter()
                .any(|known| name == *known)
            {
                fs::copy(entry.path(), copy.join(profile).join(name))?;
            }
        }
        Ok(())
    }

    /// Lets `run.sh` build the profile, once for the same sources, and says whether it could be built. Two tests may want
    /// it at once, so one asks after the other.
    fn build(&self, profile: &str, name: &str, long: Option<&str>) -> Result<bool> {
        static KNOWN: Mutex<BTreeMap<(&str, String), bool>> = Mutex::new(BTreeMap::new());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let known_as = (self.arch.name(), profile.to_string());
        if let Some(built) = known.get(&known_as) {
            return Ok(*built);
        }
        // Cargo itself takes seconds to find nothing to do when the architecture changes, in each test program.
        let mark = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("built-{}-{name}", self.arch));
        let sources = sources(&self.root)?;
        let stamp = || format!("{sources} {}", fs::read_to_string(self.dir.join(name).join("key")).unwrap_or_default());
        let current = self.is_built(name) && fs::read_to_string(&mark).is_ok_and(|old| old == stamp());
        let built = current || {
            // A guest that is timed has no build beside it either.
            let _slot = slots::one();
            self.run_build(profile, long)?
        };
        if built && !current {
            tree::write_atomically(&mark, stamp().as_bytes())?;
        }
        known.insert(known_as, built);
        Ok(built)
    }

    /// Builds a profile. A stage that takes long must come from the store.
    fn run_build(&self, profile: &str, long: Option<&str>) -> Result<bool> {
        report(&format!("building {profile} for {} from the sources as they are", self.arch));
        let mut run = Command::new(self.root.join("run.sh"));
        // Asked for its version, QEMU boots nothing.
        run.args([self.arch.name(), "--profile", profile, "--build", "--accel", "tcg", "--", "--version"]);
        if std::env::var_os("CARGO_TARGET_DIR").is_some() {
            run.env("CARGO_TARGET_DIR", Dirs::find()?.target);
        }
        if let Some(stage) = long {
            run.env(vars::FROM_STORE, [vars::from_store(), vec![stage.into()]].concat().join(" "));
        }
        let output = run.output().context("cannot start run.sh")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        if let Some(stage) = long.filter(|stage| errors.contains(&format!("{stage} is not in the store"))) {
            testing::skip(&format!("{stage} is not in the store as it would be now; BLOOMERY_CI_FULL=1 builds it"));
            return Ok(false);
        }
        if !output.status.success() {
            bail!("run.sh cannot build {profile}:\n{errors}");
        }
        Ok(true)
    }
}

/// Whether an architecture is to be tested. The reason is said when it is not.
pub fn is_wanted(arch: Arch) -> Result<bool> {
    let wanted = vars::get(vars::ARCH).is_none() || vars::archs()?.contains(&arch);
    if !wanted {
        testing::skip(&format!("BLOOMERY_ARCH leaves {arch} out"));
    }
    Ok(wanted)
}

/// Whether a test with many boots is to run on an architecture: on the host's, and on the other one when all is asked for. The reason
/// is said when it is not.
pub fn has_time(arch: Arch) -> Result<bool> {
    let has_time = arch == Arch::host()? || vars::on("BLOOMERY_CI_FULL", false);
    if !has_time {
        testing::skip(&format!("many boots of {arch} take long; BLOOMERY_CI_FULL=1 has them"));
    }
    Ok(has_time)
}

/// The stage that makes the test of a profile too long, if it is not in the store: LLVM on board of another architecture
/// (an hour), or another kernel than the default profile's (several minutes).
fn long_stage(dirs: &Dirs, profile: &Profile, arch: Arch) -> Result<Option<String>> {
    if profile.has("toolchain") && arch != Arch::host()? {
        return Ok(Some(format!("llvm-{arch}")));
    }
    let variant = &profile.kernel.variant;
    let first = &Profile::read(dirs, vars::DEFAULT_PROFILE)?.kernel.variant;
    Ok((variant != first).then(|| format!("kernel-{variant}-{arch}")))
}

/// The profiles of the project whose root file system is on a disk, by their descriptions.
pub fn with_disk() -> Result<Vec<String>> {
    let dirs = Dirs::find()?;
    let mut names = system::resolve::names(&dirs)?;
    let disk = |name: &String| {
        let profile = Profile::read(&dirs, name)?;
        let on_disk = profile.root.kind == RootKind::Ext4;
        anyhow::Ok(on_disk && system::outputs::disk(&profile, DiskFormat::Raw).is_some())
    };
    let has = names.iter().map(disk).collect::<Result<Vec<bool>>>()?;
    let mut has = has.into_iter();
    names.retain(|_| has.next().unwrap_or_default());
    Ok(names)
}

/// The digest of what images are made from.
fn sources(root: &Path) -> Result<String> {
    let mut text = String::new();
    for name in SOURCES {
        let path = root.join(name);
        text += &if path.is_dir() { digest::tree(&path)? } else { digest::file(&path)? };
    }
    Ok(digest::text(&text))
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
