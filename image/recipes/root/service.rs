//! The one program that a system is for.

use build_support::{Arch, Context as _, Result, bail, ensure, fs};
use disk::{Content, Entry, Kind, Tree};
use system::profile::Service;
use system::program;

/// Links in a row that are followed (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Adds its file (services(5)), and the program where it is the user's.
pub fn add(tree: &mut Tree, arch: Arch, service: &Service) -> Result<()> {
    if let Some(program) = service.file(arch) {
        tree.file(service.runs().trim_start_matches('/'), &program, 0o755, "profile")?;
    }
    let command = toml::Value::String(service.command.clone());
    let settings: String = service.settings.iter().map(|line| format!("{line}\n")).collect();
    let path = format!("etc/services.d/{}.toml", service.name);
    tree.bytes(&path, format!("command = {command}\n{settings}"), 0o644, "profile")
}

/// Checks that its program is in the finished root file system and can be run there. A script is left to its interpreter, and a
/// command of a shell to the shell.
pub fn check(tree: &Tree, arch: Arch, service: &Service) -> Result<()> {
    let path = service.runs();
    let Some(relative) = path.strip_prefix('/') else { return Ok(()) };
    let Some(entry) = follow(tree, relative)? else {
        bail!(
            "the service `{}` runs {path}, which is not in the root file system\n\
             hint: name the file by `service.program`, or add the package or directory that has it below [root]",
            service.name
        );
    };
    let Kind::File(content) = &entry.kind else {
        bail!("the service `{}` runs {path}, which is a {}\nhint: name a program", service.name, entry.kind.name());
    };
    ensure!(
        entry.mode & 0o111 != 0,
        "the service `{}` runs {path}, which is not executable (mode {:o})\nhint: chmod 755, or an [[attribute]] with a mode",
        service.name,
        entry.mode
    );
    let bytes = match content {
        Content::Host(path) => fs::read(path)?,
        Content::Bytes(bytes) => bytes.clone(),
    };
    if has_interpreter(tree, &bytes)? {
        return Ok(());
    }
    program::check(&bytes, arch).with_context(|| format!("the service `{}` cannot run {path}", service.name))
}

/// Whether it is a script whose interpreter is there.
fn has_interpreter(tree: &Tree, bytes: &[u8]) -> Result<bool> {
    let Some(line) = bytes.strip_prefix(b"#!").and_then(|rest| rest.split(|byte| *byte == b'\n').next()) else {
        return Ok(false);
    };
    let line = String::from_utf8_lossy(line);
    let interpreter = line.split_ascii_whitespace().next().unwrap_or_default();
    Ok(follow(tree, interpreter.trim_start_matches('/'))?.is_some())
}

/// The entry at the end of all links of a path.
pub fn follow<'a>(tree: &'a Tree, path: &str) -> Result<Option<&'a Entry>> {
    let mut left: Vec<String> = path.rsplit('/').map(String::from).collect();
    let (mut at, mut links) = (Vec::<String>::new(), 0);
    while let Some(part) = left.pop() {
        match part.as_str() {
            "" | "." => continue,
            ".." => drop(at.pop()),
            _ => at.push(part),
        }
        match tree.get(&at.join("/")).map(|entry| &entry.kind) {
            Some(Kind::Link(target)) => {
                links += 1;
                ensure!(links <= MOST_LINKS, "/{path} is a circle of links\nhint: name the file that is meant");
                at.pop();
                if target.starts_with('/') {
                    at.clear();
                }
                left.extend(target.rsplit('/').map(String::from));
            }
            None if !at.is_empty() => return Ok(None),
            _ => {}
        }
    }
    Ok(tree.get(&at.join("/")))
}
