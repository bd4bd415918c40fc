//! Every system call that PID 1 makes fails with each error that it can return, and PID 1 goes on.
//!
//! The program that is tested is the one that is shipped: nothing in it is for these tests. It runs as PID 1 of namespaces of its
//! own under ptrace(2): it boots a small table with services, answers the control tool, reads its tables again, runs its program
//! anew and powers off. A first run writes down each call, of PID 1 and of its children until they run another program. Then, for
//! a call and an error, the same again with this one call failing. Each time PID 1 has to stay, to answer, and the system has to
//! come down when it is asked to, with nothing left.
//!
//! Every run of the tests tries each pair of a system call and an error once, at one of the places where the call is made, with
//! io_uring, epoll and the rescue shell in turns; then as many of the other places as 10 seconds allow. What goes through io_uring
//! has its error in the answer. Without all of the former the test fails, with `BLOOMERY_TEST_SLOW=2` after twice
//! the time. `BLOOMERY_TEST_FAULTS=all` tries all errors at all places (half an hour), and
//! `BLOOMERY_TEST_FAULTS='openat /etc'` those whose name begins so, with what PID 1 says each time.

mod calls;
mod doors;
mod ring;
mod stage;
mod trace;

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use calls::{Row, Subject};
use libc::{c_int, pid_t};
use ring::Ring;
use stage::Stage;
use trace::{Call, Stop};

/// Without a call for this long the system has nothing to do: then it is asked to power off.
const IDLE: Duration = Duration::from_millis(100);
/// It is asked although it has something to do: a program that fails again and again, a watchdog that wants its food. A busy
/// host needs its time.
const WORKING: Duration = Duration::from_secs(20);
/// After this it is asked again: the request was lost with the call that failed.
const AGAIN: Duration = Duration::from_secs(3);
/// A system that is not down so long after it was asked hangs. The longest wait of PID 1 for one program is a tenth of it.
const LIMIT: Duration = Duration::from_secs(100);
/// Runs at a time; most of a run is waiting for the system to have nothing to do.
const WORKERS: usize = 4;
/// How long the runs beyond the first of each pair may take, unless all are asked for.
const BUDGET: Duration = Duration::from_secs(10);
/// How long the first ones may take, times `BLOOMERY_TEST_SLOW`. A quiet host needs an eighth of it.
const TIMEOUT: Duration = Duration::from_secs(300);
/// Calls of one name are the same after so many: a loop.
const REPEATED: u32 = 3;

const TABLE: &str =
    "::sysinit:/bin/true\n::once:/bin/sh /etc/run.sh\n::respawn:/bin/sleep 1000\n::shutdown:/bin/true\n";
const RUN: &str =
    "initctl list\ninitctl restart talk\nkill -HUP 1\ninitctl status talk\nkill -URG 1\nexec sleep 1000\n";
const TALK: &str = "command = ['/bin/sh', '-c', 'echo hello; printf %03000d 0; exec /bin/sleep 1000']\nenvironment = { A = 'b' }\nnice = 1\n\
                    restart-delay = 0.05\nstop-timeout = 1\noom-score-adj = 10\nno-new-privileges = true\n\
                    capabilities = ['chown']\n[limits]\nnofile = 100\n[log]\nsize = 4096\n";
/// With what only root can do.
const USER: &str =
    "command = ['/bin/sh', '-c', 'exec /bin/sleep 1000']\nuser = 'web'\ncapabilities = ['net_bind_service']\n";
const ASK: &str =
    "command = ['/bin/sh', '-c', 'exec /bin/sleep 1000']\ntype = 'notify'\nstart-timeout = 1\nafter = ['talk']\n";
/// Its program would be on another mount than the root's, and its process finds out that it is not there.
const LOST: &str = "command = '/etc/no/program'\n";

/// Calls for memory. One that fails can end the program, which then starts again in its own place.
const MEMORY: &[&str] = &["brk", "mmap", "mremap"];

