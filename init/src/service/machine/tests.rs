//! The state machine without processes: files as text go in, and what it wants done comes out as lines.

use super::super::config::{Command, Config};
use super::super::file::{self, File};
use super::super::report;
use super::*;
use crate::control;
use crate::log::Level;
use crate::spawn::inittab;
use crate::sys::Errno;

const TERM: Exit = Exit::Signal(15);
const CRASH: Exit = Exit::Signal(11);

/// A machine, the time, and what happened (a line of inittab is called by its command in quotes): `+web` started, `-web 15` was sent a signal, `!web` killed, `web: text` said.
struct Bench {
    machine: Machine,
    now: Duration,
    next_pid: Pid,
    lines: Vec<String>,
    texts: Vec<(String, String)>,
    /// Services whose main process leaves others.
    leaving: Vec<&'static str>,
}

impl Bench {
    /// A machine with these services, as name and file.
    fn new(files: &[(&str, &str)]) -> Bench {
        let machine = Machine::new(Duration::from_secs(3));
        let mut bench = Bench {
            machine,
            now: Duration::from_secs(100),
            next_pid: 10,
            lines: Vec::new(),
            texts: Vec::new(),
            leaving: Vec::new(),
        };
        bench.load(files);
        bench
    }

    fn load(&mut self, files: &[(&str, &str)]) -> Changes {
        self.texts = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        self.reload()
    }

    fn reload(&mut self) -> Changes {
        let read = |(name, text): &(String, String)| {
            let text = format!("command = '/bin/{name}'\n{text}");
            File { name: name.clone(), config: file::parse(name, text.as_bytes(), "") }
        };
        let changes = self.machine.set_files(self.texts.iter().map(read).collect(), self.now);
        self.settle();
        changes
    }

    /// Replaces one file.
    fn change(&mut self, name: &str, text: &str) -> Changes {
        self.texts.iter_mut().filter(|(known, _)| known == name).for_each(|(_, old)| *old = text.to_owned());
        self.reload()
    }

    fn settle(&mut self) {
        loop {
            self.machine.tick(self.now);
            let Some(action) = self.machine.next_action() else {
                break;
            };
            let name = |index: usize| self.machine.units()[index].label().to_string();
            match action {
                Action::Start(index) => {
                    self.lines.push(format!("+{}", name(index)));
                    self.machine.started(index, self.next_pid, self.now);
                    self.next_pid += 1;
                }
                Action::Signal(index, signal) => self.lines.push(format!("-{} {}", name(index), signal.as_raw())),
                Action::Kill(index) => self.lines.push(format!("!{}", name(index))),
                Action::Sweep(..) => {}
                Action::EndRest(index) if self.leaving.contains(&name(index).as_str()) => {
                    self.lines.push(format!("-{} rest", name(index)));
                }
                Action::EndRest(index) => self.machine.emptied(index, self.now),
                Action::Tell(index, Level::Warn, text) if self.machine.units()[index].is_service() => {
                    self.lines.push(format!("{}: {text}", name(index)));
                }
                Action::Tell(_, Level::Warn, text) => self.lines.push(text),
                Action::Tell(..) => {}
            }
        }
        let mut gone = Vec::new();
        self.machine.remove_gone(|unit| gone.push(format!("gone {}", unit.label())));
        self.lines.extend(gone);
    }

    /// What happened since the last call.
    fn seen(&mut self) -> Vec<String> {
        core::mem::take(&mut self.lines)
    }

    fn unit(&self, name: &str) -> &Unit {
        &self.machine.units()[self.machine.find(name).unwrap()]
    }

    fn exit(&mut self, name: &str, exit: Exit) {
        let pid = self.unit(name).pid.unwrap();
        assert!(self.machine.exited(pid, exit, self.now).is_some());
        self.settle();
    }

    /// Takes an inittab, whose lines may run, and returns the commands that are told to end.
    fn table(&mut self, text: &str) -> Vec<String> {
        let ending = self.machine.set_lines(inittab::parse(text.as_bytes()).lines, self.now);
        self.machine.run_lines(true);
        self.settle();
        ending
    }

    /// The lines in their order: command, process, and whether they go when that has ended.
    fn table_now(&self) -> Vec<(String, Option<Pid>, bool)> {
        let lines = self.machine.lines().into_iter();
        lines.map(|(_, unit, entry)| (entry.line.command.clone(), unit.pid, unit.removed)).collect()
    }

    /// The process of the line with this command ends.
    fn exit_line(&mut self, command: &str) {
        let of = |unit: &&Unit| unit.entry().is_some_and(|entry| entry.line.command == command);
        let pid = self.machine.units().iter().filter(of).find_map(|unit| unit.pid).unwrap();
        assert!(self.machine.exited(pid, Exit::Code(1), self.now).is_some());
        self.settle();
    }

    fn say(&mut self, name: &str, text: &str) {
        let index = self.machine.find(name).unwrap();
        for message in super::super::notify::parse(text.as_bytes()) {
            self.machine.notified(index, message, self.now);
        }
        self.settle();
    }

    /// What the main process left has ended.
    fn empty(&mut self, name: &str) {
        self.machine.emptied(self.machine.find(name).unwrap(), self.now);
        self.settle();
    }

