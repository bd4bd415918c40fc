//! Configuration in several directories, as `sysctl.d` and `modules-load.d` have it. Their readers ask.

pub use init_base::dropins::paths;

use crate::log::error;
use crate::sys::{Errno, files};

/// A configuration file's text; a missing one is empty, and one that cannot be read is said.
pub fn read(path: &str) -> String {
    match files::read_file(path) {
        Ok(content) => String::from_utf8_lossy(&content).into_owned(),
        Err(Errno::NOENT) => String::new(),
        Err(error) => {
            error!("cannot read {path}: {error}");
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_empty() {
        assert_eq!(read("/no/such/file"), "");
        assert_eq!(paths("no-such-directory.d"), Vec::<String>::new());
    }
}