/// A way for PID 1 to wait, and what differs in its system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Ring,
    Epoll,
    /// It cannot listen to signals, so only a rescue shell is left.
    Rescue,
}

/// All of them, in their order.
const WAYS: [Way; 3] = [Way::Ring, Way::Epoll, Way::Rescue];

impl Way {
    fn files(self) -> Vec<(&'static str, &'static str)> {
        // SAFETY: the call takes nothing.
        let root = unsafe { libc::geteuid() } == 0;
        let mut files = vec![
            ("etc/inittab", TABLE),
            ("etc/run.sh", RUN),
            ("etc/services.d/talk.toml", TALK),
            ("etc/services.d/ask.toml", ASK),
            ("etc/services.d/lost.toml", LOST),
            ("etc/services.d/user.toml", if root { USER } else { ASK }),
            ("etc/hostname", "iron\n"),
            ("etc/fstab", "none /run/more tmpfs nofail 0 0\n"),
            ("etc/sysctl.conf", "kernel.panic = 5\n"),
            ("etc/passwd", "root:x:0:0:root:/:/bin/sh\nweb:x:33:33:web:/:/bin/sh\n"),
            ("etc/group", "root:x:0:\ntty:x:5:\ndisk:x:6:\n"),
            ("sys/kernel/panic", "0\n"),
            // Devices that answer no request.
            ("dev/watchdog", ""),
            ("dev/rtc0", ""),
            ("swaps", "Filename Type Size Used Priority\n/dev/swap partition 4096 0 -2\n"),
        ];
        match self {
            Way::Ring => files.push(("cmdline", "init.grace=1 init.watchdog=1000")),
            Way::Rescue => files.push(("cmdline", "")),
            Way::Epoll => files.push(("cmdline", "init.grace=1 init.epoll")),
        }
        files
    }

    /// The fault that each of its runs has.
    fn lasting(self) -> Option<Fault> {
        (self == Way::Rescue).then_some(Fault::Always("signalfd4", libc::ENOMEM))
    }

    fn stage(self, name: &str, program: &str) -> Stage {
        Stage::new(&format!("{name}-{self:?}"), program, &self.files())
    }
}

/// A call of a run: its name with its subject, and which of those with this name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Site {
    name: String,
    nth: u32,
}

/// A call that fails.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    /// Once, at one place.
    Once(Site, c_int),
    /// Always, all calls whose name begins so.
    Always(&'static str, c_int),
}

impl Fault {
    /// The error that a call gets, if any.
    fn error(&self, site: &Site, hit: bool) -> Option<c_int> {
        match self {
            Fault::Once(chosen, error) => (!hit && chosen == site).then_some(*error),
            Fault::Always(name, error) => is_of(&site.name, name).then_some(*error),
        }
    }

    fn label(&self) -> String {
        match self {
            Fault::Once(site, error) => format!("{} #{}: {}", site.name, site.nth, calls::error_name(*error)),
            Fault::Always(name, error) => format!("{name}, always: {}", calls::error_name(*error)),
        }
    }

    fn name(&self) -> &str {
        match self {
            Fault::Once(site, _) => &site.name,
            Fault::Always(name, _) => name,
        }
    }
}

/// Whether a call with this name is of a system call, or of one with a subject that begins so.
fn is_of(name: &str, start: &str) -> bool {
    name.strip_prefix(start).is_some_and(|rest| start.contains(' ') || rest.is_empty() || rest.starts_with(' '))
}

