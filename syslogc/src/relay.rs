//! The loop: waits for lines, for the server, and for the time of the next attempt.

use core::convert::Infallible;
use core::time::Duration;

use init_base::sys::files::to_stderr;
use init_base::sys::{clock, retry, system};
use init_base::{date, host_name, kmsg};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::arguments::Arguments;
use crate::follow::{self, Follower};
use crate::link::Link;
use crate::message::{self, Facility, INFORMATIONAL, Message, NOTICE, WARNING};
use crate::queue::Queue;
use crate::server::{self, Server};

/// How often PID 1 is asked for new services.
const DISCOVER: Duration = Duration::from_secs(5);
/// The first pause after a failure, and the longest; each is twice the one before.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// A connection that lived for so long did not fail at once.
const LASTED: Duration = Duration::from_secs(10);
/// How long it waits for the rest of the acknowledgements.
const SETTLE: Duration = Duration::from_millis(500);
/// Services whose logs are followed. PID 1 has 32 connections for all.
const MOST: usize = 20;
/// Records of the kernel that are taken at once.
const RECORDS: usize = 500;

/// Runs until a signal ends it.
///
/// # Errors
/// Why it cannot wait, for people.
pub fn run(arguments: Arguments) -> Result<Infallible, String> {
    let mut relay = Relay::new(arguments);
    loop {
        let now = system::uptime();
        relay.do_due(now);
        relay.wait(now).map_err(|error| format!("cannot wait: {error}"))?;
    }
}

struct Relay {
    arguments: Arguments,
    queue: Queue,
    followers: Vec<Follower>,
    /// The last lines of followers whose connections ended.
    last: Vec<(String, String)>,
    kernel: Option<kmsg::Reader>,
    /// The number that the kernel's next record has.
    next_record: Option<u64>,
    link: Option<(Link, Server)>,
    /// When PID 1, and when the server is asked again.
    discover: Duration,
    connect: Duration,
    pause: Duration,
    opened: Duration,
    /// What was said last, so that it is not said at each attempt.
    said: String,
}

impl Relay {
    fn new(arguments: Arguments) -> Relay {
        let kernel = if arguments.kernel { kmsg::Reader::open().ok() } else { None };
        Relay {
            arguments,
            queue: Queue::default(),
            followers: Vec::new(),
            last: Vec::new(),
            kernel,
            next_record: None,
            link: None,
            discover: Duration::ZERO,
            connect: Duration::ZERO,
            pause: FIRST,
            opened: Duration::ZERO,
            said: String::new(),
        }
    }

    fn do_due(&mut self, now: Duration) {
        if self.discover <= now {
            self.discover = now + DISCOVER;
            self.find_services();
        }
        self.take_lines();
        if self.link.is_none() && self.connect <= now {
            self.open_link(now);
        }
        self.send(now);
    }

    /// Follows the services that are not followed yet.
    fn find_services(&mut self) {
        let names = match follow::services(&self.arguments.socket) {
            Ok(names) => names,
            Err(error) => return self.say(&format!("cannot ask init: {error}")),
        };
        for name in names {
            let known = self.followers.iter().any(|follower| follower.name() == name);
            if known || self.followers.len() >= MOST {
                continue;
            }
            let last = self.last.iter().find(|(known, _)| *known == name).map(|(_, line)| line.clone());
            if let Ok(follower) = Follower::open(&self.arguments.socket, &name, last) {
                self.followers.push(follower);
            }
        }
    }

    /// Takes the lines of services and of the kernel that are there.
    fn take_lines(&mut self) {
        let host = host_name::current().unwrap_or_default();
        let now = Present::read();
        let queue = &mut self.queue;
        let mut ended = Vec::new();
        for (index, follower) in self.followers.iter_mut().enumerate() {
            let name = follower.name().to_owned();
            if !follower.receive(|line| queue.push(of_line(line, &name, &host, &now))) {
                ended.push(index);
            }
        }
        for index in ended.into_iter().rev() {
            let follower = self.followers.swap_remove(index);
            let name = follower.name().to_owned();
            self.last.retain(|(known, _)| *known != name);
            self.last.extend(follower.into_last().map(|line| (name, line)));
        }
        let Some(kernel) = &self.kernel else { return };
        for record in core::iter::from_fn(|| kernel.next_record()).take(RECORDS) {
            let missed = self.next_record.map_or(0, |next| record.number.saturating_sub(next));
            self.next_record = Some(record.number + 1);
            if missed > 0 {
                queue.push(own(&format!("{missed} messages of the kernel were overwritten"), &host, &now));
            }
            queue.push(message::encode(&Message {
                facility: Facility::Kernel,
                severity: record.level,
                time: &now.at(record.time),
                host: &host,
                app: "kernel",
                text: &record.text,
            }));
        }
    }

    fn open_link(&mut self, now: Duration) {
        let server = match self.arguments.server.clone().map_or_else(server::find, |server| Ok(Some(server))) {
            Ok(Some(server)) => server,
            Ok(None) => {
                return self
                    .retry(now, "no server is known yet: neither an argument, nor a setting, nor DHCP names one");
            }
            Err(reason) => return self.retry(now, &reason),
        };
        match Link::open(&server) {
            Ok(link) => {
                self.say(&format!("sending to {server}"));
                self.link = Some((link, server));
                self.opened = now;
            }
            Err(reason) => self.retry(now, &format!("cannot reach {server}: {reason}")),
        }
    }

