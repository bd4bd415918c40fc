//! Stores of UEFI variables as EDK2's firmware for virtual machines keeps them in its flash: read, and given the variables of
//! Secure Boot. Debian 12 has no program for this.
//!
//! Sources of the formats: PI 1.8, volume 3, 3.2.1 (firmware volume); EDK2's MdeModulePkg/Include/Guid/VariableFormat.h (store
//! and variables); UEFI 2.10, section 32.4.1 (signature lists) and 32.3 (PK, KEK, db).

use anyhow::{Context as _, Result, bail, ensure};

/// A GUID as it lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guid([u8; 16]);

impl Guid {
    /// `aaaaaaaa-bbbb-cccc-dddd-dddddddddddd`: the first three numbers are little-endian.
    pub const fn new(a: u32, b: u16, c: u16, d: [u8; 8]) -> Guid {
        let ([a0, a1, a2, a3], [b0, b1], [c0, c1]) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
        let [d0, d1, d2, d3, d4, d5, d6, d7] = d;
        Guid([a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, d2, d3, d4, d5, d6, d7])
    }
}

/// The owner of `PK`, `KEK`, `BootNext` and of all that UEFI itself defines (EFI_GLOBAL_VARIABLE).
pub const GLOBAL: Guid = Guid::new(0x8be4df61, 0x93ca, 0x11d2, [0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c]);
/// The owner of `db` (EFI_IMAGE_SECURITY_DATABASE_GUID).
const IMAGE_SECURITY: Guid = Guid::new(0xd719b2cb, 0x3d3a, 0x4596, [0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f]);
/// The owner of EDK2's switch `SecureBootEnable` (gEfiSecureBootEnableDisableGuid).
const SWITCH: Guid = Guid::new(0xf0a30bc7, 0xaf08, 0x4556, [0x99, 0xc4, 0x00, 0x10, 0x09, 0xc9, 0x3a, 0x44]);
/// Signature lists of certificates (EFI_CERT_X509_GUID).
const X509: Guid = Guid::new(0xa5c059a1, 0x94e4, 0x4aa7, [0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72]);
/// Whose signatures they are: a number made for Bloomery.
const OWNER: Guid = Guid::new(0x6a1e7a3c, 0x52c9, 0x4d0b, [0x9e, 0x64, 0x1f, 0x0b, 0x7c, 0x2d, 0x5e, 0x91]);

/// The firmware volume of variables (gEfiSystemNvDataFvGuid), and the store in it whose variables have room for
/// authentication (gEfiAuthenticatedVariableGuid).
const VOLUME: Guid = Guid::new(0xfff12b8d, 0x7696, 0x4c8b, [0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50]);
const STORE: Guid = Guid::new(0xaaf32c78, 0x947b, 0x439a, [0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92]);

/// Fields of the volume's header: its type, its signature and its own length.
const VOLUME_TYPE: usize = 16;
const VOLUME_SIGNATURE: usize = 40;
const HEADER_LENGTH: usize = 48;
const HEADER_CHECKSUM: usize = 50;
/// Bytes of a header with one entry in its map of blocks.
const HEADER: usize = 0x48;
/// Bytes of the store's header: type, size of all, and that it is formatted (0x5a) and healthy (0xfe).
const STORE_HEADER: usize = 28;
const STORE_SIZE: usize = 16;
const FORMATTED: [u8; 2] = [0x5a, 0xfe];

/// A variable's header, and its fields.
const VARIABLE: usize = 60;
const STATE: usize = 2;
const ATTRIBUTES: usize = 4;
const TIME: usize = 16;
const NAME_SIZE: usize = 36;
const DATA_SIZE: usize = 40;
const OWNED_BY: usize = 44;
/// How a variable begins.
const START: [u8; 2] = [0xaa, 0x55];
/// It is there; and the bit that goes when it is deleted.
const ADDED: u8 = 0x3f;
const DELETED: u8 = 0xfd;

