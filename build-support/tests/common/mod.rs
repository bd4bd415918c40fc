//! What the tests of stages and store share: a store of their own, and the programs that work on it.
#![allow(dead_code)] // Every test binary compiles this module and uses its own part of it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use build_support::{Arch, Dirs, fs, tree};

/// How long anything here may take before it counts as hung. A machine under load needs far less.
const PATIENCE: Duration = Duration::from_secs(60);

/// A store and a target directory that nobody else uses.
pub struct Place {
    dir: tempfile::TempDir,
}

/// What a program said, and whether it ended well.
pub struct Said {
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
    /// Whether its exit status was 0.
    pub ok: bool,
}

/// A stage's result as the example program prints it.
#[derive(Debug, PartialEq, Eq)]
pub struct Made {
    /// The key of its inputs.
    pub key: String,
    /// The digest of what it made.
    pub digest: String,
    /// Where it is.
    pub dir: PathBuf,
}

impl Place {
    /// An empty store.
    pub fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    /// A path beside store and target directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The directories as the programs see them.
    pub fn dirs(&self) -> Dirs {
        Dirs { root: project(), home: self.path("home"), target: self.path("target") }
    }

    /// The example program with the words of its stages.
    pub fn stages(&self, words: &[&str]) -> Command {
        self.program(&example(), words)
    }

    /// `cargo run -p build-support -- store WORDS`.
    pub fn store(&self, words: &[&str]) -> Said {
        let tool = Path::new(env!("CARGO_BIN_EXE_build-support"));
        said(&mut self.program(tool, &[&["store"], words].concat()))
    }

    /// Builds stages, which must succeed, and returns the result of the last.
    pub fn build(&self, words: &[&str]) -> Made {
        let said = said(&mut self.stages(words));
        assert!(said.ok, "{}", said.err);
        said.made()
    }

    /// Builds stages, which must fail, and returns the message.
    pub fn fail(&self, words: &[&str]) -> String {
        let said = said(&mut self.stages(words));
        assert!(!said.ok, "{}", said.out);
        said.err
    }

    /// How often recipes ran that add a letter to the file `runs`: see [`Place::counting`].
    pub fn runs(&self) -> usize {
        fs::read(self.path("runs")).map_or(0, |bytes| bytes.len())
    }

    /// A script that counts how often it runs, and then does more.
    pub fn counting(&self, more: &str) -> String {
        format!("script=printf x >>'{}'; {more}", self.path("runs").display())
    }

    /// The log of a stage that stands in no plan; its number is the plan's length.
    pub fn log(&self, stage: &str) -> PathBuf {
        let dir = self.dirs().log(Arch::host().unwrap());
        let found = tree::files(&dir)
            .unwrap()
            .into_iter()
            .find(|file| file.to_string_lossy().ends_with(&format!("-{stage}.log")));
        dir.join(found.unwrap_or_else(|| panic!("{} has no log of {stage}", dir.display())))
    }

    fn program(&self, program: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(words).env("BLOOMERY_HOME", self.path("home")).env("CARGO_TARGET_DIR", self.path("target"));
        // What a developer has set, and what cargo sets for a build script, must not reach the programs.
        for name in ["BLOOMERY_KEEP_WORK", "BLOOMERY_SKIP", "OUT_DIR"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null());
        command
    }
}

impl Said {
    /// The last result that the example program printed.
    pub fn made(&self) -> Made {
        let line = self.out.lines().rev().find_map(|line| line.strip_prefix("result: "));
        let words: Vec<&str> = line.unwrap_or_else(|| panic!("no result in:\n{}", self.out)).splitn(3, ' ').collect();
        Made { key: words[0].into(), digest: words[1].into(), dir: words[2].into() }
    }
}

/// A process that is killed with its whole group when the test ends early.
pub struct Running(Child);

impl Running {
    /// Starts it as leader of a process group, as a shell does.
    pub fn start(command: &mut Command) -> Running {
        use std::os::unix::process::CommandExt as _;
        Running(command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// `kill -9` of the process alone, not of its children.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Takes its standard error, to be read while it runs.
    pub fn stderr(&mut self) -> std::process::ChildStderr {
        self.0.stderr.take().unwrap()
    }

    /// Waits for its end.
    pub fn end(mut self) -> Said {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        std::io::Read::read_to_end(&mut self.0.stdout.take().unwrap(), &mut out).unwrap();
        if let Some(mut stderr) = self.0.stderr.take() {
            std::io::Read::read_to_end(&mut stderr, &mut err).unwrap();
        }
        let status = self.0.wait().unwrap();
        text_of(Output { status, stdout: out, stderr: err })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL); // It may be gone.
        let _ = self.0.wait();
    }
}

/// Runs a command to its end.
pub fn said(command: &mut Command) -> Said {
    text_of(command.output().unwrap())
}

fn text_of(output: Output) -> Said {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { out: text(output.stdout), err: text(output.stderr), ok: output.status.success() }
}

/// Waits until something holds.
pub fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Asserts that a text has all these parts.
pub fn assert_parts(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}

/// Shows the reason of a skip even when the test passes: cargo captures what `println!` prints.
pub fn report(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}"); // A report that nobody can read is no failure.
}

/// The project's root.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().into()
}

/// The example program. `cargo test` builds it beside the tests, `cargo test --test NAME` does not.
fn example() -> PathBuf {
    static EXAMPLE: OnceLock<PathBuf> = OnceLock::new();
    EXAMPLE.get_or_init(find_example).clone()
}

fn find_example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().unwrap().parent().unwrap(); // target/<profile>/deps/<test>
    let example = profile.join("examples/stages");
    let time = |path: &Path| path.metadata().and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = ["src", "examples"].map(|dir| package.join(dir));
    let newest =
        sources.iter().flat_map(|dir| tree::files(dir).unwrap().into_iter().map(|file| time(&dir.join(file)))).max();
    if time(&example) < newest.unwrap() {
        let name = profile.file_name().unwrap().to_string_lossy();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([
            "build",
            "--quiet",
            "--example",
            "stages",
            "--profile",
            if name == "debug" { "dev" } else { &name },
        ]);
        let said = said(cargo.arg("--target-dir").arg(profile.parent().unwrap()).current_dir(package));
        assert!(said.ok, "the example does not build:\n{}", said.err);
    }
    example
}
