//! The language of the control socket: lines of words, read by people with `socat` and by programs in any language.
//!
//! A request is one line, words separated by blanks, at most [`LONGEST`] bytes with its end:
//!
//! ```text
//! list
//! status NAME
//! start|stop|restart|reload NAME [SECONDS]    answers when it is done, or after SECONDS (60; 0 does not wait)
//! reload                                      reads the tables again
//! log NAME [LINES] [follow]                   the last LINES (20), and those to come; of all logs where NAME is *
//! shutdown poweroff|reboot|halt
//! analyze
//! ```
//!
//! A reply is `ok`, any number of blocks, and `end`; or `error CODE MESSAGE` in a line, at any place. A block is a line
//! `data LENGTH` and LENGTH bytes. Requests on one connection are answered in order.
//!
//! `list` and `status` answer with rows of fields separated by tabs ([`row`]), `analyze` with those of [`span_row`],
//! `log` with lines of text. Fields have no tabs and no control characters.

mod values;

use core::time::Duration;
use std::fmt::Write;

use crate::sys::system::Power;

pub use values::{Action, Code, Health, Kind, Refusal, Span, Summary};

/// The socket's path.
pub const SOCKET: &str = "/run/initctl.sock";

/// The longest request in bytes, with its line end.
pub const LONGEST: usize = 512;
/// How long a request waits for a service when it does not say, in seconds.
pub const DEFAULT_TIMEOUT: u64 = 60;
/// How long a request can wait at most, in seconds.
const LONGEST_TIMEOUT: u64 = 3600;
/// The name that stands for all logs, whose lines are sorted by time and begin with the name of theirs.
pub const ALL: &str = "*";
/// Lines of log when the request does not say.
pub const LINES: u64 = 20;

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// All services.
    List,
    /// One service.
    Status(&'a str),
    /// Something to do to a service, and how long to wait for it.
    Do(Action, &'a str, Duration),
    /// Read the tables again.
    ReloadTables,
    /// The last lines of a service, and those to come.
    Log {
        /// The service.
        name: &'a str,
        /// How many old lines.
        lines: u64,
        /// Whether new lines are wanted too.
        follow: bool,
    },
    /// Go down.
    Shutdown(Power),
    /// The times of the boot.
    Analyze,
}

impl Request<'_> {
    /// Whether everyone may ask. The rest is for root: what changes something, and logs, which may hold secrets.
    pub fn is_free(&self) -> bool {
        matches!(self, Request::List | Request::Status(_) | Request::Analyze)
    }
}

/// Words and what they stand for.
const ACTIONS: &[(&str, Action)] =
    &[("start", Action::Start), ("stop", Action::Stop), ("restart", Action::Restart), ("reload", Action::Reload)];
const POWERS: &[(&str, Power)] = &[("poweroff", Power::Off), ("reboot", Power::Reboot), ("halt", Power::Halt)];
const CODES: &[(&str, Code)] = &[
    ("usage", Code::Usage),
    ("unknown", Code::Unknown),
    ("denied", Code::Denied),
    ("failed", Code::Failed),
    ("timeout", Code::Timeout),
    ("busy", Code::Busy),
    ("conflict", Code::Conflict),
];
const HEALTHS: &[(&str, Health)] =
    &[("up", Health::Up), ("changing", Health::Changing), ("down", Health::Down), ("failed", Health::Failed)];
const KINDS: &[(&str, Kind)] =
    &[("kernel", Kind::Kernel), ("phase", Kind::Phase), ("service", Kind::Service), ("mark", Kind::Mark)];

fn value<T: Copy>(table: &[(&str, T)], word: &str) -> Option<T> {
    table.iter().find(|(known, _)| *known == word).map(|&(_, value)| value)
}

