//! What is asked of PID 1 while it boots, and what a table without a lasting program means, in namespaces.

mod common;

use common::{POWERED_OFF, Setup, System};

/// The tool's name for the program, below the test's /etc.
const TOOL: &str = "mkdir -p etc/bin; cp \"$2\" etc/bin/initctl; chmod 755 etc/bin/initctl";

#[test]
fn a_request_during_sysinit_counts_where_nothing_else_runs() {
    for (name, action) in [("down-sysinit", "sysinit"), ("down-wait", "wait")] {
        let table = format!("::{action}:/bin/sh -c 'echo RC; kill -USR2 1; sleep 1000'\n::shutdown:echo SHUTDOWN\n");
        let Some(mut system) = System::start(name, &table, "") else {
            return;
        };
        let seen = system.expect("init: power off after");
        assert!(seen.contains("RC") && seen.contains("SHUTDOWN") && !seen.contains("rescue"), "{seen}");
        system.ends_by(POWERED_OFF);
    }
}

#[test]
fn a_table_whose_programs_have_ended_gives_no_shell() {
    // The tables are read at once only when the entries of the boot have ended.
    let script = "(until /etc/bin/initctl reload | grep \"inittab has\"; do sleep 0.05; done; kill -USR2 1) &";
    for (name, action) in [("no-shell-sysinit", "sysinit"), ("no-shell-wait", "wait")] {
        let table = format!("::{action}:/bin/sh -c '{script}'\n");
        let Some(mut system) = System::start_with(name, &Setup { table: &table, script: TOOL, ..Setup::default() })
        else {
            return;
        };
        let seen = system.expect("init: power off after");
        assert!(seen.contains("inittab has 1 entries") && !seen.contains("rescue"), "{seen}");
        system.ends_by(POWERED_OFF);
    }
}

#[test]
fn a_table_that_runs_nothing_gives_a_shell() {
    let Some(mut system) = System::start("nothing-to-run", "::ctrlaltdel:reboot\n::shutdown:echo SHUTDOWN\n", "")
    else {
        return;
    };
    system.expect("there is nothing to run: ");
    system.expect("a rescue shell starts on the console");
    system.signal(libc::SIGUSR2);
    system.expect("SHUTDOWN");
    system.expect("init: power off after");
    system.ends_by(POWERED_OFF);
}

#[test]
fn power_keys_are_watched_before_the_first_entry() {
    // No input device, which is said when it is looked at.
    let script = "mkdir dev/input; touch dev/input/event0";
    for (name, command_line) in [("power-key", ""), ("power-key-alone", "init.skip=devices")] {
        let table = "::sysinit:/bin/sh -c 'echo RC; kill -USR2 1; sleep 1000'\n";
        let setup = Setup { table, command_line, script, ..Setup::default() };
        let Some(mut system) = System::start_with(name, &setup) else {
            return;
        };
        let seen = system.expect("RC");
        assert_eq!(seen.matches("cannot watch /dev/input/event0 for the power button").count(), 1, "{seen}");
        system.ends_by(POWERED_OFF);
    }
}

/// A service that says when it starts.
const SERVICE: (&str, &str) =
    ("etc/services.d/x.toml", "command = \"sh -c 'echo SERVICE; exec sleep 1000'\"\noutput = 'console'\n");

#[test]
fn a_reload_during_the_boot_starts_no_service_before_its_time() {
    let table = "::sysinit:/bin/sh -c 'kill -HUP 1'\n\
                 ::wait:/bin/sh -c '/etc/bin/initctl list | grep \"^x \" && echo EARLY; echo WAITED'\n\
                 ::once:/bin/true\n";
    let setup = Setup { table, files: &[SERVICE], script: TOOL, ..Setup::default() };
    let Some(mut system) = System::start_with("early-reload", &setup) else {
        return;
    };
    system.expect("tables read again: inittab has 3 entries");
    let seen = system.expect("WAITED");
    assert!(!seen.contains("EARLY") && !seen.contains("SERVICE"), "{seen}");
    system.expect("SERVICE");
    system.signal(libc::SIGUSR2);
    system.expect("init: power off after");
    system.ends_by(POWERED_OFF);
}

#[test]
fn a_reload_leaves_a_person_alone() {
    for word in ["single", "emergency"] {
        let table = "::respawn:/bin/sh -c 'echo TABLE; exec sleep 1000'\n";
        let setup = Setup { table, command_line: word, files: &[SERVICE], ..Setup::default() };
        let Some(mut system) = System::start_with(&format!("reload-{word}"), &setup) else {
            return;
        };
        // The test's console is none.
        system.expect("waits for its terminal");
        system.signal(libc::SIGHUP);
        system.expect("the tables are not read: ");
        system.signal(libc::SIGUSR2);
        let seen = system.expect("init: power off after");
        assert!(!seen.contains("TABLE") && !seen.contains("stopping"), "{seen}");
        system.ends_by(POWERED_OFF);
    }
}
