//! The console and the other terminals: which device an entry gets, and in which state.
//!
//! The boot opens the console for PID 1's own lines; the spawner opens a terminal for each program.

use std::os::fd::OwnedFd;

use rustix::termios::{ControlModes, InputModes, LocalModes, OutputModes, SpecialCodeIndex};

use crate::log;
use crate::sys::{Errno, Result, files, tty};

/// The console's name. It cannot be a controlling terminal: for that the device behind it is opened.
pub const CONSOLE: &str = "/dev/console";

/// Opens the console (or, without one, the kernel log) for PID 1's lines and its standard descriptors.
///
/// Returns what went wrong; the system goes on without a console.
pub fn open_for_init() -> core::result::Result<(), String> {
    let console = open_or_make(CONSOLE, 5, 1);
    open_log();
    let stdio = match &console {
        Ok(fd) => files::set_stdio(fd),
        Err(_) => open_or_make("/dev/null", 1, 3).and_then(files::set_stdio),
    };
    if let Ok(fd) = &console {
        make_sane(fd);
    }
    match (console, stdio) {
        (Err(error @ Errno::NODEV), _) => Err(format!(
            "cannot open {CONSOLE}: {error}; hint: name a console on the kernel command line, for example console=ttyS0"
        )),
        (Err(error), _) => Err(format!("cannot open {CONSOLE}: {error}; using what the kernel opened")),
        (_, Err(error)) => Err(format!("cannot set the standard descriptors: {error}")),
        _ => Ok(()),
    }
}

/// Opens the console for PID 1's lines alone, and leaves it as it is: for a program that takes over from another one.
pub fn open_log() {
    // Without a console the kernel log is where a person can still find the lines.
    let sink = files::open_log(CONSOLE).or_else(|_| files::open_log("/dev/kmsg"));
    if let Ok(sink) = sink {
        log::set_sink(sink);
    }
}

/// Opens a device, and makes its node first when there is none (a root without devtmpfs).
fn open_or_make(path: &str, major: u32, minor: u32) -> Result<OwnedFd> {
    match files::open_device(path) {
        Err(Errno::NOENT) => {
            files::make_char_device(path, 0o600, major, minor)?;
            files::open_device(path)
        }
        result => result,
    }
}

/// An open terminal for a program.
pub struct Terminal {
    /// The device, open without blocking and not as controlling terminal.
    pub fd: OwnedFd,
    /// Its path, for messages and for `TERM`.
    pub path: String,
    /// Whether it is a terminal at all (and not, for example, /dev/null).
    pub is_tty: bool,
}

/// Opens the terminal of an entry: the device `name` in /dev, or the console when it is empty. `controlling` asks for
/// a device that can be a controlling terminal.
///
/// # Errors
/// An error for which [`is_absent`] is true means that this machine does not have the terminal (now).
pub fn open(name: &str, controlling: bool) -> Result<Terminal> {
    let mut path = if !name.is_empty() {
        format!("/dev/{name}")
    } else if controlling {
        real_console().unwrap_or_else(|| CONSOLE.into())
    } else {
        CONSOLE.into()
    };
    let fd = match files::open_device(&path) {
        // A root without /dev: the kernel gave PID 1 a console from its own first file system.
        Err(Errno::NOENT) if path == CONSOLE => files::duplicate_stdin()?,
        // The console's device has no node: a shell without job control is better than none.
        Err(Errno::NOENT) if name.is_empty() => {
            path = CONSOLE.into();
            files::open_device(CONSOLE).ok().filter(|fd| tty::settings(fd).is_ok()).ok_or(Errno::NOENT)?
        }
        result => result?,
    };
    let is_tty = match tty::settings(&fd) {
        Ok(_) => true,
        // A serial port that the kernel lists but the machine does not have.
        Err(Errno::IO) => return Err(Errno::IO),
        Err(_) => false,
    };
    Ok(Terminal { fd, path, is_tty })
}

/// Whether opening a terminal failed because there is no such terminal now.
pub fn is_absent(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NXIO | Errno::NODEV | Errno::IO | Errno::NOTDIR)
}

/// The device behind /dev/console.
fn real_console() -> Option<String> {
    let console = files::open_device(CONSOLE).ok()?;
    if let Ok((major, minor)) = tty::real_device(&console)
        && let Ok(link) = files::read_link(&format!("/sys/dev/char/{major}:{minor}"))
    {
        return device_path(&link);
    }
    active().pop().map(|name| format!("/dev/{name}"))
}

/// The device whose directory in /sys a link points to.
fn device_path(link: &str) -> Option<String> {
    let name = link.rsplit('/').next().filter(|name| !name.is_empty())?;
    // sysfs writes `!` for a slash in a device's name.
    Some(format!("/dev/{}", name.replace('!', "/")))
}

/// The terminals of the kernel's consoles; the last one is behind /dev/console (Documentation/ABI/testing/sysfs-tty).
pub(super) fn active() -> Vec<String> {
    terminals(&String::from_utf8_lossy(&files::read_file("/sys/class/tty/console/active").unwrap_or_default()))
}

/// The terminals of a list of consoles, each once.
fn terminals(consoles: &str) -> Vec<String> {
    let mut terminals: Vec<String> = Vec::new();
    for name in consoles.split_ascii_whitespace() {
        // The virtual terminal that is in front; programs run on the first one.
        let name = if name == "tty0" { "tty1" } else { name };
        terminals.retain(|known| known != name);
        terminals.push(name.into());
    }
    terminals
}

/// The value of `TERM` for a program on `path`: the kernel's own terminal is `linux`; behind any other device is
/// something that at least understands a vt102 (busybox has the same rule). A `TERM` that was given stays.
pub fn term_for(path: &str, given: Option<&str>) -> String {
    match given {
        Some(given) if given != "linux" => given.into(),
        _ => if is_virtual(path) { "linux" } else { "vt102" }.into(),
    }
}

