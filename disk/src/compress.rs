//! Compressed files, by the host's programs: the C code of a compression library took half of the time of a first
//! build, and every host has the programs.
//!
//! The same version of a program gives the same bytes on every machine: levels are fixed, variables such as
//! `ZSTD_CLEVEL` and `XZ_OPT` do not reach the programs, and no name or time goes into a header.

use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::Result;
use build_support::{Cmd, host, whole};
use fs_err as fs;

use crate::tools::{self, Tool};

/// How a file is compressed. All but [`Compression::Zstd`] with a level of its own are forms that the kernel unpacks
/// as an initramfs (usr/Kconfig, lib/decompress.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip at its highest level, 9.
    Gzip,
    /// zstd. Levels go from 1 to 19, above which unpacking needs more memory than the format's default limit.
    Zstd {
        /// The level.
        level: u32,
    },
    /// lz4 in the legacy format, the only one that the kernel unpacks, at its highest level, 12.
    Lz4,
    /// xz with CRC32, the only check that the kernel knows, and a dictionary of 1 MiB, which the kernel needs to have
    /// in one piece of memory (scripts/Makefile.lib, `cmd_xzmisc`).
    Xz,
}

impl Compression {
    /// The program that compresses; its version belongs to the key of a stage that does.
    pub fn tool(self) -> Option<Tool> {
        match self {
            Compression::None => None,
            Compression::Gzip => Some(tools::GZIP),
            Compression::Zstd { .. } => Some(tools::ZSTD),
            Compression::Lz4 => Some(tools::LZ4),
            Compression::Xz => Some(tools::XZ),
        }
    }

    /// The usual suffix of a file's name, with its point.
    pub fn suffix(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Zstd { .. } => ".zst",
            Compression::Lz4 => ".lz4",
            Compression::Xz => ".xz",
        }
    }

    /// Writes a compressed file: `fill` writes what is compressed. A plain file stands beside it meanwhile.
    ///
    /// # Errors
    ///
    /// That of `fill`; when the program is not installed or fails; when the file cannot be written.
    pub(crate) fn write(self, out: &Path, fill: impl FnOnce(&mut BufWriter<fs::File>) -> Result<()>) -> Result<()> {
        self.write_with_jobs(out, host::jobs(), fill)
    }

    pub(crate) fn write_with_jobs(
        self,
        out: &Path,
        jobs: usize,
        fill: impl FnOnce(&mut BufWriter<fs::File>) -> Result<()>,
    ) -> Result<()> {
        whole::file(out, |path| {
            let plain = path.with_added_extension("plain");
            let to = if self == Compression::None { path } else { &plain };
            let made = write_plain(to, fill).and_then(|()| self.compress(&plain, path, jobs));
            // gzip and xz remove what they compressed.
            if plain.exists() {
                fs::remove_file(&plain)?;
            }
            made
        })
    }

    fn compress(self, plain: &Path, to: &Path, jobs: usize) -> Result<()> {
        let command = match self {
            Compression::None => return Ok(()),
            Compression::Gzip => Cmd::new("gzip").arg("-9").arg("--no-name"), // No name and no time in the header.
            Compression::Zstd { level } => Cmd::new("zstd")
                .args(["--quiet", "--force"])
                .arg(format!("-{level}"))
                // One worker at least: zstd cuts the input into the same jobs for every number of workers but none
                // (zstd.h, ZSTD_c_nbWorkers).
                .arg(format!("-T{}", jobs.max(1)))
                .arg("--check") // A damaged download is found when it is unpacked.
                .arg("-o")
                .arg(to),
            // `-l`: the legacy format; `-12`: the highest level.
            Compression::Lz4 => Cmd::new("lz4").args(["-q", "-f", "-l", "-12"]),
            // One thread: since 5.6 xz takes all by default, and cuts the input into blocks for them.
            Compression::Xz => Cmd::new("xz").args(["--threads=1", "--check=crc32", "--lzma2=dict=1MiB"]),
        };
        let command = command.arg(plain);
        let command = if self == Compression::Lz4 { command.arg(to) } else { command };
        command.run(&format!("compress {}", to.display()))?;
        // Two of the programs choose the name of their output.
        match self {
            Compression::Gzip => Ok(fs::rename(plain.with_added_extension("gz"), to)?),
            Compression::Xz => Ok(fs::rename(plain.with_added_extension("xz"), to)?),
            _ => Ok(()),
        }
    }
}

fn write_plain(path: &Path, fill: impl FnOnce(&mut BufWriter<fs::File>) -> Result<()>) -> Result<()> {
    let mut file = BufWriter::new(fs::File::create(path)?);
    fill(&mut file)?;
    Ok(file.flush()?)
}

/// Unpacks a file that zstd, xz or lz4 compressed into a new one, by the format that its first bytes name. `false`: they name
/// none.
///
/// # Errors
///
/// When the program is not installed or refuses the file, or a file cannot be written.
pub(crate) fn unpack(from: &Path, magic: &[u8], to: &Path) -> Result<bool> {
    let wanted = format!("unpack {}", from.display());
    match magic {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            // xz chooses the name of its output.
            let copy = to.with_added_extension("xz");
            fs::copy(from, &copy)?;
            Cmd::new("xz").args(["--decompress", "--force"]).arg(&copy).run(&wanted)?;
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Cmd::new("zstd").args(["--decompress", "--quiet", "--force", "-o"]).arg(to).arg(from).run(&wanted)?;
        }
        [0x02, 0x21, 0x4c, 0x18, ..] => Cmd::new("lz4").args(["-d", "-q", "-f"]).arg(from).arg(to).run(&wanted)?,
        _ => return Ok(false),
    }
    Ok(true)
}
