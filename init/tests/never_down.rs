//! What takes other programs down: a root that nobody can write to, a disk that is full of logs, no memory, limits of the kernel.
//! The faults of single system calls are in `faults`, missing devices and tables in `boot_phases`.

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::{POWERED_OFF, Setup, System};

/// The program, with its names, below the test's /etc; init itself is started from there.
const NAMES: &str = "mkdir etc/bin; cp \"$2\" etc/bin/init; ln etc/bin/init etc/bin/initctl; chmod 755 etc/bin/*; \
                     set -- \"$1\" /etc/bin/init\n";

/// A service that writes a line now and then.
const TICKER: &str = "command = ['/bin/sh', '-c', 'i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.05; done']\n[log]\nfile = '/var/lib/ticker.log'\n";
/// Waits for the third line in what init knows, and says it.
const LOGGED: &str = "::once:/bin/sh -c 'until /etc/bin/initctl log ticker | grep \"tick 3$\"; do sleep 0.1; done; \
                      /etc/bin/initctl list; kill -USR2 1'\n";

#[test]
fn a_read_only_root_is_said_and_the_system_runs() {
    let script =
        format!("{NAMES}mount -o remount,bind,ro /var/lib; mount -o remount,bind,ro /etc; mount -o remount,bind,ro /");
    let files = [("etc/services.d/ticker.toml", TICKER), ("etc/hostname", "iron\n")];
    let setup = Setup { table: LOGGED, files: &files, script: &script, ..Setup::default() };
    let Some(mut system) = System::start_with("read-only", &setup) else {
        return;
    };
    let seen = system.expect("init: power off after");
    assert!(seen.contains(" tick 3\n"), "{seen}");
    assert!(seen.lines().any(|line| line.starts_with("ticker ") && line.contains("running")), "{seen}");
    assert_eq!(seen.matches("cannot write /var/lib/ticker.log: ").count(), 1, "said once: {seen}");
    system.ends_by(POWERED_OFF);
}

#[test]
fn a_full_disk_takes_no_line_from_memory() {
    let script = format!(
        "{NAMES}mount -t tmpfs -o size=8k full /var/lib; dd if=/dev/urandom of=/var/lib/full bs=4k count=2 2>/dev/null"
    );
    let files = [("etc/services.d/ticker.toml", TICKER)];
    let setup = Setup { table: LOGGED, files: &files, script: &script, ..Setup::default() };
    let Some(mut system) = System::start_with("full-disk", &setup) else {
        return;
    };
    let seen = system.expect("init: power off after");
    assert!(seen.contains(" tick 3\n"), "{seen}");
    assert_eq!(seen.matches("cannot write /var/lib/ticker.log: No space left").count(), 1, "said once: {seen}");
    system.ends_by(POWERED_OFF);
}

/// Sets how much memory init may map.
fn limit_memory(pid: i32, bytes: libc::rlim_t) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the call reads one limit.
    let done = unsafe { libc::prlimit(pid, libc::RLIMIT_AS, &limit, std::ptr::null_mut()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn without_memory_it_stays_and_with_memory_it_answers_again() {
    // Everything that takes memory: output, requests, reloads, a new program.
    let work = "::once:/bin/sh -c 'while :; do /etc/bin/initctl -t 1 list; /etc/bin/initctl -t 1 log ticker; kill -HUP 1; kill -URG 1; \
                sleep 0.1; done >/dev/null 2>&1'\n";
    let flood = "command = ['/bin/sh', '-c', 'while :; do echo a line that init has to keep in its memory; done']\n";
    let files = [("etc/services.d/ticker.toml", TICKER), ("etc/services.d/flood.toml", flood)];
    let setup = Setup { table: work, files: &files, script: NAMES, ..Setup::default() };
    let Some(mut system) = System::start_with("no-memory", &setup) else {
        return;
    };
    system.expect("init took over");
    let pid = system.init();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let size =
        status.lines().find_map(|line| line.strip_prefix("VmSize:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    limit_memory(pid, size.unwrap() << 10);
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(system.init(), pid);
    limit_memory(pid, libc::RLIM_INFINITY);
    let began = Instant::now();
    system.signal(libc::SIGUSR2);
    // A program that ends by a fault takes the signals that it has read along, so it is asked again.
    while system.child.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < Duration::from_secs(60), "init does not go down");
        std::thread::sleep(Duration::from_secs(1));
        // SAFETY: kill(2) takes no pointers. PID 1 may have gone meanwhile.
        unsafe { libc::kill(pid, libc::SIGUSR2) };
    }
    let said = system.rest();
    eprintln!("without memory: {} faults, {} messages", said.matches("a fault in init").count(), said.lines().count());
    system.ends_by(POWERED_OFF);
}
