//! The phases of the boot, what goes wrong in them, and the program's replacement while the system runs, each in namespaces.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use common::{POWERED_OFF, Setup, System};

/// A table that runs a script, marks its end and powers off.
fn table(script: &str) -> String {
    format!("::once:/bin/sh -c '{script}; echo MA\"\"RK; kill -USR2 1'\n")
}

/// Runs a script under init and returns the console's output up to the script's end.
fn output(name: &str, setup: &Setup, script: &str) -> Option<String> {
    let table = table(script);
    let mut system = System::start_with(name, &Setup { table: &table, ..*setup })?;
    let seen = system.expect("MARK");
    system.ends_by(POWERED_OFF);
    Some(seen)
}

#[test]
fn settings_are_written_in_order() {
    let files = [
        ("sys/kernel/one", "old"),
        ("sys/kernel/two", "old"),
        ("sys/net/conf/a/rp", "old"),
        ("sys/net/conf/b/rp", "old"),
        (
            "etc/sysctl.d/10-first.conf",
            "kernel.one = 1\nkernel.two = 1\nnet.conf.*.rp = 1\nnet.conf.b.rp = 2\nbroken\n",
        ),
        ("etc/sysctl.d/20-then.conf", "kernel/two = 2 3\n-kernel.none = 1\nkernel.gone = 1\n"),
        ("etc/sysctl.d/readme", "kernel.one = 9\n"),
        ("etc/sysctl.conf", "kernel.one=4\n"),
    ];
    let setup = Setup { files: &files, ..Setup::default() };
    let show = "cd /proc/sys; for f in kernel/* net/conf/*/rp; do echo $f: $(cat $f); done";
    let Some(seen) = output("sysctl", &setup, show) else {
        return;
    };
    for line in ["kernel/one: 4", "kernel/two: 2 3", "net/conf/a/rp: 1", "net/conf/b/rp: 2"] {
        assert!(seen.contains(line), "{line} in {seen}");
    }
    assert!(seen.contains("/etc/sysctl.d/10-first.conf, line 5:"), "{seen}");
    assert!(seen.contains("cannot set /proc/sys/kernel/gone: this kernel has no such setting"), "{seen}");
    assert!(!seen.contains("kernel/none"), "{seen}");
}

#[test]
fn the_machines_name_resolves() {
    let name = ("sys/kernel/hostname", "iron.example.org\n");
    let hosts = "127.0.0.1\tlocalhost\n10.0.0.1 iron # this one's line has only the short name";
    let line = "127.0.1.1\tiron.example.org iron\n";
    let cases = [
        (vec![name, ("etc/hosts", hosts)], format!("{hosts}\n{line}")),
        (vec![name, ("etc/hosts", line)], line.into()),
        (vec![name], format!("127.0.0.1\tlocalhost\n::1\tlocalhost\n{line}")),
        (vec![("sys/kernel/hostname", "(none)\n"), ("etc/hosts", hosts)], hosts.to_owned()),
    ];
    for (files, expected) in cases {
        let setup = Setup { files: &files, ..Setup::default() };
        let Some(seen) = output("hosts", &setup, "echo BEG\"\"IN; cat /etc/hosts; echo; echo E\"\"ND") else {
            return;
        };
        let found = seen.split_once("BEGIN\n").and_then(|(_, rest)| rest.split_once("\nEND")).unwrap().0;
        // The first program runs when init says how long that took.
        let lines: Vec<_> = found.split('\n').filter(|line| !line.starts_with("init: ")).collect();
        assert_eq!(lines.join("\n"), expected, "{seen}");
    }
}