/// What happened in a run.
#[derive(Default)]
struct Outcome {
    /// Its calls, in their order.
    sites: Vec<(Site, &'static Row)>,
    /// Calls that are not in the table.
    unknown: HashSet<i64>,
    /// The fault came to pass.
    hit: bool,
    /// The status of wait(2) when PID 1 ended.
    end: Option<c_int>,
    /// How often the system was asked to power off.
    asked: u32,
    said: String,
    time: Duration,
    /// How many calls PID 1 made.
    calls: u32,
}

impl Outcome {
    /// What is wrong with it.
    fn verdict(&self, fault: Option<&Fault>) -> Result<(), String> {
        // The kernel ends the PID 1 of a namespace that asks to power off by this signal (reboot(2)).
        match self.end {
            Some(status) if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGINT => {}
            Some(status) => return Err(format!("PID 1 ended with status {status:#x}")),
            None => return Err(format!("the system did not come down in {LIMIT:?}, asked {} times", self.asked)),
        }
        // An allocation that fails ends any program; PID 1 starts again in its place.
        let memory = MEMORY.iter().any(|name| fault.is_some_and(|fault| is_of(fault.name(), name)));
        // What is said before the console is there is lost, so the next program's word counts too.
        let fault =
            ["a fault in init", "the init before this one had a fault"].iter().any(|text| self.said.contains(text));
        if fault && !memory {
            return Err("PID 1 had a fault".into());
        }
        Ok(())
    }
}

/// The processes of one run.
struct Run<'a> {
    stage: &'a Stage,
    init: pid_t,
    fault: Option<&'a Fault>,
    /// One that is there in every run.
    lasting: Option<Fault>,
    counts: HashMap<String, u32>,
    /// PID 1 has left its loader.
    begun: bool,
    /// PID 1 starts again after a fault.
    guarded: bool,
    /// Calls that get another result at their end.
    results: HashMap<pid_t, i64>,
    /// The call that PID 1 is in.
    call: Option<Call>,
    /// Its ring.
    ring: Option<Ring>,
    outcome: Outcome,
}

