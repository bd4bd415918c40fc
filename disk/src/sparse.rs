//! Copies that keep holes: a disk of gigabytes takes the room of its content.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use fs_err as fs;
use rustix::io::Errno;

/// What is looked at together: if it is all zeros, nothing is written.
const CHUNK: usize = 64 << 10;
static ZEROS: [u8; CHUNK] = [0; CHUNK];

/// Copies a file into another at `offset`, without its zeros. The target must read as zeros there.
pub(crate) fn copy_into(from: &Path, target: &fs::File, offset: u64) -> Result<()> {
    let mut file = fs::File::open(from)?;
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while let Some(data) =
        next_data(&file, at).with_context(|| format!("cannot look for data in {}", from.display()))?
    {
        // Back to a multiple of the chunk, so that what is written does not depend on the source's holes.
        at = data / CHUNK as u64 * CHUNK as u64;
        file.seek(SeekFrom::Start(at))?;
        let n = read_full(&mut file, &mut buffer)?;
        write_chunk(&buffer[..n], target, offset + at)?;
        at += n as u64;
        if n < CHUNK {
            break;
        }
    }
    Ok(())
}

/// Writes bytes into a file at `offset`, without their zeros. The target must read as zeros there.
pub(crate) fn write_into(bytes: &[u8], target: &fs::File, offset: u64) -> Result<()> {
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

fn read_full(file: &mut fs::File, buffer: &mut [u8]) -> Result<usize> {
    let mut n = 0;
    while n < buffer.len() {
        match file.read(&mut buffer[n..])? {
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
