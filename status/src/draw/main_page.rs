//! The first page: all in brief. Its parts share the rows there are; the log has what the others leave.

use super::{WIDE, column, of_health, plain, title};
use crate::model::{Address, AddressState, Interface, LogLine, Model, Origin, Service};
use crate::screen::{Line, Screen, Style};
use crate::text::{age, memory};

/// Rows of the log, with its title, that the other parts leave where the screen has them.
const LOG: usize = 4;

/// A part of the page.
struct Part {
    /// Empty for a part without one.
    title: &'static str,
    lines: Vec<Line>,
    /// Rows that it has in any case, if the screen has them; the title is one.
    least: usize,
}

impl Part {
    fn new(title: &'static str, lines: Vec<Line>) -> Part {
        let head = usize::from(!title.is_empty());
        let least = if lines.is_empty() { 0 } else { head + 1 };
        Part { title, lines, least }
    }

    fn wanted(&self) -> usize {
        if self.lines.is_empty() { 0 } else { self.lines.len() + usize::from(!self.title.is_empty()) }
    }
}

/// Draws the page into `rows` rows from `first` on.
pub fn draw(screen: &mut Screen, model: &Model, first: usize, rows: usize) {
    let columns = screen.size().columns;
    let mut parts = vec![
        Part::new("", facts(model, columns)),
        Part::new("Faults in settings", faults(model)),
        Part::new("Services", services(model, columns)),
        Part::new("Network", network(model)),
    ];
    let log = if model.log.iter().all(|line| line.minor) { 0 } else { LOG.min(rows / 4) };
    let wanted: Vec<usize> = parts.iter().map(Part::wanted).collect();
    let least: Vec<usize> = parts.iter().map(|part| part.least).collect();
    let mut shares = share(rows - log, &wanted, &least);
    let rest = rows - shares.iter().sum::<usize>();
    parts.push(Part::new("Log", newest(model, rest.saturating_sub(1))));
    shares.push(rest);
    let mut row = first;
    for (part, share) in parts.iter().zip(shares) {
        row += draw_part(screen, part, row, share, columns);
    }
}

/// Draws a part into at most `share` rows, and returns how many it took.
fn draw_part(screen: &mut Screen, part: &Part, first: usize, share: usize, columns: usize) -> usize {
    let share = share.min(part.wanted());
    let mut row = first;
    // A title alone says nothing.
    if !part.title.is_empty() && share > 1 {
        screen.line(row, &title(part.title, columns));
        row += 1;
    }
    let room = first + share - row;
    let cut = part.lines.len() > room;
    for (index, line) in part.lines.iter().take(room).enumerate() {
        if cut && index + 1 == room && room > 1 && !part.title.is_empty() {
            let more = part.lines.len() - index;
            screen.line(row, &[plain(format!("  ... {more} more"))]);
        } else {
            screen.line(row, line);
        }
        row += 1;
    }
    row - first
}

/// Divides rows: the largest part gives first, down to its least; then the last parts go.
fn share(rows: usize, wanted: &[usize], least: &[usize]) -> Vec<usize> {
    let mut shares = wanted.to_vec();
    while shares.iter().sum::<usize>() > rows {
        let can_give = (0..shares.len()).filter(|&index| shares[index] > least[index]);
        let index = can_give.max_by_key(|&index| shares[index]).or_else(|| shares.iter().rposition(|share| *share > 0));
        match index.and_then(|index| shares.get_mut(index)) {
            Some(share) => *share -= 1,
            None => break,
        }
    }
    shares
}

/// What the machine is: two pairs in a row where they fit.
fn facts(model: &Model, columns: usize) -> Vec<Line> {
    let used = model.memory.map_or("unknown".into(), |found| {
        format!("{} of {} used", memory(found.total.saturating_sub(found.available)), memory(found.total))
    });
    let pairs =
        [("up", age(model.uptime)), ("memory", used), ("kernel", model.kernel.clone()), ("load", model.load.clone())];
    let pair = |(name, value): &(&str, String), width: usize| {
        [(format!(" {name:7}"), Style::Bold), plain(column(value, width))]
    };
    let mut lines: Vec<Line> = match columns >= WIDE {
        true => pairs.chunks(2).map(|two| two.iter().flat_map(|one| pair(one, columns / 2 - 8)).collect()).collect(),
        false => pairs.iter().map(|one| pair(one, columns.saturating_sub(8)).into()).collect(),
    };
    if !model.description.is_empty() && columns >= WIDE {
        lines.insert(0, vec![plain(format!(" {}", model.description))]);
    }
    lines
}

fn faults(model: &Model) -> Vec<Line> {
    model.faults.iter().map(|fault| vec![(format!(" {}", fault.sentence()), Style::Bad)]).collect()
}

