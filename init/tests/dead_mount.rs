//! A file system whose server does not answer any more, as one of the network whose server is gone: PID 1 goes on, and so do the
//! services that have nothing to do with it.

mod common;

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{POWERED_OFF, Setup, System};

/// Where the file system is mounted. It has one file, `log`, that takes what is written to it.
const PLACE: &str = "/etc/dead";
/// Where this file is, nothing is answered any more.
const SILENT: &str = "/etc/silent";
/// What was written to `log`.
const WRITTEN: &str = "/etc/written";
/// Tells this program to be the server.
const VARIABLE: &str = "SERVE_AT";
/// A file that the test holds a lock of until it ends.
const ALIVE: &str = "/etc/alive";
/// The server ends with the test, and after so long whatever happens; then all who wait for it get an error. Its namespace's PID 1
/// could not end it: where that has a ring the kernel waits for what is under way in it first.
const LONGEST: Duration = Duration::from_secs(150);

/// The server, which is in this program so that it is built with it. When it ends the kernel closes its connection.
#[test]
#[ignore = "not a test, but the server that the tests start"]
fn serve() {
    let place = std::env::var(VARIABLE).expect("the test that starts this says where to mount");
    let mut device = OpenOptions::new().read(true).write(true).open("/dev/fuse").unwrap();
    // Of the kernel's Documentation/filesystems/fuse.rst.
    let data = CString::new(format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd())).unwrap();
    let target = CString::new(place).unwrap();
    // SAFETY: all are terminated strings.
    let done = unsafe { libc::mount(c"dead".as_ptr(), target.as_ptr(), c"fuse".as_ptr(), 0, data.as_ptr().cast()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    std::thread::spawn(|| {
        let (alive, began) = (File::open(ALIVE).unwrap(), Instant::now());
        let mut held = false;
        while began.elapsed() < LONGEST {
            match alive.try_lock() {
                Ok(()) if held => break,
                Ok(()) => alive.unlock().unwrap(),
                Err(_) => held = true,
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        std::process::exit(1);
    });
    let mut request = vec![0; 1 << 17];
    loop {
        let length = device.read(&mut request).unwrap();
        if !Path::new(SILENT).exists() {
            answer(&mut device, &request[..length]);
        }
    }
}

/// Numbers of a request or an answer, each in so many bytes.
fn put(bytes: &mut Vec<u8>, size: usize, numbers: &[u64]) {
    numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()[..size]));
}

/// `struct fuse_attr` of the directory (node 1) or the file (node 2).
fn attributes(bytes: &mut Vec<u8>, node: u64) {
    let (mode, links) = if node == 1 { (0o40755, 2) } else { (0o100644, 1) };
    let size = fs::metadata(WRITTEN).map_or(0, |data| data.len());
    put(bytes, 8, &[node, size, 0, 0, 0, 0]);
    put(bytes, 4, &[0, 0, 0, mode, links, 0, 0, 0, 4096, 0]);
}

/// Answers a request of the kernel (linux/fuse.h).
fn answer(device: &mut File, request: &[u8]) {
    let number = |at: usize, size: usize| {
        request[at..at + size].iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
    };
    let (operation, unique, node, rest) = (number(4, 4), number(8, 8), number(16, 8), &request[40..]);
    let mut body = Vec::new();
    let result = match operation {
        // FORGET, INTERRUPT, BATCH_FORGET want no answer.
        2 | 36 | 42 => return,
        // LOOKUP
        1 if rest == b"log\0" => {
            put(&mut body, 8, &[2, 0, 0, 0, 0]);
            attributes(&mut body, 2);
            Ok(())
        }
        1 => Err(libc::ENOENT),
        // GETATTR
        3 => {
            put(&mut body, 8, &[0, 0]);
            attributes(&mut body, node);
            Ok(())
        }
        // OPEN
        14 => {
            put(&mut body, 8, &[0, 0]);
            Ok(())
        }
        // WRITE
        16 => {
            let size = number(40 + 16, 4);
            let mut written = OpenOptions::new().append(true).create(true).open(WRITTEN).unwrap();
            written.write_all(&rest[40..40 + size as usize]).unwrap();
            put(&mut body, 4, &[size, 0]);
            Ok(())
        }
        // RELEASE, FLUSH
        18 | 25 => Ok(()),
        // INIT: version 7.31, writes of 4 KiB.
        26 => {
            put(&mut body, 4, &[7, 31, 0, 0, 0, 4096, 1]);
            body.resize(64, 0);
            Ok(())
        }
        _ => Err(libc::ENOSYS),
    };
    let mut bytes = Vec::new();
    put(&mut bytes, 4, &[16 + body.len() as u64, i64::from(result.map_or_else(|error| -error, |()| 0)) as u64]);
    put(&mut bytes, 8, &[unique]);
    bytes.extend_from_slice(&body);
    // Who asked may be gone.
    let _ = device.write(&bytes);
}

/// Starts a system with this file system, which is there for as long as the file is open, with services (name and file) and, as
/// first program, `script`. In its path is `initctl`; `$server` is the process of the server, and `program NAME` sets `$pid` and
/// succeeds where the process of a service runs its program and not init's any more.
fn system(
    name: &str,
    services: &[(&str, &str)],
    script: &str,
    command_line: &str,
    silent: bool,
) -> Option<(System, File)> {
    if !Path::new("/dev/fuse").exists() {
        testing::skip("this host has no /dev/fuse");
        return None;
    }
    let services: Vec<(String, &str)> =
        services.iter().map(|(name, text)| (format!("etc/services.d/{name}.toml"), *text)).collect();
    let script = format!(
        "PATH=/etc/bin:$PATH; read server </etc/server
         program() {{
             pid=$(initctl status $1 | sed -n 's/^ *pid *//p')
             ! [ /proc/$pid/exe -ef /proc/1/exe ]
         }}
         {script}\n"
    );
    let mut files: Vec<(&str, &str)> = services.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    files.extend([("etc/run.sh", script.as_str()), ("etc/bin/empty", ""), (&ALIVE[1..], "")]);
    if silent {
        files.push((&SILENT[1..], ""));
    }
    // Copies: init mounts its own /tmp, where the programs may be. The server outlives the shell, which becomes init.
    let prepare = format!(
        "cp \"$2\" etc/bin/init; ln etc/bin/init etc/bin/initctl; cp '{}' etc/bin/tests; chmod 755 etc/bin/*
         mkdir {PLACE}; {VARIABLE}={PLACE} /etc/bin/tests --ignored --exact serve --nocapture >etc/said 2>&1 &
         echo $! >etc/server
         until grep -q ' {PLACE} fuse ' /proc/self/mounts; do kill -0 $! || {{ cat etc/said; break; }}; sleep 0.05; done
         set -- \"$1\" /etc/bin/init",
        std::env::current_exe().unwrap().display()
    );
    let table = "::once:/bin/sh /etc/run.sh\n";
    let setup = Setup { table, command_line, files: &files, script: &prepare, fuse: true, ..Setup::default() };
    let system = System::start_with(name, &setup)?;
    let alive = File::open(system.dir.join(&ALIVE[1..])).unwrap();
    alive.lock().unwrap();
    Some((system, alive))
}

/// The service `dead` has its program there, and `live`, which starts after it, has not.
fn a_program_is_not_waited_for(name: &str, command_line: &str) {
    let dead = format!("command = '{PLACE}/program'\n");
    let live = "command = 'sleep 1000'\nafter = ['dead']\n";
    let script = "until initctl list 2>/dev/null | grep '^live .*running'; do sleep 0.1; done
         program dead || echo WAITS WITH $(ls /proc/$pid/fd | wc -l).
         kill -URG 1; until [ -e /etc/go ]; do sleep 0.1; done
         program dead || echo STILL WAITS
         kill $server; until initctl list | grep '^dead .*backoff'; do sleep 0.1; done; kill -USR2 1";
    let Some((mut system, _alive)) = system(name, &[("dead", &dead), ("live", live)], script, command_line, true)
    else {
        return;
    };
    // Its input, output and error, and the pipe on which it says why it does not run.
    system.expect("WAITS WITH 4.");
    // The next program of PID 1 knows what the child says that the last one has started.
    system.expect("init took over");
    fs::write(system.dir.join("etc/go"), "").unwrap();
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

/// Without io_uring PID 1 itself would wait.
#[test]
fn services_start_while_a_log_file_does_not_answer() {
    let talk = format!(
        "command = ['/bin/sh', '-c', 'echo one; until [ -e {SILENT} ]; do sleep 0.05; done; echo two; exec sleep 1000']\n\
         [log]\nfile = '{PLACE}/log'\n"
    );
    let late = "command = 'sleep 1000'\nenabled = false\n";
    let script = format!(
        "until grep -q one {WRITTEN}; do sleep 0.05; done; sleep 0.2; : >{SILENT}
         until initctl log talk | grep two; do sleep 0.05; done
         initctl start late; until program late; do sleep 0.1; done; echo STARTED
         kill -USR2 1"
    );
    if !common::host_has_ring() {
        return testing::skip("this host's kernel refuses io_uring");
    }
    let Some((mut system, _alive)) = system("dead-log", &[("talk", &talk), ("late", late)], &script, "", false) else {
        return;
    };
    system.expect("STARTED");
    system.expect("init: power off after");
    system.ends_by(POWERED_OFF);
}
