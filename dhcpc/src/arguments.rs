//! The command line.

/// The answer to `--help`.
pub const USAGE: &str = "\
usage: dhcpc [OPTION]... INTERFACE
Gives an interface the address, routes and name servers of a DHCP server (RFC 2131).
  --host-name NAME  tell the server this name
  --metric NUMBER   the metric of the routes (default: 100)
  --mtu             take the size of packets from the server
  --help            show this
signals: USR1 asks whether the lease still counts; TERM, INT stop, and leave the interface as it is
";

/// The longest name of an interface in bytes (`IFNAMSIZ` of linux/if.h less the terminator).
const LONGEST_INTERFACE: usize = 15;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// The interface.
    pub interface: String,
    /// The machine's name.
    pub host_name: Option<String>,
    /// The metric of routes.
    pub metric: u32,
    /// Whether the server says how large packets are.
    pub mtu: bool,
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
    let mut arguments = Arguments { interface: String::new(), host_name: None, metric: 100, mtu: false };
    let mut rest = words.iter();
    while let Some(&word) = rest.next() {
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let mut value = || inline.or_else(|| rest.next().copied()).ok_or_else(|| format!("{name} needs a value"));
        match name {
            "--help" | "-h" => return Ok(Asked::Help),
            "--host-name" => arguments.host_name = Some(value()?.to_owned()).filter(|name| !name.is_empty()),
            "--metric" => {
                let text = value()?;
                arguments.metric = text.parse().map_err(|_| format!("--metric: '{text}' is not a number"))?;
            }
            "--mtu" => arguments.mtu = true,
            _ if word.starts_with('-') => return Err(format!("unknown option '{word}'")),
            _ if !arguments.interface.is_empty() => return Err(format!("one interface, and not also '{word}'")),
            _ if word.len() > LONGEST_INTERFACE || word.contains('/') => {
                return Err(format!("'{word}' is no interface's name"));
            }
            _ => arguments.interface = word.into(),
        }
    }
    match arguments.interface.is_empty() {
        true => Err("no interface is named".into()),
        false => Ok(Asked::Run(arguments)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_read() {
        let read = parse(&["--metric", "7", "--host-name=iron", "--mtu", "eth0"]).unwrap();
        let expected = Arguments { interface: "eth0".into(), host_name: Some("iron".into()), metric: 7, mtu: true };
        assert_eq!(read, Asked::Run(expected));
        assert_eq!(parse(&["eth0", "--help"]), Ok(Asked::Help));
        assert!(USAGE.contains("default: 100"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (words, message) in [
            (&[][..], "no interface"),
            (&["eth0", "eth1"], "'eth1'"),
            (&["--metric", "x", "eth0"], "'x'"),
            (&["eth0", "--metric"], "needs a value"),
            (&["-i", "eth0"], "'-i'"),
            (&["../eth0"], "'../eth0'"),
        ] {
            assert!(parse(words).unwrap_err().contains(message), "{words:?}");
        }
    }
}
