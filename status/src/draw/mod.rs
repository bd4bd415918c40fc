//! From what is known to a screen. Pure: the same model, view and size give the same cells.

mod main_page;
mod pages;

use init_base::date;
use init_base::protocol::Health;
use init_base::sys::system::Power;

use crate::model::Model;
use crate::screen::{Line, Screen, Size, Style};
use crate::view::{Page, View};

/// Columns from which on the wide forms are used.
const WIDE: usize = 76;

/// A screen, and how the page can be scrolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// The screen.
    pub screen: Screen,
    /// Rows that the page has on it.
    pub rows: usize,
    /// The most that it can be scrolled.
    pub most: usize,
}

/// Draws the page that a person looks at.
pub fn draw(model: &Model, view: &View, size: Size) -> Drawn {
    let mut screen = Screen::new(size);
    let last = size.rows - 1;
    header(&mut screen, model, view);
    let notices = notices(model, view);
    // The bars first, then the notices; a terminal of few rows keeps those.
    let below = last.saturating_sub(notices.len()).max(1);
    let rows = below.saturating_sub(1);
    let most = match view.page {
        Page::Main => {
            main_page::draw(&mut screen, model, 1, rows);
            0
        }
        _ => scrolled(&mut screen, &page(model, view, size.columns), view, rows),
    };
    for (row, (words, style)) in (below..).zip(&notices) {
        screen.fill(row, ' ', *style);
        screen.put(row, 1, words, *style);
    }
    if last > 0 {
        footer(&mut screen, view, last);
    }
    Drawn { screen, rows, most }
}

fn page(model: &Model, view: &View, columns: usize) -> Vec<Line> {
    match view.page {
        Page::Main => Vec::new(),
        Page::Logs => pages::logs(model, view.filter.as_deref(), columns),
        Page::Network => pages::network(model),
        Page::Settings => pages::settings(model),
    }
}

/// Shows a part of a page's lines, and returns the most that it can be scrolled.
fn scrolled(screen: &mut Screen, lines: &[Line], view: &View, rows: usize) -> usize {
    let most = lines.len().saturating_sub(rows);
    let scroll = view.scroll.min(most);
    let first = if view.page == Page::Logs { most - scroll } else { scroll };
    for (row, line) in (1..=rows).zip(lines.iter().skip(first)) {
        screen.line(row, line);
    }
    most
}

/// The bar at the top: whose machine it is, what it is, the time.
fn header(screen: &mut Screen, model: &Model, view: &View) {
    let columns = screen.size().columns;
    screen.fill(0, ' ', Style::Bar);
    let host = if model.host.is_empty() { "(no name)" } else { &model.host };
    let title = match (view.page, &view.filter) {
        (Page::Main, _) => model.product.clone(),
        (Page::Logs, None) => "log of all services".into(),
        (Page::Logs, Some(name)) => format!("log of {name}"),
        (Page::Network, _) => "network".into(),
        (Page::Settings, _) => "settings".into(),
    };
    let clock = match model.clock {
        Some(now) if columns >= WIDE => format!("{} {} UTC", date::day(now), date::time_of_day(now)),
        Some(now) => date::time_of_day(now),
        None => "clock not set".into(),
    };
    let room = columns.saturating_sub(clock.len() + 2);
    let left: String = format!("{host}   {title}").chars().take(room.saturating_sub(2)).collect();
    screen.put(0, 1, &left, Style::Bar);
    screen.put(0, room.max(1), &clock, Style::Bar);
}

/// What a person has to see at once, above the keys: the end, a question, a PID 1 that tells nothing.
fn notices(model: &Model, view: &View) -> Vec<(String, Style)> {
    let end = model.end.as_ref().map(|words| (words.clone(), Style::Bad));
    let question = view.question.map(|(power, _)| {
        let words = if power == Power::Reboot { "Reboot this machine?" } else { "Power this machine off?" };
        (format!("{words}  y = yes, any other key = no"), Style::Bad)
    });
    let silence = model.silence.as_ref().map(|words| (words.clone(), Style::Bad));
    [silence, end, question].into_iter().flatten().collect()
}

/// The keys, in the longest form that fits.
fn footer(screen: &mut Screen, view: &View, row: usize) {
    let shell = if view.has_shell { ("  x shell", " x") } else { ("", "") };
    let forms = match view.page {
        Page::Main => [
            format!("l logs  n network  s settings{}  r reboot  p power off  Enter refresh", shell.0),
            format!("l log n net s set{} r boot p off", shell.1),
            format!("l n s{} r p", shell.1),
        ],
        Page::Logs => [
            "q back  arrows PgUp PgDn Home End scroll  Tab next service".into(),
            "q back  j k scroll  Tab service".into(),
            "q j k Tab".into(),
        ],
        Page::Network | Page::Settings => {
            ["q back  arrows PgUp PgDn Home End scroll".into(), "q back  j k scroll".into(), "q j k".into()]
        }
    };
    let room = screen.size().columns.saturating_sub(2);
    let [.., shortest] = &forms;
    let form = forms.iter().find(|form| form.len() <= room).unwrap_or(shortest);
    screen.fill(row, ' ', Style::Bar);
    screen.put(row, 1, form, Style::Bar);
}

/// The look of a health.
fn of_health(health: Health) -> Style {
    match health {
        Health::Up => Style::Good,
        Health::Changing => Style::Warn,
        Health::Down => Style::Plain,
        Health::Failed => Style::Bad,
    }
}

/// A text that fills so many columns; a longer one is cut.
fn column(text: &str, width: usize) -> String {
    let cut: String = text.chars().take(width).collect();
    format!("{cut:width$}")
}

fn plain(text: impl Into<String>) -> (String, Style) {
    (text.into(), Style::Plain)
}

/// A title with a line to the end of the row.
fn title(words: &str, columns: usize) -> Line {
    let rest = columns.saturating_sub(words.chars().count() + 5);
    vec![("── ".into(), Style::Plain), (words.into(), Style::Title), plain(format!(" {} ", "─".repeat(rest)))]
}
