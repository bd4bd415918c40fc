//! Where PID 1 plays: namespaces of its own that are made with as few calls as possible, because there are thousands of runs.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{Error, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libc::{c_char, c_ulong, pid_t};

/// How long to try again where the host has no room for a namespace.
const BUSY: Duration = Duration::from_secs(20);
/// How often a program that is written to is looked at again, every 10 ms.
const BUSY_LOOKS: u32 = 1000;

/// One mount of the stage.
struct Mount {
    source: CString,
    target: CString,
    kind: CString,
    flags: c_ulong,
}

/// A directory that becomes /dev, /etc and so on, and what is needed to start init in it. Used by one thread.
pub struct Stage {
    directory: PathBuf,
    console: File,
    mounts: Vec<Mount>,
    maps: Vec<(&'static str, String)>,
    program: CString,
    null: CString,
}

fn text(path: impl AsRef<Path>) -> CString {
    CString::new(path.as_ref().as_os_str().as_bytes()).unwrap()
}

impl Stage {
    /// Makes the directory, with `files` (path and content) in it. `etc/` becomes /etc, and `var/` /var/lib.
    pub fn new(name: &str, program: &str, files: &[(&str, &str)]) -> Stage {
        let directory =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{name}-{}", std::process::id()));
        for place in ["dev", "etc/bin", "var", "sys"] {
            fs::create_dir_all(directory.join(place)).unwrap();
        }
        for (path, content) in files {
            let path = directory.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
        }
        // Something to read for each of the host's disks.
        for disk in fs::read_dir("/sys/class/block").into_iter().flatten() {
            File::create(directory.join("dev").join(disk.unwrap().file_name())).unwrap().set_len(1 << 20).unwrap();
        }
        // Names for what the table runs. A copy: init mounts its own /tmp, where the program may be.
        let own = directory.join("etc/bin/init");
        fs::copy(program, &own).unwrap();
        fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("init", directory.join("etc/bin/initctl")).unwrap();
        let fifo = directory.join("dev/console");
        // SAFETY: the path is a terminated string.
        assert_eq!(unsafe { libc::mkfifo(text(&fifo).as_ptr(), 0o600) }, 0, "{}", Error::last_os_error());
        let console = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&fifo).unwrap();
        // SAFETY: these calls take nothing.
        let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
        let mut maps = vec![("uid_map", format!("0 {user} 1")), ("gid_map", format!("0 {group} 1"))];
        if user == 0 {
            // Another user, for a service; only root can give it.
            maps.iter_mut().for_each(|(_, map)| map.push_str("\n33 33 1\n"));
        } else {
            // What others have to give up for a map (user_namespaces(7)).
            maps.insert(0, ("setgroups", "deny".into()));
        }
        Stage {
            mounts: mounts(&directory),
            console,
            maps,
            program: text("/etc/bin/init"),
            null: text("/dev/null"),
            directory,
        }
    }

