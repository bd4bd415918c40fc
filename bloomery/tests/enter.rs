//! `cargo bloomery enter`, with a sysroot that has a shell of this machine.

mod common;

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use build_support::{Arch, fs, tree};
use common::{Project, errors};
use system::outputs;

/// An ordinary user: `nobody`.
const USER: u32 = 65534;

/// What the program says where the host forbids it.
const FORBIDDEN: &str = "cannot leave the host's namespaces";

/// A project whose profile `full` has a sysroot with a shell and the libraries that it needs.
fn project() -> Project {
    let project = Project::new();
    project
        .file("image/profiles/full.toml", "extends = \"base\"\n[[output]]\nkind = \"sysroot\"\nfile = \"sysroot\"\n");
    let arch = Arch::host().unwrap();
    project.build(arch, "base");
    let profile = project.profile("full");
    let own = project.out(arch).join(outputs::directory(&profile));
    tree::write_atomically(&own.join(outputs::PROFILE_MARK), outputs::identity(&profile).as_bytes()).unwrap();
    let sysroot = sysroot(&project);
    for dir in ["dev", "proc", "root", "run", "tmp", "etc"] {
        fs::create_dir_all(sysroot.join(dir)).unwrap();
    }
    fs::os::unix::fs::symlink("/run/resolv.conf", sysroot.join("etc/resolv.conf")).unwrap();
    copy_program(Path::new("/bin/sh"), &sysroot);
    project
}

fn sysroot(project: &Project) -> PathBuf {
    project.out(Arch::host().unwrap()).join("sysroot")
}

fn copy_program(program: &Path, sysroot: &Path) {
    let ldd = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(ldd.stdout).unwrap();
    let libraries = text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
    for file in libraries.chain([program.to_path_buf()]) {
        let to = sysroot.join(file.strip_prefix("/").unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(fs::canonicalize(&file).unwrap(), to).unwrap();
    }
}

/// Runs a script in the sysroot, as root or as an ordinary user. Nothing, where the machine does not allow it: the reason is
/// in the message.
fn enter(project: &Project, user: bool, script: &str) -> Option<Output> {
    let mut command = project.bloomery(&["enter", "/bin/sh", "-c", script]);
    if user {
        command.uid(USER).gid(USER);
    }
    let output = command.output().unwrap();
    if errors(&output).contains(FORBIDDEN) {
        let who = if user { "an ordinary user" } else { "root" };
        testing::skip(&format!("this host does not let {who} make namespaces"));
        return None;
    }
    Some(output)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// For root and, when the test can become one, for an ordinary user.
fn users() -> Vec<bool> {
    if is_root() { vec![false, true] } else { vec![false] }
}

#[test]
fn a_system_has_its_devices_and_leaves_nothing() {
    let project = project();
    fs::set_permissions(project.root(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for user in users() {
        let script =
            "echo lost >/dev/null; for d in null zero full random urandom tty; do [ -c /dev/$d ] || echo no $d; done
            [ -d /dev/pts ] && [ -c /dev/ptmx ] && [ -e /dev/fd/0 ] || echo no terminals
            (echo x >/dev/full) 2>/tmp/full && echo full takes more
            echo $$ >/run/pid; read first rest </proc/1/stat; echo $first; cd; pwd
            while read -r what where rest; do [ $where != / ] || echo root is mounted; done </proc/self/mounts
            [ -s /etc/resolv.conf ] || [ ! -s /run/resolv.conf ] || echo no resolver";
        let Some(output) = enter(&project, user, script) else { continue };
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "1\n/root\nroot is mounted\n",
            "user {user}: {}",
            errors(&output)
        );
        assert!(output.status.success(), "{}", errors(&output));
        for dir in ["dev", "tmp", "run"] {
            let left: Vec<_> = fs::read_dir(sysroot(&project).join(dir)).unwrap().collect();
            assert!(left.is_empty(), "{left:?} stays in /{dir}");
        }
        assert!(!fs::read_to_string("/proc/self/mounts").unwrap().contains("sysroot/dev"), "a mount stays");
    }
}

#[test]
fn a_resolver_is_the_hosts() {
    let project = project();
    let Ok(host) = fs::read_to_string("/etc/resolv.conf") else { return };
    let script = "while read -r line; do echo \"$line\"; done </etc/resolv.conf";
    let Some(output) = enter(&project, false, script) else { return };
    let words = |text: &str| text.split_whitespace().map(String::from).collect::<Vec<_>>();
    assert_eq!(words(&String::from_utf8_lossy(&output.stdout)), words(&host), "{}", errors(&output));
}

#[test]
fn the_status_is_the_commands() {
    let project = project();
    for (script, status) in [("exit 7", 7), ("exit 0", 0), ("kill -KILL $$", 137), ("kill -TERM $$", 143)] {
        let Some(output) = enter(&project, false, script) else { return };
        assert_eq!(output.status.code(), Some(status), "{script}: {}", errors(&output));
    }
    let output = project.bloomery(&["enter", "/no/such/program"]).output().unwrap(); // Reached where the others are.
    assert!(
        output.status.code() == Some(127) && errors(&output).contains("cannot start /no/such/program"),
        "{}",
        errors(&output)
    );
}

/// The namespace ends with the command: what it left running does not keep the caller waiting.
#[test]
fn what_a_command_leaves_ends_with_it() {
    let project = project();
    let begin = std::time::Instant::now();
    let Some(output) = enter(&project, false, "(while :; do read x </dev/zero; done) & echo started") else { return };
    assert_eq!(String::from_utf8_lossy(&output.stdout), "started\n", "{}", errors(&output));
    assert!(begin.elapsed() < std::time::Duration::from_secs(60));
}

#[test]
fn a_shell_is_the_default() {
    let project = project();
    let mut shell = project.bloomery(&["enter"]);
    let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"echo $0 $HOME $USER; exit 3\n").unwrap();
    let output = child.wait_with_output().unwrap();
    if errors(&output).contains(FORBIDDEN) {
        testing::skip("this host does not let root make namespaces");
        return;
    }
    assert_eq!(String::from_utf8_lossy(&output.stdout), "/bin/sh /root root\n", "{}", errors(&output));
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn a_sysroot_that_is_not_there_says_how_to_build_it() {
    let project = project();
    let build = "cargo bloomery build full --arch arm64";
    let arch = if Arch::host().unwrap() == Arch::Arm64 { "x86_64" } else { "arm64" };
    project.refuses(
        &["enter", arch],
        1,
        &[&format!("no sysroot of full for {arch} yet"), &build.replace("arm64", arch)],
    );
    project.refuses(&["enter", "--profile", "base"], 1, &["base has no sysroot", "kind `sysroot`"]);
}
