//! The BIOS loader on a disk: a master boot record and a second stage (`image/loader/`), with what each is told of the other
//! and of the file system.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;

/// Bytes of code in the master boot record; the disk's signature and the partition table follow.
const CODE: usize = 440;
/// Where the master boot record is told the second stage's first sector (`PLACE` in mbr.s).
const PLACE: usize = 432;
/// Bytes that the second stage may have, and the disk reserves for it.
pub const SECOND_STAGE: u64 = 4096;
/// Bytes of it that a BIOS loads from a CD. Some load no more, whatever the catalogue says; the rest loads itself.
pub const LOADED_FROM_CD: u64 = 2048;
/// Where the second stage has its parameters.
const PARAMETERS: usize = 8;
/// How they begin.
const MAGIC: &[u8] = b"BLMY";
/// Bytes of the path of the kernel in them: three names as a directory has them, and a zero byte.
const PATH: usize = 3 * 11 + 1;
/// Bytes of a sector as both count them.
const SECTOR: u64 = 512;

/// The two programs.
#[derive(Clone, Debug)]
pub struct BiosLoader {
    mbr: Vec<u8>,
    second: Vec<u8>,
}

/// What the second stage starts.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Where the FAT file system begins, in bytes.
    pub volume: u64,
    /// Its serial number.
    pub volume_id: u32,
    /// The kernel in it, such as `KERNEL.EFI`, in at most two directories.
    pub kernel: &'a str,
    /// Whether the kernel is given the settings file.
    pub settings: bool,
}

impl BiosLoader {
    /// The programs `mbr.bin` and `second.bin` of a directory.
    ///
    /// # Errors
    ///
    /// When one cannot be read, or is larger than its place.
    pub fn read(dir: &Path) -> Result<BiosLoader> {
        let loader = BiosLoader { mbr: fs::read(dir.join("mbr.bin"))?, second: fs::read(dir.join("second.bin"))? };
        loader.check().with_context(|| format!("the BIOS loader in {} is none", dir.display()))?;
        Ok(loader)
    }

    fn check(&self) -> Result<()> {
        let BiosLoader { mbr, second } = self;
        ensure!(mbr.len() <= PLACE, "its master boot record has {} bytes of at most {PLACE}", mbr.len());
        ensure!(
            second.len() as u64 <= SECOND_STAGE,
            "its second stage has {} bytes of at most {SECOND_STAGE}",
            second.len()
        );
        let magic = second.get(PARAMETERS..PARAMETERS + MAGIC.len());
        ensure!(magic == Some(MAGIC), "its second stage has no parameters");
        Ok(())
    }

    /// Writes both into the beginning of a disk: the code of the master boot record, and the second stage at `at`, a multiple
    /// of 4 KiB.
    ///
    /// # Errors
    ///
    /// When a place is no multiple of a sector or lies behind the bytes, and when the kernel's path has too many names.
    pub fn install(&self, disk: &mut [u8], at: u64, target: &Target) -> Result<()> {
        ensure!(at.is_multiple_of(SECOND_STAGE), "the second stage cannot begin at byte {at}");
        let mut second = self.second.clone();
        let path = path(target.kernel)?;
        let settings = u32::from(target.settings).to_le_bytes();
        let parameters = [sector(at)?, sector(target.volume)?, target.volume_id.to_le_bytes(), settings].concat();
        let from = PARAMETERS + MAGIC.len();
        second[from..from + parameters.len()].copy_from_slice(&parameters);
        second[from + parameters.len()..][..PATH].copy_from_slice(&path);
        disk.get_mut(..self.mbr.len()).context("the disk is too short")?.copy_from_slice(&self.mbr);
        disk.get_mut(PLACE..PLACE + 4).context("the disk is too short")?.copy_from_slice(&sector(at)?);
        let at = usize::try_from(at)?;
        disk.get_mut(at..at + second.len()).context("the disk is too short")?.copy_from_slice(&second);
        Ok(())
    }
}

fn sector(at: u64) -> Result<[u8; 4]> {
    ensure!(at.is_multiple_of(SECTOR), "byte {at} is not the beginning of a sector");
    Ok(u32::try_from(at / SECTOR).context("the BIOS loader counts sectors in 32 bits")?.to_le_bytes())
}

/// The names of a path as directories have them, each of eleven characters.
fn path(text: &str) -> Result<[u8; PATH]> {
    let names: Vec<&str> = text.split('/').collect();
    ensure!(names.len() * 11 < PATH, "the BIOS loader finds no kernel in more than two directories: {text}");
    let mut path = [0; PATH];
    for (place, name) in path.chunks_mut(11).zip(names) {
        place.copy_from_slice(&crate::aligned_fat::short_name(&name.to_ascii_uppercase()));
    }
    Ok(path)
}

// The code ends before the disk's signature.
const _: () = assert!(PLACE + 8 == CODE);

#[cfg(test)]
mod tests {
    use super::*;

    fn loader() -> BiosLoader {
        let mut second = vec![0xcc; 3000];
        second[8..12].copy_from_slice(MAGIC);
        BiosLoader { mbr: vec![0xbb; 100], second }
    }

    const TARGET: Target =
        Target { volume: 49_152, volume_id: 0x1234_5678, kernel: "EFI/BOOT/BOOTX64.EFI", settings: true };

    #[test]
    fn each_stage_is_told_its_part() {
        let mut disk = vec![0; 16_384];
        loader().install(&mut disk, 8192, &TARGET).unwrap();
        assert_eq!((disk[99], disk[100], &disk[432..436]), (0xbb, 0, &[16, 0, 0, 0][..]));
        let second = &disk[8192..];
        assert_eq!(second[8..28], *b"BLMY\x10\0\0\0\x60\0\0\0\x78\x56\x34\x12\x01\0\0\0");
        assert_eq!(second[28..62], *b"EFI        BOOT       BOOTX64 EFI\0");
        assert_eq!((second[7], second[62], second[2999], second[3000]), (0xcc, 0xcc, 0xcc, 0));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let install = |disk: usize, at, target: Target| {
            format!("{:#}", loader().install(&mut vec![0; disk], at, &target).unwrap_err())
        };
        assert!(install(16_384, 2048, TARGET).contains("cannot begin at byte 2048"));
        assert!(install(8192, 8192, TARGET).contains("too short"));
        assert!(install(16_384, 4096, Target { volume: 100, ..TARGET }).contains("byte 100"));
        assert!(install(16_384, 4096, Target { kernel: "a/b/c/d", ..TARGET }).contains("two directories"));
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("mbr.bin"), vec![0; 433]).unwrap();
        fs::write(dir.path().join("second.bin"), vec![0; 4097]).unwrap();
        let error = || format!("{:#}", BiosLoader::read(dir.path()).unwrap_err());
        assert!(error().contains("has 433 bytes of at most 432"), "{}", error());
        fs::write(dir.path().join("mbr.bin"), []).unwrap();
        assert!(error().contains("has 4097 bytes"), "{}", error());
        fs::write(dir.path().join("second.bin"), vec![0; 100]).unwrap();
        assert!(error().contains("has no parameters"), "{}", error());
    }
}
