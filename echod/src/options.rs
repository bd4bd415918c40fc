//! The command line of `echod`.

use core::time::Duration;
use std::net::IpAddr;

use init_base::bootconfig::Entry;

/// The port of RFC 862. Below 1024, so root or the capability `net_bind_service` is needed.
const PORT: u16 = 7;
/// Ports of one kind.
const MOST_PORTS: usize = 16;
/// More than the kernel lets one process open by default (fs.nr_open is 1,048,576).
const MOST_CONNECTIONS: u32 = 1_000_000;

/// How it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// io_uring; epoll where the kernel refuses.
    Uring,
    /// epoll.
    Epoll,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// TCP ports.
    pub tcp: Vec<u16>,
    /// UDP ports.
    pub udp: Vec<u16>,
    /// The address to listen on; all addresses without one.
    pub bind: Option<IpAddr>,
    /// Connections at a time; more are closed at once.
    pub max_connections: u32,
    /// A connection on which nothing moves for so long is closed; nothing is no limit.
    pub idle_timeout: Option<Duration>,
    /// Bytes of memory for what slow readers have not taken, of all connections together.
    pub max_pending: usize,
    /// Buffers of the ring; a power of two.
    pub buffers: u16,
    /// Bytes of a buffer.
    pub buffer_size: u32,
    /// How it waits.
    pub engine: Engine,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            tcp: vec![PORT],
            udp: vec![PORT],
            bind: None,
            max_connections: 16_384,
            idle_timeout: Some(Duration::from_secs(600)),
            max_pending: 64 << 20,
            buffers: 512,
            buffer_size: 16 << 10,
            engine: Engine::Uring,
        }
    }
}

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To serve.
    Serve(Options),
    /// For the usage.
    Help,
}

/// The answer to `--help`.
pub const USAGE: &str = "usage: echod [OPTION]...
Sends back what it receives by TCP and UDP (RFC 862).
  --tcp PORT[,PORT]...    TCP ports, or none (default: 7)
  --udp PORT[,PORT]...    UDP ports, or none (default: 7)
  --bind ADDRESS          listen on this IPv4 or IPv6 address (default: all)
  --max-connections N     connections at a time; more are closed at once (default: 16384)
  --idle-timeout SECONDS  close connections on which nothing moves; 0: never (default: 600)
  --max-pending BYTES     memory for what slow readers have not taken (default: 67108864)
  --buffers N             receive buffers, a power of two up to 32768 (default: 512)
  --buffer-size BYTES     bytes of each (default: 16384)
  --engine uring|epoll    how it waits (default: uring)
  --help                  show this
signals: TERM, INT stop; USR1 writes statistics to the standard error
";

/// The options that the boot configuration states, as words that precede those of the command line: `echod.tcp = 7, 7777` is
/// `--tcp=7,7777`.
pub fn configured(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| format!("--{}={}", entry.key, entry.joined())).collect()
}

/// Reads the arguments.
///
/// # Errors
/// What is wrong with them, for people.
pub fn parse(args: &[&str]) -> Result<Asked, String> {
    let mut options = Options::default();
    let mut rest = args.iter();
    while let Some(&argument) = rest.next() {
        let (name, inline) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (argument, None),
        };
        if matches!(name, "--help" | "-h") {
            return Ok(Asked::Help);
        }
        let mut value = || inline.or_else(|| rest.next().copied()).ok_or_else(|| format!("{name} needs a value"));
        match name {
            "--tcp" => options.tcp = ports(name, value()?)?,
            "--udp" => options.udp = ports(name, value()?)?,
            "--bind" => options.bind = Some(address(value()?)?),
            "--max-connections" => options.max_connections = number(name, value()?, 1, MOST_CONNECTIONS)?,
            "--idle-timeout" => {
                let seconds = number(name, value()?, 0, u32::MAX)?;
                options.idle_timeout = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
            }
            "--max-pending" => options.max_pending = number(name, value()?, 0, usize::MAX)?,
            "--buffers" => options.buffers = buffers(number(name, value()?, 8, 32_768)?)?,
            "--buffer-size" => options.buffer_size = number(name, value()?, 64, 1 << 20)?,
            "--engine" => {
                options.engine = match value()? {
                    "uring" => Engine::Uring,
                    "epoll" => Engine::Epoll,
                    other => return Err(format!("--engine is uring or epoll, not '{other}'")),
                };
            }
            _ => return Err(format!("unknown argument '{argument}'")),
        }
    }
    if options.tcp.is_empty() && options.udp.is_empty() {
        return Err("there is no port to serve".into());
    }
    Ok(Asked::Serve(options))
}

