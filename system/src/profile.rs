//! A profile as the build uses it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use build_support::{Arch, Dirs, fs};
use disk::Capabilities;

use crate::document::{Item, Place, Setting, Settings, Value};
use crate::outputs::{self, Medium, Output};
use crate::resolve::{self, Resolved};
use crate::{checks, program, size};

/// What stands for the architecture's name in a fragment's.
pub const OF_ARCH: &str = "{arch}";

/// Packages that are parts of Bloomery.
pub const OWN_PACKAGES: &[&str] = &[
    "busybox",
    "init",
    "initctl",
    "echod",
    "dhcpc",
    "modprobe",
    "ntpc",
    "status",
    "syslogc",
    "updater",
    "growfs",
    "toolchain",
];

/// A profile: what a system is, and what a build leaves of it.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its file's name without `.toml`. Outputs are named by it.
    pub name: String,
    /// Its file, then those that it extends.
    pub files: Vec<Arc<Path>>,
    /// One sentence for people.
    pub description: String,
    /// Goes into /etc/hostname.
    pub hostname: String,
    /// Lines added to /etc/inittab.
    pub inittab: Vec<String>,
    /// What a person at a console gets.
    pub console: Console,
    /// Users on top of those of the skeleton.
    pub users: Vec<User>,
    /// The root file system.
    pub root: Root,
    /// What files of the root file system have besides what they have on this machine.
    pub attributes: Vec<Attribute>,
    /// The kernel.
    pub kernel: Kernel,
    /// The one program that the system is for.
    pub service: Option<Service>,
    /// What the build leaves.
    pub outputs: Vec<Output>,
    /// The virtual machine.
    pub machine: Machine,
    /// Limits that fail the build.
    pub budget: Budget,
}

/// The root file system of a profile.
#[derive(Clone, Debug)]
pub struct Root {
    /// Where the running system has it.
    pub kind: RootKind,
    /// What it is made of, in order.
    pub packages: Vec<Package>,
    /// Directories that are laid over it.
    pub files: Vec<PathBuf>,
    /// Whether it has the usual directories, links and files of /etc.
    pub skeleton: bool,
    /// Lists of entries (`disk::list`) that are laid over it, last.
    pub lists: Vec<PathBuf>,
    /// Whether the initramfs is inside the kernel.
    pub embed: bool,
    /// The user's key that updates are known by.
    pub update_key: Option<PathBuf>,
    /// The product that updates are for.
    pub update_product: Option<String>,
}

/// What files of the root file system have besides what they have on this machine. `None` leaves it.
#[derive(Clone, Debug)]
pub struct Attribute {
    /// A path, or a pattern that fits several.
    pub path: String,
    /// Permissions.
    pub mode: Option<u32>,
    /// A name or a number.
    pub owner: Option<String>,
    /// A name or a number.
    pub group: Option<String>,
    /// Capabilities of programs.
    pub capabilities: Option<Capabilities>,
    /// Where it was stated.
    pub place: Place,
}

/// What a person at a console gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// A root shell without a password.
    Shell,
    /// A login.
    Login,
    /// Nothing.
    None,
}

/// A user, or what is changed of one that is there already. `None` and empty lists leave it.
#[derive(Clone, Debug)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its number, and that of its own group.
    pub uid: Option<u32>,
    /// Further groups, by name.
    pub groups: Vec<String>,
    /// Its home directory.
    pub home: Option<String>,
    /// The program that it gets.
    pub shell: Option<String>,
    /// The hash of its password (crypt(5)).
    pub password: Option<String>,
    /// Lines of `~/.ssh/authorized_keys`, or files with such lines.
    pub authorized_keys: Vec<Keys>,
    /// Where it was stated.
    pub place: Place,
}

/// Public keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// One, with its kind and a comment.
    Line(String),
    /// A file of them.
    File(PathBuf),
}

/// Where the running system has its root file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootKind {
    /// On a partition.
    Ext4,
    /// In memory.
    Initramfs,
}

/// A part of a root file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Package {
    /// One of [`OWN_PACKAGES`].
    Own(String),
    /// A directory with a `build.sh`.
    Dir(PathBuf),
}

