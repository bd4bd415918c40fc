//! The other pages, each as lines that are scrolled.

use core::time::Duration;

use init_base::date::time_of_day;
use init_base::lease::Lease;

use super::main_page::{address, doubt, log_line, state};
use super::plain;
use crate::model::{Interface, Model, Origin};
use crate::screen::{Line, Style};
use crate::text::age;

/// The log of a service, or of all: long lines go on in the next row.
pub fn logs(model: &Model, filter: Option<&str>, columns: usize) -> Vec<Line> {
    let lines = model.log.iter().filter(|line| filter.is_none_or(|name| line.service == name));
    let mut all = Vec::new();
    for line in lines {
        wrap(log_line(line, filter.is_none()), columns, &mut all);
    }
    if all.is_empty() {
        all.push(vec![plain(" no lines")]);
    }
    all
}

/// Appends a line in rows of so many columns.
fn wrap(line: Line, columns: usize, rows: &mut Vec<Line>) {
    const INDENT: &str = "    ";
    let mut row: Line = Vec::new();
    let mut left = columns;
    for (text, style) in line {
        let mut rest = text.as_str();
        loop {
            let end = rest.char_indices().nth(left).map_or(rest.len(), |(end, _)| end);
            let (fits, more) = rest.split_at(end);
            left -= fits.chars().count();
            row.push((fits.to_owned(), style));
            if more.is_empty() {
                break;
            }
            rows.push(core::mem::replace(&mut row, vec![plain(INDENT)]));
            left = columns - INDENT.len();
            rest = more;
        }
    }
    rows.push(row);
}

/// Interfaces with all that they were given, routes, name servers.
pub fn network(model: &Model) -> Vec<Line> {
    let mut lines = Vec::new();
    for interface in &model.interfaces {
        lines.extend(interface_lines(interface, model));
        lines.push(Vec::new());
    }
    if model.interfaces.is_empty() {
        lines.push(vec![plain(" no network interface")]);
        lines.push(Vec::new());
    }
    lines.push(heading("Routes"));
    lines.extend(model.routes.iter().map(|route| {
        let via = if route.via.is_empty() { String::new() } else { format!(" via {}", route.via) };
        let words = format!("   {}{via} dev {} metric {}", route.to, route.interface, route.metric);
        vec![plain(words), plain(format!("  {}", route.origin.word()))]
    }));
    lines.push(heading("Name servers"));
    lines.extend(
        model.name_servers.iter().map(|(server, origin)| vec![plain(format!("   {server:30} {}", origin.word()))]),
    );
    lines
}

fn heading(words: &str) -> Line {
    vec![(format!(" {words}"), Style::Title)]
}

fn interface_lines(interface: &Interface, model: &Model) -> Vec<Line> {
    let (word, style) = state(interface);
    let rest = format!("   {}   MTU {}", interface.mac, interface.mtu);
    let mut lines = vec![vec![(format!(" {} ", interface.name), Style::Title), (word.into(), style), plain(rest)]];
    for held in &interface.addresses {
        let valid = held
            .valid
            .map_or(String::new(), |seconds| format!(", valid for {}", age(Duration::from_secs(seconds.into()))));
        let since = moment(held.since.as_secs(), model);
        let mut line = vec![plain(format!("   {:30} {}{valid}, since {since}", address(held), held.origin.word()))];
        line.extend(doubt(held).map(|(words, style)| (format!(" {words}"), style)));
        lines.push(line);
    }
    if interface.addresses.is_empty() {
        lines.push(vec![plain("   no address")]);
    }
    lines.extend(interface.lease.as_ref().into_iter().flat_map(|lease| lease_lines(lease, model)));
    lines
}

/// What a DHCP server gave, and when.
fn lease_lines(lease: &Lease, model: &Model) -> Vec<Line> {
    let now = model.uptime.as_secs();
    let server = lease.server.map_or("a server without a name".into(), |server| server.to_string());
    let end = match lease.end {
        None => "never ends".into(),
        Some(end) if end <= now => "has ended".into(),
        Some(end) => format!("ends in {}", age(Duration::from_secs(end - now))),
    };
    let words = format!("   {} lease from {server}, got {}, {end}", Origin::Dhcp.word(), moment(lease.bound, model));
    let mut lines = vec![vec![plain(words)]];
    let joined = |list: &[core::net::Ipv4Addr]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let rows = [
        ("routers", joined(&lease.routers)),
        ("name servers", joined(&lease.name_servers)),
        ("NTP servers", joined(&lease.ntp_servers)),
        ("log servers", joined(&lease.log_servers)),
        ("domains", lease.domains.join(" ")),
        ("host name", lease.host_name.clone().unwrap_or_default()),
    ];
    let rows = rows.into_iter().filter(|(_, value)| !value.is_empty());
    lines.extend(
        rows.map(|(name, value)| {
            vec![(format!("     {name:13} "), Style::Bold), plain(crate::text::plain(&value, 400))]
        }),
    );
    lines
}

/// A moment, given in seconds since the machine's start: by the clock, or how long ago.
fn moment(seconds: u64, model: &Model) -> String {
    let ago = model.uptime.as_secs().saturating_sub(seconds);
    match (model.clock, i64::try_from(ago)) {
        (Some(now), Ok(past)) => format!("{} ({} ago)", time_of_day(now - past), age(Duration::from_secs(ago))),
        _ => format!("{} ago", age(Duration::from_secs(ago))),
    }
}

/// Settings and their faults.
pub fn settings(model: &Model) -> Vec<Line> {
    let mut lines = Vec::new();
    if !model.faults.is_empty() {
        lines.push(heading("Faults"));
        lines.extend(model.faults.iter().map(|fault| vec![(format!("   {}", fault.sentence()), Style::Bad)]));
        lines.push(Vec::new());
    }
    if model.settings.is_empty() {
        lines.push(vec![plain(" no settings are known")]);
        return lines;
    }
    lines.push(heading("Settings in force"));
    let width = |of: fn(&crate::model::Setting) -> &str| {
        model.settings.iter().map(|setting| of(setting).chars().count()).max().unwrap_or(0)
    };
    let (key, value) = (width(|setting| &setting.key).min(32), width(|setting| &setting.value).min(40));
    lines.extend(model.settings.iter().map(|setting| {
        vec![
            (format!("   {:key$} ", setting.key), Style::Bold),
            plain(format!("{:value$}  ", setting.value)),
            plain(format!("({})", setting.source)),
        ]
    }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_go_on_in_the_next_row() {
        let text = |line: &Line| line.iter().map(|(text, _)| text.as_str()).collect::<String>();
        let mut rows = Vec::new();
        wrap(vec![plain("abc"), ("defghijklmnop".into(), Style::Bold)], 10, &mut rows);
        assert_eq!(rows.iter().map(text).collect::<Vec<_>>(), ["abcdefghij", "    klmnop"]);
        rows.clear();
        wrap(vec![plain("é".repeat(25))], 10, &mut rows);
        assert_eq!(rows.iter().map(|row| text(row).chars().count()).collect::<Vec<_>>(), [10, 10, 10, 7]);
    }
}
