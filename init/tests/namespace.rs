//! The whole program as PID 1 of namespaces of its own: boots, reloads, reaps and goes down, without a virtual machine.

mod common;

use std::process::Command;

use common::{POWERED_OFF, REBOOTED, Setup, System};

fn boots_in_order_and_powers_off(name: &str, command_line: &str, said: Option<&str>) {
    let table = "::once:/bin/sh -c 'echo ONCE; until [ -e /etc/go ]; do sleep 0.1; done; kill -USR2 1; sleep 1000'\n\
                 ::wait:/bin/sh -c 'sleep 0.2; echo WAIT'\nnonsense\n\
                 ::sysinit:/bin/sh -c 'sleep 0.2; echo SYSINIT'\n::respawn:sleep 1000\n\
                 ::shutdown:echo SHUTDOWN\n";
    let Some(mut system) = System::start(name, table, command_line) else {
        return;
    };
    if let Some(said) = said {
        system.expect(said);
    }
    system.expect("/etc/inittab, line 3");
    for mark in ["SYSINIT", "WAIT", "ONCE"] {
        system.expect(mark);
    }
    system.waits_with_ring(said.is_none());
    std::fs::write(system.dir.join("etc/go"), "").unwrap();
    for mark in ["going down: power off", "SHUTDOWN", "init: power off after"] {
        system.expect(mark);
    }
    system.ends_by(POWERED_OFF);
}

#[test]
fn boots_in_order_and_powers_off_on_the_ring() {
    boots_in_order_and_powers_off("ring", "", None);
}

#[test]
fn boots_in_order_and_powers_off_on_epoll() {
    boots_in_order_and_powers_off("epoll", "init.epoll", Some("waiting with epoll"));
}

#[test]
fn orphans_leave_no_zombie() {
    let orphans = "i=0; while [ $i -lt 60 ]; do (sh -c \"sleep 0.01 & sleep 0.02 &\" &); i=$((i+1)); done; sleep 2; \
                   grep -l \"^State:.Z\" /proc/[0-9]*/status; echo COUNTED; kill -TERM 1";
    let table = format!("::once:/bin/sh -c '{orphans}'\n::respawn:sleep 1000\n");
    let Some(mut system) = System::start("orphans", &table, "quiet") else {
        return;
    };
    let before = system.expect("COUNTED");
    assert!(!before.contains("/status"), "zombies: {before}");
    system.ends_by(REBOOTED);
}

#[test]
fn a_reload_keeps_starts_and_stops() {
    let change = "sed -i s/2000/3000/ /etc/inittab; kill -HUP 1";
    let list = "list() { grep -a sleep /proc/[0-9]*/cmdline | tr \"\\0\" \" \"; }; \
                runs() { list | grep -q \":sleep $1 $\"; }";
    // The marks are quoted in their middle, because the list shows the command that prints them.
    let table = format!(
        "::once:/bin/sh -c '{list}; until runs 1000 && runs 2000; do sleep 0.1; done; list; echo BE\"\"FORE; {change}; \
         until runs 3000 && ! runs 2000; do sleep 0.1; done; list; echo AF\"\"TER; kill -USR1 1'\n\
         ::respawn:sleep 1000\n::respawn:sleep 2000\n"
    );
    let Some(mut system) = System::start("reload", &table, "quiet") else {
        return;
    };
    let of = |text: &str, seconds: &str| -> Vec<String> {
        text.lines().filter(|line| line.ends_with(&format!(":sleep {seconds} "))).map(String::from).collect()
    };
    let before = system.expect("BEFORE");
    let after = system.expect("AFTER");
    assert_eq!(of(&before, "1000").len(), 1, "{before}");
    assert_eq!(of(&before, "1000"), of(&after, "1000"), "the same process is kept");
    assert_eq!((of(&before, "2000").len(), of(&after, "2000").len()), (1, 0), "{before}{after}");
    assert_eq!((of(&before, "3000").len(), of(&after, "3000").len()), (0, 1), "{before}{after}");
    system.expect("init: halt after");
    system.ends_by(POWERED_OFF);
}

/// The time since the machine's start that the program on the console says next, behind `mark`.
fn time_behind(system: &mut System, mark: &str) -> f64 {
    system.expect(mark);
    system.expect("\n").trim().parse().unwrap()
}

#[test]
fn a_program_that_fails_at_once_is_held_back() {
    // It tells the time itself: this test may be late.
    let table = "::respawn:sh -c 'read up rest </proc/uptime; echo TRY $up; false'\n";
    let Some(mut system) = System::start("backoff", table, "quiet") else {
        return;
    };
    let first = time_behind(&mut system, "TRY ");
    system.expect("TRY ");
    system.expect("2 times in a row; one start in 2 s");
    let third = time_behind(&mut system, "TRY ");
    // Three seconds from fork to fork; a busy machine may be a second slower to start the first shell.
    assert!(third - first >= 2.0, "{first} {third}");
}

#[test]
fn what_ignores_the_request_to_end_is_killed_after_the_grace() {
    let table = "::once:/bin/sh -c 'trap \"\" TERM; echo READY; kill -USR2 1; while :; do sleep 1; done'\n";
    let Some(mut system) = System::start("grace", table, "init.grace=1") else {
        return;
    };
    system.expect("READY");
    system.expect("killing the rest");
    system.expect("init: power off after ");
    let took: u32 = system.expect(" ms").trim_end_matches(" ms").parse().unwrap();
    assert!(took >= 1000, "{took}");
    system.ends_by(POWERED_OFF);
}

/// Without the capability to reboot, as podman and docker start a container.
fn stops_as_a_container(name: &str, signal: i32, said: &str, code: i32) {
    let setup = Setup {
        table: "::respawn:sleep 1000\n::once:echo READY\n::shutdown:echo SHUTDOWN\n",
        command_line: "quiet",
        script: "exec setpriv --bounding-set=-sys_boot \"$2\"",
        ..Setup::default()
    };
    let Some(mut system) = System::start_with(name, &setup) else {
        return;
    };
    system.expect("READY");
    system.signal(signal);
    for mark in [said, "SHUTDOWN"] {
        system.expect(mark);
    }
    assert_eq!(system.child.wait().unwrap().code(), Some(code), "{}", system.rest());
}

#[test]
fn a_container_is_stopped_by_its_manager() {
    // SIGRTMIN+3 and +4 by glibc's count, which is what podman, docker and systemd send.
    stops_as_a_container("stop-halt", 37, "going down: halt", 0);
    stops_as_a_container("stop-off", 38, "going down: power off", 0);
    stops_as_a_container("stop-reboot", libc::SIGTERM, "going down: reboot", 133);
}

#[test]
fn restart_puts_another_program_in_the_place_of_init() {
    let table = "::once:/bin/sh -c 'echo ASK; kill -QUIT 1'\n::shutdown:echo SHUTDOWN\n\
                 ::restart:/bin/sh -c 'echo I am $$; exit 3'\n";
    let Some(mut system) = System::start("restart", table, "") else {
        return;
    };
    for mark in ["ASK", "going down: restart", "SHUTDOWN", "I am 1"] {
        system.expect(mark);
    }
    assert_eq!(system.child.wait().unwrap().code(), Some(3));
}

#[test]
fn outside_of_pid_1_it_explains_itself() {
    let output = Command::new(env!("CARGO_BIN_EXE_init")).arg("7").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("usage: init 0"));
}
