//! The kinds of output: one file each, behind [`Kind`]. A kind says its keys in a profile, its files, what a machine can
//! boot of it, what decides about its bytes, and how it is written.
//!
//! Outputs lie below `target/bloomery/ARCH/`. [`build`] writes those of a profile; `image/build.rs` calls it.

mod archive;
mod disk;
mod efi;
mod firecracker;
mod hybrid;
mod identity;
mod initramfs;
mod iso;
mod kernel;
mod oci;
mod place;
mod sign;
mod sysroot;

use std::path::{Path, PathBuf};

use ::disk::gpt::Sector;
use ::disk::tools::Tool;
use ::disk::{DiskIds, Tree};
use anyhow::{Context as _, Result, bail, ensure};
use build_support::{Arch, Built, Dirs, Job, Stage, cargo, digest, fs, host, progress};

use crate::document::{Place, Settings};
use crate::profile::{Profile, Values};
use crate::schema::OutputKind;
use crate::size;

pub use disk::Format as DiskFormat;
pub use identity::compiled_root;
use identity::{Content, Identity};
pub use sign::SigningKey;
use sign::Unsigned;
pub(crate) use sign::check as check_signing;

/// Every kind, in the order of `docs/profiles.md`.
pub const KINDS: &[&dyn Kind] = &[
    &disk::Disk,
    &hybrid::Hybrid,
    &efi::Efi,
    &iso::Iso,
    &kernel::Kernel,
    &initramfs::Initramfs,
    &archive::Archive,
    &oci::Oci,
    &sysroot::Sysroot,
];

/// A kind of output.
pub trait Kind: Sync {
    /// Its name, its meaning and its keys.
    fn schema(&self) -> &'static OutputKind;

    /// Its files and directories, from `target/bloomery/ARCH/`. A file that only one architecture has is among them.
    fn files(&self, output: &Output) -> Vec<String>;

    /// What a machine can boot of it.
    fn media(&self, _output: &Output) -> Vec<Medium> {
        Vec::new()
    }

    /// The file that firmware starts, for `budget.image`, from `target/bloomery/ARCH/`.
    fn bootable_image(&self, _output: &Output) -> Option<String> {
        None
    }

    /// What a disk with partitions of its own is apart from what lies on it, as a text: two that differ in it have different
    /// identifiers. `None`: it is no such disk.
    ///
    /// # Errors
    /// A key that is missing.
    fn partitions(&self, _output: &Output) -> Result<Option<String>> {
        Ok(None)
    }

    /// Whether it has the EFI loader of `image/loader/`.
    fn has_efi_loader(&self) -> bool {
        false
    }

    /// Whether it is written with any of those loaders.
    fn needs_loader(&self, _arch: Arch) -> bool {
        self.has_efi_loader()
    }

    /// Files that its keys name, whose content decides about its bytes.
    fn sources(&self, _output: &Output) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Refuses profiles that it does not go together with.
    fn check(&self, _output: &Output, _profile: &Profile) -> Result<()> {
        Ok(())
    }

    /// Refuses an architecture that lacks it.
    fn check_arch(&self, _output: &Output, _arch: Arch) -> Result<()> {
        Ok(())
    }

    /// Whether it is written from the root file system. A kernel with its root inside is another kernel.
    fn holds_root(&self) -> bool {
        true
    }

    /// Adds to the key what decides about its bytes, besides the root file system.
    fn inputs<'a>(&self, stage: Stage<'a>, cx: &Context) -> Result<Stage<'a>>;

    /// Writes its [`Kind::files`] below `job.out`.
    fn write(&self, job: &Job, cx: &Context) -> Result<()>;

    /// Puts what `write` left below `target/bloomery/ARCH/`.
    fn place(&self, built: &Built, cx: &Context) -> Result<()> {
        for file in self.files(cx.output) {
            let from = built.dir.join(&file);
            if from.symlink_metadata().is_ok() {
                place::replace(&from, &cx.dirs.output(cx.arch).join(&file))?;
            }
        }
        Ok(())
    }
}

/// What a machine can boot of an output; paths are from `target/bloomery/ARCH/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Medium {
    /// A disk that the machine writes to.
    Disk {
        /// Its file.
        file: String,
        /// Its format.
        format: DiskFormat,
        /// Its sectors.
        sector: Sector,
    },
    /// A kernel for boot loaders and QEMU's `-kernel`.
    Kernel(String),
    /// A kernel as ELF file with a PVH entry (x86_64).
    Elf(String),
    /// An initramfs beside the kernel.
    Initramfs(String),
    /// An EFI program that is a whole system.
    Efi(String),
    /// A CD that is a whole system.
    Cd(String),
    /// A raw image that is a disk, a CD and a USB stick, for BIOS and UEFI, and a whole system.
    Hybrid(String),
}

