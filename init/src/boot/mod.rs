//! The boot, from the first instruction to the table: two named lists of phases. `main` calls [`run`].

mod check;
mod disks;
mod record;

use rustix::mount::MountFlags as Flags;

use self::check::Condition;
use crate::config::options::{self, Options};
use crate::event::reactor::Reactor;
use crate::event::signals;
use crate::handover::checkpoint::{self, Checkpoint};
use crate::handover::rescue;
use crate::handover::start::{self, Start};
use crate::handover::state::Record;
use crate::handover::{Rest, guard};
use crate::log::{self, debug, error, info, warn};
use crate::platform::watchdog::Watchdog;
use crate::platform::{clock, fstab, modules, mounts, seed, sysctl, zone};
use crate::spawn::Environment;
use crate::spawn::inittab;
use crate::spawn::{console, limits};
use crate::supervisor::timeline::Timeline;
use crate::supervisor::{Goal, Supervisor};
use crate::sys::system::Power;
use crate::sys::{Errno, files, process, signal, system};
use crate::{net, shutdown};

/// What the first phases find out.
struct Boot<'a> {
    arguments: &'a [&'a str],
    options: Options,
    fstab: Vec<fstab::Line>,
}

/// One of the first phases.
struct FirstPhase {
    name: &'static str,
    work: fn(&mut Boot),
    /// Replaces `work` in a program that takes over.
    again: fn(&mut Boot),
}

/// The first phases, in order: they make what PID 1 itself stands on. A phase says what fails in it and goes on: no failure is
/// worse than no system.
const FIRST: &[FirstPhase] = &[
    FirstPhase { name: "self", work: become_init, again: become_init },
    FirstPhase { name: "console", work: open_console, again: |_| console::open_log() },
    FirstPhase { name: "mounts", work: mount_all, again: read_fstab },
    FirstPhase { name: "options", work: read_options, again: read_options },
];

/// One of the later phases. All can be done twice, because a phase that a fault of init cut off is.
struct Phase {
    /// Its name in `init.skip`.
    name: &'static str,
    /// Whether it is done for `emergency` too.
    always: bool,
    /// Whether it is done again by a program that takes over.
    again: bool,
    work: fn(&mut Supervisor, &[fstab::Line]),
}

/// The later phases, in order. The supervisor waits for the programs that some of them run, so the system can be asked to go
/// down while they do.
#[rustfmt::skip]
const PHASES: &[Phase] = &[
    // First, because each of the others may hang in a driver.
    Phase { name: "watchdog", always: false, again: true,  work: |supervisor, _| open_watchdog(supervisor) },
    Phase { name: "hostname", always: true,  again: false, work: |supervisor, _| set_host_name(supervisor.options.host_name.as_deref()) },
    Phase { name: "loopback", always: false, again: false, work: |_, _| set_loopback_up() },
    Phase { name: "clock",    always: true,  again: false, work: |_, _| clock::start() },
    // Before the modules and the disks: what they bring is seen as it comes.
    Phase { name: "devices",  always: true,  again: true,  work: |supervisor, _| supervisor.start_devices() },
    Phase { name: "modules",  always: false, again: false, work: |supervisor, _| load_modules(supervisor) },
    // After the modules, some of which bring settings.
    Phase { name: "sysctl",   always: false, again: false, work: |_, _| sysctl::apply() },
    Phase { name: "root",     always: false, again: false, work: make_root_writable },
    Phase { name: "disks",    always: false, again: false, work: disks::mount_and_swap },
    // /var may be on one of the disks.
    Phase { name: "seed",     always: false, again: false, work: |_, _| seed::start() },
    // A lease takes its time, so it is asked for before the entries run.
    Phase { name: "network",  always: false, again: true,  work: |supervisor, _| supervisor.start_network() },
    // The network may have given the machine its name, and the root is writable.
    Phase { name: "hosts",    always: false, again: false, work: |_, _| net::host_name::add_to_hosts() },
];

