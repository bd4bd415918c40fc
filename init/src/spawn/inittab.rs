//! `/etc/inittab` in busybox's grammar, and the table that stands in when there is none.
//!
//! A line is `id:runlevels:action:process`; a `#` starts a comment; a `\` at the end joins the next line;
//! the runlevels are ignored; the process is the rest of the line, colons and all. One id is not busybox's: [`CONSOLES`]. The
//! supervisor calls [`load`].

use super::console;
use crate::log::{error, warn};
use crate::sys::Errno;
use crate::sys::files;

/// The file.
pub const PATH: &str = "/etc/inittab";

/// An id that stands for every console of the kernel; no device has this name.
const CONSOLES: &str = "consoles";

/// When an entry's process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// First at boot, one after the other.
    Sysinit,
    /// After `sysinit`, one after the other.
    Wait,
    /// After `wait`, without waiting for it.
    Once,
    /// From then on, again whenever it ends.
    Respawn,
    /// Like `respawn`, each time after a person has pressed Enter.
    Askfirst,
    /// At ctrl-alt-del.
    CtrlAltDel,
    /// When the system goes down, before all processes are told to end.
    Shutdown,
    /// In the place of PID 1 itself, after SIGQUIT.
    Restart,
}

/// The actions by their names.
const ACTIONS: &[(&str, Action)] = &[
    ("sysinit", Action::Sysinit),
    ("wait", Action::Wait),
    ("once", Action::Once),
    ("respawn", Action::Respawn),
    ("askfirst", Action::Askfirst),
    ("ctrlaltdel", Action::CtrlAltDel),
    ("shutdown", Action::Shutdown),
    ("restart", Action::Restart),
];

impl Action {
    /// The action that a name means.
    pub fn from_name(name: &str) -> Option<Action> {
        ACTIONS.iter().find(|(known, _)| *known == name).map(|&(_, action)| action)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        ACTIONS.iter().find(|&&(_, action)| action == self).map_or("", |(name, _)| name)
    }

    /// Whether the process is started again when it ends.
    pub fn respawns(self) -> bool {
        matches!(self, Action::Respawn | Action::Askfirst)
    }
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The terminal's name without `/dev/`; empty for the console.
    pub terminal: String,
    /// When the process runs.
    pub action: Action,
    /// The process, as it was written.
    pub command: String,
}

impl Line {
    /// A line of the built-in tables.
    pub fn new(terminal: &str, action: Action, command: &str) -> Line {
        Line { terminal: terminal.into(), action, command: command.into() }
    }
}

/// Why a line is not an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Fewer than four fields.
    Fields,
    /// An action that does not exist.
    Action,
    /// No process.
    Process,
    /// A terminal whose name leads out of /dev.
    Terminal,
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Fault::Fields => "it is not id:runlevels:action:process",
            Fault::Action => {
                "the action is not one of sysinit, wait, once, respawn, askfirst, ctrlaltdel, shutdown, restart"
            }
            Fault::Process => "it names no process",
            Fault::Terminal => "the id is not a terminal's name",
        })
    }
}

/// The entries of a table and the faulty lines (numbered from 1).
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The entries in the order of the file.
    pub lines: Vec<Line>,
    /// The lines that are not entries.
    pub faults: Vec<(usize, Fault)>,
}

/// Reads a table. Bytes that are not UTF-8 are replaced and so make a process that does not exist.
pub fn parse(content: &[u8]) -> Table {
    let mut table = Table::default();
    let content = String::from_utf8_lossy(content);
    let mut lines = content.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let mut joined = String::from(line);
        while joined.ends_with('\\') {
            joined.pop();
            let Some((_, next)) = lines.next() else {
                break;
            };
            joined.push_str(next);
        }
        match parse_line(&joined) {
            Ok(Some(line)) => table.lines.push(line),
            Ok(None) => {}
            Err(fault) => table.faults.push((index + 1, fault)),
        }
    }
    table
}

