//! The licences of what a root file system holds.

use build_support::Result;
use system::Profile;
use system::profile::Package;

/// An SPDX expression. A package of the user's own is not in it: its licence is not known here.
pub fn of(profile: &Profile) -> Result<String> {
    let mut names = Vec::new();
    if profile.root.packages.iter().any(|package| matches!(package, Package::Own(_))) {
        names.push("musl"); // It is linked into every program.
    }
    let parts = [("init", &["rust"][..]), ("busybox", &["busybox"]), ("toolchain", &["llvm", "linux", "zlib", "zstd"])]; // linux: the headers.
    for (package, sources) in parts {
        if profile.has(package) {
            names.extend(sources);
        }
    }
    let licences = names.iter().map(|name| Ok(format!("({})", vendor::source(name)?.license())));
    Ok(licences.collect::<Result<Vec<_>>>()?.join(" AND "))
}
