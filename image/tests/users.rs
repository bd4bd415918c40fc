//! Programs of busybox do their work, for root and for a user; and what cannot run leaves its parent alive.

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use build_support::Arch;
use common::guest::{Guest, Start, extra};
use common::outputs::{Outputs, check_with};
use common::{http, ports, slots};
use system::machine::{Accelerator, Options};

for_each_arch! {
    users_have_the_programs_of_root, a_program_that_is_missing_ends_no_parent, https_is_refused_where_nothing_checks_it,
    a_zone_that_is_not_there_is_told, characters_and_not_bytes_are_counted, a_message_reaches_the_log,
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
    guest.run("stty size | grep -qx '24 80'")?;
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

impl Server {
    /// Starts it, with a key and a certificate in these files.
    fn start(port: u16, key: &str, certificate: &str) -> Result<Server> {
        let mut server = Command::new("openssl");
        server.args(["s_server", "-quiet", "-www", "-accept", &port.to_string(), "-key", key, "-cert", certificate]);
        Ok(Server(server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes a key and a certificate that signs itself, below a path; `words` are for openssl-req(1).
fn make_certificate(path: &str, words: &[&str]) -> Result<()> {
    let make = ["req", "-new", "-x509", "-batch", "-nodes", "-newkey", "rsa:2048"];
    let (key, certificate) = (format!("{path}.key"), format!("{path}.pem"));
    check_with("openssl", &[&make[..], &["-keyout", &key, "-out", &certificate], words].concat()).map(drop)
}

/// Sends everybody elsewhere, as long as the test runs. Returns the port.
fn redirect(to: String) -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 2048];
            let _ = stream.read(&mut request); // A guest that hangs up shows in its own exit status.
            let _ = write!(stream, "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
        }
    });
    Ok(port)
}

fn https_is_refused_where_nothing_checks_it(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("server").display().to_string();
    make_certificate(&path, &["-subj", "/CN=x"])?;
    let port = ports::free()?;
    let _server = Server::start(port, &format!("{path}.key"), &format!("{path}.pem"))?;
    let address = format!("https://10.0.2.2:{port}/");
    let other = redirect(address.clone())?;
    let _slot = slots::one();
    let mut guest = boot(&outputs, "https")?;
    for (command, cure) in [
        (format!("wget -O /tmp/answer {address}"), "--no-check-certificate"),
        (format!("wget -q -O /tmp/answer {address}"), "--no-check-certificate"),
        (format!("wget -O /tmp/answer http://10.0.2.2:{other}/"), "--no-check-certificate"),
        (format!("wget -O /tmp/answer ftps://10.0.2.2:{port}/x"), "--no-check-certificate"),
        (format!("env http_proxy=http://10.0.2.2:{other} wget -O /tmp/answer {address}"), "-Y off"),
        (
            format!("env http_proxy=http://10.0.2.2:{other} wget -Y off -O /tmp/answer {address}"),
            "--no-check-certificate",
        ),
        (
            format!("env http_proxy=http://10.0.2.2:{other} wget -qYoff -O /tmp/answer {address}"),
            "--no-check-certificate",
        ),
    ] {
        let said = guest.ask(&format!("timeout 30 {command} 2>&1"))?;
        let refused = said.status == 1 && said.output.contains("; hint: ") && said.output.contains(cure);
        ensure!(refused, guest.failure(&format!("`{command}`: {said:?}")));
        guest.run("[ ! -s /tmp/answer ]")?;
    }
    let said = guest.run(&format!("timeout 30 wget --no-check-certificate -O /tmp/answer {address} 2>&1"))?;
    ensure!(!said.contains("certificate"), guest.failure(&said));
    // The answer has no length, and ends nevertheless; no process is left.
    guest.run("grep -q -i '<html>' /tmp/answer && sleep 1 && ! pidof wget")?;
    guest.power_off().map(drop)
}

/// The host's openssl with its libraries, laid into the guest as a package would.
fn archive_of_openssl(dir: &Path) -> Result<Vec<u8>> {
    let program = check_with("sh", &["-c", "command -v openssl"])?;
    let libraries = check_with("ldd", &[program.trim()])?;
    let paths = libraries.split_whitespace().filter(|word| word.starts_with('/'));
    let archive = dir.join("openssl.tar").display().to_string();
    let words = ["--dereference", "--transform", "s,.*/,opt/openssl/,", "-cf", &archive, "-C", "/"];
    let files: Vec<&str> = paths.chain([program.trim()]).map(|path| path.trim_start_matches('/')).collect();
    check_with("tar", &[&words[..], &files].concat())?;
    Ok(std::fs::read(archive)?)
}

/// With the host's architecture, whose openssl it is.
#[test]
fn https_is_checked_by_openssl() -> Result<()> {
    let Some(outputs) = Outputs::of(Arch::host()?, "base")? else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let file = |name: &str| dir.path().join(name).display().to_string();
    let names = "subjectAltName=DNS:server.test,IP:10.0.2.2";
    make_certificate(&file("server"), &["-subj", "/CN=x", "-addext", names])?;
    make_certificate(&file("other"), &["-subj", "/CN=other"])?;
    let port = ports::free()?;
    let _server = Server::start(port, &file("server.key"), &file("server.pem"))?;
    let served = [
        ("openssl.tar", http::serve("/openssl.tar", archive_of_openssl(dir.path())?)?),
        ("server.pem", http::serve("/server.pem", std::fs::read(file("server.pem"))?)?),
        ("other.pem", http::serve("/other.pem", std::fs::read(file("other.pem"))?)?),
    ];
    let _slot = slots::one();
    let mut guest = boot(&outputs, "openssl")?;
    for (name, port) in served {
        guest.run(&format!("wget -q -O /tmp/{name} http://10.0.2.2:{port}/{name}"))?;
    }
    guest.run("tar -C / -xf /tmp/openssl.tar && echo 10.0.2.2 server.test wrong.test >>/etc/hosts")?;
    guest.run("cd /opt/openssl && echo 'exec /opt/openssl/ld-* --library-path /opt/openssl /opt/openssl/openssl \"$@\"' >/usr/local/bin/openssl")?;
    guest
        .run("sed -i '1i#!/bin/sh' /usr/local/bin/openssl && chmod +x /usr/local/bin/openssl && openssl version; cd")?;
    let get = |authority: &str, name: &str, words: &str| {
        format!(
            "rm -f /tmp/a; SSL_CERT_FILE=/tmp/{authority}.pem timeout 60 wget {words} -O /tmp/a https://{name}:{port}/ 2>&1"
        )
    };
    let good = "grep -q -i '<html>' /tmp/a";
    guest.run(&get("server", "server.test", ""))?;
    guest.run(good)?;
    for (authority, name) in [("other", "server.test"), ("server", "wrong.test"), ("none", "server.test")] {
        let said = guest.ask(&get(authority, name, ""))?;
        ensure!(said.status != 0, guest.failure(&format!("{name} is trusted by {authority}: {said:?}")));
        guest.run("[ ! -s /tmp/a ]")?;
    }
    guest.run(&get("other", "wrong.test", "--no-check-certificate"))?;
    guest.run(good)?;
    // A fault of busybox's (vendor/known-faults.toml): its certificate has this address.
    let said = guest.ask(&get("server", "10.0.2.2", ""))?;
    ensure!(said.status != 0, guest.failure("wget checks the certificate of an address now"));
    guest.power_off().map(drop)
}

/// A file of a zone (RFC 8536) with one type, twice the half of it, as printf(1) takes it.
const ZONE: &str =
    r"TZif2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\4\0\0\16\20\0\0CET\0";

fn a_zone_that_is_not_there_is_told(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let _slot = slots::one();
    let options = Options {
        accelerator: Accelerator::Tcg,
        snapshot: true,
        extra: extra(&["-no-reboot"]),
        append: "TZ=No/Such".into(),
        ..Options::default()
    };
    let mut guest = Guest::boot(&outputs, &Start { options, ..Start::new("zone", "base") })?;
    // PID 1 says so of its own, which the shell has from it, and of a service's.
    let hint = "; hint: a rule needs no file: TZ=CET-1CEST,M3.5.0,M10.5.0/3";
    let words =
        format!("kernel command line: TZ=No/Such names no file in /usr/share/zoneinfo, so its times are in UTC{hint}");
    ensure!(guest.console.shows(&words), guest.failure("PID 1 does not say that its TZ is none"));
    guest.write("/etc/services.d/clock.toml", "command = \"sleep 99\"\n[environment]\nTZ = \"Europe/Berlin\"")?;
    guest.type_keys("initctl reload\n")?;
    guest.line("clock.toml: TZ=Europe/Berlin names no file")?;
    guest.run("[ $TZ = No/Such ] && unset TZ")?;

    let silent = [
        "date",
        "TZ= date",
        "TZ=UTC date",
        "TZ=Etc/UTC date",
        "TZ=CET-1CEST,M3.5.0,M10.5.0/3 date",
        "TZ='<+0330>-3:30' date",
    ];
    for command in
        silent.into_iter().chain(["TZ=GMT0 ls -l /", "touch /tmp/f && tar cf - /tmp/f 2>/dev/null | tar tvf -"])
    {
        let said = guest.run(&format!("({command}) 2>&1 >/dev/null"))?;
        ensure!(said.is_empty(), guest.failure(&format!("`{command}` says {said}")));
    }
    for command in ["date", "ls -l /", "stat /", "cal", "date -d 2026-07-01", "tar cf - /tmp/f 2>/dev/null | tar tvf -"]
    {
        let name = command.rsplit("| ").next().unwrap_or_default().split(' ').next().unwrap_or_default();
        let said = guest.run(&format!("export TZ=Europe/Berlin; ({command}) 2>&1 >/dev/null; unset TZ"))?;
        let wanted =
            format!("{name}: TZ=Europe/Berlin names no file in /usr/share/zoneinfo/, so times are in UTC{hint}");
        ensure!(said == wanted, guest.failure(&format!("`{command}` says `{said}`")));
    }
    for (make, words) in [
        ("echo Europe/Berlin >/etc/TZ", "nothing reads /etc/TZ"),
        ("mv /etc/TZ /etc/timezone", "nothing reads /etc/timezone"),
        (
            "rm /etc/timezone; ln -s ../usr/share/zoneinfo/Europe/Berlin /etc/localtime",
            "leads to no file of a time zone",
        ),
    ] {
        let said = guest.run(&format!("{make}; date 2>&1 >/dev/null"))?;
        ensure!(said.contains(words) && said.lines().count() == 1, guest.failure(&format!("`{make}`: {said}")));
    }

    // As the page says: with the file, the name is one, and the link works.
    guest.run("mkdir -p /usr/share/zoneinfo/Europe && cd /usr/share/zoneinfo/Europe")?;
    guest.run(&format!("printf '{ZONE}' >Berlin && printf '{ZONE}' >>Berlin; printf '\\nCET-1\\n' >>Berlin; cd"))?;
    for command in ["date -d '2026-07-01 12:00' +%Z", "TZ=Europe/Berlin date -d '2026-07-01 12:00' +%Z"] {
        let said = guest.run(&format!("{command} 2>&1"))?;
        ensure!(said == "CET", guest.failure(&format!("`{command}` says `{said}`")));
    }
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
