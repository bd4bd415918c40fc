//! Starts init as PID 1 of namespaces of its own. The test files share it.
//!
//! The console is a FIFO that the test reads; /etc and the kernel command line are the test's. Where the host does not
//! allow unprivileged user namespaces the tests are skipped.

// Each test file is a program of its own and uses a part.
#![allow(dead_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// No output for this long is a failure; generous, because build hosts are busy.
const QUIET: Duration = Duration::from_secs(60);

/// What the kernel ends a namespace's PID 1 by that asks to power off or halt (reboot(2)).
pub const POWERED_OFF: i32 = libc::SIGINT;
/// The same for a reboot.
pub const REBOOTED: i32 = libc::SIGHUP;

/// What a system starts with.
#[derive(Default)]
pub struct Setup<'a> {
    /// `/etc/inittab`.
    pub table: &'a str,
    /// The kernel command line.
    pub command_line: &'a str,
    /// More files: path below the test's directory and content. `etc/` becomes /etc, `var/` /var/lib.
    pub files: &'a [(&'a str, &'a str)],
    /// Shell commands run as the namespace's root in the test's directory, right before init.
    pub script: &'a str,
    /// Whether there are control groups (cgroup2, without controllers where the host has none to give).
    pub cgroups: bool,
    /// A device that becomes /dev/ttyT: the other side of a [`Terminal`].
    pub terminal: &'a str,
    /// Whether there is /dev/fuse, if the host has it.
    pub fuse: bool,
}

/// Whether the host has virtual cables; says so where it has none.
pub fn has_cables() -> bool {
    let ip = ["-U", "-r", "-n", "ip", "link", "add", "a0", "type", "veth", "peer", "name", "a1"];
    let made = Command::new("unshare").args(ip).stderr(Stdio::null()).status();
    let made = made.is_ok_and(|status| status.success());
    if !made {
        testing::skip("this host has no virtual cables (veth), no unprivileged namespaces, or no program ip");
    }
    made
}

/// A terminal that the test sits at.
pub struct Terminal {
    master: OwnedFd,
    /// The device of its other side.
    pub device: String,
}

impl Terminal {
    /// Makes one.
    pub fn new() -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let device = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        rustix::io::ioctl_fionbio(&master, true).unwrap();
        Terminal { master, device }
    }

    /// Reads until `text` appears.
    pub fn expect(&mut self, text: &str) -> String {
        read_until(self, &mut String::new(), text)
    }

    /// Types.
    pub fn type_text(&self, text: &str) {
        assert_eq!(rustix::io::write(&self.master, text.as_bytes()), Ok(text.len()));
    }
}

impl Read for Terminal {
    fn read(&mut self, block: &mut [u8]) -> std::io::Result<usize> {
        match rustix::io::read(&self.master, block) {
            // Nobody has its other side open.
            Err(rustix::io::Errno::IO) => Err(ErrorKind::WouldBlock.into()),
            result => Ok(result?),
        }
    }
}

