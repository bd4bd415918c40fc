//! What a system that is entered has besides its files.

use std::ffi::CStr;
use std::path::{Component, Path, PathBuf};

use build_support::{Context as _, Result, fs};
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount as mount_fs, mount_bind, mount_bind_recursive, mount_change,
};

/// Devices that every program may expect. The terminals are the host's, so that `tty` knows its name.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty", "ptmx"];
/// Links in /dev, which are the same on every Linux.
const LINKS: &[(&str, &str)] = &[("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")];

/// Mounts all but /proc, which only a process of the new process namespace can.
///
/// # Errors
/// A mount that the host refuses.
pub fn mount(sysroot: &Path) -> Result<()> {
    // Nothing that is mounted here reaches the host.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("cannot make mounts private")?;
    // A root that is a mount is in the system's own list of them, which `df` reads.
    mount_bind_recursive(sysroot, sysroot).context("cannot mount the sysroot on itself")?;
    devices(&sysroot.join("dev"))?;
    tmpfs(&sysroot.join("tmp"), c"mode=1777")?;
    tmpfs(&sysroot.join("run"), c"mode=0755")?;
    resolver(sysroot)
}

fn devices(dev: &Path) -> Result<()> {
    tmpfs(dev, c"mode=0755")?;
    for name in DEVICES {
        let host = Path::new("/dev").join(name);
        if host.exists() {
            let place = dev.join(name);
            fs::write(&place, "")?;
            mount_bind(&host, &place).with_context(|| format!("cannot mount {}", host.display()))?;
        }
    }
    for name in ["pts", "shm"] {
        fs::create_dir(dev.join(name))?;
    }
    mount_bind_recursive("/dev/pts", dev.join("pts")).context("cannot mount /dev/pts")?;
    tmpfs(&dev.join("shm"), c"mode=1777")?;
    for (name, target) in LINKS {
        fs::os::unix::fs::symlink(target, dev.join(name))?;
    }
    Ok(())
}

fn tmpfs(place: &Path, options: &CStr) -> Result<()> {
    fs::create_dir_all(place)?;
    mount_fs("tmpfs", place, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options)
        .with_context(|| format!("cannot mount a tmpfs on {}", place.display()))
}

/// /proc of the new process namespace. Where parts of the host's are hidden, as in a container, the kernel refuses a new one,
/// and the host's has to do.
///
/// # Errors
/// A mount that the host refuses.
pub fn proc(sysroot: &Path) -> Result<()> {
    let place = sysroot.join("proc");
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount_fs("proc", &place, "proc", flags, None::<&CStr>)
        .or_else(|_| mount_bind_recursive("/proc", &place))
        .with_context(|| format!("cannot mount /proc on {}", place.display()))
}

/// The host's resolv.conf under the name that the system's C library reads.
fn resolver(sysroot: &Path) -> Result<()> {
    let Ok(text) = fs::read("/etc/resolv.conf") else { return Ok(()) }; // A host without network has none.
    let file = sysroot.join("etc/resolv.conf");
    let Ok(meta) = fs::symlink_metadata(&file) else { return Ok(()) };
    if !meta.is_symlink() {
        return mount_bind("/etc/resolv.conf", &file).context("cannot mount /etc/resolv.conf");
    }
    // A link that leads into /run, which is a tmpfs now: never to a file of the sysroot itself.
    let target = inside(sysroot, &sysroot.join("etc"), &fs::read_link(&file)?);
    if target.starts_with(sysroot.join("run")) {
        if let Some(dir) = target.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::write(target, text)?;
    }
    Ok(())
}

/// Where a link's target is, whose root is the sysroot. Links on the way are not followed.
fn inside(sysroot: &Path, dir: &Path, target: &Path) -> PathBuf {
    let mut place = if target.is_absolute() { sysroot.to_path_buf() } else { dir.to_path_buf() };
    for part in target.components() {
        match part {
            Component::Normal(name) => place.push(name),
            Component::ParentDir if place != sysroot => drop(place.pop()),
            _ => {}
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_stays_inside() {
        let root = Path::new("/s");
        let of = |target: &str| inside(root, Path::new("/s/etc"), Path::new(target));
        assert_eq!(of("/run/resolv.conf"), Path::new("/s/run/resolv.conf"));
        assert_eq!(of("../run/resolv.conf"), Path::new("/s/run/resolv.conf"));
        assert_eq!(of("../../../etc/passwd"), Path::new("/s/etc/passwd"));
        assert_eq!(of("resolv"), Path::new("/s/etc/resolv"));
    }
}
