//! Another built-in command line in a compiled kernel: the kernel of a disk names that disk's root, and no kernel is compiled
//! for it.
//!
//! The text is in the kernel as it was configured (`CONFIG_CMDLINE`) and ends with a zero. In a file that unpacks itself it is
//! inside the compressed part, which is packed anew with the program and the options of the kernel's own build and must not
//! become longer; the EFI stub around it has another copy. The kernel's copy of its configuration (/proc/config.gz) is changed as
//! well, and gives room: its headings are left out.

use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use build_support::{Cmd, tree};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use fs_err as fs;

/// A line in place of another one, which is at least as long.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The line that was compiled in.
    pub from: &'a str,
    /// The line to have.
    pub to: &'a str,
    /// What follows it where the kernel has a buffer for the line and not the line alone, as on x86_64.
    pub more: &'a str,
}

/// The compressed part of a kernel that unpacks itself, in bytes of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Payload {
    start: usize,
    /// With everything up to the first byte that must stay where it is.
    length: usize,
    /// Bytes at its end that are no part of the compressed data: its size once unpacked.
    suffix: usize,
}

/// Bytes of the buffer (`COMMAND_LINE_SIZE` of arch/x86/include/asm/setup.h).
const BUFFER: usize = 2048;
/// The marks around the configuration (kernel/configs.c).
const CONFIG: (&[u8], &[u8]) = (b"IKCFG_ST", b"IKCFG_ED");

/// Magic numbers of compressed data: zstd (RFC 8878, section 3.1.1) and xz (The .xz File Format 1.2.1, section 2.1.1.1).
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];

impl Change<'_> {
    /// Writes the kernel `from` with the other line as `to`. `work` is a directory for files on the way. `false`: the
    /// compressed part became longer, so another line of the same length has to be tried; nothing is written then.
    ///
    /// # Errors
    ///
    /// When the new line is longer, or the old one is not in the kernel; when a kernel is compressed by something else than
    /// zstd and xz; when a file cannot be read or written.
    pub fn write(&self, from: &Path, to: &Path, work: &Path) -> Result<bool> {
        ensure!(
            self.to.len() <= self.from.len() && !self.to.contains('\0'),
            "a kernel that was compiled with a command line of {} characters cannot have one of {}",
            self.from.len(),
            self.to.len()
        );
        let kernel = self
            .apply(&fs::read(from)?, work)
            .with_context(|| format!("cannot set the command line of {}", from.display()))?;
        let Some(kernel) = kernel else { return Ok(false) };
        tree::copy(from, to)?;
        fs::write(to, kernel)?;
        Ok(true)
    }

    fn apply(&self, kernel: &[u8], work: &Path) -> Result<Option<Vec<u8>>> {
        let mut kernel = kernel.to_vec();
        match Payload::find(&kernel)? {
            None => {
                ensure!(self.replace(&mut kernel) > 0, "the line that was compiled in is not in it");
                self.replace_config(&mut kernel)?;
            }
            Some(payload) => {
                let Payload { start, length, suffix } = payload;
                let room = length - suffix;
                let packed = kernel.get(start..start + room).context("the file ends in its compressed part")?;
                let Some(packed) = self.repack(packed, work)? else { return Ok(None) };
                self.replace(&mut kernel);
                let place = &mut kernel[start..start + room];
                place.fill(0);
                place[..packed.len()].copy_from_slice(&packed);
            }
        }
        Ok(Some(kernel))
    }

    /// Replaces every copy. Their number.
    fn replace(&self, bytes: &mut [u8]) -> usize {
        let from = [self.from.as_bytes(), b"\0"].concat();
        let whole = [self.to, self.more].concat();
        let (mut at, mut copies) = (0, 0);
        while let Some(found) = find(&bytes[at..], &from) {
            at += found;
            let behind = bytes.get(at + from.len()..at + BUFFER);
            let in_buffer = behind.is_some_and(|rest| rest.iter().all(|byte| *byte == 0));
            let to = if in_buffer { &whole } else { self.to };
            let length = from.len().max(to.len());
            bytes[at..at + length].fill(0);
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            (at, copies) = (at + length, copies + 1);
        }
        copies
    }

    /// Replaces the line in the kernel's copy of its configuration, which is left as it is where the new one does not fit.
    fn replace_config(&self, bytes: &mut [u8]) -> Result<()> {
        let Some(start) = find(bytes, CONFIG.0).map(|at| at + CONFIG.0.len()) else { return Ok(()) };
        let Some(length) = find(&bytes[start..], CONFIG.1) else { return Ok(()) };
        let place = &mut bytes[start..start + length];
        let mut text = String::new();
        GzDecoder::new(&*place).read_to_string(&mut text).context("cannot read the kernel's configuration in it")?;
        let line = |line: &str| {
            let kept = !line.starts_with('#') || line.starts_with("# CONFIG_");
            kept.then(|| line.replace(self.from, &[self.to, self.more].concat()) + "\n")
        };
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(text.lines().filter_map(line).collect::<String>().as_bytes())?;
        let packed = packed.finish()?;
        if packed.len() <= place.len() {
            place.fill(0); // Zeros behind the data are part of the format's padding (gzip(1)).
            place[..packed.len()].copy_from_slice(&packed);
        }
        Ok(())
    }

    /// The compressed data with the line replaced; nothing when it became longer.
    fn repack(&self, packed: &[u8], work: &Path) -> Result<Option<Vec<u8>>> {
        let (old, plain, new) = (work.join("packed"), work.join("plain"), work.join("repacked"));
        fs::write(&old, packed)?;
        let xz = match packed {
            _ if packed.starts_with(ZSTD) => false,
            _ if packed.starts_with(XZ) => true,
            _ => bail!("it is compressed by something else than zstd and xz\nhint: ask for CONFIG_KERNEL_ZSTD=y"),
        };
        unpack(xz, &old, &plain)?;
        let mut bytes = fs::read(&plain)?;
        ensure!(self.replace(&mut bytes) > 0, "the line that was compiled in is not in its compressed part");
        self.replace_config(&mut bytes)?;
        fs::write(&plain, &bytes)?;
        pack(xz, &plain, &new)?;
        let made = fs::read(&new)?;
        for file in [old, plain, new].iter().filter(|file| file.exists()) {
            fs::remove_file(file)?;
        }
        Ok((made.len() <= packed.len()).then_some(made))
    }
}