impl Run<'_> {
    fn take(&mut self, pid: pid_t, stop: Stop) {
        let mut signal = 0;
        match stop {
            Stop::Entry(call) => self.enter(pid, call),
            Stop::Exit(result) => match self.results.remove(&pid) {
                Some(result) => trace::set_result(pid, result),
                None if pid == self.init => self.leave(result),
                None => {}
            },
            // Its own program again: the loader's calls are not PID 1's.
            Stop::Exec if pid == self.init => (self.begun, self.guarded, self.ring) = (false, false, None),
            Stop::Exec => return trace::let_go(pid),
            Stop::Signal(number) => signal = number,
            Stop::Other => {}
            Stop::Ended(status) => {
                self.results.remove(&pid);
                if pid == self.init {
                    self.outcome.end = Some(status);
                }
                return;
            }
        }
        trace::go_on(pid, signal);
    }

    fn enter(&mut self, pid: pid_t, call: Call) {
        if pid == self.init && !self.begun {
            // The first call of PID 1's own code.
            self.begun = call.number == libc::SYS_getpid;
            return;
        }
        if pid == self.init {
            self.call = Some(call);
            self.outcome.calls += 1;
            if let Some(ring) = self.ring.as_mut().filter(|_| call.number == libc::SYS_io_uring_enter) {
                // Nothing yet when only one of its parts is mapped.
                let _ = ring.submitted(pid);
            }
        }
        let Some(row) = calls::find(call.number) else {
            self.outcome.unknown.insert(call.number);
            return;
        };
        // Nothing helps a program without memory for its first kilobytes: its handler of faults is not there yet.
        self.guarded |= pid == self.init && call.number == libc::SYS_sigaltstack;
        if !self.guarded && MEMORY.contains(&row.name) {
            return;
        }
        if call.number == libc::SYS_sync {
            // The host's disks have nothing to do with this.
            trace::skip(pid);
            self.results.insert(pid, 0);
        }
        // The standard library looks for its own mistakes with F_GETFD, which fails for a wrong program only.
        let looks = call.number == libc::SYS_fcntl && call.arguments[1] as c_int == libc::F_GETFD;
        if row.errors.is_empty() || looks {
            return;
        }
        let name = name(pid, pid == self.init, row, &call);
        if let Some(error) = self.error(name, row) {
            if !row.done {
                trace::skip(pid);
            }
            self.results.insert(pid, -i64::from(error));
        }
    }

    /// The error of a call that is made now, if it is to have one.
    fn error(&mut self, name: String, row: &'static Row) -> Option<c_int> {
        let count = self.counts.entry(name.clone()).or_default();
        let site = Site { name, nth: *count };
        *count += 1;
        if let Some(error) = self.fault.and_then(|fault| fault.error(&site, self.outcome.hit)) {
            self.outcome.hit = true;
            return Some(error);
        }
        let lasting = self.lasting.as_ref().and_then(|fault| fault.error(&site, false));
        if self.fault.is_none() && site.nth < REPEATED {
            self.outcome.sites.push((site, row));
        }
        lasting
    }

    /// PID 1 leaves a call.
    fn leave(&mut self, result: i64) {
        let pid = self.init;
        match self.call.take() {
            Some(call) if call.number == libc::SYS_io_uring_setup => self.ring = Ring::new(pid, &call, result),
            Some(call) if call.number == libc::SYS_mmap => {
                if let Some(ring) = &mut self.ring {
                    ring.mapped(&call, result);
                }
            }
            Some(call) if call.number == libc::SYS_io_uring_enter => {
                let answers = self.ring.as_mut().and_then(|ring| ring.answers(pid));
                for answer in answers.into_iter().flatten() {
                    let Some(row) = answer.row() else {
                        self.outcome.unknown.insert(answer.operation);
                        continue;
                    };
                    let subject = plain(&trace::descriptor(pid, answer.descriptor as u64));
                    if let Some(error) = self.error(format!("{} {subject}", row.name).trim_end().to_owned(), row) {
                        assert!(answer.fail(pid, error), "the ring cannot be written to");
                    }
                }
            }
            _ => {}
        }
    }

    fn run(mut self) -> Outcome {
        let started = Instant::now();
        let mut last = Instant::now();
        let (mut asked, mut latest, mut turns) = (None::<Instant>, Instant::now(), 0u32);
        while self.outcome.end.is_none() && asked.is_none_or(|first| first.elapsed() < LIMIT) {
            let ask = match asked {
                None => last.elapsed() >= IDLE || started.elapsed() >= WORKING,
                Some(_) => last.elapsed() >= AGAIN || latest.elapsed() >= WORKING,
            };
            if ask {
                // SAFETY: kill(2) takes no pointers.
                unsafe { libc::kill(self.init, libc::SIGUSR2) };
                self.outcome.asked += 1;
                asked.get_or_insert_with(Instant::now);
                (last, latest) = (Instant::now(), Instant::now());
            }
            if let Some((pid, stop)) = trace::next() {
                self.take(pid, stop);
                (last, turns) = (Instant::now(), 0);
                continue;
            }
            // A process that goes on comes back within microseconds, most of the time.
            turns += 1;
            if turns < 50 {
                std::thread::yield_now();
                continue;
            }
            std::thread::sleep(Duration::from_micros(300));
        }
        self.finish();
        self.outcome.time = started.elapsed();
        self.outcome.said = self.stage.said();
        self.outcome
    }

    /// Leaves nothing behind.
    fn finish(&mut self) {
        let hung = self.outcome.end.is_none();
        // SAFETY: kill(2) takes no pointers. PID 1's end is that of its namespace.
        unsafe { libc::kill(self.init, libc::SIGKILL) };
        let started = Instant::now();
        while hung && self.outcome.end.is_none() && started.elapsed() < LIMIT {
            match trace::next() {
                Some((pid, stop)) => self.take(pid, stop),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        if hung {
            self.outcome.end = None;
        }
        // What was traced and ended with it.
        while trace::next().is_some() {}
    }
}

/// The name of a call, the same in every run: process numbers and the like are left out.
fn name(pid: pid_t, own: bool, row: &Row, call: &Call) -> String {
    let argument = |index: usize| call.arguments[index];
    let subject = match row.subject {
        Subject::No => String::new(),
        Subject::Path(index) => trace::text(pid, argument(index)),
        Subject::Descriptor(index) | Subject::Request(index, _) => trace::descriptor(pid, argument(index)),
        Subject::Number(index) => format!("{}", argument(index) as c_int),
    };
    let mut plain = plain(&subject);
    let who = if own { "" } else { " (child)" };
    if let Subject::Request(_, index) = row.subject {
        plain += &format!(" {:#x}", argument(index));
    }
    format!("{} {}", row.name, plain).trim_end().to_owned() + who
}

/// A subject without the numbers of the kernel's names, which are those of processes, sockets and devices.
fn plain(subject: &str) -> String {
    let volatile = ["/proc/", "/sys/", "socket:", "pipe:"].iter().any(|start| subject.starts_with(start));
    let mut plain = String::new();
    for character in subject.chars() {
        match character {
            '0'..='9' if volatile && plain.ends_with('N') => {}
            '0'..='9' if volatile => plain.push('N'),
            _ => plain.push(character),
        }
    }
    plain
}

fn run(stage: &Stage, way: Way, fault: Option<&Fault>) -> Result<Outcome, String> {
    let init = stage.start().map_err(|error| format!("this host allows no namespaces: {error}"))?;
    // Its first stop is that of its exec.
    let started = Instant::now();
    let stop = loop {
        match trace::next() {
            Some((_, stop)) => break stop,
            None if started.elapsed() > LIMIT => return Err("init does not start".into()),
            None => std::thread::sleep(Duration::from_micros(200)),
        }
    };
    if stop != Stop::Signal(libc::SIGTRAP) {
        return Err(format!("this host does not let init be started in namespaces and traced: {stop:?}"));
    }
    trace::begin(init).map_err(|error| format!("this host allows no tracing: {error}"))?;
    trace::go_on(init, 0);
    let counts = HashMap::new();
    let (begun, results, outcome) = (false, HashMap::new(), Outcome::default());
    let lasting = way.lasting();
    Ok(Run { stage, init, fault, lasting, counts, begun, guarded: false, results, call: None, ring: None, outcome }
        .run())
}

/// The numbers below `length` in an order in which any beginning is spread over all of them: the golden ratio does it best.
fn spread(length: usize) -> impl Iterator<Item = usize> {
    let divisor = |mut a: usize, mut b: usize| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let start = (length as f64 * 0.618) as usize;
    // A step that has no divisor in common with the length goes through all of them.
    let step = (start.max(1)..).find(|&step| divisor(step, length) == 1).unwrap_or(1);
    (0..length).map(move |index| index * step % length)
}

/// What is tried: how many of the list have to be, and the list.
fn plan(records: &[(Way, Outcome)], chosen: &str) -> (usize, Vec<(Way, Fault)>) {
    let mut all = Vec::new();
    for (way, outcome) in records {
        for (site, row) in &outcome.sites {
            all.extend(row.errors.iter().map(|&error| (*way, Fault::Once(site.clone(), error))));
        }
    }
    if !matches!(chosen, "" | "all") {
        all.retain(|(_, fault)| fault.name().starts_with(chosen));
        return (all.len(), all);
    }
    let mut faults = Vec::new();
    for row in calls::all() {
        // Where this call is made, the ways in turns.
        let mut places: Vec<Vec<(Way, &Site)>> = Vec::new();
        for (way, outcome) in records {
            let own = outcome.sites.iter().filter(|(_, other)| other.number == row.number);
            places.push(own.map(|(site, _)| (*way, site)).collect());
        }
        places.retain(|places| !places.is_empty());
        for (index, &error) in row.errors.iter().enumerate() {
            if let Some(places) = places.get(index % places.len().max(1)) {
                let place = spread(places.len()).nth(index % places.len()).unwrap_or(0);
                let (way, site) = places[place];
                faults.push((way, Fault::Once(site.clone(), error)));
            }
        }
    }
    // In an order in which those that a slow host comes to are of all kinds.
    let mut faults: Vec<_> = spread(faults.len()).map(|index| faults[index].clone()).collect();
    let needed = faults.len();
    let rest: Vec<_> =
        spread(all.len()).map(|index| all[index].clone()).filter(|fault| !faults.contains(fault)).collect();
    faults.extend(rest);
    (if chosen == "all" { faults.len() } else { needed }, faults)
}

/// `BLOOMERY_TEST_SLOW`, which multiplies time limits for slow machines.
fn slowness() -> f64 {
    let Ok(text) = std::env::var("BLOOMERY_TEST_SLOW") else {
        return 1.0;
    };
    text.parse().unwrap_or_else(|_| panic!("BLOOMERY_TEST_SLOW=`{text}` is no number, such as 2 or 0.5"))
}

/// The program under test. The shipped one, which is static, can be given.
fn program() -> String {
    std::env::var("BLOOMERY_TEST_INIT").unwrap_or_else(|_| env!("CARGO_BIN_EXE_init").into())
}

/// The calls of each way; nothing where this host does not allow that.
fn record(name: &str) -> Option<Vec<(Way, Outcome)>> {
    let mut records = Vec::new();
    for way in WAYS {
        let stage = way.stage(&format!("record-{name}"), &program());
        // The first run leaves files that the others find.
        match run(&stage, way, None).and_then(|_| run(&stage, way, None)) {
            Ok(outcome) => records.push((way, outcome)),
            Err(reason) => {
                testing::skip(&reason);
                return None;
            }
        }
    }
    Some(records)
}

/// Tries faults, `needed` of them and as many more as there is time for; a report of the number and of what failed.
///
/// Where `tell` is true also what each PID 1 said.
fn try_all(name: &str, faults: &[(Way, Fault)], needed: usize, tell: bool) {
    let (next, done, missed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let (failures, slow) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let first_done = Mutex::new(None::<Instant>);
    let unbounded = std::env::var("BLOOMERY_TEST_FAULTS").is_ok();
    let program = program();
    // Before the first run: a child that gets the descriptor with which another thread writes a program keeps it from running.
    let stages: Vec<[Stage; WAYS.len()]> =
        (0..WORKERS).map(|worker| WAYS.map(|way| way.stage(&format!("{name}-{worker}"), &program))).collect();
    let timeout = TIMEOUT.mul_f64(slowness());
    let started = Instant::now();
    std::thread::scope(|scope| {
        for stages in &stages {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some((way, fault)) = faults.get(index) else {
                        break;
                    };
                    let begun = *first_done.lock().unwrap().get_or_insert_with(Instant::now);
                    if index < needed {
                        *first_done.lock().unwrap() = None;
                    }
                    let over = if index < needed { started.elapsed() > timeout } else { begun.elapsed() > BUDGET };
                    if over && !unbounded {
                        break;
                    }
                    let label = format!("{way:?}, {}", fault.label());
                    let outcome = match run(&stages[*way as usize], *way, Some(fault)) {
                        Ok(outcome) => outcome,
                        Err(reason) => panic!("{label}: {reason}"),
                    };
                    let count = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if unbounded && count.is_multiple_of(500) {
                        eprintln!("{name}: {count} of {}", faults.len());
                    }
                    if tell {
                        eprintln!("{label}:\n{}", outcome.said);
                    }
                    if !outcome.hit {
                        missed.fetch_add(1, Ordering::Relaxed);
                    }
                    if let Err(reason) = outcome.verdict(Some(fault)) {
                        // At once: all of them take long, and somebody may stop them.
                        eprintln!("{label}: {reason}");
                        failures.lock().unwrap().push(format!("{label}: {reason}\n{}", outcome.said));
                    } else if outcome.time > WORKING {
                        slow.lock()
                            .unwrap()
                            .push(format!("{label}: {:?}, {} calls\n{}", outcome.time, outcome.calls, outcome.said));
                    }
                }
            });
        }
    });
    let (done, missed) = (done.into_inner(), missed.into_inner());
    let seconds = started.elapsed().as_secs_f64();
    eprintln!(
        "{name}: {done} faults tried in {seconds:.1} s ({needed} have to be, of {}); {missed} calls did not come",
        faults.len()
    );
    for line in slow.into_inner().unwrap() {
        eprintln!("slow: {line}");
    }
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {done} failed:\n{}", failures.len(), failures.join("\n"));
    assert!(
        done >= needed,
        "{} of {needed} faults were not tried within {timeout:.0?}\nhint: BLOOMERY_TEST_SLOW=3 waits three times as long",
        needed - done
    );
    assert!(done > 0 && missed * 4 <= done, "too many calls did not come again: the runs are not alike");
}

