//! `initctl check`: what would go wrong at the next boot or reload, found before. The build of a system asks the same of the root
//! file system that it has put together.

use crate::config::table::Fault;
use crate::net;
use crate::platform::fstab;
use crate::service::config::{Command, Config};
use crate::service::file;
use crate::service::runner::network;
use crate::spawn::command::{self, Program};
use crate::spawn::{SEARCH_PATH, inittab};
use crate::sys::files::{self, to_stderr};

/// A root file system. Paths begin with `/`; links are followed.
pub trait Root {
    /// The bytes of a file.
    fn read(&self, path: &str) -> Option<Vec<u8>>;
    /// The names in a directory, sorted.
    fn names(&self, directory: &str) -> Vec<String>;
    /// What is at a path.
    fn look(&self, path: &str) -> Found;
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A directory, or what else is no file.
    NoFile,
    /// A file that nobody may execute.
    File,
    /// A file that can be executed.
    Program,
}

/// Everything that is wrong with inittab, fstab, services and network files, each with its file and line.
pub fn check(root: &impl Root) -> Vec<String> {
    let content = root.read(fstab::PATH).unwrap_or_default();
    let (lines, wrong) = fstab::parse(&String::from_utf8_lossy(&content));
    let later = Later(lines.into_iter().map(|line| line.target).filter(|target| target != "/").collect());
    let mut faults = check_inittab(root, &later);
    faults.extend(wrong.iter().map(|line| format!("{}, line {line}: it is no line of fstab(5)", fstab::PATH)));
    faults.extend(check_services(root, &later));
    faults.extend(check_network(root));
    faults
}

/// Directories whose content a running system makes: file systems that are mounted there. What is below them cannot be known.
struct Later(Vec<String>);

/// Those that init mounts by itself.
const MOUNTED: [&str; 5] = ["/proc", "/sys", "/dev", "/run", "/tmp"];

impl Later {
    fn has(&self, path: &str) -> bool {
        let inside = |target: &str| path.strip_prefix(target).is_some_and(|rest| rest.starts_with('/'));
        MOUNTED.into_iter().any(inside) || self.0.iter().any(|target| inside(target))
    }
}

/// The command; returns the exit code.
pub fn run(args: &[&str]) -> i32 {
    let below = match args {
        [] => "",
        [directory] if !directory.starts_with('-') => directory.trim_end_matches('/'),
        _ => {
            to_stderr(format_args!("usage: initctl check [ROOT]\n"));
            return 2;
        }
    };
    let faults = check(&Below(below.into()));
    for fault in &faults {
        to_stderr(format_args!("initctl: {fault}\n"));
    }
    i32::from(!faults.is_empty())
}

/// The file system below a directory. A link that begins with `/` leads out of it, so it is for `/` and for a chroot.
struct Below(String);

impl Root for Below {
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        files::read_file(&format!("{}{path}", self.0)).ok()
    }

    fn names(&self, directory: &str) -> Vec<String> {
        let mut names = files::list_dir(&format!("{}{directory}", self.0)).unwrap_or_default();
        names.sort();
        names
    }

    fn look(&self, path: &str) -> Found {
        let path = format!("{}{path}", self.0);
        match files::status(&path) {
            Err(_) => Found::Nothing,
            Ok(_) if files::list_dir(&path).is_ok() => Found::NoFile,
            Ok(_) if files::is_executable(&path) => Found::Program,
            Ok(_) => Found::File,
        }
    }
}

fn check_inittab(root: &impl Root, later: &Later) -> Vec<String> {
    let Some(content) = root.read(inittab::PATH) else { return Vec::new() };
    let table = inittab::parse(&content);
    let fault = |(line, fault): &(usize, inittab::Fault)| format!("{}, line {line}: {fault}", inittab::PATH);
    let mut faults: Vec<String> = table.faults.iter().map(fault).collect();
    for line in &table.lines {
        let program = command::program(&line.command, SEARCH_PATH);
        if let Some(why) = program.and_then(|program| missing(root, later, &program)) {
            faults.push(format!("{}: '{}': {why}", inittab::PATH, line.command));
        }
    }
    faults
}