/// Reads from `source` until `text` appears, and returns all that was read up to and with it.
fn read_until(source: &mut impl Read, seen: &mut String, text: &str) -> String {
    let mut last = Instant::now();
    loop {
        if let Some(found) = seen.find(text) {
            let rest = seen.split_off(found + text.len());
            return std::mem::replace(seen, rest);
        }
        let mut block = [0; 4096];
        match source.read(&mut block) {
            Ok(count) => {
                *seen += &String::from_utf8_lossy(&block[..count]);
                last = Instant::now();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                assert!(last.elapsed() < QUIET, "no '{text}' in: {seen}");
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("the console: {error}"),
        }
    }
}

/// init at work.
pub struct System {
    /// The program `unshare`, which ends as init does.
    pub child: Child,
    /// The test's directory.
    pub dir: PathBuf,
    console: File,
    seen: String,
    group: Option<PathBuf>,
}

impl System {
    /// Starts init with a table and a kernel command line; nothing where namespaces are not allowed.
    pub fn start(name: &str, table: &str, command_line: &str) -> Option<System> {
        System::start_with(name, &Setup { table, command_line, ..Setup::default() })
    }

    /// Starts init; nothing where namespaces are not allowed.
    pub fn start_with(name: &str, setup: &Setup) -> Option<System> {
        // Its own network too: init configures what it finds.
        let namespaces = ["-U", "-r", "-p", "-f", "-m", "-n"];
        let allowed = Command::new("unshare").args(namespaces).arg("true").stderr(Stdio::null()).status();
        if !allowed.is_ok_and(|status| status.success()) {
            testing::skip("this host does not allow unprivileged namespaces");
            return None;
        }
        let group = match setup.cgroups.then(|| make_group(name)) {
            Some(None) => {
                testing::skip("this host does not let the tests make control groups");
                return None;
            }
            group => group.flatten(),
        };
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("init-{name}-{}", std::process::id()));
        for place in ["dev", "etc", "var", "sys"] {
            fs::create_dir_all(dir.join(place)).unwrap();
        }
        fs::write(dir.join("etc/inittab"), setup.table).unwrap();
        fs::write(dir.join("cmdline"), setup.command_line).unwrap();
        for (path, content) in setup.files {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let fifo = dir.join("console");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let console = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&fifo).unwrap();
        // What init reads or writes of the host's is replaced: devices, configuration, kept state, kernel settings.
        let script = "set -e; cd \"$1\"
            mount -t tmpfs dev dev; touch dev/null dev/urandom dev/console
            mount --bind /dev/null dev/null; mount --bind /dev/urandom dev/urandom
            mount --bind console dev/console
            if [ -n \"$5\" ]; then touch dev/ttyT; mount --bind \"$5\" dev/ttyT; fi
            if [ -n \"$6\" ] && [ -e /dev/fuse ]; then touch dev/fuse; mount --bind /dev/fuse dev/fuse; fi
            mount --rbind dev /dev
            mount --bind cmdline /proc/cmdline
            mount --bind etc /etc; mount --bind var /var/lib
            mount --bind sys /proc/sys
            for dir in /lib/modules /usr/lib/sysctl.d /usr/lib/modules-load.d /run /sys/fs/cgroup; do
                if [ -d $dir ]; then mount -t tmpfs empty $dir; fi
            done
            if [ \"$4\" ]; then mount -t cgroup2 none /sys/fs/cgroup; fi
            # In use, so that a table with umount -a does not uncover the host's.
            exec 9</var/lib
            eval \"$3\"
            exec \"$2\"";
        let mut unshare = Command::new("unshare");
        if let Some(group) = &group {
            // A control group namespace begins at the group of the process that makes it.
            let join = "echo $$ >\"$0\" && exec unshare -C \"$@\"";
            unshare = Command::new("/bin/sh");
            unshare.args(["-c", join]).arg(group.join("cgroup.procs"));
        }
        let child = unshare
            .args(namespaces)
            .args(["--kill-child", "--mount-proc", "/bin/sh", "-c", script, "sh"])
            .args([dir.as_path(), env!("CARGO_BIN_EXE_init").as_ref()])
            .args([setup.script, if group.is_some() { "cgroups" } else { "" }, setup.terminal])
            .arg(if setup.fuse { "fuse" } else { "" })
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Some(System { child, console, seen: String::new(), dir, group })
    }

    /// Reads the console until `text` appears, and returns all output up to and with it.
    pub fn expect(&mut self, text: &str) -> String {
        read_until(&mut self.console, &mut self.seen, text)
    }

    /// What is on the console and was not read yet.
    pub fn rest(&mut self) -> String {
        let mut block = [0; 4096];
        while let Ok(count) = self.console.read(&mut block) {
            self.seen += &String::from_utf8_lossy(&block[..count]);
        }
        std::mem::take(&mut self.seen)
    }

    /// The process number of init outside of its namespaces.
    pub fn init(&self) -> i32 {
        let unshare = self.child.id();
        let started = Instant::now();
        loop {
            let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).unwrap();
            if let Ok(pid) = children.trim().parse() {
                return pid;
            }
            assert!(started.elapsed() < QUIET, "unshare starts nothing");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asserts that init waits with io_uring, or that it does not; nothing where this host's kernel refuses io_uring.
    pub fn waits_with_ring(&self, wanted: bool) {
        if !host_has_ring() {
            return testing::skip("this host's kernel refuses io_uring");
        }
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.init())).unwrap();
        // One that is closed meanwhile has no link.
        let links: Vec<PathBuf> = descriptors.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).collect();
        assert_eq!(links.iter().any(|link| link.ends_with("anon_inode:[io_uring]")), wanted, "{links:?}");
    }

    /// Sends init a signal from outside of its namespaces.
    pub fn signal(&self, signal: i32) {
        // SAFETY: kill(2) takes no pointers.
        assert_eq!(unsafe { libc::kill(self.init(), signal) }, 0);
    }

    /// Waits for the end; the kernel ends the PID 1 of a namespace by this signal when it asks to reboot or power off
    /// (reboot(2)).
    pub fn ends_by(mut self, signal: i32) {
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
        if let Some(group) = &self.group {
            // The processes of the namespace end a moment after its PID 1.
            let started = Instant::now();
            while !remove_group(group) && started.elapsed() < QUIET {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// Whether this host's kernel gives init a ring.
pub fn host_has_ring() -> bool {
    // With 1, users in namespaces are refused whoever they are outside (admin-guide/sysctl/kernel.rst).
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    matches!(disabled.trim(), "" | "0") && io_uring::IoUring::new(8).is_ok()
}

/// Makes a control group for a test; nothing where that is not allowed.
fn make_group(name: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let root = fields.find(|fields| fields.get(2) == Some(&"cgroup2"))?.get(1)?.to_string();
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let group = PathBuf::from(root).join(own).join(format!("init-{name}-{}", std::process::id()));
    fs::create_dir(&group).ok()?;
    OpenOptions::new().write(true).open(group.join("cgroup.procs")).ok()?;
    Some(group)
}

/// Removes a control group with those in it; false when there are processes in one.
fn remove_group(group: &Path) -> bool {
    let entries = fs::read_dir(group).into_iter().flatten().flatten().map(|entry| entry.path());
    let below: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    below.iter().all(|path| remove_group(path)) && fs::remove_dir(group).is_ok()
}
