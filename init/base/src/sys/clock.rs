//! The wall clock and the battery-backed clock (RTC).

use core::time::Duration;
use std::os::fd::{AsFd, AsRawFd};

use super::{Errno, Result, check};

/// `struct rtc_time` of linux/rtc.h: nine C ints, as `struct tm`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// 0 to 59.
    pub second: i32,
    /// 0 to 59.
    pub minute: i32,
    /// 0 to 23.
    pub hour: i32,
    /// Day of the month, from 1.
    pub day: i32,
    /// 0 is January.
    pub month: i32,
    /// Years since 1900.
    pub year: i32,
    /// Not used by the kernel, like the two below.
    pub weekday: i32,
    /// Day of the year.
    pub yearday: i32,
    /// Daylight saving time.
    pub dst: i32,
}

/// `RTC_RD_TIME`: _IOR('p', 0x09, struct rtc_time).
const RTC_RD_TIME: u32 = 2 << 30 | (size_of::<Fields>() as u32) << 16 | 0x70 << 8 | 0x09;
/// `RTC_SET_TIME`: _IOW('p', 0x0a, struct rtc_time).
const RTC_SET_TIME: u32 = 1 << 30 | (size_of::<Fields>() as u32) << 16 | 0x70 << 8 | 0x0a;

/// Reads the RTC `fd`.
pub fn read_rtc(fd: impl AsFd) -> Result<Fields> {
    let mut fields = Fields::default();
    // SAFETY: the request writes one `struct rtc_time`.
    check(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), RTC_RD_TIME as _, &mut fields) })?;
    Ok(fields)
}

/// Sets the RTC `fd`.
pub fn set_rtc(fd: impl AsFd, fields: &Fields) -> Result<()> {
    // SAFETY: the request reads one `struct rtc_time`.
    check(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), RTC_SET_TIME as _, fields) }).map(drop)
}

/// The wall clock, in seconds since 1970 UTC.
pub fn now() -> i64 {
    rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec
}

/// The wall clock in milliseconds since 1970 UTC.
pub fn milliseconds() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    now.tv_sec.saturating_mul(1000).saturating_add(now.tv_nsec as i64 / 1_000_000)
}

/// 2026-01-01 00:00 UTC in seconds since 1970, the date of the files in the images. PID 1 sets a clock that nothing tells to it.
pub const SOURCE_DATE: i64 = 1_767_225_600;

/// Whether anybody has set a wall clock that shows so many milliseconds on a machine that has run for so long. One that PID 1 set to
/// [`SOURCE_DATE`] some time after the machine's start says that the machine started before that date.
pub fn is_set(milliseconds: i64, uptime: Duration) -> bool {
    let started = milliseconds.saturating_sub(i64::try_from(uptime.as_millis()).unwrap_or(i64::MAX));
    started >= SOURCE_DATE * 1000
}

/// Sets the wall clock, in seconds since 1970 UTC.
pub fn set(seconds: i64) -> Result<()> {
    if seconds < 0 {
        return Err(Errno::INVAL);
    }
    let time = rustix::time::Timespec { tv_sec: seconds, tv_nsec: 0 };
    rustix::time::clock_settime(rustix::time::ClockId::Realtime, time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ioctl_numbers_are_those_of_the_kernel() {
        // Computed with the C macros of linux/rtc.h.
        assert_eq!(RTC_RD_TIME, 0x8024_7009);
        assert_eq!(RTC_SET_TIME, 0x4024_700a);
    }
}
