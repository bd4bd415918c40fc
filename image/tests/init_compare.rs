//! The same `/etc/inittab` and the same events under busybox init and under ours, in QEMU: what their programs report
//! must be the same but for [`INTENDED`].
//!
//! Each scenario boots the kernel of `base` twice, side by side, with an initramfs that is the root of `base` and a few
//! scripts of `tests/init/`. One of the scripts, the driver, is an entry of the table; it sends the signals and waits for
//! what they do. The scripts report by the kernel's log ([`common::events`]).

mod common;

use anyhow::{Result, ensure};
use build_support::Arch;
use common::console::Console;
use common::events::{self, Reports, Who, differences};
use common::guest::{Guest, Start, extra};
use common::initramfs::Initramfs;
use common::outputs::Outputs;
use common::{report, slots};
use system::machine::Options;

/// Seconds that a guest may say nothing: the driver gives up a wait after 30.
const SILENCE: f64 = 60.0;

for_each_arch! {
    the_order_of_a_boot_and_its_end, what_programs_start_with, signals_and_reloads, a_person_at_the_console,
    another_program_in_the_place_of_init, a_system_without_a_table, a_single_user,
}

/// Not every machine has a keyboard of its own.
const KEYBOARD: &str = "virtio-keyboard-pci";

/// The programs of every scenario. `sbin` and `bin` are links to `usr/bin`.
const PROGRAMS: &[(&str, &str)] = &[
    ("usr/lib/events", include_str!("init/lib.sh")),
    ("usr/bin/rc", include_str!("init/rc")),
    ("usr/bin/ev", include_str!("init/ev")),
    ("usr/bin/facts", include_str!("init/facts")),
    ("usr/bin/slow", include_str!("init/slow")),
    ("usr/bin/daemon", include_str!("init/daemon")),
];

/// A table, what happens, and what must be seen of it under both.
struct Scenario {
    name: &'static str,
    /// `/etc/inittab`; none leaves the file out.
    inittab: Option<&'static str>,
    /// The script `/bin/driver`.
    driver: &'static str,
    /// More files.
    files: &'static [(&'static str, &'static str)],
    /// Words for the kernel's command line.
    append: &'static str,
    /// What a person does: when this text is on the console, these keys.
    keys: &'static [(&'static str, Keys)],
    /// Reports that both must make, so that two guests that do nothing are not alike.
    must: &'static [&'static str],
}

