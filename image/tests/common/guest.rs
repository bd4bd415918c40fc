//! A guest in QEMU, used through its serial console and, where a person would use the machine, through QMP.
//!
//! Every wait ends: with what it waits for, when the guest panics or QEMU ends, when the console is silent for too
//! long, or at a last limit. The console's log stays in `target/bloomery/<arch>/test/`.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, anyhow, bail, ensure};
use build_support::{Arch, Dirs, fs};
use serde_json::{Value, json};
use system::machine::{Host, Machine, Options};
use system::profile::Boot;
use system::{Profile, outputs};

use super::console::Console;
use super::outputs::Outputs;
use super::qmp::Qmp;
use super::{limit, report};

/// Silence, in seconds, after which a guest is taken for dead. UEFI firmware says nothing for its first ten seconds.
const SILENCE: f64 = 40.0;
/// The last limit for one wait, in seconds, for a guest that prints for ever.
const LAST: f64 = 300.0;
/// How the guest's kernel says that it gave up.
const PANIC: &str = "Kernel panic - not syncing";
/// Bytes of one typed line: busybox edits lines of up to 1023 bytes (CONFIG_FEATURE_EDITING_MAX_LEN).
const LINE: usize = 700;

/// Seconds until QEMU greets. `run.sh` may compile its program first.
const START: f64 = 300.0;

/// How to boot.
#[derive(Clone)]
pub struct Start<'a> {
    /// Names the log.
    pub name: &'a str,
    /// The profile.
    pub profile: &'a str,
    /// The way to boot; the profile's first, when there is none.
    pub boot: Option<Boot>,
    /// The machine.
    pub options: Options,
    /// Another target directory than cargo's.
    pub target: Option<&'a Path>,
    /// Who starts QEMU.
    pub by: By,
}

/// Who starts QEMU.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The test.
    Test,
    /// `./run.sh`, as a person does who has the checkout.
    RunSh,
    /// `run-qemu.sh`, as a person does who has the image.
    RunQemuSh,
}

impl Start<'_> {
    /// A boot of a profile with nothing chosen.
    pub fn new<'a>(name: &'a str, profile: &'a str) -> Start<'a> {
        Start { name, profile, boot: None, options: Options::default(), target: None, by: By::Test }
    }

    /// Makes what firmware needs, in this process. A process of a namespace makes no file that others make at the same
    /// time: the numbers of processes, which tell names of unfinished files apart, are the same in all of them.
    pub fn prepare(&self, outputs: &Outputs) -> Result<()> {
        let dirs = Dirs::find()?;
        let profile = Profile::read(&dirs, self.profile)?;
        let boot = self.boot.or(profile.boots(outputs.arch).first().copied()).context("the profile does not boot")?;
        let machine = Machine { arch: outputs.arch, profile: &profile, boot, dir: &outputs.dir };
        machine.prepare(&self.options, &Host::find(outputs.arch, self.options.accelerator, &dirs.home))
    }

    /// The command, with QMP at a socket.
    fn command(&self, outputs: &Outputs, socket: PathBuf) -> Result<Command> {
        let dirs = Dirs::find()?;
        let target = self.target.unwrap_or(&dirs.target);
        let dir = target.join("bloomery").join(outputs.arch.name());
        let profile = Profile::read(&dirs, self.profile)?;
        let boot = self.boot.or(profile.boots(outputs.arch).first().copied()).context("the profile does not boot")?;
        if self.by == By::Test {
            let machine = Machine { arch: outputs.arch, profile: &profile, boot, dir: &dir };
            let host = Host::find(outputs.arch, self.options.accelerator, &dirs.home);
            machine.prepare(&self.options, &host)?;
            let qemu = machine.command(&Options { qmp: Some(socket), ..self.options.clone() }, &host)?;
            let mut command = Command::new(qemu.program);
            command.args(qemu.args);
            return Ok(command);
        }
        let mut command = if self.by == By::RunSh {
            let mut run = Command::new(outputs.root.join("run.sh"));
            run.args([outputs.arch.name(), "--no-build", "--profile", self.profile]);
            run.env("CARGO_TARGET_DIR", target);
            run
        } else {
            Command::new(dir.join(outputs::directory(&profile)).join(outputs::RUN_SCRIPT))
        };
        command.args(["--boot", boot.name()]).args(words(&self.options)?);
        command.arg("--").arg("-qmp").arg(format!("unix:{},server=on,wait=off", socket.display()));
        command.args(&self.options.extra);
        Ok(command)
    }
}