/// Kept, and seen before and after the system's start (EFI_VARIABLE_NON_VOLATILE and its like).
pub const KEPT: u32 = 0x07;
/// As [`KEPT`], and changed by signed data with a time alone.
const AUTHENTICATED: u32 = 0x27;
/// Kept, and seen before the system's start alone.
const OF_FIRMWARE: u32 = 0x03;

/// Flash of EDK2's arm64 firmware: 256 blocks of 256 KiB, of which the first three are variables, a journal and its spare
/// (ArmVirtPkg/ArmVirtQemu.dsc). Its packages have an empty file, which the firmware formats when it starts.
const ARM64_BLOCK: usize = 0x40000;
const ARM64_BLOCKS: u32 = 256;
const ARM64_VOLUME: usize = 3 * ARM64_BLOCK;
/// What the firmware writes itself: readable, writable, in this state of power-on (EFI_FVB_ATTRIBUTES_2).
const ARM64_ATTRIBUTES: u32 = 0x0e36;

/// A flash with variables.
#[derive(Clone, Debug)]
pub struct Flash {
    bytes: Vec<u8>,
    /// Where its variables begin, and where there is room for more.
    variables: usize,
    free: usize,
    end: usize,
}

impl Flash {
    /// Reads the file of variables that comes with a firmware. An empty one of arm64 is formatted.
    ///
    /// # Errors
    /// A file that is no such flash.
    pub fn read(mut bytes: Vec<u8>) -> Result<Flash> {
        let first = bytes.first().copied().unwrap_or_default();
        if bytes.len() >= ARM64_VOLUME && bytes.iter().all(|byte| *byte == first) {
            format_arm64(&mut bytes);
        }
        ensure!(
            bytes.get(VOLUME_TYPE..VOLUME_TYPE + 16) == Some(&VOLUME.0)
                && bytes.get(VOLUME_SIGNATURE..VOLUME_SIGNATURE + 4) == Some(b"_FVH"),
            "it is no flash with UEFI variables"
        );
        let store = usize::from(u16::from_le_bytes(number(&bytes, HEADER_LENGTH)?));
        let size = u32::from_le_bytes(number(&bytes, store + STORE_SIZE)?) as usize;
        ensure!(
            bytes.get(store..store + 16) == Some(&STORE.0) && bytes.len() >= store + size,
            "its variables have no room for signatures"
        );
        let (variables, end) = (store + STORE_HEADER, store + size);
        let mut flash = Flash { bytes, variables, free: variables, end };
        let all = flash.all()?;
        flash.free = all.last().map_or(variables, |at| flash.next(*at).unwrap_or(end));
        Ok(flash)
    }

    /// The file's content.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Makes firmware check what it starts: `certificate` (X.509 in DER) signs the platform's owner (PK), keys (KEK) and
    /// programs (db).
    ///
    /// # Errors
    /// A flash that is full.
    pub fn enroll(&mut self, certificate: &[u8]) -> Result<()> {
        let list = signature_list(certificate);
        self.set("db", &IMAGE_SECURITY, AUTHENTICATED, &list)?;
        self.set("KEK", &GLOBAL, AUTHENTICATED, &list)?;
        self.set("PK", &GLOBAL, AUTHENTICATED, &list)?;
        self.set("SecureBootEnable", &SWITCH, OF_FIRMWARE, &[1])
    }

    /// Gives a variable its data, in place of what it had. `attributes` are those of UEFI 2.10, section 8.2.1.
    ///
    /// # Errors
    /// A flash that is full.
    pub fn set(&mut self, name: &str, owner: &Guid, attributes: u32, data: &[u8]) -> Result<()> {
        for at in self.all()? {
            if self.is(at, name, owner)? {
                self.bytes[at + STATE] &= DELETED;
            }
        }
        let name = wide(name);
        let mut record = vec![0; VARIABLE];
        let mut put = |at: usize, value: &[u8]| record[at..at + value.len()].copy_from_slice(value);
        put(0, &START);
        put(STATE, &[ADDED]);
        put(ATTRIBUTES, &attributes.to_le_bytes());
        if attributes == AUTHENTICATED {
            put(TIME, &time());
        }
        put(NAME_SIZE, &u32::try_from(name.len())?.to_le_bytes());
        put(DATA_SIZE, &u32::try_from(data.len())?.to_le_bytes());
        put(OWNED_BY, &owner.0);
        record.extend(name);
        record.extend(data);
        let end = self.free + record.len();
        ensure!(end < self.end, "there is no room for another variable");
        self.bytes[self.free..end].copy_from_slice(&record);
        self.free = end.next_multiple_of(4);
        Ok(())
    }

