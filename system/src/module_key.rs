//! The key that signs kernel modules: a file of PEM with the private key and its certificate. The build makes one a store, outside
//! of all results and for its owner alone, or takes the user's. The private part is read by the kernel's `sign-file` and by
//! openssl, and reaches no key of a stage, no log and no image.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use build_support::{Cmd, Dirs, digest, fs, host, stage};

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
    ensure!(
        host::find_program("openssl").is_some(),
        "`openssl` is not installed; it makes and checks the key of kernel modules\nhint: install it (Debian: openssl)"
    );
    let file = match &profile.kernel.module_key {
        Some(file) => file.clone(),
        None => own(dirs)?,
    };
    let wanted = || format!("the key {} cannot sign kernel modules", file.display());
    let text = fs::read_to_string(&file)?;
    let public = digest::text(certificate(&text).with_context(wanted)?);
    check_pair(&file).with_context(wanted)?;
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
    let (settings, new) = (dir.join("modules.cnf"), dir.join("modules.new"));
    fs::write(&settings, REQUEST)?;
    Cmd::new("openssl")
        .args(["req", "-new", "-x509", "-batch", "-nodes", "-utf8", "-sha512", "-newkey", "rsa:4096"])
        .args(["-days", "36500"]) // The kernel looks at no clock when it checks a module.
        .arg("-config")
        .arg(&settings)
        .args(["-outform", "PEM", "-out"])
        .arg(&new)
        .arg("-keyout")
        .arg(&new)
        .run("make a key for kernel modules")?;
    fs::set_permissions(&new, Permissions::from_mode(0o600))?;
    fs::rename(&new, &file)?;
    fs::remove_file(settings)?;
    Ok(file)
}

/// The certificate in a file of PEM.
fn certificate(text: &str) -> Result<&str> {
    const HINT: &str = "hint: name a file of PEM that has both, without a passphrase: `cat key.pem cert.pem >both.pem`";
    if text.contains("ENCRYPTED") {
        bail!("it has a passphrase, which nobody types during a build\n{HINT}");
    }
    ensure!(text.contains("PRIVATE KEY-----"), "it has no private key\n{HINT}");
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    let inside = text.split_once(begin).and_then(|(_, rest)| Some(rest.split_once(end)?.0.trim()));
    inside.with_context(|| format!("it has no certificate\n{HINT}"))
}

/// Checks that the two belong together and are of the kind that the kernel has code for (image/kernel/modules-signed.config).
fn check_pair(file: &Path) -> Result<()> {
    let ask = |args: &[&str]| Cmd::new("openssl").args(args).arg("-in").arg(file).read("ask openssl for a public key");
    let key = ask(&["pkey", "-pubout"])?;
    ensure!(
        key == ask(&["x509", "-noout", "-pubkey"])?,
        "the certificate is of another private key\nhint: put the two that belong together into one file"
    );
    let kind = ask(&["x509", "-noout", "-text"])?;
    ensure!(
        kind.contains("Public Key Algorithm: rsaEncryption"),
        "it is no RSA key, and the kernel checks RSA alone\nhint: openssl req -new -x509 -nodes -newkey rsa:4096 ..."
    );
    Ok(())
}

#[cfg(test)]
mod tests {
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
