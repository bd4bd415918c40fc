//! An EFI program as a file: what of it is signed, and where the signature goes (PE format, Microsoft; Authenticode, "Calculating
//! the PE Image Hash").

use anyhow::{Context as _, Result, ensure};
use rsa::sha2::{Digest as _, Sha256};

/// Certificates lie at multiples of this, and take a multiple of it.
pub const ALIGNMENT: usize = 8;

/// `e_lfanew` in the DOS header: where the signature `PE\0\0` lies, before COFF header and optional header.
const PE_OFFSET: usize = 0x3c;
/// Bytes of `PE\0\0` and of the COFF header.
const COFF: usize = 24;
/// `NumberOfSections` and `SizeOfOptionalHeader` from the PE signature.
const SECTION_COUNT: usize = 6;
const OPTIONAL_SIZE: usize = 20;
/// The optional header's magic for 64-bit programs (PE32+), the only ones that UEFI has on x86_64 and arm64.
const PE32_PLUS: u16 = 0x20b;
/// Fields of a PE32+ optional header, from its begin.
const HEADERS_SIZE: usize = 60;
const CHECKSUM: usize = 64;
const DIRECTORY_COUNT: usize = 108;
const DIRECTORIES: usize = 112;
/// The directory of certificates: place and size, each of 4 bytes. Its place is one in the file.
const CERTIFICATES: usize = 4;
const DIRECTORY: usize = 8;
/// A row of the section table, and its fields.
const SECTION: usize = 40;
const RAW_SIZE: usize = 16;
const RAW_PLACE: usize = 20;

/// A WIN_CERTIFICATE's header: length, revision 2.0, and the type of PKCS#7 (WIN_CERT_TYPE_PKCS_SIGNED_DATA).
const CERTIFICATE_HEADER: usize = 8;
const REVISION: u16 = 0x0200;
const SIGNED_DATA: u16 = 2;

/// An EFI program whose headers are consistent.
#[derive(Debug)]
pub struct Program<'a> {
    bytes: &'a [u8],
    /// Where the checksum is.
    checksum: usize,
    /// Where place and size of the certificates are.
    directory: usize,
    /// Place and size of the certificates; zeros when there are none.
    certificates: (usize, usize),
}