#[test]
fn every_call_fails_once_with_every_error() {
    let Some(records) = record("faults") else {
        return;
    };
    for (way, recorded) in &records {
        assert!(recorded.unknown.is_empty(), "calls that calls.rs does not have: {:?}", recorded.unknown);
        assert_eq!(recorded.verdict(None), Ok(()), "{}", recorded.said);
        let names: Vec<&str> = recorded.sites.iter().map(|(site, _)| site.name.as_str()).collect();
        if std::env::var("BLOOMERY_TEST_FAULTS").is_ok_and(|chosen| chosen == "list") {
            eprintln!("{way:?}: {}\n{}", names.join("\n"), recorded.said);
        }
        if *way == Way::Rescue {
            assert!(recorded.said.contains("only a rescue shell is left"), "{}", recorded.said);
            continue;
        }
        for needed in [
            "/etc/inittab",
            "clone|fork",
            "wait4",
            "signalfd4",
            "mount /tmp",
            "execve /bin/sleep (child)",
            "openat2 /etc/no/program",
            "write pipe:[N] (child)",
            "accept4 socket:[N]",
        ] {
            assert!(
                needed.split('|').any(|end| names.iter().any(|name| name.ends_with(end))),
                "no {needed} in:\n{}\n{}",
                names.join("\n"),
                recorded.said
            );
        }
    }
    doors::all_are_tried(
        &records.iter().flat_map(|(_, outcome)| outcome.sites.iter().map(|(_, row)| row.name)).collect(),
    );
    let chosen = std::env::var("BLOOMERY_TEST_FAULTS").unwrap_or_default();
    let (needed, faults) = plan(&records, &chosen);
    let places: usize = records.iter().map(|(_, outcome)| outcome.sites.len()).sum();
    eprintln!("{places} places at which a call is made");
    try_all("faults", &faults, needed, !matches!(&*chosen, "" | "all"));
}

