//! What is left of one PID 1 when its program starts again: children that wait, programs, descriptors and limits, in namespaces.

mod common;

use common::{POWERED_OFF, Setup, System, Terminal};

/// An entry that waits for a person.
const ASKER: &str = "ttyT::askfirst:/bin/sh -c 'echo ASKED; exec sleep 1000'\n";

#[test]
fn who_waits_for_enter_holds_nothing_of_init() {
    let mut terminal = Terminal::new();
    // All that run init's program, but init itself.
    let show = "until [ -e /etc/show ]; do sleep 0.05; done\n\
                for p in /proc/[0-9]*; do\n\
                [ $p != /proc/1 ] && [ $p/exe -ef /proc/1/exe ] && echo CHILD $(ls $p/fd).\n\
                done; echo SHOWN\n";
    let table = format!("{ASKER}::once:/bin/sh /etc/show.sh\n");
    let files = [("etc/show.sh", show)];
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
/// Writes zeros over init's stack when it is told to, so that init returns to address 0; then shows the processes.
const WRECK: &str = "until [ -e /etc/wreck ]; do sleep 0.05; done\n\
    range=$(grep '\\[stack\\]' /proc/1/maps | cut -d' ' -f1)\n\
    from=$((0x$(echo $range | cut -d- -f1) / 4096)); to=$((0x$(echo $range | cut -d- -f2) / 4096))\n\
    truncate -s 1M /etc/zero\n\
    dd if=/etc/zero of=/proc/1/mem bs=4096 seek=$from count=$((to - from)) conv=notrunc 2>/dev/null\n\
    kill -CONT 1; kill -SEGV 1\n\
    until [ -e /etc/show ]; do sleep 0.05; done\n\
    for p in /proc/[0-9]*; do\n\
    [ $p != /proc/1 ] && [ $p/exe -ef /proc/1/exe ] && echo HELPER $p\n\
    grep -q -a -e '^sleep.4323' $p/cmdline && echo DAEMON $p\n\
    done; echo SHOWN\n";

#[test]
fn a_fault_leaves_one_of_each_child_and_the_limits() {
    let mut terminal = Terminal::new();
    // Each start says its limit, which init raises for itself; there are no control groups in the namespace.
    let limits = "command = ['/bin/sh', '/etc/limits.sh']\noutput = 'console'\n";
    let script = "echo LIMIT $(ulimit -n).; while :; do sleep 1; done\n";
    let table = format!("{ASKER}::once:/bin/sh /etc/wreck.sh\n");
    let daemon = "command = 'sleep 4323'\n";
    let files = [
        ("etc/wreck.sh", WRECK),
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
