//! The boot's own times as [`Span`]s, to which the supervisor adds those of its services.

use core::time::Duration;

use super::{Kind, Span};
use crate::supervisor::timeline::Timeline;

/// The kernel, the phases of the boot and its marks.
pub fn spans(timeline: &Timeline) -> Vec<Span> {
    let span = |kind, name: &str, start: Duration, ready: Duration| Span {
        kind,
        name: name.into(),
        start,
        ready: Some(ready),
        end: None,
        after: Vec::new(),
    };
    let mut spans = vec![span(Kind::Kernel, "kernel", Duration::ZERO, timeline.init)];
    spans.extend(
        timeline
            .phases
            .iter()
            .map(|phase| span(Kind::Phase, &phase.name, phase.start, phase.start.saturating_add(phase.duration))),
    );
    let marks =
        [("first process", timeline.first_process), ("booted", timeline.booted), ("taken over", timeline.taken_over)];
    spans.extend(marks.iter().filter_map(|&(name, time)| time.map(|time| span(Kind::Mark, name, time, time))));
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_in_order() {
        let ms = Duration::from_millis;
        let mut timeline = Timeline::new(ms(300));
        timeline.add("mounts", ms(301), ms(304));
        timeline.first_process = Some(ms(310));
        let found: Vec<_> =
            spans(&timeline).into_iter().map(|span| (span.kind, span.name, span.start, span.ready)).collect();
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
