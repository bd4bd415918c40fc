//! The answers to `list` and `status` as a person reads them.

use core::time::Duration;
use std::fmt::Write;

use init_base::protocol::Health;
use init_base::protocol::Listed;

/// The table of services. `colours` marks their health; without it the text is plain.
pub fn list(rows: &[Listed<'_>], colours: bool) -> String {
    let cells: Vec<[String; 6]> = rows
        .iter()
        .map(|row| {
            let text = |text: &str| text.to_owned();
            [text(row.name), text(row.state), text(row.pid), age(row.age), text(row.restarts), text(row.text)]
        })
        .collect();
    let heads = ["NAME", "STATE", "PID", "SINCE", "RESTARTS", "STATUS"];
    let width = |column: usize| {
        let cells = cells.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(heads.get(column).map(|head| head.len())).max().unwrap_or(0)
    };
    let widths: [usize; 6] = core::array::from_fn(width);
    let mut out = String::new();
    write_row(&mut out, &heads.map(String::from), &widths, "");
    for (row, cells) in rows.iter().zip(&cells) {
        write_row(&mut out, cells, &widths, if colours { colour(row.health) } else { "" });
    }
    out
}

fn write_row(out: &mut String, cells: &[String; 6], widths: &[usize; 6], colour: &str) {
    let mut line = String::new();
    for (column, (cell, &width)) in cells.iter().zip(widths).enumerate() {
        // Numbers to the right. Writing to memory does not fail.
        let _ = match column {
            2 | 4 => write!(line, "{cell:>width$}  "),
            1 if !colour.is_empty() => write!(line, "{colour}{cell:width$}\x1b[m  "),
            _ => write!(line, "{cell:width$}  "),
        };
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

fn colour(health: Health) -> &'static str {
    match health {
        Health::Up => "\x1b[32m",
        Health::Changing => "\x1b[33m",
        Health::Down => "\x1b[2m",
        Health::Failed => "\x1b[31m",
    }
}

/// One service and more about it.
pub fn status(row: &Listed<'_>, more: &[(&str, &str)], colours: bool) -> String {
    let state = if colours { format!("{}{}\x1b[m", colour(row.health), row.state) } else { row.state.into() };
    let first = [
        ("name", row.name.to_owned()),
        ("state", format!("{state} for {}", age(row.age))),
        ("pid", row.pid.to_owned()),
        ("restarts", row.restarts.to_owned()),
        ("status", row.text.to_owned()),
    ];
    let rows = first.iter().map(|(key, value)| (*key, value.as_str())).chain(more.iter().copied());
    let rows: Vec<_> = rows.filter(|(_, value)| !value.is_empty() && *value != "-").collect();
    let width = rows.iter().map(|(key, _)| key.chars().count()).max().unwrap_or(0);
    rows.iter().fold(String::new(), |mut out, (key, value)| {
        let _ = writeln!(out, "{key:>width$}  {value}");
        out
    })
}

/// A time in two units at most: `7 s`, `3 min 5 s`, `2 h 14 min`, `12 d 3 h`.
pub fn age(time: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let seconds = time.as_secs();
    let largest = UNITS.iter().position(|&(size, _)| seconds >= size).unwrap_or(UNITS.len() - 1);
    let mut rest = seconds;
    let mut parts = Vec::new();
    for &(size, unit) in UNITS.iter().skip(largest).take(2) {
        if rest / size > 0 || parts.is_empty() {
            parts.push(format!("{} {unit}", rest / size));
        }
        rest %= size;
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<'a>(name: &'a str, state: &'a str, health: Health, text: &'a str) -> Listed<'a> {
        Listed { name, state, health, pid: "612", age: Duration::from_secs(7509), restarts: "0", text }
    }

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let rows = [row("web", "ready", Health::Up, "serving"), row("a-long-name", "failed", Health::Failed, "")];
        let expected = "\
NAME         STATE   PID  SINCE      RESTARTS  STATUS
web          ready   612  2 h 5 min         0  serving
a-long-name  failed  612  2 h 5 min         0
";
        assert_eq!(list(&rows, false), expected);
        let plain = list(&rows, true).replace("\x1b[32m", "").replace("\x1b[31m", "").replace("\x1b[m", "");
        assert_eq!(plain, expected, "colours take no room");
    }

    #[test]
    fn a_status_has_a_line_for_each_thing_known() {
        let text = status(&row("web", "ready", Health::Up, ""), &[("command", "/bin/web"), ("user", "")], false);
        assert_eq!(
            text,
            "    name  web\n   state  ready for 2 h 5 min\n     pid  612\nrestarts  0\n command  /bin/web\n"
        );
    }

    #[test]
    fn ages() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (185, "3 min 5 s"),
            (3600, "1 h"),
            (8040, "2 h 14 min"),
            (86_399, "23 h 59 min"),
            (1_047_600, "12 d 3 h"),
            (u64::MAX, "213503982334601 d 7 h"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }
}
