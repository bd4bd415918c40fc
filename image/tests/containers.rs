//! Containers on board of `full`: what its kernel has for them, used by a program of this test, by crun and by nft.

mod common;

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use build_support::{Arch, fs};
use common::guest::{Guest, Start, extra};
use common::outputs::{Outputs, check_with};
use common::{http, slots};
use serde_json::{Value, json};
use system::machine::{Accelerator, Options};

for_each_arch! { a_bpf_program_guards_devices }

/// Seconds that clang on board, or a container that starts, may be silent.
const SILENCE: f64 = 120.0;

/// Loads a BPF program that refuses each device (bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE), attaches it to the control group
/// that it is given, joins that, and opens /dev/zero: what crun does with a container's list of devices.
const GUARD: &str = r#"#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
static long bpf(int command, union bpf_attr *attr) { return syscall(SYS_bpf, command, attr, sizeof *attr); }
int main(int argc, char **argv) {
    struct bpf_insn refuse[] = {
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0},
        {.code = BPF_JMP | BPF_EXIT},
    };
    union bpf_attr load = {.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE, .insns = (unsigned long)refuse, .insn_cnt = 2,
                           .license = (unsigned long)"GPL"};
    int program = bpf(BPF_PROG_LOAD, &load);
    if (program < 0) return perror("BPF_PROG_LOAD"), 1;
    int group = open(argv[1], O_RDONLY | O_DIRECTORY);
    union bpf_attr attach = {.target_fd = group, .attach_bpf_fd = program, .attach_type = BPF_CGROUP_DEVICE};
    if (bpf(BPF_PROG_ATTACH, &attach)) return perror("BPF_PROG_ATTACH"), 1;
    int members = openat(group, "cgroup.procs", O_WRONLY);
    if (write(members, "0", 1) != 1) return perror("cgroup.procs"), 1;
    printf("/dev/zero: %s\n", open("/dev/zero", O_RDONLY) < 0 ? strerror(errno) : "open");
    return 0;
}
"#;

/// What nft does with it: names behind one address, as podman's and docker's networks are.
const RULES: &str = "table inet web {
  chain out { type nat hook postrouting priority srcnat; ip saddr 10.9.0.0/24 masquerade; }
  chain in { type nat hook prerouting priority dstnat; tcp dport 8000 dnat ip to 10.9.0.2:80; }
  chain pass { type filter hook forward priority filter; policy drop; ct state established accept; ip saddr 10.9.0.0/24 counter accept; }
}";

fn boot(outputs: &Outputs, name: &str, more: &[&str]) -> Result<Guest> {
    let words = [&["-no-reboot"], more].concat();
    let options = Options { accelerator: Accelerator::Tcg, snapshot: true, extra: extra(&words), ..Options::default() };
    Guest::boot(outputs, &Start { options, ..Start::new(name, "full") })
}

fn a_bpf_program_guards_devices(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "full")? else { return Ok(()) };
    let _slot = slots::one();
    let mut guest = boot(&outputs, "guard", &[])?;
    guest.write("/tmp/guard.c", GUARD)?;
    guest.run_slow("clang -o /tmp/guard /tmp/guard.c", SILENCE)?;
    guest.run("mkdir /sys/fs/cgroup/guarded")?;
    let said = guest.run("/tmp/guard /sys/fs/cgroup/guarded")?;
    ensure!(said == "/dev/zero: Operation not permitted", guest.failure(&said));
    // A user may not even load one.
    let said = guest.ask("su nobody -s /bin/sh -c '/tmp/guard /sys/fs/cgroup/guarded' 2>&1")?;
    ensure!(said.output.contains("BPF_PROG_LOAD: Operation not permitted"), guest.failure(&said.output));
    guest.power_off().map(drop)
}

/// The host's program with the libraries that it asks for, in a directory. `false`: it is not installed.
fn collect(program: &str, dir: &Path) -> Result<bool> {
    let found =
        Command::new("sh").args(["-c", &format!("PATH=$PATH:/usr/sbin:/sbin; command -v {program}")]).output()?;
    let path = String::from_utf8_lossy(&found.stdout).trim().to_string();
    if path.is_empty() {
        testing::skip(&format!("{program} is not installed; ./setup.sh installs it"));
        return Ok(false);
    }
    let name = |path: &str| dir.join(Path::new(path).file_name().unwrap_or_default());
    for file in check_with("ldd", &[&path])?.split_whitespace().filter(|word| word.starts_with('/')).chain([&*path]) {
        fs::copy(Path::new(file), name(file))?;
    }
    Ok(true)
}

