//! Files and directories that are whole or absent: each is made under a hidden name in its own directory, then renamed.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};
use fs_err as fs;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use walkdir::WalkDir;

use crate::mounts;

/// Makes a file: `make` writes it at the path that it is given. Its directory is made when missing. What builds that
/// were killed left beside it is removed.
///
/// # Errors
///
/// That of `make`, or when the directory cannot be written to. What was there is then unchanged.
pub fn file(path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    sweep(path)?;
    replace(path, make).map_err(|error| explained(error, path))
}

/// Makes a file or a link as [`file()`] does, without looking for what killed builds left: for small files in
/// directories that several builds share.
///
/// # Errors
///
/// Those of [`file()`].
pub fn replace(path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let temporary = temporary(path)?;
    let result = make(&temporary).and_then(|()| Ok(fs::rename(&temporary, path)?));
    if result.is_err() {
        let _ = fs::remove_file(&temporary); // The first error is the one to tell.
    }
    result
}

/// Makes a directory: `make` fills the empty directory that it is given. What was there is replaced as a whole, unless
/// something is mounted in it.
///
/// # Errors
///
/// That of `make`; when something is mounted below `path`; when it cannot be replaced. What was there is then unchanged.
pub fn dir(path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    sweep(path)?;
    let temporary = temporary(path)?;
    mounts::refuse(path).map_err(|error| explained(error, path))?;
    let made = fs::create_dir(&temporary).map_err(Into::into).and_then(|()| make(&temporary));
    let placed = made.and_then(|()| exchange(&temporary, path));
    // Holds the half-made directory after a failure, and the replaced one after success.
    let removed = remove(&temporary);
    placed.map_err(|error| explained(error, path))?;
    removed
}

/// Says which output failed, and what to do about a full disk.
fn explained(error: anyhow::Error, path: &Path) -> anyhow::Error {
    let full = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::StorageFull)
    };
    if error.chain().any(full) {
        return anyhow::anyhow!(
            "cannot write {}: {error:#}\nhint: the disk is full: free some space and build again",
            path.display()
        );
    }
    error.context(format!("cannot write {}", path.display()))
}

fn exchange(new: &Path, path: &Path) -> Result<()> {
    if path.symlink_metadata().is_err() {
        return Ok(fs::rename(new, path)?);
    }
    if renameat_with(CWD, new, CWD, path, RenameFlags::EXCHANGE).is_ok() {
        return Ok(());
    }
    // Not every file system can exchange two names (NFS cannot).
    let old = new.with_added_extension("old");
    fs::rename(path, &old)?;
    fs::rename(new, path)?;
    Ok(fs::rename(&old, new)?)
}

/// A free name in the directory of a path, which is made when missing: `.NAME.PID.COUNT`.
fn temporary(path: &Path) -> Result<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let (dir, prefix) = parts(path)?;
    fs::create_dir_all(dir)?;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let temporary = dir.join(format!("{prefix}{}.{count}", std::process::id()));
    remove(&temporary)?; // Of a killed process of the same number.
    Ok(temporary)
}

/// Removes what builds that were killed left under temporary names of a path.
fn sweep(path: &Path) -> Result<()> {
    let (dir, prefix) = parts(path)?;
    if !dir.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(&prefix).and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// The directory of a path, and how its temporary names begin.
fn parts(path: &Path) -> Result<(&Path, String)> {
    let dir = path.parent().with_context(|| format!("{} has no directory", path.display()))?;
    let name = path.file_name().with_context(|| format!("{} has no file name", path.display()))?;
    Ok((dir, format!(".{}.", name.to_string_lossy())))
}

fn remove(path: &Path) -> Result<()> {
    let Ok(meta) = path.symlink_metadata() else {
        return Ok(());
    };
    if meta.is_dir() {
        mounts::refuse(path)?;
    }
    let removed = if meta.is_dir() { remove_dir(path) } else { fs::remove_file(path) };
    removed.with_context(|| {
        let path = path.display();
        format!("cannot remove the old {path}\nhint: somebody else owns files in it, perhaps root by chroot: sudo rm -r {path}")
    })
}

fn remove_dir(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            // A tree may have directories that their owner cannot write to.
            for dir in WalkDir::new(path).into_iter().filter_map(Result::ok).filter(|entry| entry.file_type().is_dir())
            {
                let _ = fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)); // The removal tells.
            }
            fs::remove_dir_all(path)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_leaves_the_old_output_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        file(&one, |path| Ok(fs::write(path, "old")?)).unwrap();
        super::dir(&two, |path| Ok(fs::write(path.join("x"), "old")?)).unwrap();
        let fails = |path: &Path| {
            fs::write(path, "half")?;
            anyhow::bail!("it broke")
        };
        let error = format!("{:#}", file(&one, fails).unwrap_err());
        assert!(error.contains("one: it broke"), "{error}");
        assert!(super::dir(&two, |path| fails(&path.join("x"))).is_err());
        assert_eq!(fs::read_to_string(&one).unwrap(), "old");
        assert_eq!(fs::read_to_string(two.join("x")).unwrap(), "old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_a_killed_build_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        // Linux gives no process this number (PID_MAX_LIMIT is 4 Mi).
        fs::create_dir(dir.path().join(".out.4194305")).unwrap();
        fs::create_dir(dir.path().join(".out.4194305.7")).unwrap();
        super::dir(&dir.path().join("out"), |_| Ok(())).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    /// What the test below does as root of a mount namespace, where this variable names its directory.
    const INSIDE: &str = "WHOLE_TEST_DIR";

    #[test]
    fn what_is_mounted_in_an_output_stays() {
        if let Some(dir) = std::env::var_os(INSIDE) {
            return replace_under_a_mount(Path::new(&dir));
        }
        let dir = tempfile::tempdir().unwrap();
        let probe = std::process::Command::new("unshare").args(["-rm", "true"]).output();
        if !probe.is_ok_and(|output| output.status.success()) {
            let _ = io::Write::write_all(&mut io::stderr(), b"skipped: this host forbids unshare -rm\n");
            return;
        }
        let output = std::process::Command::new("unshare")
            .arg("-rm")
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "whole::tests::what_is_mounted_in_an_output_stays"])
            .env(INSIDE, dir.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }

    fn replace_under_a_mount(dir: &Path) {
        let (project, out) = (dir.join("project"), dir.join("out"));
        fs::create_dir(&project).unwrap();
        fs::write(project.join("work"), "of a week").unwrap();
        super::dir(&out, |path| Ok(fs::create_dir(path.join("my mnt"))?)).unwrap();
        let mount = |to: &Path| {
            let status = std::process::Command::new("mount").arg("--bind").args([&project, to]).status().unwrap();
            assert!(status.success());
        };
        mount(&out.join("my mnt"));
        let error = format!("{:#}", super::dir(&out, |path| Ok(fs::write(path.join("x"), "new")?)).unwrap_err());
        assert!(error.contains("out/my mnt is a mount") && error.contains("hint: umount"), "{error}");
        // One that comes while the new tree is made.
        let late = super::dir(&dir.join("late"), |path| {
            fs::create_dir(path.join("mnt"))?;
            mount(&path.join("mnt"));
            anyhow::bail!("it broke")
        });
        assert!(late.is_err());
        assert_eq!(fs::read_to_string(project.join("work")).unwrap(), "of a week");
        assert!(!out.join("x").exists());
    }
}
