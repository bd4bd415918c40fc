//! The command `initctl`: asks PID 1 about services and tells it what to do. It is linked into init's program, which runs it by this name.
#![forbid(unsafe_code)]

mod analyze;
mod arguments;
mod chart;
mod log;
mod table;

use core::time::Duration;

use arguments::{Arguments, Command};

use init_base::connection::{self, Connection, Failure};
use init_base::names::nearest;
use init_base::protocol::{self, Action, Code, Health, Listed, Refusal, SOCKET};
use init_base::sys::{clock, files, system, tty};
use log::Filter;

const USAGE: &str = "\
usage: initctl [list]                          the services
       initctl status NAME                     one service and more about it
       initctl start|stop|restart NAME...      waits until it is done
       initctl reload NAME...                  tells services to read their configuration again
       initctl reload                          reads inittab and the service tables again
       initctl log [-f] [-n LINES] [NAME]      the last lines (20) of a service, of `init`, of `messages` (syslog),
                                               or of all, by time; -f goes on with new ones
         -S, --since TIME  -U, --until TIME    5m (ago), 06:45, '2026-11-21 06:45' (UTC), +12.5 (after the start)
         -p, --priority SEVERITY               as grave as err, warning, notice, ... or graver
       initctl check [ROOT]                    what would go wrong at the next boot or reload
       initctl shutdown [poweroff|reboot|halt]
       initctl analyze [--svg]                 how long the parts of the boot took
options: -t SECONDS, --timeout SECONDS         how long to wait for each service (60)
         --no-wait                             do not wait
         --socket PATH                         instead of /run/initctl.sock
exit codes: 0 done, 1 failed, 2 wrong usage, 3 not running (status), 4 no such service, 5 not allowed,
            6 no answer from PID 1, 7 not done in time
";

/// Exit codes.
const DONE: i32 = 0;
const FAILED: i32 = 1;
const USAGE_ERROR: i32 = 2;
const NOT_RUNNING: i32 = 3;
const UNKNOWN: i32 = 4;
const DENIED: i32 = 5;
const SILENT: i32 = 6;
const TIMEOUT: i32 = 7;

/// Services that are told something at the same time: PID 1 bounds the connections.
const AT_ONCE: usize = 8;

/// Runs the command with its arguments, given without its name. Returns the exit code.
pub fn run(arguments: &[&str]) -> i32 {
    match arguments::parse(arguments) {
        Ok(Arguments { command, socket }) => Tool { socket: socket.unwrap_or(SOCKET) }.run(&command),
        Err(message) => {
            say(&format!("{message}\nhint: initctl --help"));
            USAGE_ERROR
        }
    }
}

struct Tool<'a> {
    socket: &'a str,
}

