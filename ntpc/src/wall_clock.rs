//! The kernel's wall clock.

use init_base::sys::{Errno, Result, check};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

const SECOND: i128 = 1_000_000_000;

/// Sets the wall clock by so many nanoseconds.
pub fn step(nanoseconds: i64) -> Result<()> {
    let now = clock_gettime(ClockId::Realtime);
    let sum = i128::from(now.tv_sec) * SECOND + i128::from(now.tv_nsec) + i128::from(nanoseconds);
    let seconds = i64::try_from(sum.div_euclid(SECOND)).map_err(|_| Errno::INVAL)?;
    let time = Timespec { tv_sec: seconds, tv_nsec: sum.rem_euclid(SECOND) as _ };
    clock_settime(ClockId::Realtime, time)
}

/// Lets the wall clock run up to 0.5 ms a second faster or slower until so many nanoseconds are gone (adjtimex(2),
/// `ADJ_OFFSET_SINGLESHOT`).
pub fn slew(nanoseconds: i64) -> Result<()> {
    // SAFETY: all fields are integers.
    let mut change: libc::timex = unsafe { core::mem::zeroed() };
    change.modes = libc::ADJ_OFFSET_SINGLESHOT;
    change.offset = (nanoseconds / 1000) as _;
    // SAFETY: the call reads and writes one `struct timex`.
    check(unsafe { libc::adjtimex(&mut change) }).map(drop)
}
