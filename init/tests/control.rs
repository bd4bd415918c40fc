//! `initctl` against init as PID 1 of namespaces of its own: services are listed, started and stopped, logs read and followed,
//! floods bounded, and the system brought down.

mod common;

use common::{POWERED_OFF, REBOOTED, Setup, System};

/// Runs `script` as the first program of a system with services. `initctl` is in its path.
fn system(name: &str, services: &[(&str, &str)], script: &str) -> Option<System> {
    let script = format!("PATH=/etc/bin:$PATH\n{script}\n");
    let files: Vec<(&str, &str)> = services.iter().copied().chain([("etc/run.sh", script.as_str())]).collect();
    let setup = Setup {
        table: "::once:/bin/sh /etc/run.sh\n",
        command_line: "quiet",
        files: &files,
        // A copy: init mounts its own /tmp, where the program may be. Started as under nohup(1): services see nothing of that.
        script: "trap '' HUP; mkdir etc/bin; cp \"$2\" etc/bin/initctl",
        ..Setup::default()
    };
    System::start_with(name, &setup)
}

const WEB: (&str, &str) = (
    "etc/services.d/web.toml",
    "command = ['/bin/sh', '-c', 'echo hello; echo wor\\tld >&2; trap \"echo reloaded\" HUP; while :; do sleep 0.1; done']\n\
     reload-signal = 'HUP'\n",
);

#[test]
fn services_are_shown_and_controlled() {
    let task =
        ("etc/services.d/task.toml", "command = \"sh -c 'sleep 1; echo worked'\"\ntype = 'oneshot'\nenabled = false\n");
    let bad = ("etc/services.d/bad.toml", "command = 'false'\ntype = 'oneshot'\nenabled = false\n");
    let script = "
        initctl start --timeout 20 web; echo \"web $?\"
        initctl list
        initctl start task; echo \"task $?\"
        initctl log task
        initctl start bad; echo \"bad $?\"
        initctl status bad; echo \"status $?\"
        initctl reload web; until initctl log web | grep -q reloaded; do sleep 0.1; done; initctl log -n 3 web
        initctl stop web; echo \"stop $?\"
        initctl status web; echo \"stopped $?\"
        initctl status wbe; echo \"unknown $?\"
        initctl frobnicate; echo \"usage $?\"
        initctl --socket /nowhere list; echo \"silent $?\"
        initctl analyze --svg | tail -n 1
        trap '' TERM; initctl shutdown reboot; echo \"going $?\"";
    let Some(mut system) = system("control", &[WEB, task, bad], script) else {
        return;
    };
    system.expect("web 0");
    let list = system.expect("task 0");
    assert!(system.expect("bad 1").contains(" worked\n"));
    let row =
        |name: &str| list.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_default().to_owned();
    assert!(list.contains("NAME") && list.contains("RESTARTS"), "{list}");
    let fields: Vec<String> = row("web").split_whitespace().map(String::from).collect();
    assert!(fields.get(2).is_some_and(|pid| pid.parse::<u32>().is_ok()), "{list}");
    assert!(!list.contains('\x1b'), "plain where there is no terminal: {list}");
    // The task's log was shown on the way.
    assert!(system.expect("status 3").contains("failed"));
    let log = system.expect("stop 0");
    assert!(log.contains(" hello\n") && log.contains(" reloaded\n"), "{log}");
    let times = log
        .lines()
        .filter(|line| line.ends_with(" hello"))
        .all(|line| line.starts_with("20") && line[19..].starts_with('.'));
    assert!(times, "{log}");
    system.expect("stopped 3");
    let unknown = system.expect("unknown 4");
    assert!(unknown.contains("did you mean 'web'?"), "{unknown}");
    for mark in ["usage 2", "silent 6", "</svg>", "going 0"] {
        system.expect(mark);
    }
    system.ends_by(REBOOTED);
}

#[test]
fn the_control_socket_is_left_alone_by_a_reload_and_comes_back_when_it_is_gone() {
    let script = "
        initctl reload; echo \"reload $?\"
        rm /run/initctl.sock; kill -HUP 1
        until initctl list >/dev/null 2>&1; do sleep 0.1; done; echo back
        initctl poweroff";
    let Some(mut system) = system("reload", &[WEB], script) else {
        return;
    };
    let seen = system.expect("reload 0");
    assert!(!seen.contains("control socket"), "{seen}");
    assert!(!system.expect("back").contains("cannot open"));
    system.ends_by(POWERED_OFF);
}