fn check_services(root: &impl Root, later: &Later) -> Vec<String> {
    let files = root.names(file::DIR);
    let names: Vec<&str> = files.iter().filter_map(|name| name.strip_suffix(".toml")).collect();
    let mut faults = Vec::new();
    for name in &names {
        let path = format!("{}/{name}.toml", file::DIR);
        let content = root.read(&path).unwrap_or_default();
        if !file::is_good_name(name) {
            faults.push(format!("{path}: {name} cannot be the name of a service"));
            continue;
        }
        match file::parse(name, &content, "") {
            Err(wrong) => faults.extend(wrong.iter().map(|fault| at(&path, fault))),
            Ok(config) => {
                let text = String::from_utf8_lossy(&content);
                let place = |key: &str| match line_of(&text, key) {
                    Some(line) => format!("{path}, line {line}"),
                    None => path.clone(),
                };
                faults.extend(
                    check_service(root, later, &config, &names)
                        .into_iter()
                        .map(|(key, why)| format!("{}: {why}", place(key))),
                );
            }
        }
    }
    faults
}

/// What is wrong with one, each with the key that it is about.
fn check_service(root: &impl Root, later: &Later, config: &Config, names: &[&str]) -> Vec<(&'static str, String)> {
    let execution = &config.execution;
    let path = execution.environment.iter().rfind(|(name, _)| name == "PATH").map_or(SEARCH_PATH, |(_, value)| value);
    let program = match &execution.command {
        Command::Line(line) => command::program(line, path),
        Command::Words(words) => command::of_words(words, path),
    };
    let mut faults = Vec::new();
    faults.extend(program.and_then(|program| missing(root, later, &program)).map(|why| ("command", why)));
    let unknown = config.needs.iter().filter(|name| !names.contains(&name.as_str()) && *name != network::NAME);
    faults.extend(unknown.map(|name| ("needs", format!("it needs '{name}', and there is no such service"))));
    let accounts = [
        ("user", "/etc/passwd", execution.user.iter().collect::<Vec<_>>()),
        ("group", "/etc/group", execution.group.iter().collect()),
        ("groups", "/etc/group", execution.groups.iter().flatten().collect()),
    ];
    for (key, table, names) in accounts {
        let unknown = names.into_iter().filter(|name| !has_account(root, table, name));
        faults.extend(unknown.map(|name| (key, format!("{table} has no '{name}'"))));
    }
    if root.look(&execution.directory) == Found::Nothing && !later.has(&execution.directory) {
        faults.push(("directory", format!("there is no directory {}", execution.directory)));
    }
    faults
}

fn check_network(root: &impl Root) -> Vec<String> {
    let mut faults = Vec::new();
    for name in root.names(net::config_files::DIR).iter().filter(|name| name.ends_with(".toml")) {
        let path = format!("{}/{name}", net::config_files::DIR);
        let content = root.read(&path).unwrap_or_default();
        let (_, wrong) = net::config::parse(&String::from_utf8_lossy(&content));
        faults.extend(wrong.iter().map(|fault| at(&path, fault)));
    }
    faults
}

fn at(path: &str, fault: &Fault) -> String {
    match fault.line {
        0 => format!("{path}: {}", fault.message),
        line => format!("{path}, line {line}: {}", fault.message),
    }
}

/// The number of the line that states a key, from 1.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let states =
        |line: &str| line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='));
    text.lines().position(states).map(|index| index + 1)
}

/// Why a program would not run, if one can see that.
fn missing(root: &impl Root, later: &Later, program: &Program) -> Option<String> {
    let paths: Vec<&str> = program.paths.iter().filter_map(|path| path.to_str().ok()).collect();
    if paths.iter().any(|path| later.has(path)) {
        return None;
    }
    let looks: Vec<Found> = paths.iter().map(|path| root.look(path)).collect();
    let Some((path, _)) = paths.iter().zip(&looks).find(|(_, look)| **look == Found::Program) else {
        let there = paths.iter().zip(&looks).find(|(_, look)| **look != Found::Nothing);
        let name = paths
            .first()
            .map_or("", |path| if paths.len() > 1 { path.rsplit('/').next().unwrap_or(path) } else { path });
        return Some(match there {
            Some((path, Found::File)) => format!("{path} is not executable; hint: chmod 755 {path}"),
            Some((path, _)) => format!("{path} is no program"),
            None => format!("there is no program {name}"),
        });
    };
    let content = root.read(path)?;
    let line = content.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let interpreter = line.split_ascii_whitespace().next()?;
    let gone = root.look(interpreter) != Found::Program;
    gone.then(|| format!("{path} is a script for {interpreter}, which is not there"))
}

