//! What makes cargo run the build script again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use build_support::{Arch, Dirs, Result, bail, cargo, fs, outside, vars};
use system::Profile;
use system::profile::{Keys, OWN_PACKAGES, Package};

/// Reads the profiles that are to be built. Two of one name would write the same outputs.
pub fn read_profiles(dirs: &Dirs) -> Result<Vec<Profile>> {
    let mut profiles: BTreeMap<String, Profile> = BTreeMap::new();
    let mut order = Vec::new();
    for name in vars::profiles(&dirs.root) {
        let profile = Profile::read(dirs, &name)?;
        match profiles.get(&profile.name) {
            Some(other) if other.files[0] == profile.files[0] => continue,
            Some(other) => bail!(
                "two profiles are called `{}`: {} and {}\nhint: rename one of them, or build them one after the other",
                profile.name,
                other.files[0].display(),
                profile.files[0].display()
            ),
            None => {}
        }
        order.push(profile.name.clone());
        profiles.insert(profile.name.clone(), profile);
    }
    Ok(order.into_iter().filter_map(|name| profiles.remove(&name)).collect())
}

/// The files and directories that a profile's outputs are made of.
pub fn of(dirs: &Dirs, profile: &Profile) -> Result<Vec<PathBuf>> {
    let known = [
        "image/build.rs",
        "image/recipes",
        "image/kernel",
        "image/loader",
        "image/profiles",
        "system/src",
        "init/src",
        "init/Cargo.toml",
        "init/base/src",
        "init/base/Cargo.toml",
        "initctl",
        "echod",
        "dhcpc",
        "modprobe",
        "ntpc",
        "status/src",
        "status/Cargo.toml",
        "syslogc/src",
        "syslogc/Cargo.toml",
        "slots/src",
        "slots/Cargo.toml",
        "growfs/src",
        "growfs/Cargo.toml",
        "updater/src",
        "updater/Cargo.toml",
        "efi-sign/src",
        "efi-sign/Cargo.toml",
        "sysroot/skeleton",
        "Cargo.lock",
        "Cargo.toml",
    ];
    let mut inputs: Vec<PathBuf> = known.iter().map(|path| dirs.root.join(path)).collect();
    inputs.extend(OWN_PACKAGES.iter().map(|name| dirs.root.join(name).join("man")));
    inputs.extend(profile.files.iter().map(|file| file.to_path_buf()));
    let fragments = profile.kernel.fragments.iter();
    inputs.extend(fragments.flat_map(|fragment| Arch::ALL.map(|arch| fragment.path(arch))));
    inputs.extend(profile.files.first().map(|file| file.with_file_name(format!("{}-local.config", profile.name)))); // What menuconfig writes beside a profile.
    let kernel = &profile.kernel;
    inputs.extend(kernel.boot_config.iter().chain(&kernel.module_key).chain(&kernel.overlay).cloned());
    inputs.extend(profile.signing_keys().flat_map(|key| [key.key, key.certificate]));
    inputs.extend(profile.service.iter().flat_map(|service| Arch::ALL.map(|arch| service.file(arch))).flatten());
    inputs.extend(profile.outputs.iter().flat_map(|output| output.kind.sources(output)));
    inputs.extend(profile.root.files.iter().cloned());
    inputs.extend(profile.users.iter().flat_map(|user| &user.authorized_keys).filter_map(|keys| match keys {
        Keys::File(path) => Some(path.clone()),
        Keys::Line(_) => None,
    }));
    for list in &profile.root.lists {
        inputs.push(list.clone());
        inputs.extend(disk::list::locations(list, cargo::variable)?);
    }
    for package in &profile.root.packages {
        if let Package::Dir(dir) = package {
            inputs.push(dir.clone());
            inputs.extend(outside::of(dir, &fs::read_to_string(dir.join("build.sh"))?)?);
        }
    }
    inputs.retain(|path| path.exists()); // A path that is not there makes cargo run the script each time.
    Ok(inputs)
}