fn services(model: &Model, columns: usize) -> Vec<Line> {
    let width =
        model.services.iter().map(|service| service.name.chars().count()).max().unwrap_or(0).min(columns / 4).max(4);
    model.services.iter().map(|one| service(one, width, columns)).collect()
}

fn service(service: &Service, width: usize, columns: usize) -> Line {
    let mut line = vec![
        (format!(" {} ", column(&service.name, width)), Style::Bold),
        (column(&service.state, 8), of_health(service.health)),
    ];
    let restarts = match service.restarts.as_str() {
        "0" => String::new(),
        "1" => "1 restart".into(),
        count => format!("{count} restarts"),
    };
    if columns >= WIDE {
        line.push(plain(format!(" for {} {} ", column(&age(service.age), 12), column(&restarts, 11))));
    } else if !restarts.is_empty() {
        line.push(plain(format!(" {restarts} ")));
    } else {
        line.push(plain(" "));
    }
    // PID 1's own words name the end while the service waits for its next start.
    let ended = service.last_exit.as_ref().filter(|_| service.restarts != "0" && service.text.is_empty());
    line.push(plain(match ended {
        Some(exit) => format!("last end: {exit}"),
        None => service.text.clone(),
    }));
    line
}

fn network(model: &Model) -> Vec<Line> {
    if model.interfaces.is_empty() {
        return vec![vec![plain(" no network interface")]];
    }
    model.interfaces.iter().flat_map(interface).collect()
}

/// A line for each address, those that reach furthest first; the first line names the interface.
fn interface(interface: &Interface) -> Vec<Line> {
    let (word, style) = state(interface);
    let mut addresses: Vec<&Address> = interface.addresses.iter().collect();
    addresses.sort_by_key(|address| address.origin == Origin::LinkLocal);
    let name = |name: &str| (format!(" {} ", column(name, 8)), Style::Bold);
    if addresses.is_empty() {
        return vec![vec![name(&interface.name), (word.into(), style), plain("  no address")]];
    }
    let line = |(index, held): (usize, &&Address)| {
        let (first, state) = if index == 0 { (interface.name.as_str(), word) } else { ("", "") };
        let mut line = vec![name(first), (column(state, 8), style), plain(format!("  {:28} ", address(held)))];
        line.push(doubt(held).unwrap_or_else(|| plain(held.origin.word())));
        line
    };
    addresses.iter().enumerate().map(line).collect()
}

/// Whether an interface can be used.
pub(super) fn state(interface: &Interface) -> (&'static str, Style) {
    match (interface.up, interface.carrier) {
        (true, true) => ("up", Style::Good),
        (true, false) => ("no cable", Style::Warn),
        (false, _) => ("down", Style::Plain),
    }
}

/// An address with the length of its prefix.
pub(super) fn address(held: &Address) -> String {
    format!("{}/{}", held.address, held.length)
}

/// Why an address is not used.
pub(super) fn doubt(held: &Address) -> Option<(String, Style)> {
    match held.state {
        AddressState::Usable => None,
        AddressState::Tentative => Some(("being checked".into(), Style::Warn)),
        AddressState::Duplicate => Some(("another host has it".into(), Style::Bad)),
    }
}

/// The newest lines of all logs.
fn newest(model: &Model, rows: usize) -> Vec<Line> {
    let newest = model.log.iter().rev().filter(|line| !line.minor).take(rows);
    let mut lines: Vec<Line> = newest.map(|line| log_line(line, true)).collect();
    lines.reverse();
    lines
}

/// A line of a log, with its time of day alone.
pub(super) fn log_line(line: &LogLine, with_service: bool) -> Line {
    let time = line.stamp.split_once('T').map_or(line.stamp.as_str(), |(_, time)| time.get(..8).unwrap_or(time));
    let mut parts = vec![plain(format!(" {time} "))];
    if with_service {
        parts.push((format!("{} ", line.service), Style::Bold));
    }
    parts.push(plain(line.text.clone()));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_shared_and_never_more_than_there_are() {
        assert_eq!(share(20, &[2, 0, 4, 5], &[1, 0, 2, 2]), [2, 0, 4, 5]);
        assert_eq!(share(9, &[2, 0, 4, 9], &[1, 0, 2, 2]), [2, 0, 4, 3]);
        assert_eq!(share(5, &[2, 3, 4, 9], &[1, 2, 2, 2]), [1, 2, 2, 0]);
        assert_eq!(share(1, &[2, 3, 4, 9], &[1, 2, 2, 2]), [1, 0, 0, 0]);
        assert_eq!(share(0, &[2, 3], &[1, 2]), [0, 0]);
        for rows in 0..40 {
            assert!(share(rows, &[4, 30, 7, 12], &[1, 2, 2, 2]).iter().sum::<usize>() <= rows);
        }
    }
}
