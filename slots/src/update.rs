//! The file of an update: a header that is signed, and what it brings. It comes over the network or lies on a stick, at its first byte.
//!
//! ```text
//! byte  0  "BLMYUPD1"
//!       8  1: a kernel, 2: settings
//!      16  serial number, eight bytes: the seconds since 1970 at which it was signed
//!      24  bytes of the content, four bytes
//!      32  SHA-256 of the content
//!      64  build identifier of the kernel, 20 bytes
//!      96  the product that it is for, at most 64 bytes, then zeros
//!     448  Ed25519 signature (RFC 8032) of all before it, 64 bytes
//!     512  the content
//! ```
//!
//! Numbers are little-endian; bytes between are 0.

use ed25519_compact::{KeyPair, PublicKey, Signature};
use sha2::{Digest as _, Sha256};

use crate::state::BUILD_ID;

/// Bytes of the header.
pub const HEADER: usize = 512;
/// How it begins.
pub const MAGIC: &[u8; 8] = b"BLMYUPD1";
/// The TCP port at which a system takes updates. It has no owner in IANA's register of service names.
pub const PORT: u16 = 4919;

const SIGNED: usize = HEADER - Signature::BYTES;
const PRODUCT: usize = 64;

/// What an update brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A kernel with the system inside it.
    Kernel = 1,
    /// Settings that take the place of those that are kept.
    Settings = 2,
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What follows it.
    pub kind: Kind,
    /// Of two updates the one that was signed later has the larger one.
    pub serial: u64,
    /// Bytes that follow.
    pub length: u32,
    /// Their SHA-256.
    pub digest: [u8; 32],
    /// The build identifier of the kernel.
    pub build_id: [u8; BUILD_ID],
    /// The product that it is for.
    pub product: String,
}

impl Header {
    /// The header of a content. Nothing for one of 4 GiB or more, and for a product with a long name.
    pub fn new(kind: Kind, serial: u64, content: &[u8], build_id: [u8; BUILD_ID], product: &str) -> Option<Header> {
        let is_short = !product.is_empty() && product.len() <= PRODUCT && !product.contains('\0');
        let (length, digest) = (u32::try_from(content.len()).ok()?, Sha256::digest(content).into());
        is_short.then(|| Header { kind, serial, length, digest, build_id, product: product.into() })
    }

    /// The header as a file has it, signed.
    pub fn sign(&self, pair: &KeyPair) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8] = self.kind as u8;
        bytes[16..24].copy_from_slice(&self.serial.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.length.to_le_bytes());
        bytes[32..64].copy_from_slice(&self.digest);
        bytes[64..64 + BUILD_ID].copy_from_slice(&self.build_id);
        bytes[96..][..self.product.len()].copy_from_slice(self.product.as_bytes());
        // Without noise: who signs the same twice gets the same.
        let signature = pair.sk.sign(&bytes[..SIGNED], None);
        bytes[SIGNED..].copy_from_slice(signature.as_ref());
        bytes
    }

    /// Reads a header, of which nothing is believed before its signature is right.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn open(bytes: &[u8; HEADER], key: &PublicKey) -> Result<Header, &'static str> {
        let (signed, signature) = bytes.split_at(SIGNED);
        if !signed.starts_with(MAGIC) {
            return Err("it is no update");
        }
        let signature = Signature::from_slice(signature).map_err(|_| "its signature is none")?;
        key.verify(signed, &signature).map_err(|_| "it is not signed by the key of this system")?;
        Header::read(signed).ok_or("it is of a kind that this system does not know")
    }

    fn read(bytes: &[u8]) -> Option<Header> {
        let kind = [Kind::Kernel, Kind::Settings].into_iter().find(|kind| Some(&(*kind as u8)) == bytes.get(8))?;
        let product = bytes.get(96..96 + PRODUCT)?;
        let end = product.iter().position(|byte| *byte == 0).unwrap_or(PRODUCT);
        Some(Header {
            kind,
            serial: u64::from_le_bytes(*bytes.get(16..)?.first_chunk()?),
            length: u32::from_le_bytes(*bytes.get(24..)?.first_chunk()?),
            digest: *bytes.get(32..)?.first_chunk()?,
            build_id: *bytes.get(64..)?.first_chunk()?,
            product: String::from_utf8(product.get(..end)?.into()).ok()?,
        })
    }
}

