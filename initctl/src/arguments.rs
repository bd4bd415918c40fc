//! What the words after `initctl` mean.

use crate::log::{self, Filter, Time};
use init_base::protocol::Action;
use init_base::protocol::{self, DEFAULT_TIMEOUT};
use init_base::sys::system::Power;

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Say how it is used.
    Help,
    /// The table of services.
    List,
    /// One service.
    Status(&'a str),
    /// Something to do to services, and how many seconds to wait for each.
    Do(Action, Vec<&'a str>, u64),
    /// Read the tables again.
    ReloadTables,
    /// Lines of a log.
    Log {
        /// The service, or [`protocol::ALL`].
        name: &'a str,
        /// How many old lines, if that was said.
        lines: Option<u64>,
        /// Whether to go on with new ones.
        follow: bool,
        /// Which of them.
        filter: Filter,
    },
    /// Go down.
    Shutdown(Power),
    /// The times of the boot.
    Analyze {
        /// As a chart.
        svg: bool,
    },
}

/// The words of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments<'a> {
    /// What to do.
    pub command: Command<'a>,
    /// The socket, when it is not the usual one.
    pub socket: Option<&'a str>,
}

/// The options that were given.
#[derive(Default)]
struct Options<'a> {
    help: bool,
    follow: bool,
    svg: bool,
    lines: Option<u64>,
    filter: Filter,
    timeout: Option<u64>,
    socket: Option<&'a str>,
}

/// Understands a command line, given without the program's name.
///
/// # Errors
/// What is wrong, in a sentence.
pub fn parse<'a>(arguments: &[&'a str]) -> Result<Arguments<'a>, String> {
    let (options, words) = split(arguments)?;
    if options.help || words == ["help"] {
        return Ok(Arguments { command: Command::Help, socket: None });
    }
    let (verb, names) = words.split_first().map_or(("list", &[][..]), |(verb, names)| (*verb, names));
    let command = command(verb, names, &options)?;
    refuse_foreign_options(&options, &command, verb)?;
    Ok(Arguments { command, socket: options.socket })
}

/// Options may stand anywhere before `--`.
fn split<'a>(arguments: &[&'a str]) -> Result<(Options<'a>, Vec<&'a str>), String> {
    let mut options = Options::default();
    let mut words = Vec::new();
    let mut rest = arguments.iter().copied();
    while let Some(argument) = rest.next() {
        let (option, joined) = match argument.split_once('=') {
            Some((option, value)) if option.starts_with("--") => (option, Some(value)),
            _ => (argument, None),
        };
        let mut value = || joined.or_else(|| rest.next()).ok_or_else(|| format!("{option} needs a value"));
        match option {
            "--lines" | "-n" => options.lines = Some(number(option, value()?)?),
            "--since" | "-S" => options.filter.since = Some(Time::parse(value()?)?),
            "--until" | "-U" => options.filter.until = Some(Time::parse(value()?)?),
            "--priority" | "-p" => options.filter.severity = Some(log::severity(value()?)?),
            "--timeout" | "-t" => options.timeout = Some(number(option, value()?)?),
            "--socket" => options.socket = Some(value()?),
            _ if joined.is_some() => return Err(format!("there is no option {option} that takes a value")),
            "--help" | "-h" => options.help = true,
            "--follow" | "-f" => options.follow = true,
            "--svg" => options.svg = true,
            "--no-wait" => options.timeout = Some(0),
            "--" => words.extend(rest.by_ref()),
            _ if option.starts_with('-') => match option.strip_prefix("-n") {
                Some(joined) => options.lines = Some(number("-n", joined)?),
                None => return Err(format!("there is no option {option}")),
            },
            word => words.push(word),
        }
    }
    Ok((options, words))
}

fn number(option: &str, text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{option} takes a number, not '{text}'"))
}

fn command<'a>(verb: &str, names: &[&'a str], options: &Options) -> Result<Command<'a>, String> {
    for name in names {
        if name.is_empty() || name.contains(|letter: char| letter == ' ' || letter.is_control()) {
            return Err(format!("'{}' cannot be the name of a service", name.escape_debug()));
        }
    }
    let one = || match names {
        [name] => Ok(*name),
        [] => Err(format!("{verb} needs the name of a service")),
        _ => Err(format!("{verb} takes one name")),
    };
    let none = |command| match names {
        [] => Ok(command),
        [word, ..] => Err(format!("{verb} takes no '{word}'")),
    };
    match verb {
        "list" | "ls" => none(Command::List),
        "analyze" => none(Command::Analyze { svg: options.svg }),
        "status" => Ok(Command::Status(one()?)),
        "log" => {
            let name = if names.is_empty() { protocol::ALL } else { one()? };
            Ok(Command::Log { name, lines: options.lines, follow: options.follow, filter: options.filter })
        }
        "reload" if names.is_empty() => Ok(Command::ReloadTables),
        "shutdown" => {
            let word = if names.is_empty() { "poweroff" } else { one()? };
            let power = protocol::power(word).ok_or("shutdown takes poweroff, reboot or halt")?;
            Ok(Command::Shutdown(power))
        }
        _ => match (protocol::action(verb), protocol::power(verb)) {
            (Some(_), _) if names.is_empty() => Err(format!("{verb} needs the name of a service")),
            (Some(action), _) => Ok(Command::Do(action, names.to_vec(), options.timeout.unwrap_or(DEFAULT_TIMEOUT))),
            (None, Some(power)) => none(Command::Shutdown(power)),
            (None, None) => Err(format!("there is no command '{verb}'")),
        },
    }
}