fn parse_line(line: &str) -> Result<Option<Line>, Fault> {
    let text = line.split_once('#').map_or(line, |(before, _)| before);
    if text.trim().is_empty() {
        return Ok(None);
    }
    let mut fields = text.splitn(4, ':');
    let (Some(id), Some(_runlevels), Some(action), Some(command)) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(Fault::Fields);
    };
    let action = Action::from_name(action.trim()).ok_or(Fault::Action)?;
    let command = command.trim();
    if command.is_empty() || command.contains('\0') {
        return Err(Fault::Process);
    }
    Ok(Some(Line { terminal: terminal(id.trim())?, action, command: command.into() }))
}

/// The terminal that an id names: without `/dev/`, and empty for the console.
fn terminal(id: &str) -> Result<String, Fault> {
    let name = id.strip_prefix("/dev/").unwrap_or(id);
    if name.starts_with('/') || name.contains('\0') || name.split('/').any(|part| part == "..") {
        return Err(Fault::Terminal);
    }
    Ok(if name == "console" { String::new() } else { name.into() })
}

/// Gives each of the `consoles` its own line in the place of one for all. A console on which another line runs a program all the
/// time is left to that. Without any the line is for /dev/console.
fn on_consoles(lines: &[Line], consoles: &[String]) -> Vec<Line> {
    let mut all = Vec::with_capacity(lines.len());
    for line in lines {
        if line.terminal != CONSOLES {
            all.push(line.clone());
            continue;
        }
        for console in consoles {
            let takes = |other: &Line| other.action.respawns() && other.terminal == *console;
            if !(line.action.respawns() && lines.iter().any(takes)) {
                all.push(Line::new(console, line.action, &line.command));
            }
        }
        if consoles.is_empty() {
            all.push(Line::new("", line.action, &line.command));
        }
    }
    all
}

/// busybox init's table for a system without an inittab.
pub fn default_lines() -> Vec<Line> {
    vec![
        Line::new("", Action::Sysinit, "/etc/init.d/rcS"),
        Line::new("", Action::Askfirst, "-/bin/sh"),
        Line::new("tty2", Action::Askfirst, "-/bin/sh"),
        Line::new("tty3", Action::Askfirst, "-/bin/sh"),
        Line::new("tty4", Action::Askfirst, "-/bin/sh"),
        Line::new("", Action::CtrlAltDel, "reboot"),
        Line::new("", Action::Shutdown, "umount -a -r"),
        Line::new("", Action::Shutdown, "swapoff -a"),
        Line::new("", Action::Restart, "init"),
    ]
}

/// The table for `single` on the kernel command line: a shell on the console, as busybox has it.
pub fn single_lines() -> Vec<Line> {
    vec![Line::new("", Action::Respawn, "-/bin/sh")]
}

/// Reads the file for a system that has a table already.
///
/// # Errors
/// Everything that is wrong with it. One fault is enough for the table not to count: what is mistyped could be the line that another
/// one is to take the place of.
pub fn reload() -> Result<Vec<Line>, Vec<String>> {
    let content = files::read_file(PATH).map_err(|error| match error {
        Errno::NOENT => vec![format!("there is no {PATH}")],
        error => vec![format!("cannot read {PATH}: {error}")],
    })?;
    let table = parse(&content);
    if !table.faults.is_empty() {
        return Err(table.faults.iter().map(|(number, fault)| format!("{PATH}, line {number}: {fault}")).collect());
    }
    if table.lines.is_empty() {
        return Err(vec![format!("{PATH} holds no entry")]);
    }
    Ok(on_consoles(&table.lines, &console::active()))
}

