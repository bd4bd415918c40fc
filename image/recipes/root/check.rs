//! What init would only find at boot, by init's own readers of inittab, fstab, services and networks.

use build_support::{Result, ensure, fs};
use disk::{Content, Kind, Tree};
use init::check::{Found, Root};

use super::service::follow;

/// The finished root file system.
struct Finished<'a>(&'a Tree);

impl Root for Finished<'_> {
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        match &follow(self.0, path).ok()??.kind {
            Kind::File(Content::Host(path)) => fs::read(path).ok(),
            Kind::File(Content::Bytes(bytes)) => Some(bytes.clone()),
            _ => None,
        }
    }

    fn names(&self, directory: &str) -> Vec<String> {
        let below = format!("{}/", directory.trim_start_matches('/'));
        let name = |path: &str| path.strip_prefix(&below).filter(|name| !name.contains('/')).map(String::from);
        self.0.entries().filter_map(|(path, _)| name(path)).collect()
    }

    fn look(&self, path: &str) -> Found {
        if path.trim_matches('/').is_empty() {
            return Found::NoFile;
        }
        match follow(self.0, path) {
            Ok(Some(entry)) => match &entry.kind {
                Kind::File(_) if entry.mode & 0o111 != 0 => Found::Program,
                Kind::File(_) => Found::File,
                _ => Found::NoFile,
            },
            _ => Found::Nothing,
        }
    }
}

/// Refuses a system that would not start all that it is to start.
pub fn check(tree: &Tree) -> Result<()> {
    let faults = init::check::check(&Finished(tree));
    ensure!(
        faults.is_empty(),
        "init would find this at boot:\n  {}\nhint: mend the files, or add what they name; `initctl check` says the same on board",
        faults.join("\n  ")
    );
    Ok(())
}