    /// Starts init in its namespaces, as a child that this thread traces and that stops when it is init.
    ///
    /// # Errors
    /// When this host has no namespaces for everyone.
    pub fn start(&self) -> Result<pid_t, Error> {
        let flags =
            libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWUTS;
        let arguments = [self.program.as_ptr(), std::ptr::null()];
        let environment = [c"PATH=/etc/bin:/usr/sbin:/usr/bin:/sbin:/bin".as_ptr(), std::ptr::null()];
        let (wait, mut go) = std::io::pipe()?;
        let started = Instant::now();
        loop {
            // SAFETY: without a stack of its own the child has a copy of this one, as after fork(2). It makes only system calls
            // with what was made before, because another thread may hold any lock.
            let pid = unsafe {
                // The order of the last arguments differs between processors; they are all nothing.
                let pid = libc::syscall(libc::SYS_clone, c_ulong::from((flags | libc::SIGCHLD) as u32), 0, 0, 0, 0);
                if pid == 0 {
                    self.become_init(wait.as_raw_fd(), &arguments, &environment);
                }
                pid
            };
            if pid > 0 {
                let pid = pid as pid_t;
                for (file, content) in &self.maps {
                    fs::write(format!("/proc/{pid}/{file}"), content).inspect_err(|_| end(pid))?;
                }
                go.write_all(b"!").inspect_err(|_| end(pid))?;
                return Ok(pid);
            }
            let error = Error::last_os_error();
            // The kernel takes namespaces that have ended apart a little later.
            let busy = matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOSPC | libc::ENOMEM));
            if !busy || started.elapsed() > BUSY {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The child's part; ends with a number that tells what failed.
    unsafe fn become_init(&self, wait: RawFd, arguments: &[*const c_char], environment: &[*const c_char]) -> ! {
        // SAFETY: only system calls, with terminated strings and numbers.
        unsafe {
            // Until its users are those of the namespace.
            let mut byte = 0u8;
            if libc::read(wait, (&raw mut byte).cast(), 1) != 1 {
                libc::_exit(100);
            }
            for (index, mount) in self.mounts.iter().enumerate() {
                let (source, target, kind) = (mount.source.as_ptr(), mount.target.as_ptr(), mount.kind.as_ptr());
                if libc::mount(source, target, kind, mount.flags, std::ptr::null()) < 0 {
                    libc::_exit(101 + index as i32);
                }
            }
            let null = libc::open(self.null.as_ptr(), libc::O_RDWR);
            for standard in 0..3 {
                libc::dup2(null, standard);
            }
            // What other threads have open at this moment is not init's.
            libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0);
            // The test's program may be started with signals ignored or blocked.
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut());
            libc::ptrace(libc::PTRACE_TRACEME as _, 0, 0, 0);
            // A child that another test has just made may have a program open for writing, until its own exec.
            for _ in 0..BUSY_LOOKS {
                libc::execve(self.program.as_ptr(), arguments.as_ptr(), environment.as_ptr());
                if *libc::__errno_location() != libc::ETXTBSY {
                    break;
                }
                libc::usleep(10_000);
            }
            libc::_exit(99)
        }
    }

    /// What was written to the console since the last call.
    pub fn said(&self) -> String {
        let mut said = Vec::new();
        let mut block = [0; 4096];
        while let Ok(count) = (&self.console).read(&mut block) {
            said.extend_from_slice(&block[..count]);
        }
        String::from_utf8_lossy(&said).into_owned()
    }
}

/// Ends a child that did not become init.
fn end(pid: pid_t) {
    // SAFETY: these calls take numbers, and no place for the status.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, std::ptr::null_mut(), 0);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// What init sees in place of the host's.
fn mounts(directory: &Path) -> Vec<Mount> {
    let mount = |source: &Path, target: &Path, kind: &str, flags: c_ulong| Mount {
        source: text(source),
        target: text(target),
        kind: text(kind),
        flags,
    };
    let none = Path::new("none");
    let mut mounts = vec![mount(none, Path::new("/"), "", libc::MS_REC | libc::MS_PRIVATE)];
    for name in ["null", "urandom", "random", "zero"] {
        let place = directory.join("dev").join(name);
        fs::write(&place, "").unwrap();
        mounts.push(mount(&Path::new("/dev").join(name), &place, "", libc::MS_BIND));
    }
    mounts.push(mount(none, Path::new("/proc"), "proc", 0));
    for (name, place) in [("cmdline", "/proc/cmdline"), ("swaps", "/proc/swaps")] {
        mounts.push(mount(&directory.join(name), Path::new(place), "", libc::MS_BIND));
    }
    for (name, place) in [("sys", "/proc/sys"), ("etc", "/etc"), ("var", "/var/lib")] {
        mounts.push(mount(&directory.join(name), Path::new(place), "", libc::MS_BIND));
    }
    for place in ["/lib/modules", "/usr/lib/sysctl.d", "/usr/lib/modules-load.d", "/run", "/sys/fs/cgroup"] {
        if Path::new(place).is_dir() {
            mounts.push(mount(none, Path::new(place), "tmpfs", 0));
        }
    }
    mounts.push(mount(&directory.join("dev"), Path::new("/dev"), "", libc::MS_BIND | libc::MS_REC));
    mounts
}
