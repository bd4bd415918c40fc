//! Services under init as PID 1 of namespaces of its own: order, readiness, restarts, reloads, logs, and the way down.

mod common;

use std::os::unix::net::UnixDatagram;

use common::{POWERED_OFF, REBOOTED, Setup, System};

/// Starts a system with services (name and file) and, as first program, `script`. In its path are `initctl` and `notify`,
/// which sends its arguments as lines to the service's notification socket.
fn system(name: &str, services: &[(&str, &str)], script: &str, command_line: &str) -> Option<System> {
    system_with(name, services, script, command_line, false)
}

/// The same, with control groups if they are asked for.
fn system_with(
    name: &str,
    services: &[(&str, &str)],
    script: &str,
    command_line: &str,
    cgroups: bool,
) -> Option<System> {
    let services: Vec<(String, &str)> =
        services.iter().map(|(name, text)| (format!("etc/services.d/{name}.toml"), *text)).collect();
    let script = format!("PATH=/etc/bin:$PATH\n{script}\n");
    let notify = "#!/bin/sh\nNOTIFY_TEXT=\"$*\" exec /etc/bin/tests --exact send_notification --nocapture >/dev/null\n";
    let mut files: Vec<(&str, &str)> = services.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    files.extend([("etc/run.sh", script.as_str()), ("etc/bin/notify", notify)]);
    // Copies: init mounts its own /tmp, where the programs may be.
    let own = std::env::current_exe().unwrap();
    let prepare = format!(
        "cp \"$2\" etc/bin/init; ln etc/bin/init etc/bin/initctl; cp '{}' etc/bin/tests; chmod 755 etc/bin/*; \
         set -- \"$1\" /etc/bin/init",
        own.display()
    );
    let table = "::once:/bin/sh /etc/run.sh\n";
    let setup = Setup { table, command_line, files: &files, script: &prepare, cgroups, ..Setup::default() };
    System::start_with(name, &setup)
}

/// Not a test: what a service runs to say something to PID 1.
#[test]
fn send_notification() {
    if let (Ok(socket), Ok(text)) = (std::env::var("NOTIFY_SOCKET"), std::env::var("NOTIFY_TEXT")) {
        let lines = text.replace(' ', "\n");
        UnixDatagram::unbound().unwrap().send_to(lines.as_bytes(), socket).unwrap();
    }
}

/// The marks of `text` in the order of their first appearance.
fn order<'a>(text: &str, marks: &[&'a str]) -> Vec<&'a str> {
    let mut found: Vec<_> = marks.iter().filter_map(|mark| text.find(mark).map(|at| (at, *mark))).collect();
    found.sort_unstable();
    found.into_iter().map(|(_, mark)| mark).collect()
}

/// A service on the console that says its name when it starts and when it is told to end.
fn talker(name: &str, stop: &str, more: &str) -> String {
    let script = format!("echo UP-{name}; trap \"{stop} echo DOWN-{name}; exit 0\" TERM; while :; do sleep 0.05; done");
    format!("command = ['/bin/sh', '-c', '''{script}''']\noutput = 'console'\n{more}\n")
}

fn starts_and_stops_in_order(name: &str, command_line: &str) {
    let first = "command = ['/bin/sh', '-c', 'sleep 0.5; echo UP-first; PATH=/etc/bin:$PATH notify READY=1; exec sleep 1000']\n\
                 type = 'notify'\noutput = 'console'\n";
    let task =
        "command = \"sh -c 'sleep 0.2; echo UP-task'\"\ntype = 'oneshot'\nneeds = ['first']\noutput = 'console'\n";
    let middle = talker("middle", "", "needs = ['first', 'task']");
    let last = talker("last", "sleep 0.3;", "after = ['middle']");
    let services = [("first", first), ("task", task), ("middle", middle.as_str()), ("last", last.as_str())];
    let script = "while [ $(initctl list | grep -c running) -lt 3 ]; do sleep 0.1; done; initctl list; \
                  echo LISTED; until [ -e /etc/go ]; do sleep 0.1; done; kill -USR2 1";
    let Some(mut system) = system(name, &services, script, command_line) else {
        return;
    };
    let up = system.expect("LISTED");
    system.waits_with_ring(command_line.is_empty());
    std::fs::write(system.dir.join("etc/go"), "").unwrap();
    assert_eq!(order(&up, &["UP-first", "UP-task", "UP-middle", "UP-last"]).len(), 4, "{up}");
    assert_eq!(order(&up, &["UP-last", "UP-middle", "UP-task", "UP-first"])[0], "UP-first");
    assert_eq!(order(&up, &["UP-task", "UP-middle"])[0], "UP-task");
    let down = system.expect("init: power off after");
    assert_eq!(order(&down, &["DOWN-middle", "DOWN-last"]), ["DOWN-last", "DOWN-middle"], "{down}");
    system.ends_by(POWERED_OFF);
}

