//! A seed for the kernel's random numbers, kept from one run of the system to the next.
//!
//! The boot calls [`start`], the shutdown [`save`]. The seed is 256 bits from the kernel's own generator. It is credited,
//! so that programs which wait for random numbers start at once on machines without another source. To be worth that it
//! is used once: the file is removed, on the disk, before its content is credited, and a new one is written at once. A file
//! that others can read, or that cannot be removed (a read-only root), is mixed in without credit.

use crate::log::{debug, error, warn};
use crate::sys::files::Status;
use crate::sys::random::{self, SEED};
use crate::sys::{Errno, Result, files, process};

const PATH: &str = "/var/lib/random-seed";
const DIR: &str = "/var/lib";
/// Reading and writing it is the way into the generator; it never waits.
const DEVICE: &str = "/dev/urandom";

/// Uses the seed of the last run and writes another, in a process of its own, because that waits for the disk. Without a seed
/// of the last run there is nothing to do before the shutdown.
pub fn start() {
    if files::status(PATH) == Err(Errno::NOENT) {
        return;
    }
    let child = || {
        renew();
        0
    };
    if let Err(error) = process::fork(child) {
        warn!("the random seed is not used: {error}");
    }
}

/// Writes a seed for the next run; the caller syncs.
pub fn save() {
    if let Err(error) = write_new(false) {
        unwritten(error);
    }
}

fn renew() {
    match files::read_file(PATH) {
        Ok(old) => {
            let trusted = files::status(PATH).is_ok_and(|status| is_private(&status));
            if let Err(error) = consume(&old, trusted) {
                error!("cannot use the random seed {PATH}: {error}");
            }
        }
        Err(Errno::NOENT) => {}
        Err(error) => error!("cannot read {PATH}: {error}"),
    }
    // The new seed comes from what the old one was mixed with, so nobody who knows the old one knows it.
    if let Err(error) = write_new(true) {
        unwritten(error);
    }
}

/// Puts the old seed into the generator, credited when it can be trusted and is gone from the disk for good.
fn consume(old: &[u8], trusted: bool) -> Result<()> {
    let device = files::open_device(DEVICE)?;
    let gone = files::remove(PATH).and_then(|()| files::sync_dir(DIR));
    let whole: Option<&[u8; SEED]> = old.first_chunk();
    match (whole, gone) {
        (Some(seed), Ok(())) if trusted => {
            random::add_credited(&device, seed)?;
            files::write_all(&device, old.get(SEED..).unwrap_or_default())
        }
        (_, gone) => {
            if let Err(error) = gone {
                debug!("{PATH} cannot be removed ({error}) and counts for nothing");
            }
            files::write_all(&device, old)
        }
    }
}

/// Whether nobody but root could know the file's content.
fn is_private(status: &Status) -> bool {
    status.regular && status.owner == 0 && status.mode & 0o077 == 0
}

fn write_new(durable: bool) -> Result<()> {
    let seed = random::seed()?;
    // A first boot has no such directory.
    let _ = files::make_dir(DIR, 0o755);
    files::replace_file(PATH, 0o600, &seed, durable)?;
    if durable { files::sync_dir(DIR) } else { Ok(()) }
}

fn unwritten(error: Errno) {
    match error {
        // The kernel's generator has nothing worth keeping yet, or there is no place to keep it.
        Errno::AGAIN | Errno::ROFS | Errno::NOENT => debug!("no random seed is kept: {error}"),
        error => error!("cannot write {PATH}: {error}; the next start has to gather randomness anew"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_roots_own_file_is_private() {
        let good = Status { regular: true, mode: 0o600, owner: 0, modified: 0 };
        assert!(is_private(&good));
        assert!(!is_private(&Status { mode: 0o640, ..good }));
        assert!(!is_private(&Status { mode: 0o604, ..good }));
        assert!(!is_private(&Status { owner: 1000, ..good }));
        assert!(!is_private(&Status { regular: false, ..good }));
    }
}