/// The errors of calls that last: none of them may make PID 1 wait for ever or go round in a circle.
#[rustfmt::skip]
const LASTING: &[(&str, c_int)] = &[
    // No io_uring, in each of the kernel's ways to say so.
    ("io_uring_setup", libc::ENOSYS), ("io_uring_setup", libc::EPERM), ("io_uring_setup", libc::ENOMEM),
    ("io_uring_setup", libc::EINVAL), ("io_uring_enter", libc::EPERM), ("io_uring_enter", libc::ENOMEM),
    ("io_uring_enter", libc::EAGAIN), ("io_uring_enter", libc::EBUSY),
    // No console, in each of its ways.
    ("open /dev/console", libc::ENOENT), ("open /dev/console", libc::EIO), ("openat /dev/console", libc::ENOENT),
    ("write /dev/console", libc::EIO), ("write /dev/console", libc::EAGAIN), ("writev", libc::EIO),
    // A disk that is full, read-only or broken.
    ("io_uring:write", libc::ENOSPC), ("io_uring:openat", libc::EROFS), ("io_uring:statx", libc::EIO), ("write /run/log", libc::ENOSPC), ("write /run", libc::EIO), ("write /var/lib", libc::ENOSPC), ("fsync", libc::EIO),
    ("mkdir", libc::EROFS), ("mkdirat", libc::EROFS), ("symlink", libc::EROFS), ("symlinkat", libc::EROFS),
    ("unlink", libc::EROFS), ("unlinkat", libc::EROFS), ("rename", libc::EROFS), ("renameat", libc::EROFS),
    ("open /var/lib", libc::EROFS), ("open /run", libc::EROFS), ("open /etc", libc::EIO), ("read /etc", libc::EIO),
    ("openat /var/lib", libc::EROFS), ("openat /run", libc::EROFS), ("openat /etc", libc::EIO),
    ("open /proc", libc::ENOENT), ("open /sys", libc::ENOENT), ("openat /proc", libc::ENOENT), ("mount", libc::EPERM),
    // No memory, processes, descriptors or sockets.
    ("clone", libc::EAGAIN), ("clone", libc::ENOMEM), ("fork", libc::EAGAIN), ("execve", libc::ENOMEM),
    ("pipe2", libc::EMFILE), ("socket", libc::EMFILE), ("socket", libc::EAFNOSUPPORT), ("accept4", libc::EMFILE),
    ("epoll_ctl", libc::ENOMEM), ("epoll_create1", libc::EMFILE), ("dup3", libc::EMFILE), ("dup2", libc::EMFILE),
    ("fcntl", libc::EMFILE), ("memfd_create", libc::ENOMEM), ("signalfd4", libc::ENODEV), ("pidfd_open", libc::EMFILE),
    ("open", libc::ENFILE), ("openat", libc::ENFILE), ("open", libc::ENOMEM), ("openat", libc::ENOMEM),
    ("getdents64", libc::EIO), ("sigaltstack", libc::ENOMEM), ("madvise", libc::ENOMEM),
    // What a security module forbids.
    ("setsid", libc::EPERM), ("ioctl", libc::EPERM), ("bind", libc::EACCES), ("listen", libc::EACCES), ("prctl", libc::EPERM),
    ("setsockopt", libc::EPERM), ("getsockopt", libc::EACCES), ("sendto", libc::EPERM), ("recvmsg", libc::EACCES),
    ("recvfrom", libc::EACCES), ("getrandom", libc::ENOSYS), ("chdir", libc::EACCES), ("prlimit64", libc::EPERM),
    ("umount2", libc::EPERM), ("openat2", libc::EPERM), ("openat2", libc::ENOSYS), ("stat", libc::EACCES), ("newfstatat", libc::EACCES), ("readlinkat", libc::EACCES),
];

