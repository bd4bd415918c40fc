//! What a command in inittab runs: program, arguments, and whether it is a login shell. The spawner asks.
//!
//! The rules are busybox init's: a leading `-` makes a login shell; a command with characters that only a
//! shell understands runs as `/bin/sh -c "exec COMMAND"`; any other is split at blanks and run directly.

use std::ffi::CString;

/// The characters that send a command to the shell (busybox init has the same ones).
pub const SHELL_CHARACTERS: &str = "~`!$^&*()=|\\{}[];\"'<>?";
/// The shell, and what `-` login shells are.
pub const SHELL: &str = "/bin/sh";

/// A program to run.
#[derive(Debug, PartialEq, Eq)]
pub struct Program {
    /// The paths to try, in order: one, or one for each directory of `PATH`.
    pub paths: Vec<CString>,
    /// The arguments, the program's name first.
    pub arguments: Vec<CString>,
}

/// Whether the command asks for a login shell (and so for a controlling terminal).
pub fn is_login(command: &str) -> bool {
    command.starts_with('-')
}

/// Whether the command is something that a person types into: a login shell, a shell, or a login prompt.
pub fn is_interactive(command: &str) -> bool {
    let Some(first) = command.split_ascii_whitespace().next() else {
        return false;
    };
    let name = first.rsplit('/').next().unwrap_or(first);
    // A shell with arguments runs a script.
    let alone = command.split_ascii_whitespace().count() == 1;
    is_login(command)
        || (alone && matches!(name, "sh" | "ash" | "bash" | "dash" | "hush" | "zsh"))
        || matches!(name, "login" | "sulogin")
}

/// Whether a shell runs the command.
pub fn needs_shell(command: &str) -> bool {
    command.contains(|character| SHELL_CHARACTERS.contains(character))
}

/// The program that `command` runs; `path` is the value of `PATH`. Nothing for a command without a word, or with
/// a zero byte in it.
pub fn program(command: &str, path: &str) -> Option<Program> {
    let dash = if is_login(command) { "-" } else { "" };
    let bare = command.strip_prefix('-').unwrap_or(command);
    if needs_shell(bare) {
        let arguments = [format!("{dash}{SHELL}"), "-c".into(), format!("exec {bare}")];
        return Some(Program { paths: strings([SHELL.into()])?, arguments: strings(arguments)? });
    }
    let mut words = bare.split([' ', '\t']).filter(|word| !word.is_empty());
    let name = words.next()?;
    let arguments = core::iter::once(format!("{dash}{name}")).chain(words.map(String::from));
    Some(Program { paths: strings(candidates(name, path))?, arguments: strings(arguments)? })
}

/// The program that `words` are: its name and its arguments, with no character special. Nothing without a word, or with a
/// zero byte in one.
pub fn of_words(words: &[String], path: &str) -> Option<Program> {
    let paths = strings(candidates(words.first().filter(|name| !name.is_empty())?, path))?;
    Some(Program { paths, arguments: strings(words.iter().cloned())? })
}

/// Where `name` may be, as execvp(3) looks for it.
fn candidates(name: &str, path: &str) -> Vec<String> {
    if name.contains('/') {
        return vec![name.into()];
    }
    path.split(':').map(|dir| if dir.is_empty() { name.into() } else { format!("{dir}/{name}") }).collect()
}

/// The text as C strings; nothing when one has a zero byte.
pub fn strings(text: impl IntoIterator<Item = String>) -> Option<Vec<CString>> {
    text.into_iter().map(|item| CString::new(item).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &str) -> (Vec<String>, Vec<String>) {
        let program = program(command, "/sbin:/bin").unwrap();
        let text = |list: Vec<CString>| list.iter().map(|s| s.to_str().unwrap().to_owned()).collect();
        (text(program.paths), text(program.arguments))
    }

    #[test]
    fn plain_commands_are_split_at_blanks() {
        let (paths, arguments) = words("/sbin/getty  -L\tttyS0 115200 vt100");
        assert_eq!(paths, ["/sbin/getty"]);
        assert_eq!(arguments, ["/sbin/getty", "-L", "ttyS0", "115200", "vt100"]);
    }

    #[test]
    fn names_are_looked_for_in_the_path() {
        let (paths, arguments) = words("umount -a -r");
        assert_eq!(paths, ["/sbin/umount", "/bin/umount"]);
        assert_eq!(arguments, ["umount", "-a", "-r"]);
    }

    #[test]
    fn a_dash_makes_a_login_shell() {
        let (paths, arguments) = words("-/bin/sh");
        assert_eq!(paths, ["/bin/sh"]);
        assert_eq!(arguments, ["-/bin/sh"]);
        assert_eq!(words("-sh").0, ["/sbin/sh", "/bin/sh"]);
    }

    #[test]
    fn shell_characters_send_the_command_to_the_shell() {
        for character in SHELL_CHARACTERS.chars() {
            let (paths, arguments) = words(&format!("echo a{character}b"));
            assert_eq!(paths, ["/bin/sh"]);
            assert_eq!(arguments, ["/bin/sh".into(), "-c".into(), format!("exec echo a{character}b")]);
        }
        assert_eq!(words("-echo $HOME").1, ["-/bin/sh", "-c", "exec echo $HOME"]);
        for plain in ["a#b", "a%b", "a,b", "a+b", "a@b"] {
            assert_eq!(words(plain).1, [plain]);
        }
    }

    #[test]
    fn nothing_to_run() {
        assert_eq!(program("", ""), None);
        assert_eq!(program(" \t", "/bin"), None);
        assert_eq!(program("-", "/bin"), None);
        assert_eq!(program("a\0b", "/bin"), None);
    }

    #[test]
    fn words_are_taken_as_they_are() {
        let program = of_words(&["x".into(), "a b".into(), "$y".into()], "/bin").unwrap();
        assert_eq!(program.paths, [c"/bin/x".to_owned()]);
        assert_eq!(program.arguments, [c"x".to_owned(), c"a b".to_owned(), c"$y".to_owned()]);
        assert_eq!(of_words(&[], "/bin"), None);
        assert_eq!(of_words(&[String::new()], "/bin"), None);
    }

    #[test]
    fn shells_and_logins_are_interactive() {
        for command in ["-/bin/sh", "/bin/sh", "sh", "/bin/login -f root", "-/usr/bin/x"] {
            assert!(is_interactive(command), "{command}");
        }
        for command in ["", "/sbin/udhcpc -f", "/bin/sh /etc/rc", "/sbin/getty ttyS0", "-"] {
            assert_eq!(is_interactive(command), command == "-", "{command}");
        }
    }
}