/// The kernel of a profile.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The name of the kernel's variant: of the nearest profile that states anything the kernel is compiled from. Profiles
    /// of one variant share one compilation.
    pub variant: String,
    /// Its fragments, in order.
    pub fragments: Vec<Fragment>,
    /// Added to the built-in command line.
    pub command_line: String,
    /// The file of its boot configuration.
    pub boot_config: Option<PathBuf>,
    /// What becomes of drivers that are not built in.
    pub modules: Modules,
    /// The user's key that signs modules.
    pub module_key: Option<PathBuf>,
    /// The directory whose files are laid over its source.
    pub overlay: Option<PathBuf>,
    /// Whether it has debug information.
    pub debug: bool,
}

impl Kernel {
    /// Whether it has modules.
    pub fn has_modules(&self) -> bool {
        self.modules != Modules::None
    }
}

/// What becomes of drivers that are not built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modules {
    /// They are refused.
    None,
    /// They lie in the root file system.
    Plain,
    /// The same, signed, and the kernel loads no others.
    Signed,
}

/// A fragment of a kernel's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// As the profile names it; [`OF_ARCH`] stands for the architecture.
    pub name: String,
    /// The directory of the profile that names it, from which a path counts.
    dir: PathBuf,
    /// The profile that names it.
    pub stated: String,
}

impl Fragment {
    /// The file of its name, when the name is a path.
    pub fn path(&self, arch: Arch) -> PathBuf {
        self.dir.join(self.name.replace(OF_ARCH, arch.name()))
    }
}

/// The service of a profile, a file below `/etc/services.d`.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// A program of the user's; `{arch}` in its path stands for the architecture.
    pub program: Option<PathBuf>,
    /// The program with its arguments.
    pub command: String,
    /// Further lines of the file.
    pub settings: Vec<String>,
}

/// The virtual machine of a profile.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Bytes of memory.
    pub memory: u64,
    /// Processors; `None` lets the accelerator decide.
    pub processors: Option<u64>,
    /// The ways to boot, the default first.
    pub boots: Vec<Boot>,
}

/// A way to boot a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Boot {
    /// QEMU loads the kernel itself (`-kernel`).
    Kernel,
    /// UEFI firmware starts the system from its disk, EFI file or CD.
    Uefi,
    /// QEMU loads the kernel's ELF file by its PVH entry, on a board with virtio-mmio and no PCI: as Firecracker does.
    Microvm,
    /// UEFI firmware loads the EFI file by TFTP over IPv4.
    Pxe4,
    /// UEFI firmware loads the EFI file by TFTP over IPv6.
    Pxe6,
    /// UEFI firmware loads the EFI file by HTTP over IPv4.
    Http4,
    /// UEFI firmware loads the EFI file by HTTP over IPv6.
    Http6,
    /// A BIOS with iPXE, the network card's option ROM, loads the kernel.
    Ipxe,
    /// A BIOS starts the system from its disk or hybrid image.
    Bios,
    /// A BIOS starts the hybrid image as a CD.
    BiosCd,
    /// A BIOS starts the hybrid image as a USB stick.
    BiosUsb,
    /// UEFI firmware starts the hybrid image as a CD.
    UefiCd,
    /// UEFI firmware starts the hybrid image as a USB stick.
    UefiUsb,
}

impl Boot {
    /// Every way to boot.
    pub const ALL: [Boot; 13] = [
        Boot::Kernel,
        Boot::Uefi,
        Boot::Microvm,
        Boot::Pxe4,
        Boot::Pxe6,
        Boot::Http4,
        Boot::Http6,
        Boot::Ipxe,
        Boot::Bios,
        Boot::BiosCd,
        Boot::BiosUsb,
        Boot::UefiCd,
        Boot::UefiUsb,
    ];

