//! The times of the boot as a chart (SVG): a row for each part, a bar from its start to its readiness.

use core::time::Duration;
use std::fmt::Write;

use super::analyze::milliseconds;
use init_base::protocol::{Kind, Span};

/// Pixels.
const WIDTH: u64 = 960;
const MARGIN: u64 = 20;
const ROW: u64 = 20;
const TOP: u64 = 64;
/// A letter of the chart's type is about so wide.
const LETTER: u64 = 7;
/// Lines of the time axis.
const TICKS: u64 = 10;

/// Colours: bar and its meaning.
const KERNEL: &str = "#8a94a6";
const PHASE: &str = "#4f8f6b";
const SERVICE: &str = "#d08c2e";
const NEVER: &str = "#c0504d";

/// The chart of `spans`, which are sorted by their starts.
pub fn svg(spans: &[Span]) -> String {
    // Marks have their names below the bars, each in a row of its own, because they may be close together.
    let height = TOP + spans.len() as u64 * ROW + MARGIN;
    let end = spans.iter().map(|span| span.ready.unwrap_or(span.start)).max().unwrap_or_default();
    let scale = Scale::new(end);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<title>Boot</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    legend(&mut out, end);
    axis(&mut out, &scale, height);
    let is_mark = |span: &&Span| span.kind == Kind::Mark;
    let bars = spans.iter().filter(|span| !is_mark(span));
    for (span, row) in bars.chain(spans.iter().filter(is_mark)).zip(0..) {
        let top = TOP + row * ROW;
        if is_mark(&span) { mark(&mut out, &scale, span, top) } else { bar(&mut out, &scale, span, top) }
    }
    out.push_str("</svg>\n");
    out
}

/// Times to pixels.
struct Scale {
    /// Microseconds over the chart's whole width.
    whole: u128,
    /// Microseconds between two lines of the axis: 1, 2 or 5 times a power of ten.
    tick: u128,
}

impl Scale {
    fn new(end: Duration) -> Scale {
        let whole = end.as_micros().max(1);
        let mut tick = 1;
        let mut steps = [2, 5, 10].iter().cycle();
        let mut power = 1;
        while tick * u128::from(TICKS) < whole {
            let step = *steps.next().unwrap_or(&10);
            tick = power * step;
            if step == 10 {
                power = tick;
            }
        }
        Scale { whole, tick }
    }

    /// Where a time is, in pixels from the left.
    fn at(&self, time: Duration) -> u64 {
        let width = u128::from(WIDTH - 2 * MARGIN);
        let pixels = time.as_micros().min(self.whole).saturating_mul(width) / self.whole;
        MARGIN + u64::try_from(pixels).unwrap_or(0)
    }
}

fn legend(out: &mut String, end: Duration) {
    // Writing to memory does not fail.
    let _ = writeln!(out, "<text x=\"{MARGIN}\" y=\"20\" font-size=\"15\">Boot: {} ms</text>", milliseconds(end));
    let entries = [(KERNEL, "kernel"), (PHASE, "init"), (SERVICE, "service: start to ready"), (NEVER, "not ready")];
    let mut x = 260;
    for (colour, text) in entries {
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"10\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"{}\" y=\"20\">{text}</text>",
            x + 17
        );
        x += 40 + text.len() as u64 * LETTER;
    }
}

fn axis(out: &mut String, scale: &Scale, height: u64) {
    let mut time = 0;
    while time <= scale.whole {
        let at = Duration::from_micros(u64::try_from(time).unwrap_or(u64::MAX));
        let x = scale.at(at);
        let bottom = height - MARGIN;
        let label = milliseconds(at);
        let label = label.strip_suffix(".0").unwrap_or(&label);
        let _ = writeln!(
            out,
            "<path d=\"M{x} {}V{bottom}\" stroke=\"#ddd\"/><text x=\"{x}\" y=\"{}\" fill=\"#666\" \
             text-anchor=\"middle\">{label}</text>",
            TOP - 8,
            TOP - 14
        );
        time += scale.tick;
    }
}

fn mark(out: &mut String, scale: &Scale, span: &Span, top: u64) {
    let (x, name, time) = (scale.at(span.start), escape(&span.name), milliseconds(span.start));
    let (beside, anchor) = if x > WIDTH / 2 { (x - 5, "end") } else { (x + 5, "start") };
    let _ = writeln!(
        out,
        "<path d=\"M{x} {}V{}\" stroke=\"#36c\" stroke-dasharray=\"4 3\"/>\
         <text x=\"{beside}\" y=\"{}\" fill=\"#36c\" text-anchor=\"{anchor}\">{name} {time} ms</text>",
        TOP - 8,
        top + ROW - 4,
        top + ROW - 6
    );
}