impl Tool<'_> {
    fn run(&self, command: &Command<'_>) -> i32 {
        let result = match command {
            Command::Help => {
                print(USAGE);
                Ok(DONE)
            }
            Command::List => self.list(),
            Command::Status(name) => self.status(name),
            Command::Do(action, names, timeout) => return self.act(*action, names, *timeout),
            Command::ReloadTables => self.print_pairs("reload"),
            Command::Log { name, lines, follow, filter } => self.log(name, *lines, *follow, *filter),
            Command::Shutdown(power) => self.print_pairs(&format!("shutdown {}", protocol::power_word(*power))),
            Command::Analyze { svg } => self.analyze(*svg),
        };
        let about = match command {
            Command::Status(name) | Command::Log { name, .. } => Some(*name),
            _ => None,
        };
        result.unwrap_or_else(|failure| self.explain(&failure, about))
    }

    fn list(&self) -> Result<i32, Failure> {
        let text = self.ask("list")?;
        print(&table::list(&rows(&text), has_colours()));
        Ok(DONE)
    }

    fn status(&self, name: &str) -> Result<i32, Failure> {
        let text = self.ask(&format!("status {name}"))?;
        let mut lines = text.lines();
        let Some(row) = lines.next().and_then(protocol::listed) else {
            return Err(Failure::Silent("PID 1 sent an answer that is not understood".into()));
        };
        let more: Vec<_> = lines.filter_map(|line| line.split_once('\t')).collect();
        print(&table::status(&row, &more, has_colours()));
        Ok(if row.health == Health::Up { DONE } else { NOT_RUNNING })
    }

    fn print_pairs(&self, request: &str) -> Result<i32, Failure> {
        let text = self.ask(request)?;
        for (key, value) in text.lines().filter_map(|line| line.split_once('\t')) {
            print(&format!("{key}: {value}\n"));
        }
        Ok(DONE)
    }

    fn log(&self, name: &str, lines: Option<u64>, follow: bool, filter: Filter) -> Result<i32, Failure> {
        let raw = !is_terminal();
        let show = |bytes: &[u8]| {
            if raw {
                write(bytes);
            } else {
                print(&harmless(&String::from_utf8_lossy(bytes)));
            }
        };
        // What is left out does not count. A follower cannot know which lines are the last, and gets all that there are.
        let count = if filter.is_set() { u64::MAX } else { lines.unwrap_or(protocol::LINES) };
        let request = format!("log {name} {count}{}", if follow { " follow" } else { "" });
        let wait = if follow { None } else { Some(Duration::ZERO) };
        let mut connection = Connection::ask(self.socket, &request, wait)?;
        if !filter.is_set() {
            connection.answer(show)?;
            return Ok(DONE);
        }
        let (now, all) = (log::Now { wall: clock::milliseconds(), uptime: uptime() }, name == protocol::ALL);
        let mut last = log::Last::new(lines.unwrap_or(u64::MAX));
        connection.answer(|block| {
            for line in block.split_inclusive(|&byte| byte == b'\n') {
                let text = String::from_utf8_lossy(line);
                match filter.wants(text.trim_end(), all, now) {
                    true if follow => show(line),
                    true => last.push(&text),
                    false => {}
                }
            }
        })?;
        last.lines().for_each(|line| show(line.as_bytes()));
        Ok(DONE)
    }

    fn analyze(&self, svg: bool) -> Result<i32, Failure> {
        let text = self.ask("analyze")?;
        let spans = analyze::of_the_boot(text.lines().filter_map(protocol::span).collect());
        print(&if svg { chart::svg(&spans) } else { analyze::text(&spans) });
        Ok(DONE)
    }

    /// Does the same to some services at once, and waits for all. The exit code is that of the first failure.
    fn act(&self, action: Action, names: &[&str], timeout: u64) -> i32 {
        let mut code = DONE;
        for some in names.chunks(AT_ONCE) {
            let asked: Vec<_> = some.iter().map(|name| (*name, self.begin(action, name, timeout))).collect();
            for (name, connection) in asked {
                if let Err(failure) = connection.and_then(|mut connection| connection.answer(|_| {})) {
                    let one = self.explain(&failure, Some(name));
                    code = if code == DONE { one } else { code };
                }
            }
        }
        code
    }

    fn begin(&self, action: Action, name: &str, timeout: u64) -> Result<Connection, Failure> {
        let request = format!("{} {name} {timeout}", protocol::action_word(action));
        Connection::ask(self.socket, &request, Some(Duration::from_secs(timeout)))
    }

    fn ask(&self, request: &str) -> Result<String, Failure> {
        connection::ask(self.socket, request)
    }

    /// Says why something was not done. Returns the exit code.
    fn explain(&self, failure: &Failure, name: Option<&str>) -> i32 {
        let Refusal { code, message } = match failure {
            Failure::Silent(message) => {
                say(message);
                return SILENT;
            }
            Failure::Refused(refusal) => refusal,
        };
        let message = harmless(message);
        match (code, name) {
            (Code::Unknown, Some(name)) => say(&format!("{message}{}", self.suggestion(name))),
            (Code::Denied, _) => say(&format!("{message}\nhint: run this as root")),
            (_, Some(name)) if !message.contains(name) => say(&format!("{name}: {message}")),
            _ => say(&message),
        }
        match code {
            Code::Usage => USAGE_ERROR,
            Code::Unknown => UNKNOWN,
            Code::Denied => DENIED,
            Code::Timeout => TIMEOUT,
            Code::Failed | Code::Busy | Code::Conflict => FAILED,
        }
    }

    /// Suggests the service that an unknown name may stand for.
    fn suggestion(&self, name: &str) -> String {
        let text = self.ask("list").unwrap_or_default();
        let known: Vec<&str> = rows(&text).iter().map(|row| row.name).collect();
        let longer = known.iter().copied().find(|known| known.starts_with(name));
        match longer.or_else(|| nearest(name, &known)) {
            Some(near) => format!("\nhint: did you mean '{}'?", harmless(near)),
            None => "\nhint: `initctl list` shows all".into(),
        }
    }
}

/// The rows of a list.
fn rows(text: &str) -> Vec<Listed<'_>> {
    text.lines().filter_map(protocol::listed).collect()
}

/// Text that a terminal shows and does not obey: control characters as `^[` and the like.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\t' => out.push(letter),
            '\0'..' ' => out.extend(['^', char::from(letter as u8 + b'@')]),
            '\x7f' => out.push_str("^?"),
            letter if letter.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            letter => out.push(letter),
        }
    }
    out
}

fn is_terminal() -> bool {
    tty::settings(rustix::stdio::stdout()).is_ok()
}

/// Colours are for people: on a terminal, unless they said no (no-color.org).
fn has_colours() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    is_terminal() && !set("NO_COLOR") && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Milliseconds since the machine's start.
fn uptime() -> i64 {
    i64::try_from(system::uptime().as_millis()).unwrap_or(i64::MAX)
}

fn print(text: &str) {
    write(text.as_bytes());
}

fn write(bytes: &[u8]) {
    // A reader that went away has seen enough; the signal of a broken pipe ends the tool.
    let _ = files::write_all(rustix::stdio::stdout(), bytes);
}

fn say(message: &str) {
    files::to_stderr(format_args!("initctl: {message}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_told_what_to_do() {
        assert_eq!(harmless("a\tb\n"), "a\tb\n");
        assert_eq!(harmless("\x1b[2J\0\r\x7f\u{9b}é"), "^[[2J^@^M^?\u{fffd}é");
    }

    #[test]
    fn the_usage_names_the_socket_and_every_code() {
        assert!(USAGE.contains(SOCKET));
        for code in DONE..=TIMEOUT {
            assert!(USAGE.contains(&format!("{code} ")), "{code}");
        }
    }

    #[test]
    fn without_pid_1_there_is_a_clear_code() {
        for words in [&["list"][..], &["status", "web"], &["start", "web"], &["reload"], &["analyze"], &["log", "web"]]
        {
            let words = [&["--socket", "/no/such/socket"], words].concat();
            assert_eq!(run(&words), SILENT, "{words:?}");
        }
        assert_eq!(run(&["nonsense"]), USAGE_ERROR);
    }
}