    /// Its name in profiles and options.
    pub fn name(self) -> &'static str {
        match self {
            Boot::Kernel => "kernel",
            Boot::Uefi => "uefi",
            Boot::Microvm => "microvm",
            Boot::Pxe4 => "pxe4",
            Boot::Pxe6 => "pxe6",
            Boot::Http4 => "http4",
            Boot::Http6 => "http6",
            Boot::Ipxe => "ipxe",
            Boot::Bios => "bios",
            Boot::BiosCd => "bios-cd",
            Boot::BiosUsb => "bios-usb",
            Boot::UefiCd => "uefi-cd",
            Boot::UefiUsb => "uefi-usb",
        }
    }

    /// What it does, for `--help`.
    pub fn meaning(self) -> &'static str {
        match self {
            Boot::Kernel => "QEMU loads the kernel",
            Boot::Uefi => "firmware starts the image",
            Boot::Microvm => "QEMU loads the kernel into a machine without PCI",
            Boot::Pxe4 => "firmware loads the EFI file by TFTP over IPv4",
            Boot::Pxe6 => "the same over IPv6",
            Boot::Http4 => "firmware loads the EFI file by HTTP over IPv4",
            Boot::Http6 => "the same over IPv6",
            Boot::Ipxe => "a BIOS with iPXE loads the kernel",
            Boot::Bios => "a BIOS starts the image",
            Boot::BiosCd => "a BIOS starts the hybrid image from a CD",
            Boot::BiosUsb => "the same from a USB stick",
            Boot::UefiCd => "firmware starts the hybrid image from a CD",
            Boot::UefiUsb => "the same from a USB stick",
        }
    }

    /// Whether an architecture has it.
    pub fn is_on(self, arch: Arch) -> bool {
        arch == Arch::X86_64 || !matches!(self, Boot::Microvm | Boot::Ipxe | Boot::Bios | Boot::BiosCd | Boot::BiosUsb)
    }

    /// Whether QEMU hands the kernel its command line.
    pub fn takes_words(self) -> bool {
        matches!(self, Boot::Kernel | Boot::Microvm)
    }

    /// Whether UEFI firmware starts the system from a medium.
    pub fn is_by_uefi(self) -> bool {
        matches!(self, Boot::Uefi | Boot::UefiCd | Boot::UefiUsb)
    }

    /// Whether the system comes over the network.
    pub fn is_by_network(self) -> bool {
        self.is_by_network_of_uefi() || self == Boot::Ipxe
    }

    /// Whether UEFI firmware loads the system over the network.
    pub fn is_by_network_of_uefi(self) -> bool {
        matches!(self, Boot::Pxe4 | Boot::Pxe6 | Boot::Http4 | Boot::Http6)
    }

    /// Whether it needs servers of the user's own: those in QEMU answer DHCP and TFTP over IPv4 alone.
    pub fn needs_tap(self) -> bool {
        matches!(self, Boot::Pxe6 | Boot::Http4 | Boot::Http6)
    }

    /// Whether the media of a profile are all that this boot needs.
    fn is_possible(self, profile: &Profile, media: &[Medium]) -> bool {
        let has = |wanted: fn(&Medium) -> bool| media.iter().any(wanted);
        // The root file system comes inside the kernel, beside it, or on the disk.
        let in_memory = profile.root.kind == RootKind::Initramfs
            && (profile.root.embed || has(|medium| matches!(medium, Medium::Initramfs(_))));
        let on_disk = profile.root.kind == RootKind::Ext4 && has(|medium| matches!(medium, Medium::Disk { .. }));
        match self {
            Boot::Kernel => has(|medium| matches!(medium, Medium::Kernel(_))) && (in_memory || on_disk),
            Boot::Microvm => has(|medium| matches!(medium, Medium::Elf(_))) && in_memory,
            Boot::Pxe4 | Boot::Pxe6 | Boot::Http4 | Boot::Http6 => {
                profile.root.embed && has(|medium| matches!(medium, Medium::Efi(_)))
            }
            Boot::Ipxe => profile.root.embed && has(|medium| matches!(medium, Medium::Kernel(_))),
            Boot::Bios => has(|medium| matches!(medium, Medium::Disk { .. } | Medium::Hybrid(_))),
            Boot::BiosCd | Boot::BiosUsb | Boot::UefiCd | Boot::UefiUsb => {
                has(|medium| matches!(medium, Medium::Hybrid(_)))
            }
            Boot::Uefi => {
                has(|medium| matches!(medium, Medium::Disk { .. } | Medium::Hybrid(_)))
                    || profile.root.embed && has(|medium| matches!(medium, Medium::Efi(_) | Medium::Cd(_)))
            }
        }
    }
}

/// Limits of a profile.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    /// The most bytes of each bootable image.
    pub image: Option<u64>,
    /// Bytes of memory that the boot tests give the system.
    pub memory: Option<u64>,
}