    /// The data of a variable.
    ///
    /// # Errors
    /// A store that is cut off.
    pub fn get(&self, name: &str, owner: &Guid) -> Result<Option<&[u8]>> {
        for at in self.all()? {
            if self.is(at, name, owner)? {
                let (begin, size) = (at + VARIABLE + self.size(at, NAME_SIZE)?, self.size(at, DATA_SIZE)?);
                return Ok(self.bytes.get(begin..begin + size));
            }
        }
        Ok(None)
    }

    /// Where each variable begins, deleted ones as well.
    fn all(&self) -> Result<Vec<usize>> {
        let (mut found, mut at) = (Vec::new(), self.variables);
        while self.bytes.get(at..at + 2) == Some(&START) {
            found.push(at);
            at = self.next(at)?;
        }
        Ok(found)
    }

    /// Where the one after a variable begins.
    fn next(&self, at: usize) -> Result<usize> {
        let end = at + VARIABLE + self.size(at, NAME_SIZE)? + self.size(at, DATA_SIZE)?;
        if end > self.end {
            bail!("a variable is longer than the store");
        }
        Ok(end.next_multiple_of(4))
    }

    fn size(&self, at: usize, field: usize) -> Result<usize> {
        Ok(u32::from_le_bytes(number(&self.bytes, at + field)?) as usize)
    }

    fn is(&self, at: usize, name: &str, owner: &Guid) -> Result<bool> {
        let begin = at + VARIABLE;
        let found = self.bytes.get(begin..begin + self.size(at, NAME_SIZE)?);
        let of = self.bytes.get(at + OWNED_BY..at + OWNED_BY + 16);
        Ok(self.bytes[at + STATE] == ADDED && found == Some(&wide(name)) && of == Some(&owner.0))
    }
}

/// The headers of a volume and of an empty store, as the arm64 firmware writes them.
fn format_arm64(bytes: &mut [u8]) {
    bytes[..ARM64_VOLUME].fill(0xff);
    let header = &mut bytes[..HEADER];
    header.fill(0);
    let mut put = |at: usize, value: &[u8]| header[at..at + value.len()].copy_from_slice(value);
    put(VOLUME_TYPE, &VOLUME.0);
    put(32, &(ARM64_VOLUME as u64).to_le_bytes());
    put(VOLUME_SIGNATURE, b"_FVH");
    put(44, &ARM64_ATTRIBUTES.to_le_bytes());
    put(HEADER_LENGTH, &(HEADER as u16).to_le_bytes());
    put(55, &[2]); // The header's revision.
    put(56, &ARM64_BLOCKS.to_le_bytes());
    put(60, &(ARM64_BLOCK as u32).to_le_bytes());
    let sum = header.chunks(2).fold(0_u16, |sum, pair| sum.wrapping_add(u16::from_le_bytes([pair[0], pair[1]])));
    header[HEADER_CHECKSUM..HEADER_CHECKSUM + 2].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    let store = &mut bytes[HEADER..HEADER + STORE_HEADER];
    store.fill(0);
    store[..16].copy_from_slice(&STORE.0);
    store[STORE_SIZE..STORE_SIZE + 4].copy_from_slice(&((ARM64_BLOCK - HEADER) as u32).to_le_bytes());
    store[20..22].copy_from_slice(&FORMATTED);
}

