//! Directories, links and files of every root file system.

use build_support::{Arch, Result, fs};
use disk::{Kind, Tree};
use system::Profile;
use system::profile::Console;

/// The line of the skeleton's inittab that a profile's `console` is about.
const CONSOLE_SHELL: &str = "@CONSOLES@::respawn:-/bin/sh";

/// Empty directories, most of them mount points: path and mode.
const DIRS: &[(&str, u32)] = &[
    ("dev", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr/local/bin", 0o755),
    ("var/lib/misc", 0o755),            // udhcpd keeps its leases there.
    ("var/lock", 0o1777),               // microcom locks its line.
    ("var/spool/cron/crontabs", 0o700), // crond's and crontab's, which root alone writes.
    ("var/lib", 0o755),                 // init keeps the clock and a seed for random numbers there.
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
];

/// Links: path and target. All programs are in one directory, whatever path they are called by.
const LINKS: &[(&str, &str)] = &[
    ("bin", "usr/bin"),
    ("lib", "usr/lib"),
    ("sbin", "usr/bin"),
    ("usr/sbin", "bin"),
    ("var/run", "/run"),
    ("etc/mtab", "/proc/self/mounts"),
    // The DHCP client writes name servers; /run is writable even when the root file system is not.
    ("etc/resolv.conf", "/run/resolv.conf"),
];

/// Packages of Bloomery's own that are services: their names, and their files below /etc/services.d (services(5)).
const SERVICES: &[(&str, &str, &str)] = &[
    (
        "ntpc",
        "ntp.toml",
        "description = \"keeps the clock right\"\ncommand = \"/sbin/ntpc\"\ntype = \"notify\"\nuser = \"nobody\"\n\
         capabilities = [\"sys_time\"]\nno-new-privileges = true\nafter = [\"network\"]\n",
    ),
    (
        "syslogc",
        "syslog.toml",
        // init tells root alone what is in the logs, and the kernel who has this capability.
        "description = \"sends the logs to a server\"\ncommand = \"/sbin/syslogc\"\n\
         capabilities = [\"syslog\"]\nno-new-privileges = true\n",
    ),
    (
        "growfs",
        "grow.toml",
        "description = \"makes the root file system fill its disk\"\ncommand = \"/sbin/growfs\"\ntype = \"oneshot\"\n",
    ),
    (
        "updater",
        "update.toml",
        // It writes to disks, and asks init to start the machine anew.
        "description = \"takes updates, and keeps one that comes up\"\ncommand = \"/sbin/updater\"\ntype = \"notify\"\n\
         no-new-privileges = true\n",
    ),
];

/// Adds them, with what the profile says of the system.
pub fn add(tree: &mut Tree, profile: &Profile) -> Result<()> {
    for (path, mode) in DIRS {
        tree.dir(path, *mode, "skeleton")?;
    }
    for (path, target) in LINKS {
        tree.link(path, target, "skeleton")?;
    }
    tree.dir("usr/lib", 0o755, "skeleton")?;
    tree.merge_plain(sysroot::skeleton(), "", "skeleton")?;
    tree.chmod("etc/shadow", 0o600)?;
    for (_, file, text) in SERVICES.iter().filter(|(package, ..)| profile.has(package)) {
        tree.bytes(&format!("etc/services.d/{file}"), *text, 0o644, "skeleton")?;
    }
    tree.bytes("etc/hostname", format!("{}\n", profile.hostname), 0o644, "profile")?;
    tree.bytes("etc/motd", motd(profile), 0o644, "profile")?;
    tree.bytes("etc/issue", format!("{}\n\n", profile.description), 0o644, "profile")?;
    tree.bytes("etc/hosts", hosts(&profile.hostname)?, 0o644, "profile")?;
    tree.bytes("etc/os-release", os_release(profile), 0o644, "profile")
}

/// The skeleton's inittab with the consoles, and the profile's lines. busybox's init knows no id for all consoles, and has its shell
/// on /dev/console.
pub fn add_inittab(tree: &mut Tree, arch: Arch, profile: &Profile) -> Result<()> {
    let text = fs::read_to_string(sysroot::skeleton().join("etc/inittab"))?;
    let consoles = if profile.has("init") { "consoles" } else { "" };
    let shell = format!("{CONSOLE_SHELL}\n");
    let text = match profile.console {
        Console::Shell => text,
        // login(1) asks for the name itself: init opens the console, as getty(8) would.
        Console::Login => text.replace(&shell, "@CONSOLES@::respawn:/bin/login\n"),
        Console::None => text.replace(&shell, ""),
    };
    let text = text.replace("@CONSOLES@", consoles).replace("@SERIAL@", arch.serial_console());
    let mut text = with_program(tree, &text);
    if !profile.inittab.is_empty() {
        text += &format!("\n# Of the profile {}.\n{}\n", profile.name, profile.inittab.join("\n"));
    }
    tree.bytes("etc/inittab", text, 0o644, "skeleton")
}

/// The lines of inittab whose program is there: init would start another in vain, again and again. All programs are in one
/// directory ([`LINKS`]).
fn with_program(tree: &Tree, text: &str) -> String {
    let is_there = |line: &&str| {
        let Some(process) = line.splitn(4, ':').nth(3).filter(|_| !line.starts_with('#')) else { return true };
        let program = process.trim_start_matches('-').split(' ').next().unwrap_or_default();
        let name = program.rsplit('/').next().unwrap_or_default();
        tree.get(&format!("usr/bin/{name}")).is_some()
    };
    text.lines().filter(is_there).map(|line| format!("{line}\n")).collect()
}

/// Takes the skeleton's scripts out of a system without the shell that they are for.
pub fn drop_scripts(tree: &mut Tree) -> Result<()> {
    if tree.get("usr/bin/sh").is_some() {
        return Ok(());
    }
    let mut scripts = Vec::new();
    for (path, entry) in tree.entries().filter(|(path, entry)| entry.stage == "skeleton" && path.starts_with("usr/")) {
        if let Kind::File(content) = &entry.kind
            && content.text()?.starts_with("#!/bin/sh")
        {
            scripts.push(path.to_string());
        }
    }
    scripts.iter().try_for_each(|path| tree.remove(path))
}

/// The skeleton's hosts(5) with the system's own name, which resolves without a network so. The address is of the loopback
/// interface, and not that of `localhost`, whose name a look-up of the address has to give.
fn hosts(hostname: &str) -> Result<String> {
    let text = fs::read_to_string(sysroot::skeleton().join("etc/hosts"))?;
    let short = hostname.split_once('.').map_or(String::new(), |(short, _)| format!(" {short}"));
    Ok(format!("{text}127.0.1.1\t{hostname}{short}\n"))
}

/// What a person reads at the prompt.
fn motd(profile: &Profile) -> String {
    format!("{}. `poweroff` ends it.\n", profile.description.trim_end_matches('.'))
}

/// os-release(5).
fn os_release(profile: &Profile) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let Profile { name, description, .. } = profile;
    format!(
        "NAME=Bloomery\nID=bloomery\nVERSION_ID={version}\nVARIANT_ID={name}\n\
         VARIANT={}\nPRETTY_NAME=\"Bloomery {version} ({name})\"\n",
        quote(description)
    )
}

/// A value in double quotes, in which a shell expands nothing (os-release(5), section "os-release Specification").
fn quote(text: &str) -> String {
    let escape = |c: char| if "\"$`\\".contains(c) { format!("\\{c}") } else { c.to_string() };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}