/// An output of a profile.
#[derive(Clone)]
pub struct Output {
    /// Tells two outputs of a kind apart.
    pub name: String,
    /// Where it lies, from `target/bloomery/ARCH/`, without the suffix of its kind.
    pub file: String,
    /// Its kind.
    pub kind: &'static dyn Kind,
    /// The values of its keys.
    pub(crate) settings: Settings,
    /// Where it was stated.
    pub place: Place,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.kind.schema().name, self.name, self.file)
    }
}

impl Output {
    pub(crate) fn values(&self) -> Values<'_> {
        Values(&self.settings)
    }

    /// Its files and directories, from `target/bloomery/ARCH/`.
    pub fn files(&self) -> Vec<String> {
        self.kind.files(self)
    }
}

/// What outputs are written from.
pub struct Context<'a> {
    /// The checkout and the store.
    pub dirs: &'a Dirs,
    /// The architecture.
    pub arch: Arch,
    /// The profile.
    pub profile: &'a Profile,
    /// The kernel with all that is inside it. Where its root is on a disk, it names the one of [`Context::ids`].
    pub kernel: KernelFiles,
    /// The identifiers of the output, if it is a disk, else of the disk that it belongs to.
    ids: DiskIds,
    /// The root file system.
    pub root: &'a Root,
    /// The licences of what is in the root file system, an SPDX expression.
    pub licences: &'a str,
    /// The output.
    pub output: &'a Output,
    /// The loaders, for kinds that need them.
    pub loaders: Option<&'a Loaders>,
    /// Kernel and loader with the signature of the output's key, if it has one.
    signed: Option<Built>,
}

impl Context<'_> {
    /// The EFI program that the output holds.
    fn efi_program(&self) -> PathBuf {
        self.signed.as_ref().map_or_else(|| self.kernel.efi(), sign::program)
    }

    /// The loader that starts it, as an EFI program.
    fn efi_loader(&self) -> Result<PathBuf> {
        match &self.signed {
            Some(signed) => Ok(sign::loader(signed)),
            None => Ok(self.loaders()?.efi()),
        }
    }

    /// The loader for a BIOS, on an architecture that has one.
    fn bios_loader(&self) -> Result<Option<::disk::BiosLoader>> {
        match self.arch {
            Arch::X86_64 => Ok(Some(::disk::BiosLoader::read(&self.loaders()?.built.dir)?)),
            Arch::Arm64 => Ok(None),
        }
    }

    fn loaders(&self) -> Result<&Loaders> {
        self.loaders.context("nothing built the loaders")
    }

    /// Adds that program to the key of a stage.
    fn needs_efi_program<'a>(&self, stage: Stage<'a>) -> Stage<'a> {
        stage.needs(self.signed.as_ref().unwrap_or(&self.kernel.built))
    }
}

/// What all outputs of a profile are written from.
pub struct Parts<'a> {
    /// The kernel with all that is inside it.
    pub kernel: &'a KernelFiles,
    /// The root file system.
    pub root: &'a Root,
    /// The licences of what is in the root file system, an SPDX expression.
    pub licences: &'a str,
    /// The loaders, where [`Profile::needs_loader`].
    pub loaders: Option<&'a Loaders>,
    /// The program that signs, where [`Profile::is_signed`].
    pub signer: Option<&'a Built>,
}

impl<'a> Parts<'a> {
    /// `files` is the digest of the list of all files of the root file system.
    fn context(
        &self,
        dirs: &'a Dirs,
        arch: Arch,
        profile: &'a Profile,
        output: &'a Output,
        files: &str,
    ) -> Result<Context<'a>> {
        let Parts { kernel, root, licences, loaders, signer } = *self;
        let Identity { kernel, ids } = identity::of(dirs, arch, profile, output, &Content { kernel, files })?;
        let loaders = loaders.filter(|_| output.kind.needs_loader(arch));
        let signed = match output.signing_key() {
            None => None,
            Some(key) => {
                let signer = signer.context("nothing was built that signs")?;
                let name = format!("{}-{}", profile.name, output.name);
                let loaders = loaders.filter(|_| output.kind.has_efi_loader());
                Some(sign::build(dirs, arch, &name, &key, &Unsigned { kernel: &kernel, loaders }, signer)?)
            }
        };
        Ok(Context { dirs, arch, profile, kernel, ids, root, licences, output, loaders, signed })
    }
}

