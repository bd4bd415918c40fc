//! `growfs`: makes the root partition end where the disk does, and its ext4 file system fill it, while it is in use. For images that
//! were written to a larger disk. It is linked into init's program, which runs it by this name.
//!
//! [`gpt`] is the partition table, [`place`] where the file system lies, and this file does it.
#![forbid(unsafe_code)]

mod gpt;
mod place;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;

use init_base::sys::files::{self, to_stderr};
use init_base::sys::storage;

use gpt::Table;
use place::Place;

const USAGE: &str = "\
usage: growfs [DIR]
Makes the partition of the file system at DIR (/) end where its disk ends, and the file system fill it.
The partition must be the last one of a GPT, and the file system ext4. It may be in use.
  --help  show this
";

/// Runs it with the arguments after the name; returns the exit code.
pub fn run(arguments: &[&str]) -> i32 {
    let result = match arguments {
        ["--help" | "-h"] => {
            let _ = files::write_all(rustix::stdio::stdout(), USAGE.as_bytes());
            return 0;
        }
        [] => grow("/"),
        [dir] if !dir.starts_with('-') => grow(dir),
        _ => {
            to_stderr(format_args!("growfs: unknown words: {}\nhint: growfs --help\n", arguments.join(" ")));
            return 2;
        }
    };
    match result {
        Ok(message) => {
            to_stderr(format_args!("growfs: {message}\n"));
            0
        }
        Err(message) => {
            to_stderr(format_args!("growfs: {message}\n"));
            1
        }
    }
}

/// Grows partition and file system; returns what was done.
fn grow(dir: &str) -> Result<String, String> {
    let place = Place::of(dir)?;
    let length =
        grow_partition(&place).map_err(|error| format!("cannot grow the partition {}: {error}", place.name))?;
    let root = File::open(dir).map_err(|error| format!("cannot open {dir}: {error}"))?;
    let (before, block) = size_of(&root)?;
    // The kernel does nothing where the size is the same. A file system fills whole blocks.
    storage::resize_ext4(&root, length / block)
        .map_err(|error| format!("cannot grow the file system at {dir}: {error}; hint: the kernel's log says more"))?;
    let (after, _) = size_of(&root)?;
    Ok(match before == after {
        true => format!("the file system at {dir} fills its disk already"),
        false => format!("the file system at {dir} grew from {} MiB to {} MiB", before >> 20, after >> 20),
    })
}

/// Bytes of a file system, and of its blocks.
fn size_of(root: &File) -> Result<(u64, u64), String> {
    let stat =
        rustix::fs::fstatfs(root).map_err(|error| format!("cannot ask for the size of the file system: {error}"))?;
    let block = u64::try_from(stat.f_bsize).unwrap_or(0).max(1);
    Ok((stat.f_blocks * block, block))
}

/// Makes the partition end where the disk ends; returns its bytes.
fn grow_partition(place: &Place) -> Result<u64, String> {
    let path = format!("/dev/{}", place.disk);
    let disk = OpenOptions::new().read(true).write(true).open(&path).map_err(|error| format!("{path}: {error}"))?;
    let read = |at: u64, length: usize| {
        let mut bytes = vec![0; length];
        disk.read_exact_at(&mut bytes, at).map(|()| bytes).unwrap_or_default()
    };
    let table = Table::read(place.sector, &read)?;
    let Some(plan) = table.grow(place.start, place.disk_size)? else { return Ok(place.size) };
    for (at, bytes) in &plan.writes {
        disk.write_all_at(bytes, *at).and_then(|()| disk.sync_data()).map_err(|error| format!("{path}: {error}"))?;
    }
    storage::resize_partition(&disk, place.number, place.start, plan.length)
        .map_err(|error| format!("the kernel refuses its new size: {error}"))?;
    Ok(plan.length)
}