/// What a person does.
enum Keys {
    /// Types.
    Type(&'static str),
    /// Holds Ctrl, Alt and Del on the machine's keyboard.
    CtrlAltDel,
}

/// A difference that is meant.
struct Intended {
    scenario: &'static str,
    who: Who,
    /// Lane and text. A `*` at the end stands for anything, `{tty}` for the device behind the console, and `{0,1,2}` for
    /// each of these, which must all be seen.
    report: &'static str,
    reason: &'static str,
}

const BUSYBOX: Who = Who::First;
const OURS: Who = Who::Second;

/// Every difference, with its reason. One that is not seen any more fails the test too.
#[rustfmt::skip]
const INTENDED: &[Intended] = &[
    Intended { scenario: "order", who: OURS, report: "nameless runs",
        reason: "a script without #! is given to /bin/sh, as a shell does" },
    Intended { scenario: "order", who: OURS, report: "order blanks around the fields",
        reason: "blanks around the fields of an entry are no fault" },
    Intended { scenario: "facts", who: BUSYBOX, report: "login-shell environment TERM=vt102",
        reason: "TERM is that of the program's own terminal, and not of init's" },
    Intended { scenario: "facts", who: OURS, report: "login-shell environment TERM=linux",
        reason: "TERM is that of the program's own terminal, and not of init's" },
    Intended { scenario: "facts", who: BUSYBOX, report: "once-tty3 environment TERM=vt102",
        reason: "TERM is that of the program's own terminal, and not of init's" },
    Intended { scenario: "facts", who: OURS, report: "once-tty3 environment TERM=linux",
        reason: "TERM is that of the program's own terminal, and not of init's" },
    Intended { scenario: "facts", who: BUSYBOX, report: "respawn-tty4 environment TERM=vt102",
        reason: "TERM is that of the program's own terminal, and not of init's" },
    Intended { scenario: "facts", who: OURS, report: "respawn-tty4 environment TERM=linux",
        reason: "TERM is that of the program's own terminal, and not of init's" },
    Intended { scenario: "facts", who: BUSYBOX, report: "wait-tty2 environment TERM=vt102",
        reason: "TERM is that of the program's own terminal, and not of init's" },
    Intended { scenario: "facts", who: OURS, report: "wait-tty2 environment TERM=linux",
        reason: "TERM is that of the program's own terminal, and not of init's" },
    Intended { scenario: "facts", who: BUSYBOX, report: "once-dash descriptor {0,1,2} /dev/console",
        reason: "what a person types into gets the device behind the console, which can be its controlling terminal" },
    Intended { scenario: "facts", who: OURS, report: "once-dash descriptor {0,1,2} /dev/{tty}",
        reason: "what a person types into gets the device behind the console, which can be its controlling terminal" },
    Intended { scenario: "askfirst", who: BUSYBOX, report: "asked descriptor {0,1,2} /dev/console",
        reason: "what a person types into gets the device behind the console, which can be its controlling terminal" },
    Intended { scenario: "askfirst", who: OURS, report: "asked descriptor {0,1,2} /dev/{tty}",
        reason: "what a person types into gets the device behind the console, which can be its controlling terminal" },
    Intended { scenario: "single", who: BUSYBOX, report: "shell descriptor {0,1,2} /dev/console",
        reason: "what a person types into gets the device behind the console, which can be its controlling terminal" },
    Intended { scenario: "single", who: OURS, report: "shell descriptor {0,1,2} /dev/{tty}",
        reason: "what a person types into gets the device behind the console, which can be its controlling terminal" },
    Intended { scenario: "askfirst", who: BUSYBOX, report: "asked controlling terminal none, in its foreground no",
        reason: "Ctrl-C and job control work after Enter" },
    Intended { scenario: "askfirst", who: OURS, report: "asked controlling terminal {tty}, in its foreground yes",
        reason: "Ctrl-C and job control work after Enter" },
    Intended { scenario: "default", who: BUSYBOX, report: "driver waits on /dev/console",
        reason: "what a person types into gets the device behind the console, which can be its controlling terminal" },
    Intended { scenario: "default", who: OURS, report: "driver waits on /dev/{tty}",
        reason: "what a person types into gets the device behind the console, which can be its controlling terminal" },
    Intended { scenario: "signals", who: OURS, report: "once-nosuch *",
        reason: "what runs only once runs on the console when its terminal is missing" },
    Intended { scenario: "facts", who: OURS, report: "wait-nosuch *",
        reason: "what runs only once runs on the console when its terminal is missing" },
    Intended { scenario: "signals", who: BUSYBOX, report: "driver gone: starts 1, runs yes",
        reason: "a reload stops what the table no longer has" },
    Intended { scenario: "signals", who: OURS, report: "driver gone: starts 1, runs no",
        reason: "a reload stops what the table no longer has" },
    Intended { scenario: "signals", who: BUSYBOX, report: "driver starts of kept: 3",
        reason: "a reload without a table changes nothing; busybox takes its built-in one" },
    Intended { scenario: "signals", who: OURS, report: "driver starts of kept: 4",
        reason: "a reload without a table changes nothing; busybox takes its built-in one" },
    Intended { scenario: "restart", who: BUSYBOX, report: "successor daemon: Z",
        reason: "what was killed is waited for; busybox leaves it to its successor" },
    Intended { scenario: "restart", who: OURS, report: "successor daemon: gone",
        reason: "what was killed is waited for; busybox leaves it to its successor" },
];

fn the_order_of_a_boot_and_its_end(arch: Arch) -> Result<()> {
    compare(
        arch,
        &Scenario {
            name: "order",
            inittab: Some(
                "# A comment, an empty line, and entries in no order.\n\n\
             ::shutdown:/bin/slow shutdown one\n\
             ::respawn:/bin/brief\n\
             ::respawn:/bin/daemon respawned\n\
             ::once:/bin/driver # a comment behind an entry\n\
             ::once:/bin/slow once-1 one\n\
             ::wait:/bin/slow order wait-1\n\
             ::sysinit:/bin/rc\n\
             :2345:sysinit:/bin/slow order sysinit-1\n\
             ::sysinit:/no/such/program\n\
             ::once:/bin/slow once-2 two\n\
             ::sysinit:/bin/slow order sysinit-2\n\
             ::wait:ev order looked for in PATH\n\
             ::wait:/bin/ev order \"a  shell's words\" $((1 + 2)) >/dev/null\n\
             ::wait:/bin/ev   order\ta:b  plain   words\n\
             ::wait:/bin/ev order a line that \\\n\
             goes on\n\
             ::fly:/bin/ev order an action that does not exist\n\
             ::wait\n\
             ::wait:\n\
             : : wait : /bin/ev order blanks around the fields\n\
             ::once:/bin/nameless\n\
             ::wait:/bin/slow order wait-2\n\
             ::shutdown:/bin/slow shutdown two\n\
             ::ctrlaltdel:/bin/ev order ctrlaltdel without its key\n\
             ::restart:/bin/ev order restart without its signal\n",
            ),
            files: &[
                (
                    "usr/bin/brief",
                    "#!/bin/sh\n. /lib/events\necho $$ >>/run/brief.pids\nev brief \"start $(starts brief)\"\n[ $(starts brief) -lt 3 ] || exec sleep 1000\n",
                ),
                // Without #!.
                ("usr/bin/nameless", ". /lib/events\nev nameless runs\n"),
            ],
            driver: "ev order \"driver: the entries before it are done\"
            until_true '[ $(starts brief) = 3 ] && running respawned'
            ev respawned \"its process ends\"
            signal respawned USR1
            until_true '[ $(starts respawned) = 2 ] && running respawned'
            poweroff",
            append: "",
            keys: &[],
            must: &["order wait-2 ends", "brief start 3", "shutdown two ends", "end reboot: Power down"],
        },
    )
}

fn what_programs_start_with(arch: Arch) -> Result<()> {
    compare(
        arch,
        &Scenario {
            name: "facts",
            inittab: Some(
                "::sysinit:/bin/rc\n\
             ::sysinit:/bin/facts sysinit\n\
             ::wait:/bin/facts wait \"two words\" >/dev/null\n\
             tty2::wait:/bin/facts wait-tty2\n\
             /dev/tty3::once:/bin/facts once-tty3\n\
             ::once:facts once\n\
             ::once:-/bin/facts once-dash\n\
             nosuch::wait:/bin/facts wait-nosuch\n\
             ::respawn:/bin/once-only facts respawn\n\
             tty4::respawn:/bin/once-only facts respawn-tty4\n\
             tty5::respawn:-/bin/sh\n\
             tty6::askfirst:/bin/facts never\n\
             ::once:/bin/driver\n",
            ),
            files: &[
                (
                    "usr/bin/once-only",
                    "#!/bin/sh\n[ ! -e /run/done-$2 ] || exec sleep 1000\n: >/run/done-$2\nexec \"$@\"\n",
                ),
                // Login shells read it.
                ("etc/profile", ". /lib/events\nfacts login-shell\n"),
            ],
            driver: "for lane in once-tty3 once once-dash respawn respawn-tty4 login-shell; do
                until_true \"[ \\$(told $lane) = 1 ]\"
            done
            sleep 3
            reboot",
            append: "5 FOO=bar TERM=linux",
            keys: &[],
            must: &["login-shell arguments -/bin/sh|", "respawn environment FOO=bar", "end reboot: Restarting system"],
        },
    )
}

fn signals_and_reloads(arch: Arch) -> Result<()> {
    compare(
        arch,
        &Scenario {
            name: "signals",
            inittab: Some(
                "::sysinit:/bin/rc\n\
             ::sysinit:/bin/ev boot sysinit\n\
             ::respawn:/bin/daemon kept\n\
             ::respawn:/bin/daemon gone\n\
             ::respawn:/bin/daemon changed changed-first\n\
             ::respawn:/bin/daemon becomes-once\n\
             ::once:/bin/driver\n\
             nosuch::once:/bin/facts once-nosuch\n\
             ::ctrlaltdel:/bin/slow ctrlaltdel one\n\
             ::ctrlaltdel:/bin/slow ctrlaltdel two\n",
            ),
            files: &[(
                "etc/inittab.2",
                "::sysinit:/bin/ev boot sysinit again\n\
             ::wait:/bin/ev boot wait of a reload\n\
             ::once:/bin/ev boot once of a reload\n\
             ::respawn:/bin/daemon new\n\
             ::once:/bin/driver\n\
             ::once:/bin/daemon becomes-once\n\
             ::respawn:/bin/daemon changed changed-second\n\
             ::respawn:/bin/daemon kept\n\
             ::ctrlaltdel:/bin/slow ctrlaltdel three\n",
            )],
            driver: "up() { until_true \"[ \\$(starts $1) = $2 ] && running $1\"; }
            for name in kept gone changed becomes-once; do up $name 1; done
            for signal in STOP KILL SEGV WINCH PIPE; do kill -$signal 1; done
            sleep 0.3
            ev driver 'signals that mean nothing: still here'
            kill -QUIT 1
            sleep 1.2
            ev driver 'QUIT without a restart entry: still here'
            kill -INT 1
            until_true '[ -e /run/ctrlaltdel.two ]'
            ev driver 'TSTP: programs that end stay away'
            kill -TSTP 1
            sleep 0.5
            signal kept USR1
            sleep 2.5
            ev driver \"starts of kept: $(starts kept)\"
            kill -CONT 1
            up kept 2
            ev driver 'HUP with another table'
            cp /etc/inittab.2 /etc/inittab
            kill -HUP 1
            up new 1
            sleep 2.5
            for name in kept gone changed becomes-once new; do
                ev driver \"$name: starts $(starts $name), runs $(yes_or_no running $name)\"
            done
            signal kept USR1
            up kept 3
            signal becomes-once USR1
            sleep 2.5
            ev driver \"starts of becomes-once: $(starts becomes-once)\"
            kill -INT 1
            until_true '[ -e /run/ctrlaltdel.three ]'
            ev driver 'HUP without a table'
            mv /etc/inittab.2 /etc/inittab.3; rm /etc/inittab
            kill -HUP 1
            sleep 1.5
            signal kept USR1
            sleep 3
            ev driver \"starts of kept: $(starts kept)\"
            ev driver 'init -q with the table'
            (cat /etc/inittab.3; echo '::respawn:/bin/daemon last') >/etc/inittab
            init -q
            up last 1
            up kept 4
            kill -TERM 1",
            append: "",
            keys: &[],
            must: &["last start 1", "ctrlaltdel three ends", "kept start 4", "end reboot: Restarting system"],
        },
    )
}

fn a_person_at_the_console(arch: Arch) -> Result<()> {
    compare(
        arch,
        &Scenario {
            name: "askfirst",
            inittab: Some(
                "::sysinit:/bin/rc\n\
             ::askfirst:/bin/asked\n\
             ::once:/bin/driver\n\
             ::ctrlaltdel:/bin/slow ctrlaltdel one\n",
            ),
            files: &[(
                "usr/bin/asked",
                "#!/bin/sh\n. /lib/events\necho $$ >>/run/asked.pids\nev asked \"start $(starts asked)\"\n\
             facts asked\n[ $(starts asked) -lt 2 ] || exec sleep 1000\n",
            )],
            driver: "sleep 1.5
            ev driver \"starts before Enter: $(starts asked)\"
            until_true '[ $(told asked) = 2 ]'
            ev driver 'press the keys'
            until_true '[ -e /run/ctrlaltdel.one ]'
            halt",
            append: "",
            keys: &[
                ("starts before Enter", Keys::Type("typed text\n")),
                ("Please press Enter to activate this console.", Keys::Type("\n")),
                ("press the keys\n", Keys::CtrlAltDel),
            ],
            must: &["asked start 2", "ctrlaltdel one ends", "end reboot: System halted"],
        },
    )
}

fn another_program_in_the_place_of_init(arch: Arch) -> Result<()> {
    compare(
        arch,
        &Scenario {
            name: "restart",
            inittab: Some(
                "::sysinit:/bin/rc\n\
             ::respawn:/bin/daemon daemon\n\
             ::once:/bin/driver\n\
             ::shutdown:/bin/slow shutdown one\n\
             ::restart:/bin/successor with arguments\n\
             ::restart:/bin/ev successor the second entry\n",
            ),
            files: &[(
                "usr/bin/successor",
                // Asked first and by the shell alone: as PID 1 it takes what ended when it waits for a program.
                "#!/bin/sh\nread -r pid </run/daemon.pids\nstat=gone\n[ ! -e /proc/$pid/stat ] || read -r stat </proc/$pid/stat\n\
                 . /lib/events\n[ $$ = 1 ] && ev successor 'is process 1'\nrc\nfacts successor\n\
                 case $stat in *') Z '*) stat=Z ;; esac\nev successor \"daemon: $stat\"\npoweroff -f\n",
            )],
            driver: "until_true 'running daemon'
            kill -QUIT 1",
            append: "",
            keys: &[],
            must: &["shutdown one ends", "daemon got TERM", "successor is process 1", "end reboot: Power down"],
        },
    )
}

fn a_system_without_a_table(arch: Arch) -> Result<()> {
    compare(
        arch,
        &Scenario {
            name: "default",
            inittab: None,
            files: &[
                ("etc/init.d/rcS", "#!/bin/sh\nrc\nev boot rcS\ndriver &\n"),
                ("usr/bin/umount", "#!/bin/sh\nev shutdown umount \"$@\"\n"),
                ("usr/bin/swapoff", "#!/bin/sh\nev shutdown swapoff \"$@\"\n"),
            ],
            driver: "sleep 3
            children() {
                for p in /proc/[0-9]*; do
                    set -- $(sed 's/.*) //' $p/stat 2>/dev/null)
                    # Kernel threads have no terminal, and the driver became a child of init too.
                    fd=$(readlink $p/fd/0)
                    [ \"$2\" = 1 ] && [ -n \"$fd\" ] && [ ${p#/proc/} != $$ ] && echo \"waits on $fd\"
                done
            }
            children | sort >/run/children
            while read -r line; do ev driver \"$line\"; done </run/children
            kill -INT 1",
            append: "",
            keys: &[],
            must: &["boot rcS", "driver waits on /dev/tty2", "shutdown swapoff -a", "end reboot: Restarting system"],
        },
    )
}

fn a_single_user(arch: Arch) -> Result<()> {
    compare(
        arch,
        &Scenario {
            name: "single",
            inittab: Some("::sysinit:/bin/ev boot sysinit\n::respawn:/bin/ev boot respawn\n"),
            files: &[(
                "etc/profile",
                ". /lib/events\nrc\nPS1='single# '\necho $$ >>/run/shell.pids\nev shell \"start $(starts shell)\"\nfacts shell\n",
            )],
            driver: "",
            append: "single",
            keys: &[
                ("single# ", Keys::Type("exit\n")),
                ("single# ", Keys::Type("sh -c 'ev shell sleeps; exec sleep 1000'\n")),
                ("@EV@ shell sleeps", Keys::Type("\x03")),
                ("single# ", Keys::Type("ev shell Ctrl-C: $?\nkill -PWR 1\n")),
            ],
            must: &["shell start 2", "end reboot: System halted"],
        },
    )
}

/// Runs a scenario under both and compares.
fn compare(arch: Arch, scenario: &Scenario) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let _slots = slots::two();
    let initramfs = Initramfs::of(&outputs, "base")?;
    let (busybox, ours) = std::thread::scope(|scope| {
        let busybox = scope.spawn(|| run(&outputs, &initramfs, scenario, "busybox"));
        let ours = run(&outputs, &initramfs, scenario, "init");
        (busybox.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), ours)
    });
    let (busybox, ours) = (busybox?, ours?);
    let found = differences(&busybox, &ours);
    let intended: Vec<(&Intended, String)> = INTENDED
        .iter()
        .filter(|known| known.scenario == scenario.name)
        .flat_map(|known| patterns(known.report, arch).into_iter().map(move |pattern| (known, pattern)))
        .collect();
    let mut errors = Vec::new();
    for (who, text) in &found {
        if !intended.iter().any(|(known, pattern)| known.who == *who && matches(pattern, text)) {
            errors.push(format!("only {}: {text}", name_of(*who)));
        }
    }
    for (known, pattern) in &intended {
        let seen = found.iter().filter(|(who, text)| known.who == *who && matches(pattern, text)).count();
        if seen == 0 {
            errors.push(format!("not seen, only {}: {pattern} ({})", name_of(known.who), known.reason));
        } else {
            report(&format!("{}: only {}: {pattern}: {}", scenario.name, name_of(known.who), known.reason));
        }
    }
    let count: usize = ours.values().map(Vec::len).sum();
    ensure!(
        errors.is_empty(),
        "{}: the two differ, and INTENDED does not say so:\n{}",
        scenario.name,
        errors.join("\n")
    );
    report(&format!("{arch} {}: {count} reports, {} differences, all intended", scenario.name, found.len()));
    Ok(())
}