fn word<T: Copy + PartialEq>(table: &[(&'static str, T)], value: T) -> &'static str {
    table.iter().find(|(_, known)| *known == value).map_or("", |(word, _)| word)
}

/// The word for an action.
pub fn action_word(action: Action) -> &'static str {
    word(ACTIONS, action)
}

/// The action or, without a word, nothing.
pub fn action(text: &str) -> Option<Action> {
    value(ACTIONS, text)
}

/// The way to go down that a word names.
pub fn power(text: &str) -> Option<Power> {
    value(POWERS, text)
}

/// The word for a way to go down.
pub fn power_word(power: Power) -> &'static str {
    word(POWERS, power)
}

/// Understands a request, given without its line end.
///
/// # Errors
/// A [`Code::Usage`] that says what is wrong.
pub fn parse(line: &[u8]) -> Result<Request<'_>, Refusal> {
    let usage = |message: &str| Refusal::new(Code::Usage, message);
    let line = core::str::from_utf8(line).map_err(|_| usage("the request is not UTF-8"))?;
    if line.chars().any(char::is_control) {
        return Err(usage("the request has a control character"));
    }
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    let verb = words.next().ok_or_else(|| usage("the request is empty"))?;
    let rest: Vec<&str> = words.collect();
    let request = match (verb, rest.as_slice()) {
        ("list", []) => Request::List,
        ("analyze", []) => Request::Analyze,
        ("reload", []) => Request::ReloadTables,
        ("status", [name]) => Request::Status(name),
        ("shutdown", [how]) => {
            Request::Shutdown(power(how).ok_or_else(|| usage("shutdown takes poweroff, reboot or halt"))?)
        }
        ("log", [name, options @ ..]) => log(name, options).ok_or_else(|| usage("log takes NAME [LINES] [follow]"))?,
        (verb, arguments) => match (action(verb), arguments) {
            (Some(action), [name]) => Request::Do(action, name, Duration::from_secs(DEFAULT_TIMEOUT)),
            (Some(action), [name, seconds]) => {
                let seconds: u64 = seconds.parse().map_err(|_| usage("the time to wait is not a number of seconds"))?;
                Request::Do(action, name, Duration::from_secs(seconds.min(LONGEST_TIMEOUT)))
            }
            (Some(_), _) => return Err(usage("the request needs the name of one service")),
            (None, _) => return Err(usage("the request is not known, or has the wrong number of words")),
        },
    };
    Ok(request)
}

fn log<'a>(name: &'a str, options: &[&str]) -> Option<Request<'a>> {
    let (lines, follow) = match options {
        [] => (LINES, false),
        ["follow"] => (LINES, true),
        [lines] => (lines.parse().ok()?, false),
        [lines, "follow"] => (lines.parse().ok()?, true),
        _ => return None,
    };
    Some(Request::Log { name, lines, follow })
}

/// A reply without blocks.
pub const OK: &str = "ok\nend\n";

/// Appends a block.
pub fn block(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(format!("data {}\n", bytes.len()).as_bytes());
    out.extend_from_slice(bytes);
}

/// A reply with one block.
pub fn reply(text: &str) -> Vec<u8> {
    let mut out = b"ok\n".to_vec();
    block(&mut out, text.as_bytes());
    out.extend_from_slice(b"end\n");
    out
}

/// The line of a refusal.
pub fn error(refusal: &Refusal) -> String {
    format!("error {} {}\n", word(CODES, refusal.code), Field(&refusal.message))
}

/// Text without what would end a field, a row, or a terminal's patience.
struct Field<'a>(&'a str);

impl core::fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.chars().try_for_each(|letter| f.write_char(if letter.is_control() { ' ' } else { letter }))
    }
}

/// Appends a service: name, state, health, process or `-`, milliseconds in the state, restarts, text.
pub fn row(out: &mut String, summary: &Summary) {
    let Summary { name, state, health, pid, age, restarts, text } = summary;
    let pid = pid.map_or_else(|| "-".into(), |pid| pid.to_string());
    let health = word(HEALTHS, *health);
    let (name, text) = (Field(name), Field(text));
    // Writing to memory does not fail.
    let _ = writeln!(out, "{name}\t{state}\t{health}\t{pid}\t{}\t{restarts}\t{text}", age.as_millis());
}

/// Appends a key and its value.
pub fn pair(out: &mut String, key: &str, value: &str) {
    let _ = writeln!(out, "{}\t{}", Field(key), Field(value));
}

/// Appends a span: kind, name, start, ready or `-`, end or `-` (microseconds), the services it came after, separated by commas.
pub fn span_row(out: &mut String, span: &Span) {
    let Span { kind, name, start, ready, end, after } = span;
    let time = |time: &Option<Duration>| time.map_or_else(|| "-".into(), |time| time.as_micros().to_string());
    let (kind, after) = (word(KINDS, *kind), after.join(","));
    let _ = writeln!(
        out,
        "{kind}\t{}\t{}\t{}\t{}\t{}",
        Field(name),
        start.as_micros(),
        time(ready),
        time(end),
        Field(&after)
    );
}

