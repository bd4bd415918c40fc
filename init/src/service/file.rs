//! Reads `/etc/services.d/NAME.toml`. The runner calls [`load`]; keys and their meanings are in README.md.

use super::config::{Command, Config, Execution, Kind, Log, Output, Policy, Reload, StopMode};
use crate::config::table::{Fault, Reader, Value, parse as parse_table};
use crate::config::values::{capabilities, limit, signal, size, time, time_or_none, umask, word};
use crate::log::warn;
use crate::platform::zone;
use crate::sys::{Errno, files};
use init_base::names::is_service_name;

/// The directory.
///
/// `/etc/services` is a file of port names, which getservbyname(3) reads.
pub const DIR: &str = "/etc/services.d";
/// Logs that are no service's: PID 1's own and that of syslog(3).
const OWN_LOGS: [&str; 2] = [crate::log::NAME, "messages"];
/// Bytes of a file that are not a mistake.
const LARGEST: usize = 64 << 10;
/// More services than any machine of this kind has, and a limit for the memory that they take.
const MOST: usize = 1000;

/// A service's file, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The service's name.
    pub name: String,
    /// Its settings, or its faults.
    pub config: Result<Config, Vec<Fault>>,
}

impl File {
    /// What is wrong with it, with its place.
    pub fn faults(&self) -> Vec<String> {
        let place = |line: usize| if line == 0 { String::new() } else { format!(", line {line}") };
        let text = |fault: &Fault| format!("{DIR}/{}.toml{}: {}", self.name, place(fault.line), fault.message);
        self.config.as_ref().err().into_iter().flatten().map(text).collect()
    }
}

