//! Modules: compiled with the kernel, then installed (stripped, signed, compressed) with the tables that load them.

use std::path::{Path, PathBuf};

use build_support::kconfig::Merged;
use build_support::{Cmd, Context as _, Job, Result, Stage, fs, tree};
use system::elf;
use system::module_key::ModuleKey;
use system::modules::{self, Module};
use system::profile::{Kernel, Modules};

use super::configure;

/// The key in the build directory (image/kernel/modules-signed.config): a link, since no result may hold it.
const KEY: &str = "module-key.pem";
/// Modules and tables in the result of the compilation, as they lie in the root file system.
pub const INSTALLED: &str = "modules";

/// The fragments that the profile's word stands for.
pub fn fragments(kernel: &Kernel) -> &'static [&'static str] {
    match kernel.modules {
        Modules::None => &[],
        Modules::Plain => &["modules"],
        Modules::Signed => &["modules", "modules-signed"],
    }
}

/// Adds this recipe and the key's public part to a stage's key; nothing for a kernel without modules.
pub fn inputs<'a>(stage: Stage<'a>, kernel: &Kernel, key: Option<&ModuleKey>) -> Stage<'a> {
    if !kernel.has_modules() {
        return stage;
    }
    let stage = stage.recipe("kernel/modules.rs", include_str!("modules.rs")).input("modules", "installed");
    key.iter().fold(stage, |stage, key| stage.input("module key", &key.public))
}

/// The targets of make besides the kernel.
pub fn targets(kernel: &Kernel) -> &'static [&'static str] {
    if kernel.has_modules() { &["modules"] } else { &[] }
}

/// Refuses `=m` for a kernel without modules.
pub fn check(kernel: &Kernel, merged: &Merged, made: &str) -> Result<()> {
    if kernel.has_modules() { Ok(()) } else { configure::refuse_modules(merged, made) }
}

/// Lets make find the key under its name.
pub fn link_key(build: &Path, key: Option<&ModuleKey>) -> Result<()> {
    key.map_or(Ok(()), |key| tree::link(&key.file, &build.join(KEY)))
}

/// Takes the link away: its target is a path of this machine.
pub fn unlink_key(build: &Path, key: Option<&ModuleKey>) -> Result<()> {
    key.map_or(Ok(()), |_| Ok(fs::remove_file(build.join(KEY))?))
}

/// Leaves the modules below [`INSTALLED`].
pub fn install(job: &Job, make: Cmd, build: &Path) -> Result<()> {
    let root = job.out.join(INSTALLED).join("usr");
    make.arg("modules_install")
        .def("INSTALL_MOD_PATH", &root)
        .arg("INSTALL_MOD_STRIP=1")
        .arg("DEPMOD=true") // Not every machine has depmod, which writes more tables than anything here reads.
        .run("install the modules")?;
    let dir = only_directory(&root.join("lib/modules"))?;
    fs::remove_file(dir.join("build"))?; // A link to this machine's build directory.
    for list in ["modules.order", "modules.builtin.modinfo"] {
        fs::remove_file(dir.join(list))?; // modprobe(8) does without them.
    }
    let modules = read(build, &dir)?;
    fs::write(dir.join("modules.dep"), modules::dependencies(&modules)?)?;
    fs::write(dir.join("modules.alias"), modules::aliases(&modules))?;
    Ok(fs::write(dir.join("modules.softdep"), modules::soft_dependencies(&modules))?)
}

/// `lib/modules/RELEASE`.
fn only_directory(dir: &Path) -> Result<PathBuf> {
    let first = fs::read_dir(dir)?.next().context("make installed no modules")??;
    Ok(first.path())
}

/// Every module, in the order in which they were linked, which is that of the tables.
fn read(build: &Path, dir: &Path) -> Result<Vec<Module>> {
    let mut modules = Vec::new();
    for object in fs::read_to_string(build.join("modules.order"))?.lines() {
        let file = Path::new(object).with_extension("ko");
        let bytes = fs::read(build.join(&file))?;
        let modinfo = elf::section(&bytes, ".modinfo").with_context(|| format!("cannot read {}", file.display()))?;
        let path = installed(dir, &file)?;
        modules.push(Module::new(&path, modinfo.with_context(|| format!("{path} has no .modinfo"))?)?);
    }
    Ok(modules)
}

/// The path of a module from the directory of the tables, with the suffix of its compression.
fn installed(dir: &Path, file: &Path) -> Result<String> {
    let suffixes = ["", ".zst", ".xz", ".gz"];
    let mut paths = suffixes.iter().map(|suffix| format!("kernel/{}{suffix}", file.display()));
    paths.find(|path| dir.join(path).is_file()).with_context(|| format!("{} was not installed", file.display()))
}
