//! Copies that keep holes: a disk of gigabytes takes the room of its content.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use fs_err as fs;
use rustix::io::Errno;

/// What is looked at together: if it is all zeros, nothing is written.
const CHUNK: usize = 64 << 10;
static ZEROS: [u8; CHUNK] = [0; CHUNK];

/// A run of zeros is a hole of a file when it is at least so long. Whether a file has holes then depends on its content,
/// and not on the file system that it came from.
pub const MIN_HOLE: u64 = 1 << 20;

/// The parts of a file that are not holes, as offset and length, when it has a hole of at least [`MIN_HOLE`] bytes.
/// Offsets are multiples of 64 KiB.
///
/// # Errors
///
/// When the file cannot be read.
pub fn data(file: &fs::File) -> Result<Option<Vec<(u64, u64)>>> {
    let size = file.metadata()?.len();
    if size < MIN_HOLE {
        return Ok(None);
    }
    let mut parts: Vec<(u64, u64)> = Vec::new();
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    let failed = || format!("cannot look for data in {}", file.path().display());
    while let Some(found) = next_data(file, at).with_context(failed)? {
        at = found / CHUNK as u64 * CHUNK as u64;
        let n = read_full_at(file, &mut buffer, at).with_context(failed)?;
        if buffer[..n] != ZEROS[..n] {
            match parts.last_mut() {
                Some((start, length)) if at - (*start + *length) < MIN_HOLE => *length = at + n as u64 - *start,
                None if at < MIN_HOLE => parts.push((0, at + n as u64)),
                _ => parts.push((at, n as u64)),
            }
        }
        at += n as u64;
        if n < CHUNK {
            break;
        }
    }
    if let Some((start, length)) = parts.last_mut()
        && size - (*start + *length) < MIN_HOLE
    {
        *length = size - *start;
    }
    let whole = parts == [(0, size)];
    Ok((!whole).then_some(parts))
}

/// Bytes of a file that are stored, at most: holes that its file system knows do not count.
///
/// # Errors
///
/// When the file cannot be read.
pub fn stored(path: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let file = fs::File::open(path)?;
    let meta = file.metadata()?;
    if meta.blocks() * 512 >= meta.len() {
        return Ok(meta.len());
    }
    let failed = || format!("cannot look for data in {}", path.display());
    let (mut sum, mut at) = (0, 0);
    while let Some(start) = next_data(&file, at).with_context(failed)? {
        at = match rustix::fs::seek(file.file(), rustix::fs::SeekFrom::Hole(start)) {
            Ok(end) => end,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => meta.len(),
            Err(error) => return Err(error).with_context(failed),
        };
        sum += at - start;
    }
    Ok(sum)
}

/// Copies a file into another at `offset`, without its zeros. The target must read as zeros there.
///
/// # Errors
///
/// When one of the files cannot be read or written.
pub fn copy_into(from: &Path, target: &fs::File, offset: u64) -> Result<()> {
    let file = fs::File::open(from)?;
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while let Some(data) =
        next_data(&file, at).with_context(|| format!("cannot look for data in {}", from.display()))?
    {
        // Back to a multiple of the chunk, so that what is written does not depend on the source's holes.
        at = data / CHUNK as u64 * CHUNK as u64;
        let n = read_full_at(&file, &mut buffer, at)?;
        write_chunk(&buffer[..n], target, offset + at)?;
        at += n as u64;
        if n < CHUNK {
            break;
        }
    }
    Ok(())
}

/// Writes bytes into a file at `offset`, without their zeros. The target must read as zeros there.
///
/// # Errors
///
/// When the file cannot be written.
pub fn write_into(bytes: &[u8], target: &fs::File, offset: u64) -> Result<()> {
    for (i, chunk) in bytes.chunks(CHUNK).enumerate() {
        write_chunk(chunk, target, offset + (i * CHUNK) as u64)?;
    }
    Ok(())
}

