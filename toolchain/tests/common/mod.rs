//! The toolchain that a release build left, and a place to compile in.
#![allow(dead_code)] // Every test binary compiles this module and uses its own part of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use build_support::{Arch, Dirs, fs, host};

/// A toolchain and a directory of one test.
pub struct Place {
    /// The toolchain's programs.
    pub bin: PathBuf,
    dir: tempfile::TempDir,
}

/// What a program said.
pub struct Said {
    /// Whether its exit status was 0.
    pub ok: bool,
    /// Standard output and standard error.
    pub text: String,
}

impl Place {
    /// A place, or `None` when no toolchain is built.
    pub fn new() -> Option<Place> {
        let bin = Dirs::find().unwrap().target.join("bloomery/toolchain/bin");
        if !bin.join("clang").exists() {
            testing::skip(&format!("{} is not there; `cargo build -p toolchain --release` builds it", bin.display()));
            return None;
        }
        Some(Place { bin, dir: tempfile::tempdir().unwrap() })
    }

    /// A path in the test's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file and returns its name.
    pub fn file(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        name.into()
    }

    /// A program of the toolchain, in the test's directory, with nothing of the environment.
    pub fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command.current_dir(self.dir.path()).env_clear().env("PATH", "/usr/bin:/bin");
        command
    }

    /// Runs a program of the toolchain with the words of a line.
    pub fn run(&self, name: &str, words: &str) -> Said {
        said(self.tool(name).args(words.split_whitespace()))
    }

    /// As [`Place::run`]; it must succeed, and its output is returned.
    pub fn good(&self, name: &str, words: &str) -> String {
        let said = self.run(name, words);
        assert!(said.ok, "{name} {words}\n{}", said.text);
        said.text
    }

    /// Compiles and links `program` out of the words of a line; it must say nothing.
    pub fn compile(&self, compiler: &str, arch: Arch, words: &str) {
        let words = format!("--target={} {words} -o program", arch.short_triple());
        let text = self.good(compiler, &words);
        assert!(text.is_empty(), "{compiler} {words}\n{text}");
    }

    /// Runs `program`, by an emulator where it is another architecture's; `None` when there is none.
    pub fn start(&self, arch: Arch) -> Option<Said> {
        let program = self.path("program");
        let mut command = if arch == Arch::host().unwrap() {
            Command::new(&program)
        } else {
            let emulator = format!("qemu-{}-static", arch.machine());
            let Some(emulator) = host::find_program(&emulator) else {
                testing::skip(&format!("{emulator} is not installed"));
                return None;
            };
            let mut command = Command::new(emulator);
            if arch == Arch::Arm64 {
                command.args(["-cpu", "cortex-a57"]); // Without memory tagging, in which QEMU 7.2 and Scudo disagree.
            }
            command.arg(&program);
            command
        };
        Some(said(command.current_dir(self.dir.path()).env_clear()))
    }

    /// `program` must succeed and print this.
    pub fn prints(&self, arch: Arch, expected: &str) {
        if let Some(said) = self.start(arch) {
            assert!(said.ok && said.text == expected, "{arch}: expected\n{expected}got\n{}", said.text);
        }
    }
}

/// Runs a command to its end.
pub fn said(command: &mut Command) -> Said {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Said { ok: status.success(), text }
}

/// Asserts that a text has all these parts.
pub fn assert_parts(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}

/// The type of an ELF file (`e_type`): 2 is a program at a fixed address, 3 one that can lie anywhere.
pub fn elf_type(path: &Path) -> u16 {
    let bytes = fs::read(path).unwrap();
    u16::from_le_bytes([bytes[16], bytes[17]])
}
