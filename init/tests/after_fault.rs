//! What is left of one PID 1 when its program starts again: children that wait, programs, descriptors and limits, in namespaces.

mod common;

use common::{POWERED_OFF, Setup, System, Terminal, has_cables};

/// A shell's function that lists the children that run init's program; waits until those that come and go are gone.
const HELPERS: &str = "helpers() { for p in /proc/[0-9]*; do\n\
    [ $p != /proc/1 ] && [ $p/exe -ef /proc/1/exe ] && echo $p; done; }\n\
    for i in $(seq 100); do [ $(helpers | wc -l) -gt 1 ] || break; sleep 0.05; done\n";
/// An entry that waits for a person.
const ASKER: &str = "ttyT::askfirst:/bin/sh -c 'echo ASKED; exec sleep 1000'\n";

#[test]
fn who_waits_for_enter_holds_nothing_of_init() {
    let mut terminal = Terminal::new();
    let show = format!(
        "until [ -e /etc/show ]; do sleep 0.05; done\n{HELPERS}\
         for p in $(helpers); do echo CHILD $(ls $p/fd).; done; echo SHOWN\n"
    );
    let table = format!("{ASKER}::once:/bin/sh /etc/show.sh\n");
    let files = [("etc/show.sh", show.as_str())];
    let setup = Setup { table: &table, files: &files, terminal: &terminal.device, ..Setup::default() };
    let Some(mut system) = System::start_with("askfirst-open", &setup) else {
        return;
    };
    terminal.expect("Please press Enter");
    std::fs::write(system.dir.join("etc/show"), "").unwrap();
    let seen = system.expect("SHOWN");
    let children: Vec<&str> = seen.lines().filter(|line| line.starts_with("CHILD")).collect();
    assert_eq!(children, ["CHILD 0 1 2."], "{seen}");
    terminal.type_text("\n");
    terminal.expect("ASKED");
    system.signal(libc::SIGUSR2);
    system.ends_by(POWERED_OFF);
}

/// Starts init from a file that it can find again, below /etc of the test, with a limit on open descriptors.
const FROM_ETC: &str = "cp \"$2\" etc/init; ulimit -S -n 256; exec /etc/init";
/// Writes zeros over the end of init's stack (proc(5): the last but one word of /proc/PID/syscall), so that init returns to
/// address 0, and wakes it.
const WRECK: &str = "until set -- $(cat /proc/1/syscall) && [ $# -gt 2 ]; do sleep 0.01; done\n\
    while [ $# -gt 2 ]; do shift; done\n\
    truncate -s 4k /etc/zero; dd if=/etc/zero of=/proc/1/mem bs=1024 count=1 oflag=seek_bytes seek=$(($1)) conv=notrunc 2>/dev/null\n\
    kill -CONT 1; kill -SEGV 1\n";
#[test]
fn a_fault_leaves_one_of_each_child_and_the_limits() {
    let mut terminal = Terminal::new();
    // Each start says its limit, which init raises for itself; there are no control groups in the namespace.
    let limits = "command = ['/bin/sh', '/etc/limits.sh']\noutput = 'console'\n";
    let script = "echo LIMIT $(ulimit -n).; while :; do sleep 1; done\n";
    let show = format!(
        "until [ -e /etc/wreck ]; do sleep 0.05; done\n. /etc/wreck.sh\n\
         until [ -e /etc/show ]; do sleep 0.05; done\n{HELPERS}\
         for p in $(helpers); do echo HELPER $p; done\n\
         for p in /proc/[0-9]*; do grep -q -a '^sleep.4323' $p/cmdline && echo DAEMON $p; done; echo SHOWN\n"
    );
    let table = format!("{ASKER}::once:/bin/sh /etc/show.sh\n");
    let daemon = "command = 'sleep 4323'\n";
    let files = [
        ("etc/wreck.sh", WRECK),
        ("etc/show.sh", &show),
        ("etc/limits.sh", script),
        ("etc/services.d/a.toml", daemon),
        ("etc/services.d/b.toml", limits),
    ];
    let setup =
        Setup { table: &table, files: &files, script: FROM_ETC, terminal: &terminal.device, ..Setup::default() };
    let Some(mut system) = System::start_with("after-fault", &setup) else {
        return;
    };
    terminal.expect("Please press Enter");
    system.expect("LIMIT 256.");
    std::fs::write(system.dir.join("etc/wreck"), "").unwrap();
    system.expect("a fault in init; it starts again");
    terminal.expect("Please press Enter");
    system.expect("LIMIT 256.");
    std::fs::write(system.dir.join("etc/show"), "").unwrap();
    let seen = system.expect("SHOWN");
    assert_eq!(seen.matches("HELPER").count(), 1, "{seen}");
    assert_eq!(seen.matches("DAEMON").count(), 1, "{seen}");
    system.signal(libc::SIGUSR2);
    system.ends_by(POWERED_OFF);
}

