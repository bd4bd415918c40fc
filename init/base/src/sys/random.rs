//! The kernel's random number generator.

use std::os::fd::{AsFd, AsRawFd};

use rustix::rand::GetRandomFlags;

use super::{Errno, Result, check, retry};

/// Bytes of a seed: 256 bits, which is the state of the generator since Linux 5.18.
pub const SEED: usize = 32;

/// `RNDADDENTROPY`: _IOW('R', 0x03, int \[2\]), linux/random.h.
const RNDADDENTROPY: u32 = 1 << 30 | 8 << 16 | 0x52 << 8 | 0x03;

/// `struct rand_pool_info` with room for one seed.
#[repr(C)]
struct PoolInfo {
    entropy_bits: i32,
    size: i32,
    bytes: [u8; SEED],
}

/// Mixes a seed into the generator that `fd` (/dev/urandom) belongs to, and credits it with all its bits.
pub fn add_credited(fd: impl AsFd, seed: &[u8; SEED]) -> Result<()> {
    let info = PoolInfo { entropy_bits: SEED as i32 * 8, size: SEED as i32, bytes: *seed };
    // SAFETY: the request reads a `struct rand_pool_info` whose `size` is that of the bytes that follow it.
    check(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), RNDADDENTROPY as _, &info) }).map(drop)
}

/// A new seed from the generator; `EAGAIN` while the kernel has not gathered enough randomness itself. Never waits.
pub fn seed() -> Result<[u8; SEED]> {
    let mut seed = [0; SEED];
    let count = retry(|| rustix::rand::getrandom(&mut seed[..], GetRandomFlags::NONBLOCK))?;
    // Up to 256 bytes come at once or not at all (getrandom(2)).
    if count == SEED { Ok(seed) } else { Err(Errno::IO) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ioctl_number_is_that_of_the_kernel() {
        // Computed with the C macro of linux/random.h.
        assert_eq!(RNDADDENTROPY, 0x4008_5203);
        assert_eq!(size_of::<PoolInfo>(), 8 + SEED);
    }

    #[test]
    fn two_seeds_differ() {
        assert_ne!(seed().unwrap(), seed().unwrap());
    }
}
