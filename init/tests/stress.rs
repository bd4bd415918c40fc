//! More processes than anyone means to start: ten thousand orphans, and a fork bomb.
//!
//! Both are bounded whatever PID 1 does, because the build host has other work: there are at most [`ALIVE`] orphans at a time,
//! and the bomb needs a control group whose limit was seen to hold, makes [`FORKS`] processes at most and ends by the clock.

mod common;

use std::fs;
use std::io::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{POWERED_OFF, Setup, System};

/// Processes whose parent ends before them, in all.
const ORPHANS: u32 = 10_000;
/// Orphans at a time.
const ALIVE: u32 = 100;
/// Processes that a bomb can have at a time.
const PIDS: u64 = 64;
/// Processes that a bomb makes in all.
const FORKS: u32 = 5_000;
/// When a bomb ends by itself.
const BURNS: Duration = Duration::from_secs(60);
/// How long PID 1 may take for what it does at once: build hosts are busy.
const SOON: Duration = Duration::from_secs(60);

/// Starts a system whose first program is the test `work` of this file.
fn system(name: &str, work: &str, options: &str, before: &str) -> Option<System> {
    let own = std::env::current_exe().unwrap();
    // A copy: init mounts its own /tmp, where the program may be.
    let script =
        format!("cp '{}' etc/tests; cp \"$2\" etc/initctl; chmod 755 etc/tests etc/initctl\n{before}", own.display());
    let table = format!("::once:/usr/bin/env STRESS=1 /etc/tests --exact {work} --nocapture\n::respawn:sleep 1000\n");
    System::start_with(name, &Setup { table: &table, command_line: options, script: &script, ..Setup::default() })
}

/// Whether this program is the one inside.
fn is_inside() -> bool {
    std::env::var("STRESS").is_ok() && std::process::id() != 1
}

/// A child that runs `work`, which makes system calls only.
fn fork(work: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the child makes system calls only and leaves by _exit, because other threads may hold locks.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            work();
            libc::_exit(0);
        }
        pid
    }
}

/// A number that this process and those that it makes share.
fn shared() -> &'static AtomicU32 {
    // SAFETY: a new mapping, at least as large as the number, aligned to pages, all zero and never unmapped.
    unsafe {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let place = libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        assert_ne!(place, libc::MAP_FAILED, "{}", Error::last_os_error());
        AtomicU32::from_ptr(place.cast())
    }
}

/// The processes that have ended and were not waited for.
fn zombies() -> usize {
    let stats =
        fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("stat")).ok());
    stats.filter(|stat| stat.rsplit_once(')').is_some_and(|(_, fields)| fields.trim_start().starts_with('Z'))).count()
}

/// Not a test: the program inside.
#[test]
fn leave_orphans() {
    if !is_inside() {
        return;
    }
    let ended = shared();
    let started = Instant::now();
    let mut slowest = Duration::ZERO;
    for made in (0..ORPHANS).step_by(ALIVE as usize) {
        for _ in 0..ALIVE {
            let child = fork(|| {
                // Before the parent can end the orphan is one already, more often than not.
                let _ = fork(|| {
                    ended.fetch_add(1, Ordering::Relaxed);
                });
            });
            assert!(child > 0, "{}", Error::last_os_error());
            // SAFETY: the call may be given no place for the status.
            assert_eq!(unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) }, child);
        }
        let batch = Instant::now();
        while ended.load(Ordering::Relaxed) < made + ALIVE || zombies() > 0 {
            let seen = ended.load(Ordering::Relaxed);
            assert!(batch.elapsed() < SOON, "{seen} of {} ended, {} zombies", made + ALIVE, zombies());
            std::thread::sleep(Duration::from_millis(1));
        }
        slowest = slowest.max(batch.elapsed());
    }
    let list = Command::new("/etc/initctl").arg("list").status().unwrap();
    let (ended, zombies) = (ended.load(Ordering::Relaxed), zombies());
    println!(
        "orphans: {ended}, zombies: {zombies}, in {:?}, the longest wait for PID 1 {slowest:?}",
        started.elapsed()
    );
    println!("initctl: {list}");
}

#[test]
fn ten_thousand_orphans_leave_no_zombie() {
    let Some(mut system) = system("orphans", "leave_orphans", "quiet", "") else {
        return;
    };
    system.expect("orphans: ");
    let seen = system.expect("initctl: exit status: 0");
    eprintln!("orphans: {seen}");
    assert!(seen.starts_with(&format!("{ORPHANS}, zombies: 0,")), "{seen}");
    system.signal(libc::SIGUSR2);
    system.expect("init: power off after");
    system.ends_by(POWERED_OFF);
}