#[test]
fn the_table_of_file_systems_is_mounted() {
    let fstab = "tmpfs /dev/data tmpfs size=1m,noexec 0 0\n\
                 tmpfs /dev/shm tmpfs size=2m 0 0\n\
                 tmpfs /dev/later tmpfs noauto 0 0\n\
                 /etc/no-such-file /dev/bad ext4 nofail 0 0\n\
                 /etc/no-such-file /dev/worse ext4 defaults 0 0\nnonsense\n";
    let setup = Setup { files: &[("etc/fstab", fstab)], ..Setup::default() };
    let Some(seen) = output("fstab", &setup, "grep /dev/ /proc/mounts") else {
        return;
    };
    let mounts = |target: &str| seen.lines().filter(|line| line.split(' ').nth(1) == Some(target)).collect::<Vec<_>>();
    let data = mounts("/dev/data");
    assert!(data.len() == 1 && data[0].contains("noexec") && data[0].contains("size=1024k"), "{seen}");
    // The first ones are the host's, which the test's /dev hides.
    let shm = mounts("/dev/shm");
    let last = shm.last().copied().unwrap_or_default();
    assert!(last.contains("size=2048k") && last.contains("nosuid"), "{seen}");
    assert!(mounts("/dev/later").is_empty(), "{seen}");
    assert!(seen.contains("/etc/fstab, line 6:"), "{seen}");
    assert!(seen.contains("/dev/bad is not mounted"), "{seen}");
    assert!(seen.contains("cannot mount /dev/worse") && seen.contains("going on without it"), "{seen}");
}

#[test]
fn swapping_waits_for_a_disk_that_comes_late() {
    // The link comes, in a directory that was not there, after init has mounted the disk before it.
    let script = "PATH=/etc/bin:$PATH; chmod 755 etc/bin/swapon
        (until grep -q ' /dev/data ' /proc/mounts; do sleep 0.1; done
        mkdir -p /dev/disk/by-label; : >'/dev/disk/by-label/my\\x20disk') &";
    let files = [
        ("etc/fstab", "tmpfs /dev/data tmpfs\nLABEL=my\\040disk none swap\n"),
        ("etc/bin/swapon", "#!/bin/sh\nls /dev/disk/by-label; echo SWAPON\n"),
    ];
    let Some(seen) = output("late-disk", &Setup { files: &files, script, ..Setup::default() }, "true") else {
        return;
    };
    let before = seen.split("SWAPON").next().unwrap_or_default();
    assert!(before.contains("my\\x20disk"), "{seen}");
}

#[test]
fn a_mistake_in_fstab_opens_no_directory() {
    let fstab = "tmpfs /run tmpfs size=10x,mode=0755,noexec 0 0\ntmpfs /dev/shm tmpfs nonsense 0 0\n";
    // What is on /run already is of another kind, so that init mounts its own.
    let setup = Setup { files: &[("etc/fstab", fstab)], script: "mount -t proc proc /run", ..Setup::default() };
    let Some(seen) = output("fstab-mistake", &setup, "stat -c %n=%a /run /dev/shm; grep /run /proc/mounts") else {
        return;
    };
    assert!(seen.contains("/run=755") && seen.contains("/dev/shm=1777"), "{seen}");
    let run = seen.lines().rfind(|line| line.contains(" /run tmpfs ")).unwrap_or_default();
    assert!(run.contains("noexec") && run.contains("nosuid"), "{seen}");
    assert!(seen.contains("/etc/fstab: /run does not take 'size=10x,mode=0755': "), "{seen}");
    assert!(seen.contains("/etc/fstab: /dev/shm does not take 'nonsense': "), "{seen}");
}

#[test]
fn emergency_runs_nothing_but_a_shell() {
    let setup = Setup {
        table: "::sysinit:echo SYSINIT\n",
        command_line: "emergency init.nonsense init.skip=clock,flight",
        files: &[("sys/kernel/one", "old"), ("etc/sysctl.conf", "kernel.one=4\n")],
        ..Setup::default()
    };
    let Some(mut system) = System::start_with("emergency", &setup) else {
        return;
    };
    system.expect("'init.nonsense' on the kernel command line or in the boot configuration is not understood");
    system.expect("there is no phase 'flight'");
    let seen = system.expect("emergency: a shell and nothing else");
    assert_eq!(fs::read_to_string(system.dir.join("sys/kernel/one")).unwrap(), "old");
    system.signal(libc::SIGUSR2);
    let rest = system.expect("init: power off after");
    assert!(!seen.contains("SYSINIT") && !rest.contains("SYSINIT"), "{seen}{rest}");
    system.ends_by(POWERED_OFF);
}