/// Whether a table of accounts has a name, or the name is a number.
fn has_account(root: &impl Root, table: &str, name: &str) -> bool {
    let content = root.read(table).unwrap_or_default();
    let text = String::from_utf8_lossy(&content);
    name.parse::<u32>().is_ok() || text.lines().any(|line| line.split(':').next() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Files by their paths. One that begins with `#!`, or is `ELF`, can be executed.
    struct Files(BTreeMap<&'static str, &'static str>);

    impl Root for Files {
        fn read(&self, path: &str) -> Option<Vec<u8>> {
            self.0.get(path).map(|text| text.as_bytes().to_vec())
        }

        fn names(&self, directory: &str) -> Vec<String> {
            let inside = |path: &&str| path.strip_prefix(directory)?.strip_prefix('/').map(String::from);
            self.0.keys().filter_map(inside).collect()
        }

        fn look(&self, path: &str) -> Found {
            match self.0.get(path) {
                Some(text) if text.starts_with("#!") || *text == "ELF" => Found::Program,
                Some(_) => Found::File,
                None if path == "/" || path == "/etc" => Found::NoFile,
                None => Found::Nothing,
            }
        }
    }

    #[test]
    fn a_system_in_order_has_no_fault() {
        let files = Files(BTreeMap::from([
            ("/bin/sh", "ELF"),
            ("/usr/bin/web", "#!/bin/sh\n"),
            ("/etc/passwd", "root:x:0:0::/:/bin/sh\nnobody:x:9:9::/:/bin/sh\n"),
            ("/etc/inittab", "::respawn:-/bin/sh\n::once:echo $PATH\n"),
            ("/etc/fstab", "/dev/sda1 /data ext4 defaults 0 0\n"),
            ("/etc/services.d/db.toml", "command = \"/data/bin/db\"\ndirectory = \"/run/db\"\n"),
            ("/etc/services.d/web.toml", "command = \"web --port 80\"\nuser = \"nobody\"\nneeds = [\"network\"]\n"),
            ("/etc/network/wired.toml", "match = \"eth*\"\ndhcp = true\n"),
        ]));
        assert_eq!(check(&files), [""; 0]);
    }

    #[test]
    fn every_fault_has_its_place() {
        let files = Files(BTreeMap::from([
            ("/usr/bin/data", "text"),
            ("/usr/bin/script", "#!/usr/bin/python3\n"),
            ("/etc/passwd", "root:x:0:0::/:/bin/sh\n"),
            ("/etc/inittab", "nonsense\n::respawn:/bin/none\n"),
            ("/etc/fstab", "\n/dev/sda1\n"),
            ("/etc/services.d/a.toml", "user = \"web\"\ncommand = \"/usr/bin/none\"\nneeds = [\"db\"]\n"),
            ("/etc/services.d/b.toml", "command = \"data\"\ncolour = 1\n"),
            ("/etc/services.d/c.toml", "command = \"/usr/bin/data\"\ndirectory = \"/none\"\n"),
            ("/etc/services.d/d.toml", "command = \"script\"\n"),
            ("/etc/services.d/init.toml", "command = \"script\"\n"),
            ("/etc/network/x.toml", "adresses = [\"1.2.3.4/24\"]\n"),
        ]));
        let faults = check(&files);
        for (part, reason) in [
            ("/etc/inittab, line 1: ", ""),
            ("/etc/inittab: '/bin/none': ", "there is no program /bin/none"),
            ("/etc/fstab, line 2: ", ""),
            ("/etc/services.d/a.toml, line 1: ", "/etc/passwd has no 'web'"),
            ("/etc/services.d/a.toml, line 2: ", "there is no program /usr/bin/none"),
            ("/etc/services.d/a.toml, line 3: ", "it needs 'db'"),
            ("/etc/services.d/b.toml, line 2: ", "unknown key 'colour'"),
            ("/etc/services.d/c.toml, line 1: ", "/usr/bin/data is not executable"),
            ("/etc/services.d/c.toml, line 2: ", "there is no directory /none"),
            ("/etc/services.d/d.toml, line 1: ", "a script for /usr/bin/python3, which is not there"),
            ("/etc/services.d/init.toml: ", "cannot be the name"),
            ("/etc/network/x.toml, line 1: ", "adresses"),
        ] {
            let found = faults.iter().any(|fault| fault.starts_with(part) && fault.contains(reason));
            assert!(found, "{part}{reason} is not in {faults:#?}");
        }
        assert_eq!(faults.len(), 13, "{faults:#?}");
    }
}
