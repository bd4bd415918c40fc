//! Whether KVM runs a guest. A /dev/kvm alone proves nothing: nested ones refuse the host's processor or take seconds for
//! the firmware, so a machine without disk is run to its end.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use build_support::{Arch, fs, host, tree};
use rustix::process::{Pid, Resource, Rlimit};

use super::board::Board;

/// The time that the probe may take. KVM on hardware needs 0.1 s; emulation would boot the whole system in this time.
pub(super) const LIMIT: Duration = Duration::from_secs(3);
/// A new one at each start of the machine (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Whether KVM runs a guest, or why it does not. `again`: what is remembered does not count.
pub(super) fn works(arch: Arch, memos: &Path, again: bool) -> Result<(), String> {
    may_be_tried(arch)?;
    let Some(program) = host::find_program(arch.qemu()) else {
        return Err(format!("{} is not installed", arch.qemu()));
    };
    let memo = memo_dir(memos).join(format!("kvm-{arch}"));
    remembered(&memo, key(&program), again, || probe(&program, &Board::of(arch).kvm_probe()))
}

/// What needs no guest to be known, and may change at any time.
fn may_be_tried(arch: Arch) -> Result<(), String> {
    let machine = std::env::consts::ARCH;
    if machine != arch.machine() {
        return Err(format!("this machine is {machine}, and KVM runs guests of its own architecture"));
    }
    let device = Path::new("/dev/kvm");
    if !device.exists() {
        return Err("there is no /dev/kvm".into());
    }
    let access = rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK;
    rustix::fs::access(device, access)
        .map_err(|_| "/dev/kvm is not yours to open; joining the group kvm may help".into())
}

/// The session's directory, which the next start of the machine empties, else the store's.
fn memo_dir(memos: &Path) -> PathBuf {
    let session =
        std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute() && dir.is_dir());
    session.map_or(memos.into(), |dir| dir.join("bloomery"))
}

/// What a remembered answer is good for: this start of the machine, and this QEMU. A new version is another file.
fn key(program: &Path) -> Option<String> {
    let boot = fs::read_to_string(BOOT_ID).ok()?;
    let program = fs::canonicalize(program).ok()?;
    let meta = fs::metadata(&program).ok()?;
    Some(format!("{} {} {} {}.{}", boot.trim(), program.display(), meta.len(), meta.mtime(), meta.mtime_nsec()))
}

/// The remembered answer, or one that is asked for and remembered.
fn remembered(
    memo: &Path,
    key: Option<String>,
    again: bool,
    ask: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let Some(key) = key else { return ask() };
    if !again
        && let Ok(text) = fs::read_to_string(memo)
        && let Some((known, answer)) = text.split_once('\n')
        && known == key
    {
        return if answer.is_empty() { Ok(()) } else { Err(answer.trim_end().into()) };
    }
    let answer = ask();
    let text = answer.as_ref().err().map_or(String::new(), |why| format!("{}\n", why.replace('\n', " ")));
    // Without the memo the next start takes the probe's time again, and nothing else is lost.
    let _ = tree::write_atomically(memo, format!("{key}\n{text}").as_bytes());
    answer
}

fn probe(program: &Path, args: &[&str]) -> Result<(), String> {
    match try_guest(program, args) {
        Ok((Some(status), _)) if status.success() => Ok(()),
        Ok((Some(status), said)) => {
            let error = said.lines().find(|line| line.contains("error")).map_or(status.to_string(), String::from);
            Err(format!("/dev/kvm does not run a guest: {error}"))
        }
        Ok((None, _)) => Err("/dev/kvm is slower than emulation".into()),
        Err(error) => Err(format!("{} does not start: {error}", program.display())),
    }
}

/// Runs a QEMU for at most [`LIMIT`]: its status, unless it was ended, and what it said.
fn try_guest(program: &Path, args: &[&str]) -> std::io::Result<(Option<ExitStatus>, String)> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    // An emulator that aborts leaves no core file behind.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::prlimit(Some(Pid::from_child(&child)), Resource::Core, none); // It may have ended.
    if let Some(mut input) = child.stdin.take() {
        let _ = input.write_all(b"quit\n"); // As before.
    }
    let status = wait(&mut child)?;
    let mut said = String::new();
    if let Some(mut errors) = child.stderr.take() {
        errors.read_to_string(&mut said)?;
    }
    Ok((status, said))
}

/// Waits for an end, and brings it about after [`LIMIT`]: then there is no status.
fn wait(child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begin.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_until_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let memo = dir.path().join("new/kvm-x86_64");
        let refused = || Err("it is slow".to_string());
        let never = || panic!("asked again");
        let key = |text: &str| Some(text.to_string());
        assert_eq!(remembered(&memo, key("boot 1"), false, refused), refused());
        assert_eq!(remembered(&memo, key("boot 1"), false, never), refused());
        assert_eq!(remembered(&memo, key("boot 1"), true, || Ok(())), Ok(()), "asked for");
        assert_eq!(remembered(&memo, key("boot 1"), false, never), Ok(()));
        assert_eq!(remembered(&memo, key("boot 2"), false, refused), refused(), "after a new start");
        assert_eq!(remembered(&memo, None, false, || Ok(())), Ok(()), "without a number of the start");
    }

    #[test]
    fn another_qemu_is_another_key() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("qemu");
        std::fs::write(&program, "one").unwrap();
        let first = key(&program).unwrap();
        assert_eq!(key(&program), Some(first.clone()));
        std::fs::write(&program, "two, longer").unwrap();
        assert_ne!(key(&program).unwrap(), first);
    }

    #[test]
    fn an_end_says_what_it_was() {
        let sh = |script: &str| probe(Path::new("/bin/sh"), &["-c", script]);
        assert_eq!(sh("read word && [ $word = quit ]"), Ok(()));
        let refused = sh("echo 'x: error: no such CPU' >&2; exit 1").unwrap_err();
        assert_eq!(refused, "/dev/kvm does not run a guest: x: error: no such CPU");
        assert!(sh("kill -ABRT $$").unwrap_err().contains("SIGABRT"));
        let begin = Instant::now();
        assert_eq!(sh("exec sleep 60"), Err("/dev/kvm is slower than emulation".into()));
        assert!(begin.elapsed() < LIMIT + Duration::from_secs(20));
        assert!(probe(Path::new("/no/such/qemu"), &[]).unwrap_err().contains("does not start"));
    }
}