#[test]
fn a_seed_is_never_used_twice() {
    let old = "0123456789abcdef0123456789abcdef";
    let table = "::once:/bin/sh -c 'while grep -q 0123 /var/lib/random-seed || ! [ -s /var/lib/random-seed ]; \
                 do sleep 0.1; done; echo MARK; sleep 4000'\n";
    let setup = Setup { table, files: &[("var/random-seed", old)], ..Setup::default() };
    let Some(mut system) = System::start_with("seed", &setup) else {
        return;
    };
    system.expect("MARK");
    let path = system.dir.join("var/random-seed");
    let booted = fs::read(&path).unwrap();
    assert_eq!((booted.len(), fs::metadata(&path).unwrap().permissions().mode() & 0o777), (32, 0o600));
    system.signal(libc::SIGUSR2);
    system.expect("init: power off after");
    let saved = fs::read(&path).unwrap();
    assert!(saved != booted && saved != old.as_bytes() && saved.len() == 32);
    system.ends_by(POWERED_OFF);
}

#[test]
fn a_wrong_time_of_the_last_shutdown_does_not_stay() {
    let table = "::once:/bin/sh -c 'echo MARK; sleep 4000'\n";
    let setup = Setup { table, script: "touch -d 2061-01-01 var/clock", ..Setup::default() };
    let Some(mut system) = System::start_with("clock", &setup) else {
        return;
    };
    system.expect("MARK");
    system.signal(libc::SIGUSR2);
    system.expect("init: power off after");
    let saved = fs::metadata(system.dir.join("var/clock")).unwrap().modified().unwrap();
    assert!(saved <= std::time::SystemTime::now(), "{saved:?}");
    system.ends_by(POWERED_OFF);
}

#[test]
fn a_table_that_makes_the_disks_read_only_costs_no_seed_and_no_clock() {
    let table = "::once:/bin/sh -c 'echo MARK; sleep 4000'\n::shutdown:mount -o remount,bind,ro /var/lib\n";
    let Some(mut system) = System::start("read-only", table, "") else {
        return;
    };
    system.expect("MARK");
    let (seed, clock) = (system.dir.join("var/random-seed"), system.dir.join("var/clock"));
    assert!(!seed.exists() && !clock.exists());
    system.signal(libc::SIGUSR2);
    system.expect("init: power off after");
    let saved = fs::metadata(&seed).unwrap();
    assert_eq!((saved.len(), saved.permissions().mode() & 0o777), (32, 0o600));
    assert!(clock.exists());
    system.ends_by(POWERED_OFF);
}

#[test]
fn a_shutdown_says_that_its_last_steps_were_ended_and_makes_the_root_safe() {
    // The kernel ends who writes to a file.
    let table = "::once:/bin/sh -c 'echo MARK; sleep 4000'\n";
    let setup = Setup { table, script: "ulimit -f 0", ..Setup::default() };
    let Some(mut system) = System::start_with("ended", &setup) else {
        return;
    };
    system.expect("MARK");
    system.signal(libc::SIGUSR2);
    system.expect("bringing the file systems to rest failed: signal 25");
    // A namespace may not.
    system.expect("the root cannot be made read-only: ");
    system.expect("init: power off after");
    system.ends_by(POWERED_OFF);
}

#[test]
fn programs_get_the_limits_that_init_was_given() {
    let shell = Command::new("sh").args(["-c", "ulimit -n; ulimit -Hn"]).output().unwrap();
    let given = String::from_utf8(shell.stdout).unwrap();
    let Some(seen) = output("limits", &Setup::default(), "ulimit -n; ulimit -Hn") else {
        return;
    };
    assert!(seen.contains(&given), "{given} in {seen}");
}

#[test]
fn no_console_a_full_disk_and_a_read_only_configuration_do_not_stop_it() {
    let script = "umount dev/console /dev/console; rm /dev/console; mount -t tmpfs -o size=4k full /var/lib
        dd if=/dev/urandom of=/var/lib/full bs=4k count=1 2>/dev/null
        mount -o remount,bind,ro /etc; exec </dev/null >/dev/null 2>&1";
    let table = table("true");
    let setup = Setup { table: &table, script, ..Setup::default() };
    if let Some(system) = System::start_with("bare", &setup) {
        system.ends_by(POWERED_OFF);
    }
}