/// A row of [`row`] as its reader gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<'a> {
    /// See [`Summary`].
    pub name: &'a str,
    /// See [`Summary`].
    pub state: &'a str,
    /// See [`Summary`].
    pub health: Health,
    /// See [`Summary`].
    pub pid: &'a str,
    /// See [`Summary`].
    pub age: Duration,
    /// See [`Summary`].
    pub restarts: &'a str,
    /// See [`Summary`].
    pub text: &'a str,
}

/// Understands a row of [`row`]; more fields than are known are for later versions.
pub fn listed(line: &str) -> Option<Listed<'_>> {
    let mut fields = line.split('\t');
    Some(Listed {
        name: fields.next()?,
        state: fields.next()?,
        health: value(HEALTHS, fields.next()?)?,
        pid: fields.next()?,
        age: Duration::from_millis(fields.next()?.parse().ok()?),
        restarts: fields.next()?,
        text: fields.next()?,
    })
}

/// Understands a row of [`span_row`].
pub fn span(line: &str) -> Option<Span> {
    let mut fields = line.split('\t');
    let kind = value(KINDS, fields.next()?)?;
    let name = fields.next()?.to_owned();
    let start = Duration::from_micros(fields.next()?.parse().ok()?);
    let time = |field: &str| match field {
        "-" => Some(None),
        number => Some(Some(Duration::from_micros(number.parse().ok()?))),
    };
    let (ready, end) = (time(fields.next()?)?, time(fields.next()?)?);
    let after = fields.next()?.split(',').filter(|name| !name.is_empty()).map(String::from).collect();
    Some(Span { kind, name, start, ready, end, after })
}

/// Something in a reply.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// The request is accepted.
    Accepted,
    /// A block.
    Block(Vec<u8>),
    /// The reply is complete.
    End,
    /// The reply is this refusal.
    Refused(Refusal),
}

/// A longer block than any that PID 1 sends.
const LONGEST_BLOCK: usize = 64 << 20;

