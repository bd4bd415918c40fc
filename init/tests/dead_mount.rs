//! A file system whose server never answers, as one of the network whose server is gone: PID 1 goes on, and so do the services that
//! have nothing to do with it.

mod common;

use std::ffi::CString;
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::time::Duration;

use common::{POWERED_OFF, Setup, System};

/// Where the file system is mounted.
const PLACE: &str = "/etc/dead";
/// Tells this program to be its server.
const VARIABLE: &str = "SERVE_NOTHING_AT";
/// The server ends after so long, whatever happens, and all who wait for it get an error. It ends too with its namespace's PID 1.
const LONGEST: Duration = Duration::from_secs(150);

/// Not a test: the server, which answers nothing. When it ends the kernel closes its connection.
#[test]
fn serve_nothing() {
    let Ok(place) = std::env::var(VARIABLE) else {
        return;
    };
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").unwrap();
    // Of the kernel's Documentation/filesystems/fuse.rst.
    let data = CString::new(format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd())).unwrap();
    let target = CString::new(place).unwrap();
    // SAFETY: all are terminated strings.
    let done = unsafe { libc::mount(c"dead".as_ptr(), target.as_ptr(), c"fuse".as_ptr(), 0, data.as_ptr().cast()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    std::thread::sleep(LONGEST);
}

/// Starts a system in which nothing answers below [`PLACE`], with services (name and file) and, as first program, `script`. In its
/// path is `initctl`, and `$server` is the process of the file system's server.
fn system(name: &str, services: &[(&str, &str)], script: &str, command_line: &str) -> Option<System> {
    if !std::path::Path::new("/dev/fuse").exists() {
        eprintln!("skipped: this host has no /dev/fuse");
        return None;
    }
    let services: Vec<(String, &str)> =
        services.iter().map(|(name, text)| (format!("etc/services.d/{name}.toml"), *text)).collect();
    let script = format!("PATH=/etc/bin:$PATH; read server </etc/server\n{script}\n");
    let mut files: Vec<(&str, &str)> = services.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    files.extend([("etc/run.sh", script.as_str()), ("etc/bin/empty", "")]);
    // Copies: init mounts its own /tmp, where the programs may be. The server outlives the shell, which becomes init.
    let prepare = format!(
        "cp \"$2\" etc/bin/init; ln etc/bin/init etc/bin/initctl; cp '{}' etc/bin/tests; chmod 755 etc/bin/*
         mkdir {PLACE}; {VARIABLE}={PLACE} /etc/bin/tests --exact serve_nothing --nocapture >etc/said 2>&1 &
         echo $! >etc/server
         until grep -q ' {PLACE} fuse ' /proc/self/mounts; do kill -0 $! || {{ cat etc/said; break; }}; sleep 0.05; done
         set -- \"$1\" /etc/bin/init",
        std::env::current_exe().unwrap().display()
    );
    let table = "::once:/bin/sh /etc/run.sh\n";
    let setup = Setup { table, command_line, files: &files, script: &prepare, fuse: true, ..Setup::default() };
    System::start_with(name, &setup)
}

/// The service `dead` has its program there, and `live`, which starts after it, has not.
fn a_program_is_not_waited_for(name: &str, command_line: &str) {
    let dead = format!("command = '{PLACE}/program'\n");
    let live = "command = 'sleep 1000'\nafter = ['dead']\n";
    // What waits for the server is told apart from what waits for its program: it has not left init's.
    let script = "until initctl list 2>/dev/null | grep '^live .*running'; do sleep 0.1; done
         pid=$(initctl status dead | sed -n 's/.*PID[^0-9]*\\([0-9]*\\).*/\\1/ip' | head -n 1)
         [ /proc/$pid/exe -ef /proc/1/exe ] && echo WAITS WITH $(ls /proc/$pid/fd | wc -l).
         kill -URG 1; until [ -e /etc/go ]; do sleep 0.1; done
         [ /proc/$pid/exe -ef /proc/1/exe ] && echo STILL WAITS
         kill $server; until initctl list | grep '^dead .*backoff'; do sleep 0.1; done; kill -USR2 1";
    let Some(mut system) = system(name, &[("dead", &dead), ("live", live)], script, command_line) else {
        return;
    };
    // Its input, output and error, and the pipe on which it says why it does not run.
    system.expect("WAITS WITH 4.");
    // The next program of PID 1 knows what the child says that the last one has started.
    system.expect("init took over");
    std::fs::write(system.dir.join("etc/go"), "").unwrap();
    system.expect("STILL WAITS");
    system.expect(&format!("dead: cannot run {PLACE}/program: "));
    system.expect("init: power off after");
    system.ends_by(POWERED_OFF);
}

#[test]
fn a_program_is_not_waited_for_on_the_ring() {
    a_program_is_not_waited_for("dead-program", "");
}

#[test]
fn a_program_is_not_waited_for_on_epoll() {
    a_program_is_not_waited_for("dead-program-epoll", "init.epoll");
}
