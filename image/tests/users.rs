//! Programs of busybox do their work, for root and for a user; and what cannot run leaves its parent alive.

mod common;

use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use build_support::Arch;
use common::guest::{Guest, Start, extra};
use common::outputs::{Outputs, check_with};
use common::{ports, slots};
use system::machine::{Accelerator, Options};

for_each_arch! {
    users_have_the_programs_of_root, a_program_that_is_missing_ends_no_parent, https_ends_with_the_servers_answer,
    characters_and_not_bytes_are_counted, a_message_reaches_the_log,
}

fn boot(outputs: &Outputs, name: &str) -> Result<Guest> {
    let options =
        Options { accelerator: Accelerator::Tcg, snapshot: true, extra: extra(&["-no-reboot"]), ..Options::default() };
    Guest::boot(outputs, &Start { options, ..Start::new(name, "base") })
}

fn users_have_the_programs_of_root(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let _slot = slots::one();
    let mut guest = boot(&outputs, "users")?;
    guest.run("adduser -D -h /home/bob bob && echo bob:secretX9 | chpasswd && echo root:secretY8 | chpasswd")?;
    for command in [
        "ping -c1 127.0.0.1",
        "ping6 -c1 ::1",
        "traceroute -n -m1 127.0.0.1",
        "echo \"* * * * * true\" | crontab - && crontab -l | grep -q true && crontab -r",
        "(echo secretX9; echo longerZ7q; echo longerZ7q) | passwd",
        "echo secretY8 | su root -c id | grep -q uid=0",
    ] {
        guest.run(&format!("su bob -c '{command}'"))?;
    }
    // What needs no right of root has none, and nobody gets one without the password.
    guest.run("! su bob -c 'echo wrong | su root -c id' && ! su bob -c 'busybox-suid sh -c id'")?;
    guest.run("find / -xdev -type f -perm -4000 | tr '\\n' ' ' | grep -qx '/usr/bin/busybox-suid '")?;
    guest.run("! su bob -c 'cat /etc/shadow' && ! su bob -c 'ls /var/spool/cron/crontabs'")?;
    guest.run("crond && echo '* * * * * true' | crontab - && pidof crond")?;
    guest.run("for name in fsck ifup ifdown; do ! command -v $name || exit 1; done")?;
    guest.power_off().map(drop)
}

/// Every applet that runs another program by vfork(2) and exit(3).
fn a_program_that_is_missing_ends_no_parent(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let _slot = slots::one();
    let mut guest = boot(&outputs, "vfork")?;
    for command in [
        "time nosuch",
        "timeout 2 nosuch",
        "unshare -m nosuch",
        "nsenter -t 1 -m nosuch",
        "start-stop-daemon -S -x /nosuch",
        "start-stop-daemon -S -b -x /nosuch",
        "script -q -c nosuch /tmp/typescript",
        "openvt -w nosuch",
        "EDITOR=nosuch crontab -e",
        "tar cf - /etc/motd --to-command nosuch",
        "sendmail -H nosuch a@b",
        "nc -l -p 1 -e nosuch",
        "tcpsvd -c 1 127.0.0.1 2 nosuch",
        "telnetd -F -l /nosuch -p 3",
        "mkdir -p /tmp/sv/a; runsvdir /tmp/sv",
        "printf \"%s\\n\" \"From: x\" \"Content-Type: text/plain\" \"\" hi | reformime -X nosuch",
        "inetd -f /nosuch",
    ] {
        // A server gets one connection. 139: it was ended by SIGSEGV; 124 and 143: it was still there.
        let connect = "for port in 1 2 3; do sleep 0.5; nc -w1 127.0.0.1 $port </dev/null >/dev/null 2>&1; done";
        let run = format!("({connect}) & timeout 4 sh -c '{command}' </dev/null >/dev/null 2>&1; [ $? != 139 ]");
        guest.run(&run).with_context(|| format!("`{command}` crashes"))?;
    }
    guest.run("! dmesg | grep -e 'segfault at' -e 'unhandled.*fault'")?;
    guest.power_off().map(drop)
}

/// `openssl s_server -www`, whose answer has no length.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn https_ends_with_the_servers_answer(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (key, certificate) = (file("key"), file("certificate"));
    let make = ["req", "-new", "-x509", "-batch", "-nodes", "-subj", "/CN=x", "-newkey", "rsa:2048"];
    check_with("openssl", &[&make[..], &["-keyout", &key, "-out", &certificate]].concat())?;
    let port = ports::free()?.to_string();
    let mut server = Command::new("openssl");
    server.args(["s_server", "-quiet", "-www", "-accept", &port, "-key", &key, "-cert", &certificate]);
    let _server = Server(server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    let _slot = slots::one();
    let mut guest = boot(&outputs, "https")?;
    let said = guest.run(&format!("timeout 30 wget -O /tmp/answer https://10.0.2.2:{port}/ 2>&1"))?;
    // No certificate is checked without a program `openssl`, and that is said each time.
    ensure!(said.contains("TLS certificate validation not implemented"), guest.failure(&said));
    guest.run("grep -q -i '<html>' /tmp/answer && sleep 1 && ! pidof wget")?;
    guest.power_off().map(drop)
}

/// With UTF-8 as everywhere on the system, and bytes for who asks for them.
fn characters_and_not_bytes_are_counted(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let _slot = slots::one();
    let mut guest = boot(&outputs, "text")?;
    // `äö` by its bytes, since a serial line need not be clean.
    for (command, answer) in [
        ("printf '\\303\\244\\303\\266\\n' | sed s/./x/g", "xx"),
        ("printf '\\303\\244\\303\\266\\n' | LC_ALL=C sed s/./x/g", "xxxx"),
        ("printf '\\303\\244\\303\\266\\n' | grep -c '^..$'", "1"),
        ("printf '\\303\\244\\303\\266\\n' | sed -E 's/^(.).$/<\\1>/' | wc -c", "5"),
        ("printf '\\303\\244\\303\\266\\n' | awk '/^..$/ { print 7 }'", "7"),
        ("TZ=CET-1CEST,M3.5.0,M10.5.0/3 date -d 2026-07-01 +%Z", "CEST"),
    ] {
        let said = guest.run(command)?;
        ensure!(said == answer, guest.failure(&format!("`{command}` says `{said}` and not `{answer}`")));
    }
    guest.power_off().map(drop)
}

fn a_message_reaches_the_log(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let _slot = slots::one();
    let mut guest = boot(&outputs, "syslog")?;
    guest.run("adduser -D bob && su bob -c 'logger -t web -p daemon.err it broke'")?;
    guest.run("until initctl log messages | grep 'daemon.err web: it broke'; do sleep 0.1; done")?;
    // A service that syslog(3) is all that tells of: su says who became whom.
    guest.run("initctl log messages | grep -q 'auth.notice su: '")?;
    // PID 1 has a log too, with what `quiet` silences, and one list has all by time.
    guest.run("initctl log -n 100 init | grep -q 'ms to first process'")?;
    guest.run("initctl log | grep -q ' messages: daemon.err web: it broke'")?;
    guest.run("initctl log -p err -S 5m | grep -q 'it broke' && ! initctl log -p err -U 5m | grep 'it broke'")?;
    guest.run("initctl log -p crit | wc -l | grep -qx 0")?;
    guest.power_off().map(drop)
}
