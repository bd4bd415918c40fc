//! The command line.

use init_base::protocol::SOCKET;

/// The answer to `--help`.
pub const USAGE: &str = "\
usage: status [OPTION]...
Shows on its terminal what this machine is and does, and keeps it up to date.
  --shell PATH   the key x runs this program, if it is there
  --ascii        draw with ASCII alone (the terminal is asked otherwise)
  --utf8         draw with UTF-8
  --socket PATH  PID 1's control socket, instead of /run/initctl.sock
  --help         show this
";

/// What the command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// A program for the key `x`.
    pub shell: Option<String>,
    /// Whether the terminal understands UTF-8; nothing asks it.
    pub utf8: Option<bool>,
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
    let mut arguments = Arguments { shell: None, utf8: None, socket: SOCKET.into() };
    let mut rest = words.iter();
    while let Some(&word) = rest.next() {
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let mut path = || {
            let value = inline.or_else(|| rest.next().copied()).filter(|value| value.starts_with('/'));
            value.map(String::from).ok_or_else(|| format!("{name} needs an absolute path"))
        };
        match name {
            "--help" | "-h" => return Ok(Asked::Help),
            "--shell" => arguments.shell = Some(path()?),
            "--socket" => arguments.socket = path()?,
            "--ascii" => arguments.utf8 = Some(false),
            "--utf8" => arguments.utf8 = Some(true),
            _ if word.starts_with('-') => return Err(format!("unknown option '{word}'")),
            _ => return Err(format!("'{word}' is not an option")),
        }
    }
    Ok(Asked::Run(arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_their_values() {
        let run = |words: &[&str]| match parse(words).unwrap() {
            Asked::Run(arguments) => arguments,
            Asked::Help => panic!("help"),
        };
        let plain = Arguments { shell: None, utf8: None, socket: SOCKET.into() };
        assert_eq!(run(&[]), plain);
        assert_eq!(run(&["--ascii", "--socket=/x"]), Arguments { utf8: Some(false), socket: "/x".into(), ..plain });
        assert_eq!(run(&["--shell", "/bin/sh"]).shell.as_deref(), Some("/bin/sh"));
        assert_eq!(parse(&["--ascii", "--help"]), Ok(Asked::Help));
        for bad in [&["--shell"][..], &["--shell", "sh"], &["--socket="], &["-x"], &["tty1"]] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