/// Whether the device is one of the kernel's own terminals: tty followed by digits alone.
fn is_virtual(path: &str) -> bool {
    path.strip_prefix("/dev/tty").is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Rows and columns of a terminal behind a serial line, which cannot say them: those of a VT100, and of what emulates one.
/// `resize` asks the terminal.
const SIZE: (u16, u16) = (24, 80);

/// Sets a terminal to the state that a person expects. What cannot be set stays as it is.
pub fn make_sane(fd: &OwnedFd) {
    if let Ok(settings) = tty::settings(fd) {
        // A terminal that refuses its settings can still be written to.
        let _ = tty::set_settings(fd, &sane(settings));
    }
    if tty::size(fd) == Ok((0, 0)) {
        let _ = tty::set_size(fd, SIZE);
    }
}

/// The usual settings; speed and character format stay. The values are busybox init's, and IUTF8, so that
/// erasing takes a whole character.
fn sane(mut settings: tty::Termios) -> tty::Termios {
    const CODES: &[(SpecialCodeIndex, u8)] = &[
        (SpecialCodeIndex::VINTR, 3),  // Ctrl-C
        (SpecialCodeIndex::VQUIT, 28), // Ctrl-\
        (SpecialCodeIndex::VERASE, 127),
        (SpecialCodeIndex::VKILL, 21),  // Ctrl-U
        (SpecialCodeIndex::VEOF, 4),    // Ctrl-D
        (SpecialCodeIndex::VSTART, 17), // Ctrl-Q
        (SpecialCodeIndex::VSTOP, 19),  // Ctrl-S
        (SpecialCodeIndex::VSUSP, 26),  // Ctrl-Z
    ];
    for &(index, code) in CODES {
        settings.special_codes[index] = code;
    }
    settings.line_discipline = 0;
    let line = ControlModes::CSIZE
        | ControlModes::CSTOPB
        | ControlModes::PARENB
        | ControlModes::PARODD
        | ControlModes::CRTSCTS
        // The speed (CBAUD and CBAUDEX), which is part of the same word.
        | ControlModes::from_bits_retain(0o010017);
    settings.control_modes &= line;
    settings.control_modes |= ControlModes::CREAD | ControlModes::HUPCL | ControlModes::CLOCAL;
    settings.input_modes = InputModes::ICRNL | InputModes::IXON | InputModes::IXOFF | InputModes::IUTF8;
    settings.output_modes = OutputModes::OPOST | OutputModes::ONLCR;
    settings.local_modes = LocalModes::ISIG
        | LocalModes::ICANON
        | LocalModes::ECHO
        | LocalModes::ECHOE
        | LocalModes::ECHOK
        | LocalModes::ECHOCTL
        | LocalModes::ECHOKE
        | LocalModes::IEXTEN;
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_behind_the_console() {
        let link = "../../devices/platform/serial8250/tty/ttyS0";
        assert_eq!(device_path(link).as_deref(), Some("/dev/ttyS0"));
        assert_eq!(device_path("a/hvc!0").as_deref(), Some("/dev/hvc/0"));
        assert_eq!(device_path(""), None);
    }

    #[test]
    fn the_terminals_of_the_kernels_consoles() {
        let cases: [(&str, &[&str]); 7] = [
            ("tty0 ttyS0\n", &["tty1", "ttyS0"]),
            ("ttyS1\n", &["ttyS1"]),
            ("hvc0\n", &["hvc0"]),
            ("tty0 ttyAMA1 ttyAMA0\n", &["tty1", "ttyAMA1", "ttyAMA0"]),
            ("tty1 ttyS0 tty0\n", &["ttyS0", "tty1"]),
            ("\n", &[]),
            ("", &[]),
        ];
        for (consoles, expected) in cases {
            assert_eq!(terminals(consoles), expected, "{consoles}");
        }
    }

    #[test]
    fn term_depends_on_the_terminal() {
        assert_eq!(term_for("/dev/tty1", Some("linux")), "linux");
        assert_eq!(term_for("/dev/ttyS0", Some("linux")), "vt102");
        assert_eq!(term_for("/dev/tty", None), "vt102");
        assert_eq!(term_for("/dev/hvc0", None), "vt102");
        assert_eq!(term_for("/dev/ttyS0", Some("xterm")), "xterm");
    }

    #[test]
    fn missing_terminals_are_told_from_broken_ones() {
        assert!(is_absent(Errno::NOENT) && is_absent(Errno::NODEV) && is_absent(Errno::IO));
        assert!(!is_absent(Errno::MFILE) && !is_absent(Errno::ACCESS));
    }

    #[test]
    fn a_device_that_is_no_terminal_can_be_opened() {
        let terminal = open("null", true).unwrap();
        assert!(!terminal.is_tty);
        assert_eq!(open("no-such-terminal", false).err(), Some(Errno::NOENT));
    }

    #[test]
    fn sane_settings_let_a_person_type() {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap();
        let fd = files::open_device(path.to_str().unwrap()).unwrap();
        let mut raw = tty::settings(&fd).unwrap();
        let speed = raw.output_speed();
        raw.make_raw();
        raw.special_codes[SpecialCodeIndex::VINTR] = 0;
        tty::set_settings(&fd, &raw).unwrap();
        make_sane(&fd);
        let now = tty::settings(&fd).unwrap();
        assert!(now.local_modes.contains(LocalModes::ICANON | LocalModes::ISIG | LocalModes::ECHO));
        assert_eq!(now.special_codes[SpecialCodeIndex::VINTR], 3);
        assert_eq!(now.output_speed(), speed);
    }
}