#[test]
fn services_start_and_stop_in_order_on_the_ring() {
    starts_and_stops_in_order("order", "");
}

#[test]
fn services_start_and_stop_in_order_on_epoll() {
    starts_and_stops_in_order("order-epoll", "init.epoll");
}

#[test]
fn going_down_takes_as_long_as_the_slowest_service() {
    let services: Vec<(String, String)> =
        (0..10).map(|n| (format!("s{n}"), talker(&n.to_string(), if n == 7 { "sleep 1;" } else { "" }, ""))).collect();
    let services: Vec<(&str, &str)> = services.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let script = "while [ $(initctl list | grep -c running) -lt 10 ]; do sleep 0.1; done; sleep 0.5; kill -USR2 1";
    let Some(mut system) = system("slowest", &services, script, "") else {
        return;
    };
    system.expect("init: power off after ");
    let milliseconds: u64 = system.expect(" ms").trim_end_matches(" ms").parse().unwrap();
    eprintln!("power off with ten services, one of which takes a second: {milliseconds} ms");
    // The service's own loop adds up to 50 ms, and a busy host more.
    assert!((1000..3000).contains(&milliseconds), "{milliseconds} ms");
    system.ends_by(POWERED_OFF);
}

/// A service whose `worker` takes its time when it is told to end, with a main process that does not wait for it.
fn a_stop_waits_for_all(name: &str, command: impl Fn(&str) -> String, cgroups: bool) {
    let worker = "trap 'echo TOLD; sleep 1; echo FINISHED; exit 0' TERM; : >/run/up; while :; do sleep 0.05; done";
    let service =
        format!("command = {}\nstop-timeout = 30\n", command(&format!("/bin/sh -c \"{worker}\" >/dev/console")));
    let script = "up() { until [ -e /run/up ]; do sleep 0.05; done; rm /run/up; }
        up; initctl stop --timeout 40 pipe; echo STOPPED; initctl start pipe; up; kill -USR2 1";
    let Some(mut system) = system_with(name, &[("pipe", &service)], script, "quiet", cgroups) else {
        return;
    };
    let seen = system.expect("STOPPED");
    assert_eq!(order(&seen, &["STOPPED", "FINISHED", "TOLD"]), ["TOLD", "FINISHED", "STOPPED"], "{seen}");
    assert_eq!(seen.matches("TOLD").count(), 1, "{seen}");
    let seen = system.expect("init: power off after ");
    assert_eq!(order(&seen, &["FINISHED", "TOLD"]), ["TOLD", "FINISHED"], "{seen}");
    let milliseconds: u64 = system.expect(" ms").trim_end_matches(" ms").parse().unwrap();
    assert!((1000..3000).contains(&milliseconds), "{milliseconds} ms");
    system.ends_by(POWERED_OFF);
}

#[test]
fn a_stop_waits_for_the_process_group() {
    a_stop_waits_for_all("rest", |worker| format!("'''{worker} | cat'''"), false);
}

#[test]
fn a_stop_waits_for_the_control_group() {
    a_stop_waits_for_all("rest-cgroup", |worker| format!("'''setsid {worker} | cat'''"), true);
}

