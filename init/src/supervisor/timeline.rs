//! How long each part of the boot took. The boot and the supervisor write it; the control tool's `analyze` reads it.

use core::time::Duration;
use std::borrow::Cow;

use crate::control::{Kind, Span};

/// More phases than any boot has; what comes after them is not kept.
const LIMIT: usize = 128;

/// A part of the boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Its name.
    pub name: Cow<'static, str>,
    /// When it started, after the kernel's start.
    pub start: Duration,
    /// How long it took.
    pub duration: Duration,
}

/// The boot's times; all are counted from the kernel's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// When PID 1 started: what came before is the kernel's.
    pub init: Duration,
    /// The phases, in the order of their ends.
    pub phases: Vec<Phase>,
    /// When the first program was started.
    pub first_process: Option<Duration>,
    /// When all `sysinit` and `wait` entries had ended.
    pub booted: Option<Duration>,
    /// When this program took over from the one before it, if it did.
    pub taken_over: Option<Duration>,
}

impl Timeline {
    /// The times of a boot whose PID 1 started at `init`.
    pub fn new(init: Duration) -> Timeline {
        Timeline { init, phases: Vec::with_capacity(24), ..Timeline::default() }
    }

    /// Adds a phase that ended at `end`.
    pub fn add(&mut self, name: impl Into<Cow<'static, str>>, start: Duration, end: Duration) {
        if self.phases.len() < LIMIT {
            self.phases.push(Phase { name: name.into(), start, duration: end.saturating_sub(start) });
        }
    }

    /// The kernel, the phases of the boot and its marks.
    pub fn spans(&self) -> Vec<Span> {
        let span = |kind, name: &str, start: Duration, ready: Duration| Span {
            kind,
            name: name.into(),
            start,
            ready: Some(ready),
            end: None,
            after: Vec::new(),
        };
        let mut spans = vec![span(Kind::Kernel, "kernel", Duration::ZERO, self.init)];
        spans.extend(
            self.phases
                .iter()
                .map(|phase| span(Kind::Phase, &phase.name, phase.start, phase.start.saturating_add(phase.duration))),
        );
        let marks = [("first process", self.first_process), ("booted", self.booted), ("taken over", self.taken_over)];
        spans.extend(marks.iter().filter_map(|&(name, time)| time.map(|time| span(Kind::Mark, name, time, time))));
        spans
    }

    /// One line about the phases: `boot at 312 ms: self 0.1 ms, console 0.4 ms, ...`. What took less than a
    /// twentieth of a millisecond is left out.
    pub fn summary(&self) -> String {
        let mut line = format!("boot at {} ms:", self.init.as_millis());
        let mut comma = "";
        for Phase { name, duration, .. } in &self.phases {
            let tenths = (duration.as_micros() + 50) / 100;
            if tenths > 0 {
                line += &format!("{comma} {name} {}.{} ms", tenths / 10, tenths % 10);
                comma = ",";
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_what_took_time() {
        let mut timeline = Timeline::new(Duration::from_millis(312));
        timeline.add("a", Duration::from_millis(312), Duration::from_micros(313_250));
        timeline.add("b", Duration::from_millis(314), Duration::from_micros(314_049));
        timeline.add("c", Duration::from_millis(314), Duration::from_micros(314_050));
        assert_eq!(timeline.summary(), "boot at 312 ms: a 1.3 ms, c 0.1 ms");
    }

    #[test]
    fn it_is_bounded_and_takes_a_clock_that_stands() {
        let mut timeline = Timeline::default();
        for _ in 0..2 * LIMIT {
            timeline.add("a", Duration::from_secs(2), Duration::from_secs(1));
        }
        assert_eq!(timeline.phases.len(), LIMIT);
        assert_eq!(timeline.phases[0].duration, Duration::ZERO);
    }

    #[test]
    fn the_boot_in_order() {
        let ms = Duration::from_millis;
        let mut timeline = Timeline::new(ms(300));
        timeline.add("mounts", ms(301), ms(304));
        timeline.first_process = Some(ms(310));
        let found: Vec<_> =
            timeline.spans().into_iter().map(|span| (span.kind, span.name, span.start, span.ready)).collect();
        assert_eq!(
            found,
            [
                (Kind::Kernel, "kernel".to_owned(), ms(0), Some(ms(300))),
                (Kind::Phase, "mounts".to_owned(), ms(301), Some(ms(304))),
                (Kind::Mark, "first process".to_owned(), ms(310), Some(ms(310))),
            ]
        );
    }
}
