//! The signature: SignedData of PKCS#7 (RFC 2315) around what Authenticode signs, SpcIndirectDataContent.

use anyhow::Result;
use rsa::sha2::{Digest as _, Sha256};

use crate::asn1::{
    BIT_STRING, INTEGER, OCTET_STRING, SEQUENCE, algorithm, all, context, identifier, implicit, set, value,
};
use crate::signer::Signer;

/// Identifiers: NIST's SHA-256, RSA's own of PKCS#1, PKCS#7 and PKCS#9, and Microsoft's of Authenticode.
const SHA256: &[u32] = &[2, 16, 840, 1, 101, 3, 4, 2, 1];
const RSA_ENCRYPTION: &[u32] = &[1, 2, 840, 113549, 1, 1, 1];
const SIGNED_DATA: &[u32] = &[1, 2, 840, 113549, 1, 7, 2];
const CONTENT_TYPE: &[u32] = &[1, 2, 840, 113549, 1, 9, 3];
const MESSAGE_DIGEST: &[u32] = &[1, 2, 840, 113549, 1, 9, 4];
const SPC_INDIRECT_DATA: &[u32] = &[1, 3, 6, 1, 4, 1, 311, 2, 1, 4];
const SPC_PE_IMAGE_DATA: &[u32] = &[1, 3, 6, 1, 4, 1, 311, 2, 1, 15];

/// The signature over a program's digest, in DER.
///
/// # Errors
/// A key that is too small for the signature.
pub fn signed_data(digest: &[u8; 32], signer: &Signer) -> Result<Vec<u8>> {
    let content = indirect_data(digest);
    let attributes = attributes(&content);
    // What is signed has the tag of a set, and what is sent that of an implicit field (RFC 2315, 9.3).
    let signature = signer.sign(&set(attributes.clone()))?;
    let mut sorted = attributes;
    sorted.sort();
    let info = all(
        SEQUENCE,
        &[
            &value(INTEGER, &[1]),
            &all(SEQUENCE, &[signer.issuer(), signer.serial()]),
            &algorithm(SHA256),
            &value(context(0), &sorted.concat()),
            &algorithm(RSA_ENCRYPTION),
            &value(OCTET_STRING, &signature),
        ],
    );
    let signed = all(
        SEQUENCE,
        &[
            &value(INTEGER, &[1]),
            &set(vec![algorithm(SHA256)]),
            &all(SEQUENCE, &[&identifier(SPC_INDIRECT_DATA), &value(context(0), &value(SEQUENCE, &content))]),
            &value(context(0), signer.certificate()),
            &set(vec![info]),
        ],
    );
    Ok(all(SEQUENCE, &[&identifier(SIGNED_DATA), &value(context(0), &signed)]))
}

/// The parts of SpcIndirectDataContent: that it is of a PE program, and the digest. The digest of a message is over these
/// parts, without the sequence's own tag and length.
fn indirect_data(digest: &[u8]) -> Vec<u8> {
    // SpcPeImageData: no flags, and a file that is named by an empty text.
    let file = value(context(0), &value(context(2), &value(implicit(0), &[])));
    let image = all(SEQUENCE, &[&value(BIT_STRING, &[0]), &file]);
    let data = all(SEQUENCE, &[&identifier(SPC_PE_IMAGE_DATA), &image]);
    let info = all(SEQUENCE, &[&algorithm(SHA256), &value(OCTET_STRING, digest)]);
    [data, info].concat()
}

/// What the signature is over: the type of the content, and its digest.
fn attributes(content: &[u8]) -> Vec<Vec<u8>> {
    let attribute = |arcs, inner: Vec<u8>| all(SEQUENCE, &[&identifier(arcs), &set(vec![inner])]);
    vec![
        attribute(CONTENT_TYPE, identifier(SPC_INDIRECT_DATA)),
        attribute(MESSAGE_DIGEST, value(OCTET_STRING, &Sha256::digest(content))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the example of a signed program that Authenticode's specification takes apart, with an empty file name.
    #[test]
    fn the_content_names_the_digest() {
        let content = indirect_data(&[0x11; 32]);
        let head = [
            0x30, 0x17, 0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x0f, 0x30, 0x09, 0x03, 0x01,
            0x00, 0xa0, 0x04, 0xa2, 0x02, 0x80, 0x00, 0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65,
            0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20,
        ];
        assert_eq!(content[..head.len()], head);
        assert_eq!(content[head.len()..], [0x11; 32]);
    }

    #[test]
    fn attributes_have_the_contents_digest() {
        let attributes = attributes(b"abc");
        assert_eq!(attributes[0].len(), 27);
        let digest = Sha256::digest(b"abc");
        assert!(attributes[1].ends_with(&digest) && attributes[1].len() == 49, "{:x?}", attributes[1]);
    }
}
