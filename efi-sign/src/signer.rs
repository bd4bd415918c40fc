//! The key that signs, and its certificate.

use anyhow::{Context as _, Result, bail, ensure};
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::der::asn1::AnyRef;
use rsa::pkcs8::der::{Decode as _, Encode as _, Reader as _, SliceReader, Tag, Tagged as _, pem};
use rsa::pkcs8::{DecodePrivateKey as _, SubjectPublicKeyInfoRef};
use rsa::sha2::Sha256;
use rsa::signature::{SignatureEncoding as _, Signer as _};
use rsa::{PrivateKey, PublicKey};

/// A private key with the certificate of its public half.
pub struct Signer {
    key: SigningKey<Sha256>,
    certificate: Vec<u8>,
    issuer: Vec<u8>,
    serial: Vec<u8>,
}

impl Signer {
    /// Takes the texts of two files of PEM: a private key of RSA (PKCS#8 or PKCS#1), and an X.509 certificate. Text around
    /// the blocks is passed over.
    ///
    /// # Errors
    /// A text without such a block, a key with a passphrase, one that is not of RSA, and a certificate of another key.
    pub fn from_pem(key: &str, certificate: &str) -> Result<Signer> {
        let key = private_key(key).context("the private key cannot be used")?;
        let block = block(certificate, "CERTIFICATE").context("the certificate cannot be used: it is no PEM")?;
        let (_, certificate) = pem::decode_vec(block.as_bytes()).context("the certificate cannot be used")?;
        let (issuer, serial, public) = fields(&certificate).context("the certificate cannot be used")?;
        ensure!(key.to_public_key() == public, "the certificate is of another key");
        Ok(Signer { key: SigningKey::new(key), certificate, issuer, serial })
    }

    /// The signature of PKCS#1 v1.5 over a message's SHA-256. UEFI knows no other padding.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        Ok(self.key.try_sign(message).context("the key cannot sign")?.to_vec())
    }

    /// The certificate in DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The issuer's name in DER, which tells the certificate together with [`Signer::serial`].
    pub(crate) fn issuer(&self) -> &[u8] {
        &self.issuer
    }

    /// The serial number in DER.
    pub(crate) fn serial(&self) -> &[u8] {
        &self.serial
    }
}

fn private_key(text: &str) -> Result<PrivateKey> {
    if text.contains("ENCRYPTED") {
        bail!("it has a passphrase");
    }
    if let Some(block) = block(text, "PRIVATE KEY") {
        return PrivateKey::from_pkcs8_pem(block).context("it is no RSA key in PKCS#8");
    }
    let block = block(text, "RSA PRIVATE KEY").context("it is no PEM with a private key")?;
    PrivateKey::from_pkcs1_pem(block).context("it is no RSA key in PKCS#1")
}

/// A block of PEM with its lines of begin and end.
fn block<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let text = &text[text.find(&begin)?..];
    text.find(&end).map(|at| &text[..at + end.len()])
}

/// Issuer and serial number in DER, and the public key (RFC 5280, 4.1).
fn fields(certificate: &[u8]) -> Result<(Vec<u8>, Vec<u8>, PublicKey)> {
    let outer = AnyRef::from_der(certificate)?;
    let to_be_signed: AnyRef = SliceReader::new(outer.value())?.decode()?;
    let mut reader = SliceReader::new(to_be_signed.value())?;
    let mut next = || reader.decode::<AnyRef>();
    let mut serial = next()?;
    if serial.tag() != Tag::Integer {
        serial = next()?; // The first was the version.
    }
    let (_algorithm, issuer, _validity, _subject, public) = (next()?, next()?, next()?, next()?, next()?);
    let public = public.to_der()?;
    let public = PublicKey::try_from(SubjectPublicKeyInfoRef::from_der(&public)?).context("it is not of an RSA key")?;
    Ok((issuer.to_der()?, serial.to_der()?, public))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_in_other_text() {
        let text = "Certificate:\n  Data\n-----BEGIN A-----\nQUJD\n-----END A-----\n-----BEGIN B-----\n";
        assert_eq!(block(text, "A"), Some("-----BEGIN A-----\nQUJD\n-----END A-----"));
        assert_eq!((block(text, "B"), block(text, "C")), (None, None));
    }
}
