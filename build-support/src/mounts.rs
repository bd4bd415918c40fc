//! Mounts below a directory that is to be replaced: removing it would remove what is mounted there, the user's own
//! files perhaps. A bind mount within one file system has the device number of its surroundings, so only the kernel's
//! list tells.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use fs_err as fs;

/// Refuses, with a hint, when something is mounted at a directory or below it.
///
/// # Errors
///
/// When something is mounted there, or the list of mounts cannot be read.
pub fn refuse(dir: &Path) -> Result<()> {
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = dir.file_name().with_context(|| format!("{} has no file name", dir.display()))?;
    // The kernel's list has no links in its paths; that of `dir` itself would not be followed either.
    let real = fs::canonicalize(parent)?.join(name);
    let list = fs::read("/proc/self/mountinfo")?;
    if let Some(point) = points(&list).find(|point| point.starts_with(&real)) {
        let point = point.display();
        bail!("{point} is a mount, and replacing {} would remove the files in it\nhint: umount {point}", dir.display());
    }
    Ok(())
}

/// The mount points of /proc/self/mountinfo, field 5 (proc_pid_mountinfo(5)).
fn points(list: &[u8]) -> impl Iterator<Item = PathBuf> {
    let lines = list.split(|byte| *byte == b'\n');
    lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4)).map(|field| unescaped(field).into())
}

/// Space, tab, line feed and backslash stand there as a backslash with three octal digits.
fn unescaped(field: &[u8]) -> OsString {
    let mut bytes = Vec::new();
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = after.first_chunk::<3>().filter(|_| *first == b'\\').and_then(octal);
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(bytes)
}

fn octal(digits: &[u8; 3]) -> Option<u8> {
    u8::from_str_radix(std::ffi::OsStr::from_bytes(digits).to_str()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_are_read_as_they_are() {
        let list =
            b"22 1 8:1 / / rw - ext4 /dev/a rw\n23 22 8:1 /b /my\\040files\\134x\\011 rw shared:1 - ext4 /dev/a rw\n";
        let found: Vec<PathBuf> = points(list).collect();
        assert_eq!(found, [Path::new("/"), Path::new("/my files\\x\t")]);
    }

    #[test]
    fn a_directory_without_mounts_may_go() {
        let dir = tempfile::tempdir().unwrap();
        refuse(&dir.path().join("absent")).unwrap();
        refuse(dir.path()).unwrap();
        let error = refuse(Path::new("/proc")).unwrap_err().to_string();
        assert!(error.contains("/proc is a mount") && error.contains("hint: umount /proc"), "{error}");
    }
}
