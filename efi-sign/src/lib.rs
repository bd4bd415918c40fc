//! Signs EFI programs as UEFI's Secure Boot wants it: a PKCS#7 signature over a digest of the program, in the certificate
//! table at the program's end.
//!
//! Sources of the formats: UEFI 2.10, section 32.2.4 (WIN_CERTIFICATE) and 32.3 (signing); "Windows Authenticode Portable
//! Executable Signature Format" 1.0, Microsoft 2008 (the digest and the SPC types); RFC 2315 (PKCS#7).

mod asn1;
mod pe;
mod pkcs7;
mod signer;

use anyhow::{Context as _, Result, ensure};

pub use pe::Program;
pub use signer::Signer;

/// Signs an EFI program. The same program, key and certificate give the same bytes: there is no time in the signature.
///
/// # Errors
/// Bytes that are no EFI program ([`Program::parse`]), one that has a signature, and an RSA key that is too small.
pub fn sign(program: &[u8], signer: &Signer) -> Result<Vec<u8>> {
    let mut bytes = program.to_vec();
    let unsigned = Program::parse(&bytes).context("it is no EFI program that can be signed")?;
    ensure!(!unsigned.is_signed(), "it is signed\nhint: sign the program as it was linked");
    // Certificates begin at a multiple of 8 bytes. The padding is a part of the program from now on.
    bytes.resize(bytes.len().next_multiple_of(pe::ALIGNMENT), 0);
    let digest = Program::parse(&bytes)?.digest();
    pe::append(&bytes, &pkcs7::signed_data(&digest, signer)?)
}