fn name_of(who: Who) -> &'static str {
    if who == BUSYBOX { "busybox" } else { "ours" }
}

/// What the report of an intended difference stands for on a machine.
fn patterns(report: &str, arch: Arch) -> Vec<String> {
    let tty = match arch {
        Arch::X86_64 => "ttyS0",
        Arch::Arm64 => "ttyAMA0",
    };
    let report = report.replace("{tty}", tty);
    match report.split_once("{0,1,2}") {
        Some((before, after)) => ["0", "1", "2"].map(|number| [before, number, after].concat()).into(),
        None => vec![report],
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == text, |start| text.starts_with(start))
}

/// Boots with one init, does what the scenario says, and returns the reports.
fn run(outputs: &Outputs, initramfs: &Initramfs, scenario: &Scenario, init: &str) -> Result<Reports> {
    let name = format!("compare-{}-{init}", scenario.name);
    let driver = format!("#!/bin/sh\n. /lib/events\n{}\n", scenario.driver);
    let mut files = PROGRAMS.to_vec();
    files.push(("usr/bin/driver", &driver));
    files.extend(scenario.files);
    files.extend(scenario.inittab.map(|table| ("etc/inittab", table)));
    let archive = initramfs.write(&name, init, &files)?;
    let append = format!("rdinit=/sbin/init printk.devkmsg=on init.skip=network {}", scenario.append);
    let archive = archive.to_string_lossy();
    let options = Options {
        append,
        memory: Some(256 << 20),
        snapshot: true,
        extra: extra(&["-no-reboot", "-initrd", &archive, "-device", KEYBOARD]),
        ..Options::default()
    };
    let mut guest = Guest::start(outputs, &Start { options, ..Start::new(&name, "base") })?;
    let mut seen = 0;
    for (text, keys) in scenario.keys {
        let find = |console: &Console| {
            let all = console.text.clone() + &console.unfinished();
            Some(seen + all.get(seen..)?.find(text)? + text.len())
        };
        guest.until(&format!("`{text}`"), SILENCE, |console| find(console).is_some())?;
        seen = find(&guest.console).unwrap_or(seen);
        match keys {
            Keys::Type(keys) => guest.type_keys(keys)?,
            Keys::CtrlAltDel => guest.press_ctrl_alt_del()?,
        }
    }
    guest.until("the machine's end", SILENCE, events::ended)?;
    let reports = events::reports(&guest.console);
    for must in scenario.must {
        let (lane, text) = must.split_once(' ').unwrap_or((must, ""));
        let seen = reports.get(lane).is_some_and(|texts| texts.iter().any(|known| known == text));
        ensure!(seen, guest.failure(&format!("{name}: the report `{must}` is missing; there are {reports:#?}")));
    }
    Ok(reports)
}