    fn send(&mut self, now: Duration) {
        let Some((link, server)) = &mut self.link else { return };
        let lost = self.queue.take_lost();
        if lost > 0 {
            let host = host_name::current().unwrap_or_default();
            let words = format!("{lost} messages were lost while the server was away");
            self.queue.push_first(own(&words, &host, &Present::read()));
        }
        let sent = link.receive().and_then(|()| link.send(&mut self.queue, now));
        link.settle(&mut self.queue, now, sent.is_err());
        if let Err(error) = sent {
            let words = format!("{server}: {error}");
            self.link = None;
            self.queue.take_back();
            if now.saturating_sub(self.opened) >= LASTED {
                self.pause = FIRST;
            }
            self.retry(now, &words);
        }
    }

    /// Tries again after a pause, which becomes longer.
    fn retry(&mut self, now: Duration, words: &str) {
        self.say(words);
        self.connect = now + self.pause;
        self.pause = (self.pause * 2).min(LONGEST);
    }

    /// Says something once: it is a line of this service's log, which is sent too.
    fn say(&mut self, words: &str) {
        if self.said != words {
            to_stderr(format_args!("syslogc: {words}\n"));
            self.said = words.into();
        }
    }

    fn wait(&mut self, now: Duration) -> init_base::sys::Result<()> {
        let mut due = self.discover;
        let mut polled: Vec<PollFd<'_>> =
            self.followers.iter().map(|follower| PollFd::new(follower, PollFlags::IN)).collect();
        polled.extend(self.kernel.iter().map(|kernel| PollFd::new(kernel, PollFlags::IN)));
        match &self.link {
            Some((link, _)) => {
                let flags = if link.is_full() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
                polled.push(PollFd::new(link, flags));
                if !self.queue.is_empty() {
                    due = due.min(now + SETTLE);
                }
            }
            None => due = due.min(self.connect),
        }
        let pause = Timespec::try_from(due.saturating_sub(now)).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        retry(|| rustix::event::poll(&mut polled, Some(&pause))).map(drop)
    }
}

/// The present, to make times of the clock of those since the machine's start.
struct Present {
    uptime: Duration,
    /// Milliseconds since 1970 UTC; nothing while nobody has set the clock.
    wall: Option<i64>,
}

impl Present {
    fn read() -> Present {
        let uptime = system::uptime();
        Present { uptime, wall: Some(clock::milliseconds()).filter(|wall| clock::is_set(*wall, uptime)) }
    }

    /// The time of something, given since the machine's start; empty while the clock is not set.
    fn at(&self, time: Duration) -> String {
        let ago = i64::try_from(self.uptime.saturating_sub(time).as_millis()).unwrap_or(0);
        self.wall.map_or(String::new(), |wall| date::timestamp(wall.saturating_sub(ago)))
    }
}

/// A line of a service's log as a message.
fn of_line(line: &str, service: &str, host: &str, now: &Present) -> Vec<u8> {
    let (stamp, text) = line.split_once(' ').unwrap_or((line, ""));
    let time = match stamp.strip_prefix('+') {
        None => stamp.to_owned(),
        Some(seconds) => since_start(seconds).map_or(String::new(), |time| now.at(time)),
    };
    // PID 1's own lines about the service.
    let severity = if text.starts_with("init: ") { NOTICE } else { INFORMATIONAL };
    message::encode(&Message { facility: Facility::Daemon, severity, time: &time, host, app: service, text })
}

/// A time of PID 1's logs since the machine's start: seconds, a point, three digits.
fn since_start(text: &str) -> Option<Duration> {
    let (seconds, milliseconds) = text.split_once('.')?;
    let seconds = Duration::from_secs(seconds.parse().ok()?);
    seconds.checked_add(Duration::from_millis(milliseconds.parse::<u16>().ok()?.into()))
}

/// What this program itself has to say.
fn own(words: &str, host: &str, now: &Present) -> Vec<u8> {
    let time = now.at(now.uptime);
    let facility = Facility::Syslog;
    message::encode(&Message { facility, severity: WARNING, time: &time, host, app: "syslogc", text: words })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_messages_with_times_of_the_clock() {
        let now = Present { uptime: Duration::from_secs(12), wall: Some(1_795_243_550_000) };
        let text = |line: &str, now: &Present| String::from_utf8(of_line(line, "web", "iron", now)).unwrap();
        assert_eq!(text("+2.500 up", &now), "<30>1 2026-11-21T06:45:40.500Z iron web - - - up");
        let line = "2026-11-21T06:45:50.123Z init: process 7 ended";
        assert_eq!(text(line, &now), "<29>1 2026-11-21T06:45:50.123Z iron web - - - init: process 7 ended");
        let unset = Present { wall: None, ..now };
        assert_eq!(text("+2.500 up", &unset), "<30>1 - iron web - - - up");
        assert_eq!(text("+99999999999999999999.5 up", &unset), "<30>1 - iron web - - - up");
        assert_eq!(text("+x up", &unset), "<30>1 - iron web - - - up");
    }
}