fn bar(out: &mut String, scale: &Scale, span: &Span, top: u64) {
    let (start, end) = (scale.at(span.start), scale.at(span.ready.unwrap_or(span.start)));
    // A bar that took no time is still to be seen.
    let width = end.saturating_sub(start).max(2);
    let colour = match (span.kind, span.ready) {
        (_, None) => NEVER,
        (Kind::Kernel, _) => KERNEL,
        (Kind::Phase, _) => PHASE,
        (Kind::Service | Kind::Mark, _) => SERVICE,
    };
    let time = match span.ready {
        Some(ready) => format!("{} ms", milliseconds(ready.saturating_sub(span.start))),
        None => "not ready".into(),
    };
    let (name, base) = (escape(&span.name), top + ROW - 6);
    let long = (span.name.chars().count() + time.len() + 2) as u64 * LETTER;
    // Beside the bar, on the side where there is room.
    let (x, anchor) =
        if start + width + long < WIDTH { (start + width + 5, "start") } else { (start.saturating_sub(5), "end") };
    let inside = anchor == "end" && start < long;
    let (x, anchor) = if inside { (start + 5, "start") } else { (x, anchor) };
    let _ = writeln!(
        out,
        "<g><title>{name}: {} to {} ms</title><rect x=\"{start}\" y=\"{}\" width=\"{width}\" height=\"{}\" \
         fill=\"{colour}\"/><text x=\"{x}\" y=\"{base}\" text-anchor=\"{anchor}\">{name} <tspan fill=\"#666\">{time}\
         </tspan></text></g>",
        milliseconds(span.start),
        span.ready.map_or_else(|| "?".into(), milliseconds),
        top + 2,
        ROW - 4
    );
}

/// Text as XML has it. Control characters, which XML has not, become blanks.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::analyze::tests::{boot, span};
    use super::*;

    /// Whether every tag is closed in order and no text has a bare `<` or `&`.
    fn is_well_formed(text: &str) -> bool {
        let mut open = Vec::new();
        for part in text.split('<').skip(1) {
            let Some((tag, content)) = part.split_once('>') else {
                return false;
            };
            let entities = content.split('&').skip(1);
            if entities
                .into_iter()
                .any(|rest| !["amp;", "lt;", "gt;", "quot;"].iter().any(|known| rest.starts_with(known)))
            {
                return false;
            }
            let name = tag.split([' ', '/']).find(|name| !name.is_empty()).unwrap_or_default();
            if tag.starts_with('/') {
                if open.pop() != Some(name) {
                    return false;
                }
            } else if !tag.ends_with('/') {
                open.push(name);
            }
        }
        open.is_empty()
    }

    #[test]
    fn a_chart_is_well_formed_whatever_names_are_in_it() {
        let chart = svg(&boot());
        assert!(is_well_formed(&chart), "{chart}");
        assert!(chart.contains("sick &lt;&amp;&gt;") && chart.contains(">not ready</tspan>"));
        assert_eq!(chart.matches("<g>").count(), 6);
        assert!(is_well_formed(&svg(&[])));
        assert!(!is_well_formed("<a><b></a>") && !is_well_formed("<a>&x;</a>"));
        assert_eq!(escape("a\0\x1b\"'"), "a  &quot;'");
    }

    #[test]
    fn bars_are_where_their_times_are() {
        let scale = Scale::new(Duration::from_millis(460));
        assert_eq!((scale.at(Duration::ZERO), scale.at(Duration::from_millis(460))), (MARGIN, WIDTH - MARGIN));
        assert_eq!(scale.at(Duration::from_millis(230)), WIDTH / 2);
        assert_eq!(scale.tick, 50_000);
        assert_eq!(Scale::new(Duration::from_millis(1000)).tick, 100_000);
        assert_eq!(Scale::new(Duration::ZERO).tick, 1);
        let whole = Scale::new(Duration::MAX);
        assert!(whole.whole / whole.tick <= u128::from(TICKS));
        let one = svg(&[span(Kind::Service, "web", 230, Some(460), &[])]);
        assert!(one.contains("<rect x=\"480\" y=\"66\" width=\"460\" height=\"16\" fill=\"#d08c2e\"/>"), "{one}");
    }
}