#[test]
fn equal_programs_are_told_apart_by_their_terminals() {
    let terminal = Terminal::new();
    // The one on the terminal becomes the younger of the two, so that their order tells nothing.
    let show = "on() { for p in /proc/[0-9]*; do\n\
        grep -q -a '^sleep.4328' $p/cmdline && [ \"$(readlink $p/fd/0)\" = $1 ] && echo ${p#/proc/}\n\
        done; }\n\
        renew() { old=$(on /dev/ttyT); kill $old; until now=$(on /dev/ttyT); [ \"$now\" ] && [ \"$now\" != \"$old\" ]; do\n\
        [ \"$(on /dev/console | wc -l)\" -gt 1 ] && break; sleep 0.05; done; }\n\
        until [ \"$(on /dev/ttyT)\" ] && [ \"$(on /dev/console)\" ]; do sleep 0.05; done\n\
        renew; . /etc/wreck.sh; until [ -e /etc/on ]; do sleep 0.05; done\n\
        renew; echo LEFT $(on /dev/ttyT | wc -l) $(on /dev/console | wc -l). SHOWN\n";
    let table = "ttyT::respawn:sleep 4328\nconsole::respawn:sleep 4328\n::once:/bin/sh /etc/show.sh\n";
    let files = [("etc/wreck.sh", WRECK), ("etc/show.sh", show)];
    let setup = Setup { table, files: &files, script: FROM_ETC, terminal: &terminal.device, ..Setup::default() };
    let Some(mut system) = System::start_with("fault-terminals", &setup) else {
        return;
    };
    system.expect("the init before this one had a fault");
    std::fs::write(system.dir.join("etc/on"), "").unwrap();
    let seen = system.expect("SHOWN");
    assert!(seen.contains("LEFT 1 1."), "{seen}");
    system.signal(libc::SIGUSR2);
    system.ends_by(POWERED_OFF);
}

/// How often each of the words was written.
fn counts<const N: usize>(text: &str, words: [&str; N]) -> [usize; N] {
    words.map(|word| text.matches(word).count())
}

#[test]
fn a_boot_goes_on_after_a_fault() {
    // The fault comes while the boot waits for the second entry.
    let table = "::sysinit:echo FIRST\n::wait:echo THIRD\n::sysinit:/bin/sh /etc/second.sh\n::once:echo FOURTH\n\
                 ::respawn:sleep 4324\n";
    let second = ". /etc/wreck.sh\nuntil [ -e /etc/on ]; do sleep 0.05; done; echo SECOND\n";
    let daemon = "command = ['/bin/sh', '-c', 'echo SERVICE; exec sleep 4323']\noutput = 'console'\n";
    let files = [("etc/wreck.sh", WRECK), ("etc/second.sh", second), ("etc/services.d/a.toml", daemon)];
    let setup = Setup { table, files: &files, script: FROM_ETC, ..Setup::default() };
    let Some(mut system) = System::start_with("fault-in-boot", &setup) else {
        return;
    };
    let mut seen = system.expect("the init before this one had a fault");
    std::fs::write(system.dir.join("etc/on"), "").unwrap();
    seen += &system.expect("FOURTH");
    // Services start at the same time.
    if !seen.contains("SERVICE") {
        seen += &system.expect("SERVICE");
    }
    system.signal(libc::SIGUSR2);
    seen += &system.expect("power off after");
    assert_eq!(counts(&seen, ["FIRST", "SECOND", "THIRD", "FOURTH", "SERVICE"]), [1; 5], "{seen}");
    let order = ["FIRST", "SECOND", "THIRD", "FOURTH"].map(|word| seen.find(word));
    assert!(order.is_sorted(), "{seen}");
    system.ends_by(POWERED_OFF);
}