/// A container of the guest's own files, in the format of runc's config.json (OCI runtime specification 1.0).
fn container(command: &str) -> Value {
    let mount = |at: &str, kind: &str| json!({"destination": at, "type": kind, "source": kind});
    let namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({ "type": kind }));
    let rights = ["CAP_MKNOD"];
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["/bin/sh", "-c", command], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
            "capabilities": {"bounding": rights, "effective": rights, "permitted": rights},
        },
        "root": {"path": "rootfs"},
        "hostname": "inside",
        "mounts": [mount("/proc", "proc"), mount("/dev", "tmpfs"), mount("/dev/mqueue", "mqueue")],
        "linux": {
            "namespaces": namespaces,
            "resources": {"devices": [{"allow": false, "access": "rwm"}], "memory": {"limit": 32 << 20}, "pids": {"limit": 20}},
        },
    })
}

/// crun and nft are those of this machine, with its C library beside them.
#[test]
fn crun_and_nft_do_their_work() -> Result<()> {
    let Some(outputs) = Outputs::of(Arch::host()?, "full")? else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    if !collect("crun", dir.path())? || !collect("nft", dir.path())? {
        return Ok(());
    }
    let commands = [
        ("hello", "echo $$ $(hostname) $(id -u)"),
        // Whoever may make device files makes any; opening is what is refused.
        ("device", "mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg 2>&1"),
        ("memory", "dd if=/dev/zero of=/dev/null bs=64M count=1"),
    ];
    for (name, command) in commands {
        let bundle = dir.path().join(name);
        fs::create_dir_all(&bundle)?;
        fs::write(bundle.join("config.json"), container(command).to_string())?;
    }
    fs::write(dir.path().join("rules"), RULES)?;
    let _slot = slots::one();
    let share = format!("local,path={},mount_tag=host,security_model=none,readonly=on", dir.path().display());
    let mut guest = boot(&outputs, "crun", &["-virtfs", &share])?;
    guest.run("mkdir -p /tmp/host && mount -t 9p -o trans=virtio,ro host /tmp/host && mkdir -p /lib64 /opt")?;
    guest.run_slow("cp -r /tmp/host/. /opt && ln -s /opt/ld-linux* /lib64/", SILENCE)?;
    containers(&mut guest)?;
    network(&mut guest)?;
    guest.power_off().map(drop)
}

fn containers(guest: &mut Guest) -> Result<()> {
    guest.run("mkdir -p /tmp/upper /tmp/work")?;
    for name in ["hello", "device", "memory"] {
        let overlay = "lowerdir=/,upperdir=/tmp/upper,workdir=/tmp/work";
        let mount = format!("mkdir -p /opt/{name}/rootfs && mount -t overlay overlay -o {overlay} /opt/{name}/rootfs");
        guest.run(&mount).context("the layers of an image")?;
        let run = format!("LD_LIBRARY_PATH=/opt /opt/crun run -b /opt/{name} {name} 2>&1");
        let answer = guest.ask_slow(&run, SILENCE)?;
        let (status, said) = (answer.status, answer.output);
        let right = match name {
            "hello" => status == 0 && said == "1 inside 0",
            "device" => said.contains("Operation not permitted"),
            _ => status == 137, // 128 + SIGKILL, by the kernel: it had no more memory.
        };
        ensure!(right, guest.failure(&format!("{name}: crun ended with {status}: {said}")));
        guest.run(&format!("umount /opt/{name}/rootfs"))?;
    }
    Ok(())
}

/// A bridge, a pair of Ethernet ends, and a client behind the machine's own address.
fn network(guest: &mut Guest) -> Result<()> {
    let port = http::serve("/behind", "through the bridge\n")?;
    for command in [
        "sysctl -q -w net.ipv4.ip_forward=1",
        "LD_LIBRARY_PATH=/opt /opt/nft -f /opt/rules",
        "brctl addbr br0 && ip address add 10.9.0.1/24 dev br0 && ip link set br0 up",
        // busybox's ip cannot name the other end, which the kernel calls veth0.
        "ip link add outside type veth && brctl addif br0 outside && ip link set outside up",
        "unshare -n sh -c 'echo $$ >/tmp/pid; exec sleep 1000' & until [ -s /tmp/pid ]; do sleep 0.1; done",
        "ip link set veth0 netns $(cat /tmp/pid)",
    ] {
        guest.run(command)?;
    }
    let inside = "nsenter -t $(cat /tmp/pid) -n";
    guest.run(&format!(
        "{inside} sh -c 'ip address add 10.9.0.2/24 dev veth0; ip link set veth0 up; ip route add default via 10.9.0.1'"
    ))?;
    let said = guest.run_slow(&format!("{inside} wget -q -T 20 -O - http://10.0.2.2:{port}/behind"), SILENCE)?;
    ensure!(said == "through the bridge", guest.failure(&said));
    let rules = guest.run("LD_LIBRARY_PATH=/opt /opt/nft list ruleset")?;
    ensure!(rules.contains("dnat ip to 10.9.0.2:80") && !rules.contains("packets 0 "), guest.failure(&rules));
    Ok(())
}
