//! The times of the boot as text: what ran when, and what the last service waited for.

use core::time::Duration;
use std::fmt::Write;

use init_base::protocol::{Kind, Span};

/// No activity for so long, and the boot is over: what starts later was started by a person or a device.
const PAUSE: Duration = Duration::from_secs(60);

/// The spans that belong to the boot, by their starts.
pub fn of_the_boot(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_by_key(|span| span.start);
    let mut active = Duration::ZERO;
    let mut count = 0;
    for span in &spans {
        if span.start > active.saturating_add(PAUSE) {
            break;
        }
        active = active.max(span.ready.unwrap_or(span.start));
        count += 1;
    }
    spans.truncate(count);
    spans
}

/// The report.
pub fn text(spans: &[Span]) -> String {
    let mut out = String::new();
    out.push_str(&summary(spans));
    out.push_str("\n     START       TIME\n");
    for span in spans {
        let time = match (span.kind, span.ready) {
            (Kind::Mark, _) => String::new(),
            (_, Some(ready)) => milliseconds(ready.saturating_sub(span.start)),
            (_, None) => "-".into(),
        };
        let what = match span.kind {
            Kind::Kernel | Kind::Phase => "",
            Kind::Service => "service ",
            Kind::Mark => "* ",
        };
        let note = if span.ready.is_none() { ": not ready" } else { "" };
        // Writing to memory does not fail.
        let _ = writeln!(out, "{:>10} {time:>10}  {what}{}{note}", milliseconds(span.start), span.name);
    }
    let chain = critical_chain(spans);
    if let Some(last) = chain.first() {
        let _ = writeln!(out, "\nlast to be ready: {}", last.name);
        for (depth, span) in chain.iter().enumerate() {
            let ready = span.ready.unwrap_or(span.start);
            let took = milliseconds(ready.saturating_sub(span.start));
            let _ = writeln!(out, "{:>10}  {}{} (took {took})", milliseconds(ready), "  ".repeat(depth), span.name);
        }
    }
    out
}

/// `kernel 312.4 ms, init 3.1 ms, ...`: where the time to each mark went.
fn summary(spans: &[Span]) -> String {
    let find = |kind, name: &str| spans.iter().find(|span| span.kind == kind && (name.is_empty() || span.name == name));
    let kernel = find(Kind::Kernel, "").and_then(|span| span.ready);
    let mut parts = Vec::new();
    if let Some(time) = kernel {
        parts.push(format!("kernel {} ms", milliseconds(time)));
    }
    if let Some(first) = find(Kind::Mark, "first process") {
        let own = first.start.saturating_sub(kernel.unwrap_or_default());
        parts.push(format!("init {} ms to its first process", milliseconds(own)));
    }
    if let Some(last) = critical_chain(spans).first()
        && let Some(ready) = last.ready
    {
        parts.push(format!("last service ready at {} ms", milliseconds(ready)));
    }
    format!("{}\n", parts.join(", "))
}

/// The service that was ready last, then of those that it waited for the one that was ready last, and so on.
fn critical_chain(spans: &[Span]) -> Vec<&Span> {
    let services = || spans.iter().filter(|span| span.kind == Kind::Service && span.ready.is_some());
    let mut chain: Vec<&Span> = Vec::new();
    let mut next = services().max_by_key(|span| span.ready);
    while let Some(span) = next {
        chain.push(span);
        // Each one once: a table with a circle must not make one here.
        let unseen = |other: &&Span| !chain.iter().any(|seen| seen.name == other.name);
        next = services().filter(|other| span.after.contains(&other.name)).filter(unseen).max_by_key(|span| span.ready);
    }
    chain
}

/// `312.4`.
pub fn milliseconds(time: Duration) -> String {
    let tenths = (time.as_micros() + 50) / 100;
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn span(kind: Kind, name: &str, start: u64, ready: Option<u64>, after: &[&str]) -> Span {
        Span {
            kind,
            name: name.into(),
            start: Duration::from_millis(start),
            ready: ready.map(Duration::from_millis),
            end: None,
            after: after.iter().map(|&name| name.into()).collect(),
        }
    }

    pub fn boot() -> Vec<Span> {
        vec![
            span(Kind::Kernel, "kernel", 0, Some(300), &[]),
            span(Kind::Phase, "mounts", 300, Some(304), &[]),
            span(Kind::Mark, "first process", 310, Some(310), &[]),
            span(Kind::Service, "net", 310, Some(350), &[]),
            span(Kind::Service, "seed", 311, Some(312), &[]),
            span(Kind::Service, "web", 350, Some(420), &["net", "seed"]),
            span(Kind::Service, "sick <&>", 351, None, &["net"]),
        ]
    }

    #[test]
    fn the_report() {
        let expected = "\
kernel 300.0 ms, init 10.0 ms to its first process, last service ready at 420.0 ms

     START       TIME
       0.0      300.0  kernel
     300.0        4.0  mounts
     310.0             * first process
     310.0       40.0  service net
     311.0        1.0  service seed
     350.0       70.0  service web
     351.0          -  service sick <&>: not ready

last to be ready: web
     420.0  web (took 70.0)
     350.0    net (took 40.0)
";
        assert_eq!(text(&boot()), expected);
    }

    #[test]
    fn a_circle_ends() {
        let circle = [span(Kind::Service, "a", 1, Some(2), &["b"]), span(Kind::Service, "b", 1, Some(3), &["a", "b"])];
        assert_eq!(critical_chain(&circle).len(), 2);
        assert_eq!(critical_chain(&[]).len(), 0);
    }

    #[test]
    fn what_a_person_starts_an_hour_later_is_not_the_boot() {
        let mut spans = boot();
        spans.insert(0, span(Kind::Service, "late", 3_600_000, Some(3_600_001), &[]));
        spans.insert(0, span(Kind::Service, "slow", 400, Some(59_000), &[]));
        spans.insert(0, span(Kind::Service, "after slow", 59_001, Some(59_002), &["slow"]));
        let names: Vec<String> = of_the_boot(spans).into_iter().map(|span| span.name).collect();
        assert!(names.contains(&"after slow".to_owned()) && !names.contains(&"late".to_owned()));
    }
}
