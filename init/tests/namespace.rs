//! The whole program as PID 1 of namespaces of its own: boots, reloads, reaps and goes down, without a virtual machine.
//!
//! The console is a FIFO that the test reads; /etc/inittab and the kernel command line are the test's. Where the host does
//! not allow unprivileged user namespaces the tests say so and are skipped.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// No output for this long is a failure; generous, because build hosts are busy.
const QUIET: Duration = Duration::from_secs(60);

struct System {
    child: Child,
    console: File,
    seen: String,
    dir: PathBuf,
}

impl System {
    /// Starts init with a table and a kernel command line; nothing where namespaces are not allowed.
    fn start(name: &str, table: &str, command_line: &str) -> Option<System> {
        let namespaces = ["-U", "-r", "-p", "-f", "-m"];
        let allowed = Command::new("unshare").args(namespaces).arg("true").stderr(Stdio::null()).status();
        if !allowed.is_ok_and(|status| status.success()) {
            eprintln!("skipped: this host does not allow unprivileged namespaces");
            return None;
        }
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("init-{name}-{}", std::process::id()));
        fs::create_dir_all(dir.join("dev")).unwrap();
        fs::write(dir.join("inittab"), table).unwrap();
        fs::write(dir.join("cmdline"), command_line).unwrap();
        let fifo = dir.join("console");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let console = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&fifo).unwrap();
        // /dev and /etc are replaced, so that nothing of the host's is read or written.
        let script = "set -e; cd \"$1\"
            mount -t tmpfs dev dev; touch dev/null dev/console
            mount --bind /dev/null dev/null; mount --bind console dev/console; mount --rbind dev /dev
            mount --bind cmdline /proc/cmdline
            mount -t tmpfs etc /etc; cp inittab /etc/inittab
            exec \"$2\"";
        let child = Command::new("unshare")
            .args(namespaces)
            .args(["--kill-child", "--mount-proc", "/bin/sh", "-c", script, "sh"])
            .args([dir.as_path(), env!("CARGO_BIN_EXE_init").as_ref()])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Some(System { child, console, seen: String::new(), dir })
    }

    /// Reads the console until `text` appears, and returns all output up to and with it.
    fn expect(&mut self, text: &str) -> String {
        let mut last = Instant::now();
        loop {
            if let Some(found) = self.seen.find(text) {
                let rest = self.seen.split_off(found + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            let mut block = [0; 4096];
            match self.console.read(&mut block) {
                Ok(count) => {
                    self.seen += &String::from_utf8_lossy(&block[..count]);
                    last = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    assert!(last.elapsed() < QUIET, "no '{text}' in: {}", self.seen);
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => panic!("the console: {error}"),
            }
        }
    }

    /// Waits for the end; the kernel ends the PID 1 of a namespace by this signal when it asks to reboot or power off
    /// (reboot(2)).
    fn ends_by(mut self, signal: i32) {
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal().or(status.code().map(|code| code - 128)), Some(signal), "{status}");
        fs::remove_dir_all(&self.dir).unwrap();
    }
}

impl Drop for System {
    fn drop(&mut self) {
        // Ended already when the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const POWERED_OFF: i32 = libc::SIGINT;
const REBOOTED: i32 = libc::SIGHUP;

fn boots_in_order_and_powers_off(name: &str, command_line: &str, said: Option<&str>) {
    let table = "::once:/bin/sh -c 'echo ONCE; sleep 0.3; kill -USR2 1; sleep 1000'\n\
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
    for mark in ["SYSINIT", "WAIT", "ONCE", "going down: power off", "SHUTDOWN", "init: power off after"] {
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
    let orphans = "i=0; while [ $i -lt 300 ]; do (sh -c \"sleep 0.01 & sleep 0.02 &\" &); i=$((i+1)); done; sleep 2; \
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
    let list = "grep -a sleep /proc/[0-9]*/cmdline | tr \"\\0\" \" \"";
    // The marks are quoted in their middle, because the list shows the command that prints them.
    let table = format!(
        "::once:/bin/sh -c 'sleep 0.5; {list}; echo BE\"\"FORE; {change}; sleep 1; {list}; echo AF\"\"TER; kill -USR1 1'\n\
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

#[test]
fn a_program_that_fails_at_once_is_held_back() {
    let Some(mut system) = System::start("backoff", "::respawn:sh -c 'echo TRY; false'\n", "quiet") else {
        return;
    };
    system.expect("TRY");
    let first = Instant::now();
    system.expect("TRY");
    assert!(first.elapsed() >= Duration::from_millis(900));
    system.expect("2 times in a row; one start in 2 s");
    system.expect("TRY");
    assert!(first.elapsed() >= Duration::from_millis(2900));
}

#[test]
fn what_ignores_the_request_to_end_is_killed_after_the_grace() {
    let table = "::once:/bin/sh -c 'trap \"\" TERM; echo READY; kill -USR2 1; while :; do sleep 1; done'\n";
    let Some(mut system) = System::start("grace", table, "init.grace=1") else {
        return;
    };
    system.expect("READY");
    let asked = Instant::now();
    system.expect("killing the rest");
    assert!(asked.elapsed() >= Duration::from_millis(900));
    system.expect("init: power off after");
    system.ends_by(POWERED_OFF);
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
    let output = Command::new(env!("CARGO_BIN_EXE_init")).arg("6").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("usage: init -q"));
}