/// Takes the next part out of the bytes of a reply; nothing when more bytes are needed.
///
/// # Errors
/// When it is no reply of this protocol.
pub fn take_part(bytes: &mut Vec<u8>) -> Result<Option<Part>, String> {
    let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
        return if bytes.len() > LONGEST * 8 { Err("a line without an end".into()) } else { Ok(None) };
    };
    let line = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned();
    let after = end + 1;
    let part = match line.split_once(' ').unwrap_or((&line, "")) {
        ("ok", "") => Part::Accepted,
        ("end", "") => Part::End,
        ("error", rest) => {
            let (code, message) = rest.split_once(' ').unwrap_or((rest, ""));
            // A code of a later version is a failure too.
            Part::Refused(Refusal::new(value(CODES, code).unwrap_or(Code::Failed), message))
        }
        ("data", length) => {
            let length = length.parse().ok().filter(|&length: &usize| length <= LONGEST_BLOCK);
            let length = length.ok_or_else(|| format!("a block with no good length: {line}"))?;
            let Some(block) = bytes.get(after..after + length) else {
                return Ok(None);
            };
            let block = block.to_vec();
            bytes.drain(..after + length);
            return Ok(Some(Part::Block(block)));
        }
        _ => return Err(format!("a line that is not of this protocol: {line}")),
    };
    bytes.drain(..after);
    Ok(Some(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        let ok = |text: &'static str| parse(text.as_bytes()).unwrap();
        assert_eq!(ok("list"), Request::List);
        assert_eq!(ok("  status   web "), Request::Status("web"));
        assert_eq!(ok("start web"), Request::Do(Action::Start, "web", Duration::from_secs(60)));
        assert_eq!(ok("stop web 0"), Request::Do(Action::Stop, "web", Duration::ZERO));
        assert_eq!(ok("restart web 99999999"), Request::Do(Action::Restart, "web", Duration::from_secs(3600)));
        assert_eq!(ok("reload"), Request::ReloadTables);
        assert_eq!(ok("reload web"), Request::Do(Action::Reload, "web", Duration::from_secs(60)));
        assert_eq!(ok("log web"), Request::Log { name: "web", lines: 20, follow: false });
        assert_eq!(ok("log web 0 follow"), Request::Log { name: "web", lines: 0, follow: true });
        assert_eq!(ok("log follow follow"), Request::Log { name: "follow", lines: 20, follow: true });
        assert_eq!(ok("shutdown halt"), Request::Shutdown(Power::Halt));
        assert_eq!(ok("analyze"), Request::Analyze);
    }

    #[test]
    fn what_is_no_request() {
        for text in [
            "",
            " ",
            "lst",
            "list all",
            "status",
            "status a b",
            "start",
            "start a b",
            "start a -1",
            "start a 1 2",
            "shutdown",
            "shutdown now",
            "log",
            "log a b",
            "log a 1 2",
            "log a -1",
            "LIST",
            "status\ta",
            "list\r",
            "status a\u{7f}",
            "start a 99999999999999999999",
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().code, Code::Usage, "{text:?}");
        }
        assert_eq!(parse(b"status \xff").unwrap_err().code, Code::Usage);
    }

    #[test]
    fn garbage_is_refused_or_understood_and_never_more() {
        // Words of the language in any order, and bytes that are none (xorshift; the same at every run).
        const WORDS: [&[u8]; 12] = [
            b"start",
            b"stop",
            b"log",
            b"status",
            b"list",
            b"follow",
            b"9",
            b" ",
            b"\xff",
            b"\n",
            b"data 3\n",
            b"ok\n",
        ];
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..20_000 {
            let mut bytes = Vec::new();
            for _ in 0..5 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                bytes.extend_from_slice(WORDS[(state % 12) as usize]);
                bytes.push(if state & 1 << 20 == 0 { b' ' } else { (state >> 24) as u8 });
            }
            if let Ok(Request::Do(_, name, _) | Request::Status(name) | Request::Log { name, .. }) = parse(&bytes) {
                assert!(!name.is_empty() && !name.contains(' '));
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            assert!(listed(&text).is_none() && span(&text).is_none());
            while let Ok(Some(_)) = take_part(&mut bytes) {}
        }
    }

    #[test]
    fn everyone_may_ask_and_root_may_change() {
        for (text, free) in [
            ("list", true),
            ("status a", true),
            ("analyze", true),
            ("start a", false),
            ("stop a", false),
            ("restart a", false),
            ("reload a", false),
            ("reload", false),
            ("shutdown halt", false),
            ("log a", false),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap().is_free(), free, "{text}");
        }
    }

    fn summary() -> Summary {
        Summary {
            name: "web".into(),
            state: "ready",
            health: Health::Up,
            pid: Some(7),
            age: Duration::from_millis(1500),
            restarts: 2,
            text: "a\tb\n\u{1b}[31m".into(),
        }
    }

    #[test]
    fn rows_come_back_and_cannot_be_forged() {
        let mut out = String::new();
        row(&mut out, &summary());
        assert_eq!(out, "web\tready\tup\t7\t1500\t2\ta b  [31m\n");
        let back = listed(out.trim_end_matches('\n')).unwrap();
        assert_eq!((back.name, back.health, back.age), ("web", Health::Up, Duration::from_millis(1500)));
        assert_eq!((listed("web\tready"), listed("")), (None, None));
    }

    #[test]
    fn spans_come_back() {
        let one = Span {
            kind: Kind::Service,
            name: "web".into(),
            start: Duration::from_micros(5),
            ready: None,
            end: Some(Duration::from_micros(9)),
            after: vec!["net".into(), "db".into()],
        };
        let mut out = String::new();
        span_row(&mut out, &one);
        assert_eq!(out, "service\tweb\t5\t-\t9\tnet,db\n");
        assert_eq!(span(out.trim_end_matches('\n')), Some(one));
        assert_eq!(span("service\tweb\tx\t-\t-\t"), None);
    }

    #[test]
    fn replies_are_read_part_by_part_wherever_they_are_cut() {
        let mut whole = reply("line\nend\n");
        whole.extend_from_slice(error(&Refusal::new(Code::Timeout, "too\nslow")).as_bytes());
        let expected = [
            Part::Accepted,
            Part::Block(b"line\nend\n".to_vec()),
            Part::End,
            Part::Refused(Refusal::new(Code::Timeout, "too slow")),
        ];
        for cut in 0..whole.len() {
            let mut bytes = whole[..cut].to_vec();
            let mut parts = Vec::new();
            while let Some(part) = take_part(&mut bytes).unwrap() {
                parts.push(part);
            }
            bytes.extend_from_slice(&whole[cut..]);
            while let Some(part) = take_part(&mut bytes).unwrap() {
                parts.push(part);
            }
            assert_eq!((parts.as_slice(), bytes.len()), (&expected[..], 0), "cut at {cut}");
        }
        for bad in ["yes\n", "data x\n", "data -1\n", "data 99999999999\n", "ok now\n"] {
            assert!(take_part(&mut bad.as_bytes().to_vec()).is_err(), "{bad}");
        }
        assert!(take_part(&mut vec![b'x'; 10_000]).is_err());
    }
}
