//! The command line.

/// The answer to `--help`.
pub const USAGE: &str = "\
usage: ntpc [OPTION]... [SERVER]...
Keeps the clock right by time servers (SNTP, RFC 4330); without SERVER by those of the machine's settings, then of DHCP.
  --once   ask once, set the clock, and end
  --help   show this
";

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// The servers, by name or address, with `:PORT` or without.
    pub servers: Vec<String>,
    /// Whether one time is enough.
    pub once: bool,
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
    let mut arguments = Arguments::default();
    for &word in words {
        match word {
            "--help" | "-h" => return Ok(Asked::Help),
            "--once" => arguments.once = true,
            _ if word.starts_with('-') || word.is_empty() => return Err(format!("unknown option '{word}'")),
            _ => arguments.servers.push(word.into()),
        }
    }
    Ok(Asked::Run(arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_options() {
        let servers = vec!["10.0.0.1".into(), "[fd00::1]:1123".into()];
        let read = parse(&["--once", "10.0.0.1", "[fd00::1]:1123"]);
        assert_eq!(read, Ok(Asked::Run(Arguments { servers, once: true })));
        assert_eq!(parse(&["x", "--help"]), Ok(Asked::Help));
        assert!(parse(&["-x"]).unwrap_err().contains("'-x'"));
    }
}