/// Boots the system and never returns.
pub fn run(arguments: &[&str]) -> ! {
    let since = system::uptime();
    let (arguments, start) = start::start(arguments);
    // A fault in this program must not end PID 1, which the kernel answers with a panic of its own.
    guard::arm(start);
    std::panic::set_hook(Box::new(|fault| {
        if process::id() == 1 {
            guard::after_panic(&format!("a fault in init: {fault}"));
        }
    }));

    let boot = Boot { arguments: &arguments, options: Options::default(), fstab: Vec::new() };
    let timeline = Timeline::new(since);
    let (mut supervisor, mut goal) = match start {
        Start::Boot => boot_system(boot, timeline, None),
        Start::AfterFault(rest) => boot_system(boot, timeline, Some(rest)),
        Start::TakeOver(number) => take_over(boot, timeline, start::take_state(number)),
    };
    loop {
        if let Goal::Power(power) = goal {
            checkpoint::reach(Checkpoint::down(power));
        }
        let reason = shutdown::run(&mut supervisor, goal);
        checkpoint::set(Checkpoint::BOOTED);
        supervisor.rescue(&reason);
        goal = supervisor.resume();
    }
}

/// Boots the system; or does what is left of that after a fault, and of a shutdown.
fn boot_system(mut boot: Boot, timeline: Timeline, rest: Option<Rest>) -> (Supervisor, Goal) {
    let done = rest.map_or(Checkpoint::default(), |rest| rest.done);
    let mut supervisor = first_phases(&mut boot, timeline, done);
    if let Some(rest) = rest {
        warn!("the init before this one had a fault; what still runs is looked for");
        if let Some(name) = rest.left_out.and_then(name_of) {
            warn!("the boot goes on without '{name}', which had two faults");
        }
    }
    if let Some(power) = done.power() {
        open_watchdog(&mut supervisor);
        return (supervisor, Goal::Power(power));
    }
    if rest.is_some() {
        // First, because the phases start helpers of their own.
        supervisor.set_lines(table(&boot.options));
        supervisor.adopt_running(done);
    }
    let left_out = rest.and_then(|rest| rest.left_out);
    run_phases(&mut supervisor, &boot.fstab, |number, phase| {
        left_out != Some(number) && (number >= done.phases() || phase.again)
    });
    if done.is_booted() {
        let goal = supervisor.resume();
        return (supervisor, goal);
    }
    info!("{}", supervisor.timeline.summary());
    if rest.is_none() {
        supervisor.set_lines(table(&boot.options));
    }
    if supervisor.first_line(inittab::Action::Sysinit).is_some() {
        supervisor.settle_devices();
    }
    let goal = supervisor.run();
    (supervisor, goal)
}

/// Goes on where the program before this one was replaced.
fn take_over(mut boot: Boot, timeline: Timeline, state: Result<Vec<Record>, String>) -> (Supervisor, Goal) {
    let mut supervisor = first_phases(&mut boot, timeline, Checkpoint::BOOTED);
    match state {
        Ok(records) => supervisor.adopt(records),
        Err(reason) => {
            warn!("nothing is known from the init before this one: {reason}; what still runs is looked for");
            supervisor.set_lines(table(&boot.options));
            supervisor.adopt_running(Checkpoint::BOOTED);
        }
    }
    run_phases(&mut supervisor, &boot.fstab, |_, phase| phase.again);
    let goal = supervisor.resume();
    (supervisor, goal)
}

/// Does the first phases, those that are `done` in the way for that.
fn first_phases(boot: &mut Boot, mut timeline: Timeline, done: Checkpoint) -> Supervisor {
    for (number, FirstPhase { name, work, again }) in FIRST.iter().enumerate() {
        if number < done.phases() {
            again(boot);
            continue;
        }
        let start = system::uptime();
        checkpoint::reach(Checkpoint::begun(number));
        work(boot);
        checkpoint::reach(Checkpoint::ended(number));
        timeline.add(*name, start, system::uptime());
    }
    supervisor(boot, timeline)
}

/// The name of a phase, by its number among all.
fn name_of(number: usize) -> Option<&'static str> {
    FIRST.iter().map(|phase| phase.name).chain(PHASES.iter().map(|phase| phase.name)).nth(number)
}

