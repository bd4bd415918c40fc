//! The root file system: the skeleton, busybox, init, the compiler, packages and the profile's own files in one tree.

mod attributes;
mod check;
mod compiler;
mod manual;
mod service;
mod skeleton;
mod users;

use build_support::{Arch, Built, Dirs, Result, anyhow, cargo};
use disk::{Tree, list};
use system::outputs::Root;
use system::profile::RootKind;
use system::{Profile, update_key};

use super::kernel::MODULES;

/// Programs of busybox that can do nothing with a kernel without loadable modules.
const FOR_MODULES: &[&str] = &["depmod", "insmod", "lsmod", "modinfo", "modprobe", "rmmod"];

/// Puts the tree together. Later parts take the place of earlier ones.
pub fn assemble(
    dirs: &Dirs,
    arch: Arch,
    profile: &Profile,
    kernel: &Built,
    init: Option<&Built>,
    packages: &[Built],
) -> Result<Root> {
    let mut tree = Tree::new();
    if profile.root.skeleton {
        skeleton::add(&mut tree, profile)?;
    }
    if profile.kernel.has_modules() {
        tree.merge_plain(&kernel.dir.join(MODULES), "", "kernel")?;
    }
    if profile.has("busybox") {
        let (dir, _) = sysroot::busybox(arch.name()).ok_or_else(|| anyhow!("busybox was not built for {arch}"))?;
        tree.merge_plain(&dir.join("bin"), "usr/bin", "busybox")?;
        tree.chmod("usr/bin/busybox-suid", 0o4755)?; // It has the applets that users cannot do without root's rights.
        if !profile.kernel.has_modules() {
            for name in FOR_MODULES {
                tree.remove(&format!("usr/bin/{name}"))?;
            }
        }
    }
    if let Some(init) = init {
        tree.merge_plain(&init.dir.join("sbin"), "usr/bin", "init")?;
    }
    let layer = if profile.has("toolchain") { Some(compiler::add(dirs, arch, &mut tree)?) } else { None };
    for package in packages {
        tree.merge(&package.dir, "", &package.stage)?;
    }
    if profile.root.skeleton {
        skeleton::drop_scripts(&mut tree)?;
        manual::add(&mut tree, dirs, profile)?;
        skeleton::add_inittab(&mut tree, arch, profile)?;
    }
    if let Some(service) = &profile.service {
        service::add(&mut tree, arch, service)?;
    }
    if profile.root.kind == RootKind::Initramfs {
        add_initramfs_entries(&mut tree)?;
    }
    for files in &profile.root.files {
        tree.merge(files, "", "profile")?;
    }
    for list in &profile.root.lists {
        list::lay_over(&mut tree, list, cargo::variable, "profile")?;
    }
    if let Some(text) = update_key::configuration(dirs, arch, profile)? {
        tree.bytes("etc/updater.conf", text, 0o644, "profile")?;
    }
    users::add(&mut tree, profile)?;
    attributes::apply(&mut tree, &profile.attributes)?;
    if let Some(service) = &profile.service {
        service::check(&tree, arch, service)?;
    }
    if profile.has("init") {
        check::check(&tree)?;
    }
    Ok(Root { tree, layer })
}

/// What the kernel itself opens in an initramfs before any program runs: its first program and that one's console
/// (init/main.c, `kernel_init` and `console_on_rootfs`).
fn add_initramfs_entries(tree: &mut Tree) -> Result<()> {
    if tree.get("init").is_none() {
        tree.link("init", "sbin/init", "skeleton")?;
    }
    tree.device("dev/console", 5, 1, 0o600, "skeleton")
}
