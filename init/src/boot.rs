//! The boot, from the first instruction to the table: a named list of phases. `main` calls [`run`].

use core::time::Duration;

use rustix::mount::MountFlags;

use crate::inittab;
use crate::log::{self, debug, info, say};
use crate::options::{self, Options};
use crate::reactor::Reactor;
use crate::shutdown;
use crate::signals;
use crate::spawn::Environment;
use crate::supervisor::Supervisor;
use crate::sys::{Errno, files, net, process, signal, system};
use crate::{console, mounts, rescue};

/// What the phases know.
struct Boot<'a> {
    arguments: &'a [&'a str],
    options: Options,
}

/// A phase's work.
type Phase = fn(&mut Boot);

/// The phases, in order. A phase says what fails in it and goes on: no failure is worse than no system.
const PHASES: &[(&str, Phase)] = &[
    ("self", become_init),
    ("console", open_console),
    ("mounts", |_| mounts::mount_rest()),
    ("options", read_options),
    ("hostname", |_| set_host_name()),
    ("loopback", |_| set_loopback_up()),
    ("root", make_root_writable),
];

/// Boots the system and never returns.
pub fn run(arguments: &[&str]) -> ! {
    let since = system::uptime();
    // A fault in this program must not end PID 1, which the kernel answers with a panic of its own.
    std::panic::set_hook(Box::new(|fault| {
        if process::id() == 1 {
            rescue::last_resort(&format!("a fault in init: {fault}"));
        }
    }));

    let mut boot = Boot { arguments, options: Options::default() };
    let mut times = Vec::with_capacity(PHASES.len());
    for (name, phase) in PHASES {
        let started = system::uptime();
        phase(&mut boot);
        times.push((*name, system::uptime() - started));
    }
    info!("{}", summary(since, &times));

    let mut supervisor = supervisor(&boot, since);
    supervisor.set_lines(table(&boot.options));
    let mut goal = supervisor.run();
    loop {
        let reason = shutdown::run(&mut supervisor, goal);
        supervisor.rescue(&reason);
        goal = supervisor.resume();
    }
}

/// One line about the phases: `boot at 312 ms: self 0.1 ms, console 0.4 ms, ...`.
fn summary(since: Duration, times: &[(&str, Duration)]) -> String {
    let mut line = format!("boot at {} ms:", since.as_millis());
    for (index, (name, time)) in times.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let tenths = time.as_micros() / 100;
        line += &format!("{comma} {name} {}.{} ms", tenths / 10, tenths % 10);
    }
    line
}

fn become_init(_: &mut Boot) {
    // First, so that a signal sent now is kept and answered later.
    let blocked = signal::block(&signals::all());
    let moved = process::change_dir("/");
    // Fails when the kernel already made PID 1 a leader.
    let _ = process::new_session();
    let ctrl_alt_del = system::ctrl_alt_del_resets(false);
    for (what, result) in [("block signals", blocked), ("go to /", moved)] {
        if let Err(error) = result {
            say!("cannot {what}: {error}");
        }
    }
    if let Err(error) = ctrl_alt_del {
        // Not so in a container, where there is no such key.
        debug!("cannot take ctrl-alt-del from the kernel: {error}");
    }
}

/// Mounts /dev before anything is printed, because the console is in it.
fn open_console(_: &mut Boot) {
    let mounted = mounts::mount_dev();
    let opened = console::open_for_init();
    for result in [mounted, opened] {
        if let Err(message) = result {
            say!("{message}");
        }
    }
}

fn read_options(boot: &mut Boot) {
    boot.options = options::load(boot.arguments);
    log::set_level(boot.options.level);
}

/// The file that names the machine.
const HOST_NAME: &str = "/etc/hostname";

fn set_host_name() {
    let content = match files::read_file(HOST_NAME) {
        Ok(content) => content,
        Err(Errno::NOENT) => return,
        Err(error) => return say!("cannot read {HOST_NAME}: {error}"),
    };
    match host_name(&String::from_utf8_lossy(&content)) {
        Some(name) => {
            if let Err(error) = system::set_host_name(name) {
                say!("cannot set the host name '{name}': {error}");
            }
        }
        None => say!("{HOST_NAME} holds no host name; hint: one line, at most 64 characters"),
    }
}

/// The name in the file: the first line that is not empty or a comment. The kernel takes 64 bytes (uname(2)).
fn host_name(content: &str) -> Option<&str> {
    let line = content.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
    (line.len() <= 64 && !line.contains(char::is_whitespace) && !line.contains('\0')).then_some(line)
}

fn set_loopback_up() {
    match net::loopback_up() {
        Ok(()) => {}
        // A kernel without networking has no loopback to miss.
        Err(error @ (Errno::AFNOSUPPORT | Errno::NODEV | Errno::NOSYS)) => debug!("no loopback: {error}"),
        Err(error) => say!("cannot set the interface lo up: {error}"),
    }
}

/// The kernel mounts the root read-only unless told `rw`. It becomes writable here, unless `init.ro` says otherwise.
fn make_root_writable(boot: &mut Boot) {
    if boot.options.keep_read_only || !files::is_read_only("/").unwrap_or(false) {
        return;
    }
    if let Err(error) = system::remount("/", MountFlags::empty()) {
        info!("the root stays read-only: {error}");
    }
}

fn supervisor(boot: &Boot, since: Duration) -> Supervisor {
    let reactor = match Reactor::new(!boot.options.epoll) {
        Ok(reactor) => reactor,
        Err(error) => rescue::last_resort(&format!("cannot wait for events: {error}")),
    };
    let environment = Environment::new(process::environment(), boot.arguments.first().copied());
    let mut supervisor = Supervisor::new(reactor, boot.options.clone(), environment, since);
    if let Err(error) = supervisor.listen() {
        rescue::last_resort(&format!("cannot listen to signals: {error}"));
    }
    supervisor
}

fn table(options: &Options) -> Vec<inittab::Line> {
    if options.single {
        return inittab::single_lines();
    }
    inittab::load().unwrap_or_else(|| {
        say!("using the built-in table: /etc/init.d/rcS, then a shell on the console");
        inittab::default_lines()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names() {
        assert_eq!(host_name("# name\n\n  iron \n"), Some("iron"));
        assert_eq!(host_name(""), None);
        assert_eq!(host_name("two words"), None);
        assert_eq!(host_name(&"x".repeat(64)).map(str::len), Some(64));
        assert_eq!(host_name(&"x".repeat(65)), None);
    }

    #[test]
    fn the_summary_names_every_phase() {
        let times = [("a", Duration::from_micros(1_250)), ("b", Duration::ZERO)];
        assert_eq!(summary(Duration::from_millis(312), &times), "boot at 312 ms: a 1.2 ms, b 0.0 ms");
    }
}