/// Does the later phases that are `chosen` by their number among all.
fn run_phases(supervisor: &mut Supervisor, fstab: &[fstab::Line], chosen: impl Fn(usize, &Phase) -> bool) {
    let wanted = supervisor.options.clone();
    for name in wanted.skip.iter().filter(|name| PHASES.iter().all(|phase| phase.name != **name)) {
        let known: Vec<_> = PHASES.iter().map(|phase| phase.name).collect();
        warn!("init.skip: there is no phase '{name}'; hint: the phases are {}", known.join(", "));
    }
    for (number, phase) in (FIRST.len()..).zip(PHASES).filter(|(number, phase)| chosen(*number, phase)) {
        let Phase { name, always, work, .. } = phase;
        if supervisor.is_going_down() {
            return;
        }
        if (wanted.emergency && !always) || wanted.skip.iter().any(|skipped| skipped == name) {
            continue;
        }
        let start = system::uptime();
        checkpoint::reach(Checkpoint::begun(number));
        work(supervisor, fstab);
        checkpoint::reach(Checkpoint::ended(number));
        supervisor.timeline.add(*name, start, system::uptime());
    }
}

fn become_init(_: &mut Boot) {
    // First, so that a signal sent now is kept and answered later.
    let blocked = signal::block(&signals::all());
    signal::restore_ignored();
    let moved = process::change_dir("/");
    // Fails when the kernel already made PID 1 a leader.
    let _ = process::new_session();
    let ctrl_alt_del = system::ctrl_alt_del_resets(false);
    limits::raise();
    for (what, result) in [("block signals", blocked), ("go to /", moved)] {
        if let Err(error) = result {
            error!("cannot {what}: {error}");
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
            warn!("{message}");
        }
    }
}

/// The root's own table of file systems is read first, because it may change the options of those mounted here.
fn mount_all(boot: &mut Boot) {
    boot.fstab = fstab::load(|line| warn!("{}, line {line}: not 'device target kind options'", fstab::PATH));
    mounts::mount_rest(&boot.fstab);
}

/// What is wrong in it was said before.
fn read_fstab(boot: &mut Boot) {
    boot.fstab = fstab::load(|_| {});
}

fn read_options(boot: &mut Boot) {
    boot.options = options::load(boot.arguments);
    log::set_level(boot.options.level);
    for word in &boot.options.unknown {
        warn!("'{word}' on the kernel command line or in the boot configuration is not understood");
    }
    for fault in &boot.options.settings.faults {
        warn!("{}: {}", fault.source, fault.message);
    }
    record::write(&boot.options.settings);
}

fn open_watchdog(supervisor: &mut Supervisor) {
    let Some(seconds) = supervisor.options.watchdog.filter(|_| supervisor.watchdog.is_none()) else {
        return;
    };
    match Watchdog::open(seconds) {
        Ok(watchdog) => supervisor.watchdog = Some(watchdog),
        Err(message) => warn!("{message}"),
    }
}

fn load_modules(supervisor: &mut Supervisor) {
    for command in modules::commands() {
        match supervisor.run_program(&command, modules::LIMIT) {
            Some(process::Exit::Code(0)) => {}
            Some(exit) => warn!("'{command}' failed: {exit}"),
            None => warn!("'{command}' is not waited for any more"),
        }
    }
}

/// The file that names the machine.
const HOST_NAME: &str = "/etc/hostname";

/// Gives the machine the name that a run or the boot configuration asks for, or the one of the root file system.
fn set_host_name(asked: Option<&str>) {
    let content = match asked {
        Some(name) => name.into(),
        None => match files::read_file(HOST_NAME) {
            Ok(content) => content,
            Err(Errno::NOENT) => return,
            Err(error) => return error!("cannot read {HOST_NAME}: {error}"),
        },
    };
    match host_name(&String::from_utf8_lossy(&content)) {
        Some(name) => {
            if let Err(error) = system::set_host_name(name) {
                error!("cannot set the host name '{name}': {error}");
            }
        }
        None => warn!("{HOST_NAME} holds no host name; hint: one line, at most 64 characters"),
    }
}

/// The name in the file: the first line that is not empty or a comment.
fn host_name(content: &str) -> Option<&str> {
    let line = content.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
    options::host_name(line)
}

fn set_loopback_up() {
    match net::loopback_up() {
        Ok(()) => {}
        // A kernel without networking has no loopback to miss.
        Err(error @ (Errno::AFNOSUPPORT | Errno::NODEV | Errno::NOSYS)) => debug!("no loopback: {error}"),
        Err(error) => error!("cannot set the interface lo up: {error}"),
    }
}