/// Boots with a `swapon` that has a fault come to init so many times, and returns what the console shows.
fn faults_while_swapping(name: &str, times: usize) -> Option<String> {
    let swapon = format!(
        "#!/bin/sh\necho SWAPON\necho >>/etc/times; [ $(wc -l </etc/times) -gt {times} ] && exit\n. /etc/wreck.sh\n\
         sleep 4325\n"
    );
    let fstab = "tmpfs /dev/data tmpfs\n/etc/none none swap nofail\n";
    let files = [("etc/fstab", fstab), ("etc/wreck.sh", WRECK), ("etc/bin/swapon", &swapon)];
    let script = format!("PATH=/etc/bin:$PATH; chmod 755 etc/bin/swapon; : >etc/none; {FROM_ETC}");
    let table = "::sysinit:echo ENTRY $(grep -c ' /dev/data ' /proc/mounts).\n::once:kill -USR2 1\n";
    let setup = Setup { table, files: &files, script: &script, ..Setup::default() };
    let mut system = System::start_with(name, &setup)?;
    let seen = system.expect("power off after");
    system.ends_by(POWERED_OFF);
    Some(seen)
}

#[test]
fn a_phase_that_a_fault_cut_off_is_done_again() {
    let Some(seen) = faults_while_swapping("fault-in-phase", 1) else {
        return;
    };
    assert_eq!(counts(&seen, ["SWAPON", "starts again", "ENTRY 1.", "boot goes on without"]), [2, 1, 1, 0], "{seen}");
}

#[test]
fn a_phase_with_two_faults_is_left_out() {
    let Some(seen) = faults_while_swapping("two-faults-in-phase", 2) else {
        return;
    };
    assert_eq!(counts(&seen, ["SWAPON", "starts again", "ENTRY 1."]), [2, 2, 1], "{seen}");
    assert!(seen.contains("the boot goes on without 'disks', which had two faults"), "{seen}");
}

#[test]
fn a_shutdown_goes_on_after_a_fault() {
    let table = "::respawn:/bin/sh -c 'echo RUNS; exec sleep 4326'\n::shutdown:/bin/sh /etc/down.sh\n";
    let down = "[ -e /etc/once ] && exit; : >/etc/once; echo DOWN; . /etc/wreck.sh; sleep 4327\n";
    let files = [("etc/wreck.sh", WRECK), ("etc/down.sh", down)];
    let setup = Setup { table, files: &files, script: FROM_ETC, ..Setup::default() };
    let Some(mut system) = System::start_with("fault-going-down", &setup) else {
        return;
    };
    system.expect("RUNS");
    system.signal(libc::SIGUSR2);
    let mut seen = system.expect("the init before this one had a fault");
    seen += &system.expect("power off after");
    assert_eq!(counts(&seen, ["DOWN", "RUNS"]), [1, 0], "{seen}");
    system.ends_by(POWERED_OFF);
}

#[test]
fn a_fault_leaves_one_client_of_a_card() {
    if !has_cables() {
        return;
    }
    let client = "#!/bin/sh\necho CLIENT >/dev/console\nexec sleep 4329\n";
    let show = "until [ -e /etc/on ]; do sleep 0.05; done\n. /etc/wreck.sh\nuntil [ -e /etc/show ]; do sleep 0.05; done\n\
                echo CLIENTS $(grep -l -a '^sleep.4329' /proc/[0-9]*/cmdline | wc -l). SHOWN\n";
    let files = [
        ("etc/bin/udhcpc", client),
        ("etc/network/w.toml", "match = 'w0'\n"),
        ("etc/wreck.sh", WRECK),
        ("etc/show.sh", show),
    ];
    let script = format!(
        "chmod +x etc/bin/udhcpc; export PATH=/etc/bin:$PATH\n\
         ip link add w0 type veth peer name p1; ip link set p1 up; {FROM_ETC}"
    );
    let table = "::once:/bin/sh /etc/show.sh\n";
    let setup = Setup { table, files: &files, script: &script, cgroups: true, ..Setup::default() };
    let Some(mut system) = System::start_with("fault-client", &setup) else {
        return;
    };
    system.expect("CLIENT");
    std::fs::write(system.dir.join("etc/on"), "").unwrap();
    system.expect("the init before this one had a fault");
    system.expect("CLIENT");
    std::fs::write(system.dir.join("etc/show"), "").unwrap();
    let seen = system.expect("SHOWN");
    assert!(seen.contains("CLIENTS 1."), "{seen}");
    system.signal(libc::SIGUSR2);
    system.ends_by(POWERED_OFF);
}
