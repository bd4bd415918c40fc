//! What a new table means for the programs of the old one. The supervisor calls [`merge`].

use crate::spawn::inittab::Line;
use crate::supervisor::Entry;

/// The entries after a reload, in the order of the new table.
///
/// An entry with the same terminal and process keeps its running program and takes the new action (busybox has the
/// same rule). An entry that is gone stays behind the others, marked stale, for as long as its program runs.
pub fn merge(mut old: Vec<Entry>, new: Vec<Line>) -> Vec<Entry> {
    let mut merged = Vec::with_capacity(new.len());
    for line in new {
        let same = |entry: &Entry| entry.line.terminal == line.terminal && entry.line.command == line.command;
        let entry = match old.iter().position(same) {
            Some(index) => {
                let mut kept = old.remove(index);
                kept.line = line;
                kept.stale = false;
                kept
            }
            None => Entry::new(line),
        };
        merged.push(entry);
    }
    old.retain(|entry| entry.pid.is_some());
    old.iter_mut().for_each(|entry| entry.stale = true);
    merged.append(&mut old);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spawn::inittab::Action;

    fn entry(command: &str, action: Action, pid: Option<i32>) -> Entry {
        let mut entry = Entry::new(Line::new("", action, command));
        entry.pid = pid;
        entry
    }

    #[test]
    fn keeps_starts_and_stops_the_right_ones() {
        let old = vec![
            entry("/bin/kept", Action::Respawn, Some(10)),
            entry("/bin/gone", Action::Respawn, Some(11)),
            entry("/bin/ended", Action::Respawn, None),
        ];
        let new = vec![Line::new("", Action::Respawn, "/bin/new"), Line::new("", Action::Once, "/bin/kept")];
        let merged = merge(old, new);
        let summary: Vec<_> = merged.iter().map(|e| (e.line.command.as_str(), e.line.action, e.pid, e.stale)).collect();
        let expected = [
            ("/bin/new", Action::Respawn, None, false),
            ("/bin/kept", Action::Once, Some(10), false),
            ("/bin/gone", Action::Respawn, Some(11), true),
        ];
        assert_eq!(summary, expected);
    }

    #[test]
    fn the_same_process_on_another_terminal_is_another_entry() {
        let old = vec![entry("/bin/sh", Action::Respawn, Some(10))];
        let merged = merge(old, vec![Line::new("tty2", Action::Respawn, "/bin/sh")]);
        assert_eq!(merged.len(), 2);
        assert_eq!(merged[0].pid, None);
        assert!(merged[1].stale);
    }

    #[test]
    fn an_entry_that_comes_back_while_its_program_ends_is_not_doubled() {
        let mut old = vec![entry("/bin/x", Action::Respawn, Some(10))];
        old[0].stale = true;
        let merged = merge(old, vec![Line::new("", Action::Respawn, "/bin/x")]);
        assert_eq!(merged.len(), 1);
        assert_eq!((merged[0].pid, merged[0].stale), (Some(10), false));
    }

    #[test]
    fn twins_keep_both_programs() {
        let twin = |pid| entry("/bin/x", Action::Respawn, Some(pid));
        let line = Line::new("", Action::Respawn, "/bin/x");
        let merged = merge(vec![twin(10), twin(11)], vec![line.clone(), line]);
        assert_eq!(merged.iter().map(|entry| entry.pid).collect::<Vec<_>>(), [Some(10), Some(11)]);
    }
}
