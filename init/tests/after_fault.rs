//! What is left of one PID 1 when its program starts again: children that wait, programs, descriptors and limits, in namespaces.

mod common;

use common::{POWERED_OFF, Setup, System, Terminal};

/// An entry that waits for a person.
const ASKER: &str = "ttyT::askfirst:/bin/sh -c 'echo ASKED; exec sleep 1000'\n";

#[test]
fn who_waits_for_enter_holds_nothing_of_init() {
    let mut terminal = Terminal::new();
    // All that run init's program, but init itself.
    let show = "until [ -e /etc/show ]; do sleep 0.05; done\n\
                for p in /proc/[0-9]*; do\n\
                [ $p != /proc/1 ] && [ $p/exe -ef /proc/1/exe ] && echo CHILD $(ls $p/fd).\n\
                done; echo SHOWN\n";
    let table = format!("{ASKER}::once:/bin/sh /etc/show.sh\n");
    let files = [("etc/show.sh", show)];
    let setup = Setup { table: &table, files: &files, terminal: &terminal.device, ..Setup::default() };
    let Some(mut system) = System::start_with("askfirst-open", &setup) else {
        return;
    };
    terminal.expect("Please press Enter");
    std::fs::write(system.dir.join("etc/show"), "").unwrap();
    let seen = system.expect("SHOWN");
    let children: Vec<&str> = seen.lines().filter(|line| line.starts_with("CHILD")).collect();
    assert_eq!(children, ["CHILD 0 1 2."], "{seen}");
    terminal.type_text("\n");
    terminal.expect("ASKED");
    system.signal(libc::SIGUSR2);
    system.ends_by(POWERED_OFF);
}