/// Options as a person types them.
fn words(options: &Options) -> Result<Vec<String>> {
    ensure!(options.accelerator == Default::default() && !options.gdb, "these options have no words here");
    let mut words = Vec::new();
    if !options.append.is_empty() {
        words.extend(["--append".into(), options.append.clone()]);
    }
    words.extend(options.variables.iter().flat_map(|file| ["--vars".into(), file.display().to_string()]));
    words.extend(options.memory.iter().flat_map(|bytes| ["--memory".into(), format!("{}M", bytes >> 20)]));
    words.extend(options.processors.iter().flat_map(|count| ["--smp".into(), count.to_string()]));
    words.extend(options.ports.iter().flat_map(|port| ["--port".into(), port.to_string()]));
    words.extend(options.tap.iter().flat_map(|name| ["--tap".into(), name.clone()]));
    if options.snapshot {
        words.push("--snapshot".into());
    }
    Ok(words)
}

/// Words for the kernel of a guest that is not about its timers: by emulation on a busy host an x86_64 kernel counts interrupts of a timer
/// by a clock that runs on meanwhile, finds too few, and panics.
pub fn patient(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "no_timer_check",
        Arch::Arm64 => "",
    }
}

/// Arguments for QEMU.
pub fn extra(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// A running guest. Dropped, it is killed.
pub struct Guest {
    /// What it has shown.
    pub console: Console,
    /// When QEMU was started, a moment before its first instruction.
    pub started: Instant,
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<(Instant, Vec<u8>)>,
    command: String,
    log: PathBuf,
    asked: usize,
    qmp: Qmp,
    /// Holds QMP's socket.
    _dir: tempfile::TempDir,
}

/// The output and exit status of a command in the guest.
#[derive(Debug)]
pub struct Answer {
    /// What it printed, both streams.
    pub output: String,
    /// Its exit status.
    pub status: i32,
}

impl Guest {
    /// Starts QEMU, and waits until it greets.
    pub fn start(outputs: &Outputs, start: &Start) -> Result<Guest> {
        let dir = tempfile::tempdir()?;
        let socket = dir.path().join("qmp");
        let mut run = start.command(outputs, socket.clone())?;
        let command = format!("{run:?}");
        let log = outputs.test_dir()?.join(format!("{}.log", start.name));
        run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut started = Instant::now();
        let mut child = run.spawn().with_context(|| format!("cannot start {command}"))?;
        let (sender, output) = channel();
        let (stdout, stderr) = (child.stdout.take().context("no pipe")?, child.stderr.take().context("no pipe")?);
        copy_output(stdout, fs::File::create(&log)?, sender);
        let said = copy_errors(stderr);
        let qmp = greeting(&mut child, &socket, &said)
            .with_context(|| format!("{command} did not start QEMU:\n{}", text_of(&said)))?;
        if start.by != By::Test {
            started = Instant::now(); // The time before it belongs to the scripts.
        }
        let input = child.stdin.take();
        let console = Console::default();
        Ok(Guest { console, started, child, input, output, command, log, asked: 0, qmp, _dir: dir })
    }

    /// Starts QEMU and waits for the shell's prompt.
    pub fn boot(outputs: &Outputs, start: &Start) -> Result<Guest> {
        let mut guest = Guest::start(outputs, start)?;
        let prompt = guest.prompt()?;
        report(&format!("{}: a prompt after {:.1} s", start.name, prompt.as_secs_f64()));
        guest.settle()?;
        Ok(guest)
    }

    /// Waits until nothing but the shell writes to the console: messages of the kernel and of the DHCP client, which
    /// is done when there is a route, would fall into answers. Without network it goes on after 20 seconds.
    pub fn settle(&mut self) -> Result<()> {
        let route = "ip route | grep -q ^default";
        self.run(&format!("dmesg -n 1; i=0; until {route} || [ $i = 100 ]; do i=$((i+1)); sleep 0.2; done")).map(drop)
    }

    /// Waits for a shell's prompt, and returns when it came, counted from QEMU's start.
    pub fn prompt(&mut self) -> Result<Duration> {
        let seen = self.console.lines.len();
        let in_lines = move |console: &Console| console.lines[seen..].iter().any(|(_, line)| has_prompt(line));
        self.wait("a shell's prompt", SILENCE, |console| has_prompt(&console.unfinished()) || in_lines(console))
    }

    /// Waits for a line that contains a text.
    pub fn line(&mut self, text: &str) -> Result<Duration> {
        let seen = self.console.lines.len();
        self.wait(&format!("`{text}`"), SILENCE, |console| {
            console.lines[seen..].iter().any(|(_, line)| line.contains(text))
        })
    }

    /// Waits until something is true of the console; `what` is for the error. It may be silent for the given seconds.
    pub fn until(&mut self, what: &str, silence: f64, done: impl Fn(&Console) -> bool) -> Result<Duration> {
        self.wait(what, silence, done)
    }

    /// Waits until something is true that others than the console show. The function says whether it is, and a number that
    /// changes when they have news. Neither they nor the console may be silent for longer than the given seconds.
    pub fn until_others(
        &mut self,
        what: &str,
        silence: f64,
        mut look: impl FnMut() -> (bool, u64),
    ) -> Result<Duration> {
        const PAUSE: Duration = Duration::from_millis(50);
        let begin = Instant::now();
        let (mut last, mut news) = (begin, None);
        loop {
            let (done, number) = look();
            if done {
                return Ok(self.started.elapsed());
            }
            match self.receive(PAUSE) {
                Ok(at) => last = at,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(self.failure(&format!("QEMU ended before {what}"))),
            }
            if news.replace(number) != Some(number) {
                last = Instant::now();
            }
            ensure!(!self.console.shows(PANIC), self.failure(&format!("the kernel panicked before {what}")));
            if last.elapsed() > limit(silence) || begin.elapsed() > limit(LAST) {
                return Err(self.failure(&format!("no {what} after {:.0?}", self.started.elapsed())));
            }
        }
    }

    /// Ends the machine as if its power had failed.
    pub fn pull_plug(&mut self) -> Result<()> {
        self.qmp("quit", json!({}))?;
        self.ended(10.0)
    }

    /// Executes a command of QMP.
    pub fn qmp(&mut self, command: &str, arguments: Value) -> Result<Value> {
        self.qmp.execute(command, arguments).map_err(|error| self.failure(&format!("{error:#}")))
    }

    /// Holds Ctrl, Alt and Del on the machine's keyboard.
    pub fn press_ctrl_alt_del(&mut self) -> Result<()> {
        let keys = ["ctrl", "alt", "delete"].map(|key| json!({ "type": "qcode", "data": key }));
        self.qmp("send-key", json!({ "keys": keys })).map(drop)
    }

    /// Takes a device out, and waits until the guest has let go of it.
    pub fn unplug(&mut self, id: &str) -> Result<()> {
        self.qmp("device_del", json!({ "id": id }))?;
        // One event for the device, and one for each object of it.
        while self.qmp.event("DEVICE_DELETED").map_err(|error| self.failure(&format!("{error:#}")))?["device"] != id {}
        Ok(())
    }

    /// Types text as it is.
    pub fn type_keys(&mut self, keys: &str) -> Result<()> {
        let input = self.input.as_mut().context("the guest was ended")?;
        input
            .write_all(keys.as_bytes())
            .and_then(|()| input.flush())
            .map_err(|error| self.failure(&format!("cannot type: {error}")))
    }

    /// Runs a command in the guest's shell. It may be silent for the given seconds.
    pub fn ask_slow(&mut self, command: &str, silence: f64) -> Result<Answer> {
        ensure!(
            command.len() <= LINE + 60 && !command.contains('\n'),
            "a command is one line of at most {LINE} bytes: {command}"
        );
        self.asked += 1;
        let n = self.asked;
        let from = self.console.text.len();
        // The marks differ from the text that is typed, because the console shows that too.
        self.type_keys(&format!("printf '\\n@%s@\\n' B{n}; {command}; printf '\\n@%s %d@\\n' E{n} $?\n"))?;
        let (begin, end) = (format!("\n@B{n}@\n"), format!("\n@E{n} "));
        let complete = |text: &str| text.rfind(&end).is_some_and(|at| text[at + end.len()..].contains("@\n"));
        self.wait(&format!("the end of `{command}`"), silence, |console| complete(&console.text[from..]))?;
        let text = &self.console.text[from..];
        let parsed = text.split_once(&begin).and_then(|(_, rest)| {
            let (output, rest) = rest.split_once(&end)?;
            Some(Answer { output: output.trim_end().into(), status: rest.split_once('@')?.0.parse().ok()? })
        });
        parsed.ok_or_else(|| self.failure(&format!("the answer to `{command}` is garbled")))
    }

    /// Runs a command in the guest's shell.
    pub fn ask(&mut self, command: &str) -> Result<Answer> {
        self.ask_slow(command, SILENCE)
    }

    /// Runs a command that must end with status 0, and returns what it printed.
    pub fn run(&mut self, command: &str) -> Result<String> {
        self.run_slow(command, SILENCE)
    }

    /// The same for a command that may be silent for the given seconds.
    pub fn run_slow(&mut self, command: &str, silence: f64) -> Result<String> {
        let answer = self.ask_slow(command, silence)?;
        if answer.status != 0 {
            return Err(self.failure(&format!("`{command}` ended with {} in the guest", answer.status)));
        }
        Ok(answer.output)
    }

    /// Writes a file in the guest, by typing it.
    pub fn write(&mut self, path: &str, text: &str) -> Result<()> {
        self.run(&format!(": >{path}"))?;
        let mut words = String::new();
        for line in text.lines() {
            let word = format!(" '{}'", line.replace('\'', "'\\''"));
            if words.len() + word.len() > LINE - 60 {
                self.run(&format!("printf '%s\\n'{words} >>{path}"))?;
                words.clear();
            }
            words += &word;
        }
        self.run(&format!("printf '%s\\n'{words} >>{path}")).map(drop)
    }

    /// Waits for QEMU's own end, which must be a good one and none of a panic.
    pub fn ended(&mut self, seconds: f64) -> Result<()> {
        let deadline = Instant::now() + limit(seconds);
        loop {
            if self.receive(Duration::from_millis(20)) == Err(RecvTimeoutError::Disconnected) {
                std::thread::sleep(Duration::from_millis(20));
            }
            if let Some(status) = self.child.try_wait().context("cannot wait for QEMU")? {
                // What it said last.
                while self.receive(limit(1.0)).is_ok() {}
                ensure!(status.success(), self.failure(&format!("QEMU ended with {status}")));
                ensure!(!self.console.shows(PANIC), self.failure("the kernel panicked"));
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.failure("QEMU did not end"));
            }
        }
    }

    /// Powers the guest off and checks that it goes down cleanly. Returns the seconds it took.
    pub fn power_off(self) -> Result<f64> {
        self.goes_down(|guest| guest.type_keys("poweroff\n"))
    }

    /// Presses the machine's power button, which must do the same.
    pub fn press_power_button(self) -> Result<f64> {
        self.goes_down(|guest| guest.qmp("system_powerdown", json!({})).map(drop))
    }

    fn goes_down(mut self, ask: impl FnOnce(&mut Guest) -> Result<()>) -> Result<f64> {
        let asked = Instant::now();
        ask(&mut self)?;
        self.line("reboot: Power down")?;
        self.ended(10.0)?;
        Ok(asked.elapsed().as_secs_f64())
    }

    /// An error that says what went wrong, what was run, what the guest said last, and where its log is.
    pub fn failure(&self, what: &str) -> Error {
        anyhow!("{what}\ncommand: {}\nconsole:\n{}\nlog: {}", self.command, self.console.tail(30), self.log.display())
    }

    /// Waits until something is true of the console.
    fn wait(&mut self, what: &str, silence: f64, done: impl Fn(&Console) -> bool) -> Result<Duration> {
        let begin = Instant::now();
        let mut last = Instant::now();
        loop {
            if done(&self.console) {
                return Ok(last.saturating_duration_since(self.started));
            }
            match self.receive(limit(silence).saturating_sub(last.elapsed())) {
                Ok(at) => last = at,
                Err(RecvTimeoutError::Timeout) => {
                    return Err(self.failure(&format!("no output for {:.0?} while waiting for {what}", limit(silence))));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait().context("cannot wait for QEMU")?;
                    return Err(self.failure(&format!("QEMU ended with {status} before {what}")));
                }
            }
            if self.console.text.contains(PANIC) {
                return Err(self.failure(&format!("the kernel panicked before {what}")));
            }
            if begin.elapsed() > limit(LAST) {
                return Err(self.failure(&format!("no {what} within {:.0?}", limit(LAST))));
            }
        }
    }

    /// Takes the next output, and says when it came.
    fn receive(&mut self, timeout: Duration) -> std::result::Result<Instant, RecvTimeoutError> {
        let (at, bytes) = self.output.recv_timeout(timeout)?;
        self.console.take(&bytes, at.saturating_duration_since(self.started));
        Ok(at)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have ended by itself.
        let _ = self.child.wait();
    }
}

