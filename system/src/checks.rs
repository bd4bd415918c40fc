//! Values of a profile that do not go together, or would only fail when the system boots.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};

use crate::document::{Place, Value};
use crate::outputs;
use crate::profile::{Attribute, Boot, Modules, OWN_PACKAGES, Profile, RootKind, Service, beside};
use crate::resolve::Resolved;
use crate::size;

mod users;

/// Bytes of a host name (HOST_NAME_MAX of Linux, gethostname(2)).
const HOST_NAME: usize = 64;
/// Bytes of a kernel's command line that arrive (COMMAND_LINE_SIZE of x86 and arm64, with the zero byte).
const COMMAND_LINE: usize = 2048;
/// Actions of an inittab line (init(8)).
const ACTIONS: &[&str] = &["sysinit", "wait", "once", "respawn", "askfirst", "ctrlaltdel", "shutdown", "restart"];

/// Checks a profile.
pub fn check(profile: &Profile, resolved: &Resolved) -> Result<()> {
    let place = |path: &str| resolved.settings.get(path).map_or(Place::DEFAULT, |setting| setting.place.clone());
    check_hostname(&profile.hostname).map_err(|why| anyhow::anyhow!("{}: {why}", place("hostname")))?;
    check_inittab(resolved)?;
    users::check(&profile.users)?;
    check_command_line(&profile.kernel.command_line)
        .map_err(|why| anyhow::anyhow!("{}: {why}", place("kernel.command-line")))?;
    check_kernel_files(profile, &place)?;
    check_service(profile, resolved)?;
    check_root(profile, &place("root.embed"))?;
    check_attributes(profile)?;
    check_inputs(resolved)?;
    check_files(profile)?;
    outputs::check_signing(profile)?;
    check_budget(profile, &place)?;
    check_boots(profile, &place("machine.boots"))
}

fn check_hostname(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let good = (1..=HOST_NAME).contains(&name.len())
        && name.chars().all(plain)
        && name.split('.').all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'));
    ensure!(
        good,
        "`hostname` cannot be `{name}`\n\
         hint: it has 1 to {HOST_NAME} letters, digits, `-` and `.`, and no part of it begins or ends with `-` (hostname(7))"
    );
    Ok(())
}

/// `ID:RUNLEVELS:ACTION:PROCESS` (busybox's inittab).
fn check_inittab(resolved: &Resolved) -> Result<()> {
    let Some(Value::List(lines)) = resolved.settings.get("inittab").map(|setting| &setting.value) else {
        return Ok(());
    };
    for line in lines {
        let text = line.text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = text.splitn(4, ':').collect();
        let [_, _, action, process] = fields.as_slice() else {
            bail!(
                "{}: `{text}` is no line of an inittab\nhint: write ID:RUNLEVELS:ACTION:PROCESS, such as ::respawn:/usr/bin/daemon",
                line.place
            );
        };
        ensure!(
            ACTIONS.contains(action),
            "{}: `{text}` has the unknown action `{action}`\nhint: use {}",
            line.place,
            ACTIONS.join(", ")
        );
        ensure!(
            !process.trim().is_empty(),
            "{}: `{text}` names no program\nhint: write it after the last colon",
            line.place
        );
    }
    Ok(())
}

/// The built-in part has about a hundred bytes besides.
fn check_command_line(line: &str) -> Result<()> {
    const ROOM: usize = COMMAND_LINE - 128;
    ensure!(
        line.len() <= ROOM,
        "`command-line` has {} bytes, and the kernel takes {ROOM}\nhint: put settings of programs into files",
        line.len()
    );
    ensure!(
        line.matches('"').count().is_multiple_of(2),
        "`command-line` has a quote that is not closed\nhint: the kernel reads \"...\" as one word"
    );
    Ok(())
}