/// The service: of a command, of a program, or of both.
fn service(values: Values) -> Result<Option<Service>> {
    let program = values.path("service.program")?;
    let command = match (values.get("service.command"), &program) {
        (Some(_), _) => values.text("service.command")?.to_owned(),
        (None, Some(program)) => Service::installed(program),
        (None, None) => return Ok(None),
    };
    let settings = texts(values.list("service.settings")?);
    Ok(Some(Service { name: values.text("service.name")?.into(), program, command, settings }))
}

impl Service {
    /// Where a program of the user's is in the running system: one file name for all architectures.
    pub fn installed(program: &Path) -> String {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        format!("/usr/bin/{}", name.replace("-{arch}", "").replace("{arch}", ""))
    }

    /// The user's program for an architecture.
    pub fn file(&self, arch: Arch) -> Option<PathBuf> {
        let path = self.program.as_ref()?.to_string_lossy().replace("{arch}", arch.name());
        Some(path.into())
    }

    /// Checks the user's program before anything is compiled.
    fn check_program(&self, arch: Arch) -> Result<()> {
        let Some(file) = self.file(arch) else { return Ok(()) };
        ensure!(
            file.is_file(),
            "the service's program {} is no file\nhint: `service.program` counts from the directory of the profile",
            file.display()
        );
        program::check(&fs::read(&file)?, arch).with_context(|| format!("the service cannot run {}", file.display()))
    }

    /// The program that its command runs, without arguments.
    pub fn runs(&self) -> &str {
        self.command.split_ascii_whitespace().next().unwrap_or_default()
    }
}

impl Profile {
    /// Reads a profile by its name below `image/profiles/`, or by its path.
    ///
    /// # Errors
    /// What [`resolve::resolve`] and the checks of combinations refuse.
    pub fn read(dirs: &Dirs, name: &str) -> Result<Profile> {
        Profile::of(&resolve::resolve(dirs, name)?)
    }

    /// Makes a profile of resolved values.
    ///
    /// # Errors
    /// Values that do not go together.
    pub fn of(resolved: &Resolved) -> Result<Profile> {
        let values = Values(&resolved.settings);
        let kind = match values.text("root.kind")? {
            "initramfs" => RootKind::Initramfs,
            _ => RootKind::Ext4,
        };
        let mut profile = Profile {
            name: resolved.name.clone(),
            files: resolved.files.clone(),
            description: values.text("description")?.into(),
            hostname: values.text("hostname")?.into(),
            inittab: texts(values.list("inittab")?),
            console: match values.text("console")? {
                "login" => Console::Login,
                "none" => Console::None,
                _ => Console::Shell,
            },
            users: resolved.rows.get("user").into_iter().flatten().map(user).collect::<Result<_>>()?,
            root: Root {
                kind,
                packages: values.list("root.packages")?.iter().map(package).collect(),
                files: values.list("root.files")?.iter().map(beside).collect(),
                skeleton: values.flag("root.skeleton")?,
                lists: values.list("root.lists")?.iter().map(beside).collect(),
                embed: values.flag("root.embed")?,
                update_key: values.path("root.update-key")?,
                update_product: values
                    .get("root.update-product")
                    .map(|_| values.text("root.update-product").map(String::from))
                    .transpose()?,
            },
            attributes: resolved.rows.get("attribute").into_iter().flatten().map(attribute).collect::<Result<_>>()?,
            kernel: kernel(resolved, values)?,
            service: service(values)?,
            outputs: resolved
                .outputs
                .iter()
                .map(|(name, output)| read_output(name, output, &resolved.name))
                .collect::<Result<_>>()?,
            machine: Machine {
                memory: values.size("machine.memory")?.context("the schema has a default memory")?,
                processors: values.count("machine.processors")?,
                boots: match values.get("machine.boots") {
                    None => Vec::new(),
                    Some(_) => {
                        let stated = values.list("machine.boots")?;
                        let named = |item: &Item| Boot::ALL.into_iter().find(|boot| boot.name() == item.text);
                        stated.iter().filter_map(named).collect()
                    }
                },
            },
            budget: Budget { image: values.size("budget.image")?, memory: values.size("budget.memory")? },
        };
        if values.get("machine.boots").is_none() {
            profile.machine.boots = profile.possible_boots();
        }
        checks::check(&profile, resolved)?;
        Ok(profile)
    }