#[test]
fn what_fails_always_does_not_take_pid_1_away() {
    let Some(records) = record("lasting") else {
        return;
    };
    let mut faults = Vec::new();
    for (way, outcome) in &records {
        for &(name, error) in LASTING {
            if outcome.sites.iter().any(|(site, _)| is_of(&site.name, name)) {
                faults.push((*way, Fault::Always(name, error)));
            }
        }
    }
    try_all("lasting", &faults, faults.len(), false);
}

#[test]
fn without_io_uring_it_waits_with_epoll_and_says_so_once() {
    let stage = Way::Ring.stage("refused", &program());
    for error in [libc::ENOSYS, libc::EPERM, libc::ENOMEM] {
        let outcome = match run(&stage, Way::Ring, Some(&Fault::Always("io_uring_setup", error))) {
            Ok(outcome) => outcome,
            Err(reason) => return testing::skip(&reason),
        };
        assert_eq!(outcome.verdict(None), Ok(()), "{}", outcome.said);
        let count = |text: &str| outcome.said.matches(text).count();
        // Each program of PID 1: the second one takes over from the first.
        let programs = 1 + count("init took over");
        assert_eq!(count("io_uring is not available"), programs, "{}", outcome.said);
        assert_eq!((count("io_uring"), count("waiting with epoll")), (programs, programs), "{}", outcome.said);
        assert!(outcome.said.contains("talk  running"), "{}", outcome.said);
    }
}