/// No second signal comes when the main process has ended.
#[test]
fn a_stop_tells_each_process_once() {
    let main = "trap \"sleep 0.3; exit 0\" TERM; while :; do sleep 0.05; done";
    let command = |worker: &str| format!("['/bin/sh', '-c', '''{worker} & {main}''']");
    a_stop_waits_for_all("rest-once", command, true);
}

#[test]
fn a_stop_goes_on_across_a_new_program_of_init() {
    let worker =
        "trap 'echo TOLD; : >/run/told; sleep 2; echo FINISHED; exit 0' TERM; : >/run/up; while :; do sleep 0.05; done";
    let service = format!("command = '''setsid /bin/sh -c \"{worker}\" >/dev/console | cat'''\nstop-timeout = 30\n");
    let script = "wait_for() { until [ -e $1 ]; do sleep 0.05; done; }
        wait_for /run/up; initctl stop --no-wait pipe; wait_for /run/told; kill -URG 1
        until initctl list | grep -q '^pipe .*stopped'; do sleep 0.05; done; echo STOPPED";
    let Some(mut system) = system_with("rest-anew", &[("pipe", &service)], script, "", true) else {
        return;
    };
    let seen = system.expect("STOPPED");
    let marks = ["STOPPED", "FINISHED", "init took over", "TOLD"];
    assert_eq!(order(&seen, &marks), ["TOLD", "init took over", "FINISHED", "STOPPED"], "{seen}");
}

#[test]
fn a_control_group_goes_with_its_service() {
    let group = "/sys/fs/cgroup/services/divided";
    let divide = format!("mkdir -p {group}/below; echo 0 >{group}/below/cgroup.procs; : >/run/up; exec sleep 1000");
    let service = format!("command = ['/bin/sh', '-c', '{divide}']\n");
    let script = format!(
        "up() {{ until [ -e /run/up ]; do sleep 0.05; done; rm /run/up; }}
         up; initctl restart divided; up; cat {group}/below/cgroup.procs /proc/$(cat {group}/below/cgroup.procs)/cgroup
         rm /etc/services.d/divided.toml; initctl reload; while [ -e {group} ]; do sleep 0.05; done; echo GONE"
    );
    let Some(mut system) = system_with("divided", &[("divided", &service)], &script, "quiet", true) else {
        return;
    };
    let seen = system.expect("GONE");
    assert!(seen.contains("0::/services/divided/below"), "{seen}");
}

/// A daemon that forks leaves PID 1 without the process to watch, whatever its restart policy says of an exit code of 0.
#[test]
fn a_daemon_in_the_background_is_told_what_to_do() {
    for (restart, state) in [("always", "failed"), ("on-failure", "ended")] {
        let service = format!(
            "command = ['/bin/sh', '-c', 'setsid sleep 1000 & sleep 0.2']\nrestart = '{restart}'\nstart-limit = 1\nstart-limit-interval = 60\n"
        );
        let script = format!(
            "until initctl status forks | grep {state}; do sleep 0.05; done; initctl status forks; \
             until ! pidof sleep; do sleep 0.05; done; echo SWEPT; kill -USR2 1"
        );
        let Some(mut system) = system_with(&format!("forks-{restart}"), &[("forks", &service)], &script, "quiet", true)
        else {
            return;
        };
        let seen = system.expect("SWEPT");
        assert!(seen.contains("it went to the background") && seen.contains("--foreground"), "{restart}: {seen}");
        system.ends_by(POWERED_OFF);
    }
}

/// In a control group namespace PID 1 is in the group that is to have those of the services. The 0 there is `unshare`, outside.
#[test]
fn pid_1_leaves_the_group_that_it_divides() {
    let script = "until initctl status web | grep -q running; do sleep 0.05; done; echo \"TYPE $(cat \
                  /sys/fs/cgroup/cgroup.type) $(cat /sys/fs/cgroup/services/cgroup.type) IN $(grep -v ^0$ /sys/fs/cgroup/cgroup.procs)\"
        grep -h ^0:: /proc/1/cgroup; cat /proc/$(cat /sys/fs/cgroup/services/web/cgroup.procs)/cgroup; echo END";
    let Some(mut system) = system_with("leaf", &[("web", "command = 'sleep 1000'\n")], script, "quiet", true) else {
        return;
    };
    let seen = system.expect("END");
    assert!(seen.contains("TYPE domain domain IN \n"), "{seen}");
    assert!(seen.contains("0::/init\n") && seen.contains("0::/services/web\n"), "{seen}");
}

