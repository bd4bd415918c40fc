//! The kernel's configuration: fragments by purpose on an otherwise empty one, and the command line.

use std::path::Path;

use build_support::kconfig::{self, Fragment, Merged};
use build_support::{Arch, Dirs, Result, ensure, fs};
use system::Profile;
use system::outputs;
use system::profile::{OF_ARCH, RootKind};

use super::link::INITRAMFS;
use super::{bootconfig, modules};

/// Blanks behind the line of a kernel that has it as a text alone, and no buffer: the kernel of a disk gets more words later.
const ROOM: &str = "                                ";

/// The profile's fragments, then what follows from the profile.
pub fn fragments(dirs: &Dirs, arch: Arch, profile: &Profile) -> Result<Vec<Fragment>> {
    let known = |name: &str| dirs.root.join(format!("image/kernel/{name}.config"));
    let mut fragments = Vec::new();
    for fragment in &profile.kernel.fragments {
        let name = fragment.name.replace(OF_ARCH, arch.name());
        let list = dirs.root.join(format!("image/kernel/{name}.list"));
        if list.is_file() {
            for name in listed(&fs::read_to_string(&list)?, arch) {
                fragments.push(Fragment::read(&known(&name))?);
            }
            continue;
        }
        let path = if known(&name).is_file() { known(&name) } else { fragment.path(arch) };
        ensure!(
            path.is_file(),
            "the profile {} asks for the kernel fragment `{name}`, which does not exist\n\
             hint: name a file of image/kernel/ without `.config`, or a path relative to {}",
            profile.name,
            fragment.stated
        );
        fragments.push(Fragment::read(&path)?);
    }
    for name in modules::fragments(&profile.kernel) {
        fragments.push(Fragment::read(&known(name))?);
    }
    if profile.is_signed() {
        fragments.push(Fragment::read(&known(&format!("signed-{arch}")))?);
    }
    if profile.kernel.debug {
        fragments.push(Fragment::read(&known("debug"))?);
    }
    if profile.kernel.boot_config.is_some() {
        fragments.push(Fragment::parse(Path::new("the profile's kernel.boot-config"), bootconfig::CONFIG)?);
    }
    if profile.root.embed {
        fragments.push(Fragment::parse(Path::new("the profile's root.embed"), &embedding())?);
    }
    let text = command_line_setting(arch, &command_line(arch, profile));
    fragments.push(Fragment::parse(Path::new("the profile's command line"), &text)?);
    Ok(fragments)
}

/// The fragments of a list: the name of one a line, comments by `#`.
fn listed(text: &str, arch: Arch) -> Vec<String> {
    let names = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    names.map(|name| name.replace(OF_ARCH, arch.name())).collect()
}

/// Refuses a configuration with modules where nothing installs them: the system would lack what they drive without a word.
pub fn refuse_modules(merged: &Merged, made: &str) -> Result<()> {
    let modules = kconfig::modules(merged, made);
    ensure!(
        modules.is_empty(),
        "the configuration has modules, which this profile does not want:\n{}\nhint: write =y, or `modules = \"plain\"` below [kernel] of the profile",
        modules.join("\n")
    );
    Ok(())
}

/// The command line that is built into the kernel.
pub fn command_line(arch: Arch, profile: &Profile) -> String {
    let root = match profile.root.kind {
        // The kernel of a disk gets the identifier of that disk's own root later, and is not compiled for it.
        RootKind::Ext4 => outputs::compiled_root(arch),
        RootKind::Initramfs => String::new(),
    };
    let line = [
        // The EFI stub reads it up to `--`, which may be in the profile's words.
        if profile.is_signed() { "noinitrd" } else { "" },
        &root,
        // The last console is /dev/console; a machine without a serial line uses the screen.
        &format!("console=tty0 console={}", arch.serial_console()),
        "panic=10", // A machine far away comes back by itself.
        &profile.kernel.command_line,
    ];
    let line: Vec<&str> = line.into_iter().filter(|words| !words.is_empty()).collect();
    let line = line.join(" ");
    let room = if arch == Arch::Arm64 && profile.root.kind == RootKind::Ext4 { ROOM } else { "" };
    format!("{}{room}", line.trim())
}

fn command_line_setting(arch: Arch, line: &str) -> String {
    let switch = match arch {
        Arch::X86_64 => "CONFIG_CMDLINE_BOOL=y\n",
        Arch::Arm64 => "", // It has no switch: an empty line is none.
    };
    format!("{switch}CONFIG_CMDLINE={}\n", kconfig::quote(line))
}

/// The initramfs lies in the build directory under one name. It is not compressed: the kernel around it is.
fn embedding() -> String {
    format!(
        "CONFIG_BLK_DEV_INITRD=y\nCONFIG_INITRAMFS_SOURCE=\"{INITRAMFS}\"\nCONFIG_INITRAMFS_COMPRESSION_NONE=y\n\
         CONFIG_INITRAMFS_ROOT_UID=0\nCONFIG_INITRAMFS_ROOT_GID=0\n"
    )
}
