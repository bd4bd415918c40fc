//! The command line.

use init_base::protocol::SOCKET;

use crate::server::Server;

/// The answer to `--help`.
pub const USAGE: &str = "\
usage: syslogc [OPTION]... [SERVER]
Sends the logs of services and of the kernel to a syslog server (RFC 5424).
SERVER is udp://HOST:PORT or tcp://HOST:PORT, with brackets around an IPv6 address. Without it: the
setting `syslog` in /run/settings, else the log server of a DHCP lease.
  --no-kernel    leave the kernel's messages out
  --socket PATH  PID 1's control socket, instead of /run/initctl.sock
  --help         show this
";

/// What the command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// The server, unless others say it.
    pub server: Option<Server>,
    /// Whether the kernel's messages are sent.
    pub kernel: bool,
    /// PID 1's control socket.
    pub socket: String,
}

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To run.
    Run(Arguments),
    /// For the usage.
    Help,
}

/// Reads the arguments.
///
/// # Errors
/// What is wrong with them, for people.
pub fn parse(words: &[&str]) -> Result<Asked, String> {
    let mut arguments = Arguments { server: None, kernel: true, socket: SOCKET.into() };
    let mut rest = words.iter();
    while let Some(&word) = rest.next() {
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) if word.starts_with('-') => (name, Some(value)),
            _ => (word, None),
        };
        match name {
            "--help" | "-h" => return Ok(Asked::Help),
            "--no-kernel" => arguments.kernel = false,
            "--socket" => {
                let path = inline.or_else(|| rest.next().copied()).filter(|path| path.starts_with('/'));
                arguments.socket = path.ok_or("--socket needs an absolute path")?.into();
            }
            _ if word.starts_with('-') => return Err(format!("unknown option '{word}'")),
            _ if arguments.server.is_some() => return Err(format!("one server, and not also '{word}'")),
            _ => arguments.server = Some(Server::parse(word)?),
        }
    }
    Ok(Asked::Run(arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_a_server() {
        let Ok(Asked::Run(found)) = parse(&["--no-kernel", "--socket=/x", "tcp://[::1]:6514"]) else { panic!() };
        assert_eq!((found.kernel, found.socket.as_str()), (false, "/x"));
        assert_eq!(found.server.unwrap().to_string(), "tcp://[::1]:6514");
        assert_eq!(parse(&["--help"]), Ok(Asked::Help));
        for bad in [&["-x"][..], &["--socket"], &["udp://a:1", "udp://b:1"], &["10.0.0.1"]] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
