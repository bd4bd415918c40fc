//! Keys and certificates in files of PEM. openssl checks them and makes keys.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use build_support::{Cmd, digest, fs, host};

/// Refuses a machine without openssl.
///
/// # Errors
/// When it is not installed; the message has `purpose`, what openssl does.
pub fn need_openssl(purpose: &str) -> Result<()> {
    ensure!(
        host::find_program("openssl").is_some(),
        "`openssl` is not installed; it {purpose}\nhint: install it (Debian: openssl)"
    );
    Ok(())
}

/// Makes a private key of RSA, for its owner alone, and a certificate of it. The two may be one file. `request` has the settings
/// of openssl-req(1), `kind` the algorithm (`rsa:4096`) and `digest` the option that names the digest.
///
/// # Errors
/// What openssl refuses, and files that cannot be written.
pub fn make_pair(request: &str, kind: &str, digest: &str, key: &Path, certificate: &Path) -> Result<()> {
    let settings = key.with_added_extension("cnf");
    fs::write(&settings, request)?;
    Cmd::new("openssl")
        .args(["req", "-new", "-x509", "-batch", "-nodes", "-utf8", digest, "-newkey", kind])
        .args(["-days", "36500"]) // Neither kernel nor firmware looks at a clock.
        .arg("-config")
        .arg(&settings)
        .args(["-outform", "PEM", "-out"])
        .arg(certificate)
        .arg("-keyout")
        .arg(key)
        .run("make a key")?;
    fs::set_permissions(key, Permissions::from_mode(0o600))?;
    Ok(fs::remove_file(settings)?)
}

/// Refuses a text without a private key that can be used unasked.
///
/// # Errors
/// No private key, and one with a passphrase.
pub fn check_private_key(text: &str) -> Result<()> {
    if text.contains("ENCRYPTED") {
        bail!("it has a passphrase, which nobody types during a build");
    }
    ensure!(text.contains("PRIVATE KEY-----"), "it has no private key");
    Ok(())
}

/// The digest of the first certificate in a text: what the key of a stage has of a key.
///
/// # Errors
/// A text without a certificate.
pub fn certificate_digest(text: &str) -> Result<String> {
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    let inside = text.split_once(begin).and_then(|(_, rest)| Some(rest.split_once(end)?.0.trim()));
    Ok(digest::text(inside.context("it has no certificate")?))
}

/// Checks that a private key and a certificate belong together and are of RSA. The two may be one file.
///
/// # Errors
/// Files that openssl cannot read, two that do not belong together, and another kind of key.
pub fn check_pair(key: &Path, certificate: &Path) -> Result<()> {
    let ask = |args: &[&str], file: &Path| {
        Cmd::new("openssl").args(args).arg("-in").arg(file).read("ask openssl for a public key")
    };
    ensure!(
        ask(&["pkey", "-pubout"], key)? == ask(&["x509", "-noout", "-pubkey"], certificate)?,
        "the certificate is of another private key\nhint: name the two that belong together"
    );
    let kind = ask(&["x509", "-noout", "-text"], certificate)?;
    ensure!(
        kind.contains("Public Key Algorithm: rsaEncryption"),
        "it is no RSA key, and kernel and firmware check RSA\nhint: openssl req -new -x509 -nodes -newkey rsa:4096 ..."
    );
    Ok(())
}
