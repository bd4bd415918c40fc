//! Input devices (evdev), as far as a power button needs them.

use std::os::fd::{AsFd, AsRawFd};

use super::{Result, check};

/// `EV_KEY` of linux/input-event-codes.h.
const EV_KEY: u16 = 1;
/// One bit for each key code up to `KEY_MAX` (0x2ff), linux/input-event-codes.h.
const KEY_BYTES: usize = 0x300 / 8;

/// `EVIOCGBIT(EV_KEY, KEY_BYTES)`: _IOR('E', 0x20 + EV_KEY, KEY_BYTES).
const EVIOCGBIT_KEY: u32 = 2 << 30 | (KEY_BYTES as u32) << 16 | 0x45 << 8 | 0x21;
/// `EVIOCSMASK`: _IOW('E', 0x93, struct input_mask), Linux 4.4.
const EVIOCSMASK: u32 = 1 << 30 | (size_of::<InputMask>() as u32) << 16 | 0x45 << 8 | 0x93;

/// `struct input_mask` of linux/input.h.
#[repr(C)]
struct InputMask {
    kind: u32,
    codes_size: u32,
    codes_ptr: u64,
}

/// Whether the device can send the key `code`.
pub fn has_key(fd: impl AsFd, code: u16) -> Result<bool> {
    let mut keys = [0u8; KEY_BYTES];
    // SAFETY: the request's size field is the size of `keys`, and the kernel writes no more than that.
    check(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), EVIOCGBIT_KEY as _, keys.as_mut_ptr()) })?;
    Ok(keys[usize::from(code / 8)] & (1 << (code % 8)) != 0)
}

/// Asks the kernel for no key but `code`, so that a keyboard's other keys do not wake the reader.
pub fn only_key(fd: impl AsFd, code: u16) -> Result<()> {
    let mut keys = [0u8; KEY_BYTES];
    keys[usize::from(code / 8)] |= 1 << (code % 8);
    let mask = InputMask { kind: u32::from(EV_KEY), codes_size: KEY_BYTES as u32, codes_ptr: keys.as_ptr() as u64 };
    // SAFETY: the kernel reads `mask` and `codes_size` bytes at `codes_ptr`; both outlive the call.
    check(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), EVIOCSMASK as _, &mask) })?;
    Ok(())
}

/// A key event: code and value (0 released, 1 pressed, 2 repeated).
pub type Key = (u16, i32);

/// The key events among the `struct input_event` records in `bytes`.
///
/// The record is 24 bytes on 64-bit machines: two 8-byte times, type, code, value.
pub fn keys(bytes: &[u8]) -> impl Iterator<Item = Key> + '_ {
    bytes.chunks_exact(24).filter_map(|record| {
        let field = |at: usize| u16::from_ne_bytes([record[at], record[at + 1]]);
        let value = i32::from_ne_bytes([record[20], record[21], record[22], record[23]]);
        (field(16) == EV_KEY).then(|| (field(18), value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ioctl_numbers_are_those_of_the_kernel() {
        // Computed with the C macros of linux/input.h.
        assert_eq!(EVIOCGBIT_KEY, 0x8060_4521);
        assert_eq!(EVIOCSMASK, 0x4010_4593);
    }

    #[test]
    fn only_key_records_are_keys() {
        let mut bytes = vec![0u8; 48];
        bytes[16] = 1;
        bytes[18] = 116;
        bytes[20] = 1;
        assert_eq!(keys(&bytes).collect::<Vec<_>>(), [(116, 1)]);
        assert_eq!(keys(&bytes[..23]).count(), 0);
    }
}