#[test]
fn without_a_table_or_with_garbage_the_built_in_one_runs() {
    for (name, script) in [("no-table", "rm /etc/inittab"), ("garbage", "head -c 9000 /dev/urandom >/etc/inittab")] {
        let Some(mut system) = System::start_with(name, &Setup { script, ..Setup::default() }) else {
            return;
        };
        system.expect("using the built-in table");
        system.signal(libc::SIGUSR2);
        system.expect("init: power off after");
        system.ends_by(POWERED_OFF);
    }
}

/// Starts init from a file that it can find again, below /etc of the test.
const FROM_ETC: &str = "cp \"$2\" etc/init; exec /etc/init";
/// A service that says when it starts, and with which process.
const SERVICE: &str = "::respawn:/bin/sh -c 'echo STARTED $$.; exec sleep 4321'\n";

/// Reads which process the service has.
fn started(system: &mut System) -> String {
    system.expect("STARTED ");
    system.expect(".").trim_end_matches('.').to_owned()
}

#[test]
fn a_new_program_goes_on_with_the_children_of_the_old_one() {
    // The second entry ends the service whenever it is asked to, by a file in the test's /etc.
    let table = format!(
        "{SERVICE}::respawn:/bin/sh -c 'while ! [ -e /etc/kill ]; do sleep 0.1; done; kill $(cat /etc/kill); rm /etc/kill'\n"
    );
    let setup = Setup { table: &table, script: FROM_ETC, ..Setup::default() };
    let Some(mut system) = System::start_with("reexec", &setup) else {
        return;
    };
    let first = started(&mut system);
    for _ in 0..3 {
        // An upgrade puts another file in the place of the running one.
        fs::copy(system.dir.join("etc/init"), system.dir.join("etc/init.new")).unwrap();
        fs::rename(system.dir.join("etc/init.new"), system.dir.join("etc/init")).unwrap();
        system.signal(libc::SIGURG);
        let seen = system.expect("init took over; 2 of 2 entries run");
        assert!(!seen.contains("STARTED"), "{seen}");
    }
    // The new program takes the end of a child that the first one started, and starts the service again.
    fs::write(system.dir.join("etc/kill.new"), &first).unwrap();
    fs::rename(system.dir.join("etc/kill.new"), system.dir.join("etc/kill")).unwrap();
    assert_ne!(started(&mut system), first);
    system.signal(libc::SIGUSR2);
    system.expect("init: power off after");
    system.ends_by(POWERED_OFF);
}

#[test]
fn services_and_their_output_outlive_a_program() {
    // A line takes its time, so that a program goes in the middle of it.
    let script = "i=0; while :; do printf 'tick '; sleep 0.02; echo $i; i=$((i+1)); done";
    let service = format!("command = ['/bin/sh', '-c', \"{script}\"]\n");
    let table = "::once:/bin/sh -c 'while ! [ -e /etc/show ]; do sleep 0.1; done; cat /run/log/tick.log; echo FI\"\"LE; \
                 /etc/initctl log -n 10000 tick; echo SHOWN'\n";
    let script = "ln -s init etc/initctl; cp \"$2\" etc/init; exec /etc/init";
    let setup = Setup { table, files: &[("etc/services.d/tick.toml", &service)], script, ..Setup::default() };
    let Some(mut system) = System::start_with("reexec-service", &setup) else {
        return;
    };
    // A signal before init listens is lost.
    system.expect("ms to first process");
    for _ in 0..5 {
        std::thread::sleep(std::time::Duration::from_millis(300));
        system.signal(libc::SIGURG);
        system.expect("init took over");
    }
    // Logs are written a little later.
    std::thread::sleep(std::time::Duration::from_secs(2));
    fs::write(system.dir.join("etc/show"), "").unwrap();
    let file = system.expect("FILE");
    let memory = system.expect("SHOWN");
    for seen in [file, memory] {
        let ticks: Vec<u32> =
            seen.lines().filter_map(|line| line.rsplit_once("tick ")?.1.trim().parse().ok()).collect();
        // A busy host runs the loop more slowly than its sleeps say.
        assert!(ticks.len() > 15, "{seen}");
        // One that starts again counts from 0 again; one whose output is lost leaves a gap.
        assert!(ticks.iter().enumerate().all(|(index, &tick)| tick == index as u32), "{seen}");
    }
    system.signal(libc::SIGUSR2);
    system.expect("init: power off after");
    system.ends_by(POWERED_OFF);
}