/// The kernel mounts the root read-only unless told `rw`. It becomes writable here, with the options that fstab has for it,
/// unless `init.ro` says otherwise, or it is not in order and `init.ro-if-faulty` does.
fn make_root_writable(supervisor: &mut Supervisor, fstab: &[fstab::Line]) {
    let line = fstab.iter().find(|line| line.target == "/");
    let asks = line.is_some_and(|line| line.checked);
    match check::root(supervisor, asks) {
        Condition::Reboot => return supervisor.ask_for(Power::Reboot),
        Condition::Faulty if supervisor.options.read_only_if_faulty => {
            return error!(
                "the root stays read-only, as init.ro-if-faulty asks; hint: `mount -o remount,rw /` changes that"
            );
        }
        _ if supervisor.options.keep_read_only => return,
        Condition::Faulty => warn!("the root is made writable all the same; hint: init.ro-if-faulty forbids it"),
        Condition::Good => {}
    }
    let Some((flags, data)) = root_options(line.map(|line| &line.options), files::is_read_only("/").unwrap_or(false))
    else {
        return;
    };
    let remounted = match system::remount("/", flags, data) {
        // An option that only the first mount takes.
        Err(Errno::INVAL) if !data.is_empty() => system::remount("/", flags, ""),
        result => result,
    };
    if let Err(error) = remounted {
        info!("the root stays as it was mounted: {error}");
    }
}

/// The flags and options with which the root is mounted again; nothing when it is as it should be.
fn root_options(line: Option<&fstab::Options>, read_only: bool) -> Option<(Flags, &str)> {
    let (flags, data) = line.map_or((Flags::empty(), ""), |line| (line.flags(Flags::empty()), line.data.as_str()));
    let plain = flags - Flags::RDONLY == Flags::empty() && data.is_empty();
    (!plain || flags.contains(Flags::RDONLY) != read_only).then_some((flags, data))
}

fn supervisor(boot: &Boot, timeline: Timeline) -> Supervisor {
    let reactor = match Reactor::new(!boot.options.epoll) {
        Ok(reactor) => reactor,
        Err(error) => rescue::last_resort(&format!("cannot wait for events: {error}")),
    };
    let environment = Environment::new(process::environment(), boot.arguments.first().copied());
    // From a word `TZ=...` of the kernel command line.
    if let Some(fault) = environment.get("TZ").and_then(zone::fault) {
        warn!("kernel command line: {fault}");
    }
    let mut supervisor = Supervisor::new(reactor, boot.options.clone(), environment, timeline.init);
    supervisor.timeline = timeline;
    if let Err(error) = supervisor.listen() {
        rescue::last_resort(&format!("cannot listen to signals: {error}"));
    }
    supervisor
}

fn table(options: &Options) -> Vec<inittab::Line> {
    if options.emergency {
        warn!("emergency: a shell and nothing else; the root is as the kernel mounted it");
        return vec![rescue::shell_line()];
    }
    if options.single {
        return inittab::single_lines();
    }
    inittab::load().unwrap_or_else(|| {
        warn!("using the built-in table: /etc/init.d/rcS, then a shell on the console");
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
    fn the_root_is_mounted_again_when_something_changes() {
        assert_eq!(root_options(None, false), None);
        assert_eq!(root_options(None, true), Some((Flags::empty(), "")));
        let read_only = fstab::options("ro");
        assert_eq!(root_options(Some(&read_only), true), None);
        assert_eq!(root_options(Some(&read_only), false), Some((Flags::RDONLY, "")));
        let plain = fstab::options("defaults");
        assert_eq!(root_options(Some(&plain), false), None);
        let special = fstab::options("noatime,commit=30");
        assert_eq!(root_options(Some(&special), false), Some((Flags::NOATIME, "commit=30")));
    }

    #[test]
    fn phases_have_names_of_their_own() {
        for (index, phase) in PHASES.iter().enumerate() {
            assert!(PHASES[index + 1..].iter().all(|other| other.name != phase.name));
            assert!(FIRST.iter().all(|first| first.name != phase.name));
        }
    }
}
