//! The key that signs kernel modules: a file of PEM with the private key and its certificate. The build makes one a store, outside
//! of all results and for its owner alone, or takes the user's. The private part is read by the kernel's `sign-file` and by
//! openssl, and reaches no key of a stage, no log and no image.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use build_support::{Dirs, fs, stage};

use crate::pem;
use crate::profile::{Modules, Profile};

/// A key.
#[derive(Clone, Debug)]
pub struct ModuleKey {
    /// Its file.
    pub file: PathBuf,
    /// The digest of its certificate.
    pub public: String,
}

/// The settings of openssl-req(1) for a key of our own: those of the kernel (certs/default_x509.genkey), with SHA-512.
const REQUEST: &str = "[ req ]\ndistinguished_name = name\nprompt = no\nstring_mask = utf8only\nx509_extensions = extensions\n\
    [ name ]\nCN = Kernel modules of this store\n\
    [ extensions ]\nbasicConstraints=critical,CA:FALSE\nkeyUsage=digitalSignature\nsubjectKeyIdentifier=hash\n\
    authorityKeyIdentifier=keyid\n";

/// The key of a profile; none for one whose modules are not signed.
///
/// # Errors
/// A file that holds no usable key, and a machine without openssl.
pub fn of(dirs: &Dirs, profile: &Profile) -> Result<Option<ModuleKey>> {
    if profile.kernel.modules != Modules::Signed {
        return Ok(None);
    }
    pem::need_openssl("makes and checks the key of kernel modules")?;
    let file = match &profile.kernel.module_key {
        Some(file) => file.clone(),
        None => own(dirs)?,
    };
    let public = check(&file).with_context(|| format!("the key {} cannot sign kernel modules", file.display()))?;
    Ok(Some(ModuleKey { file, public }))
}

/// The store's own key, made when it is first asked for.
fn own(dirs: &Dirs) -> Result<PathBuf> {
    let dir = dirs.home.join("keys");
    let file = dir.join("modules.pem");
    dirs.create()?;
    let _lock = stage::lock(dirs, "module-key")?;
    if file.exists() {
        return Ok(file);
    }
    fs::create_dir_all(&dir)?;
    fs::set_permissions(&dir, Permissions::from_mode(0o700))?;
    let new = dir.join("modules.new");
    pem::make_pair(REQUEST, "rsa:4096", "-sha512", &new, &new)?;
    fs::rename(&new, &file)?;
    Ok(file)
}

/// The digest of the certificate in a file with both, which must be of the kind that the kernel has code for
/// (image/kernel/modules-signed.config).
fn check(file: &Path) -> Result<String> {
    const HINT: &str = "hint: name a file of PEM that has both, without a passphrase: `cat key.pem cert.pem >both.pem`";
    let text = fs::read_to_string(file)?;
    let public = pem::check_private_key(&text).and_then(|()| pem::certificate_digest(&text));
    let public = public.map_err(|error| anyhow::anyhow!("{error}\n{HINT}"))?;
    pem::check_pair(file, file)?;
    Ok(public)
}

#[cfg(test)]
mod tests {
    use build_support::Cmd;

    use super::*;

    fn dirs(dir: &Path) -> Dirs {
        Dirs { home: dir.join("home"), target: dir.join("target"), root: dir.into() }
    }

    fn profile(dirs: &Dirs, lines: &str) -> Profile {
        let text = format!(
            "description = \"x\"\n[kernel]\nfragments = []\n{lines}\n[[output]]\nkind = \"disk\"\nsize = \"64 MiB\"\n"
        );
        fs::create_dir_all(dirs.root.join("image/profiles")).unwrap();
        fs::write(dirs.root.join("own.toml"), text).unwrap();
        Profile::read(dirs, "./own.toml").unwrap()
    }

    #[test]
    fn a_store_has_one_key_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = dirs(dir.path());
        assert!(of(&dirs, &profile(&dirs, "modules = \"plain\"")).unwrap().is_none());
        let signed = profile(&dirs, "modules = \"signed\"");
        let first = of(&dirs, &signed).unwrap().unwrap();
        assert_eq!(first.file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dirs.home.join("keys")).unwrap().count(), 1);
        assert_eq!(of(&dirs, &signed).unwrap().unwrap().public, first.public);
        let text = Cmd::new("openssl").args(["x509", "-noout", "-text", "-in"]).arg(&first.file).read("look").unwrap();
        assert!(text.contains("4096 bit") && text.contains("sha512WithRSAEncryption"), "{text}");

        // The same one as the user's own, and parts of it.
        let pem = fs::read_to_string(&first.file).unwrap();
        let at = pem.find("-----BEGIN CERT").unwrap();
        let other = "openssl req -new -x509 -batch -nodes -newkey rsa:2048 -subj /CN=x -keyout";
        let mut make = Cmd::new("openssl");
        for word in other.split(' ').skip(1) {
            make = make.arg(word);
        }
        make.arg(dir.path().join("other.key")).arg("-out").arg(dir.path().join("other.crt")).run("make").unwrap();
        let strange = pem[..at].to_string() + &fs::read_to_string(dir.path().join("other.crt")).unwrap();
        let locked = pem.replace("BEGIN PRIVATE", "BEGIN ENCRYPTED PRIVATE");
        let own = dirs.root.join("key.pem");
        fs::write(&own, &pem).unwrap();
        let with_key = profile(&dirs, "modules = \"signed\"\nmodule-key = \"key.pem\"");
        assert_eq!(of(&dirs, &with_key).unwrap().unwrap().public, first.public);
        for (text, part) in [
            (&pem[..at], "no certificate"),
            (&pem[at..], "no private key"),
            (&locked, "passphrase"),
            (&strange, "of another private key"),
        ] {
            fs::write(&own, text).unwrap();
            let error = format!("{:#}", of(&dirs, &with_key).unwrap_err());
            assert!(error.contains(part) && error.contains("key.pem") && error.contains("hint: "), "{part}: {error}");
        }
    }
}
