//! Keys for Secure Boot, and flashes of virtual machines that know them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use build_support::{Arch, Cmd, fs, tree};

use crate::machine::Firmware;
use crate::pem;
use crate::variables::Flash;

/// The settings of openssl-req(1).
const REQUEST: &str = "[ req ]\ndistinguished_name = name\nprompt = no\nstring_mask = utf8only\nx509_extensions = extensions\n\
    [ name ]\nCN = Secure Boot\n\
    [ extensions ]\nbasicConstraints=critical,CA:FALSE\nkeyUsage=digitalSignature\nsubjectKeyIdentifier=hash\n";

/// A directory with a key.
#[derive(Clone, Debug)]
pub struct Keys {
    dir: PathBuf,
}

impl Keys {
    /// The keys of a directory. One that is there stays; else one is made.
    ///
    /// # Errors
    /// A machine without openssl, files that cannot be written, a key without certificate, and a pair that cannot sign.
    pub fn make(dir: &Path) -> Result<Keys> {
        pem::need_openssl("makes and checks keys")?;
        fs::create_dir_all(dir)?;
        let keys = Keys { dir: dir.into() };
        let (key, certificate) = (keys.key(), keys.certificate());
        if !key.exists() {
            ensure!(
                !certificate.exists(),
                "{} is there without its key {}\nhint: take another directory, or put the key there",
                certificate.display(),
                key.display()
            );
            let new = key.with_added_extension("new"); // A killed openssl leaves no half key.
            pem::make_pair(REQUEST, "rsa:2048", "-sha256", &new, &certificate)?;
            fs::rename(new, &key)?;
        }
        pem::check_pair(&key, &certificate).with_context(|| format!("the keys in {} cannot sign", dir.display()))?;
        let encoded = Cmd::new("openssl").args(["x509", "-outform", "DER", "-in"]).arg(certificate);
        encoded.arg("-out").arg(keys.encoded_certificate()).run("encode the certificate")?;
        Ok(keys)
    }

    /// The private key, PEM.
    pub fn key(&self) -> PathBuf {
        self.dir.join("secure-boot.key")
    }

    /// Its certificate, PEM.
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("secure-boot.crt")
    }

    /// Its certificate in DER, which the setup of a real machine's firmware takes.
    pub fn encoded_certificate(&self) -> PathBuf {
        self.dir.join("secure-boot.cer")
    }

    /// The flash of a virtual machine of an architecture.
    pub fn variables(&self, arch: Arch) -> PathBuf {
        self.dir.join(format!("{arch}-vars.fd"))
    }

    /// A flash with the certificate as PK, KEK and db, and Secure Boot switched on.
    ///
    /// # Errors
    /// A firmware whose variables are in another format.
    pub fn flash(&self, firmware: &Firmware) -> Result<Flash> {
        let template = &firmware.variables;
        let mut flash =
            Flash::read(fs::read(template)?).with_context(|| format!("cannot use {}", template.display()))?;
        flash.enroll(&fs::read(self.encoded_certificate())?)?;
        Ok(flash)
    }

    /// Writes [`Keys::flash`] as [`Keys::variables`], in place of what was there.
    ///
    /// # Errors
    /// As [`Keys::flash`], and a file that cannot be written.
    pub fn write_variables(&self, arch: Arch, firmware: &Firmware) -> Result<PathBuf> {
        let file = self.variables(arch);
        tree::write_atomically(&file, self.flash(firmware)?.bytes())?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("my keys");
        let keys = Keys::make(&dir).unwrap();
        let key = fs::read(keys.key()).unwrap();
        assert_eq!(keys.key().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_file(keys.encoded_certificate()).unwrap();
        Keys::make(&dir).unwrap();
        assert_eq!(fs::read(keys.key()).unwrap(), key);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 3);

        fs::rename(keys.key(), dir.join("away")).unwrap();
        let error = format!("{:#}", Keys::make(&dir).unwrap_err());
        assert!(error.contains("secure-boot.crt is there without its key") && error.contains("hint: "), "{error}");
        fs::remove_file(keys.certificate()).unwrap();
        Keys::make(&dir).unwrap();
        fs::rename(dir.join("away"), keys.key()).unwrap();
        let error = format!("{:#}", Keys::make(&dir).unwrap_err());
        assert!(error.contains("my keys cannot sign: the certificate is of another"), "{error}");
    }
}
