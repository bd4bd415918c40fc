//! The key that updates are signed with: Ed25519, in a file of PEM. The build needs the public part alone, which goes into the image.
//! It makes a key of its own once a store, outside of all results and for its owner alone, or takes the user's.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use build_support::{Arch, Dirs, fs, stage};
use ed25519_compact::{KeyPair, PublicKey, Seed};

use crate::profile::Profile;

/// The key's file: the user's, or the store's own, which is made when it is first asked for. None for a profile that takes no
/// updates.
///
/// # Errors
/// When the store's own cannot be made.
pub fn file(dirs: &Dirs, profile: &Profile) -> Result<Option<PathBuf>> {
    match (profile.has("updater"), &profile.root.update_key) {
        (false, _) => Ok(None),
        (true, Some(file)) => Ok(Some(file.clone())),
        (true, None) => own(dirs).map(Some),
    }
}

/// `/etc/updater.conf` of a profile; none for one that takes no updates.
///
/// # Errors
/// Those of [`file()`] and [`public`].
pub fn configuration(dirs: &Dirs, arch: Arch, profile: &Profile) -> Result<Option<String>> {
    let Some(file) = file(dirs, profile)? else { return Ok(None) };
    let digits: String = public(&file)?.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Some(format!("key = {digits}\nproduct = {}\n", product(arch, profile))))
}

/// By what an update says for which system it is.
pub fn product(arch: Arch, profile: &Profile) -> String {
    format!("{} {arch}", profile.root.update_product.as_ref().unwrap_or(&profile.name))
}

/// The public key in a file with it or with the private one.
///
/// # Errors
/// A file without a key of this kind.
pub fn public(file: &Path) -> Result<PublicKey> {
    let text = fs::read_to_string(file)?;
    match text.contains("PRIVATE KEY-----") {
        true => Ok(pair(file)?.pk),
        false => PublicKey::from_pem(&text).map_err(|_| refused(file)),
    }
}

/// Both keys, in a file with the private one.
///
/// # Errors
/// A file without a private key of this kind.
pub fn pair(file: &Path) -> Result<KeyPair> {
    let text = fs::read_to_string(file)?;
    if text.contains("ENCRYPTED") {
        bail!("the key {} has a passphrase\nhint: `openssl pkey -in FILE` writes it without", file.display());
    }
    if !text.contains("PRIVATE KEY-----") {
        bail!("{} holds no private key\nhint: updates are signed where that one is", file.display());
    }
    KeyPair::from_pem(&text).map_err(|_| refused(file))
}

fn refused(file: &Path) -> anyhow::Error {
    anyhow!(
        "{} holds no Ed25519 key\nhint: `openssl genpkey -algorithm ed25519 -out update.pem` makes one",
        file.display()
    )
}

/// The store's own key.
fn own(dirs: &Dirs) -> Result<PathBuf> {
    let dir = dirs.home.join("keys");
    let file = dir.join("updates.pem");
    dirs.create()?;
    let _lock = stage::lock(dirs, "update-key")?;
    if file.exists() {
        return Ok(file);
    }
    fs::create_dir_all(&dir)?;
    fs::set_permissions(&dir, Permissions::from_mode(0o700))?;
    let mut seed = [0; 32];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut seed))
        .context("cannot read /dev/urandom")?;
    let pair = KeyPair::from_seed(Seed::new(seed));
    let new = dir.join("updates.new");
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    out.write_all(pair.to_pem().as_bytes())?;
    fs::rename(&new, &file)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use build_support::Cmd;

    use super::*;

    fn dirs(dir: &Path) -> Dirs {
        Dirs { home: dir.join("home"), target: dir.join("target"), root: dir.into() }
    }

    fn profile(dirs: &Dirs, root: &str) -> Result<Profile> {
        let text = format!(
            "description = \"x\"\n[root]\n{root}\n[kernel]\nfragments = []\n[[output]]\nkind = \"disk\"\nsize = \"64 MiB\"\n"
        );
        fs::create_dir_all(dirs.root.join("image/profiles"))?;
        fs::write(dirs.root.join("own.toml"), text)?;
        Profile::read(dirs, "./own.toml")
    }

    #[test]
    fn a_store_has_one_key_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = dirs(dir.path());
        let without = profile(&dirs, "").unwrap();
        assert_eq!((file(&dirs, &without).unwrap(), dirs.home.join("keys").exists()), (None, false));
        let with = profile(&dirs, "packages = [\"init\", \"updater\"]").unwrap();
        let key = file(&dirs, &with).unwrap().unwrap();
        assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let first = configuration(&dirs, Arch::X86_64, &with).unwrap().unwrap();
        assert_eq!(configuration(&dirs, Arch::X86_64, &with).unwrap().unwrap(), first);
        assert!(first.starts_with("key = ") && first.ends_with("\nproduct = own x86_64\n"), "{first}");
        let renamed = profile(&dirs, "packages = [\"init\", \"updater\"]\nupdate-product = \"cellar\"").unwrap();
        assert_eq!(product(Arch::Arm64, &renamed), "cellar arm64");
        for line in ["update-key = \"own.toml\"", "update-product = \"x\""] {
            assert!(profile(&dirs, line).unwrap_err().to_string().contains("has no `updater`"));
        }
    }

    #[test]
    fn keys_of_openssl_are_taken() {
        let dir = tempfile::tempdir().unwrap();
        let [private, public_only] = ["private.pem", "public.pem"].map(|name| dir.path().join(name));
        let openssl =
            |words: &[&str], out: &Path| Cmd::new("openssl").args(words).arg("-out").arg(out).run("make").unwrap();
        openssl(&["genpkey", "-algorithm", "ed25519"], &private);
        openssl(&["pkey", "-pubout", "-in", private.to_str().unwrap()], &public_only);
        assert_eq!(public(&private).unwrap(), public(&public_only).unwrap());
        assert_eq!(pair(&private).unwrap().pk, public(&public_only).unwrap());
        assert!(pair(&public_only).unwrap_err().to_string().contains("holds no private key"));
        openssl(&["genpkey", "-algorithm", "rsa"], &private);
        assert!(public(&private).unwrap_err().to_string().contains("hint: `openssl genpkey"));
        fs::write(&private, "no key").unwrap();
        assert!(public(&private).is_err());
    }
}