    /// The ways to boot that the outputs can do, in the order of [`Boot::ALL`].
    pub fn possible_boots(&self) -> Vec<Boot> {
        let media = outputs::media(self);
        Boot::ALL.into_iter().filter(|boot| boot.is_possible(self, &media)).collect()
    }

    /// The profile's ways to boot that an architecture has, the default first.
    pub fn boots(&self, arch: Arch) -> Vec<Boot> {
        self.machine.boots.iter().copied().filter(|boot| boot.is_on(arch)).collect()
    }

    /// Checks a way to boot against those of the profile.
    ///
    /// # Errors
    /// A way that the profile or the architecture does not have; the message lists those that they have.
    pub fn check_boot(&self, arch: Arch, boot: Boot) -> Result<()> {
        let boots = self.boots(arch);
        let names: Vec<&str> = boots.iter().map(|boot| boot.name()).collect();
        ensure!(
            boots.contains(&boot),
            "the profile {} does not boot by `{}`{}\nhint: it boots by {}",
            self.name,
            boot.name(),
            if boot.is_on(arch) { String::new() } else { format!(" on {arch}") },
            if names.is_empty() { "nothing: it has no bootable output".into() } else { names.join(", ") }
        );
        Ok(())
    }

    /// Checks that an architecture has every output, and the service a program for it.
    ///
    /// # Errors
    /// An output that the architecture lacks, and a program that it cannot run.
    pub fn check_arch(&self, arch: Arch) -> Result<()> {
        self.service.iter().try_for_each(|service| service.check_program(arch))?;
        self.outputs.iter().try_for_each(|output| output.kind.check_arch(output, arch))
    }

    /// Whether a part of Bloomery is in the root file system.
    pub fn has(&self, package: &str) -> bool {
        self.root.packages.iter().any(|known| matches!(known, Package::Own(name) if name == package))
    }
}

/// Typed reading of settings that the schema has checked.
#[derive(Clone, Copy)]
pub(crate) struct Values<'a>(pub(crate) &'a Settings);

impl<'a> Values<'a> {
    fn get(self, path: &str) -> Option<&'a Setting> {
        self.0.get(path)
    }

    pub(crate) fn text(self, path: &str) -> Result<&'a str> {
        match self.get(path) {
            Some(Setting { value: Value::Text(text), .. }) => Ok(text),
            _ => bail!("the schema has no text `{path}`"),
        }
    }

    /// The entries of a list.
    pub(crate) fn words(self, path: &str) -> Result<Vec<&'a str>> {
        Ok(self.list(path)?.iter().map(|item| item.text.as_str()).collect())
    }

    fn list(self, path: &str) -> Result<&'a [Item]> {
        match self.get(path) {
            Some(Setting { value: Value::List(items), .. }) => Ok(items),
            _ => bail!("the schema has no list `{path}`"),
        }
    }

    /// A path, from the directory of the file that states it.
    pub(crate) fn path(self, path: &str) -> Result<Option<PathBuf>> {
        let Some(setting) = self.get(path) else { return Ok(None) };
        Ok(Some(beside(&Item { text: self.text(path)?.into(), place: setting.place.clone() })))
    }

    fn flag(self, path: &str) -> Result<bool> {
        match self.get(path) {
            Some(Setting { value: Value::Flag(on), .. }) => Ok(*on),
            _ => bail!("the schema has no flag `{path}`"),
        }
    }

    pub(crate) fn size(self, path: &str) -> Result<Option<u64>> {
        self.get(path).map(|_| size::parse(self.text(path)?)).transpose()
    }

    fn count(self, path: &str) -> Result<Option<u64>> {
        match self.get(path) {
            None => Ok(None),
            Some(Setting { value: Value::Count(number), .. }) => Ok(Some(*number)),
            Some(_) => bail!("the schema has no count `{path}`"),
        }
    }
}

fn texts(items: &[Item]) -> Vec<String> {
    items.iter().map(|item| item.text.clone()).collect()
}

/// A path of a list, from the directory of the file that states it.
pub(crate) fn beside(item: &Item) -> PathBuf {
    directory_of(item).join(&item.text)
}

