//! Signed EFI programs: the key `sign` of an output, and the stage that signs the kernel. The private key is read by openssl
//! and `efi-sign` alone, and reaches no key of a stage, no log and no result.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use build_support::{Arch, Built, Dirs, Stage, fs};

use super::{KernelFiles, Loaders, Output};
use crate::document::{Place, Setting, Value};
use crate::pem;
use crate::profile::{Profile, RootKind, beside};
use crate::schema::{Default, Form, Key, key};

/// The row of the schema, for kinds that hold an EFI program.
pub const SIGN: Key = key(
    "sign",
    Form::Files(&["key", "cert"]),
    Default::Absent("not signed"),
    "signs the EFI program for Secure Boot: files of PEM from this one's directory, with a private key of RSA and its certificate. The kernel of a signed output takes no command line and no initramfs from outside (docs/secure-boot.md)",
);

/// The signed programs in the stage's result.
const PROGRAM: &str = "kernel.efi";
const LOADER: &str = "loader.efi";

/// A key with its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey {
    /// The private key's file.
    pub key: PathBuf,
    /// The certificate's file.
    pub certificate: PathBuf,
    /// Where it was stated.
    pub place: Place,
}

impl Output {
    /// The key that signs its EFI program, if any.
    pub fn signing_key(&self) -> Option<SigningKey> {
        let Setting { value: Value::Files(files), place } = self.settings.get(SIGN.name)? else { return None };
        let path = |name| Some(beside(files.get(name)?));
        Some(SigningKey { key: path("key")?, certificate: path("cert")?, place: place.clone() })
    }
}

impl Profile {
    /// The keys of all its outputs.
    pub fn signing_keys(&self) -> impl Iterator<Item = SigningKey> {
        self.outputs.iter().filter_map(Output::signing_key)
    }

    /// Whether any of its outputs is written with the loaders of `image/loader/`.
    pub fn needs_loader(&self, arch: Arch) -> bool {
        self.outputs.iter().any(|output| output.kind.needs_loader(arch))
    }

    /// Whether any of its outputs is signed. Its kernel then takes nothing from outside.
    pub fn is_signed(&self) -> bool {
        self.signing_keys().next().is_some()
    }
}

impl SigningKey {
    /// Checks key and certificate before anything is compiled, and returns the certificate's digest.
    ///
    /// # Errors
    /// A machine without openssl; files that are no PEM, or do not belong together. The message has the place in the
    /// profile.
    pub fn check(&self) -> Result<String> {
        pem::need_openssl("checks the keys that sign EFI programs")?;
        let SigningKey { key, certificate, place } = self;
        let about = |file: &PathBuf| format!("{place}: `sign` names {}, which cannot sign", file.display());
        const HINT: &str = "hint: `cargo bloomery keys DIR` makes a key and its certificate";
        let with_hint = |error: anyhow::Error| anyhow::anyhow!("{error}\n{HINT}");
        let text = fs::read_to_string(key).and_then(|text| Ok((text, fs::read_to_string(certificate)?)));
        let (private, public) = text.with_context(|| format!("{place}: `sign` names a file that is no PEM"))?;
        pem::check_private_key(&private).map_err(with_hint).with_context(|| about(key))?;
        let digest = pem::certificate_digest(&public).map_err(with_hint).with_context(|| about(certificate))?;
        pem::check_pair(key, certificate).with_context(|| about(certificate))?;
        Ok(digest)
    }
}

/// Refuses files that are not there, and a system whose signed kernel would lack its root file system.
///
/// # Errors
/// As said, with the place in the profile.
pub fn check(profile: &Profile) -> Result<()> {
    for SigningKey { key, certificate, place } in profile.signing_keys() {
        for file in [&key, &certificate] {
            ensure!(
                file.is_file(),
                "{place}: `sign` names {}, which is no file\nhint: a path counts from the directory of the profile; `cargo bloomery keys DIR` makes a key",
                file.display()
            );
        }
        ensure!(
            profile.root.kind == RootKind::Ext4 || profile.root.embed,
            "{place}: a signed kernel takes no initramfs from outside\nhint: add `embed = true` below [root], so that it is inside and signed as well"
        );
    }
    Ok(())
}

/// The EFI programs of an output before they are signed.
pub struct Unsigned<'a> {
    /// The kernel.
    pub kernel: &'a KernelFiles,
    /// The loaders, for an output with one. The one that gives the kernel nothing is signed.
    pub loaders: Option<&'a Loaders>,
}

