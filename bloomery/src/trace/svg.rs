//! A boot as a picture: the whole above, and below it a longer look at the kernel itself.

use super::record::{Span, Trace, grouped};

/// Units of the picture: its width, the edge around it, a row and a bar within.
const WIDTH: u64 = 1000;
const EDGE: u64 = 10;
const ROW: u64 = 22;
const BAR: u64 = 16;
/// The narrowest bar that a name is written into, and the width of a letter.
const LETTER: u64 = 7;
/// Initcalls with a row of their own.
const ROWS: usize = 20;
/// Fills of neighbours. Text is dark on all of them.
const FILLS: &[&str] = &["#a6cee3", "#b2df8a", "#fdbf6f", "#cab2d6", "#fb9a99", "#ffff99", "#d9d9d9"];

/// The picture.
pub fn draw(boot: &Trace) -> String {
    let mut picture = Picture { body: String::new(), y: EDGE };
    picture.title(&format!(
        "{} for {}: {} instructions from the reset to {}",
        boot.profile,
        boot.arch,
        grouped(boot.total()),
        boot.end
    ));
    picture.row(0, boot.total(), &boot.phases);
    let kernel = boot.phases.iter().find(|phase| phase.name == "start_kernel");
    let (begin, end) = kernel.map_or((0, boot.total()), |phase| (phase.begin, boot.total()));
    picture.title(&format!("From start_kernel on: {} instructions", grouped(end - begin)));
    let phases: Vec<Span> = boot.phases.iter().filter(|phase| phase.begin >= begin).cloned().collect();
    picture.row(begin, end, &phases);
    let mut rows: Vec<&Span> = boot.parts.iter().chain(boot.initcalls.iter().map(|call| &call.span)).collect();
    rows.retain(|span| span.begin >= begin);
    rows.sort_by_key(|span| std::cmp::Reverse(span.count()));
    rows.truncate(ROWS);
    rows.sort_by_key(|span| span.begin);
    for span in rows {
        picture.labelled(begin, end, span);
    }
    picture.finish()
}

struct Picture {
    body: String,
    y: u64,
}

impl Picture {
    fn title(&mut self, text: &str) {
        self.text(EDGE, text);
        self.y += ROW;
    }

    /// Bars side by side, with their names where there is room.
    fn row(&mut self, begin: u64, end: u64, spans: &[Span]) {
        for (at, span) in spans.iter().enumerate() {
            let (x, width) = place(begin, end, span);
            self.bar(x, width, FILLS[at % FILLS.len()], span);
            if width > LETTER * span.name.len() as u64 {
                self.text(x + 3, &span.name);
            }
        }
        self.y += ROW;
    }

    /// A bar with its name beside it, on the side with more room.
    fn labelled(&mut self, begin: u64, end: u64, span: &Span) {
        let (x, width) = place(begin, end, span);
        self.bar(x, width, FILLS[0], span);
        let label = format!("{} {}", span.name, grouped(span.count()));
        let wide = LETTER * label.len() as u64;
        let left = x.saturating_sub(wide + 4).max(EDGE);
        self.text(if x + width + wide < WIDTH { x + width + 4 } else { left }, &label);
        self.y += ROW;
    }

    fn bar(&mut self, x: u64, width: u64, fill: &str, span: &Span) {
        let hover = format!("{}: {} instructions", escaped(&span.name), grouped(span.count()));
        let y = self.y;
        self.body += &format!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{BAR}\" fill=\"{fill}\"><title>{hover}</title></rect>\n"
        );
    }

    fn text(&mut self, x: u64, text: &str) {
        self.body += &format!("<text x=\"{x}\" y=\"{}\">{}</text>\n", self.y + BAR - 4, escaped(text));
    }

    fn finish(self) -> String {
        let height = self.y + EDGE;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"monospace\" font-size=\"11\">\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n{}</svg>\n",
            self.body
        )
    }
}

/// Where a span lies between two instructions, and its width; at least one unit, so that it can be seen.
fn place(begin: u64, end: u64, span: &Span) -> (u64, u64) {
    let scale = |count: u64| count * (WIDTH - 2 * EDGE) / (end - begin).max(1);
    (EDGE + scale(span.begin - begin), scale(span.count()).max(1))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_each_phase_at_its_place() {
        let span = |name: &str, begin, end| Span { name: name.into(), begin, end };
        let boot = Trace {
            profile: "x".into(),
            arch: "arm64".into(),
            kernel: 1,
            end: "the end".into(),
            phases: vec![span("firmware & more", 0, 500), span("start_kernel", 500, 1000)],
            parts: vec![span("setup_arch", 500, 750)],
            initcalls: Vec::new(),
        };
        let picture = draw(&boot);
        for part in [
            "x=\"10\" y=\"32\" width=\"490\"",
            "x=\"500\" y=\"32\" width=\"490\"",
            "firmware &amp; more: 500 instructions",
            "x=\"10\" y=\"98\" width=\"490\"",
            "setup_arch 250",
        ] {
            assert!(picture.contains(part), "{part} is not in {picture}");
        }
    }
}