fn ports(name: &str, text: &str) -> Result<Vec<u16>, String> {
    if text == "none" {
        return Ok(Vec::new());
    }
    let mut ports = Vec::new();
    for part in text.split(',') {
        // Port 0 lets the kernel choose; the choice is said at the start.
        let port = part.parse().map_err(|_| format!("{name}: '{part}' is not a port (0 to 65535, or none)"))?;
        if port == 0 || !ports.contains(&port) {
            ports.push(port);
        }
    }
    if ports.len() > MOST_PORTS {
        return Err(format!("{name}: more than {MOST_PORTS} ports"));
    }
    Ok(ports)
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("--bind: '{text}' is not an IPv4 or IPv6 address"))
}

fn number<T>(name: &str, text: &str, least: T, most: T) -> Result<T, String>
where
    T: core::str::FromStr + PartialOrd + core::fmt::Display,
{
    match text.parse() {
        Ok(number) if number >= least && number <= most => Ok(number),
        _ => Err(format!("{name}: '{text}' is not a number from {least} to {most}")),
    }
}

fn buffers(count: u16) -> Result<u16, String> {
    if count.is_power_of_two() { Ok(count) } else { Err(format!("--buffers: {count} is not a power of two")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> Options {
        match parse(args) {
            Ok(Asked::Serve(options)) => options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_usage_tells_the_defaults() {
        let defaults = options(&[]);
        for value in [
            format!("{}", defaults.max_connections),
            format!("{}", defaults.max_pending),
            format!("{}", defaults.buffers),
            format!("{}", defaults.buffer_size),
            format!("{}", defaults.idle_timeout.unwrap().as_secs()),
        ] {
            assert!(USAGE.contains(&format!("default: {value})")), "{value}");
        }
    }

    #[test]
    fn every_option_is_read() {
        let read = options(&[
            "--tcp=7,7777,7",
            "--udp",
            "none",
            "--bind",
            "::1",
            "--max-connections=5",
            "--idle-timeout",
            "0",
            "--max-pending=0",
            "--buffers=32768",
            "--buffer-size=64",
            "--engine=epoll",
        ]);
        let expected = Options {
            tcp: vec![7, 7777],
            udp: vec![],
            bind: Some("::1".parse().unwrap()),
            max_connections: 5,
            idle_timeout: None,
            max_pending: 0,
            buffers: 32_768,
            buffer_size: 64,
            engine: Engine::Epoll,
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn the_command_line_wins_over_the_boot_configuration() {
        let entry = |key: &str, values: &[&str]| Entry {
            key: key.into(),
            values: values.iter().map(|value| (*value).into()).collect(),
        };
        let mut words = configured(&[entry("tcp", &["7", "7777"]), entry("udp", &["9"])]);
        words.push("--udp=8".into());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!((options(&words).tcp, options(&words).udp), (vec![7, 7777], vec![8]));
    }

    #[test]
    fn help_wins() {
        assert_eq!(parse(&["--tcp", "1", "--help"]), Ok(Asked::Help));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (args, message) in [
            (&["--tcp"][..], "--tcp needs a value"),
            (&["--tcp", "x"], "'x' is not a port"),
            (&["--tcp=65536"], "not a port"),
            (&["--tcp=none", "--udp=none"], "no port"),
            (&["--bind=host"], "not an IPv4"),
            (&["--max-connections=0"], "from 1 to"),
            (&["--buffers=1000"], "power of two"),
            (&["--engine=poll"], "uring or epoll"),
            (&["--sqpoll"], "unknown argument"),
        ] {
            let error = parse(args).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
        let many = (1..=17).map(|port| port.to_string()).collect::<Vec<_>>().join(",");
        assert!(parse(&["--udp", &many]).is_err());
    }
}