/// Reads the file and says what is wrong with it; nothing when it is missing or holds no entry.
pub fn load() -> Option<Vec<Line>> {
    let content = match files::read_file(PATH) {
        Ok(content) => content,
        Err(Errno::NOENT) => {
            warn!("there is no {PATH}");
            return None;
        }
        Err(error) => {
            error!("cannot read {PATH}: {error}");
            return None;
        }
    };
    let table = parse(&content);
    // A binary put there by mistake has thousands of bad lines.
    for (number, fault) in table.faults.iter().take(5) {
        warn!("{PATH}, line {number}: {fault}; the line is left out");
    }
    if table.faults.len() > 5 {
        warn!("{PATH}: {} more lines are left out", table.faults.len() - 5);
    }
    if table.lines.is_empty() {
        warn!("{PATH} holds no entry");
        return None;
    }
    Some(on_consoles(&table.lines, &console::active()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_grammar() {
        let table = parse(
            b"# comment\n\n::sysinit:/etc/init.d/rcS\nttyS0::respawn:/sbin/getty -L ttyS0 115200 vt100 # a\n\
              /dev/tty2:2345:askfirst:-/bin/sh\n::wait:/bin/echo a:b\nconsole::once:/bin/x\n\
              ::ctrlaltdel:/sbin/reboot\n::shutdown:/bin/umount -a -r\n::restart:/sbin/init",
        );
        assert_eq!(table.faults, []);
        let expected = [
            Line::new("", Action::Sysinit, "/etc/init.d/rcS"),
            Line::new("ttyS0", Action::Respawn, "/sbin/getty -L ttyS0 115200 vt100"),
            Line::new("tty2", Action::Askfirst, "-/bin/sh"),
            Line::new("", Action::Wait, "/bin/echo a:b"),
            Line::new("", Action::Once, "/bin/x"),
            Line::new("", Action::CtrlAltDel, "/sbin/reboot"),
            Line::new("", Action::Shutdown, "/bin/umount -a -r"),
            Line::new("", Action::Restart, "/sbin/init"),
        ];
        assert_eq!(table.lines, expected);
    }

    #[test]
    fn faulty_lines_are_named_and_left_out() {
        let table = parse(b"::respawn\n::fly:/bin/x\n::once:\n::once: \n../mem::once:x\n/etc/x::once:x\n::once:ok\n");
        let faults = [
            (1, Fault::Fields),
            (2, Fault::Action),
            (3, Fault::Process),
            (4, Fault::Process),
            (5, Fault::Terminal),
            (6, Fault::Terminal),
        ];
        assert_eq!(table.faults, faults);
        assert_eq!(table.lines, [Line::new("", Action::Once, "ok")]);
    }

    #[test]
    fn a_backslash_joins_lines() {
        let table = parse(b"::once:/bin/a \\\n  b\n::fly:x\\\ny\n::once:c\\");
        assert_eq!(table.lines, [Line::new("", Action::Once, "/bin/a   b"), Line::new("", Action::Once, "c")]);
        assert_eq!(table.faults, [(3, Fault::Action)]);
    }

    #[test]
    fn a_line_for_all_consoles_becomes_one_for_each() {
        let table = |text: &str, consoles: &[&str]| {
            let consoles: Vec<String> = consoles.iter().map(|&name| name.into()).collect();
            let lines = on_consoles(&parse(text.as_bytes()).lines, &consoles);
            lines.iter().map(|line| format!("{}:{}", line.terminal, line.command)).collect::<Vec<_>>()
        };
        let text = "consoles::respawn:-/bin/sh\n::once:/bin/x\n";
        assert_eq!(table(text, &["tty1", "ttyS0"]), ["tty1:-/bin/sh", "ttyS0:-/bin/sh", ":/bin/x"]);
        assert_eq!(table(text, &["hvc0"]), ["hvc0:-/bin/sh", ":/bin/x"]);
        assert_eq!(table(text, &[]), [":-/bin/sh", ":/bin/x"]);
        // A login in the place of the shell, and a terminal that is no console.
        let text = "consoles::respawn:-/bin/sh\nttyS0::respawn:getty\ntty2::askfirst:-/bin/sh\nconsoles::once:banner\n";
        let expected = ["tty1:-/bin/sh", "ttyS0:getty", "tty2:-/bin/sh", "tty1:banner", "ttyS0:banner"];
        assert_eq!(table(text, &["tty1", "ttyS0"]), expected);
        assert_eq!(table("consoles::respawn:-/bin/sh\nttyS0::respawn:getty\n", &["ttyS0"]), ["ttyS0:getty"]);
    }

    #[test]
    fn garbage_has_no_entries() {
        let garbage: Vec<u8> = (0..=255u8).cycle().take(5000).collect();
        assert_eq!(parse(&garbage).lines, []);
        assert_eq!(parse(b""), Table::default());
    }

    #[test]
    fn the_built_in_tables_can_be_read_back() {
        for line in default_lines().into_iter().chain(single_lines()) {
            let name = format!("{:?}", line.action).to_lowercase();
            let text = format!("{}::{name}:{}", line.terminal, line.command);
            assert_eq!(parse(text.as_bytes()).lines, [line]);
        }
    }
}