#[test]
fn a_program_that_cannot_take_over_changes_nothing() {
    let setup = Setup { table: SERVICE, script: FROM_ETC, ..Setup::default() };
    let Some(mut system) = System::start_with("reexec-broken", &setup) else {
        return;
    };
    started(&mut system);
    for content in ["#!/bin/sh\nexit 0\n", "\u{7f}ELF is not enough", ""] {
        let path = system.dir.join("etc/init.new");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&path, system.dir.join("etc/init")).unwrap();
        system.signal(libc::SIGURG);
        let seen = system.expect("going on as before");
        assert!(seen.contains("/etc/init is not an init that can take over"), "{seen}");
    }
    system.signal(libc::SIGUSR2);
    let seen = system.expect("init: power off after");
    assert!(!seen.contains("STARTED"), "{seen}");
    system.ends_by(POWERED_OFF);
}

#[test]
fn without_a_readable_state_no_program_is_started_twice() {
    let script = "sleep 4322 & echo garbage >state; exec 3<state; cp \"$2\" etc/init; exec /etc/init --state=3";
    let setup = Setup {
        table: "::respawn:sleep 4322\n::respawn:/bin/sh -c 'echo OTHER; exec sleep 4000'\n",
        script,
        ..Setup::default()
    };
    let Some(mut system) = System::start_with("reexec-lost", &setup) else {
        return;
    };
    system.expect("nothing is known from the init before this one: it is not a state of init");
    system.expect("OTHER");
    let count = Command::new("sh").arg("-c").arg("pgrep -c -x -f 'sleep 4322' || true").output().unwrap();
    system.signal(libc::SIGUSR2);
    system.expect("init: power off after");
    system.ends_by(POWERED_OFF);
    assert_eq!(String::from_utf8(count.stdout).unwrap().trim(), "1");
}

#[test]
fn a_fault_of_init_starts_it_again() {
    // The namespace's root writes zeros over init's stack, so that it returns to address 0.
    let wreck = "until [ -e /etc/go ]; do sleep 0.1; done; range=$(grep \"\\[stack\\]\" /proc/1/maps | cut -d\" \" -f1); \
                 from=$((0x$(echo $range | cut -d- -f1) / 4096)); to=$((0x$(echo $range | cut -d- -f2) / 4096)); echo WRE\"\"CK; \
                 truncate -s 1M /etc/zero; dd if=/etc/zero of=/proc/1/mem bs=4096 seek=$from count=$((to - from)) conv=notrunc 2>/dev/null; \
                 kill -CONT 1; kill -SEGV 1; sleep 4000";
    let table = format!("{SERVICE}::once:/bin/sh -c '{wreck}'\n");
    let setup = Setup { table: &table, script: FROM_ETC, ..Setup::default() };
    let Some(mut system) = System::start_with("fault", &setup) else {
        return;
    };
    let pid = started(&mut system);
    fs::write(system.dir.join("etc/go"), "").unwrap();
    system.expect("WRECK");
    system.expect("a fault in init; it starts again");
    system.expect("the init before this one had a fault");
    system.signal(libc::SIGUSR2);
    let seen = system.expect("init: power off after");
    assert!(!seen.contains("STARTED"), "{pid} was not found: {seen}");
    system.ends_by(POWERED_OFF);
}

#[test]
fn fault_signals_that_a_process_sends_do_nothing() {
    // The time is for what must not happen: a fault that is said.
    let kills = "for signal in SEGV BUS ILL FPE TRAP ABRT SYS KILL STOP; do kill -$signal 1; done; sleep 0.3";
    let Some(seen) = output("fault-signals", &Setup::default(), kills) else {
        return;
    };
    assert!(!seen.contains("fault"), "{seen}");
}