/// The comparison itself, on which every result depends.
#[test]
fn the_comparison_sees_what_differs() {
    let reports = |lines: &[&str]| {
        let mut console = Console::default();
        for line in lines {
            console.take(format!("{line}\r\n").as_bytes(), std::time::Duration::ZERO);
        }
        events::reports(&console)
    };
    let first = reports(&["x[ 1.0] @EV@ a one", "[ 1.1] @EV@ b one", "[ 1.2] @EV@ a two", "reboot: Power down"]);
    let second = reports(&["[ 1.0] @EV@ b one", "@EV@ a two", "@EV@ a one", "reboot: System halted"]);
    assert_eq!(differences(&first, &first), []);
    let expected = [
        (Who::First, "a one"),
        (Who::Second, "a one"),
        (Who::First, "end reboot: Power down"),
        (Who::Second, "end reboot: System halted"),
    ]
    .map(|(who, text)| (who, text.to_string()));
    assert_eq!(differences(&first, &second), expected);
    assert!(matches("a b*", "a bc") && !matches("a b", "a bc"));
    let descriptors = patterns("a descriptor {0,1,2} /dev/{tty}", Arch::Arm64);
    assert_eq!(descriptors, [0, 1, 2].map(|number| format!("a descriptor {number} /dev/ttyAMA0")));
}