impl Payload {
    /// The compressed part; nothing for a kernel without one (arm64's `Image`, `vmlinux`).
    fn find(kernel: &[u8]) -> Result<Option<Payload>> {
        let long = |at: usize| -> Result<usize> {
            let bytes = kernel.get(at..at + 4).context("the file is too short for a kernel")?;
            Ok(u32::from_le_bytes(bytes.try_into()?) as usize)
        };
        // drivers/firmware/efi/libstub/zboot-header.S: offset, length without the size once unpacked, name of the format.
        if kernel.get(4..8) == Some(b"zimg") {
            let suffix = if kernel.get(24..28) == Some(b"gzip") { 0 } else { 4 };
            return Ok(Some(Payload { start: long(8)?, length: long(12)? + suffix, suffix }));
        }
        // Documentation/arch/x86/boot.rst: `header`, `setup_sects`, `payload_offset` and `payload_length`, which has the size
        // once unpacked as well.
        if kernel.get(0x202..0x206) == Some(b"HdrS") {
            let setup = match kernel[0x1f1] {
                0 => 4,
                sectors => usize::from(sectors),
            };
            return Ok(Some(Payload { start: (setup + 1) * 512 + long(0x248)?, length: long(0x24c)?, suffix: 4 }));
        }
        Ok(None)
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    // The first byte alone is looked for in a way that the compiler makes fast.
    let mut at = 0;
    while let Some(next) = bytes[at..].iter().position(|byte| *byte == wanted[0]) {
        at += next;
        if bytes[at..].starts_with(wanted) {
            return Some(at);
        }
        at += 1;
    }
    None
}

fn unpack(xz: bool, from: &Path, to: &Path) -> Result<()> {
    if xz {
        return run_xz(&["--decompress"], from, &from.with_added_extension("xz"), from, to);
    }
    Cmd::new("zstd").args(["--decompress", "--quiet", "--force", "-o"]).arg(to).arg(from).run("unpack the kernel")
}

/// As scripts/Makefile.lib does it: `cmd_zstd22`, which knows no size, and `cmd_xzkern` by scripts/xz_wrap.sh.
fn pack(xz: bool, from: &Path, to: &Path) -> Result<()> {
    if xz {
        let options = ["--check=crc32", "--threads=1", "--x86", "--lzma2=dict=128MiB"];
        return run_xz(&options, from, from, &from.with_added_extension("xz"), to);
    }
    let command = Cmd::new("zstd").args(["-22", "--ultra", "--quiet", "--force", "-o"]).arg(to);
    command.input(from).run("compress the kernel")
}

/// xz chooses the name of its output, `made`, by the one of its input.
fn run_xz(options: &[&str], from: &Path, input: &Path, made: &Path, to: &Path) -> Result<()> {
    if input != from {
        fs::copy(from, input)?;
    }
    Cmd::new("xz").args(options).args(["--keep", "--force"]).arg(input).run("pack or unpack the kernel")?;
    if input != from {
        fs::remove_file(input)?;
    }
    Ok(fs::rename(made, to)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: &str = "root=PARTUUID=old rootwait ro quiet";
    const TO: &str = "root=PARTUUID=new rootwait=30 quiet";

    /// A file as firmware and boot loaders see it: head, compressed part with its size behind it, the stub's copy.
    fn packed(xz: bool, head: &[u8], line: &str, work: &Path) -> Vec<u8> {
        let (plain, made) = (work.join("inner"), work.join("inner.packed"));
        let noise: Vec<u8> = (0..200_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        fs::write(&plain, [&noise[..], line.as_bytes(), &[0; 9], &noise[..1000]].concat()).unwrap();
        pack(xz, &plain, &made).unwrap();
        let inner = fs::read(&made).unwrap();
        let mut file = vec![0; 0x400];
        file[..head.len()].copy_from_slice(head);
        if head.starts_with(b"MZ\0\0zimg") {
            file[8..12].copy_from_slice(&0x400u32.to_le_bytes());
            file[12..16].copy_from_slice(&(inner.len() as u32).to_le_bytes());
        } else {
            file[0x1f1] = 1;
            file[0x202..0x206].copy_from_slice(b"HdrS");
            file[0x24c..0x250].copy_from_slice(&(inner.len() as u32 + 4).to_le_bytes());
        }
        [&file[..], &inner, &[1, 2, 3, 4], line.as_bytes(), b"\0end"].concat()
    }

    fn unpacked(xz: bool, kernel: &[u8], work: &Path) -> Vec<u8> {
        let Payload { start, length, suffix } = Payload::find(kernel).unwrap().unwrap();
        let (from, to) = (work.join("check"), work.join("checked"));
        let data = &kernel[start..start + length - suffix];
        // A frame ends where it says so, and both programs mind what lies behind it.
        let end = data.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        fs::write(&from, &data[..if xz { end.next_multiple_of(4) } else { end }]).unwrap();
        unpack(xz, &from, &to).unwrap();
        fs::read(to).unwrap()
    }

    #[test]
    fn every_copy_of_the_line_is_replaced_and_all_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path();
        let (from, to) = (work.join("from"), work.join("to"));
        let change = Change { from: FROM, to: TO, more: "" };
        for (xz, head) in [(false, &b"MZ\0\0zimg"[..]), (false, b"MZ"), (true, b"MZ")] {
            let kernel = packed(xz, head, FROM, work);
            fs::write(&from, &kernel).unwrap();
            let fits = change.write(&from, &to, work).unwrap();
            // The lines have one length, and their letters cost a few bits more or less.
            assert!(fits || !to.exists());
            if !fits {
                continue;
            }
            let made = fs::read(&to).unwrap();
            assert_eq!(made.len(), kernel.len());
            assert!(find(&made, TO.as_bytes()).is_some() && made.ends_with(b"\0end"));
            assert!(find(&made, FROM.as_bytes()).is_none());
            let (old, new) = (unpacked(xz, &kernel, work), unpacked(xz, &made, work));
            let different: Vec<usize> = (0..old.len()).filter(|&at| old[at] != new[at]).collect();
            assert!(old.len() == new.len() && different.iter().all(|at| (800_000..800_040).contains(at)));
            assert!(find(&new, &[TO.as_bytes(), b"\0"].concat()).is_some());
            fs::remove_file(&to).unwrap();
        }
    }

    #[test]
    fn a_plain_kernel_has_its_line_replaced_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, [b"ARM\x64 ", FROM.as_bytes(), b"\0x", FROM.as_bytes(), b"\0"].concat()).unwrap();
        assert!(Change { from: FROM, to: "root=new", more: " loglevel=5" }.write(&from, &to, dir.path()).unwrap());
        let made = fs::read(&to).unwrap();
        assert_eq!((made.len(), &made[..14]), (8 + 2 * FROM.len(), &b"ARM\x64 root=new\0"[..14]));
        let error = |from: &str, to_line: &str| {
            let change = Change { from, to: to_line, more: "" };
            format!("{:#}", change.write(&dir.path().join("from"), &to, dir.path()).unwrap_err())
        };
        // A buffer has room for more; the configuration is as long as it was, and says the same.
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        let noise: String =
            (0..99u32).map(|n| format!("#\n# Heading {}\n#\n", n.wrapping_mul(2_654_435_761))).collect();
        write!(packed, "{noise}CONFIG_CMDLINE=\"{FROM}\"\n# CONFIG_X is not set\n").unwrap();
        let config = [CONFIG.0, &packed.finish().unwrap(), CONFIG.1].concat();
        let mut kernel = [FROM.as_bytes(), &[0; BUFFER], FROM.as_bytes(), b"\0", &config].concat();
        let length = kernel.len();
        let change = Change { from: FROM, to: TO, more: " loglevel=5" };
        assert_eq!(change.replace(&mut kernel), 2);
        change.replace_config(&mut kernel).unwrap();
        assert!(kernel.len() == length && kernel.starts_with(format!("{TO} loglevel=5\0").as_bytes()));
        assert!(find(&kernel, format!("{TO}\0IKCFG_ST").as_bytes()).is_some() && kernel.ends_with(CONFIG.1));
        let start = find(&kernel, CONFIG.0).unwrap() + CONFIG.0.len();
        let mut text = String::new();
        GzDecoder::new(&kernel[start..]).read_to_string(&mut text).unwrap();
        assert_eq!(text, format!("CONFIG_CMDLINE=\"{TO} loglevel=5\"\n# CONFIG_X is not set\n"));
        assert!(error("another line", "x").contains("is not in it"));
        assert!(error("short", "much longer").contains("5 characters cannot have one of 11"));
    }
}
