//! Which program a process runs: the entries and services of a program before this one are found among the children.

use super::SEARCH_PATH;
use super::command::{self, Program};
use crate::sys::process::{self, Pid};
use crate::sys::{Result, proc};

/// The children of this process and their arguments; those that have none (ended, or of the kernel) are left out.
pub fn children() -> Vec<(Pid, Vec<String>)> {
    let own = process::id();
    let found = proc::find(&|_, stat| stat.parent == own).unwrap_or_default();
    let mut children: Vec<_> = found.into_iter().map(|pid| (pid, proc::arguments(pid))).collect();
    children.retain(|(_, arguments)| !arguments.is_empty());
    children
}

/// The children of this process that run its own program and never ran another: those that wait for Enter, or work for it.
pub fn helpers() -> Vec<Pid> {
    let Ok(program) = proc::own_executable() else {
        return Vec::new();
    };
    let own = process::id();
    // The file may have been replaced since they were started.
    let same = |pid| proc::executable(pid).is_ok_and(|path| proc::without_mark(&path) == proc::without_mark(&program));
    proc::find(&|pid, stat| stat.parent == own && stat.never_ran_another() && same(pid)).unwrap_or_default()
}

/// The processes of a session.
pub fn session(leader: Pid) -> Vec<Pid> {
    proc::find(&|_, stat| stat.session == leader).unwrap_or_default()
}

/// The leaders of all sessions on a terminal but this process: shells, which ignore SIGTERM and end when their terminal goes.
///
/// # Errors
/// When processes cannot be listed.
pub fn terminal_leaders() -> Result<Vec<Pid>> {
    let own = process::id();
    proc::find(&|pid, stat| pid != own && stat.leads_terminal(pid))
}

/// Whether a process reads from the terminal `name` in /dev.
pub fn is_on(pid: Pid, name: &str) -> bool {
    proc::input(pid).is_ok_and(|path| path.strip_prefix("/dev/") == Some(name))
}

/// Whether a process with these arguments is what a table's command runs: the program, or a script's interpreter with it. Of
/// a command that the shell takes apart only the words before its first special character are compared.
pub fn is_program_of(command: &str, arguments: &[String]) -> bool {
    command::program(command, SEARCH_PATH).is_some_and(|program| runs(&program, arguments))
}

/// The same for a command whose words are taken as they are.
pub fn is_program_of_words(words: &[String], arguments: &[String]) -> bool {
    command::of_words(words, SEARCH_PATH).is_some_and(|program| runs(&program, arguments))
}

fn runs(program: &Program, arguments: &[String]) -> bool {
    let words: Vec<_> = program.arguments.iter().map(|word| word.to_string_lossy()).collect();
    let same = |words: &[std::borrow::Cow<'_, str>], given: &[String]| {
        words.len() == given.len() && words.iter().zip(given).all(|(word, given)| **word == **given)
    };
    let script = arguments.get(1..).is_some_and(|rest| same(&words, rest));
    if same(&words, arguments) || script {
        return true;
    }
    let Some(text) = words.get(2).and_then(|text| text.strip_prefix("exec ")).filter(|_| words.len() == 3) else {
        return false;
    };
    let plain = |word: &&str| !word.contains(|character| command::SHELL_CHARACTERS.contains(character));
    let start: Vec<_> = text.split_ascii_whitespace().take_while(plain).collect();
    !start.is_empty()
        && arguments.len() >= start.len()
        && start.iter().zip(arguments).all(|(word, given)| word == given)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{signal, system};
    use core::time::Duration;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(String::from).collect()
    }

    #[test]
    fn processes_are_known_by_their_arguments() {
        assert!(is_program_of("-/bin/sh", &words("-/bin/sh")));
        assert!(is_program_of("/sbin/getty -L ttyS0", &words("/sbin/getty -L ttyS0")));
        assert!(is_program_of("/etc/rc x", &words("/bin/sh /etc/rc x")));
        assert!(is_program_of("/sbin/udhcpc -f -i eth0 >/run/log 2>&1", &words("/sbin/udhcpc -f -i eth0")));
        assert!(!is_program_of("/sbin/getty -L ttyS0", &words("/sbin/getty -L ttyS1")));
        assert!(!is_program_of("/sbin/getty", &words("/sbin/getty x y")));
        assert!(!is_program_of("$X", &words("anything")));
        assert!(!is_program_of("", &[]));
    }

    #[test]
    fn children_are_told_by_their_parent() {
        let child = process::fork(|| {
            system::sleep(Duration::from_secs(20));
            0
        });
        let child = child.unwrap();
        assert!(children().iter().any(|(pid, _)| *pid == child));
        assert!(helpers().contains(&child));
        process::kill(child, signal::Signal::KILL).unwrap();
        assert!(process::wait_for(child).is_ok());
    }

    #[test]
    fn this_test_is_no_leader_of_all_terminals() {
        assert!(!terminal_leaders().unwrap().contains(&process::id()));
    }
}