/// Whether a line is or begins with root's prompt; a message of the kernel may follow it.
fn has_prompt(line: &str) -> bool {
    line.ends_with("# ") || line.starts_with("root@") && line.contains("# ")
}

/// Copies a guest's output to its log and to the test.
fn copy_output(mut from: impl std::io::Read + Send + 'static, mut log: fs::File, to: Sender<(Instant, Vec<u8>)>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let _ = log.write_all(&buffer[..count]); // A full disk shows in the tests themselves.
            if to.send((Instant::now(), buffer[..count].to_vec())).is_err() {
                break;
            }
        }
    });
}

/// What a program said on standard error.
type Said = Arc<Mutex<String>>;

/// Keeps what QEMU and the scripts say, and shows it.
fn copy_errors(stderr: std::process::ChildStderr) -> Said {
    let said = Said::default();
    let copy = Arc::clone(&said);
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            report(&format!("QEMU: {line}"));
            *copy.lock().unwrap_or_else(PoisonError::into_inner) += &format!("{line}\n");
        }
    });
    said
}

fn text_of(said: &Said) -> String {
    said.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Waits for QMP's greeting: then QEMU runs.
fn greeting(child: &mut Child, socket: &Path, said: &Said) -> Result<Qmp> {
    let begin = Instant::now();
    loop {
        if let Some(qmp) = Qmp::connect(socket)? {
            return Ok(qmp);
        }
        if let Some(status) = child.try_wait().context("cannot wait for QEMU")? {
            bail!("it ended with {status}");
        }
        if begin.elapsed() > limit(START) {
            let _ = child.kill(); // The error is what matters.
            let _ = child.wait();
            bail!("no greeting within {:.0?}; it said:\n{}", limit(START), text_of(said));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