/// The digest of a content that comes in pieces.
#[derive(Default)]
pub struct Digest(Sha256);

impl Digest {
    /// Adds a piece.
    pub fn add(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of all pieces.
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// The build identifier in the notes of a kernel (/sys/kernel/notes, or the section `.notes` of vmlinux): the note of GNU with the
/// type 3 (elf.h, `NT_GNU_BUILD_ID`).
pub fn build_id(mut notes: &[u8]) -> Option<[u8; BUILD_ID]> {
    const GNU_BUILD_ID: u32 = 3;
    loop {
        let number = |at: usize| notes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        let (name, content, kind) = (number(0)? as usize, number(4)? as usize, number(8)?);
        // Each part is padded to a multiple of four.
        let from = name.checked_next_multiple_of(4)?.checked_add(12)?;
        let end = from.checked_add(content)?;
        if kind == GNU_BUILD_ID && notes.get(12..)?.starts_with(b"GNU\0") && content == BUILD_ID {
            return notes.get(from..)?.first_chunk().copied();
        }
        notes = notes.get(end.checked_next_multiple_of(4)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use ed25519_compact::Seed;

    use super::*;

    fn pair(number: u8) -> KeyPair {
        KeyPair::from_seed(Seed::new([number; 32]))
    }

    fn header() -> Header {
        Header::new(Kind::Kernel, 1_764_500_000, b"a kernel", [7; BUILD_ID], "mine x86_64").unwrap()
    }

    #[test]
    fn what_was_signed_is_opened_by_that_key_alone() {
        let bytes = header().sign(&pair(1));
        assert_eq!(Header::open(&bytes, &pair(1).pk), Ok(header()));
        assert_eq!(Header::open(&bytes, &pair(2).pk), Err("it is not signed by the key of this system"));
        assert_eq!((bytes[8], &bytes[24..28], &bytes[96..108]), (1, &[8, 0, 0, 0][..], &b"mine x86_64\0"[..]));
        assert_eq!(bytes[SIGNED..], header().sign(&pair(1))[SIGNED..]);
    }

    #[test]
    fn no_byte_can_be_changed() {
        let bytes = header().sign(&pair(1));
        for at in 0..HEADER {
            let mut wrong = bytes;
            wrong[at] ^= 0x10;
            assert!(Header::open(&wrong, &pair(1).pk).is_err(), "byte {at}");
        }
        assert_eq!(Header::open(&[0; HEADER], &pair(1).pk), Err("it is no update"));
    }

    #[test]
    fn pieces_make_the_same_digest() {
        let mut digest = Digest::default();
        digest.add(b"a ker");
        digest.add(b"nel");
        assert_eq!(digest.finish(), header().digest);
        assert!(Header::new(Kind::Settings, 1, b"", [0; BUILD_ID], &"x".repeat(65)).is_none());
    }

    #[test]
    fn the_build_identifier_is_among_other_notes() {
        let note = |name: &[u8], kind: u32, content: &[u8]| {
            let pad = |bytes: &[u8]| [bytes, &[0; 3][..bytes.len().next_multiple_of(4) - bytes.len()]].concat();
            let numbers = [name.len() as u32, content.len() as u32, kind].map(u32::to_le_bytes).concat();
            [numbers, pad(name), pad(content)].concat()
        };
        let notes = [note(b"Xen\0", 3, &[1; 20]), note(b"Linux\0", 257, &[2; 5]), note(b"GNU\0", 3, &[9; 20])].concat();
        assert_eq!(build_id(&notes), Some([9; 20]));
        assert_eq!(build_id(&notes[..notes.len() - 1]), None);
        assert_eq!(build_id(&[]), None);
    }
}