fn write_chunk(chunk: &[u8], target: &fs::File, offset: u64) -> Result<()> {
    if chunk != &ZEROS[..chunk.len()] {
        target
            .file()
            .write_all_at(chunk, offset)
            .with_context(|| format!("cannot write to {}", target.path().display()))?;
    }
    Ok(())
}

/// Where the next data starts at or after `at`, or `None` when only a hole is left (lseek(2), SEEK_DATA).
fn next_data(file: &fs::File, at: u64) -> Result<Option<u64>> {
    match rustix::fs::seek(file.file(), rustix::fs::SeekFrom::Data(at)) {
        Ok(data) => Ok(Some(data)),
        Err(Errno::NXIO) => Ok(None),
        // A file system that knows no holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok((at < file.metadata()?.len()).then_some(at)),
        Err(error) => Err(error.into()),
    }
}

fn read_full_at(file: &fs::File, buffer: &mut [u8], at: u64) -> Result<usize> {
    let mut n = 0;
    while n < buffer.len() {
        match file.file().read_at(&mut buffer[n..], at + n as u64)? {
            0 => break,
            more => n += more,
        }
    }
    Ok(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn the_map_follows_from_the_content() {
        let dir = tempfile::tempdir().unwrap();
        let (holes, zeros) = (dir.path().join("holes"), dir.path().join("zeros"));
        let mut bytes = vec![0; 8 << 20];
        bytes[100] = 1;
        bytes[500_000] = 1;
        bytes[(5 << 20) + 70_000] = 1;
        fs::write(&zeros, &bytes).unwrap();
        let file = fs::File::create(&holes).unwrap();
        file.set_len(8 << 20).unwrap();
        write_into(&bytes, &file, 0).unwrap();
        let chunk = CHUNK as u64;
        let want = Some(vec![(0, 8 * chunk), ((5 << 20) + chunk, chunk)]);
        for path in [&holes, &zeros] {
            assert_eq!(data(&fs::File::open(path).unwrap()).unwrap(), want);
        }
        assert!(stored(&holes).unwrap() < 1 << 20 && stored(&zeros).unwrap() == 8 << 20);
        let cases = [
            (2 << 20, vec![0], Some(vec![(0, chunk)])),
            (1 << 20, vec![5], None),
            (3 << 20, vec![1 << 20, (3 << 20) - 1], Some(vec![(1 << 20, chunk), ((3 << 20) - chunk, chunk)])),
        ];
        for (size, ones, want) in cases {
            let mut bytes = vec![0; size];
            ones.iter().for_each(|at| bytes[*at] = 1);
            fs::write(&zeros, &bytes).unwrap();
            assert_eq!(data(&fs::File::open(&zeros).unwrap()).unwrap(), want);
        }
        fs::write(&zeros, vec![0; 2 << 20]).unwrap();
        assert_eq!(data(&fs::File::open(&zeros).unwrap()).unwrap(), Some(Vec::new()));
    }

    #[test]
    fn holes_stay_holes_and_bytes_stay_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let source = fs::File::create(&from).unwrap();
        source.set_len(64 << 20).unwrap();
        for (at, text) in [(0, "first"), (5_000_001, "middle"), ((64 << 20) - 4, "last")] {
            source.file().write_all_at(text.as_bytes(), at).unwrap();
        }
        let target = fs::File::options().create_new(true).read(true).write(true).open(&to).unwrap();
        target.set_len((64 << 20) + 4096).unwrap();
        copy_into(&from, &target, 4096).unwrap();
        let (want, got) = (fs::read(&from).unwrap(), fs::read(&to).unwrap());
        assert!(got[..4096].iter().all(|byte| *byte == 0));
        assert!(got[4096..] == want, "the copy differs");
        assert!(fs::metadata(&to).unwrap().blocks() * 512 < 1 << 20, "the copy has no holes");
    }
}