/// The result of the kernel's last stage.
#[derive(Clone)]
pub struct KernelFiles {
    /// The result.
    pub built: Built,
}

impl KernelFiles {
    /// For boot loaders and QEMU's `-kernel`.
    pub fn image(&self) -> PathBuf {
        self.built.dir.join("kernel")
    }

    /// For UEFI firmware: on some architectures another file.
    pub fn efi(&self) -> PathBuf {
        let own = self.built.dir.join("kernel.efi");
        if own.is_file() { own } else { self.image() }
    }

    /// The unstripped ELF file, which debuggers read.
    pub fn vmlinux(&self) -> PathBuf {
        self.built.dir.join("debug/vmlinux")
    }
}

/// The loaders of images that have the kernel as a file (`image/loader/`).
pub struct Loaders {
    /// `loader.efi`, `loader-alone.efi`, and on x86_64 `mbr.bin` and `second.bin`.
    pub built: Built,
}

impl Loaders {
    /// The EFI program, which hands the settings file to the kernel.
    pub fn efi(&self) -> PathBuf {
        self.built.dir.join("loader.efi")
    }

    /// The EFI program that hands nothing to the kernel.
    pub fn efi_alone(&self) -> PathBuf {
        self.built.dir.join("loader-alone.efi")
    }
}

/// A root file system, and the part of it that rarely changes.
pub struct Root {
    /// All of it.
    pub tree: Tree,
    /// A part of it, compressed once for all profiles.
    pub layer: Option<RootLayer>,
}

/// A part of a root file system as archive and container layer.
pub struct RootLayer {
    /// Its tree.
    pub tree: Tree,
    /// `layer.tar.zst`, and a layer of an OCI image below `oci/`.
    pub packed: Built,
}

impl Root {
    /// What comes on top of the layer.
    pub(crate) fn top(&self, output: ::disk::Output) -> Result<Tree> {
        let tree = fitting(&self.tree, output);
        match &self.layer {
            Some(layer) => tree.minus(&layer.tree),
            None => Ok(tree),
        }
    }
}

/// The kind of a name.
pub fn kind(name: &str) -> Option<&'static dyn Kind> {
    KINDS.iter().find(|kind| kind.schema().name == name).copied()
}

/// Everything that a machine can boot of a profile.
pub fn media(profile: &Profile) -> Vec<Medium> {
    profile.outputs.iter().flat_map(|output| output.kind.media(output)).collect()
}

/// Writes every output of a profile, and what lies beside them: the list of files, the script that boots the system, and
/// the mark of the profile. What did not change stays as it is.
///
/// # Errors
/// What a kind cannot write, and a budget that is exceeded.
pub fn build(dirs: &Dirs, arch: Arch, profile: &Profile, parts: &Parts) -> Result<()> {
    let manifest = parts.root.tree.manifest_tsv()?;
    let files = digest::text(&manifest);
    let mut built = Vec::new();
    for output in &profile.outputs {
        let cx = parts.context(dirs, arch, profile, output, &files)?;
        let result = stage(&cx, &manifest)?.build(|job| output.kind.write(job, &cx))?;
        check_budget(&cx, &result, &manifest)?;
        built.push((cx, result));
    }
    let placed = place::Placed::open(dirs, arch, profile)?;
    for (cx, result) in &built {
        placed.update(cx.output, result, || cx.output.kind.place(result, cx))?;
    }
    placed.finish(arch, &manifest)
}

/// The stage of an output: `image-PROFILE-OUTPUT`.
fn stage<'a>(cx: &Context<'a>, manifest: &str) -> Result<Stage<'a>> {
    let stage = Stage::new(cx.dirs, "image", cx.arch)
        .instance(&format!("{}-{}", cx.profile.name, cx.output.name))
        .recipe("outputs/mod.rs", include_str!("mod.rs"))
        .input("file", &cx.output.file);
    let stage = if cx.output.kind.holds_root() { stage.input("files", &digest::text(manifest)) } else { stage };
    cx.output.kind.inputs(stage, cx)
}