/// A list of one certificate: type, sizes of all, of a header that is not there, and of an entry, which is owner and
/// certificate.
fn signature_list(certificate: &[u8]) -> Vec<u8> {
    let entry = [&OWNER.0, certificate].concat();
    let sizes = [28 + entry.len(), 0, entry.len()].map(|size| (size as u32).to_le_bytes());
    [&X509.0[..], &sizes.concat(), &entry].concat()
}

/// An EFI_TIME that every later change of the variable is newer than: 2020-01-01.
fn time() -> [u8; 16] {
    let mut time = [0; 16];
    time[..2].copy_from_slice(&2020_u16.to_le_bytes());
    time[2..4].copy_from_slice(&[1, 1]);
    time
}

/// Text in UCS-2 with its end.
fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    bytes.get(at..at + N).and_then(|part| part.try_into().ok()).context("it is cut off")
}

#[cfg(test)]
mod tests {
    use build_support::{Arch, fs};

    use super::*;
    use crate::machine::{Accelerator, Host};

    /// The variables that ./setup.sh installs with the firmware.
    fn template(arch: Arch) -> Vec<u8> {
        let host = Host::find(arch, Accelerator::Tcg, std::path::Path::new("/nonexistent"));
        fs::read(host.firmware.expect("no firmware\nhint: run ./setup.sh").variables).unwrap()
    }

    #[test]
    fn variables_are_set_and_replaced() {
        for arch in Arch::ALL {
            let template = template(arch);
            let mut flash = Flash::read(template.clone()).unwrap();
            flash.enroll(b"first certificate").unwrap();
            flash.set("Own", &GLOBAL, KEPT, b"abc").unwrap();
            flash.enroll(b"other").unwrap();
            let again = Flash::read(flash.bytes().to_vec()).unwrap();
            assert_eq!((again.free, again.bytes.len()), (flash.free, template.len()));
            for (name, owner) in [("PK", GLOBAL), ("KEK", GLOBAL), ("db", IMAGE_SECURITY)] {
                let list = again.get(name, &owner).unwrap().unwrap();
                assert!(list.starts_with(&X509.0) && list.ends_with(b"other"), "{name}");
                assert_eq!(list[16..28], [49, 0, 0, 0, 0, 0, 0, 0, 21, 0, 0, 0]);
            }
            assert_eq!(again.get("Own", &GLOBAL).unwrap(), Some(&b"abc"[..]));
            assert_eq!(again.get("Own", &SWITCH).unwrap(), None);
            assert_eq!(again.get("SecureBootEnable", &SWITCH).unwrap(), Some(&[1][..]));
        }
    }

    /// The header sums up to zero, and the store fills the first block.
    #[test]
    fn an_empty_flash_is_formatted() {
        for byte in [0, 0xff] {
            let flash = Flash::read(vec![byte; ARM64_VOLUME + ARM64_BLOCK]).unwrap();
            let words = flash.bytes[..HEADER].chunks(2).map(|pair| u32::from(pair[0]) + 256 * u32::from(pair[1]));
            assert_eq!(words.sum::<u32>() & 0xffff, 0);
            assert_eq!((flash.free, flash.end), (HEADER + STORE_HEADER, ARM64_BLOCK));
        }
    }

    #[test]
    fn no_other_file_is_taken() {
        let error = |bytes: Vec<u8>| Flash::read(bytes).unwrap_err().to_string();
        assert!(error(b"a file".to_vec()).contains("no flash"));
        assert!(error(vec![0; 100]).contains("no flash"));
        let mut bytes = template(Arch::X86_64);
        bytes[HEADER] ^= 1;
        assert!(error(bytes).contains("no room for signatures"));
        let mut full = Flash::read(template(Arch::Arm64)).unwrap();
        let room = full.end - full.free;
        let error = full.set("x", &GLOBAL, KEPT, &vec![0; room]).unwrap_err();
        assert!(error.to_string().contains("no room for another"), "{error}");
    }
}