/// Leaves the EFI programs with a signature, once for all outputs of a profile with the same key. `signer` has the program
/// `efi-sign`.
///
/// # Errors
/// As [`SigningKey::check`], and a kernel that is no EFI program.
pub fn build(
    dirs: &Dirs,
    arch: Arch,
    name: &str,
    key: &SigningKey,
    Unsigned { kernel, loaders }: &Unsigned,
    signer: &Built,
) -> Result<Built> {
    let digest = key.check()?;
    let mut stage = Stage::new(dirs, "signed", arch)
        .instance(name)
        .recipe("outputs/sign.rs", include_str!("sign.rs"))
        .input("certificate", &digest)
        .needs(&kernel.built)
        .needs(signer);
    let mut programs = vec![(kernel.efi(), PROGRAM)];
    if let Some(loaders) = loaders {
        stage = stage.needs(&loaders.built);
        programs.push((loaders.efi_alone(), LOADER));
    }
    stage.build(|job| {
        programs.iter().try_for_each(|(from, to)| {
            job.cmd(signer.dir.join("efi-sign"))
                .arg(&key.key)
                .arg(&key.certificate)
                .arg(from)
                .arg(job.out.join(to))
                .run(&format!("sign {to}"))
        })
    })
}

/// The kernel that [`build`] left.
pub fn program(signed: &Built) -> PathBuf {
    signed.dir.join(PROGRAM)
}

/// The loader that [`build`] left.
pub fn loader(signed: &Built) -> PathBuf {
    signed.dir.join(LOADER)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use build_support::Cmd;

    use super::*;

    const EFI: &str = "[root]\nkind = \"initramfs\"\nembed = true\n[[output]]\nkind = \"efi\"\nsign = { key = \"my.key\", cert = \"my.crt\" }\n";

    fn read(dir: &Path, text: &str) -> Result<Profile> {
        let dirs = Dirs { home: dir.join("home"), target: dir.join("target"), root: dir.into() };
        fs::create_dir_all(dir.join("image/profiles"))?;
        fs::write(dir.join("own.toml"), format!("description = \"x\"\n[kernel]\nfragments = []\n{text}"))?;
        Profile::read(&dirs, "./own.toml")
    }

    fn make_key(dir: &Path, name: &str, kind: &[&str]) {
        let file = |suffix: &str| dir.join(format!("{name}.{suffix}"));
        let make = Cmd::new("openssl").args(["req", "-new", "-x509", "-batch", "-nodes", "-subj", "/CN=x"]);
        let make = make.arg("-newkey").args(kind).arg("-keyout").arg(file("key")).arg("-out").arg(file("crt"));
        make.run("make a key").unwrap();
    }

    #[test]
    fn every_fault_has_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let error = format!("{:#}", read(dir, EFI).unwrap_err());
        assert!(error.contains("own.toml:9: `sign` names ") && error.contains("my.key, which is no file"), "{error}");

        make_key(dir, "my", &["rsa:2048"]);
        make_key(dir, "other", &["rsa:2048"]);
        make_key(dir, "curve", &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        let profile = read(dir, EFI).unwrap();
        let signing: Vec<SigningKey> = profile.signing_keys().collect();
        assert!(profile.is_signed() && signing[0].check().is_ok(), "{signing:?}");
        let error = format!("{:#}", read(dir, &EFI.replace("embed = true\n", "")).unwrap_err());
        assert!(
            error.contains("own.toml:8: a signed kernel takes no initramfs") && error.contains("hint: "),
            "{error}"
        );

        fs::write(dir.join("binary.key"), [0x30, 0x82, 0xff, 0xfe]).unwrap();
        fs::write(dir.join("locked.key"), "-----BEGIN ENCRYPTED PRIVATE KEY-----\n").unwrap();
        for (change, part) in [
            (("my.crt", "other.crt"), "other.crt, which cannot sign: the certificate is of another private key"),
            (("my.", "curve."), "it is no RSA key"),
            (("my.crt", "my.key"), "my.key, which cannot sign: it has no certificate\nhint: `cargo bloomery keys"),
            (("my.key", "my.crt"), "my.crt, which cannot sign: it has no private key\nhint: `cargo bloomery keys"),
            (("my.key", "locked.key"), "it has a passphrase"),
            (("my.key", "binary.key"), "`sign` names a file that is no PEM"),
        ] {
            let profile = read(dir, &EFI.replace(change.0, change.1)).unwrap();
            let error = format!("{:#}", profile.signing_keys().next().unwrap().check().unwrap_err());
            assert!(error.contains("own.toml:9: ") && error.contains(part), "`{part}` is not in: {error}");
        }
    }

    /// A profile that signs what the extended one does not has a kernel of its own.
    #[test]
    fn a_signed_kernel_is_another_variant() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        make_key(dir, "my", &["rsa:2048"]);
        read(dir, EFI).unwrap();
        let base = "description = \"x\"\n[root]\nkind = \"initramfs\"\nembed = true\n[kernel]\nfragments = []\n[[output]]\nkind = \"efi\"\n";
        fs::write(dir.join("image/profiles/base.toml"), base).unwrap();
        let variant = |line: &str| {
            let text = format!("extends = \"base\"\n[[output]]\nname = \"efi\"\n{line}\n");
            fs::write(dir.join("own.toml"), text).unwrap();
            let dirs = Dirs { home: dir.join("home"), target: dir.join("target"), root: dir.into() };
            Profile::read(&dirs, "./own.toml").unwrap().kernel.variant
        };
        assert_eq!(variant("file = \"x\""), "base");
        assert_eq!(variant("sign = { key = \"my.key\", cert = \"my.crt\" }"), "own");
    }
}
