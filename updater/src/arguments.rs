//! The command line.

use core::time::Duration;

use init_base::protocol::SOCKET;
use slots::update::PORT;

/// The answer to `--help`.
pub const USAGE: &str = "\
usage: updater [OPTION]...
       updater show
       updater set NAME=VALUE...
       updater unset NAME...
Takes signed updates from the network and from sticks, and keeps an update whose services come up.
show tells the kernels and the settings that are kept, set and unset change settings (settings(5)),
which count from the next start on.
  --port PORT         take updates at this TCP port (4919); 0: from sticks alone
  --settle SECONDS    for how long all services must be up before an update is kept (10)
  --deadline SECONDS  that an update has for that, else it is left for the kernel before it (120)
  --socket PATH       PID 1's control socket, instead of /run/initctl.sock
  --help              show this
";

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To serve.
    Serve(Arguments),
    /// To tell what is there.
    Show,
    /// To change settings that are kept: names, and their values or none.
    Change(Vec<(String, Option<String>)>),
    /// For the usage.
    Help,
}

/// How to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// The TCP port.
    pub port: Option<u16>,
    /// For how long services must be up.
    pub settle: Duration,
    /// How long an update has for that.
    pub deadline: Duration,
    /// PID 1's control socket.
    pub socket: String,
}

/// Reads the arguments.
///
/// # Errors
/// What is wrong with them, for people.
pub fn parse(words: &[&str]) -> Result<Asked, String> {
    match words {
        ["show"] => Ok(Asked::Show),
        ["set", changes @ ..] if !changes.is_empty() => changes.iter().map(|word| assignment(word)).collect(),
        ["unset", names @ ..] if !names.is_empty() => {
            Ok(Asked::Change(names.iter().map(|name| (name.to_string(), None)).collect()))
        }
        _ => options(words),
    }
}

fn assignment(word: &str) -> Result<(String, Option<String>), String> {
    let (name, value) = word.split_once('=').ok_or_else(|| format!("'{word}' is not NAME=VALUE"))?;
    Ok((name.trim().into(), Some(value.trim().into())))
}

impl FromIterator<(String, Option<String>)> for Asked {
    fn from_iter<I: IntoIterator<Item = (String, Option<String>)>>(changes: I) -> Asked {
        Asked::Change(changes.into_iter().collect())
    }
}

fn options(words: &[&str]) -> Result<Asked, String> {
    let mut found = Arguments {
        port: Some(PORT),
        settle: Duration::from_secs(10),
        deadline: Duration::from_secs(120),
        socket: SOCKET.into(),
    };
    let mut rest = words.iter();
    while let Some(&word) = rest.next() {
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) if word.starts_with('-') => (name, Some(value)),
            _ => (word, None),
        };
        let mut value = || inline.or_else(|| rest.next().copied());
        let seconds = |value: Option<&str>| {
            let number = value.and_then(|value| value.parse().ok()).map(Duration::from_secs);
            number.ok_or_else(|| format!("{name} needs a number of seconds"))
        };
        match name {
            "--help" | "-h" => return Ok(Asked::Help),
            "--port" => {
                let port = value().and_then(|value| value.parse::<u16>().ok()).ok_or("--port needs a port")?;
                found.port = (port != 0).then_some(port);
            }
            "--settle" => found.settle = seconds(value())?,
            "--deadline" => found.deadline = seconds(value())?,
            "--socket" => {
                let path = value().filter(|path| path.starts_with('/'));
                found.socket = path.ok_or("--socket needs an absolute path")?.into();
            }
            _ if word.starts_with('-') => return Err(format!("unknown option '{word}'")),
            _ => return Err(format!("unknown command '{word}'")),
        }
    }
    Ok(Asked::Serve(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        let some = |name: &str, value: Option<&str>| (name.to_string(), value.map(String::from));
        assert_eq!(parse(&["show"]), Ok(Asked::Show));
        assert_eq!(parse(&["set", "dns = 9.9.9.9"]), Ok(Asked::Change(vec![some("dns", Some("9.9.9.9"))])));
        assert_eq!(parse(&["unset", "dns", "ntp"]), Ok(Asked::Change(vec![some("dns", None), some("ntp", None)])));
        for bad in [&["set"][..], &["unset"], &["set", "dns"], &["show", "x"], &["-x"], &["--port", "x"], &["--settle"]]
        {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn options_of_the_service() {
        let Ok(Asked::Serve(found)) = parse(&["--port=0", "--settle", "3", "--deadline=30"]) else { panic!() };
        assert_eq!((found.port, found.settle.as_secs(), found.deadline.as_secs()), (None, 3, 30));
        let Ok(Asked::Serve(found)) = parse(&[]) else { panic!() };
        assert_eq!((found.port, found.socket.as_str()), (Some(4919), "/run/initctl.sock"));
        assert_eq!(parse(&["--help"]), Ok(Asked::Help));
    }
}