/// Adds what writes a stage's bytes: the crate `disk`, the locked versions of all crates below it, and the program that
/// compresses.
///
/// # Errors
/// A checkout that cannot be read.
pub fn writers<'a>(stage: Stage<'a>, dirs: &Dirs) -> Result<Stage<'a>> {
    let lock = fs::read_to_string(dirs.root.join("Cargo.lock"))?;
    Ok(tools(stage, ::disk::tar::TOOLS)?
        .input("disk/src", &digest::tree(&dirs.root.join("disk/src"))?)
        .input("disk's crates", &digest::text(&cargo::locked(&lock, "disk")?)))
}

/// Adds host programs by their versions.
fn tools<'a>(mut stage: Stage<'a>, tools: &[Tool]) -> Result<Stage<'a>> {
    for tool in tools {
        stage = stage.tool(tool.name, &tool.version()?);
    }
    Ok(stage)
}

/// The tree as an output can hold it. What it cannot hold is said.
fn fitting(tree: &Tree, output: ::disk::Output) -> Tree {
    let (tree, losses) = tree.fit(output);
    for loss in losses {
        progress::line(&format!("warning: {loss}"));
    }
    tree
}

/// The largest parts that the message of an exceeded budget names.
const LARGEST: usize = 5;

/// Refuses a bootable image that is larger than the profile allows.
fn check_budget(cx: &Context, built: &Built, manifest: &str) -> Result<()> {
    let (Some(most), Some(file)) = (cx.profile.budget.image, cx.output.kind.bootable_image(cx.output)) else {
        return Ok(());
    };
    let has = built.dir.join(&file).metadata()?.len();
    if has <= most {
        return Ok(());
    }
    let mut parts: Vec<(u64, String)> = manifest.lines().skip(1).filter_map(part).collect();
    parts.push((cx.efi_program().metadata()?.len(), "the kernel".into()));
    parts.sort();
    let parts: Vec<String> = parts
        .iter()
        .rev()
        .take(LARGEST)
        .map(|(bytes, name)| format!("  {:>10} {name}", size::megabytes(*bytes)))
        .collect();
    bail!(
        "{file} has {}, more than the {} of `budget.image`; its largest parts are\n{}\n\
         hint: leave parts out, or raise the budget of the profile {}",
        size::show(has),
        size::show(most),
        parts.join("\n"),
        cx.profile.name
    )
}

/// Size and path of a row of the manifest.
fn part(row: &str) -> Option<(u64, String)> {
    let mut fields = row.split('\t');
    let path = fields.next()?;
    Some((fields.nth(2)?.parse().ok()?, path.into()))
}

/// The file that says which profile the outputs below `PROFILE/` are of: [`identity`].
pub const PROFILE_MARK: &str = "profile";
/// The list of all files of the root file system, below `PROFILE/`.
pub const MANIFEST: &str = "manifest.tsv";
/// The script that boots the system on any machine with QEMU, below `PROFILE/`.
pub const RUN_SCRIPT: &str = "run-qemu.sh";

/// The first disk in a format.
pub(crate) fn disk_medium(profile: &Profile, wanted: DiskFormat) -> Option<Medium> {
    media(profile).into_iter().find(|medium| matches!(medium, Medium::Disk { format, .. } if *format == wanted))
}

/// The disk in a format, from `target/bloomery/ARCH/`.
pub fn disk(profile: &Profile, wanted: DiskFormat) -> Option<String> {
    media(profile).into_iter().find_map(|medium| match medium {
        Medium::Disk { file, format, .. } if format == wanted => Some(file),
        _ => None,
    })
}

/// The kernel that a boot loader or QEMU's `-kernel` takes, from `target/bloomery/ARCH/`.
pub fn kernel(profile: &Profile) -> Option<String> {
    media(profile).into_iter().find_map(|medium| match medium {
        Medium::Kernel(file) => Some(file),
        _ => None,
    })
}

/// The directory of a profile, from `target/bloomery/ARCH/`: all that has no place of its own.
pub fn directory(profile: &Profile) -> PathBuf {
    PathBuf::from(&profile.name)
}

/// Which profile outputs are of: its file. Two profiles of one name must not be taken for each other.
pub fn identity(profile: &Profile) -> String {
    format!("{}\n", profile.files.first().map_or(Path::new(""), |file| file).display())
}

/// A host program that one kind needs, and not every build.
fn need(program: &str, package: &str, purpose: &str) -> Result<()> {
    ensure!(
        host::find_program(program).is_some(),
        "`{program}` is not installed; it {purpose}\nhint: install it (Debian: {package})"
    );
    Ok(())
}