/// A service that writes 200 lines, 40 kB, when it is told to end: more than one read of PID 1, and less than a pipe holds.
fn talks_at_last(log: &str) -> String {
    let script = "trap 'for i in $(seq 200); do printf \"%0190d line\\n\" $i; done; exit 0' TERM; \
                  echo ready; while :; do sleep 0.05; done";
    format!("command = ['/bin/sh', '-c', '''{script}''']\n[log]\nfile = '{log}'\nsize = 1000000\n")
}

fn the_last_output_is_kept(name: &str, command_line: &str) {
    let (gone, stays) = (talks_at_last("/var/lib/gone.log"), talks_at_last("/var/lib/stays.log"));
    let script = "for name in gone stays; do until initctl log $name | grep -q ready; do sleep 0.05; done; done
        rm /etc/services.d/gone.toml; initctl reload; while initctl status gone >/dev/null; do sleep 0.05; done
        kill -USR2 1";
    let services = [("gone", gone.as_str()), ("stays", stays.as_str())];
    let Some(mut system) = system(name, &services, script, command_line) else {
        return;
    };
    system.expect("init: power off after");
    for log in ["gone", "stays"] {
        let text = std::fs::read_to_string(system.dir.join(format!("var/{log}.log"))).unwrap();
        let count = text.lines().filter(|line| line.ends_with(" line")).count();
        assert_eq!(count, 200, "{log}: {text}");
        assert!(!text.contains("are missing"), "{log}: {text}");
    }
    system.ends_by(POWERED_OFF);
}

#[test]
fn the_last_output_is_kept_on_the_ring() {
    the_last_output_is_kept("last", "");
}

#[test]
fn the_last_output_is_kept_on_epoll() {
    the_last_output_is_kept("last-epoll", "init.epoll");
}

#[test]
fn crashes_are_limited_and_named() {
    let crash = "command = 'false'\nrestart-delay = 0.01\nstart-limit = 3\n";
    let Some(mut system) = system("limit", &[("crash", crash)], "sleep 1000", "") else {
        return;
    };
    system.expect("crash: it ended after ");
    system.expect("crash: failed: it ended after ");
    system.expect("(exit code 1); start limit reached (3 starts in 60 s); giving up");
}

