//! `run --watch`: the guest starts anew with what was saved meanwhile.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, SystemTime};

use build_support::{Context as _, Result, fs};
use rustix::process::{Pid, Signal, kill_process};
use system::Profile;
use system::machine::Qemu;
use system::profile::Package;

use crate::usage::say;

/// How often the files are looked at. They are few, and a person waits.
const PAUSE: Duration = Duration::from_millis(100);

/// When each file last changed.
type Times = BTreeMap<PathBuf, SystemTime>;

/// Runs QEMU until it ends by itself. After a change, `build` is called; when that succeeds, this program takes its own place,
/// and boots what was built.
pub fn run(qemu: &Qemu, profile: &Profile, build: impl Fn() -> Result<ExitCode>) -> Result<ExitCode> {
    let watched = files(profile);
    let mut known = times(&watched);
    let mut guest = Command::new(&qemu.program).args(&qemu.args).spawn().context("cannot start QEMU")?;
    say(&format!("watching {} files; the guest starts anew when one of them is saved", known.len()));
    loop {
        if let Some(status) = guest.try_wait()? {
            return Ok(status.code().map_or(ExitCode::FAILURE, |code| ExitCode::from(u8::try_from(code).unwrap_or(1))));
        }
        let now = times(&watched);
        if now == known {
            std::thread::sleep(PAUSE);
            continue;
        }
        known = now;
        if build()? != ExitCode::SUCCESS {
            say("the guest goes on as it was; save again to try anew");
            continue;
        }
        end(&mut guest)?;
        let error = Command::new(std::env::current_exe()?).args(std::env::args_os().skip(1)).exec();
        return Err(error).context("cannot start this program anew");
    }
}

/// Ends QEMU, which gives the terminal back as it was.
fn end(guest: &mut Child) -> Result<()> {
    if let Some(pid) = i32::try_from(guest.id()).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process(pid, Signal::TERM);
    }
    guest.wait()?;
    Ok(())
}

/// What a person edits: the profile, and the packages, files and lists that it names.
fn files(profile: &Profile) -> Vec<PathBuf> {
    let packages = profile.root.packages.iter().filter_map(|package| match package {
        Package::Dir(dir) => Some(dir.clone()),
        Package::Own(_) => None,
    });
    let named = profile.root.files.iter().chain(&profile.root.lists).chain(&profile.kernel.boot_config).cloned();
    profile.files.iter().map(|file| file.to_path_buf()).chain(packages).chain(named).collect()
}

/// What the project itself makes every system of, from its root.
const OWN: &[&str] = &[
    "image/kernel",
    "image/loader",
    "image/profiles",
    "image/recipes",
    "init/base/src",
    "init/src",
    "sysroot/busybox",
    "sysroot/skeleton",
];

/// The file that was saved last, when that was after `built`: of the profile, or of the project.
pub fn newer(root: &Path, profile: &Profile, built: SystemTime) -> Option<PathBuf> {
    let mut watched = files(profile);
    watched.extend(OWN.iter().map(|path| root.join(path)));
    let last = times(&watched).into_iter().max_by_key(|(_, time)| *time)?;
    (last.1 > built).then_some(last.0)
}

/// The times of files, and of what is below directories. A file that is being replaced may be missing for a moment.
fn times(paths: &[PathBuf]) -> Times {
    let mut times = Times::new();
    paths.iter().for_each(|path| add(path, &mut times));
    times
}

fn add(path: &Path, times: &mut Times) {
    let Ok(meta) = path.symlink_metadata() else { return };
    if meta.is_dir() {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        return entries.for_each(|entry| add(&entry.path(), times));
    }
    times.extend(meta.modified().ok().map(|time| (path.to_path_buf(), time)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_a_new_and_a_removed_file_are_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (inner, watched) = (dir.path().join("a/b"), [dir.path().to_path_buf(), dir.path().join("none")]);
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("c"), "1").unwrap();
        let first = times(&watched);
        assert_eq!(times(&watched), first);
        fs::write(inner.join("d"), "1").unwrap();
        let second = times(&watched);
        assert_ne!(second, first);
        fs::File::open(inner.join("c")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let third = times(&watched);
        assert_ne!(third, second);
        fs::remove_file(inner.join("d")).unwrap();
        assert_eq!(times(&watched).len(), 1);
    }
}
