//! Extended attributes of files that belong to a file and not to the machine that it lies on.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use rustix::fs::{XattrFlags, lgetxattr, llistxattr, llistxattr_query, lsetxattr};
use rustix::io::Errno;

/// File capabilities (capabilities(7), "File capabilities").
pub const CAPABILITY: &str = "security.capability";

/// Attributes by name.
pub type Attributes = BTreeMap<String, Vec<u8>>;

/// The largest list and the largest value that Linux has (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`, include/uapi/linux/limits.h).
const MAX: usize = 65536;

/// The names of all attributes of a file, directory or link that are visible to this user.
///
/// # Errors
///
/// When the file cannot be asked. A file system without attributes has none.
pub fn names(path: &Path) -> Result<Vec<String>> {
    let failed = || format!("cannot list the extended attributes of {}", path.display());
    match llistxattr_query(path) {
        Ok(0) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
        Ok(_) => {}
        Err(error) => return Err(error).with_context(failed),
    }
    let mut buffer = vec![0_u8; MAX];
    let length = llistxattr(path, &mut buffer[..]).with_context(failed)?;
    let names = buffer[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}

/// The attributes of a file that a copy of it should have: capabilities, and the user's own. Those that other software
/// keeps about the file on this machine are left out: labels of security modules, and `user.xdg.*`, in which browsers
/// note where a download came from.
///
/// # Errors
///
/// When an attribute cannot be read.
pub fn of_content(path: &Path) -> Result<Attributes> {
    let mut attributes = Attributes::new();
    for name in names(path)? {
        let kept = name == CAPABILITY || (name.starts_with("user.") && !name.starts_with("user.xdg."));
        if kept {
            let mut buffer = vec![0_u8; MAX];
            let length = lgetxattr(path, name.as_str(), &mut buffer[..])
                .with_context(|| format!("cannot read the attribute {name} of {}", path.display()))?;
            buffer.truncate(length);
            attributes.insert(name, buffer);
        }
    }
    Ok(attributes)
}

/// Sets attributes of a file.
///
/// # Errors
///
/// When the file system or this user cannot, with a hint.
pub fn set(path: &Path, attributes: &Attributes) -> Result<()> {
    for (name, value) in attributes {
        match lsetxattr(path, name.as_str(), value, XattrFlags::empty()) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP) => bail!(
                "the file system of {} cannot keep the attribute {name}\nhint: use another file system, or remove it: setfattr -x {name} FILE",
                path.display()
            ),
            Err(error) => {
                let error = io::Error::from(error);
                bail!(
                    "cannot set the attribute {name} of {}: {error}\nhint: name capabilities in the profile instead of \
                     setting them on this machine, where only root may",
                    path.display()
                )
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_attributes_are_read_back() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR").to_string() + "/../target").unwrap();
        let file = dir.path().join("file");
        fs_err::write(&file, "").unwrap();
        assert_eq!(of_content(&file).unwrap(), Attributes::new());
        let attributes = Attributes::from([("user.a".into(), b"1\0\xff".to_vec()), ("user.b".into(), Vec::new())]);
        if let Err(error) = set(&file, &attributes) {
            assert!(error.to_string().contains("hint:"), "{error}");
            let _ = io::Write::write_all(&mut io::stderr(), b"skipped: this file system keeps no attributes\n");
            return;
        }
        set(&file, &Attributes::from([("user.xdg.origin.url".into(), b"http://x".to_vec())])).unwrap();
        assert_eq!(of_content(&file).unwrap(), attributes);
        assert_eq!(names(&file).unwrap().len(), 3);
    }
}