    /// Lets time go by, in steps to each deadline.
    fn wait(&mut self, milliseconds: u64) {
        let end = self.now + Duration::from_millis(milliseconds);
        while let Some(deadline) = self.machine.deadline().filter(|deadline| *deadline <= end) {
            assert!(deadline > self.now, "a deadline that nothing moves");
            self.now = deadline;
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    fn start(&mut self, name: &str) -> Result<(), String> {
        let result = self.machine.start(self.machine.find(name).unwrap(), self.now);
        self.settle();
        result
    }

    fn stop(&mut self, name: &str) {
        self.machine.stop(self.machine.find(name).unwrap(), self.now);
        self.settle();
    }

    fn restart(&mut self, name: &str) {
        self.machine.restart(self.machine.find(name).unwrap(), self.now).unwrap();
        self.settle();
    }

    fn state(&self, name: &str) -> &State {
        &self.unit(name).state
    }
}

#[test]
fn services_start_in_order_and_in_parallel() {
    let mut bench = Bench::new(&[
        ("app", "needs = ['db', 'net']"),
        ("db", "type = 'notify'"),
        ("log", ""),
        ("net", "type = 'oneshot'"),
        ("shell", "after = ['app']"),
    ]);
    assert_eq!(bench.seen(), ["+db", "+log", "+net"]);
    bench.say("db", "READY=1");
    assert_eq!(bench.seen(), [""; 0]);
    bench.exit("net", Exit::Code(0));
    assert_eq!(bench.seen(), ["+app", "+shell"]);
    assert_eq!((bench.state("db"), bench.state("net")), (&State::Up, &State::Done));
}

#[test]
fn a_disabled_service_starts_when_it_is_needed_or_asked_for() {
    let mut bench = Bench::new(&[("a", "enabled = false"), ("b", "enabled = false"), ("c", "needs = ['b']")]);
    assert_eq!(bench.seen(), ["+b", "+c"]);
    bench.start("a").unwrap();
    assert_eq!(bench.seen(), ["+a"]);
}

#[test]
fn what_needs_a_failed_service_waits_and_the_rest_goes_on() {
    let mut bench =
        Bench::new(&[("base", "type = 'oneshot'"), ("top", "needs = ['base']"), ("late", "after = ['top', 'base']")]);
    bench.seen();
    bench.exit("base", Exit::Code(1));
    assert_eq!(bench.seen(), ["base: failed: it ended after 0 s (exit code 1)", "+late"]);
    assert_eq!(bench.state("top"), &State::Inactive);
    assert!(bench.unit("top").wanted);
    // Somebody repairs it.
    bench.start("base").unwrap();
    bench.exit("base", Exit::Code(0));
    assert_eq!(bench.seen(), ["+base", "+top"]);
}

#[test]
fn cycles_and_unknown_names_are_told_and_hold_nobody_up() {
    let mut bench = Bench::new(&[
        ("a", "needs = ['b']"),
        ("b", "after = ['a']"),
        ("c", "needs = ['x']"),
        ("d", "after = ['x', 'a']"),
        ("e", "needs = ['a']"),
    ]);
    let seen = bench.seen();
    let expected = [
        "a: cannot start: it is part of a cycle: a -> b -> a",
        "b: cannot start: it is part of a cycle: a -> b -> a",
        "c: cannot start: it needs 'x', and there is no such service",
        "d: 'after' names 'x', and there is no such service; it does not wait for that",
        "+d",
    ];
    for text in expected {
        assert!(seen.contains(&text.to_owned()), "{text} in {seen:?}");
    }
    assert_eq!(seen.len(), 5, "{seen:?}");
    assert_eq!(bench.start("a"), Err("it is part of a cycle: a -> b -> a".into()));
    bench.change("b", "");
    assert_eq!(bench.seen(), ["+b", "+a", "+e"]);
}

#[test]
fn restarts_back_off_up_to_the_limit() {
    let mut bench = Bench::new(&[("web", "start-limit = 4")]);
    bench.exit("web", CRASH);
    let crash = "web: it ended after 0 s (signal 11); it starts again in";
    assert_eq!(bench.seen(), ["+web".to_owned(), format!("{crash} 1 s")]);
    bench.wait(999);
    assert_eq!(bench.seen(), [""; 0]);
    bench.wait(1);
    bench.exit("web", CRASH);
    bench.wait(2000);
    bench.exit("web", CRASH);
    assert_eq!(bench.seen(), ["+web".to_owned(), format!("{crash} 2 s"), "+web".into(), format!("{crash} 4 s")]);
    bench.wait(4000);
    bench.exit("web", CRASH);
    let failed = "web: failed: it ended after 0 s (signal 11); start limit reached (4 starts in 60 s); giving up";
    assert_eq!(bench.seen(), ["+web", failed]);
    assert_eq!((bench.unit("web").restarts, bench.machine.deadline()), (3, None));
    // Asked for, it gets all its starts again.
    bench.start("web").unwrap();
    bench.exit("web", CRASH);
    assert_eq!(bench.seen(), ["+web".to_owned(), format!("{crash} 1 s")]);
}

#[test]
fn starts_by_hand_count_anew() {
    let mut bench = Bench::new(&[("web", "start-limit = 3")]);
    for _ in 0..2 {
        bench.restart("web");
        bench.exit("web", TERM);
        bench.stop("web");
        bench.exit("web", TERM);
        bench.start("web").unwrap();
    }
    bench.seen();
    bench.exit("web", CRASH);
    assert_eq!(bench.seen(), ["web: it ended after 0 s (signal 11); it starts again in 1 s"]);
    bench.wait(1000);
    bench.restart("web");
    bench.exit("web", TERM);
    bench.exit("web", CRASH);
    assert_eq!(bench.seen().last().unwrap(), "web: it ended after 0 s (signal 11); it starts again in 1 s");
}

#[test]
fn a_thousand_crashes_in_a_row() {
    let mut bench = Bench::new(&[("web", "start-limit = 0\nrestart-delay = 0")]);
    for _ in 0..1000 {
        bench.exit("web", CRASH);
    }
    let seen = bench.seen();
    assert_eq!(seen.iter().filter(|line| *line == "+web").count(), 1001);
    assert!(seen.len() < 1020, "not every crash is worth a line on the console");
    assert_eq!((bench.state("web"), bench.unit("web").restarts), (&State::Up, 1000));
}

#[test]
fn a_long_life_starts_again_at_once() {
    let mut bench = Bench::new(&[("web", "")]);
    bench.wait(10_000);
    bench.exit("web", Exit::Code(3));
    assert_eq!(bench.seen(), ["+web", "web: it ended after 10 s (exit code 3); it starts again at once", "+web"]);
}

#[test]
fn policies() {
    let run = |policy: &str, exit| {
        let mut bench = Bench::new(&[("web", &format!("restart = '{policy}'"))]);
        bench.exit("web", exit);
        bench.state("web").clone()
    };
    assert!(matches!(run("always", Exit::Code(0)), State::Backoff { .. }));
    assert!(matches!(run("on-failure", CRASH), State::Backoff { .. }));
    assert_eq!(run("on-failure", Exit::Code(0)), State::Ended);
    assert_eq!(run("on-failure", TERM), State::Ended);
    assert_eq!(run("never", Exit::Code(0)), State::Ended);
    assert!(matches!(run("never", CRASH), State::Failed(_)));
}

#[test]
fn a_service_that_is_not_ready_in_time_is_ended_and_tried_again() {
    let mut bench = Bench::new(&[("db", "type = 'notify'\nstart-timeout = 5"), ("app", "needs = ['db']")]);
    bench.wait(4999);
    assert_eq!(bench.seen(), ["+db"]);
    bench.say("db", "EXTEND_TIMEOUT_USEC=2000000");
    bench.wait(1999);
    assert_eq!(bench.seen(), [""; 0]);
    bench.wait(1);
    assert_eq!(bench.seen(), ["-db 15"]);
    bench.wait(3000);
    assert_eq!(bench.seen(), ["!db", "db: did not end within 3 s and is killed"]);
    bench.exit("db", Exit::Signal(9));
    assert_eq!(bench.seen(), ["db: it was not ready within 5 s; it starts again in 1 s"]);
    bench.wait(1000);
    bench.say("db", "READY=1");
    assert_eq!(bench.seen(), ["+db", "+app"]);
}

#[test]
fn a_notify_service_that_ends_early_has_failed() {
    let mut bench = Bench::new(&[("db", "type = 'notify'\nrestart = 'never'")]);
    bench.exit("db", Exit::Code(0));
    assert_eq!(bench.seen(), ["+db", "db: failed: it ended before it was ready (exit code 0)"]);
}

#[test]
fn a_stop_can_be_extended_so_far() {
    let mut bench = Bench::new(&[("web", "stop-timeout = 5")]);
    bench.stop("web");
    for _ in 0..20 {
        bench.say("web", "EXTEND_TIMEOUT_USEC=86400000000");
        bench.wait(30_000);
    }
    bench.wait(4999);
    assert_eq!(bench.seen(), ["+web", "-web 15"]);
    bench.wait(1);
    assert_eq!(bench.seen(), ["!web", "web: did not end within 605 s and is killed"]);
}

#[test]
fn going_down_is_not_extended() {
    let mut bench = Bench::new(&[("early", "stop-timeout = 5"), ("late", "stop-timeout = 5")]);
    bench.stop("early");
    bench.say("early", "EXTEND_TIMEOUT_USEC=86400000000");
    bench.wait(60_000);
    bench.machine.stop_all(bench.now);
    bench.settle();
    for name in ["early", "late"] {
        bench.say(name, "EXTEND_TIMEOUT_USEC=86400000000");
    }
    assert_eq!(bench.seen(), ["+early", "+late", "-early 15", "-late 15"]);
    bench.wait(4999);
    assert_eq!(bench.seen(), [""; 0]);
    bench.wait(1);
    assert_eq!(bench.seen().iter().filter(|line| line.starts_with('!')).count(), 2);
}

#[test]
fn what_cannot_be_killed_is_given_up() {
    let mut bench = Bench::new(&[("web", "stop-timeout = 1")]);
    bench.seen();
    bench.stop("web");
    bench.wait(1000);
    bench.wait(10_000);
    let seen = bench.seen();
    assert_eq!(seen[..2], ["-web 15", "!web"]);
    assert_eq!(seen.last().unwrap(), "web: failed: its process cannot be killed");
    assert!(bench.machine.is_all_stopped());
    let refusal = report::progress(&bench.machine, control::Action::Stop, 0, None).unwrap_err();
    assert_eq!((refusal.code, refusal.message.as_str()), (control::Code::Failed, "web: its process cannot be killed"));
}

#[test]
fn a_stop_ends_with_the_last_process() {
    let mut bench = Bench::new(&[("db", ""), ("app", "needs = ['db']\nstop-timeout = 5")]);
    bench.leaving = vec!["app"];
    bench.seen();
    bench.restart("db");
    bench.wait(1000);
    bench.exit("app", TERM);
    bench.wait(3999);
    assert_eq!(bench.seen(), ["-app 15", "-app rest"]);
    bench.wait(1);
    assert_eq!(bench.seen(), ["!app", "app: what it started did not end within 5 s and is killed"]);
    bench.empty("app");
    assert_eq!(bench.seen(), ["-db 15"]);
    bench.exit("db", TERM);
    assert_eq!(bench.seen(), ["+db", "+app"]);
}

#[test]
fn what_a_task_left_is_told_to_end() {
    let mut bench = Bench::new(&[("task", "type = 'oneshot'")]);
    bench.leaving = vec!["task"];
    bench.exit("task", Exit::Code(0));
    bench.stop("task");
    assert_eq!(bench.seen(), ["+task", "-task rest"]);
    assert!(!bench.machine.is_all_stopped());
    bench.empty("task");
    assert_eq!(bench.state("task"), &State::Inactive);
}

#[test]
fn a_stop_takes_what_needs_the_service_first() {
    let mut bench =
        Bench::new(&[("db", "stop-signal = 'INT'"), ("app", "needs = ['db']"), ("other", "after = ['db']")]);
    bench.seen();
    bench.stop("db");
    assert_eq!(bench.seen(), ["-app 15"]);
    bench.exit("app", TERM);
    assert_eq!(bench.seen(), ["-db 2"]);
    bench.exit("db", Exit::Code(1));
    bench.wait(60_000);
    assert_eq!(bench.seen(), [""; 0]);
    assert_eq!(
        (bench.state("db"), bench.state("app"), bench.state("other")),
        (&State::Inactive, &State::Inactive, &State::Up)
    );
    bench.start("app").unwrap();
    assert_eq!(bench.seen(), ["+db", "+app"]);
}

#[test]
fn a_restart_brings_back_what_needed_the_service_and_ran() {
    let mut bench = Bench::new(&[("db", ""), ("app", "needs = ['db']"), ("idle", "needs = ['db']\nenabled = false")]);
    bench.seen();
    bench.restart("db");
    bench.exit("app", TERM);
    bench.exit("db", TERM);
    assert_eq!(bench.seen(), ["-app 15", "-db 15", "+db", "+app"]);
    bench.stop("app");
    bench.exit("app", TERM);
    bench.restart("app");
    assert_eq!(bench.seen(), ["-app 15", "+app"]);
}

#[test]
fn a_start_during_a_stop_follows_it() {
    let mut bench = Bench::new(&[("web", "")]);
    bench.stop("web");
    bench.start("web").unwrap();
    assert_eq!(bench.seen(), ["+web", "-web 15"]);
    bench.exit("web", TERM);
    assert_eq!(bench.seen(), ["+web"]);
    // And the last word counts.
    bench.restart("web");
    bench.stop("web");
    bench.exit("web", TERM);
    assert_eq!(bench.seen(), ["-web 15"]);
    assert_eq!(bench.state("web"), &State::Inactive);
}

#[test]
fn a_restart_during_a_stop_follows_it() {
    let mut bench = Bench::new(&[("db", ""), ("app", "needs = ['db']")]);
    bench.stop("db");
    bench.exit("app", TERM);
    bench.restart("db");
    bench.exit("db", TERM);
    assert_eq!(bench.seen(), ["+db", "+app", "-app 15", "-db 15", "+db"]);
    // What was stopped before is not what the restart has to bring back, and a new file is no request.
    assert!(!bench.unit("app").wanted);
    bench.stop("db");
    bench.change("db", "nice = 1");
    bench.exit("db", TERM);
    assert_eq!(bench.seen(), ["-db 15"]);
}

#[test]
fn who_needs_a_service_that_restarts_is_not_blocked() {
    let mut bench = Bench::new(&[("db", ""), ("app", "needs = ['db']"), ("late", "after = ['db']")]);
    bench.restart("db");
    bench.stop("late");
    for name in ["app", "late"] {
        bench.exit(name, TERM);
    }
    bench.seen();
    bench.restart("app");
    bench.start("late").unwrap();
    let app = bench.machine.find("app").unwrap();
    let progress = report::progress(&bench.machine, control::Action::Restart, app, None);
    assert_eq!((progress, bench.seen()), (Ok(control::Progress::Pending), Vec::new()));
    bench.exit("db", TERM);
    assert_eq!(bench.seen(), ["+db", "+app", "+late"]);
}

#[test]
fn a_service_without_a_file_that_comes_back_while_it_ends_starts_again() {
    let mut bench = Bench::new(&[]);
    let add = |bench: &mut Bench, word: &str| {
        let words = vec!["/bin/udhcpc".into(), word.into()];
        bench.machine.add(Config::new("dhcp@eth0", Kind::Simple, Command::Words(words)), bench.now);
        bench.settle();
    };
    let remove = |bench: &mut Bench| {
        bench.machine.remove("dhcp@eth0", bench.now);
        bench.settle();
    };
    add(&mut bench, "-f");
    remove(&mut bench);
    add(&mut bench, "-x");
    bench.exit("dhcp@eth0", TERM);
    remove(&mut bench);
    assert_eq!(bench.machine.restart(0, bench.now), Err("its file is gone".into()));
    bench.exit("dhcp@eth0", TERM);
    let run = ["+dhcp@eth0", "-dhcp@eth0 15"];
    assert_eq!(bench.seen(), [&run[..], &run[..], &["gone dhcp@eth0"]].concat());
}

#[test]
fn going_down_stops_in_reverse_order_and_in_parallel() {
    let mut bench = Bench::new(&[
        ("a", ""),
        ("b", "after = ['a']"),
        ("c", "after = ['b']"),
        ("task", "type = 'oneshot'\nafter = ['c']"),
        ("x", ""),
        ("crashed", ""),
    ]);
    bench.exit("task", Exit::Code(0));
    bench.exit("crashed", CRASH);
    bench.seen();
    bench.machine.stop_all(bench.now);
    bench.settle();
    assert_eq!(bench.seen(), ["-x 15", "-c 15"]);
    bench.exit("c", TERM);
    assert_eq!(bench.seen(), ["-b 15"]);
    bench.exit("b", TERM);
    bench.exit("a", TERM);
    assert!(!bench.machine.is_all_stopped());
    bench.exit("x", TERM);
    assert!(bench.machine.is_all_stopped());
    bench.wait(60_000);
    assert_eq!(bench.seen(), ["-a 15"]);
}

#[test]
fn the_watchdog_ends_what_does_not_speak() {
    let mut bench = Bench::new(&[("web", "type = 'notify'\nwatchdog = 2")]);
    bench.wait(5000);
    bench.say("web", "READY=1");
    bench.wait(1500);
    bench.say("web", "WATCHDOG=1");
    bench.wait(1999);
    assert_eq!(bench.seen(), ["+web"]);
    bench.wait(1);
    assert_eq!(bench.seen(), ["-web 6"]);
    bench.exit("web", Exit::Signal(6));
    assert_eq!(bench.seen(), ["web: watchdog timeout; it starts again in 1 s"]);
}

#[test]
fn the_boot_has_the_first_start() {
    let mut bench = Bench::new(&[("db", "type = 'notify'")]);
    bench.wait(500);
    bench.say("db", "READY=1");
    bench.wait(60_000);
    bench.exit("db", CRASH);
    bench.wait(100_000);
    let ms = |milliseconds| Some(Duration::from_millis(milliseconds));
    let span = report::spans(&bench.machine).remove(0);
    assert_eq!((Some(span.start), span.ready, span.end), (ms(100_000), ms(100_500), ms(160_500)));
    assert!(bench.unit("db").started > ms(160_000));
}

#[test]
fn a_reload_ends_when_the_service_is_ready_again() {
    let mut bench = Bench::new(&[("web", "type = 'notify'")]);
    bench.say("web", "READY=1\nRELOADING=1");
    assert_eq!(bench.unit("web").status, "reads its configuration again");
    bench.say("web", "READY=1");
    assert_eq!(bench.unit("web").status, "");
    bench.say("web", "RELOADING=1\nSTATUS=busy\nREADY=1");
    assert_eq!(bench.unit("web").status, "busy");
}

#[test]
fn another_process_can_become_the_main_one() {
    let mut bench = Bench::new(&[("web", "")]);
    let first = bench.unit("web").pid.unwrap();
    bench.say("web", "MAINPID=77\nSTATUS=busy");
    assert_eq!(bench.machine.exited(first, Exit::Code(0), bench.now), None);
    assert_eq!((bench.unit("web").pid, bench.unit("web").status.as_str()), (Some(77), "busy"));
    bench.exit("web", CRASH);
    assert!(matches!(bench.state("web"), State::Backoff { .. }));
}

#[test]
fn a_reload_starts_stops_keeps_and_replaces() {
    let mut bench = Bench::new(&[("gone", ""), ("kept", ""), ("off", ""), ("tuned", ""), ("other", "")]);
    bench.seen();
    let changes = bench.load(&[
        ("kept", ""),
        ("new", ""),
        ("off", "enabled = false"),
        ("other", "nice = 3"),
        ("tuned", "start-limit = 9"),
    ]);
    assert_eq!(changes, Changes { new: 1, gone: 1, changed: 3, faults: Vec::new() });
    assert_eq!(bench.seen(), ["-gone 15", "-off 15", "-other 15", "+new"]);
    for name in ["gone", "off", "other"] {
        bench.exit(name, TERM);
    }
    assert_eq!(bench.seen(), ["gone gone", "+other"]);
    assert_eq!(bench.unit("other").config.execution.nice, 3);
    assert_eq!(bench.unit("tuned").config.restart.limit, 9);
    assert_eq!(bench.reload(), Changes::default());
    assert_eq!(bench.seen(), [""; 0]);
}

#[test]
fn a_stopped_service_stays_stopped_over_a_reload() {
    let mut bench = Bench::new(&[("web", ""), ("app", "needs = ['db']"), ("db", "enabled = false")]);
    bench.stop("web");
    bench.exit("web", TERM);
    bench.stop("db");
    bench.exit("app", TERM);
    bench.exit("db", TERM);
    bench.seen();
    bench.reload();
    bench.change("web", "nice = 1");
    assert_eq!(bench.seen(), [""; 0]);
}

#[test]
fn a_faulty_file_stops_nothing_and_starts_nothing() {
    let mut bench = Bench::new(&[("web", ""), ("bad", "usr = 'x'"), ("app", "needs = ['bad']")]);
    assert_eq!(bench.seen(), ["+web"]);
    assert!(matches!(bench.state("bad"), State::Failed(reason) if reason.contains("line 2: unknown key 'usr'")));
    bench.change("web", "usr = 'x'");
    assert_eq!(
        bench.seen(),
        ["web: goes on with its old settings: its file is faulty, line 2: unknown key 'usr'; did you mean 'user'?"]
    );
    bench.change("bad", "user = 'x'");
    assert_eq!(
        bench.seen(),
        [
            "web: goes on with its old settings: its file is faulty, line 2: unknown key 'usr'; did you mean 'user'?",
            "+bad",
            "+app",
        ]
    );
}

#[test]
fn a_file_that_comes_back_while_its_service_ends_starts_it_again() {
    let mut bench = Bench::new(&[("web", "")]);
    bench.load(&[]);
    bench.load(&[("web", "")]);
    bench.exit("web", TERM);
    assert_eq!(bench.seen(), ["+web", "-web 15", "+web"]);
}

#[test]
fn a_service_whose_need_is_gone_stops_with_it() {
    let mut bench = Bench::new(&[("db", ""), ("app", "needs = ['db']")]);
    bench.load(&[("app", "needs = ['db']")]);
    bench.exit("app", TERM);
    bench.exit("db", TERM);
    assert_eq!(bench.seen(), ["+db", "+app", "-app 15", "-db 15", "gone db"]);
    assert_eq!(bench.start("app"), Err("it needs 'db', and there is no such service".into()));
}

#[test]
fn services_without_files_outlive_reloads() {
    let mut bench = Bench::new(&[]);
    let config =
        |word: &str| Config::new("dhcp@eth0", Kind::Simple, Command::Words(vec!["/bin/udhcpc".into(), word.into()]));
    bench.machine.add(config("-f"), bench.now);
    bench.settle();
    bench.reload();
    bench.machine.add(config("-f"), bench.now);
    bench.settle();
    assert_eq!(bench.seen(), ["+dhcp@eth0"]);
    bench.machine.add(config("-x"), bench.now);
    bench.settle();
    bench.exit("dhcp@eth0", TERM);
    assert_eq!(bench.seen(), ["-dhcp@eth0 15", "+dhcp@eth0"]);
    bench.machine.remove("dhcp@eth0", bench.now);
    bench.settle();
    bench.exit("dhcp@eth0", TERM);
    assert_eq!(bench.seen(), ["-dhcp@eth0 15", "gone dhcp@eth0"]);
}

#[test]
fn nothing_starts_while_paused() {
    let mut bench = Bench::new(&[("web", "")]);
    bench.machine.pause(true);
    bench.exit("web", CRASH);
    bench.seen();
    bench.wait(60_000);
    assert_eq!(bench.seen(), [""; 0]);
    bench.machine.pause(false);
    bench.settle();
    assert_eq!(bench.seen(), ["+web"]);
}

#[test]
fn a_process_that_cannot_be_made_is_tried_again() {
    let mut machine = Machine::new(Duration::from_secs(3));
    let config = file::parse("web", b"command = 'x'\nrestart = 'never'\nrestart-delay = 0\nstart-limit = 2", "");
    let mut now = Duration::from_secs(5);
    machine.set_files(vec![File { name: "web".into(), config }], now);
    for seconds in [1, 2, 4, 8, 16, 32, 32] {
        machine.tick(now);
        let actions = core::iter::from_fn(|| machine.next_action());
        assert_eq!(actions.filter(|action| *action == Action::Start(0)).count(), 1);
        machine.not_started(0, "cannot make a process: no memory".into(), true, now);
        now += Duration::from_secs(seconds);
        assert_eq!(machine.units()[0].deadline(), Some(now));
    }
    machine.tick(now);
    machine.not_started(0, "there is no program x".into(), false, now);
    assert_eq!(machine.units()[0].state, State::Failed("there is no program x".into()));
}

#[test]
fn a_program_that_cannot_be_run_is_as_one_that_was_not_started() {
    let mut machine = Machine::new(Duration::from_secs(3));
    let config = file::parse("web", b"command = 'x'\nrestart = 'never'\nstart-limit = 1", "");
    let mut now = Duration::from_secs(5);
    machine.set_files(vec![File { name: "web".into(), config }], now);
    for (pid, passing) in [(10, true), (11, true), (12, false)] {
        machine.tick(now);
        machine.started(0, pid, now);
        assert_eq!(machine.units()[0].state, State::Up);
        assert!(!machine.not_run(pid + 1, "another one".into(), false, now));
        assert!(machine.not_run(pid, "cannot run x".into(), passing, now));
        let unit = &machine.units()[0];
        assert_eq!((unit.pid, unit.ready, unit.first.ready, unit.ended), (None, None, None, None));
        now += Duration::from_secs(60);
        assert_eq!(matches!(unit.state, State::Backoff { .. }), passing);
    }
    assert_eq!(machine.units()[0].state, State::Failed("cannot run x".into()));
    // One that is told to end anyway.
    machine.start(0, now).unwrap();
    machine.tick(now);
    machine.started(0, 13, now);
    machine.stop(0, now);
    assert!(!machine.not_run(13, "cannot run x".into(), false, now));
    machine.tick(now);
    assert!(!machine.not_run(13, "cannot run x".into(), false, now));
    assert_eq!(machine.exited(13, Exit::Code(127), now), Some(0));
}

#[test]
fn lines_start_again_while_they_may_run() {
    let mut bench = Bench::new(&[]);
    let table = "::sysinit:first\n::respawn:again\n::once:later\n::ctrlaltdel:key\n";
    bench.machine.set_lines(inittab::parse(table.as_bytes()).lines, bench.now);
    bench.wait(5000);
    assert_eq!((bench.seen(), bench.machine.deadline()), (vec![], None), "the boot has not come so far");
    bench.machine.run_lines(true);
    bench.settle();
    assert_eq!(bench.seen(), ["+'again'"], "the others wait for their turns");
    // A life of a second is none that failed.
    bench.wait(1000);
    bench.exit_line("again");
    assert_eq!(bench.seen(), ["+'again'"]);
    // The wait begins with the last start. One short life may be a person who pressed Ctrl-D.
    bench.wait(400);
    bench.exit_line("again");
    bench.wait(599);
    assert_eq!(bench.seen(), Vec::<String>::new());
    bench.wait(1);
    assert_eq!(bench.seen(), ["+'again'"]);
    for (count, wait) in [(2, 2), (3, 4), (4, 8), (5, 16), (6, 32)] {
        bench.exit_line("again");
        let said = format!("'again' ended after 0 ms (exit code 1) {count} times in a row; one start in {wait} s");
        assert_eq!(bench.seen(), [said]);
        bench.wait(wait * 1000 - 1);
        assert_eq!(bench.seen(), Vec::<String>::new());
        bench.wait(1);
        assert_eq!(bench.seen(), ["+'again'"]);
    }
    bench.exit_line("again");
    assert_eq!(bench.seen(), Vec::<String>::new(), "the longest wait was said");
    // Neither a pause nor the shutdown's walk through the table starts it.
    for hold in [
        |machine: &mut Machine, hold: bool| machine.pause(hold),
        |machine: &mut Machine, hold: bool| machine.run_lines(!hold),
    ] {
        hold(&mut bench.machine, true);
        bench.wait(40_000);
        assert_eq!((bench.seen(), bench.machine.deadline()), (vec![], None));
        hold(&mut bench.machine, false);
        bench.settle();
        assert_eq!(bench.seen(), ["+'again'"]);
        bench.exit_line("again");
    }
}

#[test]
fn a_line_has_its_turn() {
    let mut bench = Bench::new(&[]);
    bench.table("::once:later\n");
    for _ in 0..2 {
        let index = bench.machine.line(0).unwrap();
        bench.machine.begin_line(index, bench.now);
        bench.machine.started(index, 77, bench.now);
        bench.wait(60_000);
        assert_eq!(bench.machine.units()[index].state, State::Up);
        bench.exit_line("later");
        bench.wait(60_000);
        assert_eq!((bench.seen(), bench.machine.units()[index].state.clone()), (vec![], State::Ended));
    }
}

#[test]
fn a_new_table_keeps_starts_and_stops_the_right_lines() {
    let mut bench = Bench::new(&[("web", "")]);
    bench.table("::respawn:kept\n::respawn:gone\n::respawn:ended\n");
    assert_eq!(bench.seen(), ["+web", "+'kept'", "+'gone'", "+'ended'"]);
    bench.exit_line("ended");
    assert_eq!(bench.table("::respawn:new\n::once:kept\n"), ["gone"]);
    assert_eq!(bench.seen(), ["-'gone' 15", "+'new'", "gone 'ended'"]);
    let expected = [("new".into(), Some(14), false), ("kept".into(), Some(11), false), ("gone".into(), Some(12), true)];
    assert_eq!(bench.table_now(), expected);
    // Again, while it ends.
    assert_eq!(bench.table("::respawn:new\n::once:kept\n"), Vec::<String>::new());
    bench.exit_line("gone");
    bench.exit_line("kept");
    assert_eq!(bench.seen(), ["gone 'gone'"]);
    // One that ran once runs all the time.
    bench.table("::respawn:new\n::respawn:kept\n");
    assert_eq!(bench.seen(), ["+'kept'"]);
    assert!(bench.unit("web").is_up());
}

#[test]
fn the_same_command_on_another_terminal_is_another_line() {
    let mut bench = Bench::new(&[]);
    bench.table("::respawn:sh\n");
    bench.table("tty2::respawn:sh\n");
    assert_eq!(bench.table_now(), [("sh".into(), Some(11), false), ("sh".into(), Some(10), true)]);
    assert_eq!(bench.seen(), ["+'sh'", "-'sh' 15", "+'sh'"]);
}

#[test]
fn a_line_that_comes_back_while_its_process_ends_is_not_doubled() {
    let mut bench = Bench::new(&[]);
    bench.table("::respawn:x\n");
    bench.table("::respawn:y\n");
    bench.table("::respawn:x\n");
    assert_eq!(bench.table_now().first(), Some(&("x".into(), Some(10), false)));
    bench.seen();
    bench.exit_line("x");
    assert_eq!(bench.seen(), ["+'x'"]);
}

#[test]
fn twins_keep_both_processes() {
    let mut bench = Bench::new(&[]);
    bench.table("::respawn:x\n::respawn:x\n");
    bench.table("::respawn:x\n::respawn:x\n");
    assert_eq!(bench.table_now(), [("x".into(), Some(10), false), ("x".into(), Some(11), false)]);
}

#[test]
fn the_process_of_a_gone_line_is_killed_unless_it_runs_once() {
    let mut bench = Bench::new(&[]);
    bench.table("::respawn:again\n::once:later\n");
    let later = bench.machine.line(1).unwrap();
    bench.machine.begin_line(later, bench.now);
    bench.machine.started(later, 77, bench.now);
    assert_eq!(bench.table("::respawn:other\n"), ["again"]);
    bench.seen();
    // Also while nothing starts.
    bench.machine.pause(true);
    bench.wait(2999);
    assert_eq!(bench.seen(), Vec::<String>::new());
    bench.wait(1);
    assert_eq!(bench.seen(), ["!'again'", "'again' did not end and is killed"]);
    bench.exit_line("again");
    bench.wait(60_000);
    bench.exit_line("later");
    assert_eq!(bench.seen(), ["gone 'again'", "gone 'later'"]);
}

#[test]
fn a_line_waits_for_its_terminal() {
    let mut machine = Machine::new(Duration::from_secs(3));
    let mut now = Duration::from_secs(5);
    machine.set_lines(inittab::parse(b"ttyUSB0::respawn:sh\n::once:x\n").lines, now);
    machine.run_lines(true);
    let actions = |machine: &mut Machine, now| {
        machine.tick(now);
        core::iter::from_fn(|| machine.next_action()).collect::<Vec<_>>()
    };
    let text = format!("'sh' waits for its terminal /dev/ttyUSB0, which is not there ({})", Errno::NOENT);
    let mut said = vec![Action::Tell(0, Level::Info, text)];
    for seconds in [1, 2, 4, 8, 16, 32, 32] {
        assert_eq!(actions(&mut machine, now), [Action::Start(0)]);
        machine.line_not_started(0, Errno::NOENT, now);
        assert_eq!(actions(&mut machine, now), core::mem::take(&mut said));
        now += Duration::from_secs(seconds);
        assert_eq!(machine.deadline(), Some(now));
    }
    assert_eq!(actions(&mut machine, now), [Action::Start(0)]);
    machine.line_not_started(0, Errno::NOENT, now);
    machine.terminal_came("ttyUSB1", now);
    assert_eq!(actions(&mut machine, now), []);
    machine.terminal_came("ttyUSB0", now);
    assert_eq!(actions(&mut machine, now), [Action::Start(0)]);
    machine.line_not_started(0, Errno::MFILE, now);
    let text = format!("cannot start 'sh': {}; it is tried again", Errno::MFILE);
    assert_eq!(actions(&mut machine, now), [Action::Tell(0, Level::Error, text)]);
    machine.begin_line(1, now);
    machine.line_not_started(1, Errno::NOMEM, now);
    let text = format!("cannot start 'x': {}; going on without it", Errno::NOMEM);
    assert_eq!(actions(&mut machine, now), [Action::Tell(1, Level::Error, text)]);
    assert_eq!(machine.units()[1].state, State::Ended);
}

#[test]
fn services_and_lines_do_not_meet_by_their_names() {
    let mut bench = Bench::new(&[("web", "after = ['x']")]);
    bench.table("::respawn:web\n::respawn:x\n");
    assert_eq!(
        bench.seen(),
        ["web: 'after' names 'x', and there is no such service; it does not wait for that", "+web", "+'web'", "+'x'"]
    );
    assert_eq!((bench.machine.find("x"), bench.machine.find("")), (None, None));
    bench.machine.stop_all(bench.now);
    bench.settle();
    assert_eq!(bench.seen(), ["-web 15"]);
    assert!(!bench.machine.is_all_stopped());
    bench.exit("web", TERM);
    assert!(bench.machine.is_all_stopped());
    bench.exit_line("x");
    bench.wait(60_000);
    assert_eq!(bench.seen(), Vec::<String>::new(), "nothing starts while the system goes down");
}