#[test]
fn a_fifo_in_the_place_of_a_table_stops_nothing() {
    let script = "
        mkfifo /etc/services.d/pipe.toml /etc/passwd; mv /etc/inittab /etc/kept; mkfifo /etc/inittab
        initctl reload; echo \"reload $?\"
        mv /etc/kept /etc/inittab
        initctl list; echo \"list $?\"
        initctl poweroff";
    let Some(mut system) = system("fifo", &[WEB], script) else {
        return;
    };
    let seen = system.expect("reload 1");
    assert!(seen.contains("init: cannot read /etc/inittab: "), "{seen}");
    assert!(seen.contains("init: /etc/services.d/pipe.toml: it cannot be read: "), "{seen}");
    let list = system.expect("list 0");
    assert!(list.contains("pipe") && list.contains("web"), "{list}");
    system.ends_by(POWERED_OFF);
}

#[test]
fn a_reload_with_a_fault_makes_nothing_worse() {
    let net = ("etc/network/x.toml", "match = 'x'\nmtu = 1500\n");
    let script = "
        initctl start --timeout 20 web
        echo 'mtu = \"x\"' >>/etc/network/x.toml; echo 'comand = 5' >>/etc/services.d/web.toml
        echo '::respwan:/bin/x' >>/etc/inittab
        initctl reload; echo \"reload $?\"
        initctl status web | grep -q running && echo kept
        printf 'match = \"x\"\\nmtu = 1400\\n' >/etc/network/x.toml; sed -i '/comand/d' /etc/services.d/web.toml
        sed -i '/respwan/d' /etc/inittab
        initctl reload; echo \"again $?\"
        initctl poweroff";
    let Some(mut system) = system("worse", &[WEB, net], script) else {
        return;
    };
    let seen = system.expect("reload 1");
    for fault in ["/etc/inittab, line 2: ", "/etc/network/x.toml, line 3: ", "/etc/services.d/web.toml, line 3: "] {
        assert!(seen.contains(fault), "'{fault}' is not in {seen}");
    }
    assert!(seen.contains("network: 0 new, 0 gone, 0 changed; services: 0 new, 0 gone, 0 changed"), "{seen}");
    system.expect("kept");
    let seen = system.expect("again 0");
    assert!(seen.contains("network: 0 new, 0 gone, 1 changed"), "{seen}");
    system.ends_by(POWERED_OFF);
}

#[test]
fn a_follower_sees_lines_as_they_come() {
    let ticker = (
        "etc/services.d/ticker.toml",
        "command = \"sh -c 'i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.1; done'\"\n",
    );
    let script = "
        initctl log -f -n 1 ticker | { read -r a; read -r b; read -r c; echo \"$c\"; }; echo followed
        initctl restart ticker; echo \"restart $?\"
        initctl poweroff";
    let Some(mut system) = system("follow", &[ticker], script) else {
        return;
    };
    let seen = system.expect("followed");
    assert!(seen.contains(" tick "), "{seen}");
    system.expect("restart 0");
    system.ends_by(POWERED_OFF);
}

#[test]
fn a_flood_takes_neither_memory_nor_turns() {
    let flood = ("etc/services.d/flood.toml", "command = \"sh -c 'exec yes a line of a flood'\"\n");
    let script = "
        sleep 3
        for i in 1 2 3 4 5 6 7 8 9 10; do initctl start web || echo BROKEN; done
        initctl log -n 400 flood | grep -c dropped
        grep VmHWM /proc/1/status
        du -k /run/log | tail -n 1
        echo measured
        initctl shutdown";
    let Some(mut system) = system("flood", &[WEB, flood], script) else {
        return;
    };
    let seen = system.expect("measured");
    assert!(!seen.contains("BROKEN"), "{seen}");
    let number = |of: &str| -> u64 {
        let line = seen.lines().find(|line| line.contains(of)).unwrap_or_else(|| panic!("no {of} in {seen}"));
        line.split_whitespace().find_map(|word| word.parse().ok()).unwrap()
    };
    assert!(number("VmHWM") < 16 << 10, "memory of PID 1 in KiB: {seen}");
    assert!(number("/run/log") < 1200, "files in KiB: {seen}");
    system.ends_by(POWERED_OFF);
}