fn directory_of(item: &Item) -> &Path {
    item.place.file.as_deref().and_then(Path::parent).unwrap_or(Path::new("/"))
}

fn package(item: &Item) -> Package {
    if OWN_PACKAGES.contains(&item.text.as_str()) {
        Package::Own(item.text.clone())
    } else {
        Package::Dir(beside(item))
    }
}

fn attribute(row: &Settings) -> Result<Attribute> {
    let values = Values(row);
    let text = |key: &str| values.get(key).map(|_| values.text(key).map(String::from)).transpose();
    let place = values.get("path").map_or(Place::DEFAULT, |setting| setting.place.clone());
    let capabilities = text("capabilities")?.map(|text| Capabilities::parse(&text)).transpose();
    Ok(Attribute {
        path: values.text("path")?.into(),
        mode: text("mode")?.map(|mode| u32::from_str_radix(&mode, 8)).transpose()?,
        owner: text("owner")?,
        group: text("group")?,
        capabilities: capabilities.with_context(|| format!("{place}: `capabilities` is refused"))?,
        place,
    })
}

fn user(row: &Settings) -> Result<User> {
    let values = Values(row);
    let text = |key: &str| values.get(key).map(|_| values.text(key).map(String::from)).transpose();
    let list = |key: &str| values.get(key).map(|_| values.list(key)).transpose();
    let place = values.get("name").map_or(Place::DEFAULT, |setting| setting.place.clone());
    // A line has blanks between its kind, its key and its comment.
    let keys = |item: &Item| match item.text.contains(' ') {
        true => Keys::Line(item.text.clone()),
        false => Keys::File(beside(item)),
    };
    let uid = values.count("uid")?.map(u32::try_from).transpose();
    Ok(User {
        name: values.text("name")?.into(),
        uid: uid.with_context(|| format!("{place}: no user has such a number"))?,
        groups: list("groups")?.map(texts).unwrap_or_default(),
        home: text("home")?,
        shell: text("shell")?,
        password: text("password")?,
        authorized_keys: list("authorized-keys")?.into_iter().flatten().map(keys).collect(),
        place,
    })
}

fn kernel(resolved: &Resolved, values: Values) -> Result<Kernel> {
    let fragment = |item: &Item| Fragment {
        name: item.text.clone(),
        dir: directory_of(item).into(),
        stated: item.place.file.as_deref().map_or(String::new(), |file| file.display().to_string()),
    };
    Ok(Kernel {
        variant: variant(resolved),
        fragments: values.list("kernel.fragments")?.iter().map(fragment).collect(),
        command_line: values.text("kernel.command-line")?.into(),
        boot_config: values.path("kernel.boot-config")?,
        modules: match values.text("kernel.modules")? {
            "plain" => Modules::Plain,
            "signed" => Modules::Signed,
            _ => Modules::None,
        },
        module_key: values.path("kernel.module-key")?,
        overlay: values.path("kernel.overlay")?,
        debug: values.flag("kernel.debug")?,
    })
}

/// The nearest profile that states anything the kernel is compiled from. A signed one takes nothing from outside.
fn variant(resolved: &Resolved) -> String {
    let of_kernel = |path: &str| path.starts_with("kernel.") || ["root.kind", "root.embed"].contains(&path);
    let stated = resolved.settings.iter().filter(|(path, _)| of_kernel(path));
    let signs = resolved.outputs.iter().flat_map(|(_, output)| output.get_key_value("sign"));
    let places: Vec<&Path> = stated.chain(signs).filter_map(|(_, setting)| setting.place.file.as_deref()).collect();
    let nearest = resolved.files.iter().find(|file| places.contains(&&***file));
    nearest.and_then(|file| file.file_stem()).map_or(resolved.name.clone(), |stem| stem.to_string_lossy().into_owned())
}

fn read_output(name: &str, settings: &Settings, profile: &str) -> Result<Output> {
    let values = Values(settings);
    let kind = values.text("kind")?;
    Ok(Output {
        name: name.into(),
        file: values.text("file")?.replace("{profile}", profile),
        kind: outputs::kind(kind).with_context(|| format!("the schema has an unknown kind of output `{kind}`"))?,
        settings: settings.clone(),
        place: values.get("kind").map_or(Place::DEFAULT, |setting| setting.place.clone()),
    })
}

#[cfg(test)]
mod tests;