#[test]
fn a_thousand_crashes_do_not_end() {
    let crash = "command = 'false'\nrestart-delay = 0\nstart-limit = 0\n";
    let script = "memory() { sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\) kB/MEMORY \\1 kB/p' /proc/1/status; }
        reach() { until [ \"$(initctl status crash | sed -n 's/.*restarts[^0-9]*//p' | head -n 1)\" -ge $1 ] 2>/dev/null; do sleep 0.1; done; }
        reach 100; memory; reach 1000; memory; initctl stop crash; echo STOPPED; kill -TERM 1";
    let Some(mut system) = system("crashes", &[("crash", crash)], script, "quiet") else {
        return;
    };
    let mut memory = || -> u64 {
        system.expect("MEMORY ");
        system.expect(" kB").trim_end_matches(" kB").parse().unwrap()
    };
    let (before, after) = (memory(), memory());
    eprintln!("memory of PID 1 after 100 and after 1000 crashes: {before} and {after} KiB");
    // A page for each crash would be 3600 KiB, and 300 bytes for each 263. It grows by 40, once.
    assert!(after < before + 256, "{before} KiB became {after} KiB");
    system.expect("STOPPED");
    system.ends_by(REBOOTED);
}

#[test]
fn what_is_wrong_is_named_and_the_rest_comes_up() {
    let services = [
        ("a", "command = 'x'\nneeds = ['b']\n"),
        ("b", "command = 'x'\nafter = ['a']\n"),
        ("broken", "command = 'x'\nnice = \n"),
        // On another mount than the root's.
        ("elsewhere", "command = '/etc/no/program'\nrestart-delay = 0.01\n"),
        ("good", "command = 'sleep 1000'\n"),
        ("lost", "command = 'x'\nneeds = ['nowhere']\n"),
        ("mistyped", "command = 'x'\nusr = 'www'\n"),
        ("nobody", "command = 'sleep 1'\nuser = 'no-such-user'\n"),
        ("program", "command = '/no/such/program'\n"),
    ];
    let script = "for state in 'elsewhere .*failed' 'good .*running' 'nobody .*failed' 'program .*failed'; do \
                  until initctl list | grep -q \"^$state\"; do sleep 0.1; done; done; initctl list; echo LISTED";
    let Some(mut system) = system("wrong", &services, script, "quiet") else {
        return;
    };
    let seen = system.expect("LISTED");
    for text in [
        "/etc/services.d/broken.toml, line 2: ",
        "/etc/services.d/mistyped.toml, line 2: unknown key 'usr'; did you mean 'user'?",
        "a: cannot start: it is part of a cycle: a -> b -> a",
        "b: cannot start: it is part of a cycle: a -> b -> a",
        "lost: cannot start: it needs 'nowhere', and there is no such service",
        "nobody: failed: there is no user 'no-such-user' in /etc/passwd",
        "program: failed: there is no program /no/such/program",
        "elsewhere: failed: there is no program /etc/no/program",
    ] {
        assert!(seen.contains(text), "no '{text}' in {seen}");
    }
    assert!(!seen.contains("elsewhere: it ended"), "{seen}");
    let line = seen.lines().find(|line| line.starts_with("good ")).unwrap_or_default();
    assert!(line.contains("running"), "{seen}");
}

#[test]
fn a_reload_keeps_starts_stops_and_replaces() {
    let services = [
        ("gone", "command = 'sleep 1001'\n"),
        ("kept", "command = 'sleep 1002'\n"),
        ("changed", "command = 'sleep 1003'\n"),
    ];
    let list = "for f in /proc/[0-9]*; do c=$(tr '\\0' ' ' <$f/cmdline 2>/dev/null); case $c in 'sleep 10'*) echo \"$c${f#/proc/}\";; esac; done";
    let script = format!(
        "list() {{ {list}; }}; until [ $(list | wc -l) = 3 ]; do sleep 0.1; done; list; echo BEFORE; \
         cd /etc/services.d; rm gone.toml; sed -i s/1003/1004/ changed.toml; \
         echo \"command = 'sleep 1005'\" >new.toml; initctl reload; \
         until [ $(list | grep -c -e 'sleep 1004' -e 'sleep 1005') = 2 ] && ! list | grep -q -e 'sleep 1001'; do sleep 0.1; done; \
         list; echo AFTER; kill -USR2 1"
    );
    let Some(mut system) = system("services-reload", &services, &script, "quiet") else {
        return;
    };
    let (before, after) = (system.expect("BEFORE"), system.expect("AFTER"));
    let of = |text: &str, seconds: u32| -> Vec<String> {
        text.lines().filter(|line| line.starts_with(&format!("sleep {seconds} "))).map(String::from).collect()
    };
    let counts = |text: &str| [1001, 1002, 1003, 1004, 1005].map(|seconds| of(text, seconds).len());
    assert_eq!(counts(&before), [1, 1, 1, 0, 0], "{before}");
    assert_eq!(counts(&after), [0, 1, 0, 1, 1], "{after}");
    assert_eq!(of(&before, 1002), of(&after, 1002), "the same process is kept");
    system.ends_by(POWERED_OFF);
}

#[test]
fn output_is_logged_across_a_new_program_of_init() {
    let ticker = "command = ['/bin/sh', '-c', 'i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.05; done']\n";
    let silent = "command = ['/bin/sh', '-c', 'PATH=/etc/bin:$PATH; notify STATUS=started; sleep 3; notify READY=1; exec sleep 1000']\n\
                  type = 'notify'\n";
    // The program is started from where it can be found again.
    let script = "until initctl status ticker | grep -i pid; do sleep 0.1; done; echo BEFORE; kill -URG 1; \
                  until [ -e /etc/go ]; do sleep 0.1; done; \
                  initctl status ticker | grep -i pid; initctl start --timeout 30 silent && echo READY; cat /run/log/ticker.log; \
                  echo AFTER; kill -USR2 1";
    let Some(mut system) = system("anew", &[("ticker", ticker), ("silent", silent)], script, "") else {
        return;
    };
    let pid = |text: &str| text.lines().find(|line| line.to_lowercase().contains("pid")).map(String::from);
    let before = pid(&system.expect("BEFORE"));
    system.expect("init took over");
    std::fs::write(system.dir.join("etc/go"), "").unwrap();
    let seen = system.expect("AFTER");
    assert!(before.is_some() && before == pid(&seen), "{before:?} {seen}");
    assert!(seen.contains("READY"), "{seen}");
    let ticks: Vec<u32> =
        seen.lines().filter_map(|line| line.split_once("tick ").and_then(|(_, n)| n.trim().parse().ok())).collect();
    assert!(ticks.len() > 20 && ticks.iter().zip(1..).all(|(tick, n)| *tick == n), "no line is lost: {ticks:?}");
    system.ends_by(POWERED_OFF);
}

#[test]
fn another_process_becomes_the_main_one() {
    let daemon = "command = ['/bin/sh', '-c', 'sleep 1000 & PATH=/etc/bin:$PATH notify READY=1 MAINPID=$!; exit 0']\n\
                  type = 'notify'\nrestart = 'never'\n";
    let script = "state() { until initctl list | grep \"^daemon .*$1\"; do sleep 0.1; done; }; \
                  state running; pkill -x sleep; state ended; echo DONE";
    let Some(mut system) = system("mainpid", &[("daemon", daemon)], script, "quiet") else {
        return;
    };
    let seen = system.expect("DONE");
    let states: Vec<&str> = seen
        .lines()
        .filter(|line| line.starts_with("daemon "))
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    assert_eq!(states, ["running", "ended"], "{seen}");
}

/// The processes of a server such as sshd are other people's sessions.
#[test]
fn a_restart_of_the_main_process_leaves_its_sessions() {
    let session =
        "setsid sh -c 'echo $$ >>/run/sessions; exec sleep 1000' & sh -c 'echo $$ >>/run/sessions; exec sleep 1000' &";
    for cgroups in [false, true] {
        let service = format!("command = ['/bin/sh', '-c', '''{session} exec sleep 999''']\nstop-mode = 'main'\n");
        let script = "until [ $(cat /run/sessions | wc -l) = 2 ]; do sleep 0.05; done; first=$(cat /run/sessions)
            initctl restart ssh; until [ $(cat /run/sessions | wc -l) = 4 ]; do sleep 0.05; done
            kill -0 $first && echo SESSIONS STAY; initctl stop ssh; kill -0 $first && echo AND STAY
            kill -KILL $(pidof sleep); initctl status ssh; kill -USR2 1";
        let Some(mut system) = system_with("sessions", &[("ssh", &service)], script, "quiet", cgroups) else {
            return;
        };
        let seen = system.expect("AND STAY");
        assert!(seen.contains("SESSIONS STAY"), "{seen}");
        system.ends_by(POWERED_OFF);
    }
}

/// As the C library's syslog(3) does it, for any user.
#[test]
fn what_programs_say_to_syslog_is_logged() {
    let script = "if [ -S /dev/log ]; then stat -c %a /dev/log; fi
        logger -t web -p daemon.err 'it broke' || echo NO LOGGER
        until initctl log messages | grep -q 'daemon.err web: it broke'; do sleep 0.1; done
        initctl log messages; echo LOGGED; kill -USR2 1";
    let Some(mut system) = system("syslog", &[], script, "quiet") else {
        return;
    };
    let seen = system.expect("LOGGED");
    assert!(seen.contains("666") && seen.contains("daemon.err web: it broke"), "{seen}");
    system.ends_by(POWERED_OFF);
}