impl Program<'_> {
    /// Reads the headers.
    ///
    /// # Errors
    /// Bytes that are no PE32+ program; sections that overlap or leave a gap, about whose digest verifiers disagree; and
    /// certificates that are not the end of the file.
    pub fn parse(bytes: &[u8]) -> Result<Program<'_>> {
        ensure!(bytes.starts_with(b"MZ"), "it does not begin with `MZ`");
        let pe = u32_at(bytes, PE_OFFSET)? as usize;
        ensure!(part(bytes, pe, 4)? == b"PE\0\0", "it has no PE header");
        let optional = pe + COFF;
        ensure!(u16_at(bytes, optional)? == PE32_PLUS, "it is no 64-bit program (PE32+)");
        ensure!(
            u32_at(bytes, optional + DIRECTORY_COUNT)? as usize > CERTIFICATES,
            "its header has no place for certificates"
        );
        let directory = optional + DIRECTORIES + CERTIFICATES * DIRECTORY;
        let certificates = (u32_at(bytes, directory)? as usize, u32_at(bytes, directory + 4)? as usize);
        let program = Program { bytes, checksum: optional + CHECKSUM, directory, certificates };
        ensure!(
            certificates == (0, 0) || certificates.0.checked_add(certificates.1) == Some(bytes.len()),
            "its certificates are not the end of the file"
        );
        program.check_sections(pe, optional)?;
        Ok(program)
    }

    /// Headers and sections must lie one after the other, so that one way through the file is the only one.
    fn check_sections(&self, pe: usize, optional: usize) -> Result<()> {
        let table = optional + usize::from(u16_at(self.bytes, pe + OPTIONAL_SIZE)?);
        let headers = u32_at(self.bytes, optional + HEADERS_SIZE)? as usize;
        ensure!(self.directory + DIRECTORY <= headers, "its headers are longer than they say");
        let mut sections = Vec::new();
        for number in 0..usize::from(u16_at(self.bytes, pe + SECTION_COUNT)?) {
            let row = table + number * SECTION;
            let field = |at| Ok::<_, anyhow::Error>(u32_at(self.bytes, row + at)? as usize);
            sections.push((field(RAW_PLACE)?, field(RAW_SIZE)?));
        }
        sections.retain(|(_, size)| *size > 0); // Such as .bss.
        sections.sort();
        let mut end = headers;
        for (place, size) in sections {
            ensure!(place == end, "a section begins at byte {place} of the file, and the one before it ends at {end}");
            end = place.checked_add(size).context("a section is too large")?;
        }
        ensure!(end <= self.end(), "its sections are longer than the file");
        Ok(())
    }

    /// Whether it has certificates.
    pub fn is_signed(&self) -> bool {
        self.certificates != (0, 0)
    }

    /// Where the program ends, and its certificates begin.
    fn end(&self) -> usize {
        if self.is_signed() { self.certificates.0 } else { self.bytes.len() }
    }

    /// The digest that a signature is made over: all but checksum, the certificates, and place and size of those.
    pub fn digest(&self) -> [u8; 32] {
        let Program { bytes, checksum, directory, .. } = self;
        let mut hash = Sha256::new();
        hash.update(&bytes[..*checksum]);
        hash.update(&bytes[checksum + 4..*directory]);
        hash.update(&bytes[directory + DIRECTORY..self.end()]);
        hash.finalize().into()
    }

    /// What the field `CheckSum` should have: the sum of all 16-bit words but the field's own, with carries added, and the
    /// length of the file.
    fn sum(&self) -> u32 {
        let words = self.bytes.chunks(2).enumerate();
        let own = |index: usize| (self.checksum..self.checksum + 4).contains(&(2 * index));
        let sum = words.filter(|(index, _)| !own(*index)).fold(0_u32, |sum, (_, word)| {
            let sum = sum + u32::from(word[0]) + (u32::from(*word.get(1).unwrap_or(&0)) << 8);
            (sum & 0xffff) + (sum >> 16)
        });
        sum.wrapping_add(self.bytes.len() as u32)
    }
}

/// A program with a certificate at its end. Its length is a multiple of [`ALIGNMENT`].
///
/// # Errors
/// A program that cannot be parsed, and one of more than 4 GiB.
pub fn append(program: &[u8], signed_data: &[u8]) -> Result<Vec<u8>> {
    let directory = Program::parse(program)?.directory;
    let length = CERTIFICATE_HEADER + signed_data.len();
    let padded = length.next_multiple_of(ALIGNMENT);
    let size = |length: usize| Ok::<_, anyhow::Error>(u32::try_from(length).context("it is too large")?.to_le_bytes());
    let mut bytes = program.to_vec();
    bytes[directory..directory + 4].copy_from_slice(&size(program.len())?);
    bytes[directory + 4..directory + DIRECTORY].copy_from_slice(&size(padded)?);
    bytes.extend(size(length)?);
    bytes.extend(REVISION.to_le_bytes());
    bytes.extend(SIGNED_DATA.to_le_bytes());
    bytes.extend(signed_data);
    bytes.resize(program.len() + padded, 0);
    let signed = Program::parse(&bytes)?;
    let (at, sum) = (signed.checksum, signed.sum());
    bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
    Ok(bytes)
}

fn part(bytes: &[u8], at: usize, length: usize) -> Result<&[u8]> {
    at.checked_add(length).and_then(|end| bytes.get(at..end)).context("its headers are cut off")
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16> {
    Ok(u16::from_le_bytes(part(bytes, at, 2)?.try_into()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    Ok(u32::from_le_bytes(part(bytes, at, 4)?.try_into()?))
}

#[cfg(test)]
mod tests;
