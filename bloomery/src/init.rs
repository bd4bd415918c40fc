//! PID 1 of an image with its symbols, which the image does not have.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use build_support::{Cmd, Dirs, Result, digest, store};

/// Crates that the program is made of. Code of a generic function of another crate counts to the first of these that its
/// name has.
const CRATES: &[&str] = &[
    "dhcpc",
    "echod",
    "initctl",
    "modprobe",
    "ntpc",
    "status",
    "syslogc",
    "slots",
    "updater",
    "growfs",
    "init_base",
    "init",
];
/// What other Rust code is.
const STD: &str = "core, alloc, std and small crates";
/// What has names of C: Rust's have a path.
const C: &str = "musl and compiler-rt";

/// The program with symbols and debug information: of the result in the store whose program the image has. `manifest` is
/// the image's list of files. None where the image has another init, or the store no result any more.
///
/// # Errors
/// A store that cannot be read.
pub fn symbols(dirs: &Dirs, manifest: &str) -> Result<Option<PathBuf>> {
    let row = manifest.lines().find(|row| row.starts_with("/usr/bin/init\tfile\t"));
    let Some(hash) = row.and_then(|row| row.split('\t').nth(4)) else { return Ok(None) };
    for entry in store::entries(&dirs.store())?.iter().filter(|entry| entry.stage.starts_with("init-")) {
        let (program, debug) = (entry.out().join("sbin/init"), entry.out().join("debug/init.debug"));
        if debug.is_file() && program.is_file() && digest::file(&program)? == hash {
            return Ok(Some(debug));
        }
    }
    Ok(None)
}

/// Bytes of the program's functions and data by crate, the largest first.
///
/// # Errors
/// A toolchain that is not there.
pub fn crates(dirs: &Dirs, program: &Path) -> Result<Vec<(String, u64)>> {
    let nm = Cmd::new(dirs.target.join("bloomery/toolchain/bin/llvm-nm"));
    let table = nm.args(["--print-size", "--demangle", "--defined-only"]).arg(program).read("read init's symbols")?;
    Ok(by_crate(&table))
}

fn by_crate(table: &str) -> Vec<(String, u64)> {
    let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
    for line in table.lines() {
        // Address, size, kind and name; a symbol without size has no second column.
        let fields: Vec<&str> = line.splitn(4, ' ').collect();
        if let [_, size, kind, name] = fields[..]
            && let Ok(size) = u64::from_str_radix(size, 16)
            && !kind.eq_ignore_ascii_case("b")
        // No bytes of the file.
        {
            let is_of = |word: &&&str| name.match_indices(&format!("{word}::")).any(|(at, _)| begins(name, at));
            let other = if name.contains("::") || name.contains("rust") { STD } else { C };
            *sizes.entry(CRATES.iter().find(is_of).copied().unwrap_or(other)).or_default() += size;
        }
    }
    let mut parts: Vec<(String, u64)> = sizes.into_iter().map(|(name, size)| (name.to_string(), size)).collect();
    parts.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    parts
}

/// Whether a word of a path begins there, and no longer one ends.
fn begins(name: &str, at: usize) -> bool {
    name[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_count_to_crates() {
        let table = "0000000000200000 0000000000000010 t init::boot::run\n\
                     0000000000200010 0000000000000020 t <echod::sys::Ring>::poll::<&std::os::fd::owned::OwnedFd>\n\
                     0000000000200030 0000000000000002 t core::ptr::drop_in_place::<core::option::Option<echod::Peer>>\n\
                     0000000000200032 0000000000000003 r core::init::x\n\
                     0000000000200035 0000000000000004 t <init_base::sys::Errno as core::fmt::Debug>::fmt\n\
                     0000000000200039 0000000000000100 b init::BUFFER\n\
                     0000000000200139 T _start\n\
                     0000000000200140 0000000000000005 T memcpy\n\
                     0000000000200150 0000000000000001 T __rust_alloc\n";
        let pair = |name: &str, size| (name.to_string(), size);
        let expected = [pair("echod", 0x22), pair("init", 0x10), pair(C, 5), pair(STD, 4), pair("init_base", 4)];
        assert_eq!(by_crate(table), expected);
    }
}
