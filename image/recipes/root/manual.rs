//! The manual pages of Bloomery's own programs, for the skeleton's man(1).

use std::io::Write as _;

use build_support::{Dirs, Result, fs};
use disk::Tree;
use flate2::{Compression, GzBuilder};
use system::Profile;
use system::profile::Package;

/// Adds those of the profile's packages to a system that can show them.
pub fn add(tree: &mut Tree, dirs: &Dirs, profile: &Profile) -> Result<()> {
    if tree.get("usr/bin/man").is_none() {
        return Ok(());
    }
    for package in &profile.root.packages {
        let Package::Own(name) = package else { continue };
        let pages = dirs.root.join(name).join("man");
        if !pages.is_dir() {
            continue;
        }
        for file in fs::read_dir(&pages)? {
            let path = file?.path();
            let (Some(page), Some(section)) = (path.file_name(), path.extension()) else { continue };
            let target = format!("usr/share/man/man{}/{}.gz", section.display(), page.display());
            tree.bytes(&target, packed(&fs::read(&path)?)?, 0o644, name)?;
        }
    }
    Ok(())
}

/// By gzip, which busybox's zcat reads, without a name or a time.
fn packed(text: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
    encoder.write_all(text)?;
    Ok(encoder.finish()?)
}
