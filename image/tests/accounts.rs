//! Users of a profile: they log in at the console with what the profile gave them.

mod common;

use anyhow::{Result, ensure};
use build_support::{Arch, Dirs};
use common::guest::{Guest, Start, extra};
use common::outputs::Outputs;
use common::slots;
use system::machine::{Accelerator, Options};

const NAME: &str = "accounts";
/// Seconds of silence after which a login is taken for dead.
const SILENCE: f64 = 60.0;

/// A question that the console does not end by a line.
fn asked(guest: &mut Guest, question: &str) -> Result<()> {
    guest.until(question, SILENCE, |console| console.unfinished().contains(question)).map(drop)
}

fn log_in(guest: &mut Guest, name: &str, password: &str) -> Result<()> {
    asked(guest, "login:")?;
    guest.type_keys(&format!("{name}\n"))?;
    asked(guest, "Password:")?;
    guest.type_keys(&format!("{password}\n"))
}

#[test]
fn people_log_in_at_the_console() -> Result<()> {
    let profile = Dirs::find()?.root.join(format!("image/tests/profiles/{NAME}.toml")).display().to_string();
    let Some(outputs) = Outputs::of(Arch::host()?, &profile)? else { return Ok(()) };
    let _slot = slots::one();
    let options =
        Options { accelerator: Accelerator::Tcg, snapshot: true, extra: extra(&["-no-reboot"]), ..Options::default() };
    let mut guest = Guest::start(&outputs, &Start { options, ..Start::new(NAME, &profile) })?;
    log_in(&mut guest, "root", "")?;
    guest.line("Login incorrect")?;
    log_in(&mut guest, "ada", "secretX9")?;
    asked(&mut guest, "$ ")?;
    for (command, answer) in [
        ("id", "uid=1000(ada) gid=1000(ada) groups=6(disk),999(staff),1000(ada)"),
        ("pwd; stat -c '%a %U' . .ssh .ssh/authorized_keys", "/home/ada\n700 ada\n700 ada\n600 ada"),
        ("cut -d' ' -f3 .ssh/authorized_keys", "ada@example"),
        ("grep job /etc/passwd", "job:x:2000:2000:job:/var/lib/job:/bin/false"),
        (
            "stat -c '%a %u' /var/lib/job; cat /etc/shadow 2>&1 | tail -n 1",
            "700 2000\ncat: can't open '/etc/shadow': Permission denied",
        ),
        ("man 5 services | head -n 4 | tail -n 1", "     services - what init supervises besides inittab"),
        ("man initctl | grep -c -- '--since time'; man none 2>&1 | head -n 1", "1\nman: there is no page 'none'"),
        ("cat /etc/motd", "Base with users and a login on its consoles. `poweroff` ends it."),
    ] {
        let said = guest.ask(command)?.output.replace('\r', "");
        ensure!(said == answer, guest.failure(&format!("`{command}` says `{said}` and not `{answer}`")));
    }
    guest.type_keys("exit\n")?;
    log_in(&mut guest, "root", "secretX9")?;
    guest.prompt()?;
    guest.run("initctl check")?;
    guest.run("mkdir -p /etc/services.d && echo 'command = \"/bin/none\"' >/etc/services.d/x.toml")?;
    let said = guest.ask("initctl check 2>&1")?;
    let wanted = "initctl: /etc/services.d/x.toml, line 1: there is no program /bin/none";
    ensure!(said.status == 1 && said.output == wanted, guest.failure(&said.output));
    guest.power_off().map(drop)
}