/// Files that the kernel is made with.
fn check_kernel_files(profile: &Profile, place: &dyn Fn(&str) -> Place) -> Result<()> {
    let kernel = &profile.kernel;
    for (key, file) in [("boot-config", &kernel.boot_config), ("module-key", &kernel.module_key)] {
        let Some(file) = file else { continue };
        ensure!(
            file.is_file(),
            "{}: `{key}` names {}, which is no file\nhint: a path counts from the directory of the profile",
            place(&format!("kernel.{key}")),
            file.display()
        );
    }
    if let Some(dir) = &kernel.overlay {
        ensure!(
            dir.is_dir(),
            "{}: `overlay` names {}, which is no directory\nhint: a path counts from the directory of the profile",
            place("kernel.overlay"),
            dir.display()
        );
    }
    ensure!(
        kernel.module_key.is_none() || kernel.modules == Modules::Signed,
        "{}: `module-key` signs modules, and this kernel has none that are signed\nhint: add `modules = \"signed\"` below [kernel]",
        place("kernel.module-key")
    );
    Ok(())
}

fn check_service(profile: &Profile, resolved: &Resolved) -> Result<()> {
    let Some(service) = &profile.service else {
        let stated = ["service.name", "service.settings"].iter().filter_map(|path| resolved.settings.get(*path));
        if let Some(setting) = stated.into_iter().find(|setting| setting.place != Place::DEFAULT) {
            bail!("{}: a service without `command`\nhint: state the program below [service]", setting.place);
        }
        return Ok(());
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    ensure!(
        !service.name.is_empty() && service.name.chars().all(plain) && !service.name.starts_with(['.', '-']),
        "the service cannot be called `{}`\nhint: use letters, digits, `-`, `_` and `.` (services(5))",
        service.name
    );
    if let Some(program) = &service.program {
        let installed = Service::installed(program);
        let place = resolved.settings.get("service.program").map_or(Place::DEFAULT, |setting| setting.place.clone());
        ensure!(
            installed != "/usr/bin/",
            "{place}: `program` names {}, which is no file name\nhint: call it after the program",
            program.display()
        );
        ensure!(
            service.runs() == installed,
            "{place}: the program becomes {installed}, and the service's `command` runs {}\nhint: state `command = \"{installed}\"`, with arguments if it needs any",
            service.runs()
        );
    }
    ensure!(
        profile.has("init"),
        "the profile {} has a service, and no `init` that starts it\nhint: add `init` to the packages below [root]",
        profile.name
    );
    Ok(())
}

fn check_root(profile: &Profile, embed: &Place) -> Result<()> {
    ensure!(
        profile.root.kind == RootKind::Initramfs || !profile.root.embed,
        "{embed}: `root.embed` needs `root.kind = \"initramfs\"`: a kernel holds no ext4 file system\nhint: state that kind, or leave `embed` out"
    );
    if let Some(name) = ["initctl", "echod", "dhcpc", "modprobe", "ntpc", "status", "syslogc", "updater", "growfs"]
        .into_iter()
        .find(|name| profile.has(name) && !profile.has("init"))
    {
        bail!(
            "the profile {} has the package `{name}`, which is a part of `init`, and no `init`\nhint: add `init` to the packages below [root]",
            profile.name
        );
    }
    ensure!(
        profile.root.update_key.is_none() && profile.root.update_product.is_none() || profile.has("updater"),
        "the profile {} says which updates it takes, and has no `updater` that takes them\nhint: add `updater` to the packages below [root]",
        profile.name
    );
    profile.outputs.iter().try_for_each(|output| output.kind.check(output, profile))
}

/// A row that changes nothing is a mistake.
fn check_attributes(profile: &Profile) -> Result<()> {
    for Attribute { path, mode, owner, group, capabilities, place } in &profile.attributes {
        ensure!(
            mode.is_some() || owner.is_some() || group.is_some() || capabilities.is_some(),
            "{place}: the attributes of `{path}` are not stated\nhint: add `mode`, `owner`, `group` or `capabilities`"
        );
    }
    Ok(())
}

/// Directories and files that a profile names. An entry that is not there, or is none, must not be passed over.
fn check_inputs(resolved: &Resolved) -> Result<()> {
    let items = |path: &str| match resolved.settings.get(path).map(|setting| &setting.value) {
        Some(Value::List(items)) => items.clone(),
        _ => Vec::new(),
    };
    for item in items("root.files") {
        let (path, place) = (beside(&item), &item.place);
        ensure!(
            path.exists(),
            "{place}: `files` names `{}`, and {} does not exist\nhint: a path counts from the directory of the profile",
            item.text,
            path.display()
        );
        ensure!(
            path.is_dir(),
            "{place}: `files` names `{}`, which is no directory\n\
             hint: name the directory that stands for `/`: `rootfs` when rootfs/etc/motd is to become /etc/motd",
            item.text
        );
    }
    for item in items("root.lists") {
        ensure!(
            beside(&item).is_file(),
            "{}: `lists` names `{}`, and {} is no file\nhint: a path counts from the directory of the profile",
            item.place,
            item.text,
            beside(&item).display()
        );
    }
    for item in items("root.packages").iter().filter(|item| !OWN_PACKAGES.contains(&item.text.as_str())) {
        let path = beside(item);
        ensure!(
            path.join("build.sh").is_file(),
            "{}: the package {} has no build.sh\nhint: use {}, or a directory with a build.sh (docs/packages.md)",
            item.place,
            path.display(),
            OWN_PACKAGES.join(", ")
        );
    }
    Ok(())
}

/// Two outputs of one file name.
fn check_files(profile: &Profile) -> Result<()> {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for output in &profile.outputs {
        let bad = output.file.is_empty()
            || output.file.starts_with('/')
            || output.file.split('/').any(|part| part.is_empty() || part.starts_with('.'));
        ensure!(
            !bad,
            "{}: the output `{}` cannot lie at `{}`\nhint: a path from `target/bloomery/ARCH/`, without `..`",
            output.place,
            output.name,
            output.file
        );
        for file in output.files() {
            if let Some(first) = seen.insert(file.clone(), &output.name) {
                bail!(
                    "{}: the outputs `{first}` and `{}` are both the file {file}\nhint: give one of them another `file`",
                    output.place,
                    output.name
                );
            }
        }
    }
    Ok(())
}

fn check_budget(profile: &Profile, place: &dyn Fn(&str) -> Place) -> Result<()> {
    ensure!(
        profile.budget.image.is_none()
            || profile.outputs.iter().any(|output| output.kind.bootable_image(output).is_some()),
        "{}: `budget.image` limits a bootable image, and the profile has none\nhint: add an [[output]] of kind disk, efi or iso",
        place("budget.image")
    );
    if let Some(memory) = profile.budget.memory {
        ensure!(
            !profile.possible_boots().is_empty(),
            "{}: `budget.memory` limits a boot, and no output of the profile boots\nhint: add an [[output]] of kind disk, efi, iso or kernel",
            place("budget.memory")
        );
        ensure!(
            memory <= profile.machine.memory,
            "{}: `budget.memory` is {}, more than the {} of `machine.memory`\nhint: raise `machine.memory`",
            place("budget.memory"),
            size::show(memory),
            size::show(profile.machine.memory)
        );
    }
    Ok(())
}

fn check_boots(profile: &Profile, place: &Place) -> Result<()> {
    let possible = profile.possible_boots();
    if let Some(boot) = profile.machine.boots.iter().find(|boot| !possible.contains(boot)) {
        let names: Vec<&str> = possible.iter().map(|boot: &Boot| boot.name()).collect();
        bail!(
            "{place}: `machine.boots` names `{}`, for which the profile has no output\nhint: its outputs boot by {}",
            boot.name(),
            if names.is_empty() { "nothing".into() } else { names.join(", ") }
        );
    }
    Ok(())
}
