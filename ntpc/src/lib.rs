//! `ntpc`: keeps the clock right by time servers, for systems without a larger program for it. It is linked into init's program, which
//! runs it by this name.
//!
//! [`message`] reads and writes the protocol, [`clock`] decides, [`servers`] asks, [`wall_clock`] is the kernel's, and this file waits. One thread.

mod arguments;
mod clock;
mod message;
mod servers;
mod wall_clock;

use core::time::Duration;
use std::os::unix::net::UnixDatagram;

use init_base::lease;
use init_base::settings;
use init_base::sys::files::{self, to_stderr};

use arguments::{Arguments, Asked, USAGE};
use clock::{Change, Pace};
use servers::Answer;

/// The kernel's command line, which the settings count.
const COMMAND_LINE: &str = "/proc/cmdline";
/// The pause when no server answered, and when none is known: the network may be on its way. Doubled up to the second.
const RETRY: Duration = Duration::from_secs(4);
const LONGEST_RETRY: Duration = Duration::from_secs(64);

/// Runs it with the arguments after the name; returns the exit code.
pub fn run(arguments: &[&str]) -> i32 {
    match arguments::parse(arguments) {
        Ok(Asked::Run(arguments)) if arguments.once => match correct(&servers_of(&arguments)) {
            Ok(_) => 0,
            Err(message) => fail(&message, 1),
        },
        Ok(Asked::Run(arguments)) => keep_right(&arguments),
        Ok(Asked::Help) => {
            to_stdout(USAGE);
            0
        }
        Err(message) => fail(&format!("{message}\nhint: ntpc --help"), 2),
    }
}

fn to_stdout(text: &str) {
    let _ = files::write_all(rustix::stdio::stdout(), text.as_bytes());
}

fn fail(message: &str, code: i32) -> i32 {
    to_stderr(format_args!("ntpc: {message}\n"));
    code
}

/// Asks for as long as the process lives. What fails is said once, until it works again.
fn keep_right(arguments: &Arguments) -> ! {
    // Asking is its service: servers may come later.
    tell("READY=1");
    let (mut pace, mut retry, mut said) = (Pace::new(), RETRY, String::new());
    loop {
        let servers = servers_of(arguments);
        if servers.is_empty() {
            // Most networks tell none, and that is no fault.
            tell("STATUS=no time server is known");
            std::thread::sleep(RETRY * 2);
            continue;
        }
        let pause = match correct(&servers) {
            Ok(offset) => {
                (retry, said) = (RETRY, String::new());
                pace.after(offset)
            }
            Err(message) => {
                if said != message {
                    to_stderr(format_args!("ntpc: {message}\n"));
                    said = message;
                }
                retry = (retry * 2).min(LONGEST_RETRY);
                retry
            }
        };
        std::thread::sleep(pause);
    }
}

/// The servers of the command line, or else of the settings, or else of DHCP. They are read anew each time: the network tells some
/// later.
fn servers_of(arguments: &Arguments) -> Vec<String> {
    if !arguments.servers.is_empty() {
        return arguments.servers.clone();
    }
    let content = files::read_file(COMMAND_LINE).unwrap_or_default();
    let settings = settings::load(&String::from_utf8_lossy(&content));
    match settings.values("ntp") {
        [] => lease::all().iter().flat_map(|lease| lease.ntp_servers.iter().map(ToString::to_string)).collect(),
        servers => servers.to_vec(),
    }
}

/// Asks all servers and corrects the clock; returns how wrong it was, in nanoseconds.
fn correct(servers: &[String]) -> Result<i64, String> {
    if servers.is_empty() {
        return Err("no time server is known; hint: the setting `ntp` names one, or DHCP does".into());
    }
    let answers = servers::ask(servers)?;
    let samples: Vec<_> = answers.iter().map(|answer| answer.sample).collect();
    let Some((best, sample)) = clock::best(&samples) else {
        return Err(format!("no answer from {}", servers.join(", ")));
    };
    let server = answers.get(best).map_or("", |answer: &Answer| answer.server.as_str());
    let changed = match clock::change(sample.offset) {
        Change::Step(offset) => wall_clock::step(offset),
        Change::Slew(offset) => wall_clock::slew(offset),
    };
    changed.map_err(|error| format!("cannot set the clock: {error}\nhint: it needs the capability sys_time"))?;
    if let Change::Step(offset) = clock::change(sample.offset) {
        to_stderr(format_args!("ntpc: the clock was set by {} s, as {server} says\n", seconds(offset)));
    }
    tell(&format!("STATUS={server}, stratum {}, was off by {} s", sample.stratum, seconds(sample.offset)));
    Ok(sample.offset)
}

/// Tells the supervisor, if there is one that listens (sd_notify(3)); `initctl list` and the status screen show it.
fn tell(words: &str) {
    if let Some(path) = std::env::var_os("NOTIFY_SOCKET") {
        let _ = UnixDatagram::unbound().and_then(|socket| socket.send_to(words.as_bytes(), path));
    }
}

/// Nanoseconds as seconds with three decimals.
fn seconds(nanoseconds: i64) -> String {
    let milliseconds = nanoseconds.unsigned_abs() / 1_000_000;
    let sign = if nanoseconds < 0 { "-" } else { "+" };
    format!("{sign}{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_seconds() {
        assert_eq!((seconds(-1_500_000_000), seconds(2_000_000)), ("-1.500".into(), "+0.002".into()));
    }

    #[test]
    fn the_command_line_comes_before_the_settings() {
        let arguments = Arguments { servers: vec!["a".into()], once: false };
        assert_eq!(servers_of(&arguments), ["a"]);
        assert!(correct(&[]).unwrap_err().contains("the setting `ntp` names one"));
    }
}