fn refuse_foreign_options(options: &Options, command: &Command, verb: &str) -> Result<(), String> {
    let log = matches!(command, Command::Log { .. });
    let foreign = [
        ("--follow", options.follow && !log),
        ("--lines", options.lines.is_some() && !log),
        ("--since, --until and --priority", options.filter.is_set() && !log),
        ("--svg", options.svg && !matches!(command, Command::Analyze { .. })),
        ("--timeout and --no-wait", options.timeout.is_some() && !matches!(command, Command::Do(..))),
    ];
    match foreign.iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(format!("{option} has no meaning for {verb}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok<'a>(words: &[&'a str]) -> Command<'a> {
        parse(words).unwrap().command
    }

    #[test]
    fn commands() {
        assert_eq!(ok(&[]), Command::List);
        assert_eq!(ok(&["list"]), Command::List);
        assert_eq!(ok(&["status", "web"]), Command::Status("web"));
        assert_eq!(ok(&["start", "a", "b"]), Command::Do(Action::Start, vec!["a", "b"], 60));
        assert_eq!(ok(&["stop", "--no-wait", "a"]), Command::Do(Action::Stop, vec!["a"], 0));
        assert_eq!(ok(&["restart", "a", "-t", "5"]), Command::Do(Action::Restart, vec!["a"], 5));
        assert_eq!(ok(&["reload", "--timeout=9", "a"]), Command::Do(Action::Reload, vec!["a"], 9));
        assert_eq!(ok(&["reload"]), Command::ReloadTables);
        let filter = Filter::default();
        assert_eq!(ok(&["log"]), Command::Log { name: "*", lines: None, follow: false, filter });
        assert_eq!(
            ok(&["log", "-f", "-n", "3", "a"]),
            Command::Log { name: "a", lines: Some(3), follow: true, filter }
        );
        assert_eq!(ok(&["log", "-n3", "--", "-a"]), Command::Log { name: "-a", lines: Some(3), follow: false, filter });
        let filter = Filter { since: Some(Time::Ago(300_000)), severity: Some(3), ..filter };
        let words = ["log", "--since=5m", "-p", "err"];
        assert_eq!(ok(&words), Command::Log { name: "*", lines: None, follow: false, filter });
        assert_eq!(ok(&["shutdown"]), Command::Shutdown(Power::Off));
        assert_eq!(ok(&["shutdown", "reboot"]), Command::Shutdown(Power::Reboot));
        assert_eq!(ok(&["halt"]), Command::Shutdown(Power::Halt));
        assert_eq!(ok(&["analyze", "--svg"]), Command::Analyze { svg: true });
        assert_eq!(ok(&["start", "--help"]), Command::Help);
        assert_eq!(parse(&["--socket", "/x", "list"]).unwrap().socket, Some("/x"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (words, reason) in [
            (&["lst"][..], "there is no command 'lst'"),
            (&["start"], "start needs the name of a service"),
            (&["status"], "status needs the name of a service"),
            (&["status", "a", "b"], "status takes one name"),
            (&["status", "a b"], "'a b' cannot be the name of a service"),
            (&["status", ""], "'' cannot be the name of a service"),
            (&["list", "a"], "list takes no 'a'"),
            (&["log", "a", "-n"], "-n needs a value"),
            (&["log", "a", "-n", "x"], "-n takes a number, not 'x'"),
            (&["list", "-x"], "there is no option -x"),
            (&["list", "--svg=1"], "there is no option --svg that takes a value"),
            (
                &["log", "-p", "loud"],
                "'loud' is no severity; there are emerg, alert, crit, err, warning, notice, info, debug, and 0 to 7",
            ),
            (&["list", "-p", "err"], "--since, --until and --priority has no meaning for list"),
            (&["list", "-f"], "--follow has no meaning for list"),
            (&["reload", "--no-wait"], "--timeout and --no-wait has no meaning for reload"),
            (&["shutdown", "now"], "shutdown takes poweroff, reboot or halt"),
            (&["reboot", "now"], "reboot takes no 'now'"),
        ] {
            assert_eq!(parse(words).unwrap_err(), reason, "{words:?}");
        }
    }
}