/// Reads all files, in the order of their names, and says what is wrong with them. `arguments` are for the services that take them.
///
/// # Errors
/// When the directory is there and cannot be read.
pub fn load(arguments: &str) -> Result<Vec<File>, Errno> {
    let names = match files::list_dir(DIR) {
        Ok(names) => names,
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for name in names.iter().filter_map(|name| name.strip_suffix(".toml")) {
        if !is_service_name(name) {
            warn!("{DIR}/{name}.toml: a service's name has letters, digits and -_.@ only; the file is left out");
        } else if OWN_LOGS.contains(&name) {
            warn!("{DIR}/{name}.toml: init's own log has the name {name}; rename the file, which is left out");
        } else if found.len() == MOST {
            warn!("{DIR} has more than {MOST} services; {name} and those after it are left out");
            break;
        } else {
            found.push(read(name, arguments));
        }
    }
    Ok(found)
}

/// Whether a service may have this name.
pub fn is_good_name(name: &str) -> bool {
    is_service_name(name) && !OWN_LOGS.contains(&name)
}

fn read(name: &str, arguments: &str) -> File {
    let path = format!("{DIR}/{name}.toml");
    let config = match files::read_file(&path) {
        Ok(content) => parse(name, &content, arguments),
        Err(error) => Err(vec![Fault { line: 0, message: format!("it cannot be read: {error}") }]),
    };
    for Fault { line, message } in config.as_ref().err().into_iter().flatten().take(5) {
        match line {
            0 => warn!("{path}: {message}"),
            line => warn!("{path}, line {line}: {message}"),
        }
    }
    let variables = config.iter().flat_map(|config| &config.execution.environment);
    for fault in variables.filter(|(name, _)| name == "TZ").filter_map(|(_, value)| zone::fault(value)) {
        warn!("{path}: {fault}");
    }
    File { name: name.into(), config }
}

/// Understands a file. `arguments` are words of the machine's settings, which a service with `takes-arguments` gets.
///
/// # Errors
/// Everything that is wrong with it. One fault is enough for the service not to run: what is mistyped could be the user
/// that it should run as.
pub fn parse(name: &str, content: &[u8], arguments: &str) -> Result<Config, Vec<Fault>> {
    let whole = |message: &str| vec![Fault { line: 0, message: message.into() }];
    if content.len() > LARGEST {
        return Err(whole("it is larger than 64 KiB"));
    }
    let text = core::str::from_utf8(content).map_err(|_| whole("it is not text in UTF-8"))?;
    let mut reader = Reader::new(parse_table(text)?);
    let mut config = config(name, &mut reader);
    if reader.take("takes-arguments", Value::boolean) == Some(true) {
        config.execution.command.add_words(arguments);
    }
    let faults = reader.finish();
    if faults.is_empty() { Ok(config) } else { Err(faults) }
}

const KINDS: &[(&str, Kind)] = &[("simple", Kind::Simple), ("oneshot", Kind::Oneshot), ("notify", Kind::Notify)];
const STOP_MODES: &[(&str, StopMode)] = &[("all", StopMode::All), ("main", StopMode::Main)];
const POLICIES: &[(&str, Policy)] =
    &[("always", Policy::Always), ("on-failure", Policy::OnFailure), ("never", Policy::Never)];
const OUTPUTS: &[(&str, Output)] =
    &[("log", Output::Log), ("kmsg", Output::Kmsg), ("console", Output::Console), ("null", Output::Null)];

fn config(name: &str, reader: &mut Reader) -> Config {
    let kind = reader.take("type", |value| word(value, KINDS)).unwrap_or(Kind::Simple);
    let command = reader.take("command", command).unwrap_or_else(|| {
        // A second fault where the command is there and faulty would only confuse.
        if reader.is_good() {
            reader.fault("there is no 'command'; hint: command = \"/usr/sbin/program --foreground\"");
        }
        Command::Words(Vec::new())
    });
    let mut config = Config::new(name, kind, command);
    if let Some(text) = reader.take("description", Value::text) {
        config.description = text;
    }
    set(&mut config.enabled, reader.take("enabled", Value::boolean));
    set(&mut config.after, reader.take("after", names));
    set(&mut config.needs, reader.take("needs", names));
    execution(&mut config.execution, reader);
    restart(&mut config, reader);
    set(&mut config.start_timeout, reader.take("start-timeout", time_or_none));
    set(&mut config.stop_signal, reader.take("stop-signal", signal));
    set(&mut config.stop_mode, reader.take("stop-mode", |value| word(value, STOP_MODES)));
    config.stop_timeout = reader.take("stop-timeout", time);
    config.watchdog = reader.take("watchdog", time_or_none).flatten();
    config.reload = reload(reader);
    reader.table("log", |table| config.log = log(table));
    config
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn names(value: &Value) -> Result<Vec<String>, String> {
    let names = value.texts()?;
    match names.iter().find(|name| !is_service_name(name)) {
        Some(name) => Err(format!("has '{name}', which cannot be a service's name")),
        None => Ok(names),
    }
}

fn command(value: &Value) -> Result<Command, String> {
    match value {
        Value::List(_) => match value.texts()? {
            words if words.first().is_none_or(String::is_empty) => Err("names no program".into()),
            words => Ok(Command::Words(words)),
        },
        Value::Text(text) if text.trim().is_empty() => Err("names no program".into()),
        Value::Text(_) => value.text().map(Command::Line),
        other => Err(other.not("a string or a list of strings")),
    }
}

fn execution(execution: &mut Execution, reader: &mut Reader) {
    execution.user = reader.take("user", account);
    execution.group = reader.take("group", account);
    execution.groups = reader.take("groups", Value::texts);
    set(&mut execution.directory, reader.take("directory", path));
    set(&mut execution.umask, reader.take("umask", umask));
    set(&mut execution.nice, reader.take("nice", |value| int(value, -20, 19)));
    execution.oom_score_adj = reader.take("oom-score-adj", |value| int(value, -1000, 1000));
    set(&mut execution.no_new_privileges, reader.take("no-new-privileges", Value::boolean));
    execution.capabilities = reader.take("capabilities", capabilities);
    set(&mut execution.output, reader.take("output", |value| word(value, OUTPUTS)));
    reader.table("environment", |table| {
        table.rest(|name, value| {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err("cannot be a variable's name".into());
            }
            execution.environment.push((name.into(), value.text()?));
            Ok(())
        });
    });
    reader.table("limits", |table| {
        table.rest(|name, value| {
            execution.limits.push(limit(name, value)?);
            Ok(())
        });
    });
    reader.table("cgroup", |table| execution.cgroup = cgroup(table));
}

fn int(value: &Value, least: i32, most: i32) -> Result<i32, String> {
    let number = value.integer(least.into(), most.into())?;
    i32::try_from(number).map_err(|_| "is too large".into())
}

fn path(value: &Value) -> Result<String, String> {
    let path = value.text()?;
    if path.starts_with('/') { Ok(path) } else { Err(format!("must be a path from the root, and is '{path}'")) }
}

/// A user or group: a name, or a number as string or integer.
fn account(value: &Value) -> Result<String, String> {
    match value {
        Value::Integer(..) => value.integer(0, i64::from(u32::MAX) - 1).map(|number| number.to_string()),
        _ => value.text(),
    }
}

fn restart(config: &mut Config, reader: &mut Reader) {
    let restart = &mut config.restart;
    set(&mut restart.policy, reader.take("restart", |value| word(value, POLICIES)));
    set(&mut restart.delay, reader.take("restart-delay", time));
    set(&mut restart.longest, reader.take("restart-delay-max", time));
    restart.longest = restart.longest.max(restart.delay);
    let limit = reader.take("start-limit", |value| value.integer(0, 1_000_000));
    set(&mut restart.limit, limit.and_then(|limit| u32::try_from(limit).ok()));
    set(&mut restart.interval, reader.take("start-limit-interval", time));
    if config.kind == Kind::Oneshot && config.restart.policy == Policy::Always {
        reader.fault("a oneshot service cannot restart always, because its end is its success; hint: on-failure");
    }
}

fn reload(reader: &mut Reader) -> Reload {
    let signal = reader.take("reload-signal", signal);
    let command = reader.take("reload-command", command);
    match (signal, command) {
        (Some(_), Some(_)) => {
            reader.fault("it has both reload-signal and reload-command; hint: keep one");
            Reload::Never
        }
        (Some(signal), None) => Reload::Signal(signal),
        (None, Some(command)) => Reload::Command(command),
        (None, None) => Reload::Never,
    }
}

/// Files of a control group that a service may set (cgroup-v2.rst), by their keys here.
fn cgroup(table: &mut Reader) -> Vec<(&'static str, String)> {
    const SIZES: &[(&str, &str)] = &[
        ("memory-max", "memory.max"),
        ("memory-high", "memory.high"),
        ("memory-low", "memory.low"),
        ("memory-swap-max", "memory.swap.max"),
    ];
    let mut settings = Vec::new();
    for (key, file) in SIZES {
        settings.extend(table.take(key, size).map(|size| (*file, size.to_string())));
    }
    let pids = table.take("pids-max", |value| value.integer(1, i64::from(i32::MAX)));
    settings.extend(pids.map(|pids| ("pids.max", pids.to_string())));
    let weight = table.take("cpu-weight", |value| value.integer(1, 10_000));
    settings.extend(weight.map(|weight| ("cpu.weight", weight.to_string())));
    // Hundredths of one processor, as the share of a period of 100 ms in microseconds.
    let quota = table.take("cpu-percent", |value| value.integer(1, 100_000));
    settings.extend(quota.map(|percent| ("cpu.max", format!("{} 100000", percent * 1000))));
    settings
}

fn log(table: &mut Reader) -> Log {
    let file = |value: &Value| match value {
        Value::Boolean(false) => Ok(String::new()),
        Value::Text(_) => path(value),
        other => Err(other.not("a path or false")),
    };
    Log {
        memory: table.take("memory", size),
        file: table.take("file", file),
        size: table.take("size", size),
        keep: table.take("keep", |value| value.integer(0, 100)).and_then(|keep| u32::try_from(keep).ok()),
        rate: table.take("rate", size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::config::Restart;
    use crate::sys::privileges::{Limit, Resource};
    use crate::sys::signal::Signal;
    use core::time::Duration;

    fn good(text: &str) -> Config {
        parse("web", text.as_bytes(), "").unwrap()
    }

    fn bad(text: &str) -> Vec<(usize, String)> {
        parse("web", text.as_bytes(), "").unwrap_err().into_iter().map(|fault| (fault.line, fault.message)).collect()
    }

    #[test]
    fn arguments_of_the_settings_are_added_where_they_are_taken() {
        let command = |text: &str| parse("web", text.as_bytes(), "--tcp 7;reboot it's").unwrap().execution.command;
        let words = |words: &[&str]| Command::Words(words.iter().map(|word| (*word).into()).collect());
        assert_eq!(command("command = '/bin/web -f'"), Command::Line("/bin/web -f".into()));
        let all = words(&["/bin/web", "-f", "--tcp", "7;reboot", "it's"]);
        assert_eq!(command("command = '/bin/web -f'\ntakes-arguments = true"), all);
        assert_eq!(command("command = ['/bin/web', '-f']\ntakes-arguments = true"), all);
        let quoted = "/bin/web $X '--tcp' '7;reboot' 'it'\\''s'";
        assert_eq!(command("command = '/bin/web $X'\ntakes-arguments = true"), Command::Line(quoted.into()));
    }

    #[test]
    fn a_command_is_enough() {
        let config = good("command = '/bin/web -f'\n");
        assert_eq!(config, Config::new("web", Kind::Simple, Command::Line("/bin/web -f".into())));
        assert_eq!(config.restart.policy, Policy::Always);
        assert_eq!(good("command = 'x'\ntype = 'oneshot'").restart.policy, Policy::Never);
        assert!(good("command = 'x'\ntype = 'notify'").start_timeout.is_some());
        assert_eq!(good("command = 'x'\ntype = 'notify'\nstart-timeout = 0").start_timeout, None);
    }

    /// The example that every image has, with and without the settings that are comments in it.
    #[test]
    fn the_example_is_a_service() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../sysroot/skeleton/etc/services.d/example");
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(good(&text).needs, Vec::<String>::new());
        let is_setting = |line: &str| line.strip_prefix("# ").is_some_and(|line| line.contains(" = "));
        let all: String =
            text.lines().map(|line| format!("{}\n", if is_setting(line) { &line[2..] } else { line })).collect();
        let config = good(&all);
        assert_eq!(
            (config.needs, config.after, config.execution.user.is_some()),
            (vec!["database".into()], vec!["database".into()], true)
        );
    }

    #[test]
    fn every_key_is_understood() {
        let config = good(
            r#"
            description = "Web server"
            command = ["/usr/sbin/web", "--dir", "/srv/my web"]
            type = "notify"
            enabled = false
            after = ["net"]
            needs = ["db", "cache"]
            user = "www"
            group = 33
            groups = ["video"]
            directory = "/srv"
            umask = "027"
            nice = -5
            oom-score-adj = -500
            no-new-privileges = true
            capabilities = ["net_bind_service"]
            output = "kmsg"
            restart = "on-failure"
            restart-delay = 0.5
            restart-delay-max = "2min"
            start-limit = 3
            start-limit-interval = 30
            start-timeout = 20
            stop-signal = "QUIT"
            stop-mode = "main"
            stop-timeout = 10
            reload-signal = "HUP"
            watchdog = "30s"
            [environment]
            LANG = "C.UTF-8"
            [limits]
            nofile = [1024, 4096]
            core = 0
            [cgroup]
            pids-max = 100
            memory-max = "64M"
            cpu-percent = 150
            [log]
            file = "/var/log/web.log"
            size = "1M"
            keep = 4
            memory = "16K"
            rate = 0
            "#,
        );
        assert_eq!((config.kind, config.enabled, config.description.as_str()), (Kind::Notify, false, "Web server"));
        assert_eq!((config.after.join(","), config.needs.join(",")), ("net".into(), "db,cache".into()));
        let execution = &config.execution;
        let words = ["/usr/sbin/web", "--dir", "/srv/my web"].map(String::from);
        assert_eq!(execution.command, Command::Words(words.into()));
        assert_eq!((execution.user.as_deref(), execution.group.as_deref()), (Some("www"), Some("33")));
        assert_eq!((execution.umask, execution.nice, execution.oom_score_adj), (0o27, -5, Some(-500)));
        assert!(execution.no_new_privileges && execution.capabilities == Some(1 << 10));
        assert_eq!(execution.environment, [("LANG".into(), "C.UTF-8".into())]);
        assert!(execution.limits.contains(&(Resource::Nofile, Limit { current: Some(1024), maximum: Some(4096) })));
        let cgroup = [("memory.max", "67108864"), ("pids.max", "100"), ("cpu.max", "150000 100000")];
        assert_eq!(execution.cgroup, cgroup.map(|(file, value)| (file, value.to_owned())));
        let seconds = Duration::from_secs;
        let expected = Restart {
            policy: Policy::OnFailure,
            delay: Duration::from_millis(500),
            longest: seconds(120),
            limit: 3,
            interval: seconds(30),
            ..config.restart
        };
        assert_eq!(config.restart, expected);
        assert_eq!((config.stop_signal, config.stop_timeout), (Signal::QUIT, Some(seconds(10))));
        assert_eq!(config.stop_mode, StopMode::Main);
        assert_eq!((config.reload.clone(), config.watchdog), (Reload::Signal(Signal::HUP), Some(seconds(30))));
        assert_eq!((config.log.size, config.log.keep, config.log.rate), (Some(1 << 20), Some(4), Some(0)));
    }

    #[test]
    fn faults_name_line_and_key() {
        assert!(bad("")[0].1.starts_with("there is no 'command'"));
        assert_eq!(
            bad("command = 5"),
            [(1, "'command' must be a string or a list of strings, and is an integer".into())]
        );
        assert_eq!(bad("command = []")[0].1, "'command' names no program");
        assert_eq!(bad("command = ' '")[0].1, "'command' names no program");
        assert_eq!(bad("command = 'x'\nusr = 'www'"), [(2, "unknown key 'usr'; did you mean 'user'?".into())]);
        let both = bad("command = 'x'\nnice = 99\ntype = 'simpel'\n");
        assert_eq!(both.len(), 2);
        assert_eq!(both[0], (2, "'nice' must be from -20 to 19, and is 99".into()));
        assert_eq!(both[1], (3, "'type' must be one of simple, oneshot, notify, and is 'simpel'".into()));
        assert!(bad("command = 'x'\nneeds = ['../y']")[0].1.contains("'../y'"));
        assert_eq!(bad("command = \"x\\u0000\"")[0].1, "'command' must not contain a zero byte");
        assert_eq!(bad("command = 'x'\ntype = 'oneshot'\nrestart = 'always'").len(), 1);
        assert_eq!(bad("command = 'x'\nreload-signal = 'HUP'\nreload-command = 'y'").len(), 1);
        assert_eq!(bad("command = 'x'\n[environment]\n'A=B' = 'x'")[0].0, 3);
        assert_eq!(bad("command = 'x'\n[limits]\nnofiles = 1")[0].0, 3);
        assert_eq!(bad("command = 'x'\nlog = 5")[0].1, "'log' must be a table, and is an integer");
    }

    #[test]
    fn garbage_is_a_fault() {
        let garbage: Vec<u8> = (0..=255u8).cycle().take(5000).collect();
        assert_eq!(parse("x", &garbage, "").unwrap_err()[0].message, "it is not text in UTF-8");
        assert!(parse("x", &b"a".repeat(LARGEST + 1), "").is_err());
        assert!(parse("x", "command = ".as_bytes(), "").is_err());
        assert!(parse("x", "\u{feff}command = 'x'".as_bytes(), "").is_ok());
    }
}
