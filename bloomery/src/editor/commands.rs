//! The commands that compile a kernel, in the form of clang's compilation databases (JSONCompilationDatabase in clang's manual).

use std::path::Path;

use build_support::{Arch, Cmd, Dirs, Result, ensure, fs, host};
use serde_json::{Value, json};

use crate::kbuild;

/// A kernel's source and configuration, and where its generated headers go.
pub struct Kernel<'a> {
    /// Its architecture.
    pub arch: Arch,
    /// The source.
    pub source: &'a Path,
    /// The configuration.
    pub config: &'a Path,
    /// The build directory.
    pub build: &'a Path,
}

/// The fewest files of a kernel: the smallest ones have some five hundred.
const LEAST: usize = 300;

/// Generates headers in the build directory, and asks make for the command of each file. Nothing of the kernel is compiled.
///
/// # Errors
/// A build that fails, and one that tells fewer commands than a kernel has.
pub fn read(kernel: &Kernel, dirs: &Dirs) -> Result<Value> {
    fs::create_dir_all(kernel.build)?;
    fs::copy(kernel.config, kernel.build.join(".config"))?;
    let bin = dirs.target.join("bloomery/toolchain/bin");
    let words = kbuild::words(dirs, kernel.arch, kernel.source, kernel.build)?;
    let make = || Cmd::new("make").args(&words);
    make().arg(format!("-j{}", host::jobs())).arg("prepare").read("generate the kernel's headers")?;
    // A dry run ends in an error: nothing is there that could be linked. `true` is for what make cannot do without.
    let line = format!("{} -n -k vmlinux 2>/dev/null; true", make().text());
    let listing = Cmd::new("sh").args(["-c", &line]).read("ask make for the kernel's commands")?;
    let commands = parse(&listing, &bin.join("clang"), kernel.build);
    ensure!(commands.len() >= LEAST, "make tells {} commands of a kernel alone\nhint: {line}", commands.len());
    Ok(Value::Array(commands))
}

/// The compilations in make's listing, whose lines have several commands each. A file that a build generates is not there, and has none.
fn parse(listing: &str, compiler: &Path, build: &Path) -> Vec<Value> {
    let compiler = format!("{} ", compiler.display());
    let mut commands = Vec::new();
    for command in listing.lines().flat_map(|line| line.split(';')).map(str::trim) {
        let Some((_, places)) = command.split_once(" -c -o ").filter(|_| command.starts_with(&compiler)) else {
            continue;
        };
        let [object, source] = places.split_whitespace().collect::<Vec<_>>()[..] else { continue };
        if source.starts_with('/') {
            let directory = build.display().to_string();
            commands.push(json!({ "directory": directory, "file": source, "output": object, "command": command }));
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_the_compiler_alone_are_taken() {
        let listing = "set -e;  echo '  CC      init/main.o'; trap 'rm -f x'; /t/clang -Wp,-MMD,x -DA=\"b\" -c -o init/main.o /s/init/main.c; fixdep x 'clang -c -o init/main.o /s/init/main.c'\n\
                       /t/clang -S -o a.s /s/a.c\n/usr/bin/clang -c -o scripts/x.o /s/scripts/x.c\n/t/clang -c -o caps.o caps.c\n";
        let commands = parse(listing, Path::new("/t/clang"), Path::new("/b"));
        let command = "/t/clang -Wp,-MMD,x -DA=\"b\" -c -o init/main.o /s/init/main.c";
        let expected =
            json!({ "directory": "/b", "file": "/s/init/main.c", "output": "init/main.o", "command": command });
        assert_eq!(commands, [expected]);
    }
}
