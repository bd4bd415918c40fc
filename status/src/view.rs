//! What a person looks at: the page, how far it is scrolled, and a question that waits for an answer. Pure.

use core::time::Duration;

use init_base::sys::system::Power;

use crate::keys::Key;
use crate::model::Model;

/// A question without an answer goes away after this time: noise on a line must not find one of yesterday.
const PATIENCE: Duration = Duration::from_secs(30);

/// A page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Page {
    /// All in brief.
    #[default]
    Main,
    /// Logs.
    Logs,
    /// Interfaces, routes, leases.
    Network,
    /// Settings and where they come from.
    Settings,
}

/// What a key asks the program to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// End the machine.
    End(Power),
    /// Run the shell.
    Shell,
    /// Look anew and draw all.
    Repaint,
}

/// What a person looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The page.
    pub page: Page,
    /// Rows that the page is scrolled: from its top, on the logs from its bottom.
    pub scroll: usize,
    /// The service whose log is shown; nothing is all.
    pub filter: Option<String>,
    /// What is to be confirmed, and since when.
    pub question: Option<(Power, Duration)>,
    /// Whether there is a shell to run.
    pub has_shell: bool,
}

impl View {
    /// Takes a key. `rows` is how many the page shows, `most` how far it can be scrolled.
    pub fn press(&mut self, key: Key, model: &Model, rows: usize, most: usize) -> Option<Command> {
        if let Some((power, _)) = self.question.take() {
            return (matches!(key, Key::Letter('y' | 'Y')) && model.end.is_none()).then_some(Command::End(power));
        }
        match key {
            Key::Enter | Key::Repaint => return Some(Command::Repaint),
            Key::Letter('l') => self.turn_to(Page::Logs),
            Key::Letter('n') => self.turn_to(Page::Network),
            Key::Letter('s') => self.turn_to(Page::Settings),
            Key::Letter('q') | Key::Escape => self.turn_to(Page::Main),
            Key::Letter('r') => self.question = Some((Power::Reboot, model.uptime)),
            Key::Letter('p') => self.question = Some((Power::Off, model.uptime)),
            Key::Letter('x') if self.has_shell => return Some(Command::Shell),
            Key::Tab | Key::Letter('f') if self.page == Page::Logs => self.next_filter(model),
            _ => self.move_by(key, rows, most),
        }
        None
    }

    /// Time went by.
    pub fn tick(&mut self, now: Duration) {
        self.question.take_if(|(_, since)| now.saturating_sub(*since) > PATIENCE);
    }

    fn turn_to(&mut self, page: Page) {
        self.page = page;
        self.scroll = 0;
    }

    /// The log of the next service that has one; after the last one those of all.
    fn next_filter(&mut self, model: &Model) {
        let names = model.log.iter().map(|line| &line.service);
        let next = match &self.filter {
            None => names.min(),
            Some(now) => names.filter(|name| *name > now).min(),
        };
        self.filter = next.cloned();
        self.scroll = 0;
    }

    fn move_by(&mut self, key: Key, rows: usize, most: usize) {
        let page = rows.saturating_sub(1).max(1);
        let (back, on) = match key {
            Key::Up | Key::Letter('k') => (1, 0),
            Key::Down | Key::Letter('j') => (0, 1),
            Key::PageUp => (page, 0),
            Key::PageDown | Key::Letter(' ') => (0, page),
            Key::Home | Key::Letter('g') => (usize::MAX, 0),
            Key::End | Key::Letter('G') => (0, usize::MAX),
            _ => return,
        };
        // Logs are read from their end.
        let (less, more) = if self.page == Page::Logs { (on, back) } else { (back, on) };
        self.scroll = self.scroll.saturating_add(more).min(most).saturating_sub(less);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LogLine;

    fn model() -> Model {
        let line =
            |name: &str| LogLine { service: name.into(), stamp: String::new(), text: String::new(), minor: false };
        Model { log: ["b", "a", "b"].map(line).into(), ..Model::default() }
    }

    #[test]
    fn the_machine_ends_after_a_question_alone() {
        let mut view = View::default();
        let mut press = |key| view.press(Key::Letter(key), &model(), 20, 0);
        assert_eq!((press('p'), press('y')), (None, Some(Command::End(Power::Off))));
        assert_eq!((press('r'), press('Y')), (None, Some(Command::End(Power::Reboot))));
        assert_eq!((press('p'), press('n'), press('y')), (None, None, None));
        assert_eq!((press('p'), press('p'), press('y')), (None, None, None));
        let mut view = View::default();
        view.press(Key::Letter('p'), &model(), 20, 0);
        view.tick(PATIENCE);
        assert!(view.question.is_some());
        view.tick(PATIENCE + Duration::from_secs(1));
        assert_eq!(view.press(Key::Letter('y'), &model(), 20, 0), None);
    }

    #[test]
    fn a_shell_is_run_where_there_is_one() {
        let mut view = View::default();
        assert_eq!(view.press(Key::Letter('x'), &model(), 20, 0), None);
        view.has_shell = true;
        assert_eq!(view.press(Key::Letter('x'), &model(), 20, 0), Some(Command::Shell));
    }

    #[test]
    fn pages_scroll_within_their_bounds() {
        let mut view = View::default();
        let mut press = |key| {
            view.press(key, &model(), 10, 25);
            view.scroll
        };
        press(Key::Letter('n'));
        assert_eq!([Key::Up, Key::Down, Key::PageDown, Key::PageDown].map(&mut press), [0, 1, 10, 19]);
        assert_eq!([Key::PageDown, Key::Letter('j'), Key::Letter('k')].map(&mut press), [25, 25, 24]);
        assert_eq!([Key::Home, Key::End, Key::Letter('l')].map(&mut press), [0, 25, 0]);
        // The other way.
        assert_eq!([Key::Down, Key::Up, Key::PageUp, Key::End].map(&mut press), [0, 1, 10, 0]);
    }

    #[test]
    fn filters_go_round() {
        let mut view = View::default();
        view.press(Key::Letter('l'), &model(), 10, 0);
        let mut next = || {
            view.press(Key::Tab, &model(), 10, 0);
            view.filter.clone()
        };
        assert_eq!([next(), next(), next()], [Some("a".into()), Some("b".into()), None]);
    }
}