/// Not a test: the program inside.
#[test]
fn explode() {
    // Only with the word of one who has seen that the limit holds.
    if !is_inside() || !Path::new("/etc/limited").exists() {
        return;
    }
    let made = shared();
    let started = Instant::now();
    println!("BOMB");
    // SAFETY: only system calls. Every process, the first too, forks as often as it can and does not end when it is asked to.
    unsafe {
        libc::signal(libc::SIGTERM, libc::SIG_IGN);
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
        while started.elapsed() < BURNS {
            if made.fetch_add(1, Ordering::Relaxed) >= FORKS || libc::fork() < 0 {
                libc::usleep(1000);
            }
        }
        libc::_exit(0);
    }
}

/// A control group that limits processes; it goes when it is dropped.
struct Group(PathBuf);

impl Group {
    /// A group of this host.
    ///
    /// # Errors
    /// The reason why there is none whose limit holds.
    fn new() -> Result<Group, String> {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        // `8:pids:/x` of the first version, `0::/x` of the second (cgroups(7)).
        let path = |of: &str| own.lines().find_map(|line| line.split_once(of)).map(|(_, path)| path.to_owned());
        let places = [("/sys/fs/cgroup/pids", path(":pids:/")), ("/sys/fs/cgroup", path("0::/"))];
        let mut reasons = Vec::new();
        for (root, own) in places {
            let Some(own) = own else {
                continue;
            };
            let group = Group(Path::new(root).join(own).join(format!("bloomery-test-{}", std::process::id())));
            match group.make() {
                Ok(()) => return Ok(group),
                Err(reason) => reasons.push(format!("{}: {reason}", group.0.display())),
            }
        }
        Err(reasons.join("; "))
    }

    fn make(&self) -> Result<(), String> {
        fs::create_dir(&self.0).map_err(|error| error.to_string())?;
        let limit = self.0.join("pids.max");
        fs::write(&limit, "2").map_err(|error| format!("pids.max: {error}"))?;
        // A shell and one child are two; the third process is one too many.
        let script = "echo $$ >\"$1\" || exit 3; (exit 0) || exit 4; sleep 5 & sleep 5 & kill $(jobs -p); exit 0";
        let refused = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(self.0.join("cgroup.procs"))
            .stderr(Stdio::null())
            .status()
            .map_err(|error| error.to_string())?;
        match (refused.code(), self.refused()) {
            (Some(3), _) => return Err("processes cannot be put in it".into()),
            // The shell ends with an error when it cannot fork.
            (_, 0) => return Err(format!("its limit does not hold ({refused})")),
            _ => {}
        }
        fs::write(&limit, PIDS.to_string()).map_err(|error| error.to_string())?;
        let set = fs::read_to_string(&limit).map_err(|error| error.to_string())?;
        if set.trim() == PIDS.to_string() { Ok(()) } else { Err(format!("its limit is {}", set.trim())) }
    }

    /// How often a process was refused.
    fn refused(&self) -> u64 {
        let events = fs::read_to_string(self.0.join("pids.events")).unwrap_or_default();
        events.trim().strip_prefix("max ").and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    fn current(&self) -> u64 {
        fs::read_to_string(self.0.join("pids.current")).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What was in it has just ended.
        for _ in 0..500 {
            if !self.0.exists() || fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_fork_bomb_under_a_limit_does_not_take_pid_1_away() {
    let group = match Group::new() {
        Ok(group) => group,
        Err(reason) => return testing::skip(&format!("no control group of this host limits processes: {reason}")),
    };
    let before = "n=0; while ! [ -e etc/limited ] && [ $n -lt 3000 ]; do n=$((n+1)); sleep 0.02; done";
    let Some(mut system) = system("bomb", "explode", "init.grace=1", before) else {
        return;
    };
    // The shell that becomes PID 1, so everything that it starts.
    fs::write(group.0.join("cgroup.procs"), system.init().to_string()).unwrap();
    let refused = group.refused();
    fs::write(system.dir.join("etc/limited"), "").unwrap();
    system.expect("BOMB");
    let started = Instant::now();
    while group.refused() < refused + 10 {
        assert!(started.elapsed() < SOON, "the bomb did not reach its limit: {} processes", group.current());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(group.current() <= PIDS, "{} processes", group.current());
    let asked = Instant::now();
    system.signal(libc::SIGHUP);
    system.expect("tables read again");
    eprintln!("beside a fork bomb of {} processes, an answer after {:?}", group.current(), asked.elapsed());
    system.signal(libc::SIGUSR2);
    system.expect("init: power off after");
    system.ends_by(POWERED_OFF);
}
