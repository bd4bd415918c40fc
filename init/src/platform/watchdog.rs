//! The hardware watchdog, which resets the machine when PID 1 no longer feeds it. The supervisor feeds it from its loop.
//!
//! It is off unless `init.watchdog=SECONDS` is on the kernel command line. An open watchdog stays armed when it is closed
//! or its owner dies; only [`Watchdog::disarm`] stops it.

use core::time::Duration;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::log::{debug, error, info};
use crate::sys::{Result, files, system, watchdog};

/// Where the kernel lists the devices.
const CLASS: &str = "/sys/class/watchdog";
/// The time-out while the system goes down: longer, because one step may take long, but a hung shutdown still ends in a
/// reset (systemd's RebootWatchdogSec has the same default).
pub const GOING_DOWN: Duration = Duration::from_secs(600);

/// An armed watchdog.
pub struct Watchdog {
    fd: OwnedFd,
    timeout: Duration,
    next: Duration,
    failed: bool,
}

impl Watchdog {
    /// Opens and arms the machine's watchdog.
    ///
    /// # Errors
    /// Describes why there is none, or that it is in use.
    pub fn open(seconds: i32) -> core::result::Result<Watchdog, String> {
        let names = files::list_dir(CLASS).unwrap_or_default();
        let paths: Vec<_> =
            names.iter().map(|name| (name.as_str(), files::read_link(&format!("{CLASS}/{name}")))).collect();
        let paths: Vec<_> = paths.iter().map(|(name, link)| (*name, link.as_deref().unwrap_or_default())).collect();
        let path = best(&paths).map_or_else(|| "/dev/watchdog".into(), |name| format!("/dev/{name}"));
        let fd = files::open_log(&path)
            .map_err(|error| format!("cannot open {path}: {error}; the system runs without a watchdog"))?;
        let mut watchdog = Watchdog::new(fd);
        watchdog.set_timeout(seconds);
        info!("{path} resets the machine when init does not run for {} s", watchdog.timeout.as_secs());
        Ok(watchdog)
    }

    /// The watchdog that the program before this one armed.
    pub fn new(fd: OwnedFd) -> Watchdog {
        // A device that does not tell is fed every half second.
        let seconds = watchdog::timeout(&fd).ok().and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(1);
        Watchdog { fd, timeout: Duration::from_secs(seconds.max(1)), next: Duration::ZERO, failed: false }
    }

    /// Asks for another time-out; a device that cannot wait so long keeps the one it has.
    pub fn set_timeout(&mut self, seconds: i32) {
        match watchdog::set_timeout(&self.fd, seconds) {
            Ok(chosen) => self.timeout = Duration::from_secs(u64::try_from(chosen).unwrap_or(1).max(1)),
            Err(error) => {
                debug!("the watchdog keeps its time-out of {} s: {error}", self.timeout.as_secs());
            }
        }
        self.next = Duration::ZERO;
    }

    /// When it has to be fed, on the clock of [`system::uptime`].
    pub fn deadline(&self) -> Duration {
        self.next
    }

    /// Feeds it when half of its time is over.
    pub fn feed_if_due(&mut self, now: Duration) {
        if now < self.next {
            return;
        }
        self.next = after(now, self.timeout);
        match watchdog::feed(&self.fd) {
            Ok(()) => self.failed = false,
            Err(error) if !self.failed => {
                self.failed = true;
                error!("cannot feed the watchdog: {error}; the machine may reset in {} s", self.timeout.as_secs());
            }
            Err(_) => {}
        }
    }

    /// Gives it the longer time of a shutdown.
    pub fn go_down(&mut self) {
        self.set_timeout(i32::try_from(GOING_DOWN.as_secs()).unwrap_or(i32::MAX));
        self.feed_if_due(system::uptime());
    }

    /// Stops it, for a PID 1 that does not feed it, or a halt.
    pub fn disarm(self) -> Result<()> {
        watchdog::allow_close(&self.fd)
    }
}

impl AsFd for Watchdog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The next feeding: half of the time-out is the kernel documentation's advice.
fn after(now: Duration, timeout: Duration) -> Duration {
    now.saturating_add(timeout / 2)
}

/// The device to use among (name, where its link points): hardware before the kernel's own timer, which lives among the
/// virtual devices and dies with the kernel.
fn best<'a>(devices: &[(&'a str, &str)]) -> Option<&'a str> {
    let hardware = devices.iter().find(|(_, link)| !link.contains("/virtual/"));
    hardware.or(devices.first()).map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_comes_first() {
        let soft = ("watchdog0", "../../devices/virtual/watchdog/watchdog0");
        let hard = ("watchdog1", "../../devices/pci0000:00/0000:00:04.0/watchdog/watchdog1");
        assert_eq!(best(&[soft, hard]), Some("watchdog1"));
        assert_eq!(best(&[soft]), Some("watchdog0"));
        assert_eq!(best(&[]), None);
    }

    #[test]
    fn it_is_fed_at_half_its_time() {
        assert_eq!(after(Duration::from_secs(10), Duration::from_secs(5)), Duration::from_millis(12_500));
        // A device that is no watchdog reports no timeout and is fed every half second.
        let mut watchdog = Watchdog::new(files::open_log("/dev/null").unwrap());
        assert_eq!(watchdog.deadline(), Duration::ZERO);
        watchdog.feed_if_due(Duration::from_secs(3));
        assert_eq!(watchdog.deadline(), Duration::from_millis(3500));
        watchdog.feed_if_due(Duration::from_millis(3400));
        assert_eq!(watchdog.deadline(), Duration::from_millis(3500));
        assert!(watchdog.disarm().is_ok());
    }
}
